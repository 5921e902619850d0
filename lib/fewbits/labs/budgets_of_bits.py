"""The checks of lab 18: the front, an honest choice, the predicted noise, and the best bits within a budget."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals


def check_unbeaten(function: Callable[..., Any]) -> None:
    """Check the front of networks that nobody beats."""

    def case(points, expected, hint):
        return Case((points,), lambda result: list(result) == expected, hint)

    check_cases(
        function,
        [
            case({"a": (2, 0.9), "b": (1, 0.8)}, ["b", "a"], "Neither beats the other; the cheapest comes first."),
            case(
                {"a": (1, 0.8), "b": (2, 0.7), "c": (3, 0.9)},
                ["a", "c"],
                "b costs more than a and reads worse: a beats it.",
            ),
            case(
                {"a": (1, 0.8), "b": (2, 0.8)},
                ["a"],
                "b costs more and reads no better: better in one of the two is enough to beat it.",
            ),
            case({"a": (1, 0.7), "b": (1, 0.8)}, ["b"], "Both cost the same, and one reads better."),
            case({"a": (1, 0.8), "b": (1, 0.8)}, ["a", "b"], "Equal points do not beat each other, so both stay."),
        ],
    )


def check_chosen(function: Callable[..., Any]) -> None:
    """Check the choice by validation images and the report by test images."""

    def network(name, cost, validation, test):
        return {"name": name, "cost": cost, "validation": validation, "test": test}

    candidates = [
        network("large", 9, 0.99, 0.95),
        network("lucky", 4, 0.90, 0.99),
        network("good", 5, 0.93, 0.91),
        network("same", 3, 0.93, 0.90),
        network("tiny", 1, 0.70, 0.72),
    ]

    def case(limit, part, expected, hint):
        return Case((candidates, limit), lambda result: len(result) == 2 and equals(expected)(result[part]), hint)

    check_cases(
        function,
        [
            case(2, 0, "tiny", "A network that costs more than the limit is no candidate."),
            case(4, 0, "same", "Which images may choose? Those that judge afterwards should not have chosen."),
            case(9, 0, "large", "A network that costs as much as the limit is within it."),
            case(5, 0, "same", "Of equally good ones the cheapest is chosen."),
            case(9, 1, 0.95, "What you report should come from images that have not chosen."),
        ],
    )


def check_predicted_sqnr(function: Callable[..., Any]) -> None:
    """Check the predicted SQNR of the logits."""
    noise = {"a": {2: 0.4, 4: 0.1}, "b": {2: 0.5, 4: 0.01}}

    def case(noise, bits, signal, hint):
        total = np.sum([noise[name][n] for name, n in bits.items()])
        return Case((noise, bits, signal), equals(10 * float(np.log10(signal / total))), hint)

    check_cases(
        function,
        [
            case(
                {"a": {4: 0.1}},
                {"a": 4},
                1.0,
                "A tenth of the power is ten decibels: powers take ten times the logarithm.",
            ),
            case({"a": {4: 0.1}}, {"a": 4}, 5.0, "The signal has a power, too."),
            case(
                noise,
                {"a": 2, "b": 2},
                1.0,
                "Powers of independent noises add up; their decibels do not, and no mean is taken.",
            ),
            case(noise, {"a": 4, "b": 2}, 1.0, "Each tensor has its own number of bits."),
        ],
    )


def check_best_bits(function: Callable[..., Any]) -> None:
    """Check the bits of least noise within a budget."""
    noise = {"a": {2: 9.0, 4: 1.0, 8: 0.1}, "b": {2: 3.0, 4: 2.0, 8: 0.2}}
    # Bits that are taken away one by one, by noise per bit saved, end in another choice here.
    trap = {"a": {2: 8.0, 4: 5.9, 8: 0.0}, "b": {2: 7.0, 4: 3.0, 8: 1.0}}
    equal, unequal = {"a": 10, "b": 10}, {"a": 10, "b": 40}

    def case(noise, sizes, limit, hint):
        least = _least_noise(noise, sizes, limit)

        def accepts(result):
            return result.keys() == noise.keys() and (
                sum(sizes[name] * bits for name, bits in result.items()) <= limit
                and abs(sum(noise[name][bits] for name, bits in result.items()) - least) < 1e-12
            )

        return Case((noise, sizes, limit), accepts, hint)

    check_cases(
        function,
        [
            case(
                noise,
                equal,
                160,
                "All tensors may have the most bits within this limit: nothing should be saved without need.",
            ),
            case(
                noise,
                equal,
                120,
                "The limit is on the bits of all weights together, and a sum equal to the limit is within it.",
            ),
            case(noise, unequal, 250, "A tensor with more weights pays more for each bit."),
            case(
                trap,
                equal,
                100,
                "There is a choice with less noise. Step by step may lead past it: compare whole choices.",
            ),
            case(
                _RISING,
                {"a": 3, "b": 5, "c": 2},
                38,
                "There are three tensors here. Compare all choices, or prove that you need not.",
            ),
        ],
    )


_RISING = {"a": {2: 5.0, 3: 2.2, 5: 0.3}, "b": {2: 6.0, 3: 1.9, 5: 0.2}, "c": {2: 4.0, 3: 2.5, 5: 0.4}}


def _least_noise(noise, sizes, limit):
    """Return the least sum of noises within a limit, by dynamic programming over the bits that are spent."""
    least = {0: 0.0}
    for name, by_bits in noise.items():
        further: dict[int, float] = {}
        for spent, so_far in least.items():
            for bits, more in by_bits.items():
                now = spent + sizes[name] * bits
                if now <= limit:
                    further[now] = min(further.get(now, np.inf), so_far + more)
        least = further
    return min(least.values())
