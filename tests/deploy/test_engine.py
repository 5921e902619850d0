"""The engine's profile: which layers it takes and in how many passes, and what its sums of 16 bits are."""

import numpy as np
import pytest

from fewbits import FixedPoint
from fewbits.backend import keras
from fewbits.deploy import engine
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError
from helpers.graphs import FORMAT, graph

layers = keras.layers
RNG = np.random.default_rng(4)


def mapped(*build, shape=(12, 12, 3), **formats):
    network = lower(graph(*build, shape=shape, fmt=FORMAT | formats))
    return engine.map_to_engine(network)


def test_a_pass_takes_a_cycle_per_pixel_and_the_first_window_some_more():
    [row] = mapped(layers.Conv2D(4, 3), kernel=FixedPoint(-1, 4))  # four planes at once
    assert (row.window, row.weight_bits, row.passes, row.cycles) == (3, 4, 3, 3 * 144 + 5)
    [row] = mapped(layers.Conv2D(4, 5), kernel=FixedPoint(0, 12))  # one
    assert (row.window, row.weight_bits, row.passes, row.cycles) == (5, 16, 12, 12 * 144 + 5)
    [row] = mapped(layers.Conv2D(4, 3, padding="same"), kernel=FixedPoint(-1, 4))
    assert (row.passes, row.cycles) == (3, 3 * 144 + 12 + 1 + 5)  # its last window is complete a row and a pixel late


@pytest.mark.parametrize(
    ("layer", "passes", "more", "in_use"),
    [
        (layers.Conv2D(4, 3, padding="same"), 6, 18, 1),
        (layers.Conv2D(4, 3), 6, 5, 100 / 144),  # a window fits at 10 x 10 of the 12 x 12 pixels
        (layers.Conv2D(4, 1), 6, 5, 1 / 9),  # one weight of nine
        (layers.Conv2D(3, 3, padding="same"), 6, 18, 3 / 4),  # the last pair of planes is half empty
        (layers.Conv2D(4, 7), 24, 5, 49 / 100 * 36 / 144),  # four pieces of 5x5
        (layers.Conv2D(4, 3, strides=2), 6, 5 - 13, 25 / 144),  # 5 x 5 are wanted, not the last row and pixel
        (layers.DepthwiseConv2D(3, padding="same"), 3, 18, 1 / 2),  # each plane for itself
        (layers.Conv2D(6, 3, groups=3, padding="same"), 3, 18, 1),  # each plane for its two filters
    ],
)
def test_other_windows_edges_strides_and_filters_leave_multipliers_idle(layer, passes, more, in_use):
    [row] = mapped(layer, kernel=FixedPoint(0, 6))
    assert (row.reason, row.weight_bits, row.passes, row.cycles) == ("", 8, passes, passes * 144 + more)
    assert row.utilisation == pytest.approx(in_use * passes * 144 / row.cycles)


def test_more_words_make_more_planes_of_sums_at_once():
    network = lower(graph(layers.Conv2D(6, 3, padding="same"), shape=(12, 12, 3), fmt=FORMAT))
    one, three, four = (engine.map_to_engine(network, words)[0] for words in (1, 3, 4))
    assert (one.passes, three.passes, four.passes) == (9, 3, 3)
    assert four.utilisation == pytest.approx(three.utilisation * 3 / 4)
    with pytest.raises(InputError, match="words"):
        engine.map_to_engine(network, 0)


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
