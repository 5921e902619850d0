"""Activations as operations of integer networks: clipping, slopes, divisions by six, and tables of 256 codes."""

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.deploy import operations
from fewbits.deploy.assembly import WIDEST, Assembly, as_integers, exponent_of, exponents_of
from fewbits.deploy.operations import Tensor
from fewbits.errors import InputError
from fewbits.quantization.layers import active_formats
from fewbits.quantization.preprocessing import of_few_bits

layers, activations = keras.layers, keras.activations

ENTRIES = 256  # of a table
SLOPE_BITS = 8  # of a slope without a format


def apply_activation(assembly: Assembly, layer: str, index: int, activation: Any) -> int:
    """Add an activation that is exact on integers.

    Args:
        assembly: The network so far.
        layer: Name of the layer.
        index: The tensor that it reads, with one exponent.
        activation: A function of Keras, a ReLU layer in its place, or None.

    Returns:
        The index of the result.

    Raises:
        InputError: when the activation is another one.
    """
    if isinstance(activation, layers.ReLU):
        return _relu(assembly, layer, index, activation)
    if activation not in EXACT:
        name = activation_name(activation)
        raise InputError(
            f"layer {layer} has the activation {name}, which it applies in float; build it without and put "
            f"QuantizedActivation({name!r}) with formats after it"
        )
    return EXACT[activation](assembly, layer, index)


def activation_name(activation: Any) -> str:
    """Return the name of an activation, a function or an object."""
    return getattr(activation, "__name__", type(activation).__name__)


def rounded_activation(assembly: Assembly, call: Any, index: int) -> int:
    """Add a QuantizedActivation: exact on integers, or as a table if its input has at most 256 codes.

    Args:
        assembly: The network so far.
        call: The call of the layer.
        index: The tensor that it reads.

    Returns:
        The index of the result.

    Raises:
        InputError: when the activation needs a table and the formats allow none.
    """
    layer, formats = call.operation, active_formats(call.operation)
    index = assembly.requantize(layer.name, index, formats.input, layer.rounding)
    if layer.activation in DIVIDED:
        index = DIVIDED[layer.activation](assembly, layer.name, index)
    elif layer.activation in EXACT or isinstance(layer.activation, layers.ReLU):
        index = apply_activation(assembly, layer.name, index, layer.activation)
    else:
        return _table(assembly, layer, index, formats.output)
    return assembly.requantize(layer.name, index, formats.output, layer.rounding)


def leaky_relu(assembly: Assembly, call: Any, index: int) -> int:
    """Add a leaky ReLU, whose slope has a format or few bits.

    Args:
        assembly: The network so far.
        call: The call of the layer.
        index: The tensor that it reads.

    Returns:
        The index of the result.
    """
    layer, formats = call.operation, active_formats(call.operation)
    rounding = getattr(layer, "rounding", "nearest")
    index = assembly.requantize(layer.name, index, formats.input, rounding)
    if hasattr(layer, "rounded_slope"):
        slope = layer.rounded_slope()
    else:
        slope = ops.convert_to_numpy(layer.alpha) if isinstance(layer, layers.PReLU) else layer.negative_slope
    index = _sloped(assembly, layer.name, index, slope, formats.kernel is not None)
    return assembly.requantize(layer.name, index, formats.output, rounding)


def _relu(assembly, name, index, layer):
    if layer.threshold:
        raise InputError(
            f"layer {name} is a ReLU with a threshold, which integer networks do not support; use one without"
        )
    highest = None if layer.max_value in (None, inf) else float(layer.max_value)
    if layer.negative_slope:
        index = _sloped(assembly, name, index, float(layer.negative_slope), False)
    return assembly.clip(name, index, highest, from_zero=not layer.negative_slope)


def _sloped(assembly, name, index, slope, has_format):
    """Add a multiplication of negative codes by a slope, floats that broadcast against the tensor."""
    x = assembly.tensors[index]
    slope = np.asarray(slope, np.float32)
    codes, shift = as_integers(slope.reshape((1,) * (3 - slope.ndim) + slope.shape))
    if not has_format and np.abs(codes).max() >= 2**SLOPE_BITS:
        raise InputError(
            f"layer {name} has a slope without a format; use a QuantizedLeakyReLU or QuantizedPReLU with a kernel "
            f"format, or a slope of few bits, such as {of_few_bits(slope.flat[0], SLOPE_BITS)}"
        )
    if max(x.bits + shift, x.bits + int(np.abs(codes).max()).bit_length()) > WIDEST:
        raise OverflowError
    below = [end * int(code) for end in (x.low, min(x.high, -1)) for code in (codes.min(), codes.max()) if x.low < 0]
    above = [max(x.low, 0) << shift, x.high << shift] if x.high >= 0 else []
    output = Tensor(x.shape, x.exponent - shift, min(below + above), max(below + above), x.divisor)
    return assembly.add(operations.Leaky, name, (index,), output, codes, shift)


def _hard_sigmoid(assembly, name, index):
    return _sixth(assembly, name, _shifted_and_clipped(assembly, name, index))


def _hard_swish(assembly, name, index):
    gate = _shifted_and_clipped(assembly, name, index)
    return _sixth(assembly, name, multiplied(assembly, name, index, gate))


def _shifted_and_clipped(assembly, name, index):
    assembly.undivided(name, index, "applies a function to")
    return assembly.clip(name, assembly.plus(name, index, 3.0), 6.0)


def _sixth(assembly, name, index):
    return assembly.relabel(name, index, divisor=6 * assembly.tensors[index].divisor)


def multiplied(assembly: Assembly, layer: str, index: int, factor: int) -> int:
    """Add the product of two tensors.

    Args:
        assembly: The network so far.
        layer: Name of the layer.
        index: A tensor, with one exponent.
        factor: A tensor that broadcasts against it, with one exponent.

    Returns:
        The index of the product.
    """
    a, b = (assembly.tensors[i] for i in (index, factor))
    exponent = exponents_of(a)[0] + exponents_of(b)[0]
    corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    output = Tensor(a.shape, exponent, min(corners), max(corners), a.divisor * b.divisor)
    return assembly.add(operations.Multiply, layer, (index, factor), output)


def _table(assembly, layer, index, fmt):
    """Add the results of a layer for all codes of its input, as the layer itself computes and rounds them."""
    x, name = assembly.tensors[index], activation_name(layer.activation)
    count = x.high - x.low + 1
    if fmt is None or count > ENTRIES or x.divisor != 1:
        raise InputError(
            f"layer {layer.name} needs a table for {name}, of at most {ENTRIES} codes; enable it and give it an input "
            "format of at most 8 bits and an output format"
        )
    values = (np.arange(x.low, x.high + 1) * 2.0**x.exponent).astype(np.float32)
    alone, together = (ops.convert_to_numpy(layer(values.reshape(shape))) for shape in ((-1, 1, 1, 1), (1, 1, 1, -1)))
    codes = np.rint(alone.ravel() / fmt.step).astype(np.int64)
    if together.size != codes.size or np.abs(together.ravel() / fmt.step - codes).max() > 1:
        raise InputError(
            f"layer {layer.name} computes {name} of several values together, for which there is no table; use an "
            "activation that maps each value by itself"
        )
    output = Tensor(x.shape, exponent_of(fmt), int(codes.min()), int(codes.max()))
    return assembly.add(operations.LookUp, layer.name, (index,), output, x.low, codes)


Exact = Callable[[Assembly, str, int], int]

# Activations that integers compute exactly.
EXACT: dict[Any, Exact] = {
    None: lambda assembly, layer, index: index,
    activations.linear: lambda assembly, layer, index: index,
    activations.relu: lambda assembly, layer, index: assembly.clip(layer, index),
    activations.relu6: lambda assembly, layer, index: assembly.clip(layer, index, 6.0),
}
# Those that a QuantizedActivation computes with a division by six at the end.
DIVIDED: dict[Any, Exact] = {activations.hard_sigmoid: _hard_sigmoid, activations.hard_silu: _hard_swish}
