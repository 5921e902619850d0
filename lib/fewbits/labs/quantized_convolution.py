"""The checks of lab 4: sums of codes, the codes of biases, back to few bits, and the whole layer."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals
from fewbits.quantization.fixedpoint import FixedPoint, from_codes, quantize, to_codes


def check_convolve(convolve: Callable[..., Any]) -> None:
    """Check `convolve(x, kernel)`: exact sums of products of codes, without a border.

    Args:
        convolve: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """
    rng = np.random.default_rng(5)

    def case(x, kernel, hint):
        return Case((x, kernel), equals(_sums(x, kernel)), hint)

    image = np.arange(9).reshape(3, 3, 1)
    corner = np.zeros((2, 2, 1, 1), int)
    corner[0, 1] = 1
    few = rng.integers(-8, 8, (5, 6, 3)), rng.integers(-8, 8, (3, 3, 3, 2))
    large = np.full((3, 3, 4), 100, np.int8), np.full((2, 2, 4, 1), 100, np.int8)
    check_cases(
        convolve,
        [
            case(image, np.ones((2, 2, 1, 1), int), "Sums of 2x2 windows. Without a border, 3 pixels give 2 places."),
            case(image, corner, "Networks do not turn the kernel around: its corner lies on the window's same corner."),
            case(*few, "Several channels: one sum runs over all of them. Several filters: one output channel each."),
            case(*large, "Products of int8 codes do not fit int8. In which integer type do you multiply and add?"),
        ],
    )


def check_bias_codes(bias_codes: Callable[..., Any]) -> None:
    """Check `bias_codes(bias, x_step, w_step)`: biases on the grid of the products, to nearest.

    Args:
        bias_codes: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(bias, x_step, w_step, hint):
        bias = np.array(bias)
        return Case((bias, x_step, w_step), equals(np.floor(bias / (x_step * w_step) + 0.5).astype(int)), hint)

    check_cases(
        bias_codes,
        [
            case([0.25, -0.5], 1.0, 0.25, "A product of codes counts in steps of the input times steps of the kernel."),
            case([0.25, -0.5], 0.5, 0.25, "Which step does a product have when both factors have one of their own?"),
            case([0.3, 0.2, -0.3], 0.5, 0.5, "Biases between two marks go to the nearest one."),
            case([30.0, -77.0], 2**-6, 2**-7, "The accumulator is wide: a bias is not held to 8 bits."),
        ],
    )


def check_requantize(requantize: Callable[..., Any]) -> None:
    """Check `requantize(totals, shift, nbits)`: totals divided by 2**shift, to nearest, ties upwards, saturated.

    Args:
        requantize: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(totals, shift, nbits, hint):
        totals = np.array(totals)
        return Case(
            (totals, shift, nbits), equals(to_codes(totals, FixedPoint(shift + nbits - 1, nbits), "nearest-up")), hint
        )

    check_cases(
        requantize,
        [
            case([64, -32], 4, 8, "Multiples of the new step: only the point moves."),
            case([43, 39, -43], 4, 8, "Which code is nearest? A plain shift rounds down."),
            case([40, -40, 24], 4, 8, "Halfway goes up, towards plus infinity, also below zero."),
            case([1000, 2000], 4, 8, "Saturate the result, not the total that comes in."),
            case([1000, -1000], 4, 6, "The result must fit the bits; it saturates at both ends."),
            case([3, -2], 0, 8, "A shift of zero leaves codes as they are."),
            case([3, -2], -2, 8, "A negative shift: the output has the finer step, and codes grow."),
        ],
    )


def check_quantized_layer(quantized_layer: Callable[..., Any]) -> None:
    """Check `quantized_layer(x, kernel, bias, formats)`: codes of a convolution with bias and ReLU.

    Args:
        quantized_layer: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """
    rng = np.random.default_rng(6)

    def codes(x, kernel, bias, formats):
        x_fmt, w_fmt, y_fmt = (FixedPoint(*fmt) for fmt in formats)
        values = _sums(from_codes(to_codes(x, x_fmt, "nearest-up"), x_fmt), quantize(kernel, w_fmt, "nearest-up"))
        grid = x_fmt.step * w_fmt.step
        return np.maximum(to_codes(values + np.floor(bias / grid + 0.5) * grid, y_fmt, "nearest-up"), 0)

    def case(x, kernel, bias, formats, hint):
        arguments = np.array(x), np.array(kernel), np.array(bias), formats
        return Case(arguments, equals(codes(*arguments)), hint)

    one = [[[[0.5]]]]
    same = ((0, 8), (0, 8), (0, 8))
    few = rng.normal(0, 0.5, (6, 6, 3)), rng.normal(0, 0.3, (3, 3, 3, 4)), rng.normal(0, 0.2, 4)
    half = 2.0**-7
    check_cases(
        quantized_layer,
        [
            case([[[0.5]]], one, [0.0], same, "One pixel, one weight: 0.5 times 0.5. How do its steps turn into one?"),
            case([[[0.5]]], one, [0.25], same, "The bias is added to the products, on their grid."),
            case([[[0.5]]], [[[[-0.5]]]], [0.0], same, "A ReLU lets no code below zero pass."),
            case(
                [[[half]]],
                one,
                [half / 2],
                same,
                "Add the bias before you round: two halves make a step.",
            ),
            case([[[0.3]]], one, [0.0], ((0, 3), (0, 4), (0, 8)), "Each format has a step of its own."),
            case([[[0.9]]], one, [0.9], ((0, 8), (0, 8), (-1, 8)), "The output's MSB differs from the others."),
            case(*few, ((1, 6), (0, 5), (2, 6)), "Many random values; all parts at once."),
        ],
    )


def _sums(x, kernel):
    """Return the sums of products over all windows, exactly: x (h, w, c), kernel (k, k, c, filters)."""
    x, kernel = (a.astype(np.int64 if a.dtype.kind == "i" else np.float64) for a in (x, kernel))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))
    return np.einsum("hwcij,ijcf->hwf", windows, kernel)
