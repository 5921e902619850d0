"""The rounding of the quantized layers: formats, rounding and switch are tensors, so that they can change at any time.

It agrees bit for bit with `fewbits.quantize`, except for the sign of a zero. TensorFlow passes over memory for every
operation, so there the passes are few; nothing is compiled for a layer or a shape. Other backends compile the plain
operations into one pass.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fewbits.backend import call_traced_once, choose, keras, ops, tensor
from fewbits.names import KINDS, LAYER_ROUNDINGS, ROUNDINGS
from fewbits.quantization.fixedpoint import exp2
from fewbits.quantization.learned_ranges import range_gradient

# What a quantized layer keeps in one variable: its switches, and MSB and bits of each kind; 0 bits are float, and a
# negative number of bits is an unsigned format. (The MSBs of its kernel, one per filter, have a variable of their own.)
SCALARS = ("rounding", "enabled", "locked", "kernel_nbits", *(f"{k}_{n}" for k in KINDS[1:] for n in ("msb", "nbits")))
FLOOR, NEAREST, UP, AWAY, THESIS = (ROUNDINGS.index(name) for name in LAYER_ROUNDINGS)


ENDS = "low", "high", "step"


class ValueGrid(NamedTuple):
    """The values to which a tensor is rounded, multiples of a step; all are tensors.

    Attributes:
        low: The smallest value, float32; for kernel and bias, one number per filter.
        high: The largest one, alike.
        step: The step, alike.
        nbits: The bits, int32; negative if the format is unsigned.
        rounding: An index into ROUNDINGS, int32.
        way: Which of the functions of `_forward` to use, int32; 0 leaves the tensor as it is.
    """

    low: Any
    high: Any
    step: Any
    nbits: Any
    rounding: Any
    way: Any


class Rounder:
    """Rounds the tensors of one layer, each to the format of its kind, with a straight-through gradient.

    Args:
        scalars: An int32 tensor or variable of numbers in the order of SCALARS.
        kernel_msb: The MSB of each filter, an int32 tensor that broadcasts against the kernel; where ranges are
            learned, float32 numbers that have the MSBs for ceilings, and get gradients.
        gradient: As in `fewbits.quantclip`.
        bias_order: As in QuantizedConv2D.
        activation_msbs: Such numbers for input and output, a tensor (2,), where ranges are learned; see
            `learned_ranges`.
        sources: The grids on which the inputs lie already, if all of them do. Inputs whose grids are part of the
            layer's own are not rounded again.
    """

    def __init__(
        self,
        scalars: Any,
        kernel_msb: Any,
        gradient: str = "clipped",
        bias_order: str = "accumulator",
        activation_msbs: Any = None,
        sources: Sequence[ValueGrid] = (),
    ):
        learned = activation_msbs is not None
        msbs = [tensor(kernel_msb), *([activation_msbs] if learned else [])]
        known = [number for grid in sources for number in grid]
        numbers = call_traced_once(_grids(bias_order, learned), tensor(scalars), *map(_no_gradient, msbs), *known)
        kernel, *others = _as_grids(numbers)
        kernel = kernel._replace(**{end: ops.reshape(getattr(kernel, end), tuple(msbs[0].shape)) for end in ENDS})
        self.gradient, self.grids = gradient, dict(zip(KINDS, (kernel, *others)))
        self.ranges = {"kernel": msbs[0], "input": msbs[1][0], "output": msbs[1][1]} if learned else {}

    def __call__(self, x: Any, kind: str, relu: bool = False) -> Any:
        """Round the tensor `x`, or its positive part.

        Args:
            x: A float tensor.
            kind: Which format to use, one of KINDS. A bias without a format is rounded to nearest on the grid of the
                products of inputs and kernel, if both have formats and it is added to these; its gradient passes.
            relu: Whether to apply a ReLU. It is applied before the rounding, where a backend can fuse it with what
                computes `x`; values and gradient are those of a ReLU after the rounding.

        Returns:
            A tensor of the shape and dtype of `x`.
        """
        x = tensor(x)
        dtype = keras.backend.standardize_dtype(x.dtype)
        wide = "float64" if dtype == "float64" else "float32"
        *ends, nbits, rounding, way = self.grids[kind]
        grid = *(ops.cast(number, wide) for number in ends), nbits, rounding
        learned = [self.ranges[kind]] if kind in self.ranges else []

        @ops.custom_gradient
        def rounded(x, *learned):
            x = ops.cast(ops.relu(x) if relu else x, wide)
            y = choose(way, _forward(), x, *grid)

            def straight_through(*args, upstream=None):
                upstream = ops.cast(args[0] if upstream is None else upstream, wide)
                passed = upstream
                if self.gradient == "clipped" or relu:
                    passed = choose(way, _backward(self.gradient, relu), upstream, x, *grid)
                of_x = ops.cast(passed, dtype)
                return (of_x, *(range_gradient(m, upstream, y, passed, x) for m in learned)) if learned else of_x

            return ops.cast(y, dtype), straight_through

        return rounded(x, *learned)


def positive_part(grid: ValueGrid) -> ValueGrid:
    """Return the grid of what a ReLU leaves of a grid."""
    return grid._replace(low=ops.maximum(grid.low, 0))


def _as_grids(numbers):
    """Return the grids whose numbers stand in a list, one grid after the other."""
    length = len(ValueGrid._fields)
    return [ValueGrid(*numbers[i : i + length]) for i in range(0, len(numbers), length)]


def _no_gradient(numbers):
    return ops.stop_gradient(numbers) if "float" in keras.backend.standardize_dtype(numbers.dtype) else numbers


def _passes_over_memory():
    """Return whether each operation is a pass over memory, so that kernels that do several at once are worth it."""
    return keras.backend.backend() == "tensorflow"


@cache
def _grids(bias_order, learned):
    """Return the function that computes the numbers of all grids of a layer: (scalars, kernel_msb, ...) -> a list.

    More arguments are, if ranges are learned, the MSBs of input and output, and the numbers of the grids on which the
    inputs lie.
    """

    def grids(scalars, kernel_msb, *more):
        of, sources = dict(zip(SCALARS, ops.unstack(scalars, len(SCALARS)))), list(more)
        msbs = [of[f"{kind}_msb"] for kind in KINDS[1:]]
        if learned:
            activation_msbs, *sources = more
            kernel_msb, activation_msbs = (ops.cast(ops.ceil(m), "int32") for m in (kernel_msb, activation_msbs))
            msbs[:2] = ops.unstack(activation_msbs, 2)
        kernel_msb = ops.reshape(kernel_msb, (-1,))
        rows = ops.stack([kernel_msb, *(msb + 0 * kernel_msb for msb in msbs)])  # a bias has a grid for each filter
        kernel, input, output, bias = _own(rows, [of[f"{kind}_nbits"] for kind in KINDS], of)
        input, output = (grid._replace(**{end: getattr(grid, end)[0] for end in ENDS}) for grid in (input, output))
        if sources:
            input = input._replace(way=ops.where(_contains(input, _as_grids(sources)), 0, input.way))
        if bias_order == "accumulator":
            step = kernel.step * input.step
            on = of["enabled"] * ops.cast(of["kernel_nbits"] * of["input_nbits"] != 0, "int32")
            products = ValueGrid(-np.inf + 0 * step, np.inf + 0 * step, step, 0, NEAREST, 2 * on)
            bias = [ops.where(of["bias_nbits"] != 0, *pair) for pair in zip(bias, products)]
        return [number for grid in (kernel, input, output, bias) for number in grid]

    return grids


def _own(msbs, nbits, of):
    """Return the grids of formats, float where they have 0 bits or are not enabled.

    Args:
        msbs: The MSBs of several tensors, in rows.
        nbits: A single number for each row, in a list.
        of: Name -> number, as in SCALARS.
    """
    rounding, column = of["rounding"], ops.reshape(ops.stack(nbits), (-1, 1))
    amplitude, step = ops.unstack(exp2(ops.stack([msbs, msbs + 1 - ops.abs(column)])), 2)
    is_unsigned, thesis = column < 0, rounding == THESIS
    low = ops.where(is_unsigned, 0, -amplitude)
    top = low + 2 * amplitude
    high = ops.where(thesis, top, top - step)
    way = 1 + ops.where(thesis, FLOOR, ops.minimum(rounding, UP))
    if _passes_over_memory():
        equal = ops.all(msbs == msbs[:, :1], 1, keepdims=True)
        way = ops.where(equal, ops.where(is_unsigned & (rounding == NEAREST), 7, way + 3), way)
    way = ops.where((of["enabled"] != 0) & (column != 0), way, 0)
    ways = ops.unstack(ops.reshape(way, (-1,)), len(nbits))
    lows, highs, steps = (ops.unstack(end, len(nbits)) for end in (low, high, step))
    rows = zip(lows, highs, steps, nbits, ways, strict=True)
    return [ValueGrid(least, most, each, bits, rounding, way) for least, most, each, bits, way in rows]


def _contains(grid, sources):
    """Return whether all values of the grids `sources` lie on `grid`, too."""
    held = [
        (own.way != 0) & (own.step >= grid.step) & (own.low >= grid.low) & (own.high <= grid.high) for own in sources
    ]
    return ops.all(ops.stack(held))


def _forward():
    """Return the functions that round, by the `way` of a grid: (x, *grid) -> x on that grid.

    From the fifth on they are those of grids that single numbers give, for which TensorFlow has faster kernels.
    """
    plain = _unchanged, _floor, _nearest, _ties_up_or_away
    faster = _floor, _nearest_in_one_pass, _ties_up_or_away, _unsigned_nearest_in_one_pass
    return (*plain, *faster) if _passes_over_memory() else plain


@cache
def _backward(gradient, relu):
    """Return the functions that go back, by the `way` of a grid: (upstream, x, *grid) -> gradient.

    As rounding never decreases, the gradient passes where x is between two numbers: the first and the last that are
    not clipped or, with a ReLU, the first that is not rounded to 0.
    """

    def ends(low, high, step, nbits, rounding):
        half = ops.where((rounding == FLOOR) | (rounding == THESIS), 0, step / 2)
        # A tie below the low end goes to its code, which is even, and one above the high end does not; with a sign
        # alone, codes -1 and 0, it is the other way round.
        sign_only = (rounding == NEAREST) & (nbits == 1)
        if relu:
            first = _above(step - half, rounding == NEAREST)
        else:
            first = -_below(half - low, (rounding == AWAY) | sign_only)
        top = ops.where(rounding == THESIS, high, high + step)
        last = _below(top - half, ~sign_only & (rounding != THESIS)) if gradient == "clipped" else np.inf + step
        return first, last

    def backward(upstream, x, *grid):
        return _passed(upstream, x, *ends(*grid))

    def faster(upstream, x, *grid):
        return _passed_in_one_pass(upstream, x, *ends(*grid))

    way_of_floats = _passed_by_relu if relu else _unchanged
    plain = way_of_floats, backward, backward, backward
    return (*plain, *(faster,) * 4) if _passes_over_memory() else plain


def _unchanged(x, *_):
    return x


def _floor(x, low, high, step, *_):
    return ops.floor_divide(ops.maximum(ops.minimum(x, high), low), step) * step


def _nearest(x, low, high, step, *_):
    return ops.round(ops.maximum(ops.minimum(x, high), low) / step) * step  # half to even


def _nearest_in_one_pass(x, low, high, step, nbits, _):
    import tensorflow as tf

    return tf.raw_ops.QuantizeAndDequantizeV3(input=x, input_min=_one(low), input_max=_one(high), num_bits=nbits)


def _unsigned_nearest_in_one_pass(x, low, high, step, nbits, _):
    import tensorflow as tf

    operation = tf.raw_ops.QuantizeAndDequantizeV3
    return operation(input=x, input_min=_one(low), input_max=_one(high), num_bits=-nbits, signed_input=False)


def _ties_up_or_away(x, low, high, step, _, rounding):
    codes = ops.maximum(ops.minimum(x, high), low) / step
    away = ops.sign(codes) * _nearest_up(ops.abs(codes))
    return ops.where(rounding == UP, _nearest_up(codes), away) * step


def _nearest_up(v):
    """Return `v` rounded to integers, ties up. The sum v + 0.5 would round before it can be floored."""
    low = ops.floor(v)
    return ops.where(v - low >= 0.5, low + 1, low)


def _passed(upstream, x, first, last):
    """Return `upstream` where first <= x <= last, else 0."""
    return ops.where((x >= first) & (x <= last), upstream, 0)


def _passed_in_one_pass(upstream, x, first, last):
    import tensorflow as tf

    operation = tf.raw_ops.QuantizeAndDequantizeV4Grad
    return operation(gradients=upstream, input=x, input_min=_one(first), input_max=_one(last))[0]


def _passed_by_relu(upstream, x, *_):
    if not _passes_over_memory():
        return ops.where(x > 0, upstream, 0)
    import tensorflow as tf

    return tf.raw_ops.ReluGrad(gradients=upstream, features=x)


def _one(numbers):
    """Return the first of `numbers`, which are all equal."""
    return ops.reshape(numbers, (-1,))[0]


def _below(number, wanted):
    """Return the largest float below a positive `number` where `wanted`, else `number`."""
    eps = np.finfo(keras.backend.standardize_dtype(number.dtype)).epsneg
    return ops.where(wanted, number * float(1 - eps), number)


def _above(number, wanted):
    """Return the smallest float above `number`, a power of two, where `wanted`, else `number`."""
    eps = np.finfo(keras.backend.standardize_dtype(number.dtype)).eps
    return ops.where(wanted, number * float(1 + eps), number)
