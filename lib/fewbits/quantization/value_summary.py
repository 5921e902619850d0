"""What is kept of the values of a tensor: limits, a histogram and a sample, of a size that does not grow with them."""

from collections.abc import Sequence
from math import ceil, gcd, log2
from typing import Self

import numpy as np

from fewbits.quantization.fixedpoint import MAX_ABS_MSB
from fewbits.quantization.octave_histogram import ZERO, OctaveHistogram, bins, clipped, quantiles, without
from fewbits.quantization.range_rules import SAMPLED, outside, percentile_limits

NOTHING = 2.0**-MAX_ABS_MSB  # what is not larger in magnitude vanishes in every format
SMALL = 1 << 17  # values of a first batch up to which all values are counted
TAIL = 1 / 1024  # of the values on either side, which are all counted
SHOULDER = 1 / 64  # of the values on either side, of which it is counted how many lie beyond each power of two
OCTAVES = 8  # at most that the shoulders reach down from where the tails begin
COUNTED = 1 << 17  # of the values between, about as many per batch are counted, or one in SHARE, if that is more
SHARE = 64
RUN = 16  # values in a row of which all are counted, or none: they lie together in memory
PART = 1 << 17  # values that stay in the cache while they are looked at
THINNED = 3  # one value of a sample in as many is kept when it has become too large


def is_nothing(values: np.ndarray) -> bool:
    """Return whether `values` are zeros, or too small for any format."""
    return -NOTHING <= float(np.min(values)) and float(np.max(values)) <= NOTHING


class ValueSummary:
    """What is kept of some values.

    Of small tensors all values are counted in a histogram. Of large ones, the first batch tells where the lowest and
    the highest 1/1024 of the values begin. Values beyond are all counted; of the values between, one in several is. How
    many lie beyond each power of two is counted of all values, too, down to the lowest and the highest 1/64. So for
    percentiles from 97 on no sample decides which power of two a limit reaches, and from 99.9 on none decides where it
    lies. The lowest value, the highest one, and whether all images have the same values, are exact.

    Attributes:
        count: How many values there are.
        low: The lowest value.
        high: The highest value.
    """

    def __init__(self, stride: int | None = None, counted: bool = True):
        """Begin without values.

        Args:
            stride: One value in as many goes to the sample; by default all, and fewer as they become many.
            counted: Whether values are counted; if not, `take_counts` tells what they are.
        """
        self.count, self.low, self.high = 0, np.inf, -np.inf
        self._stride, self._fixed = stride or 1, stride is not None
        self._parts: list[np.ndarray] = []
        self._counted, self._taken = counted, np.zeros(0)
        self._images, self._constant, self._first = 0, True, np.zeros(0)
        self._limits: tuple[float, float] | None = None  # between which one value in several is counted
        self._step = 1
        self._beyond_power: dict[float, int] = {}  # a power of two, or less one -> how many values lie beyond
        self._beyond, self._between = OctaveHistogram(), OctaveHistogram()

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Return the summary of values of which all are kept.

        Args:
            values: An array (n, ...), or one number, not empty.
        """
        summary, values = cls(), np.atleast_1d(values)
        summary.count, summary._parts = values.size, [np.ravel(values)]
        summary.low, summary.high = float(values.min()), float(values.max())
        summary._note_images(values)
        return summary

    def add(self, values: np.ndarray) -> None:
        """Take note of the values of a batch.

        Args:
            values: An array (n, ...) of real numbers. If some are NaN, `low` and `high` become NaN.
        """
        self._note_images(values)
        flat = np.ravel(values).astype(np.float32, copy=False)
        if self._limits is None and self._counted:
            self._limits = self._choose(flat, len(flat) // len(values))
        size = PART if self._counted else len(flat)
        for i in range(0, len(flat), size):
            part = flat[i : i + size]
            if self._counted:
                self._count(part, -(i // RUN) % self._step)
            self._sample(part)
            self.count += len(part)

    def take_counts(self, others: Sequence[tuple[Self, float, float]]) -> None:
        """Take the counts and the limits of other values, which make up these values together.

        Args:
            others: A summary of other values, and the limits to which they are clipped, for each part of these values.
        """
        self.low = float(np.min([np.clip(other.low, low, high) for other, low, high in others]))
        self.high = float(np.max([np.clip(other.high, low, high) for other, low, high in others]))
        self._taken = np.sum([clipped(other._counts(), low, high) for other, low, high in others], 0)

    @property
    def sample(self) -> np.ndarray:
        """Values (n,), evenly spaced among all, some 100,000; or all."""
        self._parts = [np.concatenate(self._parts)]
        return self._parts[0]

    @property
    def is_nothing(self) -> bool:
        """Whether the values are zeros, or too small for any format."""
        return -NOTHING <= self.low and self.high <= NOTHING

    @property
    def is_constant(self) -> bool:
        """Whether there are several images, and all have the same values."""
        return self._images > 1 and self._constant

    def percentile_limits(self, percentile: float) -> tuple[float, float]:
        """Return the limits between which the middle `percentile` % of the values lie; exact if all are in the sample.

        Args:
            percentile: Above 0, at most 100.

        Returns:
            The lower and the upper limit. Limits too small for any format become those of the values that are not, if
            there are such values: a format must hold those.

        Raises:
            InputError: when the percentile is out of range.
        """
        if percentile == 100:
            return self.low, self.high
        low, high = self._inner_limits(percentile)
        if max(-low, high) <= NOTHING and not self.is_nothing:
            return self._inner_limits(percentile, NOTHING)
        return low, high

    def upper_limit(self, percentile: float) -> float:
        """Return the upper limit of a percentile of the values, where those below zero are taken for zeros.

        That is the upper limit of `percentile_limits`, not below zero. If it is too small for any format, and the
        highest value is not, it becomes that of the positive values that are not.

        Args:
            percentile: As in `percentile_limits`.
        """
        high = self.high if percentile == 100 else self._inner_limits(percentile)[1]
        if high <= NOTHING < self.high:
            high = self._inner_limits(percentile, NOTHING, positive=True)[1]
        return max(high, 0.0)

    def _inner_limits(self, percentile: float, above: float = 0.0, positive: bool = False) -> tuple[float, float]:
        """Return the limits of a percentile of all values, or of those of a magnitude above a power of two.

        Args:
            percentile: As in `percentile_limits`.
            above: The power of two; 0 for all values.
            positive: Whether negative values are left out, too.
        """
        if len(self.sample) == self.count:
            magnitudes = self.sample if positive else np.abs(self.sample)
            return percentile_limits(self.sample[magnitudes > above] if above else self.sample, percentile)
        rest, counts = outside(percentile) / 100, self._counts()
        if above:
            counts = without(counts, above)
            counts[: ZERO if positive else 0] = 0
        low, high = quantiles(counts, (rest, 1 - rest))
        return max(low, self.low), min(high, self.high)

    def _counts(self) -> np.ndarray:
        """Return how many values each bin holds; between the limits it is an estimate, power of two by power of two."""
        if not self._counted:
            return self._taken
        beyond, sampled = self._beyond.counts, self._between.counts
        if not len(self._between):
            return beyond
        starts, above = [0], [self.count - len(self._beyond)]  # of sections: the first bin, how many values from it on
        for power in sorted(self._beyond_power):
            [bin_], number = bins(np.array([power], np.float32)), self._beyond_power[power]
            if power > 0:
                starts.append(bin_ + 1)
                above.append(number - beyond[bin_ + 1 :].sum())
            else:
                starts.append(bin_)
                above.append(above[0] - number + beyond[:bin_].sum())
        exact, seen = -np.diff([*above, 0]), np.add.reduceat(sampled, starts)
        counts = beyond + np.repeat(exact / np.maximum(seen, 1), np.diff([*starts, len(sampled)])) * sampled
        counts[starts] += np.where(seen, 0, exact)
        return counts

    def _note_images(self, values: np.ndarray) -> None:
        """Take note of whether all images are the same so far; the first one is kept as long as they are."""
        if self._constant:
            first = self._first if self._images else values[:1]
            self._constant = bool((values == first).all())
            self._first = first.copy() if self._constant else np.zeros(0)
        self._images += len(values)

    def _sample(self, flat: np.ndarray) -> None:
        self._parts.append(flat[-self.count % self._stride :: self._stride].copy())
        if not self._fixed and sum(map(len, self._parts)) > THINNED * SAMPLED:
            self._parts = [self.sample[::THINNED].copy()]
            self._stride *= THINNED

    def _choose(self, flat: np.ndarray, size: int) -> tuple[float, float]:
        """Return between which limits not all values are counted, and set the step of the runs that are.

        Args:
            flat: The values of the first batch.
            size: How many values an image has. The step has no factor of it, so that all places and channels count.
        """
        if len(flat) <= SMALL:
            return np.inf, -np.inf
        self._step = min(len(flat) // COUNTED, SHARE)
        while gcd(self._step, size) > 1:
            self._step += 1
        some = _runs(flat, 0, self._step)
        low, first, last, high = np.quantile(some, (TAIL, SHOULDER, 1 - SHOULDER, 1 - TAIL), method="nearest")
        self._beyond_power = dict.fromkeys([*_powers(last, high), *(-power for power in _powers(-first, -low))], 0)
        self.low, self.high = float(low), float(high)
        return self.low, self.high

    def _count(self, part: np.ndarray, first: int) -> None:
        """Count the values of a part; of those between, one run in `step`, beginning with the run `first`."""
        assert self._limits is not None
        low, high = map(np.float32, self._limits)
        if low <= high:
            for power in self._beyond_power:
                is_beyond = part > np.float32(power) if power > 0 else part < np.float32(power)
                self._beyond_power[power] += int(np.count_nonzero(is_beyond))
            some = _runs(part, first, self._step)
            self._between.add(some[(some >= low) & (some <= high)])
            between = part <= high
            between &= part >= low
            part = part[~between]  # NaN is not between
        if len(part):
            self._beyond.add(part)
            self.low, self.high = float(np.minimum(self.low, part.min())), float(np.maximum(self.high, part.max()))


def _runs(flat: np.ndarray, first: int, step: int) -> np.ndarray:
    """Return one in `step` runs of values, beginning with the run `first`."""
    return flat[: len(flat) // RUN * RUN].reshape(-1, RUN)[first::step].ravel()


def _powers(last: float, high: float) -> list[float]:
    """Return the powers of two below `high`, down to the one that `last` reaches, or to OCTAVES of them."""
    if not 0 < high < np.inf:
        return []
    top = ceil(log2(high)) - 1
    lowest = max(ceil(log2(last)), top + 1 - OCTAVES) if last > 0 else top + 1 - OCTAVES
    return [2.0**k for k in range(lowest, top + 1)]
