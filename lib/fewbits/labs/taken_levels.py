"""The checks of lab 13: taking levels, what moved, a momentum that forgets, class maps, the pointing game."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals


def _network(value):
    """Return three small levels, filled with the value."""
    return [{"kernel": np.full((2, 2), value), "bias": np.full(2, value)} for _ in range(3)]


def check_take_first(function: Callable[..., Any]) -> None:
    """Check the network that takes levels of another."""
    origins: list[Any] = []

    def recorded(target: Any, source: Any, count: int) -> Any:
        origins[:] = [*target, *source]
        return function(target, source, count)

    recorded.__name__ = function.__name__

    def holds(*values):
        def accepts(result):
            return len(result) == 3 and all(
                np.all(level[name] == value) for level, value in zip(result, values) for name in ("kernel", "bias")
            )

        return accepts

    def as_given(_):
        return all(np.all(level["kernel"] == (0.0 if i < 3 else 1.0)) for i, level in enumerate(origins))

    def apart(result):
        return not any(
            level is origin or np.shares_memory(level[name], origin[name])
            for level in result
            for origin in origins
            for name in level
        )

    arguments = _network(0.0), _network(1.0)
    check_cases(
        recorded,
        [
            Case(
                (*arguments, 2),
                as_given,
                "The target that was given has changed; it should stay as it is. Return a new network.",
            ),
            Case((*arguments, 0), holds(0, 0, 0), "With no levels taken the network is the target's."),
            Case(
                (*arguments, 2),
                holds(1, 1, 0),
                "Levels count from the input. All arrays of a level go together, the bias too.",
            ),
            Case((*arguments, 3), holds(1, 1, 1), "All levels may be taken."),
            Case(
                (*arguments, 2),
                apart,
                "The result shares an array or a dict with a given network, so training it would change that one.",
            ),
        ],
    )


def check_moved_share(function: Callable[..., Any]) -> None:
    """Check the relative change of a kernel."""
    rng = np.random.default_rng(5)
    kernel, change = rng.normal(size=(3, 3, 2, 4)), rng.normal(size=(3, 3, 2, 4))

    def share(before, after):
        return float(np.sqrt(np.sum((after - before) ** 2) / np.sum(before**2)))

    def case(before, after, hint):
        return Case((before, after), equals(share(before, after)), hint)

    two = np.array([[3.0, 0.0], [0.0, 4.0]])
    check_cases(
        function,
        [
            case(two, two, "Nothing has moved here."),
            case(two, -two, "A kernel of the same length may still have moved: take the norm of the difference."),
            case(two, two + 5 * np.eye(2), "Divide by the length before the training, not after it, and take no mean."),
            case(kernel, kernel + change, "A kernel has four axes: its norm is over all of its weights."),
        ],
    )


def check_momentum_for(function: Callable[..., Any]) -> None:
    """Check the momentum that leaves a share of the start."""

    def left(steps):
        def share(momentum):
            mean = 1.0
            for _ in range(steps):
                mean = momentum * mean  # batches with the mean 0
            return mean

        return share

    def case(share, steps, hint):
        return Case((share, steps), lambda result: bool(np.isclose(left(steps)(float(result)), share)), hint)

    check_cases(
        function,
        [
            case(0.3, 1, "After a single step the momentum is what is left."),
            case(0.25, 2, "The second step takes its part of what the first one left: it multiplies, it does not add."),
            case(0.01, 40, "Follow the share of the start through forty steps."),
        ],
    )


def check_class_map(function: Callable[..., Any]) -> None:
    """Check the map of a class."""
    rng = np.random.default_rng(4)
    features, kernel, bias = rng.normal(size=(3, 4, 5)), rng.normal(size=(5, 3)), np.array([0.0, 1.0, -2.0])

    def case(scale, label, judge, hint):
        logits = scale * np.einsum("yxc,ck->yxk", features, kernel) + bias
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        return Case((scale * features, kernel, bias, label), judge(odds[..., label] / odds.sum(-1)), hint)

    def shaped(expected):
        return lambda result: np.shape(result) == expected.shape

    def ordered(expected):
        return lambda result: np.array_equal(np.argsort(np.ravel(result)), np.argsort(expected.ravel()))

    check_cases(
        function,
        [
            case(
                1,
                1,
                shaped,
                "The map has one number for each place: leave the mean over places out, and choose one class.",
            ),
            case(
                1,
                1,
                ordered,
                "The softmax compares the classes at a place, not the places of a class; the bias counts, too.",
            ),
            case(1, 2, equals, "Probabilities of all classes add up to 1 at each place."),
            case(1000, 0, equals, "Large logits overflow the exponential. All classes may lose the same number first."),
        ],
    )


def check_points_right(function: Callable[..., Any]) -> None:
    """Check whether a map points into a box."""
    heat = np.zeros((2, 4))
    heat[1, 3] = 1  # its middle: y 12, x 28 in 16 x 32 pixels

    def case(boxes, expected, hint):
        return Case((heat, boxes, 16, 32), lambda result: bool(result) == expected, hint)

    check_cases(
        function,
        [
            case([(0, 0, 32, 32)], True, "A box around the whole image holds every place."),
            case([(20, 10, 32, 16)], False, "Rows come first, in the map and in a box: top, left, bottom, right."),
            case(
                [(8, 20, 16, 32)],
                True,
                "A place of the map is many pixels of the image: scale rows by the height, columns by the width.",
            ),
            case([(9, 25, 16, 32)], True, "Does the place stand for the middle of its cell, or for a corner?"),
            case([(8, 24, 12, 32)], False, "A box ends just before its bottom and its right."),
            case(
                [(0, 0, 4, 4), (12, 28, 13, 29)],
                True,
                "One of the boxes is enough, and a box begins at its top and its left.",
            ),
            case([], False, "Without a box no place is right."),
        ],
    )
