"""The engine's profile: which layers it takes and in how many passes, and what its sums of 16 bits are."""

import numpy as np
import pytest

from fewbits import FixedPoint
from fewbits.backend import keras
from fewbits.deploy import engine
from fewbits.deploy.lowering import lower
from helpers.graphs import FORMAT, graph

layers = keras.layers
RNG = np.random.default_rng(4)


def mapped(*build, shape=(12, 12, 3), **formats):
    network = lower(graph(*build, shape=shape, fmt=FORMAT | formats))
    return engine.map_to_engine(network)


def test_a_window_of_its_own_size_uses_every_multiplier():
    [row] = mapped(layers.Conv2D(4, 3), kernel=FixedPoint(-1, 4))  # four planes at once
    assert (row.window, row.weight_bits, row.passes, row.utilisation) == (3, 4, 3, 1.0)
    [row] = mapped(layers.Conv2D(4, 5), kernel=FixedPoint(0, 12))  # one
    assert (row.window, row.weight_bits, row.passes, row.utilisation) == (5, 16, 12, 1.0)


@pytest.mark.parametrize(
    ("layer", "passes", "utilisation"),
    [
        (layers.Conv2D(4, 1), 6, 1 / 9),  # one weight of nine
        (layers.Conv2D(3, 3), 6, 3 / 4),  # the last pair of planes is half empty
        (layers.Conv2D(4, 7), 24, 49 / 100),  # four pieces of 5x5
        (layers.Conv2D(4, 3, strides=2), 6, 25 / 81),  # 9 x 9 places, 5 x 5 wanted
        (layers.DepthwiseConv2D(3), 3, 1 / 2),  # each plane for itself
        (layers.Conv2D(6, 3, groups=3), 3, 1.0),  # each plane for its two filters
    ],
)
def test_other_windows_strides_and_filters_leave_multipliers_idle(layer, passes, utilisation):
    [row] = mapped(layer, kernel=FixedPoint(0, 6))
    assert (row.reason, row.weight_bits, row.passes) == ("", 8, passes)
    assert row.utilisation == pytest.approx(utilisation)


def test_what_does_not_run_on_it_says_why():
    flat, dense = mapped(layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3))
    assert not flat.reason and "no plane" in dense.reason and dense.macs == 3 * 200
    assert "holes" in mapped(layers.Conv2D(2, 3, dilation_rate=2))[0].reason
    assert "weights of" in mapped(layers.Conv2D(2, 3), kernel=FixedPoint(0, 20))[0].reason
    assert "pixels of 19 bits" in mapped(layers.Conv2D(2, 3), input=FixedPoint(1, 20))[0].reason


def test_passes_without_a_shift_are_one_sum_while_16_bits_hold_it():
    network = lower(graph(layers.Conv2D(4, 3, padding="same"), shape=(6, 5, 3), fmt=FORMAT | {"output": None}))
    [operation], codes = network.convolutions, RNG.integers(0, 64, (5, 6, 5, 3))
    assert operation.partial_bits <= 16 and np.array_equal(
        engine.convolve_on_engine(operation, codes, 0), operation.compute(codes)
    )


def test_filters_of_a_group_add_the_planes_of_that_group():
    layer = layers.Conv2D(4, 3, groups=2, padding="same")
    network = lower(graph(layer, shape=(6, 5, 4), fmt=FORMAT | {"output": None}))
    [operation], codes = network.convolutions, RNG.integers(0, 64, (5, 6, 5, 4))
    assert np.array_equal(engine.convolve_on_engine(operation, codes, 0), operation.compute(codes))


def test_a_shift_rounds_each_plane_down_and_sums_saturate():
    operation = lower(graph(layers.Conv2D(2, 3), shape=(6, 5, 3), fmt=FORMAT | {"output": None})).convolutions[0]
    codes = RNG.integers(0, 64, (5, 6, 5, 3))
    gap = operation.compute(codes) / 8 - engine.convolve_on_engine(operation, codes, 3)
    assert gap.min() >= 0 and 3 / 8 < gap.max() < 4  # less than a step for each of three planes and the bias
    far = engine.convolve_on_engine(operation, codes * 10_000, 0)
    assert far.max() <= 2**15 - 1 and far.min() >= -(2**15) and (np.abs(far + 0.5) == 2**15 - 0.5).any()


def test_a_depthwise_layer_adds_nothing_across_planes():
    operation = lower(graph(layers.DepthwiseConv2D(3), shape=(6, 5, 3), fmt=FORMAT | {"output": None})).convolutions[0]
    codes = RNG.integers(0, 64, (5, 6, 5, 3))
    assert np.array_equal(engine.convolve_on_engine(operation, codes, 0), operation.compute(codes))
