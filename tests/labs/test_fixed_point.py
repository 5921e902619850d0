"""Lab 1: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import fixed_point as lab
from fewbits.quantization import FixedPoint, quantize, to_codes
from helpers.labs import tell_apart


def test_mistakes_in_the_grid():
    def step(msb, nbits):
        return 2.0 ** (msb + 1 - nbits)

    def one_too_many(msb, nbits):
        return np.linspace(-(2.0**msb), 2.0**msb, 2**nbits + 1)

    def without_zero(msb, nbits):
        return np.linspace(-(2.0**msb), 2.0**msb, 2**nbits)

    def only_positive(msb, nbits):
        return np.arange(2**nbits) * step(msb, nbits)

    def msb_is_amplitude(msb, nbits):
        return np.arange(-(2 ** (nbits - 1)), 2 ** (nbits - 1)) * step(0, nbits) * max(msb, 1)

    tell_apart(
        (lab.check_grid, one_too_many, "Count the values"),
        (lab.check_grid, only_positive, "minus the amplitude"),
        (lab.check_grid, without_zero, "follows from the amplitude"),
        (lab.check_grid, msb_is_amplitude, "when the MSB grows"),
    )


def library(rounding, overflow="saturate", values=False):
    def encode(x, msb, nbits):
        return (quantize if values else to_codes)(x, FixedPoint(msb, nbits), rounding, overflow)

    return encode


def test_mistakes_in_the_codes():
    def symmetric(x, msb, nbits):
        codes = to_codes(x, FixedPoint(msb, nbits), "nearest-up")
        return np.maximum(codes, 1 - 2 ** (nbits - 1))

    def flat(x, msb, nbits):
        return to_codes(x, FixedPoint(msb, nbits), "nearest-up").ravel()

    tell_apart(
        (lab.check_encode, library("nearest-up", values=True), "is no value"),
        (lab.check_encode, library("floor"), "once below and once above"),
        (lab.check_encode, library("nearest"), "upwards, always"),
        (lab.check_encode, library("nearest-away"), "towards plus infinity"),
        (lab.check_encode, library("nearest-up", "wrap"), "above the last mark"),
        (lab.check_encode, symmetric, "no counterpart"),
        (lab.check_encode, flat, "keep the shape"),
    )


def test_a_truncation_after_adding_a_half_is_wrong_below_zero():
    def truncated(x, msb, nbits):
        fmt = FixedPoint(msb, nbits)
        return np.clip((x / fmt.step + 0.5).astype(int), fmt.min_code, fmt.max_code)

    tell_apart((lab.check_encode, truncated, "below zero: does your rounding"))


def test_mistakes_in_the_shift():
    def half(places):
        return 1 << places >> 1

    tell_apart(
        (lab.check_shift_right, lambda total, places: total >> places, "added first"),
        (lab.check_shift_right, lambda total, places: round(total / 2**places), "halfway goes up"),
        (
            lab.check_shift_right,
            lambda total, places: int(abs(total) + half(places)) // 2**places * (1 if total > 0 else -1),
            "halfway below zero",
        ),
        (lab.check_shift_right, lambda total, places: total + (1 << places - 1) >> places, "negative shift count"),
        (lab.check_shift_right, lambda total, places: int(np.floor(total / 2**places + 0.5)), "more digits"),
    )


def test_mistakes_in_the_best_msb():
    def least(measure, least_msb=-8):
        def best_msb(x, nbits):
            errors = {m: measure(quantize(x, FixedPoint(m, nbits), "nearest") - x) for m in range(least_msb, 9)}
            return min(errors, key=errors.get)

        return best_msb

    def of_the_maximum(x, nbits):
        return int(np.ceil(np.log2(np.abs(x).max())))

    def constant(x, nbits):
        return 0

    def positive_only(x, nbits):
        return least(lambda error: np.mean(error**2))(np.maximum(x, 0), nbits)

    tell_apart(
        (lab.check_best_msb, constant, "may be negative"),
        (lab.check_best_msb, of_the_maximum, "Measure it"),
        (lab.check_best_msb, least(lambda error: np.abs(error).mean()), "lies far out"),
        (lab.check_best_msb, positive_only, "both sides"),
    )
