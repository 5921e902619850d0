"""Solutions of lab 3."""

import numpy as np


def limits(values, percentile):
    """Return (low, high), the limits that hold a percentile."""
    cut = (100 - percentile) / 2
    return np.percentile(values, cut), np.percentile(values, 100 - cut)


def msb_of(low, high):
    """Return the smallest MSB whose amplitude reaches both limits."""
    return int(np.ceil(np.log2(max(abs(low), abs(high)))))


def octaves(values):
    """Return a dictionary: octave -> number of values in it."""
    magnitudes = np.abs(values[values != 0])
    found, counts = np.unique(np.ceil(np.log2(magnitudes)), return_counts=True)
    return dict(zip(found.astype(int).tolist(), counts.tolist()))


def msb_holding(batches, percentile):
    """Return the MSB that holds a percentile of the values."""
    counts = {}
    for batch in batches:
        for octave, count in batch.items():
            counts[octave] = counts.get(octave, 0) + count
    total, held = sum(counts.values()), 0
    for octave in sorted(counts):
        held += counts[octave]
        if 100 * held >= percentile * total:
            return octave
