"""What quantization does to a set of values: how much is clipped, lost, shifted, and the ratio of signal to noise."""

from dataclasses import dataclass
from math import inf, log10

import numpy as np

from fewbits.errors import InputError
from fewbits.fixedpoint import FixedPoint, finite, is_clipped, quantize


@dataclass(frozen=True)
class QuantizationError:
    """The error of one quantization.

    clipped: share of the values whose rounded code does not exist. underflowed: share of the values that are not zero
    but smaller than one step. bias: mean of quantized minus original. rms: root mean square of that difference.
    sqnr: signal-to-quantization-noise ratio in dB.
    """

    clipped: float
    underflowed: float
    bias: float
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


def measure(x, fmt: FixedPoint, rounding: str = "floor") -> QuantizationError:
    """Return the error of quantizing `x` (any shape, not empty) to `fmt`."""
    x = finite(x)
    quantized = quantize(x, fmt, rounding, seed=0)
    error = quantized - x
    return QuantizationError(
        clipped=float(is_clipped(x, fmt, rounding).mean()),
        underflowed=float(np.mean((x != 0) & (np.abs(x) < fmt.step))),
        bias=float(error.mean()),
        rms=float(np.sqrt(np.mean(error**2))),
        sqnr=measured_sqnr(x, quantized),
    )
