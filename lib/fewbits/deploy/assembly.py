"""An integer network while it is assembled: its operations and tensors so far, and how tensors reach a common grid.

Tensors are named by their index, as in `IntegerNetwork`. What needs integers of more bits than int64 holds raises
OverflowError, which `lower` turns into a sentence about the layer.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fewbits.deploy import operations
from fewbits.deploy.operations import Operation, Tensor
from fewbits.errors import InputError
from fewbits.quantization.fixedpoint import FixedPoint

WIDEST = 62  # bits of codes that int64 holds, with room for a rounding


class Assembly:
    """The operations so far.

    Attributes:
        tensors: The tensors so far; tensor 0 is the image.
        operations: The operations so far; operation n (from 1) makes tensor n.
    """

    def __init__(self, image: Tensor):
        """Begin with the tensor of the image."""
        self.tensors: list[Tensor] = [image]
        self.operations: list[Operation] = []

    def add(
        self, kind: type[Operation], layer: str, inputs: Sequence[int], output: Tensor, *fields: Any, **named: Any
    ) -> int:
        """Add an operation.

        Args:
            kind: Its class.
            layer: Name of the layer that it belongs to.
            inputs: Indices of the tensors that it reads.
            output: The tensor that it makes.
            *fields: The other fields of its class.
            **named: Fields by name.

        Returns:
            The index of the tensor that it makes.
        """
        if output.bits > WIDEST:
            raise OverflowError
        self.operations.append(kind(layer, tuple(inputs), output, *fields, **named))
        self.tensors.append(output)
        return len(self.tensors) - 1

    def finish(self, index: int) -> None:
        """Make the tensor `index` the last one."""
        if index != len(self.operations):
            layer = self.operations[index - 1].layer if index else "image"
            self.add(operations.Reshape, layer, (index,), self.tensors[index])

    def relabel(self, layer: str, index: int, **changes: Any) -> int:
        """Return a tensor of the same codes that stand for other values or have another shape.

        Args:
            layer: Name of the layer.
            index: The tensor.
            **changes: The attributes of the tensor that change.
        """
        output = replace(self.tensors[index], **changes)
        return index if output == self.tensors[index] else self.add(operations.Reshape, layer, (index,), output)

    # Grids

    def requantize(self, layer: str, index: int, fmt: FixedPoint | None, rounding: str) -> int:
        """Return a tensor in a format; the tensor itself if it already has that format, or if the format is None.

        Args:
            layer: Name of the layer.
            index: The tensor.
            fmt: The format.
            rounding: One of INTEGER_ROUNDINGS.
        """
        if fmt is None:
            return index
        x = self.tensors[index]
        shift = tuple(exponent_of(fmt) - e for e in exponents_of(x))
        if max(x.bits - min(*shift, 0), x.divisor.bit_length() + max(*shift, 0)) > WIDEST:
            raise OverflowError
        low, high = (
            np.clip(
                [int(operations.divide_rounded(code << max(-s, 0), x.divisor << max(s, 0), rounding)) for s in shift],
                fmt.min_code,
                fmt.max_code,
            )
            for code in (x.low, x.high)
        )
        output = Tensor(x.shape, exponent_of(fmt), int(low.min()), int(high.max()))
        if output == x:
            return index
        alike = len(set(shift)) == 1
        fields = (shift[0] if alike else shift, x.divisor, rounding, fmt.min_code, fmt.max_code)
        return self.add(operations.Requantize, layer, (index,), output, *fields)

    def aligned(self, layer: str, index: int) -> int:
        """Return a tensor with one exponent for all channels, the finest, so that nothing is rounded.

        Args:
            layer: Name of the layer.
            index: The tensor.
        """
        x = self.tensors[index]
        if isinstance(x.exponent, int):
            return index
        shift = tuple(min(x.exponent) - e for e in x.exponent)
        low, high = x.low << -min(shift), x.high << -min(shift)
        low, high = min(low, x.low), max(high, x.high)
        output = Tensor(x.shape, min(x.exponent), low, high, x.divisor)
        return self.add(operations.Requantize, layer, (index,), output, shift, 1, "floor", low, high)

    def undivided(self, layer: str, index: int, verb: str) -> Tensor:
        """Return the tensor `index`; refuse averages, which float32 has rounded.

        Args:
            layer: Name of the layer.
            index: The tensor.
            verb: What the layer does with its inputs, for the message: "adds up".

        Raises:
            InputError: on an average.
        """
        x = self.tensors[index]
        if x.divisor & (x.divisor - 1):
            raise InputError(f"layer {layer} {verb} averages, which float32 has rounded; {ROUND_FIRST}")
        return x

    # Single values

    def plus(self, layer: str, index: int, constant: np.ndarray | float) -> int:
        """Return a tensor plus a constant, exactly, on the finer of the two grids.

        Args:
            layer: Name of the layer.
            index: The tensor, with one exponent and no divisor but a power of two.
            constant: Floats, one or one per channel.
        """
        x = self.tensors[index]
        [exponent] = exponents_of(x)
        constant = np.broadcast_to(np.asarray(constant, np.float64) * x.divisor * 2.0**-exponent, x.shape[2:])
        codes, shift = as_integers(constant)
        if x.bits + shift > WIDEST:
            raise OverflowError
        low, high = (x.low << shift) + int(codes.min()), (x.high << shift) + int(codes.max())
        output = Tensor(x.shape, exponent - shift, low, high, x.divisor)
        return self.add(operations.AddConstant, layer, (index,), output, shift, codes)

    def clip(self, layer: str, index: int, highest: float | None = None, from_zero: bool = True) -> int:
        """Return a tensor clipped to a range of values.

        Args:
            layer: Name of the layer.
            index: The tensor, with one exponent.
            highest: The largest value; None for no limit.
            from_zero: Whether negative values become zero.

        Raises:
            InputError: when `highest` is not on the grid of the tensor.
        """
        x = self.tensors[index]
        high = x.high if highest is None else min(x.high, self._code(layer, x, highest))
        low = 0 if from_zero else min(x.low, high)
        high = max(high, low)
        output = replace(x, low=min(max(x.low, low), high), high=high)
        return index if output == x else self.add(operations.Clip, layer, (index,), output, low, high)

    def _code(self, layer: str, x: Tensor, value: float) -> int:
        [exponent] = exponents_of(x)
        code = value * x.divisor * 2.0**-exponent
        if code != int(code):
            raise InputError(
                f"layer {layer} clips at {value:g}, which is not a multiple of its step {2.0**exponent:g}; "
                "clip at a multiple of it, or give the layer before it a format with a finer step"
            )
        return int(code)


ROUND_FIRST = (
    "give them a format: quantize_model(model, formats) puts a quantizer after them, or put "
    "QuantizedActivation('linear') there"
)


def exponent_of(fmt: FixedPoint) -> int:
    """Return the exponent of the step of a format."""
    return fmt.msb + 1 - fmt.nbits


def exponents_of(tensor: Tensor) -> tuple[int, ...]:
    """Return the exponents of a tensor: one, or one per channel."""
    return tensor.exponent if isinstance(tensor.exponent, tuple) else (tensor.exponent,)


def shifted(codes: np.ndarray, shifts: Any) -> np.ndarray:
    """Return codes times powers of two.

    Args:
        codes: Integers (int64).
        shifts: The exponents, integers that are not negative and broadcast against `codes`.

    Raises:
        OverflowError: when int64 does not hold the products.
    """
    if int(np.abs(codes).max()).bit_length() + int(np.max(shifts)) >= WIDEST:
        raise OverflowError
    return codes << shifts


def as_integers(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Return integers (int64) and the smallest shift, not negative, with values = integers / 2**shift, exactly.

    Args:
        values: Floats, finite.

    Raises:
        OverflowError: when int64 does not hold the integers.
    """
    mantissas, exponents = np.frexp(np.asarray(values, np.float64))
    integers = np.ldexp(mantissas, 53).astype(np.int64)
    trailing = np.frexp((integers & -integers).astype(np.float64))[1] - 1
    shift = max(0, int(np.max(np.where(integers == 0, 0, 53 - exponents - trailing))))
    scaled = np.ldexp(np.asarray(values, np.float64), shift)
    if np.abs(scaled).max() >= 2.0 ** (WIDEST - 1):
        raise OverflowError
    return scaled.astype(np.int64), shift
