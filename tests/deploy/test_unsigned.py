"""Unsigned formats in integers: codes from 0, worst cases of 255, and sums that plain Python integers confirm."""

from fractions import Fraction
from functools import cache
from math import floor

import numpy as np
import pytest

from fewbits import FixedPoint
from fewbits.backend import keras
from fewbits.deploy import operations
from fewbits.deploy.c import write_c
from fewbits.deploy.compiled import CRunner, find_compiler
from fewbits.deploy.identity import compare_layers, compare_program, to_pixels
from fewbits.deploy.lowering import lower
from fewbits.quantization import calibration
from fewbits.quantization.conversion import quantize_model
from helpers.graphs import DIGITS, PIXELS, assert_identical, branches, graph, trained

layers = keras.layers
RNG = np.random.default_rng(23)
BYTES = FixedPoint(-1, 8, signed=False)  # pixels over 256


def with_sign(fmt, signed):
    """Return a format of the same bits that reaches as far, with or without a sign."""
    return fmt and FixedPoint(fmt.msb + (not fmt.signed) - (not signed), fmt.nbits, bool(signed))


def set_signs(model, input, output):
    """Give the formats of a model a sign where `input` and `output` say so: functions of the place of a layer."""
    for place, layer in enumerate(model.rounding_layers):
        own = layer.formats
        layer.set_formats(
            own.kernel, with_sign(own.input, input(place)), with_sign(own.output, output(place)), own.bias
        )


def runs_in_c(network, pixels):
    if not find_compiler():
        return True
    return compare_program(network.run(pixels), CRunner(network, "-O1"), pixels.astype(np.uint8)).different == 0


# The networks of the book


NETWORKS = [
    ("squeezenet_digits", 8, "after a ReLU"),
    ("squeezenet_digits", 6, "mixed"),
    ("squeezenet_digits", 4, "after a ReLU"),
    ("squeezenet_digits", (4, 8, 6), "mixed"),
    ("lenet", 6, "mixed"),
    ("mobilenet_cifar", 8, "after a ReLU"),
    ("mobilenet_cifar", 4, "after a ReLU"),
]


@cache
def quantized(name):
    keras.utils.set_random_seed(3)
    return quantize_model(trained(name), fold_batch_normalization=True, rounding="nearest")


@pytest.mark.parametrize(("name", "bits", "signs"), NETWORKS, ids=str)
def test_the_networks_of_the_book_compute_the_codes_of_the_simulation(name, bits, signs):
    model = quantized(name)
    model.set_formats(calibration.formats_for(model, DIGITS.scaled(DIGITS.test.take(64)), bits))
    relus = [layer.activation is keras.activations.relu for layer in model.rounding_layers]
    if signs == "mixed":
        set_signs(model, lambda n: n % 2, lambda n: not relus[n] or n % 3)
    else:
        set_signs(model, lambda n: False, lambda n: not relus[n])
    network = assert_identical(model, PIXELS[:120], levels=DIGITS.levels)
    if bits == 8 and signs == "after a ReLU":
        assert any(tensor.high > 127 and tensor.low == 0 for tensor in network.tensors[1:])
    assert runs_in_c(network, PIXELS[:60])


# An oracle: integers of Python


def rounded(exact, rounding):
    up = floor(exact + Fraction(1, 2))
    ways = {"floor": floor(exact), "nearest": round(exact), "nearest-up": up}
    return ways.get(rounding, up if exact >= 0 else -floor(Fraction(1, 2) - exact))


def limited(value, fmt, rounding):
    """Return the code of an exact value."""
    low, high = (-(2 ** (fmt.nbits - 1)), 2 ** (fmt.nbits - 1) - 1) if fmt.signed else (0, 2**fmt.nbits - 1)
    return min(max(rounded(Fraction(value) / Fraction(2) ** (fmt.msb + 1 - fmt.nbits), rounding), low), high)


SUMS = [
    (8, (0, 0), "nearest"),
    (6, (0, 1), "floor"),
    (4, (1, 0), "nearest-up"),
    (8, (1, 0), "nearest-away"),
    (3, (0, 0), "floor"),
    (1, (0, 0), "nearest"),
]


@pytest.mark.parametrize(("bits", "signs", "rounding"), SUMS, ids=str)
def test_two_layers_are_the_sums_of_pythons_integers(bits, signs, rounding):
    into, out = (FixedPoint(msb - (not sign), bits, bool(sign)) for msb, sign in zip((0, 2), signs))
    kernel = FixedPoint(0, 6)
    model = graph(layers.Dense(4, activation="relu"), layers.Dense(3), shape=(9,), rounding=rounding)
    model.set_formats((kernel, into, out))
    network, pixels = lower(model), RNG.integers(0, 256, (6, 9))
    found = network.run(pixels)
    for image, codes in zip(pixels.tolist(), found.tolist()):
        values = [Fraction(pixel, 256) for pixel in image]
        for layer in model.quantized_layers:
            weights, biases = np.asarray(layer.kernel, float), np.asarray(layer.bias, float)
            step, unit = Fraction(2) ** (into.msb + 1 - bits), Fraction(2) ** (kernel.msb + 1 - 6)
            inputs = [limited(value, into, rounding) for value in values]
            sums = [
                sum(code * limited(float(w), kernel, rounding) for code, w in zip(inputs, column))
                + round(Fraction(float(bias)) / (step * unit))
                for column, bias in zip(weights.T, biases)
            ]
            made = [limited(total * step * unit, out, rounding) for total in sums]
            made = [max(code, 0) for code in made] if layer is model.quantized_layers[0] else made
            values = [code * Fraction(2) ** (out.msb + 1 - bits) for code in made]
        assert codes == made
    assert bits < 6 or np.ptp(found)
    assert all(agreement.different == 0 for agreement in compare_layers(model, network, pixels).values())


# What is proven


def test_accumulators_are_as_wide_as_255_times_the_kernel_needs():
    model = graph(layers.Conv2D(1, 3, use_bias=False), fmt={"kernel": FixedPoint(0, 8), "input": BYTES, "output": None})
    model.quantized_layers[0].kernel.assign(np.full((3, 3, 3, 1), 127 / 128))
    network = lower(model)
    [operation] = network.convolutions
    most = 27 * 127 * 255
    assert (operation.output.low, operation.output.high, operation.magnitude) == (0, most, most)
    assert operation.partial_bits == 1 + most.bit_length()
    assert int(operation.compute(np.full((1, 7, 6, 3), 255)).max()) == most


def test_pixels_are_read_as_they_are():
    fmt = {"kernel": FixedPoint(0, 8), "input": BYTES, "output": FixedPoint(1, 8, signed=False)}
    model = graph(layers.Conv2D(4, 3, activation="relu"), layers.Conv2D(2, 3), fmt=fmt)
    network = assert_identical(model)
    assert isinstance(network.operations[0], operations.Convolve) and network.operations[0].inputs == (0,)
    assert (network.image.low, network.image.high) == (0, 255)
    assert not any(isinstance(operation, operations.Clip) for operation in network.operations)  # the format is the ReLU
    pixels = RNG.integers(0, 256, (4, 7, 6, 3))
    np.testing.assert_array_equal(to_pixels(network, pixels / 256), pixels)


def test_bytes_are_stored_as_bytes(tmp_path):
    fmt = {"kernel": FixedPoint(0, 8), "input": BYTES, "output": BYTES}
    model = graph(layers.Conv2D(4, 3, activation="relu"), layers.Conv2D(2, (5, 4)), fmt=fmt)
    network = lower(model)
    memory = write_c(network, tmp_path / "c")
    assert memory.arena_bytes == 5 * 4 * 4
    assert runs_in_c(network, RNG.integers(0, 256, (20, 7, 6, 3)))


@pytest.mark.parametrize("bits", [4, 8])
def test_an_unsigned_output_is_the_relu(bits):
    build = [layers.Conv2D(4, 2), layers.Conv2D(3, 2)]
    model = graph(*build)
    model.set_formats((FixedPoint(0, 6), FixedPoint(1, bits), FixedPoint(0, bits, signed=False)))
    with_relu = graph(layers.Conv2D(4, 2, activation="relu"), layers.Conv2D(3, 2, activation="relu"))
    with_relu.set_weights(model.get_weights())
    network = assert_identical(model)
    pixels = RNG.integers(0, 256, (20, 7, 6, 3))
    np.testing.assert_array_equal(network.run(pixels), lower(with_relu).run(pixels))


# Joins of tensors with and without a sign, on different grids

JOINS = {
    "sum": layers.Add,
    "difference": layers.Subtract,
    "product": layers.Multiply,
    "maximum": layers.Maximum,
    "minimum": layers.Minimum,
    "average": layers.Average,
    "channels": layers.Concatenate,
    "rows": lambda: layers.Concatenate(1),
}


@pytest.mark.parametrize(("join", "bits"), list(zip(JOINS, [(8, 8), (4, 6)] * 4)), ids=str)
def test_tensors_with_and_without_a_sign_meet(join, bits):
    model = graph(branches(JOINS[join](), layers.Conv2D(3, 1), layers.Conv2D(3, 1)), layers.Conv2D(3, 1))
    first, second, last = model.quantized_layers
    kernel = FixedPoint(0, 6)
    first.set_formats(kernel, BYTES, FixedPoint(0, bits[0], signed=False))
    second.set_formats(kernel, BYTES, FixedPoint(2, bits[1]))
    last.set_formats(kernel, FixedPoint(1, bits[0], signed=False), FixedPoint(3, 8))
    network = assert_identical(model)
    assert runs_in_c(network, RNG.integers(0, 256, (20, 7, 6, 3)))


def test_a_table_has_an_entry_for_each_of_256_codes():
    model = graph(layers.Conv2D(4, 2, activation="silu"), layers.Conv2D(3, 2))
    for layer in model.rounding_layers:
        own = layer.formats
        if own.kernel is None:
            layer.set_formats(None, BYTES, BYTES)
        else:
            layer.set_formats(own.kernel, own.input, FixedPoint(1, 8, signed=False))
    network = assert_identical(model)
    [table] = [operation for operation in network.operations if isinstance(operation, operations.LookUp)]
    assert (table.first, len(table.codes)) == (0, 256) and table.codes.max() > 127
    assert runs_in_c(network, RNG.integers(0, 256, (20, 7, 6, 3)))
