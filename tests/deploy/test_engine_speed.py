"""The stored speed of the engine in gates: complete, beside counts from elsewhere, and as the profile predicts."""

from math import ceil, prod

import numpy as np
import pytest

from fewbits import costs, zoo
from fewbits.book import engine_speed
from fewbits.deploy import map_to_engine
from helpers.engine_layers import random_layer
from helpers.integer_networks import Network

NETWORKS, MADE_WITH = engine_speed.load_engine_speed()
ZOO = {
    "LeNet, digits": ("lenet", (8, 8, 1), 10),
    "SqueezeNet, digits": ("squeezenet_digits", (8, 8, 1), 10),
    "SqueezeNet v1.1": ("squeezenet_v1_1", (224, 224, 3), 1000),
}
LAYERS = [(network, layer) for network in NETWORKS for layer in network.layers]


def profile(network, layer):
    """Return what the profile says of a layer with random weights of the same bits and shape."""
    sides = zip(layer.input, layer.output, layer.kernel)
    zeros = [max(0, (out - 1) * layer.stride + k - n) if n == out else 0 for n, out, k in sides]
    padding = tuple((before // 2, before - before // 2) for before in zeros)
    made = Network(layer.input)
    bits, stride = layer.weight_bits, (layer.stride, layer.stride)
    made.requantize(made.convolve(0, layer.output[2], layer.kernel, stride, padding, bits=bits), 9)
    [row] = map_to_engine(made.made(), network.words)
    return row


def test_every_convolution_is_there_with_its_multiply_accumulates():
    assert [(n.network, n.bits) for n in NETWORKS] == [
        *((name, bits) for name in list(ZOO)[:2] for bits in (16, 8, 4)),
        ("SqueezeNet v1.1", 8),
    ]
    for name, build in ZOO.items():
        expected = {row.name: row.macs for row in costs.cost_table(zoo.build(*build)) if row.kind == "convolution"}
        for network in NETWORKS:
            if network.network == name:
                assert {layer.layer: layer.macs for layer in network.layers} == expected


def test_no_code_differs_and_what_is_not_simulated_is_like_a_layer_that_is():
    assert all(layer.different == 0 for _, layer in LAYERS)
    for network in NETWORKS:
        known = {}
        for layer in network.layers:
            shape = layer.kernel, layer.stride, layer.input, layer.output, layer.weight_bits
            if layer.simulated_runs:
                known[shape] = layer.cycles
                share = layer.simulated_runs / layer.runs
                assert share <= 1 and layer.codes == pytest.approx(prod(layer.output) * share, rel=0.01)
            assert layer.cycles == known[shape]


def test_passes_and_ideal_cycles_follow_from_the_shapes():
    for network, layer in LAYERS:
        at_once = network.words * 16 // layer.weight_bits
        passes = ceil(layer.output[2] / at_once) * layer.input[2]
        assert (layer.passes, layer.peak_macs) == (passes, at_once * network.window**2)
        assert layer.ideal_cycles == passes * layer.input[0] * layer.input[1]


def test_windows_of_full_size_reach_95_percent_of_the_peak_in_a_plane_with_zeros_around():
    shares = [
        layer.of_peak
        for network, layer in LAYERS
        if layer.kernel == (3, 3) == (network.window,) * 2 and layer.input[:2] == layer.output[:2]
    ]
    assert len(shares) == 17 and min(shares) > 0.95


def test_the_profile_predicts_every_cycle_that_does_not_wait():
    rows = [(profile(network, layer), layer) for network, layer in LAYERS if layer.codes]
    assert len(rows) > 50
    for row, layer in rows:
        cycles = layer.cycles - sum(layer.waits.values())
        assert (row.passes, row.cycles, row.macs) == (layer.passes, cycles, layer.macs), layer.layer
        assert row.utilisation == pytest.approx(layer.of_peak, rel=0.003)


def test_the_only_waits_are_those_for_the_first_weights():
    assert all(name == "wait_weight" or not cycles for _, layer in LAYERS for name, cycles in layer.waits.items())
    assert all(layer.waits["wait_weight"] == (3 if layer.kernel == (1, 1) else 0) for _, layer in LAYERS)


def test_a_layer_simulated_again_takes_as_long():
    pytest.importorskip("amaranth")
    from fewbits.deploy.hardware import EngineDesign, plan_job, simulate

    [network] = (n for n in NETWORKS if (n.network, n.bits) == ("SqueezeNet, digits", 4))
    stored = network.layers[0]
    convolve, source, rounded, codes = random_layer(
        stored.input, stored.output[2], padding=((0, 0),) * 2, weight_bits=4
    )
    design = EngineDesign(word_bits=16, words=network.words, columns=10, places=64)
    [(found, counters)] = simulate(design, [(plan_job(convolve, source, design, rounded), codes)])
    assert np.array_equal(found, rounded.compute(convolve.compute(codes[None]))[0])
    assert counters == {"cycles": stored.cycles} | stored.waits


def test_images_per_second_are_those_of_the_clock():
    for network in NETWORKS:
        assert network.images_per_second * network.cycles == pytest.approx(1e8)
    assert "Verilator 5" in MADE_WITH
