"""A quantized network as integers: the codes of the simulation, sums that stay within proven bounds, no float."""

from dataclasses import replace
from fractions import Fraction
from math import floor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbits import FixedPoint, names, zoo
from fewbits.backend import keras
from fewbits.deploy import identity, operations
from fewbits.deploy.identity import Agreement, compare_layers, compare_program
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError
from fewbits.quantization import calibration
from fewbits.quantization.conversion import quantize_model
from helpers.graphs import (
    DIGITS,
    FORMAT,
    GRAPHS,
    PIXELS,
    assert_identical,
    branches,
    graph,
    per_filter,
    trained,
)

layers = keras.layers
RNG = np.random.default_rng(7)


@pytest.fixture(scope="module", params=["squeezenet_digits", "lenet", "mobilenet_cifar"])
def quantized(request):
    keras.utils.set_random_seed(3)
    return quantize_model(trained(request.param), fold_batch_normalization=True)


@pytest.mark.parametrize(
    ("bits", "rounding"), [(8, "nearest"), (4, "nearest"), *((6, r) for r in names.INTEGER_ROUNDINGS)]
)
def test_integers_say_what_the_simulation_says_on_all_test_images(quantized, bits, rounding):
    quantized.set_formats(calibration.formats_for(quantized, DIGITS.scaled(DIGITS.test.take(64)), (bits,) * 3))
    quantized.set_rounding(rounding)
    network = lower(quantized, levels=DIGITS.levels)
    assert not network.beyond_float32
    for name, found in compare_layers(quantized, network, PIXELS).items():
        assert found.codes and found.different == 0, name
    if rounding == "nearest":  # a network of zeros alone proves nothing
        assert np.ptp(network.run(PIXELS), axis=0).any()


@pytest.fixture
def squeezenet():
    return quantize_model(trained("squeezenet_digits"), rounding="nearest")


def test_sums_that_float32_does_not_hold_are_named_and_simulated_in_float64(squeezenet, monkeypatch):
    squeezenet.set_formats(calibration.formats_for(squeezenet, DIGITS.scaled(DIGITS.test.take(64)), (16, 16, 16)))
    network = lower(squeezenet, levels=DIGITS.levels)
    assert "conv1" in network.beyond_float32
    assert max(operation.partial_bits for operation in network.convolutions) > 32  # so NumPy must have taken int64
    assert all(found.different == 0 for found in compare_layers(squeezenet, network, PIXELS).values())
    monkeypatch.setattr(identity, "simulation", lambda model, dtype: model)
    assert any(found.different for found in compare_layers(squeezenet, network, PIXELS).values())


def one_sum():
    """Return a quantized model of one convolution without an output format, and its network, which ends in the sum."""
    model = graph(layers.Conv2D(2, 3), fmt=FORMAT | {"output": None})
    return model, lower(model)


def test_float32_is_trusted_up_to_two_to_the_24_and_no_further():
    _, network = one_sum()
    *before, operation = network.operations
    for magnitude, named in ((2**24, []), (2**24 + 1, [operation.layer])):
        assert replace(network, operations=[*before, replace(operation, magnitude=magnitude)]).beyond_float32 == named


def test_codes_that_are_one_step_off_are_counted():
    model, network = one_sum()
    *before, operation = network.operations
    off = replace(network, operations=[*before, replace(operation, bias=operation.bias + 1)])
    pixels = RNG.integers(0, 256, (4, *network.image.shape))
    expected = Agreement(4 * operation.output.size, 4 * operation.output.size, 1)
    assert compare_layers(model, off, pixels) == {operation.layer: expected}
    program = SimpleNamespace(run=lambda image: off.run(image[np.newaxis]))
    assert compare_program(network.run(pixels), program, pixels) == expected


# Small graphs with what the three networks do not have


@pytest.mark.parametrize(("number", "build"), list(enumerate(GRAPHS)), ids=map(str, range(len(GRAPHS))))
def test_every_layer_that_can_be_lowered_says_the_same(number, build):
    for rounding in {"nearest", names.INTEGER_ROUNDINGS[number % 4]}:
        assert_identical(graph(*build(), rounding=rounding))


@pytest.mark.parametrize("rounding", names.INTEGER_ROUNDINGS)
def test_filters_with_formats_of_their_own(rounding):
    model = graph(layers.Conv2D(4, 3, activation="relu"), layers.Conv2D(5, 1), layers.Conv2D(2, 1), rounding=rounding)
    for layer, output in zip(model.quantized_layers, (FORMAT["output"], None, None)):
        layer.set_formats(per_filter(layer, layer.filters), FORMAT["input"], output)
    network = assert_identical(model)
    assert any(isinstance(tensor.exponent, tuple) for tensor in network.tensors)


@pytest.mark.parametrize("fmt", [FixedPoint(1, 4), FixedPoint(1, 9)], ids=["coarser", "finer"])
@pytest.mark.parametrize("order", ["accumulator", "output"])
def test_a_bias_with_a_format_of_its_own(order, fmt):
    model = graph(layers.Conv2D(4, 2, activation="relu"), layers.Conv2D(3, 1), bias_order=order)
    for layer in model.quantized_layers:
        layer.set_formats(*FORMAT.values(), fmt)
    assert_identical(model)


def test_a_border_of_zeros_counts_in_the_bounds():
    model = graph(layers.Conv2D(2, 1), layers.Conv2D(2, 3, padding="same"))
    first, second = model.quantized_layers
    for variable, value in ((first.kernel, 0.0), (first.bias, 1.0), (second.kernel, 0.25), (second.bias, 0.0)):
        variable.assign(np.full(variable.shape, value))
    second.set_formats(FORMAT["kernel"], FORMAT["input"])
    network = assert_identical(model)  # in the corners fewer pixels count, and none is negative
    assert network.tensors[network.outputs[first.name]].low > 0


def test_a_mean_is_taken_from_the_pixels():
    assert_identical(graph(layers.Conv2D(4, 3, padding="same")), levels=128, mean=(3, 50, 120))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
    st.lists(st.integers(-3, 3), min_size=3, max_size=3),
    st.sampled_from(names.INTEGER_ROUNDINGS),
    st.booleans(),
)
def test_any_formats_say_the_same(bits, msbs, rounding, output):
    model = graph(layers.Conv2D(3, 2, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(2))
    model.set_rounding(rounding)
    kernel, inside, outside = (FixedPoint(msb, n) for msb, n in zip(msbs, bits))
    model.set_formats((kernel, inside, outside if output else None))
    network = lower(model)
    pixels = RNG.integers(0, 256, (4, *network.image.shape))
    assert all(found.different == 0 for found in compare_layers(model, network, pixels).values())


# What is proven


@settings(max_examples=200, deadline=None)
@given(st.integers(-(2**40), 2**40), st.integers(1, 5000), st.sampled_from(names.INTEGER_ROUNDINGS))
def test_division_is_that_of_fractions(code, divisor, rounding):
    exact = Fraction(code, divisor)
    half_up = floor(exact + Fraction(1, 2))
    expected = {
        "floor": floor(exact),
        "nearest": round(exact),  # half to even, of a fraction without any float
        "nearest-up": half_up,
        "nearest-away": half_up if exact >= 0 else -floor(-exact + Fraction(1, 2)),
    }[rounding]
    assert operations.divide_rounded(np.array([code]), divisor, rounding) == expected


@pytest.mark.parametrize("sign", [1, -1])
def test_the_bounds_of_a_convolution_are_reached(sign):
    model = graph(layers.Conv2D(1, (2, 3), use_bias=True), shape=(2, 3, 2), fmt=FORMAT | {"output": None})
    network = lower(model)
    [operation] = network.convolutions
    codes = np.where(sign * operation.kernel[..., 0] > 0, network.tensors[-2].high, network.tensors[-2].low)[None]
    assert operation.compute(codes).item() == (operation.output.high if sign > 0 else operation.output.low)


def test_accumulators_hold_every_partial_sum():
    model = graph(layers.Conv2D(3, 3, padding="same"), fmt=FORMAT | {"output": None})
    [operation] = lower(model).convolutions
    low, high = -(2 ** (operation.partial_bits - 1)), 2 ** (operation.partial_bits - 1) - 1
    inputs = lower(model).tensors[-2]
    for filters in np.moveaxis(operation.kernel, -1, 0):
        products = np.stack([filters.ravel() * inputs.low, filters.ravel() * inputs.high])
        assert low <= np.minimum(products.min(0), 0).sum() + min(0, operation.bias.min())
        assert np.maximum(products.max(0), 0).sum() + max(0, operation.bias.max()) <= high


class Integers(np.ndarray):
    """An array that refuses to become one of floats."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(x) for x in inputs]
        options["out"] = tuple(np.asarray(x) for x in options["out"]) if options.get("out") else None
        result = getattr(ufunc, method)(*plain, **{k: v for k, v in options.items() if v is not None})
        parts = result if isinstance(result, tuple) else (result,)
        assert all(np.asarray(x).dtype.kind in "iub" for x in (*plain, *parts)), ufunc
        wrapped = tuple(np.asarray(x).view(Integers) for x in parts)
        return wrapped if isinstance(result, tuple) else wrapped[0]


def test_no_operation_computes_a_float(quantized):
    quantized.set_formats(calibration.formats_for(quantized, DIGITS.scaled(DIGITS.test.take(64)), (8, 8, 8)))
    quantized.set_rounding("nearest")
    network = lower(quantized, levels=DIGITS.levels)
    codes = {0: PIXELS[:2].astype(np.int64).view(Integers)}
    for number, operation in enumerate(network.operations, 1):
        codes[number] = operation.compute(*(codes[i] for i in operation.inputs)).view(Integers)
        assert codes[number].dtype.kind == "i"
    assert np.array_equal(codes[len(network.operations)].reshape(2, 10), network.run(PIXELS[:2]))
    with pytest.raises(AssertionError):  # the watch can bark
        codes[0] / 2


# What is refused


def refused(match, model, **options):
    with pytest.raises(InputError, match=match):
        lower(model, **options)


def test_layers_that_multiply_floats_are_refused_by_name():
    for fmt in ({"kernel": None}, {"input": None}):
        refused("layer here multiplies floats", graph(layers.Conv2D(2, 1, name="here"), fmt=FORMAT | fmt))
    model = graph(layers.Conv2D(2, 1, name="first"), layers.Conv2D(2, 1, name="here"))
    model.set_level(1)
    refused("layer here multiplies floats", model)


class Own:
    """An activation of one's own, an object."""

    def __call__(self, x):
        return 2 * x


def test_roundings_and_layers_that_integers_lack_are_refused_by_name():
    refused("layer here rounds as the thesis does", graph(layers.Conv2D(2, 1, name="here"), rounding="thesis"))
    refused("here is a BatchNormalization.*fold", graph(layers.Conv2D(2, 1), layers.BatchNormalization(name="here")))
    curved = graph(layers.Conv2D(2, 1, activation="tanh", name="here"), layers.Conv2D(2, 1))
    refused("layer here_activation needs a table for tanh", curved)
    refused("here is a ReLU with a threshold", graph(layers.Conv2D(2, 1), layers.ReLU(threshold=0.5, name="here")))
    refused("here clips at 0.1", graph(layers.Conv2D(2, 1), layers.ReLU(0.1, name="here")))
    refused("here scales by 0.3", graph(layers.Rescaling(0.3, name="here"), layers.Conv2D(2, 1)))
    refused("here reads the softmax", graph(layers.Conv2D(2, 1), layers.Softmax(), layers.Conv2D(2, 1, name="here")))
    mixed = branches(layers.Concatenate(name="here"), layers.AveragePooling2D(1), layers.AveragePooling2D(3, 1, "same"))
    refused("averages", graph(mixed, layers.Conv2D(2, 1)))
    refused("layer here has the activation Own", graph(layers.Conv2D(2, 1, activation=Own(), name="here")))


def test_sums_that_float32_rounds_otherwise_are_refused_by_name():
    averages = branches(layers.Add(name="here"), layers.AveragePooling2D(3), layers.AveragePooling2D(3))
    refused("here adds up averages", graph(averages, layers.Conv2D(2, 1)))
    again = layers.GlobalAveragePooling2D(name="here")
    refused("here adds up averages", graph(layers.Conv2D(2, 1), layers.AveragePooling2D(3), again, layers.Dense(2)))


def test_what_keras_computes_otherwise_is_refused_by_name():
    wide = branches(layers.Add(name="here"), layers.Conv2D(3, 1), layers.Conv2D(1, 1))
    refused("here joins tensors of 1 and 3 channels", graph(wide, layers.Conv2D(2, 1)))
    turned = layers.Flatten(data_format="channels_first", name="here")
    refused("here computes with channels first", graph(layers.Conv2D(4, 1), turned, layers.Dense(2)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name_and_differ(value):
    model = graph(layers.Conv2D(2, 1, name="here"))
    network = lower(model)
    model.get_layer("here").bias.assign([value, 0])
    refused("here holds NaN or infinity", model)
    pixels = RNG.integers(0, 256, (4, *network.image.shape))
    assert compare_layers(model, network, pixels)["here"].different


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ({"kernel": FixedPoint(-64, 8)}, {}),
        ({"kernel": FixedPoint(-4, 24), "input": FixedPoint(0, 24), "output": None}, {}),
        ({"output": FixedPoint(-40, 8), "bias": FixedPoint(40, 8)}, {"bias_order": "output"}),
    ],
    ids=["kernel", "bias", "bias behind"],
)
def test_integers_that_64_bits_do_not_hold_are_refused_by_name(fmt, options):
    model = graph(layers.Conv2D(2, 1, name="here"), fmt=FORMAT | fmt, **options)
    model.get_layer("here").bias.assign([3e4, 1])
    refused("here needs integers of more than 63 bits", model)


def test_a_bias_between_the_grids_is_refused_by_name():
    model = graph(layers.Conv2D(2, 1, name="here"))
    model.get_layer("here").set_formats(*FORMAT.values(), FixedPoint(0, 20))
    refused("the bias of layer here has a finer step than its products; give it 9 fewer bits", model)
    refused("bias of layer here is added after", graph(layers.Conv2D(2, 1, name="here"), bias_order="output"))


def test_what_is_no_quantized_model_of_one_image_is_refused():
    refused("not quantized", zoo.build("lenet", (8, 8, 1), 10))
    refused("power of two", graph(layers.Conv2D(2, 1)), levels=100)
    refused("mean must be", graph(layers.Conv2D(2, 1)), mean=256)
    refused("mean must be", graph(layers.Conv2D(2, 1)), mean=(1, 2))
    refused("fixed size", graph(layers.Conv2D(2, 1), shape=(None, None, 3)))


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (np.zeros((2, 7, 6, 3)), "must be integers of shape"),
        (np.zeros((2, 7, 7, 3), int), "must be integers of shape"),
        (np.zeros((0, 7, 6, 3), int), "must be integers of shape"),
        (np.full((2, 7, 6, 3), 256), "must be from 0 to 255"),
        (np.full((2, 7, 6, 3), -1), "must be from 0 to 255"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, match):
    with pytest.raises(InputError, match=match):
        lower(graph(layers.Conv2D(2, 1))).run(images)
