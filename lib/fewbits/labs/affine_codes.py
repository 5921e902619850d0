"""The checks of lab 8: scale and zero point, affine codes, sums without zero points, and a multiplier of integers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals


def check_span(span: Callable[..., Any]) -> None:
    """Check `span(low, high, nbits)`: scale and zero point of unsigned codes over a range and 0.

    Args:
        span: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(low, high, nbits, hint):
        bottom, top = min(low, 0.0), max(high, 0.0)
        scale = (top - bottom) / (2**nbits - 1)
        return Case((low, high, nbits), equals((scale, round(-bottom / scale)), 1e-9), hint)

    check_cases(
        span,
        [
            case(0.0, 15.0, 4, "Sixteen codes have fifteen steps between them. Return scale and zero point."),
            case(-5.0, 10.0, 4, "The zero point is the code that stands for 0, and code 0 stands for the lower end."),
            case(-20.0, 50.0, 8, "A zero point is a code, so it is an integer."),
            case(2.0, 17.0, 4, "Zero must have a code, also when all values lie above it."),
            case(-9.0, -3.0, 8, "Zero must have a code, also when all values lie below it."),
            case(-1.0, 1.27, 8, "A range with both signs."),
        ],
    )


def check_affine_encode(affine_encode: Callable[..., Any]) -> None:
    """Check `affine_encode(x, scale, zero, nbits)`: unsigned codes of the nearest values.

    Args:
        affine_encode: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(x, scale, zero, nbits, hint):
        x = np.array(x)
        expected = np.clip(np.round(x / scale) + zero, 0, 2**nbits - 1).astype(int)
        return Case((x, scale, zero, nbits), equals(expected), hint)

    check_cases(
        affine_encode,
        [
            case([0.0, 0.5], 0.5, 0, 8, "A code counts steps; the code of 0 is the zero point."),
            case([0.0, 0.5, -0.5], 0.5, 10, 8, "The zero point moves all codes, by as much as itself."),
            case([0.7, 0.8, -0.7], 0.5, 10, 8, "Values between two marks get the nearest one."),
            case([-99.0], 0.5, 10, 8, "Unsigned codes end at 0."),
            case([999.0], 0.5, 10, 8, "The largest of 2**nbits codes that begin with 0."),
            case(np.linspace(-3, 3, 30).reshape(5, 6), 0.4, 7, 4, "Many values; codes saturate, not the values."),
        ],
    )


def check_product_of_codes(product_of_codes: Callable[..., Any]) -> None:
    """Check `product_of_codes(kx, kw, zx, zw)`: sums of (kx - zx) (kw - zw), from matrix products and sums of codes.

    Args:
        product_of_codes: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(kx, kw, zx, zw, hint):
        expected = (np.asarray(kx, np.int64) - zx) @ (np.asarray(kw, np.int64) - zw)
        return Case((np.array(kx), np.array(kw), zx, zw), equals(expected), hint)

    rng = np.random.default_rng(17)
    kx, kw = rng.integers(0, 16, (3, 4)), rng.integers(0, 16, (4, 5))
    large = rng.integers(0, 256, (6, 32)).astype(np.uint8), rng.integers(0, 256, (32, 3)).astype(np.uint8)
    check_cases(
        product_of_codes,
        [
            case(kx, kw, 0, 0, "Without zero points this is the matrix product of the codes."),
            case(kx, kw, 3, 0, "The input's zero point meets the sum of the kernel's codes, one sum per filter."),
            case(kx, kw, 0, 5, "The kernel's zero point meets the sum of the input's codes, one sum per image."),
            case(kx, kw, 3, 5, "Both zero points: their product is there once for each of the inputs."),
            case(*large, 100, 120, "The codes come as uint8; products and sums need more bits."),
        ],
    )


def check_multiplier(multiplier: Callable[..., Any]) -> None:
    """Check `multiplier(factor)`: an integer of 31 bits and a shift, so that integer / 2**shift is near the factor.

    Args:
        multiplier: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def pair(result):
        return np.shape(result) == (2,) and all(float(part).is_integer() for part in result)

    def fits(result):
        return 2**30 <= result[0] < 2**31

    def near(factor):
        return lambda result: abs(result[0] * 2.0 ** -int(result[1]) - factor) <= factor * 2.0**-31

    check_cases(
        multiplier,
        [
            Case((0.3,), pair, "Return two integers, the multiplier and the shift."),
            Case((0.3,), lambda r: abs(r[0] * 2.0 ** -int(r[1]) - 0.3) < 0.01, "Divide by 2**shift: is it the factor?"),
            Case((0.3,), fits, "The multiplier uses all of 31 bits: it is at least 2**30, and below 2**31."),
            Case((0.3,), near(0.3), "The multiplier is the nearest integer, not the one below."),
            Case((0.5,), fits, "A power of two has a multiplier of 31 bits, too."),
            Case((0.0007,), fits, "A small factor has a larger shift, not a smaller multiplier."),
            Case((0.0007,), near(0.0007), "A small factor is as exact as a large one."),
            Case((1 - 2.0**-40,), fits, "Just below a power of two, rounding reaches 2**31: one bit too many."),
            Case((5.3,), near(5.3), "A factor may be above 1."),
        ],
    )
