"""What an inference costs in energy: an estimate of its arithmetic, and of reading each weight once. In picojoules.

Source of all figures: horowitz2014, Figure 1.1.9, 45 nm at 0.9 V. An integer addition of 8 bits takes 0.03 pJ, of 32
bits 0.1; a multiplication of 8 bits 0.2, of 32 bits 3.1; in float32, 0.9 and 3.7. Reading 64 bits takes 100 pJ from a
cache of 1 MB, and 1300 pJ and more from DRAM. Between and below these figures is interpolation, which is ours: see
`multiplication` and `addition`. Activations are not read, nothing is controlled, nothing leaks: a real chip takes more.
"""

from numbers import Real

import numpy as np

from fewbits.errors import InputError, check_name

FLOAT_ADDITION, FLOAT_MULTIPLICATION = 0.9, 3.7  # float32
READING = {"SRAM": 100.0, "DRAM": 1300.0}  # 64 bits from a cache of 1 MB; the least that is published for DRAM
ACCUMULATOR = 32  # bits


def multiplication(first: int, second: int) -> float:
    """Return the energy of multiplying integers of so many bits, from 1 to 32.

    Linear in the product of the widths, the number of partial products, through 0, 8 x 8 and 32 x 32 bits. Raises
    InputError on other widths.
    """
    return float(np.interp(_bits(first) * _bits(second), (0, 8 * 8, 32 * 32), (0, 0.2, 3.1)))


def addition(bits: int) -> float:
    """Return the energy of adding integers of so many bits, from 1 to 32.

    Linear in the width through 0, 8 and 32 bits. Raises InputError on other widths.
    """
    return float(np.interp(_bits(bits), (0, 8, 32), (0, 0.03, 0.1)))


def mac(kernel: int | None = None, input: int | None = None) -> float:
    """Return the energy of a multiply-accumulate of a weight and an input of so many bits, in a sum of 32 bits.

    None is float32, for both if for one. Raises InputError on widths that are not from 1 to 32.
    """
    if kernel is None or input is None:
        return FLOAT_MULTIPLICATION + FLOAT_ADDITION
    return multiplication(kernel, input) + addition(ACCUMULATOR)


def reading(size: float, memory: str = "SRAM") -> float:
    """Return the energy of reading `size` bytes once from `memory`, one of READING: SRAM is a cache of 1 MB.

    Raises InputError on another memory, and on a size that is no number of at least 0.
    """
    check_name("memory", memory, READING)
    if isinstance(size, bool) or not isinstance(size, Real) or not 0 <= size < np.inf:
        raise InputError(f"size must be a number of bytes, at least 0, not {size!r}")
    return float(size) / 8 * READING[memory]


def _bits(n):
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 32:
        raise InputError(f"bits must be an integer from 1 to 32, not {n!r}")
    return n
