"""The number format and its arithmetic, against values worked out by hand and against exact fractions."""

from fractions import Fraction
from math import ceil, copysign, floor, nextafter, trunc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits import FixedPoint, InputError, from_codes, quantclip, quantize, to_codes
from fewbits.names import ROUNDINGS
from fewbits.quantization.fixedpoint import MAX_NBITS, is_clipped

NEAREST = ["nearest", "nearest-up", "nearest-away"]
DETERMINISTIC = ["floor", *NEAREST, "ceiling", "toward-zero"]
BYTE = FixedPoint(msb=7, nbits=8)  # step 1: a value is its code

UNSIGNED_BYTE = FixedPoint(msb=7, nbits=8, signed=False)

signed_formats = st.builds(FixedPoint, st.integers(-64, 64), st.integers(1, MAX_NBITS))
formats = st.one_of(signed_formats, signed_formats.map(lambda fmt: FixedPoint(*fmt, signed=False)))


@st.composite
def values(draw, fmt):
    """Codes and ties, ordinary and huge numbers, and the floats next to them; x / step stays within float64."""
    half_codes = st.integers(-4 * fmt.max_code - 4, 4 * fmt.max_code + 4).map(lambda k: k / 2 * fmt.step)
    ordinary = st.floats(-2, 2).map(lambda x: x * fmt.amplitude)
    x = draw(st.one_of(half_codes, ordinary, st.floats(-1e250, 1e250)))
    x = draw(st.sampled_from([x, nextafter(x, -np.inf), nextafter(x, np.inf)]))
    return x if abs(x) > 1e-250 else copysign(0.0, x)


def exact_code(x, fmt, rounding, overflow="saturate"):
    """Return the code of `x`, in whole numbers and fractions only."""
    v, count = Fraction(x) / Fraction(2) ** (fmt.msb + 1 - fmt.nbits), 2**fmt.nbits
    low = -count // 2 if fmt.signed else 0
    code = {
        "floor": floor(v),
        "nearest": round(v),
        "nearest-up": floor(v + Fraction(1, 2)),
        "nearest-away": (1 if v > 0 else -1) * floor(abs(v) + Fraction(1, 2)),
        "ceiling": ceil(v),
        "toward-zero": trunc(v),
    }[rounding]
    return min(max(code, low), low + count - 1) if overflow == "saturate" else (code - low) % count + low


# The format


@pytest.mark.parametrize(
    ("msb", "nbits", "signed", "name", "amplitude", "step", "min_code", "max_code"),
    [
        (0, 8, True, "ap_fixed<8, 1>", 1, 1 / 128, -128, 127),
        (7, 8, True, "ap_fixed<8, 8>", 128, 1, -128, 127),
        (3, 16, True, "ap_fixed<16, 4>", 8, 2**-12, -32768, 32767),
        (-4, 2, True, "ap_fixed<2, -3>", 1 / 16, 1 / 32, -2, 1),
        (0, 1, True, "ap_fixed<1, 1>", 1, 1, -1, 0),
        (64, 32, True, "ap_fixed<32, 65>", 2**64, 2**33, -(2**31), 2**31 - 1),
        (0, 8, False, "ap_ufixed<8, 1>", 2, 1 / 128, 0, 255),
        (7, 8, False, "ap_ufixed<8, 8>", 256, 1, 0, 255),
        (-1, 4, False, "ap_ufixed<4, 0>", 1, 1 / 16, 0, 15),
        (0, 1, False, "ap_ufixed<1, 1>", 2, 1, 0, 1),
        (64, 32, False, "ap_ufixed<32, 65>", 2**65, 2**33, 0, 2**32 - 1),
    ],
)
def test_a_format_is_an_ap_fixed(msb, nbits, signed, name, amplitude, step, min_code, max_code):
    fmt = FixedPoint(msb, nbits, signed)
    assert str(fmt) == name
    assert eval(repr(fmt)) == fmt and ("signed" in repr(fmt)) != signed
    assert (fmt.min_value, fmt.max_value) == (min_code * step, max_code * step)
    assert (fmt.amplitude, fmt.step, fmt.min_code, fmt.max_code) == (amplitude, step, min_code, max_code)
    assert tuple(fmt) == (msb, nbits)


@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int64])
def test_numpy_integers_make_the_same_format(integer):
    fmt = FixedPoint(integer(0), integer(8))
    assert fmt == FixedPoint(0, 8)
    assert (fmt.step, fmt.min_code, fmt.max_code) == (1 / 128, -128, 127)


# Values by hand


@pytest.mark.parametrize(
    ("rounding", "codes"),
    [
        ("floor", [-3, -2, -2, -1, 0, 0, 1, 1, 2]),
        ("nearest", [-2, -2, -2, 0, 0, 0, 1, 2, 2]),
        ("nearest-up", [-2, -2, -1, 0, 0, 1, 1, 2, 3]),
        ("nearest-away", [-3, -2, -2, -1, 0, 1, 1, 2, 3]),
        ("thesis", [-3, -2, -2, -1, 0, 0, 1, 1, 2]),
        ("ceiling", [-2, -2, -1, 0, 0, 1, 1, 2, 3]),
        ("toward-zero", [-2, -2, -1, 0, 0, 0, 1, 1, 2]),
    ],
)
def test_ties_go_where_the_rounding_says(rounding, codes):
    ties = np.array([-2.5, -2, -1.5, -0.5, 0, 0.5, 1, 1.5, 2.5])
    assert to_codes(ties, BYTE, rounding).tolist() == codes
    assert quantize(ties / 128, FixedPoint(0, 8), rounding).tolist() == [code / 128 for code in codes]


@pytest.mark.parametrize(("x", "code"), [(nextafter(0.5, 0), 0), (nextafter(-0.5, 0), 0), (-1e-200, 0), (1e-200, 0)])
@pytest.mark.parametrize("rounding", NEAREST)
def test_nearest_adds_no_half_that_would_round_first(rounding, x, code):
    assert to_codes(x, BYTE, rounding) == code


@pytest.mark.parametrize(
    ("overflow", "codes"),
    [("saturate", [-128, -128, -128, 127, 127, 127]), ("wrap", [-1, 127, -128, 127, -128, 44])],
)
def test_overflow(overflow, codes):
    assert to_codes([-257, -129, -128, 127, 128, 300], BYTE, overflow=overflow).tolist() == codes


@pytest.mark.parametrize(
    ("overflow", "codes"), [("saturate", [0, 0, 0, 128, 255, 255, 255]), ("wrap", [255, 127, 0, 128, 255, 0, 44])]
)
def test_overflow_without_a_sign(overflow, codes):
    assert to_codes([-257, -129, 0, 128, 255, 256, 300], UNSIGNED_BYTE, overflow=overflow).tolist() == codes


def test_strict_refuses_what_a_format_does_not_hold():
    with pytest.raises(InputError, match=r"^-1 does not fit ap_ufixed<8, 8> \(0 to 255\); take a signed format$"):
        to_codes([3, -1], UNSIGNED_BYTE, strict=True)
    with pytest.raises(InputError, match=r"^300 does not fit ap_fixed<8, 8> \(-128 to 127\); take a larger msb"):
        to_codes([3, 300], BYTE, strict=True)
    assert to_codes([-0.4, 255.4], UNSIGNED_BYTE, "nearest", strict=True).tolist() == [0, 255]


def test_there_is_no_negative_zero():
    assert not np.signbit(quantize([-0.0, -0.2, 0.2], BYTE, "nearest")).any()


def test_clipped_is_where_the_code_does_not_exist():
    x = np.array([-129, -128.5, -128, 127.4, 127.5, 128])
    assert is_clipped(x, BYTE).tolist() == [True, True, False, False, False, True]
    assert is_clipped(x, BYTE, "nearest").tolist() == [True, False, False, False, True, True]
    assert is_clipped(x, BYTE, "thesis").tolist() == [True, True, False, False, False, False]


# Properties


@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
@pytest.mark.parametrize("rounding", DETERMINISTIC)
@given(data=st.data(), fmt=formats)
def test_codes_are_those_of_exact_arithmetic(rounding, overflow, data, fmt):
    x = data.draw(values(fmt))
    code = exact_code(x, fmt, rounding, overflow)
    assert to_codes(x, fmt, rounding, overflow) == code
    assert Fraction(float(quantize(x, fmt, rounding, overflow))) == code * Fraction(fmt.step)


@pytest.mark.parametrize("rounding", [*DETERMINISTIC, "thesis"])
@given(data=st.data(), fmt=formats)
def test_quantizing_twice_changes_nothing(rounding, data, fmt):
    once = quantize(data.draw(values(fmt)), fmt, rounding)
    assert quantize(once, fmt, rounding) == once


@pytest.mark.parametrize("rounding", [*DETERMINISTIC, "thesis"])
@given(data=st.data(), fmt=formats)
def test_quantizing_keeps_the_order(rounding, data, fmt):
    low, high = sorted([data.draw(values(fmt)), data.draw(values(fmt))])
    assert quantize(low, fmt, rounding) <= quantize(high, fmt, rounding)


@given(data=st.data(), fmt=formats)
def test_floor_is_less_than_a_step_below(data, fmt):
    x = data.draw(values(fmt).filter(lambda x: not is_clipped(x, fmt)))
    assert -Fraction(fmt.step) < Fraction(float(quantize(x, fmt))) - Fraction(x) <= 0


@pytest.mark.parametrize("rounding", NEAREST)
@given(data=st.data(), fmt=formats)
def test_nearest_is_within_half_a_step(rounding, data, fmt):
    x = data.draw(values(fmt).filter(lambda x: not is_clipped(x, fmt, rounding)))
    assert abs(Fraction(float(quantize(x, fmt, rounding))) - Fraction(x)) <= Fraction(fmt.step) / 2


@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
@pytest.mark.parametrize("rounding", [*DETERMINISTIC, "stochastic"])
@given(data=st.data(), fmt=formats)
def test_codes_fit_their_bits_and_come_back(rounding, overflow, data, fmt):
    x = data.draw(values(fmt))
    code = to_codes(x, fmt, rounding, overflow, seed=1)
    assert fmt.min_code <= code <= fmt.max_code
    assert from_codes(code, fmt) == quantize(x, fmt, rounding, overflow, seed=1)


# Stochastic rounding


@given(data=st.data(), fmt=formats, seed=st.integers(0, 2**32))
def test_stochastic_takes_one_of_the_two_neighbours(data, fmt, seed):
    x = data.draw(values(fmt))
    low = exact_code(x, fmt, "floor")
    assert to_codes(x, fmt, "stochastic", seed=seed) in {low, min(low + 1, fmt.max_code)}


def test_stochastic_leaves_codes_alone():
    codes = np.arange(-128, 128)
    assert np.array_equal(to_codes(codes, BYTE, "stochastic", seed=0), codes)


@pytest.mark.parametrize("rest", [0.1, 0.5, 0.9])
def test_stochastic_is_right_on_average(rest):
    n = 100_000
    mean = quantize(np.full(n, 3 + rest), BYTE, "stochastic", seed=0).mean()
    assert abs(mean - (3 + rest)) < 4 * np.sqrt(rest * (1 - rest) / n)


def test_stochastic_repeats_with_its_seed_and_moves_on_with_a_generator():
    def draw(seed):
        return quantize(np.full(100, 0.5), BYTE, "stochastic", seed=seed).tolist()

    rng = np.random.default_rng(7)
    assert draw(7) == draw(7) == draw(rng)
    assert draw(rng) != draw(7) != draw(8)


# The thesis' operator


def code_6(x, msb, nbits):
    """vieito2017, Code 6, word for word in NumPy."""
    amplitude = 2.0**msb
    x = np.clip(x, -amplitude, amplitude)
    q = float(2 * amplitude) / float(2**nbits)
    return q * np.floor(x / q)


def code_14(x, msb, nbits):
    """vieito2017, Code 14, its twin in MATLAB."""
    amplitude = 2.0**msb
    x = np.maximum(np.minimum(x, amplitude - 1e-6), -amplitude)
    q = 2 * amplitude / 2**nbits
    return q * np.floor(x / q)


@pytest.mark.parametrize("fmt", [FixedPoint(0, n) for n in range(2, 11)], ids=str)
def test_thesis_has_one_code_too_many_and_its_matlab_twin_has_not(fmt, points):
    x = np.concatenate([points(fmt, 1000), np.arange(2 * fmt.min_code, 2 * fmt.max_code + 2) * fmt.step])
    ours, twin = quantize(x, fmt, "thesis"), quantize(x, fmt, "floor")
    assert np.array_equal(ours, code_6(x, *fmt))
    assert np.array_equal(twin, code_14(x, *fmt))
    assert (len(np.unique(ours)), len(np.unique(twin))) == (2**fmt.nbits + 1, 2**fmt.nbits)


@given(data=st.data(), fmt=signed_formats)
def test_thesis_is_its_code_6_in_every_format(data, fmt):
    x = data.draw(values(fmt))
    assert quantize(x, fmt, "thesis") == code_6(x, *fmt)


def test_the_extra_code_of_the_thesis_fits_no_bits():
    assert to_codes(128, BYTE, "thesis") == 128
    with pytest.raises(InputError, match=r"code 128 does not fit 8 bits \(-128 to 127\)"):
        from_codes(to_codes(128, BYTE, "thesis"), BYTE)


# Shapes and types


@pytest.mark.parametrize(
    ("x", "nbits", "dtype"),
    [
        (np.ones(3, np.float16), 8, np.float32),
        (np.ones(3, np.float32), 24, np.float32),
        (np.ones(3, np.float32), 25, np.float64),
        (np.ones(3, np.float64), 8, np.float64),
        (np.ones(3, np.int8), 8, np.float64),
        ([1.0, 2.0], 8, np.float64),
    ],
)
def test_float32_stays_float32_where_the_codes_fit(x, nbits, dtype):
    assert quantize(x, FixedPoint(0, nbits)).dtype == dtype
    assert to_codes(x, FixedPoint(0, nbits)).dtype == np.int64


def test_from_codes_gives_float64_whatever_the_integers():
    values = from_codes(np.array([-128, 127], np.int8), FixedPoint(0, 8))
    assert values.dtype == np.float64
    assert values.tolist() == [-1, 127 / 128]


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 1, 3)])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_shapes_are_kept(rounding, shape):
    x = np.full(shape, 0.3)
    for result in (quantize(x, BYTE, rounding), to_codes(x, BYTE, rounding), is_clipped(x, BYTE, rounding)):
        assert result.shape == shape


# Bad input


@pytest.mark.parametrize("nbits", [0, 33, 64, -1, 2.0, True, "8", None])
def test_nbits_is_an_integer_from_1_to_32(nbits):
    with pytest.raises(InputError, match="nbits must be an integer from 1 to 32, not "):
        FixedPoint(0, nbits)


@pytest.mark.parametrize("msb", [0.5, 1.0, "a", 100, -65, False, None])
def test_msb_is_an_integer_from_minus_64_to_64(msb):
    with pytest.raises(InputError, match="msb must be an integer from -64 to 64, not "):
        FixedPoint(msb, 8)


@pytest.mark.parametrize("signed", [0, 1, "no", None])
def test_signed_is_true_or_false(signed):
    with pytest.raises(InputError, match="signed must be True or False"):
        FixedPoint(0, 8, signed)


@pytest.mark.parametrize("function", [quantize, to_codes, is_clipped])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([0, np.nan, 1], r"x holds 1 value\(s\) that are NaN or infinite, the first at index \(1,\)"),
        ([[0, 1], [np.inf, -np.inf]], r"x holds 2 value\(s\) .* index \(1, 0\)"),
        ("a", "x must hold real numbers"),
        (["1.5"], "x must hold real numbers"),
        (np.array([1 + 2j]), "x must hold real numbers"),
        (np.array(["2017-09-01"], "M8[D]"), "x must hold real numbers"),
        ([[1], [1, 2]], "x must hold real numbers"),
    ],
)
def test_only_finite_numbers_are_quantized(function, x, message):
    with pytest.raises(InputError, match=message):
        function(x, BYTE)


@pytest.mark.parametrize("function", [quantize, quantclip])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounding": "ceil"}, "unknown rounding 'ceil'; it is one of floor, nearest, "),
        ({"rounding": None}, "unknown rounding None"),
        ({"overflow": "clip"}, "unknown overflow 'clip'; it is one of saturate, wrap"),
        ({"rounding": "thesis", "overflow": "wrap"}, "the thesis' operator clips; use overflow='saturate'"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(function, arguments, message):
    with pytest.raises(InputError, match=message):
        function(np.zeros(1, np.float32), BYTE, **arguments)


def test_quantclip_knows_two_gradients():
    with pytest.raises(InputError, match="unknown gradient 'ste'; it is one of clipped, identity"):
        quantclip(np.zeros(1, np.float32), BYTE, gradient="ste")


@pytest.mark.parametrize("nbits", [25, 32])
def test_quantclip_refuses_what_float32_cannot_hold(nbits):
    with pytest.raises(InputError, match=f"{nbits} bits are not exact in float32; use at most 24"):
        quantclip(np.zeros(1, np.float32), FixedPoint(0, nbits))


def test_quantize_needs_a_format():
    with pytest.raises(InputError, match=r"the format must be a FixedPoint\(msb, nbits\), not \(0, 8\)"):
        quantize([0.5], (0, 8))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([0, -129], r"code -129 does not fit 8 bits \(-128 to 127\); use a wider format or saturate first"),
        (np.array([2**64 - 1], np.uint64), "code 18446744073709551615 does not fit"),
        ([0.0], "codes must be integers, not float64; use to_codes"),
        ([True], "codes must be integers, not bool"),
    ],
)
def test_from_codes_refuses_what_is_no_code(codes, message):
    with pytest.raises(InputError, match=message):
        from_codes(codes, BYTE)


@pytest.mark.parametrize("pair", [(0, 30), (0, 0), (99, 8)])
def test_a_pair_of_plain_integers_is_checked_like_a_format(pair):
    with pytest.raises(InputError):
        quantclip(np.ones(2, np.float32), pair)
