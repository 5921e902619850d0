"""Lab 3: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import streamed_percentiles as lab
from helpers.labs import tell_apart


def test_mistakes_in_the_limits():
    def both_ends_lose_all(values, percentile):
        return tuple(np.percentile(values, (100 - percentile, percentile)))

    def of_magnitudes(values, percentile):
        reach = np.percentile(np.abs(values - values.mean()), percentile)
        return values.mean() - reach, values.mean() + reach

    def symmetric(values, percentile):
        reach = np.percentile(np.abs(values), percentile)
        return -reach, reach

    def first_row(values, percentile):
        cut = (100 - percentile) / 2
        return tuple(np.percentile(values, (cut, 100 - cut), axis=0).ravel()[:2])

    def nearest_place(values, percentile):
        cut = (100 - percentile) / 2
        return tuple(np.percentile(values, (cut, 100 - cut), method="lower"))

    tell_apart(
        (lab.check_limits, symmetric, "smallest and the largest"),
        (lab.check_limits, both_ends_lose_all, "half of what is cut off"),
        (lab.check_limits, of_magnitudes, "not symmetric"),
    )
    tell_apart((lab.check_limits, nearest_place, "interpolate"), (lab.check_limits, first_row, "have a shape"))


def test_mistakes_in_the_msb():
    def log(low, high, integer=np.ceil, size=lambda low, high: max(abs(low), abs(high)), offset=0):
        return int(integer(np.log2(size(low, high)))) + offset

    check = lab.check_msb_of
    tell_apart(
        (check, lambda low, high: log(low, high, np.floor), "smallest of them"),
        (check, lambda low, high: max(0, log(low, high)), "Below 1"),
        (check, lambda low, high: log(low, high, size=lambda low, high: high), "lower limit is farther"),
        (
            check,
            lambda low, high: log(low, high, size=lambda low, high: max(-low, high, 1e-9) if high > 0 else 1),
            "Both limits are negative",
        ),
        (check, lambda low, high: log(low, high, np.floor, offset=1), "equals it"),
    )


def test_mistakes_in_the_octaves():
    def counted(values, integer=np.ceil, offset=0, sizes=np.abs):
        with np.errstate(divide="ignore"):
            k = integer(np.log2(sizes(values[values != 0]))) + offset
        found, counts = np.unique(k.astype(int), return_counts=True)
        return dict(zip(found.tolist(), counts.tolist()))

    def with_zero(values):
        return counted(values) | ({-1000: int((values == 0).sum())} if (values == 0).any() else {})

    def positive(values):
        return counted(np.maximum(values, 0))

    def at_least_zero(values):
        return counted(np.maximum(np.abs(values), 1))

    check = lab.check_octaves
    tell_apart(
        (check, lambda values: counted(values, np.floor), "A dictionary"),
        (check, at_least_zero, "Below 1"),
        (check, positive, "not signs"),
        (check, lambda values: counted(values, np.floor, 1), "upper end"),
        (check, with_zero, "Zero has no octave"),
    )


def test_mistakes_in_the_msb_of_batches():
    def merged(batches):
        return {k: sum(batch.get(k, 0) for batch in batches) for batch in batches for k in batch}

    def reached(counts, percentile, order=sorted, strictly=False):
        held, total = 0, sum(counts.values())
        for k in order(counts):
            held += counts[k]
            if 100 * held > percentile * total or not strictly and 100 * held == percentile * total:
                return k
        return max(counts)

    check = lab.check_msb_holding
    tell_apart(
        (check, lambda batches, p: min(merged(batches)), "highest octave"),
        (check, lambda batches, p: max(merged(batches)), "Where is the share reached"),
        (check, lambda batches, p: reached(merged(batches), p, order=list), "in any order"),
        (check, lambda batches, p: reached(merged(batches), p, strictly=True), "that is enough"),
        (check, lambda batches, p: reached(batches[-1], p), "add up before"),
        (check, lambda batches, p: max(reached(b, p) for b in batches), "differ in size"),
    )
