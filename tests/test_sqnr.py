"""What quantization costs, against a plain formula, against onnxruntime, and against the theory of uniform noise."""

from math import inf, log10

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, quantize
from fewbits.sqnr import measure, measured_sqnr

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
    assert measure(full_scale, fmt, rounding).sqnr == pytest.approx(20 * log10(2) * (nbits - lost_bits), abs=0.06)


@pytest.mark.parametrize(("rounding", "steps"), [("floor", -0.5), ("nearest", 0), ("nearest-up", 0), ("stochastic", 0)])
def test_only_floor_shifts_the_mean_and_by_half_a_step(rounding, steps):
    fmt = FixedPoint(0, 8)
    inside = UNIFORM * 0.99
    assert measure(inside, fmt, rounding).bias / fmt.step == pytest.approx(steps, abs=3e-3)


def test_the_measures_by_hand():
    error = measure([-1, -0.3, 0, 0.1, 0.5, 2], FixedPoint(0, 2))  # to -1, -0.5, 0, 0, 0.5, 0.5
    assert error.clipped == pytest.approx(1 / 6)
    assert error.underflowed == pytest.approx(2 / 6)
    assert error.bias == pytest.approx((-0.2 - 0.1 - 1.5) / 6)
    assert error.rms == pytest.approx(((0.2**2 + 0.1**2 + 1.5**2) / 6) ** 0.5)


def test_a_perfect_fit_loses_nothing():
    codes = np.arange(-128, 128) / 128
    error = measure(codes, FixedPoint(0, 8))
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
    with pytest.raises(InputError, match="one shape"):
        measured_sqnr(*map(np.zeros, shapes))
