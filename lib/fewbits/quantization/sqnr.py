"""What quantization does to values: how much is clipped, lost and shifted, and the ratio of signal to noise."""

from dataclasses import dataclass
from math import inf, isnan, log10

import numpy as np

from fewbits.errors import InputError, finite
from fewbits.quantization.fixedpoint import FixedPoint, is_clipped, quantize


@dataclass(frozen=True)
class QuantizationError:
    """The error of one quantization.

    Attributes:
        clipped: Share of the values whose rounded code does not exist.
        underflowed: Share of the values that are not zero but smaller than one step.
        bias: Mean of quantized minus original.
        variance: Variance of that difference.
        rms: Its root mean square; rms**2 = bias**2 + variance.
        sqnr: Signal-to-quantization-noise ratio in dB.
    """

    clipped: float
    underflowed: float
    bias: float
    variance: float
    rms: float
    sqnr: float


def measured_sqnr(x: np.ndarray, quantized: np.ndarray) -> float:
    """Return the SQNR of a quantization: 10 log10(sum x**2 / sum (x - quantized)**2).

    Args:
        x: The original values, any shape, not empty.
        quantized: The quantized values, in the same shape.

    Returns:
        The ratio in dB; infinite when nothing differs.

    Raises:
        InputError: when the two differ in shape, are empty, or hold NaN or infinity.
    """
    x, quantized = finite(x), finite(quantized, "quantized")
    if x.shape != quantized.shape or not x.size:
        raise InputError(f"two arrays of the same shape, not empty, are needed, not {x.shape} and {quantized.shape}")
    signal, noise = np.sum(x**2), np.sum((x - quantized) ** 2)
    if noise == 0:
        return inf
    return 10 * log10(signal / noise) if signal else -inf


def predicted_sqnr(*decibels: float) -> float:
    """Predict the SQNR of an output from the SQNRs of its parts: the weights and activations of all layers before it.

    1 / output = 1 / part + 1 / part + ..., where all are ratios of power. The parts are the activations that come in
    and, for each layer, its weights and the activations that leave it. (The source calls this their harmonic mean,
    which is larger by a factor of the number of parts.) The rule holds where all errors are small, independent, and
    zero in the mean.

    Args:
        *decibels: The SQNR of each part in dB. A part without error (infinity) changes nothing, so no parts at all give
            infinity; a part of nothing but error (minus infinity) gives minus infinity.

    Returns:
        The SQNR of the output in dB.

    Raises:
        InputError: when an SQNR is NaN.

    Source:
        backstrom2018, Equation 8.

    Example:
        >>> round(predicted_sqnr(30, 30), 2)  # twice the noise
        26.99
    """
    if any(map(isnan, decibels)):
        raise InputError("an SQNR to predict from is NaN; leave it out or measure it again")
    worst = min(decibels, default=inf)
    if worst in (inf, -inf):
        return worst
    return worst - 10 * log10(sum(10 ** ((worst - part) / 10) for part in decibels))


def quantization_error(
    x: np.ndarray, fmt: FixedPoint | tuple[FixedPoint, ...], rounding: str = "floor"
) -> QuantizationError:
    """Measure the error of quantizing `x`.

    Args:
        x: The values, any shape, not empty.
        fmt: One format for all values, or a tuple with one for each entry of the last axis.
        rounding: As in `fewbits.quantize`.

    Returns:
        The QuantizationError over all values.

    Raises:
        InputError: if the number of formats does not match the last axis, or `x` is empty or not finite.

    Example:
        >>> quantization_error(np.array([0.25, 0.5]), FixedPoint(0, 2)).bias  # to 0 and 0.5
        -0.125
    """
    x = finite(x)
    formats = fmt if isinstance(fmt, tuple) else (fmt,)
    if isinstance(fmt, tuple) and (not x.ndim or x.shape[-1] != len(fmt)):
        raise InputError(f"{len(fmt)} formats do not match the last axis of an array of shape {x.shape}; give one each")
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
