"""Kernels that are rounded once and moved by a part of a step."""

import numpy as np
import pytest

from fewbits import FixedPoint, Formats, quantize, quantize_model
from fewbits.backend import keras, ops
from fewbits.post_training import shift_kernels

L = keras.layers
FMT = FixedPoint(0, 4)


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    x = L.Input((6, 6, 3))
    y = L.Dense(2, name="dense")(L.Flatten()(L.DepthwiseConv2D(3, name="depthwise")(x)))
    return quantize_model(keras.Model(x, y), Formats(FMT, FixedPoint(1, 8), None), rounding="nearest")


def kernels(network):
    return {layer.name: ops.convert_to_numpy(layer.kernel) for layer in network.quantized_layers}


@pytest.mark.parametrize("rounding", ["floor", "nearest", "nearest-up", "nearest-away", "ceiling", "toward-zero"])
def test_each_weight_is_its_rounded_value_plus_the_shift(network, rounding):
    before = kernels(network)
    for name, moved in kernels(shift_kernels(network, -0.25, rounding)).items():
        assert np.array_equal(moved, quantize(before[name], FMT, rounding) - np.float32(0.25 * FMT.step))


def test_the_shifted_kernel_is_what_the_network_computes_with(network):
    moved = shift_kernels(network, 0.5)
    assert all(layer.formats == Formats(None, FixedPoint(1, 8), None) for layer in moved.quantized_layers)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 6, 6, 3)).astype("float32")
    float_network = quantize_model(network, Formats(None, FixedPoint(1, 8), None), rounding="nearest")
    for layer in float_network.quantized_layers:
        layer.kernel.assign(kernels(moved)[layer.name])
    assert np.array_equal(moved.predict_on_batch(x), float_network.predict_on_batch(x))


def test_disabled_layers_and_the_original_stay(network):
    network.get_layer("dense").enabled = False
    before = kernels(network)
    after = kernels(shift_kernels(network, 0.5))
    assert np.array_equal(before["dense"], after["dense"])
    assert not np.array_equal(before["depthwise"], after["depthwise"])
    assert np.array_equal(kernels(network)["depthwise"], before["depthwise"])


def test_filters_of_several_formats_move_by_a_part_of_their_own_step(network):
    layer = network.get_layer("dense")
    formats = FixedPoint(0, 4), FixedPoint(-1, 4)
    layer.set_formats(*layer.formats._replace(kernel=formats))
    before = kernels(network)["dense"]
    after = kernels(shift_kernels(network, 0.5))["dense"]
    for i, fmt in enumerate(formats):
        assert np.array_equal(after[:, i], quantize(before[:, i], fmt, "nearest") + np.float32(fmt.step / 2))


def test_stochastic_rounding_draws_anew_for_each_filter_and_by_the_seed(network):
    layer = network.get_layer("dense")
    layer.kernel.assign(np.full(layer.kernel.shape, 0.3, "float32"))
    a, b, c = (kernels(shift_kernels(network, 0, "stochastic", seed))["dense"] for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c) and not np.array_equal(a[:, 0], a[:, 1])
    assert set(np.unique(a)) == {np.float32(0.25), np.float32(0.375)}
