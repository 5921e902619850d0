"""Measured shares and means that know their confidence intervals, their differences and how they are written."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot, inf, isfinite, nan, sqrt
from typing import TypeVar

import numpy as np

from fewbits.errors import InputError

Key = TypeVar("Key", bound=Hashable)
NO_DATA = "no data"
"""How a result that does not exist yet is written."""


@dataclass(frozen=True)
class Share:
    """A measured share, such as a top-1 accuracy, with its Wilson score interval of 95 %.

    Attributes:
        hits: How many of the images were right.
        n: How many images there were; at least 1.
        answers: (n,) bool, which images were right; None if only their number is known. With answers, a difference is
            paired.

    Raises:
        InputError: when `hits` is not between 0 and `n`, or `n` is below 1.

    Example:
        >>> print(Share(299, 360))
        83.1% (78.8% to 86.6%)
        >>> Share(299, 360).value
        0.8305555555555556
    """

    hits: int
    n: int
    answers: np.ndarray | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_share(self.hits, self.n)

    @classmethod
    def of(cls, answers: Sequence[bool] | np.ndarray) -> Share:
        """Return the share of answers that are right.

        Args:
            answers: (n,) bool, one per image.
        """
        answers = np.asarray(answers, bool)
        return cls(int(answers.sum()), len(answers), answers)

    @property
    def value(self) -> float:
        """The share, from 0 to 1."""
        return float(self.hits / self.n)

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return wilson_interval(self.hits, self.n)[0]

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return wilson_interval(self.hits, self.n)[1]

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval, which is not symmetric about the share."""
        return (self.high - self.low) / 2

    def __float__(self) -> float:
        return self.value

    def __sub__(self, other: Share) -> Estimate:
        """Return by how much this share exceeds `other`, with a 95 % interval.

        If both know their answers, these are taken as answers to the same images and compared image by image.
        Otherwise the shares count as independent, and the half-widths add as the root of the sum of their squares.

        Raises:
            InputError: when both have answers, but not equally many.
        """
        if self.answers is not None and other.answers is not None:
            return Estimate(*paired_difference(self.answers, other.answers), self.n)
        return Estimate(self.value - other.value, hypot(self.half_width, other.half_width), min(self.n, other.n))

    def __format__(self, form: str) -> str:
        return format(self.value, form) if form else str(self)

    def __str__(self) -> str:
        """The share with its interval, as in `83.1% (78.8% to 86.6%)`."""
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference, with half the width of its 95 % interval.

    An estimate of no values (n = 0) is false, and is written "no data"; so is everything computed from it. An estimate
    of a single value has an infinite half-width, because one seed does not show how far another would be from it.

    Attributes:
        mean: The mean or difference, as a share: 0.83 for 83 %.
        half_width: Half the width of its 95 % interval.
        n: How many values it is the mean of: seeds, folds or images.

    Example:
        >>> whole, pruned = Estimate.of([0.83, 0.84, 0.82]), Estimate.of([0.79, 0.80, 0.80])
        >>> whole.percent
        '83.0 ± 2.5'
        >>> (whole - pruned).points
        '+3.3 ± 2.9 points'
        >>> verdict(whole - pruned), verdict(whole - pruned, pruned - whole), Estimate.of([]).percent
        ('confirmed', 'refuted', 'no data')
    """

    mean: float
    half_width: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Estimate:
        """Return the mean of values, one per seed or fold, with its interval by Student's t distribution."""
        values = [float(value) for value in values]
        if len(values) > 1:
            return cls(*mean_interval(values), len(values))
        return cls(values[0], inf, 1) if values else cls(nan, nan, 0)

    @classmethod
    def of_deviation(cls, mean: float, deviation: float, n: int) -> Estimate:
        """Return a mean with its interval by Student's t distribution, from a standard deviation, as theses print them.

        Args:
            mean: The mean of the values.
            deviation: Their standard deviation.
            n: How many values there are; at least 2.
        """
        from scipy.stats import t

        return cls(mean, float(t.ppf(0.975, n - 1)) * deviation / sqrt(n), n)

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return self.mean + self.half_width

    @property
    def percent(self) -> str:
        """The mean with its half-width in percent, as in `83.0 ± 0.8`."""
        return self.written(".1%")

    @property
    def points(self) -> str:
        """A difference of shares in points, as in `+1.2 ± 0.4 points`."""
        return self.written("+.1%", " points")

    def written(self, form: str, unit: str = "") -> str:
        """Return the mean and its half-width as text.

        Args:
            form: A format for the mean, such as `+.2f`; with a `%` at its end, the numbers are in percent, and the sign
                `%` is left out.
            unit: What follows the numbers, with its space.

        Returns:
            The text, for example `+0.12 ± 0.03 nats`; `+0.12 nats (1 run)` for a single value, and `no data` for none.

        Example:
            >>> Estimate(0.0123, 0.004, 3).written("+.2%", " points")
            '+1.23 ± 0.40 points'
        """
        if not self:
            return NO_DATA
        if form.endswith("%"):
            scale, form = 100, f"{form[:-1]}f"
        else:
            scale = 1
        mean = format(scale * self.mean, form)
        if not isfinite(self.half_width):
            return f"{mean}{unit} (1 run)"
        return f"{mean} ± {format(scale * self.half_width, form.lstrip('+'))}{unit}"

    def __bool__(self) -> bool:
        return self.n > 0

    def __float__(self) -> float:
        return self.mean

    def __sub__(self, other: Estimate) -> Estimate:
        """Return by how much this mean exceeds `other`, both errors counted as independent."""
        n = min(self.n, other.n)
        return Estimate(self.mean - other.mean, hypot(self.half_width, other.half_width), n)

    def __truediv__(self, number: float) -> Estimate:
        """Return the mean and its interval, divided by a positive number."""
        return Estimate(self.mean / number, self.half_width / number, self.n)

    def __str__(self) -> str:
        return self.percent


def paired(highs: Mapping[Key, float], lows: Mapping[Key, float]) -> Estimate:
    """Return by how much the values of `highs` exceed those of `lows` with the same key.

    Args:
        highs: Values by what they have in common, such as the seed.
        lows: The values to compare with. Keys that only one of both has are left out.

    Example:
        >>> paired({1: 0.82, 2: 0.86}, {1: 0.80, 2: 0.84}).points
        '+2.0 ± 0.0 points'
    """
    return Estimate.of(value - lows[key] for key, value in highs.items() if key in lows)


def mean_and_deviation(values: Iterable[float]) -> Estimate:
    """Return the mean of values with their standard deviation in place of half the width of an interval.

    Theses write results of folds in this way. The deviation says how far single values lie from the mean, and does not
    shrink with their number. A single value is as in `Estimate.of`.

    Args:
        values: One per seed or fold.

    Example:
        >>> mean_and_deviation([0.8, 0.9, 1.0]).percent
        '90.0 ± 10.0'
    """
    values = [float(value) for value in values]
    if len(values) < 2:
        return Estimate.of(values)
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1)), len(values))


@dataclass(frozen=True)
class SeedSpread:
    """How far trainings that differ only in their seed lie apart, pooled over several networks.

    A single seed does not show its own luck. If other networks, trained alike, have several seeds, their spread stands
    in for it.

    Attributes:
        deviation: The standard deviation.
        degrees: Of freedom: seeds less networks.

    Example:
        >>> seeds = SeedSpread.of([[0.66, 0.65, 0.68], [0.77, 0.77, 0.76]])
        >>> seeds.difference([0.75], [0.70]).points
        '+5.0 ± 4.5 points'
    """

    deviation: float
    degrees: int

    @classmethod
    def of(cls, groups: Iterable[Sequence[float]]) -> SeedSpread:
        """Return the pooled spread of groups of values, which is taken to be the same in all.

        Args:
            groups: The values of each network, one per seed.

        Raises:
            InputError: when no group has two values.
        """
        arrays = [np.asarray(group, float) for group in groups if len(group)]
        degrees = sum(len(values) - 1 for values in arrays)
        if not degrees:
            raise InputError("a spread needs a group of at least two values; none has them")
        squares = sum(float(np.square(values - values.mean()).sum()) for values in arrays)
        return cls(sqrt(squares / degrees), degrees)

    def difference(self, highs: Sequence[float], lows: Sequence[float]) -> Estimate:
        """Return by how much the mean of `highs` exceeds that of `lows`, with a 95 % interval.

        Args:
            highs: The values of one network, one per seed; with none the difference is `no data`.
            lows: Those of the other.
        """
        return self.contrast((1, highs), (-1, lows))

    def contrast(self, *terms: tuple[float, Sequence[float]]) -> Estimate:
        """Return a weighted sum of the means of networks, with a 95 % interval, as in a sum of gains over one base.

        Args:
            *terms: The weight of each network, and its values, one per seed; with none the sum is `no data`. Each
                network occurs once, so that its error counts once.

        Source:
            Student, The probable error of a mean, 1908.

        Example:
            >>> seeds, base = SeedSpread(0.01, 10), [0.60]
            >>> both, one, other = [0.66], [0.62], [0.63]
            >>> seeds.contrast((1, one), (1, other), (-1, both), (-1, base)).points  # the parts, less the whole
            '-1.0 ± 4.5 points'
        """
        from scipy.stats import t

        sizes = [len(values) for _, values in terms]
        if not all(sizes):
            return Estimate.of([])
        deviation = self.deviation * sqrt(sum(weight**2 / n for (weight, _), n in zip(terms, sizes)))
        mean = sum(weight * float(np.mean(values)) for weight, values in terms)
        return Estimate(mean, float(t.ppf(0.975, self.degrees)) * deviation, min(sizes))


def verdict(*differences: Estimate) -> str:
    """Return whether all differences are above 0.

    Returns:
        `confirmed` if all intervals lie above 0, `refuted` if one lies below, `no data` if one has no values, and
        otherwise `not decided`.
    """
    if not all(differences):
        return NO_DATA
    if all(difference.low > 0 for difference in differences):
        return "confirmed"
    return "refuted" if any(difference.high < 0 for difference in differences) else "not decided"


def wilson_interval(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a share.

    Args:
        hits: How many were right.
        n: Of how many; at least 1.
        z: Quantile of the normal distribution; 1.96 gives 95 % confidence.

    Returns:
        The lower and the upper end, from 0 to 1.

    Raises:
        InputError: when `hits` is not between 0 and `n`, or `n` is below 1.

    Source:
        Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    _check_share(hits, n)
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half_width = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half_width), min(1.0, middle + half_width)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the mean of values and half the width of its confidence interval, by Student's t distribution.

    The interval covers what differs between the values. It does not cover what they have in common, such as the test
    images.

    Args:
        values: At least two, one per seed.
        confidence: The probability that the interval covers the mean.

    Raises:
        InputError: when there are fewer than two values.

    Source:
        Student, The probable error of a mean, 1908.
    """
    from scipy.stats import t

    n = len(values)
    if n < 2:
        raise InputError(f"an interval needs at least two values, not {n}")
    middle = sum(values) / n
    deviation = sqrt(sum((value - middle) ** 2 for value in values) / (n - 1))
    return middle, float(t.ppf((1 + confidence) / 2, n - 1)) * deviation / sqrt(n)


def paired_difference(
    first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray, z: float = 1.96
) -> tuple[float, float]:
    """Return by how much one share of hits exceeds another on the same images, and half the width of its interval.

    Images that both get right, or both get wrong, carry no information about the difference. Its interval is therefore
    far narrower than those of the two shares.

    Args:
        first: (n,) bool, the answers of the first network.
        second: (n,) bool, those of the second to the same images.
        z: Quantile of the normal distribution; 1.96 gives 95 % confidence.

    Raises:
        InputError: when the numbers of answers differ, or there are none.

    Source:
        McNemar, Note on the sampling error of the difference between correlated proportions or percentages, 1947.
    """
    n = len(first)
    if n < 1 or len(second) != n:
        raise InputError(f"answers to the same images are needed, not {n} and {len(second)}")
    gained = sum(bool(a) and not b for a, b in zip(first, second))
    lost = sum(bool(b) and not a for a, b in zip(first, second))
    difference = (gained - lost) / n
    return difference, z * sqrt(max(0.0, (gained + lost) / n - difference**2) / n)


def _check_share(hits: int, n: int) -> None:
    if n < 1 or not 0 <= hits <= n:
        raise InputError(f"a share needs 0 <= hits <= n and n >= 1, not {hits} of {n}")
