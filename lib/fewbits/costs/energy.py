"""The energy of an inference in picojoules: an estimate of its arithmetic, and of reading each weight once.

Source of all figures: horowitz2014, Figure 1.1.9, 45 nm at 0.9 V. An integer addition of 8 bits takes 0.03 pJ, of 32
bits 0.1; a multiplication of 8 bits 0.2, of 32 bits 3.1; in float32, 0.9 and 3.7. Reading 64 bits takes 100 pJ from a
cache of 1 MB, and 1300 pJ and more from DRAM. Values between and below these figures are our interpolation: see
`multiplication` and `addition`. Reading activations, control and leakage are left out: a real chip takes more.
"""

from numbers import Real

import numpy as np

from fewbits.errors import InputError, check_name

FLOAT_ADDITION, FLOAT_MULTIPLICATION = 0.9, 3.7  # float32
READING = {"SRAM": 100.0, "DRAM": 1300.0}  # 64 bits from a cache of 1 MB; the least that is published for DRAM
ACCUMULATOR = 32  # bits


def multiplication(first: int, second: int) -> float:
    """Estimate the energy of multiplying two integers.

    Linear in the product of the widths, the number of partial products, through 0, 8 x 8 and 32 x 32 bits.

    Args:
        first: Bits of the first, from 1 to 32.
        second: Bits of the second, from 1 to 32.

    Returns:
        Picojoules.

    Raises:
        InputError: when a width is out of range.

    Example:
        >>> multiplication(8, 8)
        0.2
    """
    return float(np.interp(_bits(first) * _bits(second), (0, 8 * 8, 32 * 32), (0, 0.2, 3.1)))


def addition(bits: int) -> float:
    """Estimate the energy of adding two integers.

    Linear in the width through 0, 8 and 32 bits.

    Args:
        bits: Of each, from 1 to 32.

    Returns:
        Picojoules.

    Raises:
        InputError: when the width is out of range.
    """
    return float(np.interp(_bits(bits), (0, 8, 32), (0, 0.03, 0.1)))


def mac(kernel: int | None = None, input: int | None = None) -> float:
    """Estimate the energy of one multiply-accumulate, with a sum of 32 bits.

    Args:
        kernel: Bits of the weight, from 1 to 32; None for float32.
        input: Bits of the input, from 1 to 32; None for float32. If one of the two is None, both are float32.

    Returns:
        Picojoules.

    Raises:
        InputError: when a width is out of range.
    """
    if kernel is None or input is None:
        return FLOAT_MULTIPLICATION + FLOAT_ADDITION
    return multiplication(kernel, input) + addition(ACCUMULATOR)


def reading(size: float, memory: str = "SRAM") -> float:
    """Estimate the energy of reading bytes once.

    Args:
        size: Number of bytes, at least 0.
        memory: `SRAM`, a cache of 1 MB, or `DRAM`.

    Returns:
        Picojoules.

    Raises:
        InputError: when the memory is unknown or the size is out of range.
    """
    check_name("memory", memory, READING)
    if isinstance(size, bool) or not isinstance(size, Real) or not 0 <= size < np.inf:
        raise InputError(f"size must be a number of bytes, at least 0, not {size!r}")
    return float(size) / 8 * READING[memory]


def _bits(n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 32:
        raise InputError(f"bits must be an integer from 1 to 32, not {n!r}")
    return n
