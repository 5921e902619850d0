"""The checks of lab 16: a shift that rounds, the width of a sum, a layer, and an addition, on integers alone."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals


def check_shift_to_even(function: Callable[..., Any]) -> None:
    """Check the shift that rounds half to even."""

    def case(totals, shift, hint):
        expected = np.array([round(Fraction(total, 2**shift)) for total in totals])  # exact, half to even
        return Case((np.array(totals), shift), lambda result: _same_integers(result, expected), hint)

    check_cases(
        function,
        [
            case([8, 16, -8], 3, "These are multiples of the unit: nothing is to be rounded."),
            case([9, 15, -9, -15], 3, "Nearest means up if more than half is dropped, and down if less is."),
            case([4, 20], 3, "Halfway to an odd integer: the even one is below."),
            case([12, 28], 3, "Halfway above an odd integer: the even one is above."),
            case([-4, -12, -20], 3, "Below zero, `>>` still rounds down; which of the two neighbours is even?"),
            case([5, -7], 0, "A shift of 0 drops nothing, so nothing is halfway."),
            case([2**60 + 1, 2**60 + 3], 1, "A float holds no more than 53 bits; stay with integers."),
        ],
    )


def _same_integers(result, expected):
    """Return whether a result is equal, compared as integers: as floats, large ones would seem equal."""
    result = np.asarray(result)
    if result.dtype.kind == "f":
        result = result.astype(np.int64)
    return np.array_equal(result, expected)


def check_accumulator_bits(function: Callable[..., Any]) -> None:
    """Check the bits that hold every sum."""

    def case(kernel, bias, low, high, hint):
        kernel, bias = np.array(kernel), np.array(bias)
        return Case((kernel, bias, low, high), equals(_least_bits(kernel, bias, low, high)), hint)

    check_cases(
        function,
        [
            case([[1], [1]], [0], 0, 3, "The sum can be 6. Two's complement needs one bit for the sign."),
            case([[1], [1]], [0], 0, 4, "The sum can be 8: which is the largest integer that a number of bits holds?"),
            case(
                [[-1], [-1]],
                [0],
                0,
                4,
                "The sum can be -8. Two's complement reaches one further below zero than above.",
            ),
            case([[3], [-3]], [0], 0, 5, "Inputs are not negative here, so weights of both signs never add up."),
            case([[3], [-3]], [0], -5, 5, "Each input has the sign that makes the sum largest, or smallest."),
            case([[1, 0], [1, 0]], [1, -9], 0, 3, "The sum starts with the bias of its unit."),
            case([[5, -7, 1], [6, -7, 0]], [1, 2, 3], -8, 7, "The widest unit decides, and it may be wide below zero."),
        ],
    )


def _least_bits(kernel, bias, low, high):
    """Return the least bits of the sums, found by trying all inputs at their limits."""
    corners = np.array(np.meshgrid(*len(kernel) * [[low, high]])).reshape(len(kernel), -1).T
    sums = corners @ kernel + bias
    return max(int(sum_).bit_length() + 1 if sum_ >= 0 else int(-sum_ - 1).bit_length() + 1 for sum_ in sums.ravel())


def check_integer_layer(function: Callable[..., Any]) -> None:
    """Check a layer on integers."""
    kernel, bias = np.array([[3, -2], [1, 4], [-5, 6]]), np.array([0, 0])

    def case(codes, bias, steps, bits, hint):
        codes = np.array(codes)
        i, k, o = steps
        rows = []
        for row in codes.tolist():
            values = [
                sum(Fraction(x, 2**i) * Fraction(w, 2**k) for x, w in zip(row, column)) + Fraction(b, 2 ** (i + k))
                for column, b in zip(kernel.T.tolist(), bias.tolist())
            ]
            rows.append([min(max(round(value * 2**o), 0), 2**bits - 1) for value in values])
        return Case((codes, kernel, bias, steps, bits), equals(np.array(rows)), hint)

    check_cases(
        function,
        [
            case(
                [[4, 4, 0]],
                bias,
                (2, 3, 5),
                8,
                "The output has the step of the products here: only products and sums are left.",
            ),
            case([[0, 0, 4]], bias, (2, 3, 5), 8, "The ReLU passes no negative sum."),
            case(
                [[4, 0, 4]],
                np.array([20, -3]),
                (2, 3, 5),
                8,
                "The bias is added before the ReLU; it has the step of the products.",
            ),
            case(
                [[8, 8, 0]],
                bias,
                (2, 3, 3),
                8,
                "The output has a coarser step than the products: how many bits does the sum drop?",
            ),
            case(
                [[1, 3, 0], [2, 4, 0]],
                np.array([0, 2]),
                (2, 3, 3),
                8,
                "The shift rounds to nearest, halves to the even code.",
            ),
            case([[90, 60, 0]], bias, (2, 3, 4), 4, "An unsigned code of 4 bits ends at 15; saturate after the shift."),
        ],
    )


def check_add_aligned(function: Callable[..., Any]) -> None:
    """Check the exact sum of codes of two steps."""
    first, second = np.array([3, -5, 120]), np.array([7, 2, -90])

    def case(a, b, part, hint):
        c = max(a, b)
        codes = [int((Fraction(x) / 2**a + Fraction(y) / 2**b) * 2**c) for x, y in zip(first.tolist(), second.tolist())]
        expected = (np.array(codes), c)[part]

        def accepts(result):
            whole = np.asarray(result[0]).dtype.kind in "iu"
            return len(result) == 2 and whole and equals(expected)(result[part])

        return Case((first, a, second, b), accepts, hint)

    check_cases(
        function,
        [
            case(3, 3, 0, "With equal steps, integer codes add up as they are."),
            case(2, 5, 1, "The sum must hold the finer of the two, or it is not exact."),
            case(2, 5, 0, "One code in coarse steps is several in fine steps; the other branch is fine already."),
            case(6, 1, 0, "Either of the two may be the finer one."),
        ],
    )
