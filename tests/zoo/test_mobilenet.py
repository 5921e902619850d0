"""MobileNet v1: widths, resolutions, and its kind for CIFAR; its layers are checked in test_applications."""

import numpy as np
import pytest

from fewbits import quantize_model, zoo
from fewbits.backend import keras
from fewbits.costs.complexity import cost_table, totals
from fewbits.quantization.conversion import dequantize_model
from fewbits.training.transfer import take_levels

CIFAR = {1: (3_331_364, 46.4), 0.75: (1_909_876, 26.6), 0.5: (880_836, 12.2), 0.25: (244_244, 3.4)}
LEVELS = ["conv0", *(f"block{i}" for i in range(1, 14)), "fc"]


def filters(model):
    return [layer.filters for layer in model.layers if type(layer) is keras.layers.Conv2D]


def sides(model):
    """Return the height of what each level, but the last, makes."""
    rows = {row.name.split("_")[0]: row.output_shape[0] for row in cost_table(model) if row.macs}
    return [rows[level] for level in LEVELS[:-1]]


def test_its_levels_are_a_convolution_thirteen_blocks_and_a_dense_layer():
    levels = zoo.levels(zoo.build("mobilenet_v1", (32, 32, 3), 10))
    assert [names[0].split("_")[0] for names in levels] == LEVELS
    assert levels[3] == ["block3_depthwise", "block3_pointwise"]


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_cifar"])
@pytest.mark.parametrize("width", [0.1, 1 / 3, 1.3, 2])
def test_any_width_has_as_many_filters_as_keras_has(name, width):
    peer = keras.applications.MobileNet(alpha=width, input_shape=(32, 32, 3), weights=None, classes=10)
    model = zoo.build(name, (32, 32, 3), 10, width=width)
    assert filters(model) == filters(peer)[:-1]  # whose last convolution is our dense layer
    assert model.count_params() == peer.count_params()


def test_the_smallest_width_leaves_conv0_one_filter():
    assert filters(zoo.build("mobilenet_v1", (32, 32, 3), 10, width=1 / 32))[0] == 1


def test_images_of_imagenet_shrink_to_a_32nd():
    assert sides(zoo.build("mobilenet_v1", (224, 224, 3), 10)) == [112] * 2 + [56] * 2 + [28] * 2 + [14] * 6 + [7] * 2


@pytest.mark.parametrize("side", [32, 24, 16])
def test_images_of_cifar_shrink_to_a_sixteenth(side):
    shrunk = sides(zoo.build("mobilenet_cifar", (side, side, 3), 100))
    last = {32: 2, 24: 2, 16: 1}[side]
    assert shrunk == [side] * 2 + [side // 2] * 2 + [side // 4] * 2 + [side // 8] * 6 + [last] * 2


def test_at_32_pixels_the_last_blocks_of_mobilenet_v1_would_see_a_single_pixel():
    assert sides(zoo.build("mobilenet_v1", (32, 32, 3), 100))[-2:] == [1, 1]


@pytest.mark.parametrize("width", CIFAR)
def test_the_kind_for_cifar_has_the_size_its_docstring_says(width):
    parameters, millions = CIFAR[width]
    counted = totals(zoo.build("mobilenet_cifar", (32, 32, 3), 100, width=width))
    assert (counted.parameters, round(counted.macs / 1e6, 1)) == (parameters, millions)


def test_the_kind_for_cifar_differs_in_one_stride_and_in_its_momentum():
    ours, v1 = (zoo.build(name, (32, 32, 3), 10) for name in ("mobilenet_cifar", "mobilenet_v1"))
    different = {}
    for layer, other in zip(ours.layers[1:], v1.layers[1:], strict=True):
        mine, theirs = layer.get_config(), other.get_config()
        if mine != theirs:
            different[layer.name] = {key: (mine[key], theirs[key]) for key in mine if mine[key] != theirs[key]}
    assert different.pop("conv0") == {"strides": ((1, 1), (2, 2))}
    assert len(different) == 27 and all(d == {"momentum": (0.9, 0.99)} for d in different.values())


def test_without_normalization_it_is_the_network_once_folded():
    model = zoo.build("mobilenet_v1", (32, 32, 3), 10, width=0.25)
    folded = dequantize_model(quantize_model(model, fold_batch_normalization=True))
    plain = zoo.build("mobilenet_v1", (32, 32, 3), 10, width=0.25, normalize=False)
    assert [(type(a), a.name) for a in plain.layers] == [(type(a), a.name) for a in folded.layers]
    plain.set_weights(folded.get_weights())
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(plain(images), folded(images))


def test_the_folded_kind_for_cifar_is_that_kind_once_folded_for_images_from_minus_1_to_1():
    rng = np.random.default_rng(0)
    model = zoo.build("mobilenet_cifar", (16, 16, 3), 10, width=0.25)
    model.set_weights([np.abs(rng.normal(1, 0.3, w.shape)) if w.ndim == 1 else w for w in model.get_weights()])
    folded = dequantize_model(quantize_model(model, fold_batch_normalization=True))
    ours = zoo.build("mobilenet_cifar_folded", (16, 16, 3), 10, width=0.25)
    ours.set_weights(folded.get_weights())
    codes = rng.integers(0, 256, (2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(ours(codes / 256), folded(codes / 127.5 - 1), rtol=1e-5, atol=1e-5)


def test_the_folded_kind_takes_all_levels_but_the_last_from_mobilenet_v1():
    theirs = zoo.build("mobilenet_v1", (128, 128, 3), 1001, width=0.1, normalize=False)
    ours = zoo.build("mobilenet_cifar_folded", (32, 32, 3), 10, width=0.1)
    take_levels(ours, theirs, 14)
    for mine, other in zip(ours.get_weights()[:-2], theirs.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(mine, other)
