"""The explorer of accumulators: its bars are the proven sums, and what float32 does not hold is set apart."""

from itertools import product
from math import log2

import pytest

from fewbits import FixedPoint
from fewbits.backend import keras
from fewbits.deploy.lowering import lower
from fewbits.explore import accumulator_sizes
from helpers.graphs import graph

layers = keras.layers


@pytest.fixture(scope="module")
def networks():
    model, found = graph(layers.Conv2D(4, 3, name="a"), layers.Conv2D(3, 3, name="b")), {}
    for weight, activation in product((4, 8, 16), (8, 16)):
        model.set_formats((FixedPoint(0, weight), FixedPoint(1, activation), FixedPoint(1, activation)))
        found[weight, activation] = lower(model)
    return found


@pytest.fixture
def explorer(networks):
    return accumulator_sizes(networks, "14.9", "Sums.")


def test_bars_are_the_largest_sums_of_absolute_products(explorer, networks):
    for (weight, activation), network in networks.items():
        within, beyond = explorer.view(weight_bits=weight, activation_bits=activation).traces
        assert within["x"] == beyond["x"] == ["a", "b"]
        for step, small, large in zip(network.convolutions, within["y"], beyond["y"]):
            products = abs(step.kernel).sum((0, 1, 2)) * network.tensors[step.inputs[0]].magnitude + abs(step.bias)
            expected = log2(products.max())
            assert (small, large) == ((expected, None) if expected <= 24 else (None, expected))


def test_readings_name_the_widest_layer_and_count_what_float32_does_not_hold(explorer, networks):
    readings = explorer.view(weight_bits=16, activation_bits=16).readings
    widest = max(step.partial_bits for step in networks[16, 16].convolutions)
    assert readings["widest accumulator"].startswith(f"{widest} bits, ")
    assert readings["float32 may err in"] == "2 of 2 layers"
    assert explorer.view(weight_bits=4, activation_bits=8).readings["float32 may err in"] == "0 of 2 layers"


def test_it_starts_at_8_bits_where_there_are_8(explorer, networks):
    assert explorer.start == {"weight_bits": 8, "activation_bits": 8}
    few = {pair: network for pair, network in networks.items() if 8 not in pair}
    assert accumulator_sizes(few, "14.9", "Sums.").start == {"weight_bits": 4, "activation_bits": 16}
