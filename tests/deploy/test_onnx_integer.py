"""Integer ONNX files: ONNX Runtime's codes are the network's, and what 8 bits do not hold is refused by name."""

import numpy as np
import pytest

from fewbits import FixedPoint, names
from fewbits.backend import keras
from fewbits.deploy import operations
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError
from fewbits.quantization import calibration
from fewbits.quantization.conversion import quantize_model
from helpers.graphs import DIGITS, FORMAT, GRAPHS, PIXELS, assert_identical, graph, per_filter, trained
from helpers.integer_networks import Network, ends, every_operation

onnx_integer = pytest.importorskip("fewbits.deploy.onnx_integer")
runtime = pytest.importorskip("onnxruntime")
onnx_numpy = pytest.importorskip("onnx.numpy_helper")
layers = keras.layers
RNG = np.random.default_rng(2)


def codes(network, images):
    session = runtime.InferenceSession(onnx_integer.to_integer_onnx(network).SerializeToString())
    return session.run(None, {"image": images})[0]


def assert_same(network):
    pixels = RNG.integers(0, 256, (20, *network.image.shape), np.uint8)
    expected = network.run(pixels)
    assert len(np.unique(expected)) > 1 and np.array_equal(codes(network, pixels), expected)


@pytest.mark.parametrize("name", ["squeezenet_digits", "lenet", "mobilenet_cifar"])
def test_onnx_runtime_has_the_codes_of_the_integers_on_all_test_images(name):
    keras.utils.set_random_seed(3)
    model = quantize_model(trained(name), fold_batch_normalization=True)
    for bits, rounding in ((8, "nearest"), (6, "floor"), (4, "nearest")):
        model.set_formats(calibration.formats_for(model, DIGITS.scaled(DIGITS.test.take(64)), bits, signed=True))
        model.set_rounding(rounding)
        network = lower(model, levels=DIGITS.levels)
        assert np.array_equal(codes(network, PIXELS), network.run(PIXELS))


def zero_points(proto):
    """Return the zero point of each ConvInteger."""
    arrays = {array.name: onnx_numpy.to_array(array) for array in proto.graph.initializer}
    return [int(arrays[node.input[2]]) for node in proto.graph.node if node.op_type == "ConvInteger"]


@pytest.mark.parametrize("bits", [8, 6, 4, (8, 4, 6)])
@pytest.mark.parametrize("name", ["squeezenet_digits", "mobilenet_cifar"])
def test_unsigned_codes_have_the_zero_point_0_and_are_those_of_the_simulation(name, bits):
    model = quantize_model(trained(name), fold_batch_normalization=True, rounding="nearest")
    model.set_formats(calibration.formats_for(model, DIGITS.scaled(DIGITS.test.take(64)), bits))
    network = assert_identical(model, PIXELS, levels=DIGITS.levels)
    assert any(tensor.high == 2 ** model.quantized_layers[1].formats.input.nbits - 1 for tensor in network.tensors)
    assert set(zero_points(onnx_integer.to_integer_onnx(network))) == {0}
    assert np.array_equal(codes(network, PIXELS), network.run(PIXELS))


def test_signed_and_unsigned_codes_stand_side_by_side():
    model = graph(layers.Conv2D(4, 3), layers.Conv2D(4, 3), layers.AveragePooling2D(2), layers.Conv2D(2, 1))
    first, second, third = (layer.formats for layer in model.quantized_layers)
    model.quantized_layers[0].set_formats(*first[:2], FixedPoint(1, 8))
    model.quantized_layers[1].set_formats(second.kernel, FixedPoint(1, 8), FixedPoint(1, 8, signed=False))
    model.quantized_layers[2].set_formats(third.kernel, FixedPoint(1, 8, signed=False), FixedPoint(2, 8, signed=False))
    network = lower(model)
    assert zero_points(onnx_integer.to_integer_onnx(network)) == [
        0,
        128,
        0,
        0,
    ]  # the image, codes, the average, its sum
    assert_same(network)


@pytest.mark.parametrize(("number", "build"), list(enumerate(GRAPHS)), ids=map(str, range(len(GRAPHS))))
def test_every_layer_that_can_be_lowered_has_the_same_codes(number, build):
    for rounding in {"nearest", names.INTEGER_ROUNDINGS[number % 4]}:
        assert_same(lower(graph(*build(), rounding=rounding)))


def test_every_operation_of_joins_functions_and_moves():
    net = every_operation()
    network, pixels = net.made(), net.pixels(20)
    np.testing.assert_array_equal(codes(network, pixels), network.run(pixels))


@pytest.mark.parametrize("outputs", [[], ["total", "joined"], ["image", "vector", "input"], ["last", "flat"]])
def test_several_inputs_and_outputs_are_numbered(outputs):
    network, images = ends(outputs)
    proto = onnx_integer.to_integer_onnx(network)
    session = runtime.InferenceSession(proto.SerializeToString())
    made = session.run(None, {f"image{n}": image for n, image in enumerate(images, 1)})
    expected = network.run(images) if outputs else [network.run(images)]
    assert len(made) == len(expected) and all(map(np.array_equal, made, expected))
    assert [x.name for x in session.get_outputs()] == [
        f"codes{n + 1}" if outputs else "codes" for n in range(len(made))
    ]
    assert len(proto.metadata_props) == 2 * len(made)


def test_joins_beyond_32_bits_are_refused():
    net = Network()
    net.requantize(net.extreme(operations.Smallest, (0, 0), (30, 0)), 30)
    with pytest.raises(InputError, match="layer layer0 joins codes of 39 bits, and integers in ONNX have 32"):
        onnx_integer.to_integer_onnx(net.made())


def test_filters_with_formats_of_their_own_and_biases_behind_the_output():
    model = graph(layers.Conv2D(4, 3), layers.Conv2D(3, 1), bias_order="output")
    for layer in model.quantized_layers:
        layer.set_formats(per_filter(layer, layer.filters), FORMAT["input"], FORMAT["output"], FixedPoint(0, 7))
    assert_same(lower(model))


def test_a_mean_is_taken_from_the_pixels():
    network = lower(graph(layers.Conv2D(4, 3, padding="same")), mean=(3, 50, 120))
    assert_same(network)
    assert network.image.low == -120


def test_the_file_says_what_a_code_stands_for():
    network = lower(graph(layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()))
    properties = {entry.key: int(entry.value) for entry in onnx_integer.to_integer_onnx(network).metadata_props}
    assert properties == {"exponent": network.tensors[-1].exponent, "divisor": 20}


@pytest.mark.parametrize(
    ("fmt", "match"),
    [
        ({"kernel": FixedPoint(0, 12)}, "layer here multiplies codes of more than 8 bits"),
        ({"input": FixedPoint(0, 10)}, "layer here multiplies codes of more than 8 bits"),
    ],
)
def test_what_convinteger_does_not_multiply_is_refused_and_leaves_no_file(fmt, match, tmp_path):
    network = lower(graph(layers.Conv2D(2, 1, name="here"), fmt=FORMAT | fmt))
    with pytest.raises(InputError, match=match):
        onnx_integer.write_integer_onnx(network, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_codes_beyond_32_bits_are_refused():
    wide = {
        "kernel": FixedPoint(0, 8),
        "input": FixedPoint(0, 8),
        "output": FixedPoint(0, 8),
        "bias": FixedPoint(30, 8),
    }
    model = graph(layers.Conv2D(2, 1, name="here"), fmt=wide, bias_order="output")
    model.get_layer("here").bias.assign([1e9, -1e9])
    network = lower(model)
    with pytest.raises(InputError, match="layer here makes codes of .* bits, and integers in ONNX have 32"):
        onnx_integer.to_integer_onnx(network)


@pytest.mark.parametrize("pool", [{"pool_size": 2}, {"pool_size": (3, 2), "strides": (1, 3)}, {"pool_size": 4}])
def test_averages_of_codes_beyond_8_bits(pool):
    model = graph(layers.Conv2D(2, 1), layers.AveragePooling2D(**pool), fmt=FORMAT | {"output": None})
    network = lower(model)
    assert max(tensor.bits for tensor in network.tensors[:3]) > 8
    assert_same(network)


def test_pixels_beyond_8_bits_are_refused():
    with pytest.raises(InputError, match="more than 8 bits"):
        onnx_integer.to_integer_onnx(lower(graph(layers.Conv2D(2, 1)), levels=512))


def test_weights_take_a_byte_each(tmp_path):
    model = quantize_model(trained("squeezenet_digits"))
    model.set_formats((FixedPoint(0, 8), FixedPoint(2, 8), FixedPoint(2, 8)))
    onnx_integer.write_integer_onnx(lower(model, levels=32), tmp_path / "model.onnx")
    floats = 4 * sum(np.prod(v.shape) for v in model.trainable_variables)
    assert (tmp_path / "model.onnx").stat().st_size < 0.4 * floats  # a small network: its nodes count too
