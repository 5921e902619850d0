"""ONNX files: what ONNX Runtime computes is what Keras does, to the last bit where the network is quantized."""

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, zoo
from fewbits.backend import keras
from fewbits.io import weights
from fewbits.names import LAYER_ROUNDINGS
from fewbits.quantization import calibration
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.layers import Formats
from fewbits.zoo.trained import find_weights

pytest.importorskip("onnxruntime")
from fewbits.deploy.onnx import ONNXRunner, to_onnx, write_onnx  # noqa: E402

L = keras.layers
ROUNDINGS = [rounding for rounding in LAYER_ROUNDINGS if rounding != "thesis"]


def images_for(model, n=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *model.input_shape[1:])).astype(np.float32) / 256


def gap(model, images=None):
    """Return the largest difference of the outputs, and the largest output."""
    images = images_for(model) if images is None else images
    runner = ONNXRunner(to_onnx(model).SerializeToString())
    ours = model.predict(images, verbose=0)
    theirs = np.stack([runner.run(image) for image in images])
    assert theirs.shape == ours.shape and runner.image_shape == images.shape[1:]
    return np.abs(theirs - ours).max(), np.abs(ours).max()


def shaken(model, seed=0):
    """Give `model` weights at random that keep its values alive, in every variable."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for v in layer.weights:
            if v.name in ("moving_variance", "gamma"):
                v.assign(rng.uniform(0.5, 1.5, v.shape))
            elif v.name != "kernel":
                v.assign(rng.normal(0, 0.2, v.shape))
    return model


@pytest.fixture(scope="module")
def lenet():
    return shaken(zoo.build("lenet", (12, 12, 2), 7))


@pytest.fixture(scope="module")
def squeezenet():
    model = zoo.build("squeezenet_digits", (8, 8, 1), 10)
    weights.load_weights(model, find_weights("squeezenet_digits"))
    return model


@pytest.fixture(scope="module")
def quantized_squeezenet(squeezenet):
    """Return a quantized network, compiled once; each test sets formats and rounding."""
    return quantize_model(squeezenet)


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("lenet", (12, 12, 2), {}),  # Flatten
        ("mobilenet_cifar", (16, 16, 3), {"width": 0.1}),  # depthwise, batch normalization, ReLU6
        ("mobilenet_cifar_folded", (16, 16, 3), {"width": 0.1}),  # Rescaling
        ("resnet_cifar", (12, 12, 3), {}),  # Add
        ("squeezenet_chernis_baseline", (33, 33, 3), {}),  # odd sides, ceil pooling, Concatenate
    ],
)
def test_a_float_network_is_that_of_keras(name, shape, options):
    off, largest = gap(shaken(zoo.build(name, shape, 7, **options)))
    assert off <= 1e-5 * largest and largest > 0


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_a_quantized_network_is_equal_with_every_rounding(squeezenet, quantized_squeezenet, rounding):
    images, model = images_for(squeezenet), quantized_squeezenet
    model.set_rounding(rounding)
    for bits in ((8, 8, 8), (6, 5, 4)):
        model.set_formats(calibration.formats_for(squeezenet, images, bits, 99.5))
        off, largest = gap(model, images)
        assert off == 0 and largest > 0


def test_roundings_differ_so_that_equality_means_something(squeezenet, quantized_squeezenet):
    images, model = images_for(squeezenet), quantized_squeezenet
    model.set_formats(calibration.formats_for(squeezenet, images, (6, 5, 4), 99.5))
    outputs = []
    for rounding in ROUNDINGS:
        model.set_rounding(rounding)
        runner = ONNXRunner(to_onnx(model).SerializeToString())
        outputs.append(b"".join(runner.run(image).tobytes() for image in images))
    assert len(set(outputs)) >= 3


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_halves_fall_as_the_rounding_says(rounding):
    image = L.Input((1, 1, 8))
    model = quantize_model(keras.Model(image, L.Conv2D(1, 1, name="c")(image), name="halves"), rounding=rounding)
    model.set_formats((None, FixedPoint(2, 4), None))
    kernel = np.zeros((1, 1, 8, 1), np.float32)
    kernel[0, 0, :, 0] = 2.0 ** np.arange(0, 24, 3)  # each input is seen in the sum
    model.get_layer("c").kernel.assign(kernel)
    halves = np.float32([-1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75, 3.75]).reshape(1, 1, 1, 8)
    off, _ = gap(model, halves)
    assert off == 0


def test_msbs_of_each_filter_biases_of_both_orders_and_layers_in_float(lenet):
    images = images_for(lenet)
    for order in ("accumulator", "output"):
        model = quantize_model(lenet, bias_order=order, rounding="nearest-up")
        formats = calibration.formats_for(model, images, 8, 99.9, per_channel=True)
        first, second, *_ = formats
        formats[first] = formats[first]._replace(bias=FixedPoint(0, 8))
        formats[second] = Formats(input=FixedPoint(1, 6))
        model.set_formats(formats)
        off, largest = gap(model, images)
        assert off <= 1e-6 * largest  # a layer multiplies floats
        model.set_level(1)
        assert gap(model, images)[0] <= 1e-6 * largest


def test_a_depthwise_network_folded_is_equal():
    network = shaken(zoo.build("mobilenet_cifar", (16, 16, 3), 7, width=0.1))
    images = images_for(network)
    model = quantize_model(network, fold_batch_normalization=True, rounding="nearest")
    for per_channel in (False, True):
        model.set_formats(calibration.formats_for(model, images, (8, 8, 6), 99.9, per_channel=per_channel))
        off, largest = gap(model, images)
        assert off == 0 and largest > 0


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_averages_that_no_power_of_two_divides_are_equal(padding):
    image = L.Input((9, 9, 2))
    a = L.Conv2D(6, 3, name="conv")(image)
    b = L.AveragePooling2D(3, strides=1, padding=padding, name="average")(a)
    outputs = L.Concatenate()([L.GlobalAveragePooling2D()(a), L.Flatten()(b)])
    model = quantize_model(keras.Model(image, outputs), (FixedPoint(0, 8), FixedPoint(0, 8), FixedPoint(1, 8)))
    assert gap(model)[0] == 0


@pytest.mark.parametrize("pool", [lambda: L.MaxPooling2D(2), lambda: L.GlobalMaxPooling2D()], ids=["windows", "global"])
def test_a_border_of_zeros_counts_in_a_maximum(pool):
    image = L.Input((4, 4, 1))
    model = keras.Model(image, pool()(L.ZeroPadding2D(2)(L.Conv2D(3, 1, name="c")(image))))
    model.get_layer("c").kernel.assign(-np.ones((1, 1, 1, 3)))  # all below the border
    assert gap(model)[0] == 0


def test_sums_of_images_and_vectors_are_refused_by_layer():
    image = L.Input((3, 3, 3))
    with pytest.raises(InputError, match="layer odd adds images and vectors"):
        to_onnx(keras.Model(image, L.Add(name="odd")([image, L.GlobalMaxPooling2D()(image)])))


def every_layer():
    image = L.Input((11, 9, 3))
    x = L.Rescaling(0.5, offset=-0.25)(image)
    x = L.ZeroPadding2D(((1, 2), (0, 3)))(x)
    x = L.Conv2D(6, 3, padding="same", strides=2, groups=3, activation="relu6")(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="tanh")(x)
    x = L.BatchNormalization()(x)
    x = L.ReLU(negative_slope=0.1)(x)
    y = L.Conv2D(12, 3, dilation_rate=2, padding="same")(x)
    x = L.Concatenate()([x, y, x])
    x = L.Concatenate(axis=1)([x, x])
    x = L.MaxPooling2D(3, strides=2, padding="same")(x)
    x = L.AveragePooling2D(2, strides=1, padding="same")(x)
    x = L.Cropping2D(((1, 0), (0, 1)))(x)
    x = L.Dense(10, activation="sigmoid")(x)
    x = L.Add()([x, x, x])
    x = L.Activation("elu")(x)
    spread = L.Softmax()(x)
    a = L.GlobalAveragePooling2D()(L.Identity()(x))
    b = L.GlobalMaxPooling2D(keepdims=True)(spread)
    c = L.Flatten()(L.Reshape((5, -1))(L.Dropout(0.5)(x)))
    x = L.Concatenate()([a, L.Reshape((10,))(b), c])
    x = L.Reshape((2, -1, 5))(x)
    return shaken(keras.Model(image, L.Conv2D(4, (2, 1), name="last")(x), name="every"))


def test_every_layer_that_is_not_refused_is_exported_as_it_computes():
    from fewbits.deploy.frozen import KERNELS
    from fewbits.deploy.onnx import _Graph
    from fewbits.quantization.conversion import TRAINING_ONLY

    model = every_layer()
    passed_on = {*TRAINING_ONLY} - {L.Dropout}  # tested with the integers
    assert {type(layer) for layer in model.layers} == {L.InputLayer, *KERNELS, *_Graph._HANDLERS} - passed_on
    off, largest = gap(model)
    assert off <= 1e-5 * largest and largest > 0


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (L.Conv2D(2, 3, activation="gelu", name="odd"), "layer odd has the activation gelu"),
        (L.ReLU(threshold=0.5, name="odd"), "layer odd is a ReLU with a threshold"),
        (L.Softmax(axis=1, name="odd"), "layer odd is a softmax over axis 1"),
        (L.UnitNormalization(name="odd"), "layer odd is a UnitNormalization, which cannot be exported to ONNX"),
        (L.MaxPooling2D(data_format="channels_first", name="odd"), "layer odd computes with channels first"),
        (L.ReLU(dtype="float16", name="odd"), "layer odd computes in float16"),
    ],
)
def test_what_onnx_has_not_is_refused_by_layer_and_leaves_nothing(layer, said, tmp_path):
    image = L.Input((4, 4, 2))
    with pytest.raises(InputError, match=said):
        write_onnx(keras.Model(image, layer(image)), tmp_path / "odd.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_thesis_operator_and_weights_that_are_none_are_refused_by_layer(lenet):
    model = quantize_model(lenet, (FixedPoint(0, 8),) * 3)
    model.get_layer("conv2").rounding = "thesis"
    with pytest.raises(InputError, match="layer conv2 rounds as the thesis does"):
        to_onnx(model)
    model.get_layer("conv2").rounding = "floor"
    model.get_layer("dense3").bias.assign(np.full(model.get_layer("dense3").bias.shape, np.nan))
    with pytest.raises(InputError, match="bias of layer dense3 holds NaN or infinity"):
        to_onnx(model)


def test_a_graph_of_two_outputs_or_of_any_size_is_refused():
    image, free = L.Input((4, 4, 2)), L.Input((None, None, 2))
    with pytest.raises(InputError, match="has 1 inputs and 2 outputs"):
        to_onnx(keras.Model(image, [image, L.ReLU()(image)]))
    with pytest.raises(InputError, match="takes images of any size"):
        to_onnx(keras.Model(free, L.Conv2D(1, 1)(free)))


def test_a_saved_network_exports_the_same(squeezenet, tmp_path):
    from fewbits.io.files import read_model, write_model

    model = quantize_model(squeezenet, (FixedPoint(0, 8), FixedPoint(2, 8), FixedPoint(3, 8)))
    write_model(model, tmp_path / "q.keras")
    again = read_model(tmp_path / "q.keras")
    assert isinstance(again, QuantizedModel)
    assert to_onnx(again).SerializeToString() == to_onnx(model).SerializeToString()
