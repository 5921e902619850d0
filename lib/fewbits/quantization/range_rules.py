"""Range rules: which MSB suits some values. A percentile, the least squared error, or the least divergence.

For values that are never negative there are unsigned formats. Their limits are those of signed formats: a percentile
leaves half of the rest above its upper limit in either case. An unsigned format reaches that limit with an MSB that is
lower by one, so with half the step.

Source: vieito2017, 5.2 (limits of weights and convolution outputs), Equation 11 (MSB).
"""

from math import ceil, inf, log2

import numpy as np

from fewbits.errors import InputError, finite
from fewbits.quantization.fixedpoint import MAX_ABS_MSB, FixedPoint, quantize

PERCENTILES = (95, 98, 99.9, 99.99)  # vieito2017, Table 2
SAMPLED = 100_000  # values from which the MSBs of least error and least divergence are found
DEEPEST = 12  # how far below the MSB of the maximum they are looked for
BINS = 2048  # of the histogram from which the divergence is computed


def percentile_limits(values: np.ndarray, percentile: float) -> tuple[float, float]:
    """Return the limits between which the middle `percentile` % of `values` lie, with half of the rest on either side.

    Args:
        values: An array of any shape, finite, not empty.
        percentile: Above 0, at most 100.

    Returns:
        The lower and the upper limit.

    Raises:
        InputError: when the percentile is out of range, or there are no values or values that are not finite.

    Source:
        vieito2017, Table 2.

    Example:
        >>> percentile_limits(np.arange(101), 90)
        (5.0, 95.0)
    """
    values = finite(values, "values")
    if not values.size:
        raise InputError("there are no values to take a percentile of")
    rest = outside(percentile)
    low, high = np.percentile(values, [rest, 100 - rest])
    return float(low), float(high)


def outside(percentile: float) -> float:
    """Return how many percent of the values lie on either side of the limits of a percentile.

    Args:
        percentile: Above 0, at most 100.

    Raises:
        InputError: when it is out of range.
    """
    if isinstance(percentile, bool) or not isinstance(percentile, (int, float)) or not 0 < percentile <= 100:
        raise InputError(f"the percentile must be above 0 and at most 100, not {percentile!r}")
    return (100 - percentile) / 2


def msb_from_limits(low: float, high: float, signed: bool = True) -> int:
    """Return the smallest MSB whose format reaches both limits, except for the last step below a power of two.

    A signed format reaches 2**msb on either side: ceil(log2 max(abs(limits))). An unsigned one reaches from 0 to
    2**(msb + 1): ceil(log2 high) - 1; what lies below zero becomes zero.

    Args:
        low: The lower limit.
        high: The upper limit.
        signed: Whether the format is.

    Returns:
        The MSB. Limits of zero get the smallest MSB that a FixedPoint can have.

    Raises:
        InputError: when a limit is NaN or infinite.

    Source:
        vieito2017, Equation 11.

    Example:
        >>> msb_from_limits(-0.7, 3.9), msb_from_limits(0, 3.9, signed=False)
        (2, 1)
    """
    half_width = max(abs(low), abs(high)) if signed else high
    if not np.isfinite([low, high]).all():
        raise InputError(f"limits must be finite, not {low} and {high}")
    msb = ceil(log2(half_width)) if half_width > 2.0**-MAX_ABS_MSB else -MAX_ABS_MSB
    return msb if signed else max(msb - 1, -MAX_ABS_MSB)


def msb_of_least_error(values: np.ndarray, nbits: int, rounding: str = "nearest", signed: bool = True) -> int:
    """Return the MSB at which quantizing `values` to `nbits` bits leaves the least squared error.

    At few bits a finer step is worth more than the largest values, so this MSB lies below that of the maximum.

    Args:
        values: As in `percentile_limits`. Of more than 100,000 values, 100,000 are used, evenly spaced.
        nbits: Bits of the format.
        rounding: As in `fewbits.quantize`.
        signed: Whether the format is.

    Returns:
        The MSB; of equally good ones the smallest.
    """
    top = msb_from_limits(*percentile_limits(values, 100), signed)
    return least_error(evenly_spaced(values), candidates(top), nbits, rounding, None if signed else inf)


def msbs_of_least_error(rows: np.ndarray, nbits: int, rounding: str = "nearest") -> list[int]:
    """Return the MSB of `msb_of_least_error` for each row, many rows at once.

    Divided by its amplitude, a power of two, a row keeps its codes, and all its errors shrink by the same factor. So
    rows share the formats that are tried, and each keeps the one that is best for it.

    Args:
        rows: (rows, values), finite, not empty.
        nbits: Bits of the formats, which are signed.
        rounding: As in `fewbits.quantize`.
    """
    sample = rows[:, :: max(1, rows.shape[1] // SAMPLED)]
    tops = np.array([msb_from_limits(row.min(), row.max()) for row in rows])
    at_once = max(1, SAMPLED // sample.shape[1])
    msbs = []
    for i in range(0, len(rows), at_once):
        scaled = np.ldexp(np.ascontiguousarray(sample[i : i + at_once]), -tops[i : i + at_once, np.newaxis])
        msbs += _least_errors(scaled, tops[i : i + at_once], nbits, rounding)
    return msbs


def _least_errors(scaled: np.ndarray, tops: np.ndarray, nbits: int, rounding: str) -> list[int]:
    """Return the MSB of least error for each row, given that of its maximum and the row divided by its amplitude."""
    msbs, least = tops.copy(), np.full(len(tops), inf)
    for depth in range(DEEPEST, -1, -1):
        error = np.square(quantize(scaled, FixedPoint(-depth, nbits), rounding) - scaled).sum(1)
        better = (error < least) & (tops - depth >= -MAX_ABS_MSB)
        msbs[better], least[better] = tops[better] - depth, error[better]
    return msbs.tolist()


def msb_of_least_divergence(values: np.ndarray, nbits: int, signed: bool = True) -> int:
    """Return the MSB whose codes preserve the distribution of the magnitudes best, by Kullback-Leibler divergence.

    The magnitudes that are not zero (zero is a code anyway) are counted in BINS bins, up to the amplitude that holds
    them all. For an MSB, P is the share of each bin below its amplitude; what lies above is clipped, and counted in the
    last bin that is not empty. Q is what the codes keep of these bins, without clipped values: each of the
    2**(nbits - 1) steps spreads its count evenly over its bins that are not empty. The MSB has the least
    D(P || Q) = sum(P log(P / Q)). From 12 bits on no step holds more than one bin, and nothing is clipped. An unsigned
    format has 2**nbits steps up to its amplitude, which is twice as large.

    Args:
        values: As in `msb_of_least_error`. Thousands are needed: a histogram of the few weights of one filter is mostly
            chance.
        nbits: Bits of the format.
        signed: Whether the format is; if not, negative values are left out as zeros are.

    Returns:
        The MSB; of equally good ones the largest.

    Source:
        The entropy calibration of TensorRT (Migacz, 8-bit inference with TensorRT, 2017), which is for activations;
        here for amplitudes that are powers of two.
    """
    top = msb_from_limits(*percentile_limits(values, 100), signed)
    return least_divergence(evenly_spaced(values), candidates(top), nbits, None if signed else inf)


def evenly_spaced(values: np.ndarray) -> np.ndarray:
    """Return about SAMPLED of `values`, evenly spaced, or all of fewer: the sample that rules are applied to."""
    values = np.ravel(values)
    return values[:: max(1, len(values) // SAMPLED)]


def candidates(top: int) -> range:
    """Return the MSBs to choose from, up to `top`, that of the maximum."""
    return range(max(top - DEEPEST, -MAX_ABS_MSB), top + 1)


def least_error(sample: np.ndarray, msbs: range, nbits: int, rounding: str, ceiling: float | None = None) -> int:
    """Return which of some MSBs leaves the least squared error in a sample; the smallest of equally good ones.

    Args:
        sample: As from `evenly_spaced`.
        msbs: As from `candidates`.
        nbits: Bits of the format.
        rounding: As in `fewbits.quantize`.
        ceiling: None for a signed format. For an unsigned one, up to where values count: what comes after the quantizer
            takes numbers below zero for zero and those above the ceiling for the ceiling, as a ReLU of this ceiling
            does. The error is that of the numbers after it.
    """
    signed = ceiling is None
    lowest, highest = (-inf, inf) if ceiling is None else (0.0, ceiling)
    exact = np.clip(sample, lowest, highest)

    def error(msb):
        rounded = quantize(sample, FixedPoint(msb, nbits, signed), rounding)
        return np.square(np.minimum(rounded, highest) - exact).sum()

    return min(msbs, key=error)


def least_divergence(sample: np.ndarray, msbs: range, nbits: int, ceiling: float | None = None) -> int:
    """Return which of some MSBs has the least divergence in a sample; the largest of equally good ones.

    Args:
        sample: As from `evenly_spaced`.
        msbs: As from `candidates`.
        nbits: Bits of the format.
        ceiling: As in `least_error`.
    """
    signed = ceiling is None
    levels = 2 ** (nbits - 1 if signed else nbits)
    magnitudes = np.abs(sample[sample != 0]) if ceiling is None else np.minimum(sample[sample > 0], ceiling)
    counts, _ = np.histogram(magnitudes, BINS, (0, 2.0 ** (msbs[-1] if signed else msbs[-1] + 1)))

    def divergence(msb):
        kept = BINS >> (msbs[-1] - msb)
        filled = np.flatnonzero(counts[:kept])
        if kept < levels or not len(filled):
            return inf
        p, step = counts[filled].astype(float), filled * levels // kept
        q = (np.bincount(step, p) / np.maximum(np.bincount(step), 1))[step]
        p[-1] += counts[kept:].sum()
        p, q = p / p.sum(), q / q.sum()
        return round(float(np.sum(p * np.log(p / q))), 12)

    return min(reversed(msbs), key=divergence)
