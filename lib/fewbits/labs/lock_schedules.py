"""The checks of lab 9: a schedule, the gradient through a quantizer, a step with locks, and quantized training."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals
from fewbits.quantization.fixedpoint import FixedPoint, is_clipped, quantize


def check_stages(stages: Callable[..., Any]) -> None:
    """Check `stages(levels, strategy)`: what is quantized and what is locked in each stage.

    Args:
        stages: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(levels, strategy, part, hint):
        quantized = [levels[: n + 1] for n in range(len(levels))]
        locked = quantized if strategy == "lock" else [[] for _ in levels]
        expected = list(zip(quantized, locked))

        def accepts(result):
            if len(result) != len(expected) or any(len(stage) != 2 for stage in result):
                return False
            return all(list(stage[part]) == wanted[part] for stage, wanted in zip(result, expected))

        return Case((levels, strategy), accepts, hint)

    two, three = ["conv1", "dense"], ["conv1", "fire2", "conv10"]
    check_cases(
        stages,
        [
            case(["conv1"], "train", 0, "One level has one stage: a list with one pair of lists."),
            case(two, "train", 0, "Each stage quantizes one level more, and those before it stay quantized."),
            case(three, "train", 1, "While all levels go on learning, none is locked."),
            case(three, "lock", 0, "Locked levels are quantized, too."),
            case(two, "lock", 1, "A level is locked in the stage that quantizes it, not in the next one."),
            case(three, "lock", 1, "A locked level stays locked until the end."),
        ],
    )


def check_straight_through(straight_through: Callable[..., Any]) -> None:
    """Check `straight_through(w, upstream, msb, nbits)`: the gradient passes where nothing was clipped.

    Args:
        straight_through: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(w, upstream, msb, nbits, hint):
        w, upstream = np.array(w), np.array(upstream)
        expected = np.where(is_clipped(w, FixedPoint(msb, nbits), "nearest-up"), 0, upstream)
        return Case((w, upstream, msb, nbits), equals(expected, 1e-9), hint)

    check_cases(
        straight_through,
        [
            case([0.3, -0.6], [2.0, 3.0], 0, 3, "Inside the range the slope is taken as 1: what comes in goes out."),
            case([5.0, 0.3], [2.0, 3.0], 0, 3, "Far above the range the quantizer is flat."),
            case([-5.0, 0.3], [2.0, 3.0], 0, 3, "Far below the range the quantizer is flat."),
            case([0.95], [2.0], 0, 3, "The last mark is one step below the amplitude. Which code would 0.95 need?"),
            case([0.8, 0.86], [2.0, 2.0], 0, 3, "A value that rounds to the last mark is not clipped."),
            case([-1.1], [2.0], 0, 3, "A value that rounds to the lowest mark is not clipped."),
            case([1.5, 3.9], [1.0, -1.0], 2, 5, "Another format."),
        ],
    )


def check_step_with_locks(step_with_locks: Callable[..., Any]) -> None:
    """Check `step_with_locks(w, velocity, gradient, locked, rate)`: SGD with momentum that moves no locked weight.

    Args:
        step_with_locks: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(w, velocity, gradient, locked, rate, hint):
        w, velocity, gradient, locked = map(np.array, (w, velocity, gradient, locked))
        moved = np.where(locked, velocity, 0.9 * velocity - rate * gradient)

        def accepts(result):
            new = np.where(locked, w, w + moved)
            alike = np.shape(result) == (2, *w.shape)
            return alike and equals(new)(result[0]) and equals(moved[~locked])(np.asarray(result[1])[~locked])

        return Case((w, velocity, gradient, locked, rate), accepts, hint)

    off, on = [False], [True]
    check_cases(
        step_with_locks,
        [
            case([1.0], [0.0], [2.0], off, 0.1, "A weight goes against its gradient. Return weights and velocity."),
            case([1.0], [0.5], [0.0], off, 0.1, "Without a gradient nine tenths of the velocity remain, and move it."),
            case([1.0], [0.5], [2.0], off, 0.1, "The new velocity moves the weight, not the old one."),
            case([1.0], [0.0], [2.0], on, 0.1, "A locked weight does not follow its gradient."),
            case([1.0], [0.5], [0.0], on, 0.1, "A locked weight does not follow its old velocity either."),
            case([1.0, 2.0], [0.5, 0.1], [1.0, 1.0], [True, False], 0.1, "One weight is locked and the other is not."),
        ],
    )


def check_quantized_gradient(quantized_gradient: Callable[..., Any]) -> None:
    """Check `quantized_gradient(w, x, y, msb, nbits)`: the gradient of a mean squared error, through quantized weights.

    Args:
        quantized_gradient: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """
    rng = np.random.default_rng(18)

    def case(w, x, y, msb, nbits, hint):
        w, x, y = map(np.array, (w, x, y))
        fmt = FixedPoint(msb, nbits)
        off = x @ quantize(w, fmt, "nearest-up") - y
        gradient = np.where(is_clipped(w, fmt, "nearest-up"), 0, 2 * x.T @ off / len(y))
        return Case((w, x, y, msb, nbits), equals(gradient, 1e-9), hint)

    x, y = rng.normal(0, 1, (20, 3)), rng.normal(0, 1, 20)
    check_cases(
        quantized_gradient,
        [
            case([0.5], [[1.0]], [0.25], 0, 8, "One image, a weight on the grid: the slope of (w x - y) squared."),
            case([0.5], [[2.0], [1.0]], [1.0, 0.0], 0, 8, "Two images: the loss is a mean, and so is its gradient."),
            case([0.3], [[1.0]], [0.0], 0, 3, "The forward pass uses the quantized weight, as the device will."),
            case([5.0], [[1.0]], [0.0], 0, 3, "This weight is clipped, and a clipped weight has no gradient."),
            case(rng.normal(0, 0.5, 3), x, y, 0, 4, "Three weights, twenty images."),
        ],
    )
