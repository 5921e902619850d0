"""What quantization does to a set of values: how much is clipped, lost, shifted, and the ratio of signal to noise."""

from dataclasses import dataclass
from math import inf, isnan, log10

import numpy as np

from fewbits.errors import InputError, finite
from fewbits.quantization.fixedpoint import FixedPoint, is_clipped, quantize


@dataclass(frozen=True)
class QuantizationError:
    """The error of one quantization.

    clipped: share of the values whose rounded code does not exist. underflowed: share of the values that are not zero
    but smaller than one step. bias: mean of quantized minus original. variance: of that difference. rms: its root mean
    square; rms**2 = bias**2 + variance. sqnr: signal-to-quantization-noise ratio in dB.
    """

    clipped: float
    underflowed: float
    bias: float
    variance: float
    rms: float
    sqnr: float


def measured_sqnr(x, quantized) -> float:
    """Return 10 log10(sum x**2 / sum (x - quantized)**2) in dB; infinite when nothing differs.

    Raises InputError when the two differ in shape or are empty.
    """
    x, quantized = finite(x), finite(quantized, "quantized")
    if x.shape != quantized.shape or not x.size:
        raise InputError(f"two arrays of one shape are needed, with values, not {x.shape} and {quantized.shape}")
    signal, noise = np.sum(x**2), np.sum((x - quantized) ** 2)
    if noise == 0:
        return inf
    return 10 * log10(signal / noise) if signal else -inf


def predicted_sqnr(*decibels: float) -> float:
    """Return the SQNR in dB of an output whose parts, weights and activations of all layers before it, have `decibels`.

    1 / output = 1 / part + 1 / part + ..., of ratios of power, where parts are the activations that come in and, for
    each layer, its weights and the activations that go out. (The source calls it their harmonic mean, which is as many
    times that as there are parts.) It holds where all errors are small, independent, and zero in the mean. A part
    without error (infinite SQNR) changes nothing, so that no parts at all give infinity; a part of nothing but error
    (minus infinity) leaves nothing else. Raises InputError on NaN. Source: backstrom2018, Equation 8.
    """
    if any(map(isnan, decibels)):
        raise InputError("an SQNR to predict from is NaN; leave it out, or measure it anew")
    worst = min(decibels, default=inf)
    if worst in (inf, -inf):
        return worst
    return worst - 10 * log10(sum(10 ** ((worst - part) / 10) for part in decibels))


def quantization_error(x, fmt: FixedPoint | tuple[FixedPoint, ...], rounding: str = "floor") -> QuantizationError:
    """Return the error of quantizing `x` (any shape, not empty) to `fmt`, one for all or one an entry of its last axis.

    Raises InputError where there are others than as many.
    """
    x = finite(x)
    formats = fmt if isinstance(fmt, tuple) else (fmt,)
    if isinstance(fmt, tuple) and (not x.ndim or x.shape[-1] != len(fmt)):
        raise InputError(
            f"{len(fmt)} formats do not fit an array of the shape {x.shape}; one an entry of its last axis"
        )
    columns = x.reshape(-1, len(formats)).T
    quantized = np.array([quantize(column, f, rounding, seed=0) for column, f in zip(columns, formats)])
    error = quantized - columns
    return QuantizationError(
        clipped=float(np.mean([is_clipped(column, f, rounding) for column, f in zip(columns, formats)])),
        underflowed=float(np.mean([(c != 0) & (np.abs(c) < f.step) for c, f in zip(columns, formats)])),
        bias=float(error.mean()),
        variance=float(error.var()),
        rms=float(np.sqrt(np.mean(error**2))),
        sqnr=measured_sqnr(columns, quantized),
    )
