"""Fractional lengths against Equation 10 tried out number by number, and the formats of a network."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits import FixedPoint, InputError, quantize, quantize_model, to_codes
from fewbits.backend import keras
from fewbits.quantization.dynamic_fixed_point import dynamic_formats, fractional_length
from fewbits.quantization.layers import Formats
from fewbits.quantization.observation import observe

L = keras.layers


def equation_10(largest, nbits):
    """Return max fl with 2**-fl * (sum of 2**i for i from 0 to bw - 2) > |N|, in exact fractions, by trying all."""
    reach = sum(2**i for i in range(nbits - 1))
    return max(fl for fl in range(-80, 120) if Fraction(2) ** -fl * reach > Fraction(largest))


magnitudes = st.one_of(
    st.floats(1e-15, 1e15),
    st.builds(lambda k, e: k * 2.0**e, st.integers(1, 300), st.integers(-40, 40)),  # on the edge of a format
)


@given(magnitudes, st.integers(2, 24), st.sampled_from([-1, 1]))
def test_it_is_the_length_of_equation_10(largest, nbits, sign):
    fl = fractional_length(np.array([0.0, sign * largest, -largest / 3]), nbits)
    assert fl == equation_10(largest, nbits)


@given(magnitudes, st.integers(2, 24))
def test_a_fixed_point_of_that_length_never_clips_and_uses_the_bits_it_has(largest, nbits):
    fl = fractional_length([largest], nbits)
    fmt = FixedPoint(msb=nbits - 1 - fl, nbits=nbits)
    assert fmt.step == 2.0**-fl
    assert fmt.max_code * fmt.step > largest
    assert abs(quantize([largest], fmt, "nearest") - largest) <= fmt.step / 2
    assert (2 * fmt.max_code) * fmt.step / 4 <= largest  # with one place more it would not reach


@pytest.mark.parametrize(
    ("largest", "nbits", "fl"),
    [
        (0.9, 8, 7),
        (127 / 128, 8, 6),
        (126.5 / 128, 8, 7),
        (1, 8, 6),
        (100, 8, 0),
        (127, 8, -1),
        (1, 2, -1),
        (0.99, 2, 0),
    ],
)
def test_lengths_by_hand(largest, nbits, fl):
    assert fractional_length(np.array([[-largest], [largest / 2]]), nbits) == fl


def test_a_number_of_equation_9_is_a_code_over_the_fractional_length():
    """(-1)**s * 2**-fl * sum(B_i * 2**i): sign and magnitude of 5 bits with fl = 2, all that there are."""
    values = [(-1) ** s * 2.0**-2 * magnitude for s in (0, 1) for magnitude in range(16)]
    fmt = FixedPoint(msb=5 - 1 - 2, nbits=5)
    assert np.array_equal(quantize(values, fmt), values)
    assert to_codes(values, fmt).min() == fmt.min_code + 1  # two's complement has one code more


def test_zeros_get_the_finest_step_there_is():
    assert fractional_length(np.zeros(3), 8) == 7 + 64


@pytest.mark.parametrize(
    ("values", "nbits", "said"),
    [
        ([], 8, "no values"),
        ([np.nan], 8, "NaN"),
        ([1.0], 1, "at least 2 bits"),
        ([1.0], 33, "nbits must be an integer from 1 to 32"),
        ([1.0], None, "nbits must be an integer from 1 to 32, not None"),
        ([2.0**64], 8, "msb must be an integer"),
    ],
)
def test_what_has_no_length_is_refused(values, nbits, said):
    with pytest.raises(InputError, match=said):
        fractional_length(values, nbits)


IMAGES = np.random.default_rng(1).uniform(0, 3, (5, 8, 8, 2)).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            L.Input((8, 8, 2)),
            L.Conv2D(3, 3, activation="relu", bias_initializer="random_normal", name="conv"),
            L.DepthwiseConv2D(3, name="depthwise"),
            L.Flatten(),
            L.Dense(4, name="dense"),
        ]
    )


def test_each_layer_and_kind_has_a_length_of_its_own(model):
    formats = dynamic_formats(model, IMAGES, convolutions=8, dense=4, activations=6)
    for name, values in observe(model, IMAGES):
        bits = (4 if name == "dense" else 8, 6, 6)
        for fmt, value, n in zip(formats[name], (values.kernel, values.input, values.output), bits):
            assert fmt == FixedPoint(n - 1 - equation_10(float(np.abs(value).max()), n), n)
    assert quantize_model(model, formats).formats == formats


def test_kinds_are_quantized_separately(model):
    everything = dynamic_formats(model, IMAGES)
    only = {
        "convolutions": dynamic_formats(model, IMAGES, dense=None, activations=None),
        "dense": dynamic_formats(model, IMAGES, convolutions=None, activations=None),
        "activations": dynamic_formats(model, IMAGES, convolutions=None, dense=None),
    }
    for name, formats in everything.items():
        kernel_alone, kept = Formats(formats.kernel), "dense" if name == "dense" else "convolutions"
        for kind, alone in only.items():
            expected = kernel_alone if kind == kept else Formats()
            assert alone[name] == (Formats(None, *formats[1:]) if kind == "activations" else expected)


def test_layers_are_quantized_one_after_the_other(model):
    network = quantize_model(model, dynamic_formats(model, IMAGES, convolutions=4, dense=4, activations=4))
    plain = model.predict(IMAGES, verbose=0)
    error = []
    for level in range(network.levels + 1):
        network.set_level(level)
        error.append(np.abs(network.predict(IMAGES, verbose=0) - plain).max())
    assert error[0] == 0 and len(set(error)) == 4
