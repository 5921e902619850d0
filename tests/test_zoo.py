"""The networks, against the figures of the works that describe them."""

import os
import subprocess
import sys
from math import ceil, floor

import numpy as np
import pytest

from fewbits import InputError, quantize_model, zoo
from fewbits.backend import keras
from fewbits.complexity import totals

CHERNIS = {
    "squeezenet_chernis_baseline": 740_554,
    "squeezenet_chernis_e1": 740_554,
    "squeezenet_chernis_e2": 727_594,
    "squeezenet_chernis_e3": 715_162,  # Table 1 has 715,169, a slip
    "squeezenet_chernis_e4": 727_594,
}
SMALL = {"basicnet": (32, 32, 3), "lenet": (28, 28, 1), "squeezenet_v1_0": (64, 64, 3), "squeezenet_v1_1": (64, 64, 3)}
SMALL["squeezenet_digits"] = (8, 8, 1)
SMALL |= dict.fromkeys([*CHERNIS, "squeezenet_chernis_e5", "squeezenet_cifar"], (32, 32, 3))
PUBLISHED_SQUEEZENETS = [name for name in SMALL if name.startswith(("squeezenet_v", "squeezenet_chernis"))]


def levels(model):
    return list(dict.fromkeys(layer.name.split("_")[0] for layer in model.layers if layer.weights))


# Sizes


@pytest.mark.parametrize(
    ("name", "input_shape", "classes", "parameters"),
    [
        ("basicnet", (32, 32, 3), 10, 4_210_090),
        ("lenet", (28, 28, 1), 10, 1_256_080),
        ("squeezenet_v1_0", (224, 224, 3), 1000, 1_248_424),
        ("squeezenet_v1_1", (227, 227, 3), 1000, 1_235_496),
        *((name, (32, 32, 3), 10, parameters) for name, parameters in CHERNIS.items()),
        ("squeezenet_chernis_e5", (32, 32, 3), 100, 773_764),
    ],
)
def test_a_network_has_the_published_number_of_parameters(name, input_shape, classes, parameters):
    assert zoo.build(name, input_shape, classes).count_params() == parameters


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


def test_networks_run_on_jax():
    code = (
        "import numpy as np\n"
        "from fewbits import complexity, zoo\n"
        "model = zoo.build('lenet', (28, 28, 1), 10)\n"
        "print(complexity.totals(model).macs, np.array(model(np.ones((2, 28, 28, 1), 'float32'))).shape)"
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
        ("squeezenet_v1_0", {}, 35),
        ("squeezenet_v1_0", {"pooling": "ceil"}, 21),
        ("squeezenet_v1_1", {}, 31),
        ("squeezenet_v1_1", {"pooling": "ceil"}, 17),
        ("squeezenet_chernis_baseline", {}, 21),
    ],
)
def test_an_image_too_small_is_refused_with_the_smallest_that_is_not(name, options, side):
    assert zoo.build(name, (side, side, 3), 10, **options).output.shape == (None, 10)
    with pytest.raises(InputError, match=f"at least {side} x {side} pixels, not {side + 9} x {side - 1}"):
        zoo.build(name, (side + 9, side - 1, 3), 10, **options)


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
        (("squeezenet_v1_1", (64, 64, 3), 10), {"pool": "ceil"}, "no option 'pool'; it has pooling"),
        (("squeezenet_v1_1", (64, 64, 3), 10), {"pooling": "up"}, "unknown pooling 'up'; it is one of floor, ceil"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(arguments, options, message):
    with pytest.raises(InputError, match=message):
        zoo.build(*arguments, **options)
