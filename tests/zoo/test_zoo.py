"""The networks, against the figures of the works that describe them."""

import os
import subprocess
import sys
from math import ceil, floor

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, quantize, quantize_model, zoo
from fewbits.backend import keras, ops
from fewbits.costs.complexity import cost_table, totals
from fewbits.io.weights import load_weights, save_weights
from fewbits.post_training import equalize
from fewbits.quantization.conversion import dequantize_model
from fewbits.quantization.observation import observe

CHERNIS = {
    "squeezenet_chernis_baseline": 740_554,
    "squeezenet_chernis_e1": 740_554,
    "squeezenet_chernis_e2": 727_594,
    "squeezenet_chernis_e3": 715_162,  # Table 1 has 715,169, a slip
    "squeezenet_chernis_e4": 727_594,
}
ALONE = {"squeezenet_chernis_kernel": 727_594, "squeezenet_chernis_fires": 728_122}
ALONE |= dict.fromkeys([f"squeezenet_chernis_{change}" for change in ("dropout", "delay", "linear")], 740_554)
SMALL = {"basicnet": (32, 32, 3), "lenet": (28, 28, 1), "squeezenet_v1_0": (64, 64, 3), "squeezenet_v1_1": (64, 64, 3)}
SMALL |= {"alexnet": (67, 67, 3), "alexnet_small": (8, 8, 1), "squeezenet_digits": (8, 8, 1)}
SMALL |= dict.fromkeys([*CHERNIS, *ALONE, "squeezenet_chernis_e5", "squeezenet_cifar"], (32, 32, 3))
SMALL |= {"mobilenet_v1": (32, 32, 3), "resnet50": (32, 32, 3), "inception_v3": (75, 75, 3)}
SMALL |= dict.fromkeys(["mobilenet_cifar", "mobilenet_cifar_folded", "resnet_cifar", "inception_cifar"], (16, 16, 3))
NORMALIZED = ["mobilenet_v1", "mobilenet_cifar", "resnet50", "resnet_cifar", "inception_v3", "inception_cifar"]
PUBLISHED_SQUEEZENETS = [name for name in SMALL if name.startswith(("squeezenet_v", "squeezenet_chernis"))]
PUBLISHED_SQUEEZENETS.remove("squeezenet_chernis_linear")


def levels(model):
    return list(dict.fromkeys(layer.name.split("_")[0] for layer in model.layers if layer.weights))


# Sizes


@pytest.mark.parametrize(
    ("name", "input_shape", "classes", "parameters"),
    [
        ("basicnet", (32, 32, 3), 10, 4_210_090),
        ("lenet", (28, 28, 1), 10, 1_256_080),
        ("alexnet", (227, 227, 3), 1000, 60_965_224),
        ("squeezenet_v1_0", (224, 224, 3), 1000, 1_248_424),
        ("squeezenet_v1_1", (227, 227, 3), 1000, 1_235_496),
        *((name, (32, 32, 3), 10, parameters) for name, parameters in (CHERNIS | ALONE).items()),
        ("squeezenet_chernis_e5", (32, 32, 3), 100, 773_764),
        ("mobilenet_v1", (224, 224, 3), 1000, 4_253_864),
        ("resnet50", (224, 224, 3), 1000, 25_636_712),
        ("inception_v3", (299, 299, 3), 1000, 23_851_784),
    ],
)
def test_a_network_has_the_published_number_of_parameters(name, input_shape, classes, parameters):
    assert zoo.build(name, input_shape, classes).count_params() == parameters


def test_alexnet_has_the_published_parameters_and_sides_layer_by_layer():
    rows = {row.name: row for row in cost_table(zoo.build("alexnet", (227, 227, 3), 1000, groups=1)) if row.activations}
    assert {name: row.parameters for name, row in rows.items() if row.parameters} == {
        "conv1": 34_944,
        "conv2": 614_656,
        "conv3": 885_120,
        "conv4": 1_327_488,
        "conv5": 884_992,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    }
    assert sum(row.parameters for row in rows.values()) == 62_378_344
    sides = {"conv1": 55, "pool1": 27, "conv2": 27, "pool2": 13, "conv3": 13, "conv4": 13, "conv5": 13, "pool5": 6}
    assert {name: rows[name].output_shape[0] for name in sides} == sides


def test_groups_halve_the_kernels_of_three_convolutions_of_alexnet():
    half, whole = (zoo.build("alexnet", (67, 67, 3), 10, groups=groups) for groups in (2, 1))
    for layer in whole.layers:
        if layer.weights:
            grouped = layer.name in ("conv2", "conv4", "conv5")
            assert half.get_layer(layer.name).kernel.shape[-2] * (1 + grouped) == layer.kernel.shape[-2]


@pytest.mark.parametrize(
    ("input_shape", "parameters", "dense", "macs"),
    [((32, 32, 3), 564_370, 446_986, 9_901_824), ((8, 8, 1), 287_566, 170_506, 739_968)],
)
def test_the_small_alexnet_has_most_parameters_in_its_dense_layers_as_its_docstring_says(
    input_shape, parameters, dense, macs
):
    model = zoo.build("alexnet_small", input_shape, 10)
    counted = totals(model)
    assert (counted.parameters, counted.macs) == (parameters, macs)
    assert sum(row.parameters for row in cost_table(model) if row.kind == "dense") == dense > parameters / 2


@pytest.mark.parametrize("name", ["alexnet", "alexnet_small"])
def test_alexnet_has_eight_levels_three_poolings_and_dropout_behind_two_dense_layers(name):
    model = zoo.build(name, SMALL[name], 10)
    convolutions, dense = [f"conv{i}" for i in range(1, 6)], ["fc6", "fc7", "fc8"]
    assert zoo.levels(model) == [[level] for level in convolutions + dense]
    names = [layer.name for layer in model.layers[1:]]
    assert names == (
        ["conv1", "pool1", "conv2", "pool2", *convolutions[2:], "pool5", "flatten"]
        + ["fc6", "drop6", "fc7", "drop7", "fc8"]
    )
    assert [model.get_layer(n).activation.__name__ for n in convolutions + dense] == ["relu"] * 7 + ["linear"]
    assert {model.get_layer(n).rate for n in ("drop6", "drop7")} == {0.5}


def test_the_small_alexnet_is_alexnet_with_fewer_filters_and_units():
    small, big = (zoo.build(name, SMALL[name], 10) for name in ("alexnet_small", "alexnet"))
    for name, share in {**{f"conv{i}": 3 / 16 for i in range(1, 6)}, "fc6": 3 / 32, "fc7": 3 / 32}.items():
        assert small.get_layer(name).output.shape[-1] == share * big.get_layer(name).output.shape[-1]
    assert {layer.groups for layer in small.layers if layer.name.startswith("conv")} == {1}


@pytest.mark.parametrize(("name", "megabytes"), [("basicnet", 17), ("lenet", 5)])
def test_the_networks_without_published_widths_have_the_published_size(name, megabytes):
    assert round(4e-6 * zoo.build(name, SMALL[name], 10).count_params()) == megabytes


def test_the_best_network_of_chernis_has_the_layers_of_its_table_2():
    model = zoo.build("squeezenet_chernis_e4", (32, 32, 3), 10)
    parameters = dict.fromkeys(levels(model), 0)
    for layer in model.layers:
        if layer.weights:
            parameters[layer.name.split("_")[0]] += layer.count_params()
    assert parameters == {
        "conv1": 1_248,
        "fire2": 11_920,
        "fire3": 12_432,
        "fire4": 45_344,  # the table has 43,344
        "fire5": 49_440,
        "fire6": 104_880,
        "fire7": 111_024,
        "fire8": 188_992,
        "fire9": 197_184,
        "conv10": 5_130,  # the table leaves the biases out
    }
    shapes = {name: model.get_layer(name).output.shape[1:] for name in ("conv1", "pool4", "pool8", "conv10")}
    assert shapes == {"conv1": (33, 33, 96), "pool4": (17, 17, 256), "pool8": (9, 9, 512), "conv10": (9, 9, 10)}


def test_each_experiment_of_chernis_changes_what_its_text_says():
    def features(name):
        model = zoo.build(name, (32, 32, 3), 10)
        conv1 = model.get_layer("conv1")
        pools = {layer.name: layer.pool_size[0] for layer in model.layers if type(layer).__name__ == "MaxPooling2D"}
        return conv1.kernel_size[0], conv1.strides[0], pools, len(levels(model)), model.get_layer("drop9").rate

    windows = [{"pool1": w, "pool4": w, "pool8": w} for w in (3, 2)]
    assert [features(name) for name in CHERNIS] == [
        (7, 2, windows[0], 10, 0.5),
        (7, 2, windows[1], 10, 0.5),
        (2, 2, windows[1], 10, 0.5),
        (2, 2, windows[1], 9, 0.3),
        (2, 1, {"pool4": 2, "pool8": 2}, 10, 0.5),
    ]


CHANGES = {  # of the baseline: layer, what of it, from, to; None where there is no such layer
    "e1": {(f"pool{i}", "pool_size", (3, 3), (2, 2)) for i in (1, 4, 8)},
    "kernel": {("conv1", "kernel_size", (7, 7), (2, 2))},
    "fires": {
        (f"fire3_{part}", what, before, None)
        for part, *layer in (
            ("squeeze1x1", 16, 1, "valid"),
            ("expand1x1", 64, 1, "valid"),
            ("expand3x3", 64, 3, "same"),
        )
        for what, before in (
            ("filters", layer[0]),
            ("kernel_size", (layer[1], layer[1])),
            ("padding", layer[2]),
            ("strides", (1, 1)),
            ("activation", "relu"),
        )
    },
    "dropout": {("drop9", "rate", 0.5, 0.3)},
    "delay": {
        ("conv1_pad", "padding", None, ((1, 1), (1, 1))),
        ("conv1", "strides", (2, 2), (1, 1)),
        ("pool1", "pool_size", (3, 3), None),
        ("pool1", "strides", (2, 2), None),
        ("pool1", "padding", "valid", None),
    },
    "linear": {("conv10", "activation", "relu", "linear")},
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_of_chernis_alone_changes_nothing_else_in_the_baseline(name):
    def choices(name):
        found = {}
        for layer in zoo.build(f"squeezenet_chernis_{name}", (32, 32, 3), 10).layers:
            if layer.name not in ("pool1_pad", "pool4_pad", "pool8_pad"):  # follow from the sides of the maps
                config = layer.get_config()
                watched = "filters", "kernel_size", "strides", "padding", "activation", "pool_size", "rate"
                found |= {(layer.name, what): config[what] for what in watched if what in config}
        return found

    before, after = choices("baseline"), choices(name)
    both = {key: (before.get(key), after.get(key)) for key in before | after}
    assert {(*key, *pair) for key, pair in both.items() if pair[0] != pair[1]} == CHANGES[name]


@pytest.mark.parametrize(
    ("name", "conv1", "kernel", "sides"),
    [
        ("baseline", 13, 7, [6, 6, 6, 3, 3, 3, 3, 1, 1]),
        ("e1", 13, 7, [7, 7, 7, 4, 4, 4, 4, 2, 2]),
        ("e2", 16, 2, [8, 8, 8, 4, 4, 4, 4, 2, 2]),
        ("e3", 16, 2, [8, None, 8, 4, 4, 4, 4, 2, 2]),
        ("e4", 33, 2, [33, 33, 33, 17, 17, 17, 17, 9, 9]),
        ("kernel", 16, 2, [8, 8, 8, 4, 4, 4, 4, 2, 2]),
        ("fires", 13, 7, [6, None, 6, 3, 3, 3, 3, 1, 1]),
        ("dropout", 13, 7, [6, 6, 6, 3, 3, 3, 3, 1, 1]),
        ("delay", 28, 7, [28, 28, 28, 14, 14, 14, 14, 7, 7]),
        ("linear", 13, 7, [6, 6, 6, 3, 3, 3, 3, 1, 1]),
    ],
)
def test_the_macs_and_parameters_of_chernis_follow_from_the_sides_of_the_maps(name, conv1, kernel, sides):
    """sides: of fire2 to fire9 and conv10; None without such a level."""
    macs, parameters, channels = conv1**2 * kernel**2 * 3 * 96, (kernel**2 * 3 + 1) * 96, 96
    for side, squeeze in zip(sides[:8], (16, 16, 32, 32, 48, 48, 64, 64), strict=True):
        if side is not None:
            macs += side**2 * squeeze * (channels + 4 * squeeze + 9 * 4 * squeeze)
            parameters += squeeze * (channels + 1) + 4 * squeeze * (squeeze + 1) + 4 * squeeze * (9 * squeeze + 1)
            channels = 8 * squeeze
    macs, parameters = macs + sides[8] ** 2 * channels * 10, parameters + (channels + 1) * 10
    counted = totals(zoo.build(f"squeezenet_chernis_{name}", (32, 32, 3), 10))
    assert (counted.macs, counted.parameters) == (macs, parameters)


@pytest.mark.parametrize(
    ("name", "pooling", "side", "sides"),
    [
        ("squeezenet_v1_0", "floor", 227, {"conv1": 111, "pool1": 55, "pool4": 27, "pool8": 13}),
        ("squeezenet_v1_0", "ceil", 224, {"conv1": 109, "pool1": 54, "pool4": 27, "pool8": 13}),
        ("squeezenet_v1_1", "floor", 227, {"conv1": 113, "pool1": 56, "pool3": 27, "pool5": 13}),
        ("squeezenet_v1_1", "ceil", 227, {"conv1": 113, "pool1": 56, "pool3": 28, "pool5": 14}),
    ],
)
def test_squeezenet_shrinks_its_images_as_published(name, pooling, side, sides):
    model = zoo.build(name, (side, side, 3), 1000, pooling=pooling)
    assert {layer: model.get_layer(layer).output.shape[1] for layer in sides} == sides


@pytest.mark.parametrize("name", ["squeezenet_v1_0", "squeezenet_v1_1"])
def test_the_ten_levels_of_squeezenet_can_be_read_from_its_names(name):
    assert levels(zoo.build(name, SMALL[name], 10)) == ["conv1", *(f"fire{i}" for i in range(2, 10)), "conv10"]


def test_the_squeezenet_for_cifar_has_the_size_its_docstring_says():
    model = zoo.build("squeezenet_cifar", (32, 32, 3), 10)
    folded = quantize_model(model, levels=zoo.levels(model), fold_batch_normalization=True)
    assert totals(folded).parameters == 726_218
    assert levels(model) == ["conv1", *(f"fire{i}" for i in range(2, 10)), "conv10"]


@pytest.mark.parametrize("name", PUBLISHED_SQUEEZENETS)
def test_a_relu_follows_every_convolution_of_squeezenet_the_last_too(name):
    model = zoo.build(name, SMALL[name], 10)
    assert {layer.activation.__name__ for layer in model.layers if layer.weights} == {"relu"}
    assert [layer.name for layer in model.layers[-3:]] == ["drop9", "conv10", "pool10"]


# Values


@pytest.mark.parametrize("name", zoo.NAMES)
def test_logits_grow_with_the_weights_of_the_last_layer(name):
    model = zoo.build(name, SMALL[name], 7)
    images = np.random.default_rng(0).random((3, *SMALL[name]), np.float32)
    logits = np.array(model(images))
    last = [layer for layer in model.layers if layer.weights][-1]
    last.set_weights([2 * weight for weight in last.get_weights()])
    assert logits.shape == (3, 7)
    assert np.abs(logits).max() > 0
    np.testing.assert_allclose(model(images), 2 * logits, rtol=1e-5)  # softmax would not


@pytest.mark.parametrize("name", NORMALIZED)
def test_batch_normalization_folds_into_every_convolution_and_levels_keep_their_names(name):
    model = zoo.build(name, SMALL[name], 7)
    rng = np.random.default_rng(4)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.weights])
    folded = quantize_model(model, levels=zoo.levels(model), fold_batch_normalization=True)
    assert not any(type(layer).__name__ == "BatchNormalization" for layer in folded.layers)
    assert all(layer.bias is not None for layer in folded.quantized_layers)
    assert folded.levels == len(zoo.levels(model)) == len(zoo.levels(folded))
    images = rng.random((2, *SMALL[name]), np.float32)
    logits = np.array(model(images))
    np.testing.assert_allclose(folded(images), logits, rtol=0, atol=1e-4 * np.abs(logits).max())


def pooled(x, window, rounded):
    """Return the maxima of `x` (batch, height, width, channels), window by window."""
    height, width = (1 + rounded((side - window) / 2) for side in x.shape[1:3])
    out = np.empty((len(x), height, width, x.shape[3]), x.dtype)
    for i, j in np.ndindex(height, width):
        out[:, i, j] = x[:, 2 * i : 2 * i + window, 2 * j : 2 * j + window].max((1, 2))
    return out


@pytest.mark.parametrize(("pooling", "rounded"), [("floor", floor), ("ceil", ceil)])
@pytest.mark.parametrize("sides", [(35, 35), (36, 44), (41, 38), (51, 49), (64, 33)])
def test_pooling_agrees_with_windows_cut_by_hand(pooling, rounded, sides):
    model = zoo.build("squeezenet_v1_1", (*sides, 3), 10, pooling=pooling)
    pairs = [("conv1", "pool1"), ("fire3_concat", "pool3"), ("fire5_concat", "pool5")]
    taps = keras.Model(model.input, [model.get_layer(name).output for pair in pairs for name in pair])
    values = [np.array(x) for x in taps(np.random.default_rng(1).normal(size=(2, *sides, 3)))]
    for before, after in zip(values[::2], values[1::2], strict=True):
        np.testing.assert_array_equal(after, pooled(before, 3, rounded))


@pytest.mark.parametrize("side", [32, 33, 34, 35])
def test_windows_of_two_are_completed_too(side):
    model = zoo.build("squeezenet_chernis_e4", (side, side, 3), 10)
    taps = keras.Model(model.input, [model.get_layer(name).output for name in ("fire4_concat", "pool4")])
    before, after = (np.array(x) for x in taps(np.random.default_rng(2).normal(size=(1, side, side, 3))))
    np.testing.assert_array_equal(after, pooled(before, 2, ceil))


# Groups, as alexnet has them


def grouped_network(groups):
    """Return a 3x3 convolution in `groups` behind one without, whose weights are of very different sizes."""
    x = image = keras.layers.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="first")(x)
    x = keras.layers.Conv2D(6, 3, groups=groups, name="second")(x)
    model, rng = keras.Model(image, x), np.random.default_rng(5)
    for layer in model.layers[1:]:
        layer.set_weights([rng.normal(size=w.shape) * 2.0 ** rng.uniform(-3, 1, w.shape[-1]) for w in layer.weights])
    return model


def convolved(x, kernel, groups):
    """Return the products of `x` (batch, height, width, in) and `kernel` (3, 3, in / groups, out), group by group."""
    windows = np.lib.stride_tricks.sliding_window_view(np.float64(x), (3, 3), (1, 2))  # batch, y, x, in, 3, 3
    parts = zip(np.split(windows, groups, 3), np.split(np.float64(kernel), groups, 3))
    return np.concatenate([np.einsum("byxihw,hwio->byxo", *part) for part in parts], axis=3)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_quantized_convolution_in_groups_is_the_one_by_hand(groups, per_channel):
    kernel_formats = [FixedPoint(i % 3 if per_channel else 1, 5) for i in range(6)]
    x_format, out = FixedPoint(1, 6), FixedPoint(2, 8)
    model = grouped_network(groups)
    formats = {"second": (kernel_formats, x_format, out)}
    network = quantize_model(model, formats, rounding="nearest")
    assert network.get_layer("second").groups == groups
    images = np.random.default_rng(6).random((4, 6, 6, 3), np.float32)
    x = np.array(keras.Model(model.input, model.get_layer("first").output)(images))
    kernel, bias = model.get_layer("second").get_weights()
    kernel = np.stack([quantize(kernel[..., i], f, "nearest") for i, f in enumerate(kernel_formats)], axis=-1)
    grids = np.array([f.step * x_format.step for f in kernel_formats])
    products = convolved(quantize(x, x_format, "nearest"), kernel, groups)
    expected = quantize(products + np.round(bias / grids) * grids, out, "nearest")
    np.testing.assert_array_equal(network(images), expected)
    assert len(np.unique(expected)) > 20


def test_groups_keep_their_outputs_through_observation_conversion_back_and_equalization():
    model = grouped_network(2)
    images = np.random.default_rng(7).random((4, 6, 6, 3), np.float32)
    before = np.array(model(images))
    network = quantize_model(model)
    np.testing.assert_array_equal(network(images), before)
    np.testing.assert_array_equal(dict(observe(network, images))["second"].output, before)
    np.testing.assert_array_equal(dequantize_model(network)(images), before)
    equal = equalize(model)
    np.testing.assert_array_equal(equal(images), before)
    first, second = (ops.convert_to_numpy(equal.get_layer(name).kernel) for name in ("first", "second"))
    writes, reads = np.abs(first).max((0, 1, 2)), np.abs(second).max((0, 1))  # (4,), and (2, 6) of two groups
    reads = [reads[channel % 2, 3 * (channel // 2) :][:3].max() for channel in range(4)]
    assert np.abs(np.log2(writes / reads)).max() <= 1 + 1e-6  # but for the rounding of scales to powers of two


def test_networks_run_on_jax():
    code = (
        "import numpy as np\n"
        "from fewbits import costs, zoo\n"
        "model = zoo.build('lenet', (28, 28, 1), 10)\n"
        "print(costs.totals(model).macs, np.array(model(np.ones((2, 28, 28, 1), 'float32'))).shape)"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "6522000 (2, 10)\n", done.stderr


# Mistakes


@pytest.mark.parametrize(
    ("name", "options", "side"),
    [
        ("basicnet", {}, 2),
        ("lenet", {}, 4),
        ("alexnet", {}, 67),
        ("alexnet_small", {}, 8),
        ("squeezenet_v1_0", {}, 35),
        ("squeezenet_v1_0", {"pooling": "ceil"}, 21),
        ("squeezenet_v1_1", {}, 31),
        ("squeezenet_v1_1", {"pooling": "ceil"}, 17),
        ("squeezenet_chernis_baseline", {}, 21),
        ("inception_v3", {}, 75),
        ("inception_cifar", {}, 7),
    ],
)
def test_an_image_too_small_is_refused_with_the_smallest_that_is_not(name, options, side):
    assert zoo.build(name, (side, side, 3), 10, **options).output.shape == (None, 10)
    with pytest.raises(InputError, match=f"at least {side} x {side} pixels, not {side + 9} x {side - 1}"):
        zoo.build(name, (side + 9, side - 1, 3), 10, **options)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_cifar", "resnet50", "resnet_cifar"])
def test_networks_that_pad_every_window_take_images_of_any_size(name):
    assert zoo.build(name, (1, 2, 1), 10).output.shape == (None, 10)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("squeezenet_v11", (64, 64, 3), 10), {}, "perhaps 'squeezenet_v1_1'; there are basicnet, lenet, "),
        (("zzz", (64, 64, 3), 10), {}, "unknown network 'zzz'; there are basicnet, "),
        (("lenet", (28, 28, 1), 1), {}, "classes must be an integer of at least 2, not 1"),
        (("lenet", (28, 28, 1), 10.0), {}, "not 10.0"),
        (("lenet", (28, 28, 1), True), {}, "not True"),
        (("lenet", 28, 10), {}, "not 28"),
        (("lenet", (28, 28), 10), {}, r"input_shape must be \(height, width, channels\)"),
        (("lenet", (28, None, 1), 10), {}, "integers of at least 1"),
        (("lenet", (28, 28, 1), 10), {"pooling": "ceil"}, "lenet has no option 'pooling'; it has none"),
        (("alexnet", (67, 67, 3), 10), {"groups": 3}, "groups must be 1 or 2, not 3"),
        (("alexnet_small", (8, 8, 1), 10), {"groups": 1}, "alexnet_small has no option 'groups'; it has none"),
        (("squeezenet_v1_1", (64, 64, 3), 10), {"pool": "ceil"}, "no option 'pool'; it has pooling"),
        (("squeezenet_v1_1", (64, 64, 3), 10), {"pooling": "up"}, "unknown pooling 'up'; it is one of floor, ceil"),
        *(
            (("mobilenet_v1", (32, 32, 3), 10), {"width": width}, "width must be a number of at least 1/32")
            for width in (0, 0.03, -1, float("nan"), float("inf"), True, "1", None)
        ),
        (("mobilenet_cifar", (32, 32, 3), 10), {"normalize": False}, "no option 'normalize'; it has width"),
        *(
            (("resnet_cifar", (32, 32, 3), 10), {"blocks": blocks}, "blocks must be an integer of at least 1, not ")
            for blocks in (0, -1, 2.0, True, "3")
        ),
    ],
)
def test_a_mistake_is_told_in_one_sentence(arguments, options, message):
    with pytest.raises(InputError, match=message):
        zoo.build(*arguments, **options)


# Trained weights


def test_a_network_is_built_with_its_weights_by_name_or_path(tmp_path):
    shape = (8, 8, 1)
    named = zoo.build("squeezenet_digits", shape, 10, weights="squeezenet_digits")
    drawn = zoo.build("squeezenet_digits", shape, 10)
    load_weights(drawn, zoo.find_weights("squeezenet_digits"))
    path = tmp_path / "mine.npz"
    save_weights(drawn, path)
    for model in (named, *(zoo.build("squeezenet_digits", shape, 10, weights=where) for where in (path, str(path)))):
        for mine, given in zip(drawn.get_weights(), model.get_weights(), strict=True):
            assert np.array_equal(mine, given)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("squeezenet_digit", "there are no weights 'squeezenet_digit'; there are "),
        ("missing.npz", "missing.npz does not exist"),
        ("alexnet_digits", "alexnet_digits.npz has no array "),
    ],
)
def test_weights_that_do_not_exist_or_fit_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        zoo.build("squeezenet_digits", (8, 8, 1), 10, weights=weights)
