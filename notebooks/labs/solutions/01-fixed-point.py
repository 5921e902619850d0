"""Solutions of lab 1."""

import numpy as np


def grid(msb, nbits):
    """Return an array of all values of the format, in ascending order."""
    step = 2.0 ** (msb + 1 - nbits)
    return np.arange(-(2 ** (nbits - 1)), 2 ** (nbits - 1)) * step


def encode(x, msb, nbits):
    """Return the integer codes of the array x, in its shape."""
    step = 2.0 ** (msb + 1 - nbits)
    codes = np.floor(x / step + 0.5)
    return np.clip(codes, -(2 ** (nbits - 1)), 2 ** (nbits - 1) - 1).astype(int)


def shift_right(total, places):
    """Return the integer total / 2**places, rounded to nearest, ties up."""
    half = 1 << (places - 1) if places else 0
    return (total + half) >> places


def best_msb(x, nbits):
    """Return the MSB with the least mean squared error; use encode."""

    def error(msb):
        step = 2.0 ** (msb + 1 - nbits)
        return np.mean((encode(x, msb, nbits) * step - x) ** 2)

    return min(range(-8, 9), key=error)
