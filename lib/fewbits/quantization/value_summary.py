"""What is kept of the values of a tensor: limits, a histogram and a sample, of a size that does not grow with them."""

from math import gcd
from typing import Self

import numpy as np

from fewbits.quantization.fixedpoint import MAX_ABS_MSB
from fewbits.quantization.octave_histogram import ZERO, OctaveHistogram, quantiles, without
from fewbits.quantization.range_rules import SAMPLED, outside, percentile_limits

NOTHING = 2.0**-MAX_ABS_MSB  # what is not larger in magnitude vanishes in every format
SMALL = 1 << 17  # values of a first batch up to which all values are counted
TAIL = 1 / 64  # of the values on either side, which are all counted
COUNTED = 1 << 17  # of the values between, about as many per batch are counted
RUN = 16  # values in a row of which all are counted, or none: they lie together in memory
BLOCK = 8  # values that are looked at together
PART = 1 << 17  # values whose mask stays in the cache
ALL_BETWEEN = np.frombuffer(bytes([True] * BLOCK), np.uint64)
THINNED = 3  # one value of a sample in as many is kept when it has become too large


def is_nothing(values: np.ndarray) -> bool:
    """Return whether `values` are zeros, or too small for any format."""
    return -NOTHING <= float(np.min(values)) and float(np.max(values)) <= NOTHING


class ValueSummary:
    """What is kept of some values.

    Of large tensors, the first batch tells where the lowest and the highest 1/64 of the values begin. Values beyond
    are all counted in a histogram, so that limits of percentiles from 97 on do not depend on a sample; of the values
    between, one in several is counted. Of small tensors all are counted. The lowest value, the highest one, and whether
    all images have the same values, are exact.

    Attributes:
        count: How many values there are.
        low: The lowest value.
        high: The highest value.
    """

    def __init__(self, stride: int | None = None):
        """Begin without values.

        Args:
            stride: One value in as many goes to the sample; by default all, and fewer as they become many.
        """
        self.count, self.low, self.high = 0, np.inf, -np.inf
        self._stride, self._fixed = stride or 1, stride is not None
        self._parts: list[np.ndarray] = []
        self._images, self._constant, self._first = 0, True, np.zeros(0)
        self._limits: tuple[float, float] | None = None  # between which one value in several is counted
        self._step = 1
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
        self._sample(flat)
        if self._limits is None:
            self._limits = self._choose(flat, len(flat) // len(values))
        self._count(flat)
        self.count += len(flat)

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
        """Return how many values each bin holds; between the limits it is an estimate."""
        if not len(self._between):
            return self._beyond.counts
        scale = (self.count - len(self._beyond)) / len(self._between)
        return self._beyond.counts + scale * self._between.counts

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
        self._step = len(flat) // COUNTED
        while gcd(self._step, size) > 1:
            self._step += 1
        low, high = np.quantile(_runs(flat, self._step), (TAIL, 1 - TAIL), method="nearest")
        self.low, self.high = float(low), float(high)
        return self.low, self.high

    def _count(self, flat: np.ndarray) -> None:
        assert self._limits is not None
        low, high = map(np.float32, self._limits)
        if low > high:
            parts = [flat]
        else:
            parts = [_outside(flat[i : i + PART], low, high) for i in range(0, len(flat), PART)]
            some = _runs(flat, self._step)
            self._between.add(some[(some >= low) & (some <= high)])
        for part in filter(len, parts):
            self._beyond.add(part)
            self.low, self.high = float(np.minimum(self.low, part.min())), float(np.maximum(self.high, part.max()))


def _runs(flat: np.ndarray, step: int) -> np.ndarray:
    """Return one in `step` runs of values."""
    return flat[: len(flat) // RUN * RUN].reshape(-1, RUN)[::step].ravel()


def _outside(flat: np.ndarray, low: np.float32, high: np.float32) -> np.ndarray:
    """Return the values that do not lie between two limits; NaN does not.

    Most blocks of values all lie between, so blocks are looked at first: several times faster than single values.
    """
    between = flat <= high
    if not flat.min() >= low:  # not so after a ReLU
        between &= flat >= low
    whole = len(flat) // BLOCK * BLOCK
    blocks = np.flatnonzero(between[:whole].view(np.uint64) != ALL_BETWEEN)
    values, inside = (np.take(x[:whole].reshape(-1, BLOCK), blocks, axis=0).ravel() for x in (flat, between))
    return np.concatenate([np.take(values, np.flatnonzero(~inside)), flat[whole:][~between[whole:]]])
