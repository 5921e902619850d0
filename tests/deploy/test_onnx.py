"""ONNX files: what ONNX Runtime computes is what Keras does, to the last bit where the network is quantized."""

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, zoo
from fewbits.backend import keras
from fewbits.deploy.frozen import in_float32
from fewbits.io import weights
from fewbits.names import LAYER_ROUNDINGS
from fewbits.quantization import calibration
from fewbits.quantization.activations import QuantizedActivation, QuantizedLeakyReLU, QuantizedPReLU
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.layers import Formats
from fewbits.zoo.trained import find_weights
from helpers.every_layer import every_layer, layers_with_options, several, shaken
from helpers.unsigned import unsigned

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from fewbits.deploy.onnx import ONNXRunner, to_onnx, write_onnx  # noqa: E402

L = keras.layers
ROUNDINGS = [rounding for rounding in LAYER_ROUNDINGS if rounding != "thesis"]


def images_for(model, n=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *model.input_shape[1:])).astype(np.float32) / 256


def gap(model, images=None):
    """Return the largest difference of the outputs, and the largest output."""
    images = images_for(model) if images is None else images
    runner = ONNXRunner(to_onnx(model).SerializeToString())
    every = images if isinstance(images, list) else [images]
    ours = keras.tree.flatten(model.predict(images, verbose=0))
    theirs = [np.stack(x) for x in zip(*(runner.run_all(*of_each) for of_each in zip(*every)))]
    assert [x.shape for x in theirs] == [x.shape for x in ours] and runner.image_shape == every[0].shape[1:]
    gaps = [np.abs(a - b).max() / max(np.abs(b).max(), 1e-9) for a, b in zip(theirs, ours)]
    worst = int(np.argmax(gaps))
    return np.abs(theirs[worst] - ours[worst]).max(), np.abs(ours[worst]).max()


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
        model.set_formats(calibration.formats_for(squeezenet, images, bits, 99.5, signed=True))
        off, largest = gap(model, images)
        assert off == 0 and largest > 0


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_unsigned_formats_are_equal_at_every_width(squeezenet, quantized_squeezenet, rounding):
    images, model = images_for(squeezenet), quantized_squeezenet
    model.set_rounding(rounding)
    for bits in ((8, 8, 8), (6, 6, 6), (4, 4, 4), (8, 4, 6)):
        model.set_formats(calibration.formats_for(squeezenet, images, bits, 99.5))
        assert not any(layer.formats.input.signed for layer in model.quantized_layers)
        off, largest = gap(model, images)
        assert off == 0 and (largest > 0 or rounding == "floor")  # at 4 bits, floor leaves nothing


def test_the_table_of_an_activation_begins_at_the_first_code_of_its_format():
    image = L.Input((4, 5, 3))
    outputs = []
    for nbits, function in ((4, "tanh"), (8, "silu"), (12, "hard_silu")):
        formats = None, unsigned(FixedPoint(2, nbits)), FixedPoint(1, nbits)
        outputs.append(QuantizedActivation(function, formats=formats, rounding="nearest")(image))
    images = np.linspace(-1, 5, 600, dtype=np.float32).reshape(10, 4, 5, 3)
    assert gap(keras.Model(image, outputs), images)[0] == 0


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


@pytest.mark.parametrize("join", [L.Add, L.Average, L.Subtract, L.Multiply, L.Maximum, L.Minimum])
def test_what_joins_images_and_vectors_broadcasts_as_in_keras(join):
    image, vector, number = L.Input((4, 3, 5)), L.Input((5,)), L.Input((1, 1, 5))
    model = keras.Model([image, vector, number], [join()([image, vector]), join()([number, image])])
    assert gap(model, several(model))[0] <= 1e-6


def test_every_layer_that_is_not_refused_is_exported_as_it_computes():
    from fewbits.deploy.onnx import LayerGraph
    from fewbits.quantization.activations import ACTIVATIONS
    from fewbits.quantization.conversion import TRAINING_ONLY
    from fewbits.quantization.layers import QUANTIZED

    model = every_layer()
    passed_on = {*TRAINING_ONLY} - {L.Dropout}  # tested with the integers
    handled = {*QUANTIZED, *LayerGraph._HANDLERS} - {*ACTIVATIONS.values()}  # these are tested below
    assert {type(layer) for layer in model.layers} == {L.InputLayer, *handled} - passed_on
    off, largest = gap(model, several(model))
    assert off <= 1e-5 * largest and largest > 0


FUNCTIONS = """relu relu6 leaky_relu sigmoid tanh elu selu celu softplus softsign exponential softmax log_softmax
    hard_tanh hard_sigmoid hard_silu silu gelu mish log_sigmoid linear""".split()


def test_every_activation_is_that_of_keras():
    image = L.Input((3, 2, 40))
    wide = L.Rescaling(8, offset=-4)(image)
    model = keras.Model(image, [L.Activation(name)(wide) for name in FUNCTIONS])
    off, largest = gap(model)
    assert off <= 1e-5 * largest


def test_every_option_of_a_layer_is_exported():
    image = L.Input((7, 6, 4))
    model = shaken(keras.Model(image, [layer(image) for layer in layers_with_options()]))
    off, largest = gap(model)
    assert off <= 1e-5 * largest


def test_nested_models_operations_and_shared_layers_are_exported():
    image = L.Input((6, 6, 2))
    inner = keras.Sequential([L.Input((6, 6, 2)), L.Conv2D(2, 3, padding="same"), L.BatchNormalization()])
    shared = L.Conv2D(2, 1)
    x = shared(keras.ops.relu(inner(image)))
    model = keras.Model(image, (shared(x) + image) * 0.5 - 1)
    model.layers[1].layers[-1].moving_mean.assign([0.3, -0.2])
    off, largest = gap(model)
    assert off <= 1e-5 * largest


def test_a_copy_of_an_adapted_normalization_computes_as_it_does():
    norm = L.Normalization()
    norm.adapt(np.random.default_rng(0).normal(3, 2, (50, 4, 4, 2)))
    image = L.Input((4, 4, 2))
    inner = keras.Sequential([L.Input((4, 4, 2)), norm, L.Conv2D(2, 1)])
    assert gap(in_float32(keras.Model(image, inner(image))))[0] <= 1e-5


def test_several_inputs_and_outputs_have_the_names_of_keras_each_once():
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    proto = to_onnx(keras.Model([a, b], [a, L.Dense(2, name="b_2")(L.Add(name="b_3")([a, b])), b]))
    inputs, outputs = ([x.name for x in side] for side in (proto.graph.input, proto.graph.output))
    assert inputs == ["a", "b"] and len({*inputs, *outputs}) == 5 and outputs[1].startswith("b_2")


@pytest.mark.parametrize("dtype", ["mixed_float16", "bfloat16", "float64"])
def test_the_way_out_of_other_types_is_one(dtype):
    image = L.Input((4, 4, 2), dtype=dtype.removeprefix("mixed_"))
    model = keras.Model(image, L.Dense(2, dtype=dtype, name="last")(L.Conv2D(3, 2, dtype=dtype, name="odd")(image)))
    with pytest.raises(
        InputError, match=r"layer odd computes in .*; fewbits.deploy.in_float32\(model\) returns a copy"
    ):
        to_onnx(model)
    copy = in_float32(model)
    assert gap(copy)[0] <= 1e-5
    np.testing.assert_allclose(copy.predict(images_for(copy), verbose=0), model(images_for(copy)), atol=0.1)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("bits", [8, 10])  # a table, or the function itself
def test_activations_in_fixed_point_are_equal(rounding, bits):
    names = ["sigmoid", "tanh", "hard_sigmoid", "hard_silu", "silu", "gelu"]
    image = L.Input((3, 3, 4))
    formats = (FixedPoint(0, 6), FixedPoint(2, bits), FixedPoint(1, 7))
    options = {"formats": formats, "rounding": rounding}
    x = [QuantizedActivation(name, **options)(image) for name in names]
    x += [QuantizedLeakyReLU(0.3, **options)(image), QuantizedPReLU("normal", shared_axes=[1], **options)(image)]
    x += [QuantizedActivation("tanh", **options | {"enabled": False})(image)]
    model = keras.Model(image, [*x, QuantizedActivation("linear", **options)(L.Multiply()(x[:2]))])
    images = np.random.default_rng(0).normal(0, 2, (5, 3, 3, 4)).astype(np.float32)
    off, largest = gap(model, images)
    assert off <= 1e-6 * largest  # the one that is not enabled
    quantized = keras.Model(image, [*x[:-1], model.outputs[-1]])
    assert gap(quantized, images)[0] == 0


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (L.Conv2D(2, 3, activation="sparse_plus", name="odd"), "layer odd has the activation sparse_plus.* use one"),
        (L.Softmax(axis=(1, 2), name="odd"), "layer odd is a softmax over several axes; Reshape"),
        (L.UpSampling2D(interpolation="bicubic", name="odd"), "layer odd resizes by bicubic; ONNX files take nearest"),
        (L.UnitNormalization(name="odd"), "layer odd is a UnitNormalization, which cannot be exported to ONNX; use"),
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


def test_a_graph_of_any_size_is_refused():
    free = L.Input((None, None, 2))
    with pytest.raises(InputError, match="takes images of any size"):
        to_onnx(keras.Model(free, L.Conv2D(1, 1)(free)))


def test_a_saved_network_exports_the_same(squeezenet, tmp_path):
    from fewbits.io.files import read_model, write_model

    model = quantize_model(squeezenet, (FixedPoint(0, 8), FixedPoint(2, 8), FixedPoint(3, 8)))
    write_model(model, tmp_path / "q.keras")
    again = read_model(tmp_path / "q.keras")
    assert isinstance(again, QuantizedModel)
    assert to_onnx(again).SerializeToString() == to_onnx(model).SerializeToString()


def test_sums_of_bytes_are_exact_on_processors_without_dot_products_of_bytes():
    n = 16
    nodes = [
        onnx.helper.make_node("Reshape", ["image", "shape"], ["flat"]),
        onnx.helper.make_node("MatMulInteger", ["flat", "kernel"], ["sums"]),
        onnx.helper.make_node("Cast", ["sums"], ["output"], to=onnx.TensorProto.FLOAT),
    ]
    constants = {"shape": np.array([1, n]), "kernel": np.full((n, 1), 127, np.int8)}
    graph = onnx.helper.make_graph(
        nodes,
        "sums",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, 1, 1, n])],
        [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [1, 1])],
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    runner = ONNXRunner(proto.SerializeToString())
    assert runner.run(np.full((1, 1, n), 255, np.uint8)) == n * 255 * 127
