"""Layers without a kernel as operations of integer networks: pooling, shapes, joins, and scales that are exact."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import groupby
from math import lcm
from typing import Any

import numpy as np

from fewbits.backend import keras
from fewbits.deploy import operations
from fewbits.deploy.activation_lowering import apply_activation, leaky_relu, multiplied, rounded_activation
from fewbits.deploy.assembly import ROUND_FIRST, WIDEST, Assembly, as_integers
from fewbits.deploy.integer import FLOAT32_INTEGERS
from fewbits.deploy.kernel_lowering import Sides, in_two, padding_of, sum_bounds
from fewbits.deploy.operations import Tensor
from fewbits.errors import InputError
from fewbits.graph import Call
from fewbits.quantization.activations import QuantizedActivation, QuantizedLeakyReLU, QuantizedPReLU
from fewbits.quantization.conversion import TRAINING_ONLY
from fewbits.quantization.preprocessing import of_few_bits

layers = keras.layers

NOTHING: Sides = ((0, 0), (0, 0))
SCALE_BITS = 8  # of a scale


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the shape (height, width, channels) of a tensor of Keras; a sequence has one row, a vector one pixel.

    Args:
        shape: Its shape without the batch, of at most three numbers.
    """
    height, width, channels = (1,) * (3 - len(shape)) + tuple(shape)
    return height, width, channels


# Pooling


def _max_pool(assembly: Assembly, call: Call, index: int) -> int:
    layer: Any = call.operation
    x, window, strides = assembly.tensors[index], in_two(layer.pool_size), in_two(layer.strides)
    return _largest_of_windows(
        assembly, call, index, window, strides, padding_of(layer.padding, x.shape, window, strides)
    )


def _global_max(assembly: Assembly, call: Call, index: int) -> int:
    return _largest_of_windows(assembly, call, index, assembly.tensors[index].shape[:2], (1, 1), NOTHING)


def _largest_of_windows(assembly, call, index, window, strides, padding):
    x = assembly.tensors[index]
    output = replace(x, shape=_pooled(x, window, strides, padding))
    return assembly.add(operations.MaxPool, call.name, (index,), output, tuple(window), strides, padding)


def _average(assembly: Assembly, call: Call, index: int) -> int:
    layer: Any = call.operation
    x, window, strides = assembly.tensors[index], in_two(layer.pool_size), in_two(layer.strides)
    padding = padding_of(layer.padding, x.shape, window, strides)
    if not any(map(any, padding)):
        return _sum_of_windows(assembly, call, index, window, strides)
    index = _sum_of_windows(
        assembly, call, _border(assembly, call.name, index, padding), window, strides, counted=False
    )
    for axis, ((before, _), side) in enumerate(zip(padding, x.shape)):
        starts = range(-before, strides[axis] * assembly.tensors[index].shape[axis] - before, strides[axis])
        counts = [min(start + window[axis], side) - max(start, 0) for start in starts]
        index = _divided_by_counts(assembly, call.name, index, axis, counts)
    return index


def _divided_by_counts(assembly, name, index, axis, counts):
    """Return the tensor `index`, whose rows or columns are divided by `counts`, one number for each.

    All are divided by one multiple of these numbers. What is divided too often is multiplied first, by sums of itself.
    """
    x, whole = assembly.tensors[index], lcm(*counts)
    factors = [whole // n for n in counts]
    terms, start = [], 0
    for factor, run in groupby(factors):
        end = start + len(list(run))
        around = (start, x.shape[axis] - end)
        cut = _border(assembly, name, index, _along(axis, tuple(-n for n in around)))
        part = _border(assembly, name, cut, _along(axis, around))
        terms += [(part, bit) for bit in range(factor.bit_length()) if factor >> bit & 1]
        start = end
    low, high = (choose(end * f for f in factors) for choose, end in ((min, x.low), (max, x.high)))
    output = replace(x, low=low, high=high, divisor=x.divisor * whole)
    parts, shifts = zip(*terms)
    return assembly.add(operations.Add, name, parts, output, shifts)


def _along(axis, around):
    return (around, (0, 0)) if axis == 0 else ((0, 0), around)


def _global_average(assembly: Assembly, call: Call, index: int) -> int:
    return _sum_of_windows(assembly, call, index, assembly.tensors[index].shape[:2], (1, 1))


def _sum_of_windows(assembly, call, index, window, strides, counted=True):
    x, n = assembly.undivided(call.name, index, "adds up"), window[0] * window[1]
    shape = _pooled(x, window, strides, NOTHING)
    output = Tensor(shape, x.exponent, x.low * n, x.high * n, x.divisor * (n if counted else 1))
    return assembly.add(operations.SumPool, call.name, (index,), output, tuple(window), strides)


def _pooled(x, window, strides, padding):
    sides = ((n + sum(p) - w) // s + 1 for n, p, w, s in zip(x.shape, padding, window, strides))
    return (*sides, x.shape[2])


# Shapes


def _skip(assembly: Assembly, call: Call, index: int) -> int:
    return index


def _pad(assembly: Assembly, call: Call, index: int) -> int:
    layer: Any = call.operation
    return _border(assembly, call.name, index, _sides(layer.padding))


def _crop(assembly: Assembly, call: Call, index: int) -> int:
    layer: Any = call.operation
    (top, bottom), (left, right) = _sides(layer.cropping)
    return _border(assembly, call.name, index, ((-top, -bottom), (-left, -right)))


def _sides(numbers):
    """Return rows above and below, columns left and right, from those of an image or of a sequence."""
    return tuple(tuple(side) for side in numbers) if isinstance(numbers[0], tuple | list) else ((0, 0), tuple(numbers))


def _border(assembly, name, index, padding):
    x = assembly.tensors[index]
    sides = [n + sum(side) for n, side in zip(x.shape, padding)]
    output = Tensor((*sides, x.shape[2]), x.exponent, min(x.low, 0), max(x.high, 0), x.divisor)
    return assembly.add(operations.Pad, name, (index,), output, padding)


def _enlarge(assembly: Assembly, call: Call, index: int) -> int:
    layer: Any = call.operation
    kind = getattr(layer, "interpolation", "nearest")
    if kind != "nearest":
        raise InputError(
            f"layer {layer.name} enlarges images by {kind} interpolation, which integer networks do not support; build "
            "it with interpolation='nearest'"
        )
    return _repeated(assembly, call.name, index, in_two(layer.size))


def _repeat_vector(assembly: Assembly, call: Call, index: int) -> int:
    layer: Any = call.operation
    return _repeated(assembly, call.name, index, (1, layer.n))


def _repeated(assembly, name, index, size):
    x = assembly.tensors[index]
    if tuple(size) == (1, 1):
        return index
    output = replace(x, shape=(x.shape[0] * size[0], x.shape[1] * size[1], x.shape[2]))
    return assembly.add(operations.Repeat, name, (index,), output, tuple(size))


def _reshape(assembly: Assembly, call: Call, index: int) -> int:
    shape = call.outputs[0].shape[1:]
    if len(shape) > 3:
        raise InputError(
            f"layer {call.name} makes the shape {shape}; integer networks take images, sequences and vectors, of at "
            "most three dimensions"
        )
    return assembly.relabel(call.name, index, shape=image_shape(shape))


def _permute(assembly: Assembly, call: Call, index: int) -> int:
    layer: Any = call.operation
    sides = call.inputs[0].shape[1:]
    moved = [d for d in layer.dims if sides[d - 1] > 1]
    if moved == sorted(moved):
        return _reshape(assembly, call, index)
    if tuple(layer.dims) != (2, 1, 3):
        raise InputError(
            f"layer {layer.name} moves the channels, which integer networks keep last; build the network with the "
            "channels last"
        )
    x = assembly.tensors[index]
    output = replace(x, shape=(x.shape[1], x.shape[0], x.shape[2]))
    return assembly.add(operations.Transpose, layer.name, (index,), output)


# Joins


def _concatenate(assembly: Assembly, call: Call, *indices: int) -> int:
    layer: Any = call.operation
    rank = len(call.outputs[0].shape)
    axis = layer.axis % rank + 3 - rank  # of a tensor (height, width, channels)
    exponent, shifts, lows, highs = _finest(assembly, layer.name, indices)
    first = assembly.tensors[indices[0]]
    shape = image_shape(call.outputs[0].shape[1:])
    output = Tensor(shape, exponent, min(lows), max(highs), first.divisor)
    if axis == 2:
        return assembly.add(operations.Concatenate, layer.name, indices, output, shifts)
    padded, start = [], 0
    for i in indices:  # along rows or columns: each padded with zeros to the size of all, and added
        x = assembly.tensors[i]
        around = start, shape[axis] - start - x.shape[axis]
        padded.append(_border(assembly, layer.name, i, _along(axis, around)))
        start += x.shape[axis]
    output = replace(output, low=min(output.low, 0), high=max(output.high, 0))
    return assembly.add(operations.Add, layer.name, padded, output, shifts)


def _sum_of(assembly: Assembly, call: Call, *indices: int) -> int:
    return _added(assembly, call, indices, 1)


def _average_of(assembly: Assembly, call: Call, *indices: int) -> int:
    n = len(indices)
    if not _divides(n):
        raise InputError(
            f"layer {call.name} averages {n} tensors by a product with 1/{n}, which float32 rounds so that quotients "
            f"differ; use Add and a Rescaling by a power of two"
        )
    return _added(assembly, call, indices, n)


def _added(assembly, call, indices, divisor):
    indices = _alike(assembly, call, indices)
    exponent, shifts, lows, highs = _finest(assembly, call.name, indices)
    first, *_ = (assembly.undivided(call.name, i, "adds up") for i in indices)
    output = Tensor(first.shape, exponent, sum(lows), sum(highs), first.divisor * divisor)
    return assembly.add(operations.Add, call.name, indices, output, shifts)


def _difference(assembly: Assembly, call: Call, *indices: int) -> int:
    indices = _alike(assembly, call, indices)
    exponent, shifts, lows, highs = _finest(assembly, call.name, indices)
    first, _ = (assembly.undivided(call.name, i, "subtracts") for i in indices)
    output = Tensor(first.shape, exponent, lows[0] - highs[1], highs[0] - lows[1], first.divisor)
    return assembly.add(operations.Subtract, call.name, indices, output, shifts)


def _largest(assembly: Assembly, call: Call, *indices: int) -> int:
    return _extreme(assembly, call, indices, operations.Largest, max)


def _smallest(assembly: Assembly, call: Call, *indices: int) -> int:
    return _extreme(assembly, call, indices, operations.Smallest, min)


def _extreme(assembly, call, indices, kind, choose):
    indices = _alike(assembly, call, indices)
    exponent, shifts, lows, highs = _finest(assembly, call.name, indices)
    first = assembly.tensors[indices[0]]
    output = Tensor(first.shape, exponent, choose(lows), choose(highs), first.divisor)
    return assembly.add(kind, call.name, indices, output, shifts)


def _product(assembly: Assembly, call: Call, *indices: int) -> int:
    shape = image_shape(call.outputs[0].shape[1:])
    product, *factors = sorted(indices, key=lambda i: assembly.tensors[i].shape != shape)  # one of full size first
    product = _expanded(assembly, call, product, shape)
    assembly.undivided(call.name, product, "multiplies")
    for factor in factors:
        assembly.undivided(call.name, factor, "multiplies")
        product = multiplied(assembly, call.name, product, factor)
    return product


def _alike(assembly, call, indices):
    """Return the tensors `indices`, those of one row or column repeated to the size of the others."""
    shape = image_shape(call.outputs[0].shape[1:])
    return tuple(_expanded(assembly, call, i, shape) for i in indices)


def _expanded(assembly, call, index, shape):
    x = assembly.tensors[index]
    if x.shape[2] != shape[2]:
        raise InputError(
            f"layer {call.name} joins tensors of {x.shape[2]} and {shape[2]} channels, which integer networks do not "
            "support; give both equally many"
        )
    return _repeated(assembly, call.name, index, [whole // side for whole, side in zip(shape[:2], x.shape)])


def _finest(assembly, name, indices):
    """Return the finest exponent of the tensors `indices`, their shifts to reach it, and their limits."""
    tensors = [assembly.tensors[i] for i in indices]
    if len({x.divisor for x in tensors}) > 1:
        raise InputError(f"layer {name} joins averages with other values; {ROUND_FIRST}")
    exponent = min(x.exponent for x in tensors)
    shifts = tuple(x.exponent - exponent for x in tensors)
    if max(x.bits + shift for x, shift in zip(tensors, shifts)) > WIDEST:
        raise OverflowError
    lows, highs = ([getattr(x, end) << s for x, s in zip(tensors, shifts)] for end in ("low", "high"))
    return exponent, shifts, lows, highs


# Scales and offsets


def _rescale(assembly: Assembly, call: Call, index: int) -> int:
    layer: Any = call.operation
    scale, offset = (np.asarray(number, np.float32).astype(np.float64) for number in (layer.scale, layer.offset))
    channels = assembly.tensors[index].shape[2]
    scale, offset = (np.broadcast_to(np.squeeze(number), channels) for number in (scale, offset))
    index = _scaled(assembly, layer.name, index, scale)
    if not offset.any():
        return index
    assembly.undivided(layer.name, index, "shifts")
    index = assembly.plus(layer.name, index, offset)
    if assembly.tensors[index].magnitude > FLOAT32_INTEGERS and np.any(offset != np.squeeze(layer.offset)):
        raise InputError(
            f"layer {layer.name} adds {_named(offset)}, which float32 rounds beside its inputs; use a multiple of a "
            f"larger power of two, such as {of_few_bits(offset[0], SCALE_BITS)}{FOLD}"
        )
    return index


def _scaled(assembly, name, index, scale):
    """Return the tensor `index` times `scale`, one float per channel: another exponent or divisor, or products."""
    x = assembly.tensors[index]
    mantissas, exponents = np.frexp(scale)
    if np.all(mantissas == 0.5) and len(set(exponents)) == 1:
        return assembly.relabel(name, index, exponent=x.exponent + int(exponents[0]) - 1)
    n = round(1 / scale[0]) if scale[0] else 0
    if _divides(n) and np.all(scale == np.float32(1) / np.float32(n)):
        return assembly.relabel(name, index, divisor=assembly.undivided(name, index, "divides").divisor * n)
    codes, shift = as_integers(scale)
    if np.abs(codes).max() >= 2**SCALE_BITS:
        raise InputError(
            f"layer {name} scales by {_named(scale)}, which has more than {SCALE_BITS} bits; use a number of fewer, "
            f"such as {of_few_bits(scale[0], SCALE_BITS)}{FOLD}"
        )
    assembly.undivided(name, index, "scales")
    bias, columns = np.zeros_like(codes), codes[np.newaxis]
    low, high, partial, magnitude = sum_bounds(columns, bias, x.low, x.high)
    output = Tensor(x.shape, x.exponent - shift, low, high, x.divisor)
    fields = (codes.reshape(1, 1, -1, 1), bias, (1, 1), NOTHING, (1, 1), True, partial, magnitude)
    return assembly.add(operations.Convolve, name, (index,), output, *fields)


def _divides(n):
    """Return whether products with 1/n in float32 are quotients wherever a quotient is a float32 or halfway to one."""
    return n > 0 and abs(Fraction(float(np.float32(1) / np.float32(n))) * n - 1) <= Fraction(1, 2**25)


def _named(numbers):
    """Return the number that stands in all channels, or what to call them."""
    return f"{numbers[0]:g}" if len(set(numbers)) == 1 else "numbers"


FOLD = ", or quantize_model(..., fold_preprocessing=True) if a layer with a kernel reads it"

# What each kind of layer adds to an integer network: (assembly, call, indices of its inputs) -> index of its output.
HANDLERS: dict[type, Callable[..., int]] = {
    layers.Activation: lambda assembly, call, index: apply_activation(
        assembly, call.name, index, call.operation.activation
    ),
    QuantizedActivation: rounded_activation,
    layers.ReLU: lambda assembly, call, index: apply_activation(assembly, call.name, index, call.operation),
    layers.LeakyReLU: leaky_relu,
    layers.PReLU: leaky_relu,
    QuantizedLeakyReLU: leaky_relu,
    QuantizedPReLU: leaky_relu,
    layers.MaxPooling1D: _max_pool,
    layers.MaxPooling2D: _max_pool,
    layers.AveragePooling1D: _average,
    layers.AveragePooling2D: _average,
    layers.GlobalAveragePooling1D: _global_average,
    layers.GlobalAveragePooling2D: _global_average,
    layers.GlobalMaxPooling1D: _global_max,
    layers.GlobalMaxPooling2D: _global_max,
    layers.ZeroPadding1D: _pad,
    layers.ZeroPadding2D: _pad,
    layers.Cropping1D: _crop,
    layers.Cropping2D: _crop,
    layers.UpSampling1D: _enlarge,
    layers.UpSampling2D: _enlarge,
    layers.RepeatVector: _repeat_vector,
    layers.Flatten: _reshape,
    layers.Reshape: _reshape,
    layers.Permute: _permute,
    **dict.fromkeys(TRAINING_ONLY, _skip),
    layers.Identity: _skip,
    layers.Rescaling: _rescale,
    layers.Concatenate: _concatenate,
    layers.Add: _sum_of,
    layers.Subtract: _difference,
    layers.Multiply: _product,
    layers.Average: _average_of,
    layers.Maximum: _largest,
    layers.Minimum: _smallest,
}
