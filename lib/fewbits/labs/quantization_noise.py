"""The checks of lab 5: SQNR, the fractional length, the rule that adds up noise, and the part that is no noise."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals
from fewbits.quantization.fixedpoint import FixedPoint, quantize


def check_decibels(decibels: Callable[..., Any]) -> None:
    """Check `decibels(values, quantized)`: the SQNR.

    Args:
        decibels: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(values, quantized, hint):
        values, quantized = np.array(values), np.array(quantized)
        ratio = np.sum(values**2) / np.sum((quantized - values) ** 2)
        return Case((values, quantized), equals(10 * np.log10(ratio), 1e-6), hint)

    rng = np.random.default_rng(7)
    values = rng.normal(0, 1, (20, 30))
    check_cases(
        decibels,
        [
            case([1.0, -1.0], [1.1, -1.1], "The error is a tenth of the values, so its power is a hundredth. In dB?"),
            case([1.0, -1.0], [3.0, -3.0], "The error is larger than the values: fewer than 0 dB."),
            case([3.0, -3.0], [2.5, -3.5], "All errors are the same. They have power, although they do not vary."),
            case([4.0, 4.0], [4.5, 3.5], "The power of the values counts from zero, not from their mean."),
            case([4.0, 1.0], [4.5, 0.5], "Powers are added up first and divided afterwards, not value by value."),
            case(values, np.round(values, 1), "Many values, with a shape."),
        ],
    )


def check_length(length: Callable[..., Any]) -> None:
    """Check `length(values, bits)`: the largest fractional length that clips nothing.

    Args:
        length: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(values, bits, hint):
        values = np.array(values)
        lengths = range(60, -60, -1)
        longest = next(fl for fl in lengths if (2 ** (bits - 1) - 1) * 2.0**-fl > np.abs(values).max())
        return Case((values, bits), equals(longest), hint)

    check_cases(
        length,
        [
            case([0.3, 0.7], 8, "The step is 2**-length. Count up until the largest code times the step is too low."),
            case([30.0, 70.0], 8, "Large values: the length may be small, or negative."),
            case([3.0, 700.0], 8, "Negative length: the step is more than 1."),
            case([0.3, 0.9], 3, "Which is the largest code of 3 bits? It has to lie above 0.9, not the amplitude."),
            case([0.2, -0.99], 4, "The largest magnitude may belong to a negative value."),
            case([0.75, 0.1], 3, "Equation 10 wants the largest code strictly above every magnitude."),
        ],
    )


def check_added_noise(added_noise: Callable[..., Any]) -> None:
    """Check `added_noise(sqnrs)`: the SQNR that the rule predicts from the parts, all in dB.

    Args:
        added_noise: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(sqnrs, hint):
        return Case((sqnrs,), equals(-10 * np.log10(sum(10 ** (-s / 10) for s in sqnrs)), 1e-6), hint)

    check_cases(
        added_noise,
        [
            case([30.0], "One part alone: nothing is added to it."),
            case([30.0, 30.0], "Two equal parts: the noise doubles. How many dB is a factor of two in power?"),
            case([50.0, 20.0], "A part with little noise hardly matters, but it matters."),
            case([40.0, 30.0, 35.0, 20.0], "The ratios of noise to signal add up, not the decibels."),
            case([3.0, -5.0], "Parts may be worse than 0 dB."),
        ],
    )


def check_part_of_the_mean(part_of_the_mean: Callable[..., Any]) -> None:
    """Check `part_of_the_mean(errors)`: the share of the errors' power that a constant would remove.

    Args:
        part_of_the_mean: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """
    values = np.random.default_rng(8).normal(0, 1, 5000)

    def case(errors, hint):
        errors = np.array(errors)
        return Case((errors,), equals(np.mean(errors) ** 2 / np.mean(errors**2), 1e-6), hint)

    check_cases(
        part_of_the_mean,
        [
            case([2.0, 2.0], "All errors are equal: a constant removes all of their power."),
            case([1.0, -1.0], "These errors cancel: a constant removes nothing."),
            case([1.0, 3.0], "Power is the square. Compare the square of a mean with the mean of squares."),
            case([-4.0, -2.0, -3.0], "A share is never negative."),
            case([-1.0, 2.0, 0.5], "Errors of both signs: take the mean before anything makes them positive."),
            case(quantize(values, FixedPoint(3, 6), "floor") - values, "The errors of rounding 5000 values down."),
        ],
    )
