"""The checks of lab 6: the mean shift of a kernel, the sum of a window, mid-step, and a paired comparison."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals
from fewbits.quantization.fixedpoint import FixedPoint, quantize


def check_mean_shift(mean_shift: Callable[..., Any]) -> None:
    """Check `mean_shift(kernel, quantized, step)`: the mean error of each filter in steps.

    Args:
        mean_shift: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """
    rng = np.random.default_rng(9)

    def case(kernel, quantized, step, hint):
        expected = ((quantized - kernel) / step).reshape(-1, kernel.shape[-1]).mean(0)
        return Case((kernel, quantized, step), equals(expected, 1e-6), hint)

    kernel = rng.normal(0, 0.2, (3, 3, 4, 2))
    uneven = np.stack([np.full((2, 2, 1), 0.25), np.full((2, 2, 1), 0.125)], -1)
    fmt = FixedPoint(0, 5)
    check_cases(
        mean_shift,
        [
            case(uneven, uneven, 1.0, "One number per filter; the filters are the last axis."),
            case(uneven, uneven + 0.125, 1.0, "An error is what quantization adds: mind the sign."),
            case(uneven, uneven + 0.125, 0.25, "The result counts in steps."),
            case(kernel, quantize(kernel, fmt, "nearest"), fmt.step, "Errors of both signs cancel in a mean."),
            case(kernel, quantize(kernel, fmt, "floor"), fmt.step, "A kernel rounded down."),
        ],
    )


def check_window_sums(window_sums: Callable[..., Any]) -> None:
    """Check `window_sums(x, size)`: the sum of all inputs in each window.

    Args:
        window_sums: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(x, size, hint):
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))
        return Case((x, size), equals(windows.sum((2, 3, 4)), 1e-6), hint)

    rng = np.random.default_rng(10)
    check_cases(
        window_sums,
        [
            case(np.arange(9.0).reshape(3, 3, 1), 3, "One window covers the image; the result has the shape (1, 1)."),
            case(np.arange(12.0).reshape(3, 4, 1), 2, "Windows overlap: one for each place of the output, no border."),
            case(rng.random((4, 4, 5)), 2, "A filter reads all channels, so the sum runs over all of them."),
            case(rng.random((5, 7, 2)), 1, "A window of one pixel."),
        ],
    )


def check_mid_step(mid_step: Callable[..., Any]) -> None:
    """Check `mid_step(outputs, sums, step)`: the outputs of a kernel whose codes are read half a step higher.

    Args:
        mid_step: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(outputs, sums, step, hint):
        return Case((outputs, sums, step), equals(outputs + step / 2 * sums[..., None], 1e-9), hint)

    rng = np.random.default_rng(11)
    check_cases(
        mid_step,
        [
            case(
                np.zeros((1, 1, 1)),
                np.full((1, 1), 4.0),
                1.0,
                "Each weight rises by half a step. What does their sum?",
            ),
            case(np.ones((1, 1, 1)), np.full((1, 1), 4.0), 1.0, "The outputs are corrected, not replaced."),
            case(np.ones((1, 1, 1)), np.full((1, 1), 4.0), 0.25, "The step is not always 1."),
            case(rng.random((3, 3, 4)), rng.random((3, 3)), 0.5, "One sum per place, for all filters at that place."),
        ],
    )


def check_compare(compare: Callable[..., Any]) -> None:
    """Check `compare(one, other)`: the mean of the differences image by image, and its standard error.

    Args:
        compare: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(one, other, part, hint):
        one, other = np.array(one, bool), np.array(other, bool)
        gains = one.astype(int) - other
        expected = gains.mean(), gains.std(ddof=1) / np.sqrt(len(gains))

        def accepts(result):
            return np.size(result) == 2 and equals(expected[part], 1e-9)(result[part])

        return Case((one, other), accepts, hint)

    rng = np.random.default_rng(12)
    one = rng.random(400) < 0.8
    check_cases(
        compare,
        [
            case([1, 1, 1, 0], [1, 0, 0, 0], 0, "First number: the share of `one` less that of `other`; not a bool."),
            case([0, 0, 1, 0], [1, 1, 1, 0], 0, "First number: it is negative when `one` reads fewer images."),
            case(one, one, 1, "Second number: where no image differs, the difference has no error at all."),
            case(
                [1, 1, 1, 0],
                [1, 0, 0, 1],
                1,
                "Second number: the spread of the differences, with n - 1 (a sample).",
            ),
            case(one, one ^ (rng.random(400) < 0.05), 1, "Second number: a mean of n images is surer than one image."),
        ],
    )
