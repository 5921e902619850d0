"""Operations of an integer network: what each computes from codes, and how large its codes can become.

All arithmetic is on integers: sums of products of codes, shifts with rounding, and comparisons. Shapes are those of
one image, (height, width, channels); a vector is (1, 1, n), and a dense layer is a convolution of one pixel. NumPy runs
each operation on a whole batch, in int32 if its sums are proven to fit, otherwise in int64, without floating point.

Source: vieito2017, 2.3 and 5.1 for the arithmetic (a format is a shift). Every bound assumes the worst case.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from fewbits.errors import InputError
from fewbits.names import INTEGER_ROUNDINGS


@dataclass(frozen=True)
class Tensor:
    """The codes that an operation outputs, and the values they stand for: code * 2**exponent / divisor.

    Attributes:
        shape: (height, width, channels) of one image.
        exponent: One integer, or one per channel (a tuple) if filters have formats of their own.
        low: The smallest code that can occur.
        high: The largest code that can occur.
        divisor: What is left to divide by: the pixels of an average, otherwise 1.
    """

    shape: tuple[int, int, int]
    exponent: int | tuple[int, ...]
    low: int
    high: int
    divisor: int = 1

    @property
    def size(self) -> int:
        """Number of codes of one image."""
        return prod(self.shape)

    @property
    def magnitude(self) -> int:
        """The largest absolute value of a code."""
        return max(-self.low, self.high)

    @property
    def bits(self) -> int:
        """Bits that hold every code in two's complement."""
        return signed_bits(self.low, self.high)


def signed_bits(low: int, high: int) -> int:
    """Return the bits that two's complement needs for the integers from `low` to `high`.

    Args:
        low: The smallest integer.
        high: The largest integer.

    Returns:
        The number of bits, at least 1.

    Example:
        >>> signed_bits(-128, 127), signed_bits(0, 128)
        (8, 9)
    """
    return 1 + max(high, -low - 1, 0).bit_length()


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of an integer network.

    Attributes:
        layer: Name of the Keras layer that the operation belongs to.
        inputs: Indices of the tensors that it reads; tensor 0 is the image, tensor n the output of operation n.
        output: The tensor that it makes.
        in_place: Whether each output code depends only on the input code at the same place.
    """

    layer: str
    inputs: tuple[int, ...]
    output: Tensor

    in_place: ClassVar[bool] = False

    def compute(self, *inputs: Any, **options: Any) -> np.ndarray:
        """Return the output codes of a batch.

        Args:
            inputs: The codes of each input, integers (n, height, width, channels).
            options: None; subclasses take their inputs by position.

        Returns:
            Integers (n, height, width, channels), exact.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Convolve(Operation):
    """Sums of products of codes and kernel, plus bias.

    Attributes:
        kernel: Codes (int64), (height, width, in / groups, filters), or (height, width, in, multiplier) if depthwise.
        bias: Codes (int64), one per filter.
        strides: Rows and columns from one window to the next.
        padding: Rows of zeros above and below, columns of zeros left and right.
        dilation: Rows and columns from one weight of a window to the next.
        depthwise: Whether each filter reads a single channel.
        partial_bits: Bits that hold every partial sum, in any order, with the bias: the width of the accumulator.
        magnitude: The largest possible sum of absolute products, plus the bias. Up to 2**24, a simulation in float32 is
            exact.
        groups: Number of groups of channels; each has the same number of filters, which read no other channels.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    depthwise: bool
    partial_bits: int
    magnitude: int
    groups: int = 1

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
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
            elif self.groups > 1:
                grouped = pixels.reshape(*pixels.shape[:3], self.groups, -1)
                filters = kernel[row, column].reshape(kernel.shape[2], self.groups, -1)
                sums += np.einsum("nhwgc,cgf->nhwgf", grouped, filters).reshape(sums.shape)
            else:
                sums += np.einsum("nhwc,cf->nhwf", pixels, kernel[row, column])  # for integers, faster than @
        return sums

    def _under(self, padded, row, column):
        """Return the pixels that the weight at (row, column) multiplies, for all positions of the window."""
        (height, width, _), (down, right) = self.output.shape, self.strides
        top, left = row * self.dilation[0], column * self.dilation[1]
        return padded[:, top : top + (height - 1) * down + 1 : down, left : left + (width - 1) * right + 1 : right]


@dataclass(frozen=True, eq=False)
class Requantize(Operation):
    """Codes on another grid: divided by divisor * 2**shift, rounded, and clipped.

    Attributes:
        shift: One integer, or one per channel (a tuple); a negative shift multiplies.
        divisor: The divisor of the input.
        rounding: One of INTEGER_ROUNDINGS.
        low: The smallest code of the new format.
        high: The largest code of the new format.
    """

    shift: int | tuple[int, ...]
    divisor: int
    rounding: str
    low: int
    high: int

    in_place: ClassVar[bool] = True

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        shift = np.asarray(self.shift)
        codes = codes.astype(np.int64) << np.maximum(-shift, 0)
        return np.clip(divide_rounded(codes, self.divisor << np.maximum(shift, 0), self.rounding), self.low, self.high)


@dataclass(frozen=True, eq=False)
class Clip(Operation):
    """Codes clipped to a range: a ReLU.

    Attributes:
        low: The smallest code that passes.
        high: The largest code that passes.
    """

    low: int
    high: int

    in_place: ClassVar[bool] = True

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        return np.clip(codes, self.low, self.high)


@dataclass(frozen=True, eq=False)
class AddConstant(Operation):
    """codes * 2**shift + constant: a bias that is added after the output is rounded.

    Attributes:
        shift: An integer that is not negative; it moves the codes to the grid of the constant.
        constant: Codes (int64), one per channel.
    """

    shift: int
    constant: np.ndarray

    in_place: ClassVar[bool] = True

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        return (codes.astype(np.int64) << self.shift) + self.constant


@dataclass(frozen=True, eq=False)
class MaxPool(Operation):
    """The largest code of each window.

    Attributes:
        window: Rows and columns of a window.
        strides: Rows and columns from one window to the next.
        padding: As in Convolve, but the padding never wins.
    """

    window: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        padding = ((0, 0), *self.padding, (0, 0))
        padded = np.pad(codes, padding, constant_values=codes.min()) if any(map(any, padding)) else codes
        return _windows(padded, self.window, self.strides).max((-2, -1))


@dataclass(frozen=True, eq=False)
class SumPool(Operation):
    """The sum of each window: an average that is divided when it is next rounded.

    Attributes:
        window: Rows and columns of a window.
        strides: Rows and columns from one window to the next.
    """

    window: tuple[int, int]
    strides: tuple[int, int]

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        return _windows(codes.astype(np.int64), self.window, self.strides).sum((-2, -1))


@dataclass(frozen=True, eq=False)
class Pad(Operation):
    """Codes with a border of zeros; a negative padding crops.

    Attributes:
        padding: Rows above and below, columns left and right.
    """

    padding: tuple[tuple[int, int], tuple[int, int]]

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        (top, bottom), (left, right) = self.padding
        height, width = codes.shape[1:3]
        kept = codes[:, max(0, -top) : height - max(0, -bottom), max(0, -left) : width - max(0, -right)]
        return np.pad(kept, ((0, 0), *(tuple(max(0, n) for n in side) for side in self.padding), (0, 0)))


@dataclass(frozen=True, eq=False)
class Join(Operation):
    """What is made of several tensors on the finest of their grids.

    Attributes:
        shifts: For each input, its codes are multiplied by 2**shift.
    """

    shifts: tuple[int, ...]

    def compute(self, *codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        return self._joined([c.astype(np.int64) << shift for c, shift in zip(codes, self.shifts)])

    def _joined(self, codes: list[np.ndarray]) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Concatenate(Join):
    """The channels of all inputs on the finest of their grids."""

    def _joined(self, codes):
        return np.concatenate(codes, axis=-1)


@dataclass(frozen=True, eq=False)
class Add(Join):
    """The sum of all inputs on the finest of their grids."""

    def _joined(self, codes):
        return sum(codes[1:], codes[0])


@dataclass(frozen=True, eq=False)
class Reshape(Operation):
    """The same codes, in the same order, in another shape."""

    in_place: ClassVar[bool] = True

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        return codes.reshape(len(codes), *self.output.shape)


@dataclass(frozen=True, eq=False)
class Input(Operation):
    """The codes of a further input of the network: its pixels minus their mean. It reads no tensor.

    Attributes:
        mean: As in IntegerNetwork.
    """

    mean: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Spread(Operation):
    """Codes with zeros between the pixels, as a transposed convolution needs them.

    Attributes:
        strides: Rows and columns from one pixel to the next.
    """

    strides: tuple[int, int]

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        spread = np.zeros((len(codes), *self.output.shape), codes.dtype)
        spread[:, :: self.strides[0], :: self.strides[1]] = codes
        return spread


@dataclass(frozen=True, eq=False)
class Repeat(Operation):
    """Each pixel several times: what enlarges an image to the nearest pixel.

    Attributes:
        size: How many rows and columns each pixel becomes.
    """

    size: tuple[int, int]

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        return codes.repeat(self.size[0], 1).repeat(self.size[1], 2)


@dataclass(frozen=True, eq=False)
class Transpose(Operation):
    """Rows as columns, and columns as rows."""

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        return codes.swapaxes(1, 2)


@dataclass(frozen=True, eq=False)
class Multiply(Operation):
    """The products of the codes of two tensors; exponents add.

    The second tensor may have a single row, a single column, or a single channel, which then multiplies all of them.
    """

    def compute(self, *codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        first, second = codes
        return first.astype(np.int64) * second


@dataclass(frozen=True, eq=False)
class Subtract(Join):
    """The first input minus the second on the finer of their grids."""

    def _joined(self, codes):
        return codes[0] - codes[1]


@dataclass(frozen=True, eq=False)
class Largest(Join):
    """The largest of all inputs at each place, on the finest of their grids."""

    def _joined(self, codes):
        return np.max(codes, 0)


@dataclass(frozen=True, eq=False)
class Smallest(Join):
    """The smallest of all inputs at each place, on the finest of their grids."""

    def _joined(self, codes):
        return np.min(codes, 0)


@dataclass(frozen=True, eq=False)
class Leaky(Operation):
    """codes * 2**shift, but negative codes are multiplied by a slope: a leaky ReLU.

    Attributes:
        slope: Codes (int64) that broadcast against (height, width, channels): one, one per channel, or one per place.
        shift: An integer that is not negative: a slope of 2**shift stands for 1.
    """

    slope: np.ndarray
    shift: int

    in_place: ClassVar[bool] = True

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        codes = codes.astype(np.int64)
        return np.where(codes < 0, codes * self.slope, codes << self.shift)


@dataclass(frozen=True, eq=False)
class LookUp(Operation):
    """A function of one code, as the list of its results.

    Attributes:
        first: The input code of the first result.
        codes: Results (int64) of all input codes from `first` on, at most 256.
    """

    first: int
    codes: np.ndarray

    in_place: ClassVar[bool] = True

    def compute(self, codes: np.ndarray) -> np.ndarray:
        """Return the output codes, as `Operation.compute` describes."""
        return self.codes[codes.astype(np.int64) - self.first]


def divide_rounded(codes: Any, divisor: int | np.ndarray, rounding: str) -> np.ndarray:
    """Return `codes` / `divisor`, rounded, with integer arithmetic only.

    Args:
        codes: An integer or an array of integers.
        divisor: Positive integers that broadcast against `codes`.
        rounding: One of INTEGER_ROUNDINGS, as in `fewbits.quantize`.

    Returns:
        Integers of the shape of `codes`.

    Raises:
        InputError: when `rounding` is not one of INTEGER_ROUNDINGS.

    Example:
        >>> divide_rounded(np.array([-3, 3, 5]), 2, "nearest").tolist()
        [-2, 2, 2]
    """
    if rounding not in INTEGER_ROUNDINGS:
        raise InputError(f"integers cannot be rounded by {rounding!r}; use one of {', '.join(INTEGER_ROUNDINGS)}")
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
