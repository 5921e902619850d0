"""The checks of lab 1: the grid of a format, codes to the nearest mark, the shift of integers, and the best MSB."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals
from fewbits.quantization.fixedpoint import FixedPoint, quantize, to_codes


def check_grid(grid: Callable[..., Any]) -> None:
    """Check `grid(msb, nbits)`: all values of a format, ascending.

    Args:
        grid: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def marks(msb, nbits):
        fmt = FixedPoint(msb, nbits)
        return np.arange(fmt.min_code, fmt.max_code + 1) * fmt.step

    def counts(result):
        return np.size(result) == 8

    def starts_at_the_amplitude(result):
        return np.min(result) == -1

    def is_even(result):
        return np.allclose(np.diff(result), np.diff(result)[0])

    check_cases(
        grid,
        [
            Case((0, 3), counts, "How many different codes do n bits have? Count the values again."),
            Case((0, 3), is_even, "The distance between two neighbours is the step, the same everywhere."),
            Case((0, 3), starts_at_the_amplitude, "The lowest value is minus the amplitude, and zero is a value."),
            Case((0, 3), equals(marks(0, 3)), "The step follows from the amplitude and the number of codes."),
            Case(
                (2, 4), equals(marks(2, 4)), "The MSB sets the amplitude: how does it change when the MSB grows by 1?"
            ),
            Case((-3, 2), equals(marks(-3, 2)), "The MSB may be negative; the amplitude is then a fraction."),
        ],
    )


def check_encode(encode: Callable[..., Any]) -> None:
    """Check `encode(x, msb, nbits)`: codes of the nearest values, ties upwards, saturated.

    Args:
        encode: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(x, msb, nbits, hint):
        x = np.array(x)
        return Case((x, msb, nbits), equals(to_codes(x, FixedPoint(msb, nbits), "nearest-up")), hint)

    values = np.random.default_rng(3).normal(0, 1, 1000)
    check_cases(
        encode,
        [
            case([0.25, 0.5], 0, 3, "These values lie on the grid. A code counts steps from zero, and is no value."),
            case([0.3, 0.2], 0, 3, "These values lie between marks, the nearer mark is once below and once above."),
            case([-0.3, -0.2], 0, 3, "The same values below zero: does your rounding treat them alike?"),
            case([0.375, 0.125], 0, 3, "Each lies halfway between two marks. The rule for ties is: upwards, always."),
            case([-0.375, -0.125], 0, 3, "Each lies halfway, below zero. Upwards is towards plus infinity."),
            case([1.0, 5.0], 0, 3, "These values lie above the last mark; the result must still be a code of n bits."),
            case([-1.0, -5.0], 0, 3, "The lowest code has no counterpart above zero; it is used all the same."),
            case([3.3, -2.1, 9.0], 2, 5, "Another format: the step and the limits follow from both its numbers."),
            case(values.reshape(10, 100), 1, 6, "Many random values: keep the shape of x."),
        ],
    )


def check_shift_right(shift_right: Callable[..., Any]) -> None:
    """Check `shift_right(total, places)`: a division of integers by a power of two, to nearest, ties upwards.

    Args:
        shift_right: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(total, places, hint):
        half = 1 << places >> 1
        return Case((total, places), equals((total + half) // (1 << places)), hint)

    check_cases(
        shift_right,
        [
            case(64, 4, "This total is a multiple: only the binary point moves."),
            case(43, 4, "A shift drops the remainder. What must be added first, so that the result is the nearest?"),
            case(40, 4, "This lies halfway, and halfway goes up."),
            case(-40, 4, "This lies halfway below zero, and up is towards plus infinity."),
            case(-43, 4, "Look at the sign: which way does your division round below zero?"),
            case(13, 0, "No place to shift: nothing is divided, and nothing may be added."),
            case(2**60 + 2**4 + 3, 2, "This total has more digits than a float64 holds. Use integers all the way."),
        ],
    )


def check_best_msb(best_msb: Callable[..., Any]) -> None:
    """Check `best_msb(x, nbits)`: the MSB from -8 to 8 with the least mean squared error.

    Args:
        best_msb: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """
    rng = np.random.default_rng(4)
    bell = rng.normal(0, 1, 2000)
    outlier = np.append(rng.uniform(-0.24, 0.24, 2000), 2.0)

    def case(x, nbits, hint):
        errors = {msb: np.mean((quantize(x, FixedPoint(msb, nbits), "nearest-up") - x) ** 2) for msb in range(-8, 9)}
        return Case((x, nbits), equals(min(errors, key=lambda msb: errors[msb])), hint)

    check_cases(
        best_msb,
        [
            case(
                np.linspace(-0.9, 0.9, 19), 8, "These values fill the range to an amplitude of 1, and 8 bits are many."
            ),
            case(np.linspace(-0.05, 0.05, 19), 8, "These values are small: the MSB may be negative."),
            case(bell, 3, "With few bits, does the format that clips nothing have the least error? Measure it."),
            case(-np.abs(bell), 3, "All of these values are negative; the error counts on both sides of zero."),
            case(outlier, 4, "One value of 2001 lies far out: squares give it more weight than distances do."),
        ],
    )
