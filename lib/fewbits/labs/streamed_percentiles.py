"""The checks of lab 3: limits that hold a share, their MSB, a histogram of octaves, and an MSB from it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals


def check_limits(limits: Callable[..., Any]) -> None:
    """Check `limits(values, percentile)`: what is left when both ends lose the same share.

    Args:
        limits: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(values, percentile, hint):
        cut = (100 - percentile) / 2
        return Case((values, percentile), equals(tuple(np.percentile(values, (cut, 100 - cut))), 1e-6), hint)

    skewed = np.concatenate([np.linspace(-1, 0, 201), np.linspace(0, 50, 801)[1:]])
    check_cases(
        limits,
        [
            case(np.arange(11.0), 100, "All of the values: the limits are the smallest and the largest."),
            case(np.arange(101.0), 90, "Each end loses half of what is cut off. Count what lies outside your limits."),
            case(skewed, 80, "These values are not symmetric. Each end loses its own share, with its sign."),
            case(skewed.reshape(7, 143), 98, "The values have a shape; it must not matter."),
            case(np.array([0.0, 1.0, 2.0]), 50, "The place lies between two values: interpolate, as np.percentile."),
        ],
    )


def check_msb_of(msb_of: Callable[..., Any]) -> None:
    """Check `msb_of(low, high)`: the smallest MSB whose amplitude reaches both limits.

    Args:
        msb_of: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(low, high, hint):
        expected = next(msb for msb in range(-40, 40) if 2.0**msb >= max(-low, high))
        return Case((low, high), equals(expected), hint)

    check_cases(
        msb_of,
        [
            case(-3.0, 3.0, "Which powers of two are at least 3? The smallest of them counts."),
            case(-0.3, 0.26, "Below 1 the MSB is negative. Compare 2**MSB with the limits."),
            case(-3.0, 1.0, "The lower limit is farther from zero here."),
            case(-5.0, -1.0, "Both limits are negative; the distance from zero counts."),
            case(-4.0, 4.0, "The amplitude reaches a limit that equals it, by Equation 11."),
            case(-0.125, 0.1, "The limit equals a power of two below 1."),
            case(-20.0, 100.0, "A large limit."),
        ],
    )


def check_octaves(octaves: Callable[..., Any]) -> None:
    """Check `octaves(values)`: how many magnitudes lie in (2**(k-1), 2**k], for each k that has any.

    Args:
        octaves: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def counts(values):
        found: dict[int, int] = {}
        for value in np.abs(np.ravel(values)):
            if value:
                k = next(k for k in range(-60, 60) if value <= 2.0**k)
                found[k] = found.get(k, 0) + 1
        return found

    def case(values, hint):
        return Case((np.array(values),), equals(counts(values)), hint)

    check_cases(
        octaves,
        [
            case([3.0, 3.5, 5.0], "A dictionary: octave -> number of values. Octave 2 holds what is above 2, up to 4."),
            case([0.3, 0.7, 0.9], "Below 1 the octaves are negative or 0."),
            case([-3.0, 3.0], "Sizes count, not signs."),
            case([1.0, 2.0, 4.0], "A power of two is the upper end of its octave and belongs to it."),
            case([0.0, 0.0, 3.0], "Zero has no octave; leave it out."),
            case(np.random.default_rng(1).normal(0, 1, (20, 30)), "Many values, with a shape."),
        ],
    )


def check_msb_holding(msb_holding: Callable[..., Any]) -> None:
    """Check `msb_holding(batches, percentile)`: an MSB from the octaves of several batches.

    Args:
        msb_holding: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(batches, percentile, hint):
        total = sum(count for batch in batches for count in batch.values())

        def held(msb):
            return 100 * sum(n for batch in batches for k, n in batch.items() if k <= msb) >= percentile * total

        octaves = sorted({k for batch in batches for k in batch})
        return Case((batches, percentile), equals(next(k for k in octaves if held(k))), hint)

    check_cases(
        msb_holding,
        [
            case([{-2: 5, 0: 2, 1: 3}], 100, "All values are held by the amplitude of the highest octave."),
            case([{0: 90, 1: 6, 5: 4}], 95, "Add the counts from the lowest octave up. Where is the share reached?"),
            case([{3: 4, 1: 6, 0: 90}], 95, "The octaves of a dictionary come in any order."),
            case([{0: 95, 4: 5}], 95, "The share is reached exactly: that is enough."),
            case([{0: 50}, {0: 40, 2: 10}], 90, "Two batches: their counts add up before a share is taken."),
            case([{2: 99, 6: 1}, {0: 900}], 99, "The batches differ in size: a mean of their MSBs is not the answer."),
        ],
    )
