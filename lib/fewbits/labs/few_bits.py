"""The checks of lab 10: values of few bits, the gradient of a rounding, a step, stages, and the mean of bits."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals
from fewbits.quantization.fixedpoint import FixedPoint, quantize


def check_few_bit_values(function: Callable[..., Any]) -> None:
    """Check the rounding to the values of a format."""

    def case(x, msb, nbits, signed, hint):
        expected = quantize(x, FixedPoint(msb, nbits, signed), "nearest")
        return Case((np.array(x), msb, nbits, signed), equals(expected), hint)

    check_cases(
        function,
        [
            case(
                [0.0, 0.25, -0.5],
                0,
                3,
                True,
                "These are values of the format already: they should stay. Is the step right?",
            ),
            case([0.05, -0.3, 0.2], 0, 3, True, "Which code is nearest? A rounding down errs to one side only."),
            case(
                [0.125, 0.375, -0.375], 0, 3, True, "These lie halfway between two codes, and the even code should win."
            ),
            case([1.0, 7.0], 0, 3, True, "There is a highest code; values above it cannot be stored."),
            case([-1.0, -9.0], 0, 3, True, "Two's complement has one negative code more than positive ones."),
            case(
                [1.0, 1.6, -0.4],
                0,
                3,
                False,
                "After a ReLU no value is negative: which codes does an unsigned format use?",
            ),
            case([0.3, 5.0], 1, 2, False, "The step follows from the MSB and the bits. Try other widths than 3 bits."),
        ],
    )


def check_gradient_through(function: Callable[..., Any]) -> None:
    """Check the gradient that passes a rounding and stops at the limits."""
    gradient = np.array([1.0, -2.0, 3.0])

    def case(x, signed, passed, hint):
        arguments = gradient, np.array(x), 0, 3, signed
        return Case(arguments, equals(np.where(passed, gradient, 0)), hint)

    check_cases(
        function,
        [
            case(
                [0.1, -0.3, 0.6],
                True,
                [1, 1, 1],
                "All of these are inside the range: the gradient should pass as it is.",
            ),
            case(
                [2.0, 0.1, 0.2],
                True,
                [0, 1, 1],
                "The first is far above the highest value: does moving it change anything?",
            ),
            case(
                [-0.9, -3.0, 0.2],
                True,
                [1, 0, 1],
                "The range has a lower end, too, and signed values reach down to it.",
            ),
            case(
                [1.5, -0.4, 0.2],
                False,
                [1, 0, 1],
                "An unsigned format has other limits than a signed one of equal bits.",
            ),
        ],
    )


def check_train_step(function: Callable[..., Any]) -> None:
    """Check one step of training with weights in float and a network of rounded ones."""
    weights = np.array([0.4, -0.7, 0.05])
    step = weights - 0.01 * 2 * (np.rint(weights) - 3)

    def accepts(result):
        return equals(step)(result)

    def kept_in_float(result):
        return not np.allclose(result, np.rint(result)) and not np.allclose(result, np.rint(weights) - (weights - step))

    def asked_rounded(result):
        return not np.allclose(result, weights - 0.01 * 2 * (weights - 3))

    case = partial(Case, (weights, _pull, np.rint, 0.01))
    check_cases(
        function,
        [
            case(
                kept_in_float,
                "Steps of a hundredth never leave a code if the rounded weights are what is kept: then nothing learns.",
            ),
            case(asked_rounded, "The loss is that of the network which computes. With which weights does it compute?"),
            case(
                lambda result: not np.allclose(result, 2 * weights - step),
                "The step should go down the gradient, not up.",
            ),
            case(accepts, "A step is the rate times the gradient."),
        ],
    )


def _pull(weights):
    """Return the gradient of the squared distance from 3."""
    return 2 * (weights - 3)


def check_bit_stages(function: Callable[..., Any]) -> None:
    """Check the stages of the three ways down."""

    def case(arguments, expected, hint):
        return Case(arguments, lambda result: [list(stage) for stage in result] == expected, hint)

    check_cases(
        function,
        [
            case(("all at once", 8, 3, 4), [[3, 3, 3, 3]], "All levels go to the goal in the only stage."),
            case(
                ("level by level", 8, 3, 3),
                [[3, 8, 8], [3, 3, 8], [3, 3, 3]],
                "In stage i the first i levels are at the goal, and the others have not moved yet.",
            ),
            case(
                ("bit by bit", 6, 3, 2),
                [[5, 5], [4, 4], [3, 3]],
                "The start is where the network is already: count the bits that it still has to lose.",
            ),
            case(
                ("bit by bit", 3, 3, 2), [], "If it is at the goal already, there is nothing to do, one bit at a time."
            ),
        ],
    )


def check_bits_per_weight(function: Callable[..., Any]) -> None:
    """Check the mean of bits over weights."""
    check_cases(
        function,
        [
            Case(([100, 100, 100], 2, 2), equals(2.0), "All weights have 2 bits here."),
            Case(([100, 100, 100], 2, 8), equals(6.0), "Both edges, the first and the last level, keep more bits."),
            Case(([10, 980, 10], 2, 8), equals(2.12), "A mean over levels is not a mean over weights."),
        ],
    )
