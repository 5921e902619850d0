"""The operations of a network of integers: each says what it computes from codes, and what its codes can be at most.

All there is are integers: sums of products of codes, shifts with a rounding, comparisons. Shapes are those of one
image, (height, width, channels); a vector is (1, 1, n), and a dense layer a convolution of one pixel. NumPy runs each
operation for a batch at once, in int32 where its sums are proven to fit, else in int64, without any float operation.

Source of the arithmetic: vieito2017, 2.3 and 5.1 (a format is a shift); its bounds: every sum at its worst case.
"""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from fewbits.errors import InputError
from fewbits.names import INTEGER_ROUNDINGS


@dataclass(frozen=True)
class Tensor:
    """What a operation hands on: codes from `low` to `high`, for the values code * 2**exponent / divisor.

    shape: (height, width, channels) of one image. exponent: an integer or, where filters have formats of their own, a
    tuple of one a channel.
    """

    shape: tuple[int, int, int]
    exponent: int | tuple[int, ...]
    low: int
    high: int
    divisor: int = 1

    @property
    def size(self) -> int:
        """Number of codes."""
        return prod(self.shape)

    @property
    def magnitude(self) -> int:
        """The largest absolute value of a code."""
        return max(-self.low, self.high)

    @property
    def bits(self) -> int:
        """Bits of the two's complement that holds every code."""
        return signed_bits(self.low, self.high)


def signed_bits(low: int, high: int) -> int:
    """Return how many bits two's complement needs for the integers from `low` to `high`."""
    return 1 + max(high, -low - 1, 0).bit_length()


@dataclass(frozen=True, eq=False)
class Operation:
    """One thing that is computed. layer: name of the Keras layer it belongs to. inputs: indices of earlier tensors."""

    layer: str
    inputs: tuple[int, ...]
    output: Tensor

    in_place: ClassVar[bool] = False  # whether each code depends on the code in its place alone


@dataclass(frozen=True, eq=False)
class Convolve(Operation):
    """Sums of products of codes and kernel, plus bias.

    kernel: int64, (height, width, in, filters), or (height, width, in, multiplier) where depthwise. bias: int64, one a
    filter. padding: rows above and below, columns left and right, of code 0. partial_bits: of every partial sum, in
    any order, with the bias: the width that an accumulator needs. magnitude: sum of absolute products at their largest,
    plus bias; up to 2**24 a simulation in float32 is exact.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    depthwise: bool
    partial_bits: int
    magnitude: int

    def compute(self, codes):
        narrow = self.partial_bits <= 32
        codes = codes.astype(np.int32 if narrow else np.int64)
        kernel, bias = (array.astype(codes.dtype) for array in (self.kernel, self.bias))
        (top, _), (left, _) = self.padding
        padded = np.zeros((len(codes), *_padded(codes.shape[1:3], self.padding), codes.shape[3]), codes.dtype)
        padded[:, top : top + codes.shape[1], left : left + codes.shape[2]] = codes
        height, width, channels = self.output.shape
        sums = np.zeros((len(codes), height, width, channels), codes.dtype) + bias
        for row, column in np.ndindex(kernel.shape[:2]):  # one weight of each window at a time
            pixels = self._under(padded, row, column)
            if self.depthwise:
                sums += (pixels[..., None] * kernel[row, column]).reshape(sums.shape)
            else:
                sums += np.einsum("nhwc,cf->nhwf", pixels, kernel[row, column])  # of integers, faster than @
        return sums

    def _under(self, padded, row, column):
        """Return the pixels that the weight at (row, column) meets, for all places of the window."""
        (height, width, _), (down, right) = self.output.shape, self.strides
        top, left = row * self.dilation[0], column * self.dilation[1]
        return padded[:, top : top + (height - 1) * down + 1 : down, left : left + (width - 1) * right + 1 : right]


@dataclass(frozen=True, eq=False)
class Requantize(Operation):
    """Codes on another grid: divided by divisor * 2**shift, rounded, and clipped to `low` and `high`.

    shift: an integer or a tuple of one a channel; negative ones multiply. divisor: of the input.
    """

    shift: int | tuple[int, ...]
    divisor: int
    rounding: str
    low: int
    high: int

    in_place: ClassVar[bool] = True

    def compute(self, codes):
        shift = np.asarray(self.shift)
        codes = codes.astype(np.int64) << np.maximum(-shift, 0)
        return np.clip(divide_rounded(codes, self.divisor << np.maximum(shift, 0), self.rounding), self.low, self.high)


@dataclass(frozen=True, eq=False)
class Clip(Operation):
    """Codes no less than `low` and no more than `high`: a ReLU."""

    low: int
    high: int

    in_place: ClassVar[bool] = True

    def compute(self, codes):
        return np.clip(codes, self.low, self.high)


@dataclass(frozen=True, eq=False)
class AddConstant(Operation):
    """codes * 2**shift + constant, one a channel: a bias that comes behind the output's rounding."""

    shift: int
    constant: np.ndarray

    in_place: ClassVar[bool] = True

    def compute(self, codes):
        return (codes.astype(np.int64) << self.shift) + self.constant


@dataclass(frozen=True, eq=False)
class MaxPool(Operation):
    """The largest code of each window. padding: as in Convolve, of places that never win."""

    window: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]

    def compute(self, codes):
        padding = ((0, 0), *self.padding, (0, 0))
        padded = np.pad(codes, padding, constant_values=codes.min()) if any(map(any, padding)) else codes
        return _windows(padded, self.window, self.strides).max((-2, -1))


@dataclass(frozen=True, eq=False)
class SumPool(Operation):
    """The sum of each window: an average whose division is left to whoever rounds it."""

    window: tuple[int, int]
    strides: tuple[int, int]

    def compute(self, codes):
        return _windows(codes.astype(np.int64), self.window, self.strides).sum((-2, -1))


@dataclass(frozen=True, eq=False)
class Pad(Operation):
    """Codes with a border of zeros, or, where the padding is negative, without theirs."""

    padding: tuple[tuple[int, int], tuple[int, int]]

    def compute(self, codes):
        (top, bottom), (left, right) = self.padding
        height, width = codes.shape[1:3]
        kept = codes[:, max(0, -top) : height - max(0, -bottom), max(0, -left) : width - max(0, -right)]
        return np.pad(kept, ((0, 0), *(tuple(max(0, n) for n in side) for side in self.padding), (0, 0)))


@dataclass(frozen=True, eq=False)
class Concatenate(Operation):
    """The channels of all inputs, each input times 2**shift: they meet on the finest grid."""

    shifts: tuple[int, ...]

    def compute(self, *codes):
        return np.concatenate([c.astype(np.int64) << shift for c, shift in zip(codes, self.shifts)], axis=-1)


@dataclass(frozen=True, eq=False)
class Add(Operation):
    """The sum of all inputs, each times 2**shift."""

    shifts: tuple[int, ...]

    def compute(self, *codes):
        return sum(c.astype(np.int64) << shift for c, shift in zip(codes, self.shifts))


@dataclass(frozen=True, eq=False)
class Reshape(Operation):
    """The same codes, in the same order, in another shape."""

    in_place: ClassVar[bool] = True

    def compute(self, codes):
        return codes.reshape(len(codes), *self.output.shape)


def divide_rounded(codes, divisor, rounding: str):
    """Return integer `codes` over positive integer `divisor`, rounded, with integers alone.

    rounding: one of INTEGER_ROUNDINGS, as in `fewbits.quantize`; InputError on another.
    """
    if rounding not in INTEGER_ROUNDINGS:
        raise InputError(f"rounding {rounding!r} is none of integers; they have {', '.join(INTEGER_ROUNDINGS)}")
    if rounding == "nearest-away":
        return np.sign(codes) * divide_rounded(abs(codes), divisor, "nearest-up")
    low, rest = np.divmod(codes, divisor)
    if rounding == "floor":
        return low
    up = 2 * rest >= divisor
    if rounding == "nearest":  # half to even
        up &= (2 * rest > divisor) | (low % 2 == 1)
    return low + up


def _padded(sides, padding):
    return tuple(side + sum(both) for side, both in zip(sides, padding))


def _windows(codes, window, strides):
    views = np.lib.stride_tricks.sliding_window_view(codes, window, axis=(1, 2))
    return views[:, :: strides[0], :: strides[1]]
