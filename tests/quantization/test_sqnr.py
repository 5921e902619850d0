"""What quantization costs, against a plain formula, against onnxruntime, and against the theory of uniform noise."""

from math import inf, log10

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits import FixedPoint, InputError, quantize
from fewbits.quantization.sqnr import measured_sqnr, predicted_sqnr, quantization_error

UNIFORM = np.random.default_rng(0).uniform(-1, 1, 1_000_000)  # full scale at msb 0


@pytest.mark.parametrize("nbits", [2, 4, 8, 16])
def test_sqnr_is_signal_power_over_noise_power(nbits):
    x = np.random.default_rng(nbits).normal(0, 0.3, 1000)
    y = quantize(x, FixedPoint(0, nbits))
    signal, noise = sum(v * v for v in x), sum((v - w) ** 2 for v, w in zip(x, y, strict=True))
    assert measured_sqnr(x, y) == pytest.approx(10 * log10(signal / noise), abs=1e-9)


@pytest.mark.parametrize("nbits", [2, 4, 8, 16])
def test_sqnr_is_that_of_onnxruntime(nbits):
    theirs = pytest.importorskip("onnxruntime.quantization.qdq_loss_debug")
    x = np.random.default_rng(nbits).normal(0, 0.3, (10, 20, 5))
    y = quantize(x, FixedPoint(0, nbits), "nearest")
    assert measured_sqnr(x, y) == pytest.approx(theirs.compute_signal_to_quantization_noice_ratio(x, y), abs=1e-6)


def test_sqnr_by_hand():
    assert measured_sqnr([10, 0], [9, 0]) == 20
    assert measured_sqnr([1, 2], [1, 2]) == inf
    assert measured_sqnr([0, 0], [1, 0]) == -inf


@pytest.mark.parametrize("nbits", range(4, 15))
@pytest.mark.parametrize(("rounding", "lost_bits"), [("nearest", 0), ("floor", 1)])
def test_each_bit_is_worth_six_decibels(rounding, lost_bits, nbits):
    """Signal power A**2 / 3 over noise power q**2 / 12 is 4**nbits; the noise of floor has power q**2 / 3."""
    fmt = FixedPoint(0, nbits)
    full_scale = UNIFORM - fmt.step / 2 if rounding == "nearest" else UNIFORM  # what rounds to all codes alike
    assert quantization_error(full_scale, fmt, rounding).sqnr == pytest.approx(
        20 * log10(2) * (nbits - lost_bits), abs=0.06
    )


@pytest.mark.parametrize(("rounding", "steps"), [("floor", -0.5), ("nearest", 0), ("nearest-up", 0), ("stochastic", 0)])
def test_only_floor_shifts_the_mean_and_by_half_a_step(rounding, steps):
    fmt = FixedPoint(0, 8)
    inside = UNIFORM * 0.99
    assert quantization_error(inside, fmt, rounding).bias / fmt.step == pytest.approx(steps, abs=3e-3)


def test_the_measures_by_hand():
    error = quantization_error([-1, -0.3, 0, 0.1, 0.5, 2], FixedPoint(0, 2))  # to -1, -0.5, 0, 0, 0.5, 0.5
    assert error.clipped == pytest.approx(1 / 6)
    assert error.underflowed == pytest.approx(2 / 6)
    assert error.bias == pytest.approx((-0.2 - 0.1 - 1.5) / 6)
    assert error.variance == pytest.approx((0.1**2 + 0.2**2 + 1.2**2 + 3 * 0.3**2) / 6)  # from the bias, -0.3
    assert error.rms == pytest.approx(((0.2**2 + 0.1**2 + 1.5**2) / 6) ** 0.5)


@pytest.mark.parametrize("rounding", ["floor", "nearest"])
@pytest.mark.parametrize("nbits", [2, 5, 8])
def test_the_mean_square_is_that_of_the_bias_and_the_variance(nbits, rounding):
    error = quantization_error(UNIFORM[:999], FixedPoint(0, nbits), rounding)
    assert error.rms**2 == pytest.approx(error.bias**2 + error.variance, rel=1e-12)


def test_the_variance_of_floor_is_that_of_nearest_and_its_mean_square_four_times_that():
    fmt = FixedPoint(0, 8)
    floor, nearest = (quantization_error(UNIFORM * 0.99, fmt, rounding) for rounding in ("floor", "nearest"))
    assert floor.variance == pytest.approx(fmt.step**2 / 12, rel=5e-3)
    assert nearest.variance == pytest.approx(fmt.step**2 / 12, rel=5e-3)
    assert floor.rms**2 / nearest.rms**2 == pytest.approx(4, rel=1e-2)


def test_a_perfect_fit_loses_nothing():
    codes = np.arange(-128, 128) / 128
    error = quantization_error(codes, FixedPoint(0, 8))
    assert (error.clipped, error.bias, error.rms, error.sqnr) == (0, 0, 0, inf)


@pytest.mark.parametrize(
    ("x", "quantized", "message"),
    [([np.nan], [0], "x holds 1 value"), ([0], [np.inf], "quantized holds 1 value"), (["a"], [0], "x must hold real")],
)
def test_only_finite_numbers_are_measured(x, quantized, message):
    with pytest.raises(InputError, match=message):
        measured_sqnr(x, quantized)


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((2, 1), (2,)), ((0,), (0,))])
def test_sqnr_compares_arrays_of_one_shape_with_values(shapes):
    with pytest.raises(InputError, match="arrays of the same shape"):
        measured_sqnr(*map(np.zeros, shapes))


def test_a_format_for_each_column_is_measured_as_one_quantization():
    x = np.random.default_rng(0).normal(0, 0.4, (50, 3))
    formats = FixedPoint(-2, 4), FixedPoint(-1, 4), FixedPoint(0, 4)
    error = quantization_error(x, formats, "nearest")
    quantized = np.stack([quantize(x[:, i], fmt, "nearest") for i, fmt in enumerate(formats)], 1)
    columns = [quantization_error(x[:, i], fmt, "nearest") for i, fmt in enumerate(formats)]
    assert error.sqnr == pytest.approx(measured_sqnr(x, quantized), abs=1e-9)
    assert error.bias == pytest.approx((quantized - x).mean())
    assert error.variance == pytest.approx((quantized - x).var())
    assert error.clipped == pytest.approx(np.mean([c.clipped for c in columns])) and error.clipped > 0
    assert error.underflowed == pytest.approx(np.mean([c.underflowed for c in columns])) and error.underflowed > 0
    for wrong in (x.T, x[0, 0]):
        with pytest.raises(InputError, match="3 formats do not match the last axis"):
            quantization_error(wrong, formats)


# The harmonic rule


decibels = st.lists(st.one_of(st.floats(-200, 200), st.just(inf)), max_size=12)


@given(decibels)
def test_noise_over_signal_adds_up(parts):
    """Equation 8 as it stands, in ratios of power."""
    inverse = sum(10 ** (-part / 10) for part in parts)
    assert predicted_sqnr(*parts) == (pytest.approx(-10 * log10(inverse), abs=1e-9) if inverse else inf)


@given(decibels, decibels)
def test_parts_may_be_joined_before(some, others):
    joined = predicted_sqnr(predicted_sqnr(*some), predicted_sqnr(*others))
    assert joined == pytest.approx(predicted_sqnr(*some, *others), abs=1e-9)
    assert joined <= min([*some, *others], default=inf)


def test_the_rule_by_hand():
    assert predicted_sqnr(30, 30) == pytest.approx(30 - 10 * log10(2))
    assert predicted_sqnr(10, 100) == pytest.approx(10, abs=1e-8)
    assert predicted_sqnr(40, inf) == 40
    assert predicted_sqnr() == predicted_sqnr(inf) == inf
    assert predicted_sqnr(40, -inf, inf) == -inf
    assert predicted_sqnr(9000, -9000) == -9000  # ratios that no float holds
    with pytest.raises(InputError, match="is NaN"):
        predicted_sqnr(40, float("nan"))


def test_the_rule_holds_for_a_product_of_values_rounded_to_nearest_and_fails_for_values_rounded_down():
    rng = np.random.default_rng(0)
    weights, inputs = rng.uniform(-1, 1, (64, 50)), rng.uniform(0, 1, (1000, 64))
    fmt, off = FixedPoint(0, 6), {}
    for rounding in ("nearest", "floor"):
        w, x = (quantize(v, fmt, rounding) for v in (weights, inputs))
        rule = predicted_sqnr(measured_sqnr(weights, w), measured_sqnr(inputs, x))
        off[rounding] = measured_sqnr(inputs @ weights, x @ w) - rule
    assert abs(off["nearest"]) < 2 and off["floor"] < -8
