"""A histogram of numbers of any size whose bins have the same relative width, so that nothing is ever rescaled.

A bin holds the float32 numbers that differ only in their lowest 16 bits: 128 bins divide each octave, and a number lies
within 1/128 of its neighbours in the bin. A bin includes its end that is farther from zero, so that no bin holds
numbers on both sides of a power of two: which power of two a limit reaches can be told from counts alone.
"""

from collections.abc import Iterable

import numpy as np

LOW_BITS = 16  # of a float32 that do not count for its bin
ZERO = 1 << 31 - LOW_BITS  # the bin of zero; above it are those of positive numbers, below it those of negative ones
WAITING = 1 << 17  # numbers that are collected before they are counted


class OctaveHistogram:
    """Counts of numbers in bins. It takes 0.5 MB, however many there are. NaN may be taken for zero.

    Counts are kept by the highest bits of each number's bits less one: those of positive numbers in ascending order,
    then those of negative ones in descending order; the last of either are those of both zeros.
    """

    def __init__(self) -> None:
        """Begin without numbers."""
        self._counts = np.zeros(2 * ZERO, np.int64)
        self._waiting: list[np.ndarray] = []
        self._n = self._n_waiting = 0

    def __len__(self) -> int:
        """How many numbers there are."""
        return self._n

    def add(self, numbers: np.ndarray) -> None:
        """Count numbers.

        Args:
            numbers: An array (n,), float32.
        """
        self._waiting.append(numbers)
        self._n += len(numbers)
        self._n_waiting += len(numbers)
        if self._n_waiting > WAITING:
            self._count()

    @property
    def counts(self) -> np.ndarray:
        """How many numbers each bin holds, int64, from the lowest bin to the highest."""
        self._count()
        positive, negative = self._counts[:ZERO], self._counts[ZERO:]
        zeros = positive[-1:] + negative[-1:]
        return np.concatenate([[0], negative[-2::-1], zeros, positive[:-1], [0]])

    def _count(self) -> None:
        if self._waiting:
            bits = np.concatenate(self._waiting).view(np.uint32)
            bits -= np.uint32(1)
            self._counts += np.bincount(bits >> LOW_BITS, minlength=len(self._counts))
            self._waiting, self._n_waiting = [], 0


def quantiles(counts: np.ndarray, shares: Iterable[float]) -> list[float]:
    """Return quantiles of the numbers in an OctaveHistogram; the numbers of a bin are taken to spread evenly.

    Args:
        counts: The counts, integers or floats.
        shares: From 0 to 1.

    Returns:
        What `np.quantile` returns for the numbers themselves, within 1/128 of the value.
    """
    return [_quantile(counts, share) for share in shares]


def without(counts: np.ndarray, magnitude: float) -> np.ndarray:
    """Return the counts of the numbers whose magnitude is above a power of two.

    Args:
        counts: The counts of all numbers.
        magnitude: A power of two.
    """
    [last] = bins(np.array([magnitude], np.float32))
    left = counts.copy()
    left[2 * ZERO - last : last + 1] = 0
    return left


def clipped(counts: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the counts of numbers after they are clipped.

    Args:
        counts: The counts of the numbers.
        low: The lower limit.
        high: The upper limit.
    """
    first, last = bins(np.array([low, high], np.float32))
    left = counts.copy()
    left[first], left[:first] = left[: first + 1].sum(), 0
    left[last], left[last + 1 :] = left[last:].sum(), 0
    return left


def bins(numbers: np.ndarray) -> np.ndarray:
    """Return the bin of each number.

    Args:
        numbers: An array (n,), float32, without NaN.
    """
    bits = numbers.view(np.int32)
    steps = ((bits & 0x7FFFFFFF) - 1 >> LOW_BITS) + 1  # from zero, which has none
    return np.where(bits < 0, ZERO - steps, ZERO + steps)


def _quantile(counts: np.ndarray, share: float) -> float:
    place = share * (counts.sum() - 1)
    first = int(place)
    part = place - first
    number = _in_order(counts, first)
    return number + part * (_in_order(counts, first + 1) - number) if part else number


def _in_order(counts: np.ndarray, place: float) -> float:
    """Return about the number at a place in the ascending order, counted from 0; from the end that is nearer."""
    total = counts.sum()
    place = min(place, total - 1)
    if 2 * place > total - 1:
        return -_in_order_from_below(counts[::-1], total - 1 - place)
    return _in_order_from_below(counts, place)


def _in_order_from_below(counts: np.ndarray, place: float) -> float:
    up_to = np.cumsum(counts)
    bin_ = int(np.searchsorted(up_to, place, side="right"))
    share = (place + 0.5 - (up_to[bin_] - counts[bin_])) / counts[bin_]
    below, above = _ends(bin_)
    return below + min(float(share), 1.0) * (above - below)


def _ends(bin_: int) -> tuple[float, float]:
    """Return between which two numbers a bin lies."""
    steps = abs(bin_ - ZERO)
    bits = np.array([max(steps - 1, 0) << LOW_BITS, steps << LOW_BITS], np.uint32)
    near, far = map(float, bits.view(np.float32))
    return (near, far) if bin_ >= ZERO else (-far, -near)
