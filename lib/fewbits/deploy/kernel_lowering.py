"""Layers with a kernel as operations of integer networks, with proven bounds of all their sums."""

from typing import Any

import numpy as np

from fewbits.backend import ops
from fewbits.deploy import operations
from fewbits.deploy.activation_lowering import apply_activation
from fewbits.deploy.assembly import WIDEST, Assembly, exponent_of, exponents_of, shifted
from fewbits.deploy.operations import Tensor
from fewbits.errors import InputError
from fewbits.graph import Call
from fewbits.quantization.fixedpoint import FixedPoint, to_codes
from fewbits.quantization.layers import DEPTHWISE, TRANSPOSED, by_filter, kernel_formats

Sides = tuple[tuple[int, int], tuple[int, int]]  # rows above and below, columns left and right


def multiply_kernel(assembly: Assembly, call: Call, index: int, activation: Any) -> int:
    """Add what a quantized layer with a kernel computes.

    Args:
        assembly: The network so far.
        call: The call of the layer.
        index: The tensor that it reads.
        activation: The activation to apply.

    Returns:
        The index of the result.

    Raises:
        InputError: when the layer is not enabled, has no kernel or input format, or has a bias off its products' grid.
    """
    layer: Any = call.operation
    formats, rounding = layer.formats, layer.rounding
    if not layer.enabled or formats.kernel is None or formats.input is None:
        raise InputError(f"layer {layer.name} multiplies floats; give its kernel and input formats, and enable it")
    index = assembly.requantize(layer.name, index, formats.input, rounding)
    index = _convolve(assembly, call, index)
    index = assembly.requantize(layer.name, index, formats.output, rounding)
    index = assembly.aligned(layer.name, index)
    if layer.bias is not None and layer.bias_order == "output":
        index = _add_bias(assembly, layer, index, formats.bias, rounding)
    return apply_activation(assembly, layer.name, index, activation)


def padding_of(kind: str, shape: tuple[int, ...], window: tuple[int, int], strides: tuple[int, int]) -> Sides:
    """Return the padding of Keras' `valid`, `same` or `causal`.

    Args:
        kind: Its name.
        shape: (height, width, ...) of the input.
        window: Rows and columns of the window, with the holes of a dilation.
        strides: Rows and columns from one window to the next.
    """
    if kind == "causal":
        return (0, 0), (window[1] - 1, 0)
    if kind == "valid":
        return (0, 0), (0, 0)
    missing = [max((-(-side // s) - 1) * s + w - side, 0) for side, w, s in zip(shape, window, strides)]
    (rows, columns) = ((n // 2, n - n // 2) for n in missing)
    return rows, columns


def in_two(numbers: Any) -> tuple[int, int]:
    """Return numbers for rows and columns, from those or from the one of a sequence, which is a single row."""
    given = tuple(numbers) if isinstance(numbers, tuple | list) else (numbers,)
    rows, columns = (1,) * (2 - len(given)) + given
    return int(rows), int(columns)


def sum_bounds(columns: np.ndarray, bias: np.ndarray, low: int, high: int) -> tuple[int, int, int, int]:
    """Return the bounds of all sums of products.

    Args:
        columns: Kernel codes (int64), one column per filter.
        bias: Codes (int64), one per filter.
        low: The smallest input code.
        high: The largest input code.

    Returns:
        The least sum, the greatest sum, the bits of all partial sums, and the greatest sum of absolute values.
    """
    positive, negative = (np.clip(columns, *limits).sum(0) for limits in ((0, None), (None, 0)))
    highest, lowest = positive * high + negative * low + bias, positive * low + negative * high + bias
    partial = operations.signed_bits(
        int((np.minimum(positive * low, 0) + np.minimum(negative * high, 0) + np.minimum(bias, 0)).min()),
        int((np.maximum(positive * high, 0) + np.maximum(negative * low, 0) + np.maximum(bias, 0)).max()),
    )
    magnitude = int(((positive - negative) * max(-low, high, 0) + abs(bias)).max())
    return int(lowest.min()), int(highest.max()), partial, magnitude


def _convolve(assembly, call, index):
    layer, x = call.operation, assembly.tensors[index]
    columns = _kernel_codes(layer)
    kernel = _image_kernel(layer, columns)
    exponents = tuple(exponent_of(fmt) + x.exponent for fmt in kernel_formats(layer))
    bias = np.zeros(layer._filters, np.int64)
    if layer.bias is not None and layer.bias_order == "accumulator":
        bias = _bias_codes(layer, layer.formats.bias, layer.rounding, exponents)
    strides, dilation = (in_two(getattr(layer, name, (1, 1))) for name in ("strides", "dilation_rate"))
    window = tuple((size - 1) * rate + 1 for size, rate in zip(kernel.shape[:2], dilation))
    if isinstance(layer, TRANSPOSED):
        index, padding = _spread(assembly, call, index, window, strides)
        x, strides = assembly.tensors[index], (1, 1)
    else:
        padding = padding_of(getattr(layer, "padding", "valid"), x.shape, window, strides)
    low, high = (min(x.low, 0), max(x.high, 0)) if any(map(any, padding)) else (x.low, x.high)
    lowest, highest, partial, magnitude = sum_bounds(columns, bias, low, high)
    sides = (
        (side + sum(both) - size) // stride + 1 for side, both, size, stride in zip(x.shape, padding, window, strides)
    )
    exponent = exponents[0] if len(set(exponents)) == 1 else exponents
    output = Tensor((*sides, layer._filters), exponent, lowest, highest, x.divisor)
    depthwise, groups = isinstance(layer, DEPTHWISE), getattr(layer, "groups", 1)
    fields = (kernel, bias, strides, padding, dilation, depthwise, partial, magnitude, groups)
    return assembly.add(operations.Convolve, layer.name, (index,), output, *fields)


def _kernel_codes(layer):
    """Return the codes (int64) of the kernel, one column per filter."""
    columns, formats = by_filter(layer, layer.kernel), kernel_formats(layer)
    codes = np.empty(columns.shape, np.int64)
    for fmt in set(formats):
        alike = [own == fmt for own in formats]
        codes[:, alike] = to_codes(columns[:, alike], fmt, layer.rounding)
    return codes


def _image_kernel(layer, columns):
    """Return the codes of the kernel as a convolution of images multiplies by them."""
    shape = tuple(layer.kernel.shape)
    if isinstance(layer, TRANSPOSED):
        return columns.reshape((*shape[:-2], shape[-1], shape[-2]))[::-1, ::-1]
    return columns.reshape((1,) * (4 - len(shape)) + shape)


def _spread(assembly, call, index, window, strides):
    """Return the input of a transposed convolution with zeros between its pixels, and the padding around it."""
    layer, x = call.operation, assembly.tensors[index]
    sides = call.outputs[0].shape[1:3]
    height, width = ((n - 1) * s + 1 for n, s in zip(x.shape, strides))
    same = layer.padding == "same"
    cut = (max((n - 1) * s + w - side, 0) // 2 if same else 0 for n, s, w, side in zip(x.shape, strides, window, sides))
    before = [w - 1 - n for w, n in zip(window, cut)]
    after = [side + w - 1 - first - n for side, w, first, n in zip(sides, window, before, (height, width))]
    if strides != (1, 1):
        output = Tensor((height, width, x.shape[2]), x.exponent, min(x.low, 0), max(x.high, 0), x.divisor)
        index = assembly.add(operations.Spread, layer.name, (index,), output, strides)
    return index, tuple(zip(before, after))


def _add_bias(assembly: Assembly, layer: Any, index: int, fmt: FixedPoint | None, rounding: str) -> int:
    if fmt is None:
        raise InputError(f"the bias of layer {layer.name} is added after its output in float; give it a format")
    x = assembly.tensors[index]
    [exponent] = exponents_of(x)
    shift = max(exponent - exponent_of(fmt), 0)
    codes = to_codes(ops.convert_to_numpy(layer.bias), fmt, rounding)
    bias = shifted(codes, max(exponent_of(fmt) - exponent, 0))
    low, high = (x.low << shift) + int(bias.min()), (x.high << shift) + int(bias.max())
    output = Tensor(x.shape, exponent - shift, low, high)
    return assembly.add(operations.AddConstant, layer.name, (index,), output, shift, bias)


def _bias_codes(layer, fmt, rounding, exponents):
    """Return the bias (int64) on the grid of its products, with one exponent per filter."""
    bias = ops.convert_to_numpy(layer.bias).astype(np.float64)
    if fmt is None:  # rounded to nearest, as the layer does
        codes = np.rint(bias / np.exp2(exponents))
        if np.abs(codes).max() >= 2.0 ** (WIDEST - 1):
            raise OverflowError
        return codes.astype(np.int64)
    shifts = exponent_of(fmt) - np.array(exponents)
    if shifts.min() < 0:
        raise InputError(
            f"the bias of layer {layer.name} has a finer step than its products; give it {-shifts.min()} fewer bits"
        )
    return shifted(to_codes(bias, fmt, rounding), shifts)
