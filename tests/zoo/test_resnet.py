"""ResNet: the kind for CIFAR against He et al., 2016; ResNet-50 is checked in test_applications."""

import numpy as np
import pytest

from fewbits import zoo
from fewbits.backend import keras, ops
from fewbits.costs.complexity import cost_table, totals


@pytest.fixture(scope="module")
def resnet20():
    return zoo.build("resnet_cifar", (32, 32, 3), 10)


def trained(model):
    return sum(np.prod(weight.shape) for weight in model.trainable_weights)


def test_resnet_20_has_the_size_its_docstring_says(resnet20):
    counted = totals(resnet20)
    assert (counted.parameters, trained(resnet20), round(counted.macs / 1e6, 1)) == (271_098, 269_722, 40.6)


@pytest.mark.parametrize(("blocks", "depth", "millions"), [(3, 20, 0.27), (5, 32, 0.46), (7, 44, 0.66), (9, 56, 0.85)])
def test_the_depths_of_the_paper_have_the_sizes_of_its_table_6(blocks, depth, millions):
    model = zoo.build("resnet_cifar", (32, 32, 3), 10, blocks=blocks)
    assert sum(hasattr(layer, "kernel") for layer in model.layers) == depth
    assert round(trained(model) / 1e6, 2) == millions


def test_a_stage_has_half_the_sides_and_twice_the_channels_of_the_one_before(resnet20):
    rows = {row.name: row.output_shape for row in cost_table(resnet20)}
    shapes = [rows[f"block{i}_add"] for i in range(1, 10)]
    assert shapes == [(32, 32, 16)] * 3 + [(16, 16, 32)] * 3 + [(8, 8, 64)] * 3


@pytest.mark.parametrize(("name", "blocks"), [("resnet_cifar", 9), ("resnet50", 16)])
def test_every_block_is_a_level(name, blocks):
    levels = zoo.levels(zoo.build(name, (32, 32, 3), 10))
    assert [names[0].split("_")[0] for names in levels] == ["conv0", *(f"block{i}" for i in range(1, blocks + 1)), "fc"]


def taps(model, *names):
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


@pytest.mark.parametrize("sides", [(16, 16), (9, 14)])
def test_a_shortcut_takes_every_second_pixel_and_adds_channels_of_zeros(sides):
    model = zoo.build("resnet_cifar", (*sides, 3), 10, blocks=1)
    images = np.random.default_rng(0).normal(size=(2, *sides, 3))
    before, after = (np.array(x) for x in taps(model, "block1_relu", "block2_shortcut")(images))
    assert before.max() > 0
    np.testing.assert_array_equal(after, np.concatenate([before[:, ::2, ::2], 0 * before[:, ::2, ::2]], axis=-1))


def test_a_block_adds_its_convolutions_to_its_shortcut():
    model = zoo.build("resnet_cifar", (8, 8, 3), 10, blocks=1)
    names = ["block2_conv2_bn", "block2_shortcut", "block2_relu"]
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3))
    residual, shortcut, out = (np.array(x) for x in taps(model, *names)(images))
    assert (out == 0).any() and not np.array_equal(out, shortcut)
    np.testing.assert_array_equal(out, np.maximum(residual + shortcut, 0))


def test_the_windows_of_a_block_that_halves_are_centred_on_the_pixels_of_its_shortcut():
    model = zoo.build("resnet_cifar", (8, 8, 3), 10, blocks=1)
    kernel = np.zeros((3, 3, 16, 32))
    kernel[1, 1, :, :16] = np.eye(16)  # passes the middle of a window on
    model.get_layer("block2_conv1").kernel.assign(kernel)
    images = np.random.default_rng(2).normal(size=(2, 8, 8, 3))
    convolved, shortcut = (np.array(x) for x in taps(model, "block2_conv1", "block2_shortcut")(images))
    np.testing.assert_allclose(convolved, shortcut, rtol=1e-6)


def test_a_block_whose_convolutions_are_zero_passes_its_input_on():
    model = zoo.build("resnet_cifar", (8, 8, 3), 10)
    kernel = model.get_layer("block3_conv2").kernel
    kernel.assign(ops.zeros_like(kernel))
    images = np.random.default_rng(3).normal(size=(2, 8, 8, 3))
    before, after = (np.array(x) for x in taps(model, "block2_relu", "block3_relu")(images))
    np.testing.assert_array_equal(after, before)
