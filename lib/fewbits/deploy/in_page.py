"""A quantized network for the engine of a page, which computes its integers in JavaScript and changes its formats live.

The page holds the graph of layer calls, the kernels as codes of 16 bits, and the biases as float32. From these codes it
derives a kernel of any format as Python does. The engine is `fewbits/explore/page/engine.js`; its codes are those of
`IntegerNetwork`.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.deploy.frozen import multiplies
from fewbits.deploy.kernel_lowering import in_two, padding_of
from fewbits.deploy.layer_lowering import image_shape
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError
from fewbits.graph import Call, Graph
from fewbits.quantization.activations import QuantizedActivation
from fewbits.quantization.conversion import TRAINING_ONLY, QuantizedModel
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.layers import DEPTHWISE, TRANSPOSED

layers, activations = keras.layers, keras.activations

KERNEL_BITS = 16  # of the codes of a kernel in the page


def round_for_page(model: keras.Model) -> None:
    """Round the kernels of a network to the codes that a page holds: 16 bits, and one power of two per layer as step.

    Args:
        model: A network, quantized or not; its kernels change in place. Batch normalization must be folded first.
    """
    for layer in filter(multiplies, model.layers):
        codes, exponent = _kernel_codes(layer)
        layer.kernel.assign(np.ldexp(codes.astype(np.float32), exponent))


def page_program(
    model: QuantizedModel, levels: int = 256, mean: int | Sequence[int] = 0, divisor: int | None = None
) -> dict[str, Any]:
    """Write a quantized network for the engine of a page.

    Args:
        model: The quantized network, with one input and one output, and with kernels as `round_for_page` leaves them.
            The page starts with its formats and roundings.
        levels: As in `lower`.
        mean: As in `lower`.
        divisor: As in `lower`.

    Returns:
        What `json.dumps` takes, and `new FewBits.Network(...)` in the page: the name, the input, the calls in
        topological order, each with the indices of the tensors it reads (0 is the image, n the output of call n), and
        the index of the output.

    Raises:
        InputError: naming the layer, as `lower`, and when the engine does not support it or its kernel has more than
            16 bits.

    Example:
        A page gets its network as a script of data:

            round_for_page(network)
            quantized = quantize_model(network, formats, rounding="nearest")
            program = page_program(quantized, levels=256)
    """
    network = lower(model, levels, mean, divisor)
    if len(model.inputs) > 1 or len(model.outputs) > 1:
        raise InputError(f"{model.name} has several inputs or outputs; give the page a network with one of each")
    graph = Graph(model)
    made = {id(model.inputs[0]): 0}
    calls: list[dict[str, Any]] = []
    for call in graph.calls:
        if call.is_input:
            continue
        sources = [made[id(x)] for x in call.inputs]
        if call.name in network.outputs:
            calls.append(_written(call, sources))
            made[id(call.outputs[0])] = len(calls)
        else:  # an activation in float at the head
            [made[id(call.outputs[0])]] = sources
    image = network.image
    return {
        "name": model.name,
        "input": {"shape": image.shape, "levels": levels, "mean": network.mean, "exponent": image.exponent},
        "calls": calls,
        "output": made[id(model.outputs[0])],
    }


def _written(call: Call, inputs: list[int]) -> dict[str, Any]:
    """Return a call for the page."""
    kind, fields = _handler(call)(call)
    shape = image_shape(call.outputs[0].shape[1:])
    return {"name": call.name, "kind": kind, "inputs": inputs, "shape": shape, **fields}


Written = tuple[str, dict[str, Any]]  # the kind of a call, and the fields of that kind


def _handler(call: Call) -> Callable[[Call], Written]:
    layer: Any = call.operation
    if multiplies(layer) and not isinstance(layer, TRANSPOSED):
        return _convolution
    if type(layer) not in HANDLERS:
        raise _refused(call, f"is a {type(layer).__name__}")
    return HANDLERS[type(layer)]


def _refused(call: Call, what: str) -> InputError:
    return InputError(f"layer {call.name} {what}, which the engine of a page does not support; leave it out")


# Layers with a kernel


def _convolution(call: Call) -> Written:
    layer: Any = call.operation
    codes, exponent = _kernel_codes(layer)
    if not np.array_equal(np.ldexp(codes.astype(np.float32), exponent), ops.convert_to_numpy(layer.kernel)):
        raise InputError(
            f"the kernel of layer {layer.name} has more than {KERNEL_BITS} bits; "
            "prepare it with deploy.round_for_page(model)"
        )
    if layer.bias is not None and (layer.bias_order == "output" or layer.formats.bias is not None):
        raise _refused(call, "has a bias with a format or an order of its own")
    strides, dilation = (in_two(getattr(layer, name, (1, 1))) for name in ("strides", "dilation_rate"))
    shape = (*codes.shape[:-2], 1, prod(codes.shape[-2:])) if isinstance(layer, DEPTHWISE) else codes.shape
    window = (1,) * (4 - len(shape)) + shape  # rows, columns, channels of a group, filters
    reach = tuple((size - 1) * rate + 1 for size, rate in zip(window, dilation))
    fields: dict[str, Any] = {
        "window": window,
        "strides": strides,
        "padding": padding_of(getattr(layer, "padding", "valid"), _shape_read(call), reach, strides),
        "dilation": dilation,
        "kernel": {"codes": _base64(codes.astype("<i2")), "exponent": exponent},
        "bias": None if layer.bias is None else _base64(ops.convert_to_numpy(layer.bias).astype("<f4")),
        "activation": _activation(layer.activation),
    }
    return "convolve", fields | _settings(layer)


def _kernel_codes(layer):
    """Return the codes of a kernel, in its shape, and the exponent of their step, the finest for which they fit."""
    kernel = ops.convert_to_numpy(layer.kernel).astype(np.float64)
    largest = np.abs(kernel).max()
    exponent = int(np.frexp(largest)[1]) + 1 - KERNEL_BITS if largest else 0
    codes = np.rint(np.ldexp(kernel, -exponent))
    if np.abs(codes).max() >= 2 ** (KERNEL_BITS - 1):  # the largest weight was rounded up to a power of two
        exponent += 1
        codes = np.rint(np.ldexp(kernel, -exponent))
    return codes.astype(np.int64), exponent


def _base64(array):
    return b64encode(array.tobytes()).decode()


def _settings(layer):
    """Return the formats and the rounding of a layer."""
    kernel, x, y, _ = layer.formats
    if kernel is not None:
        alike = isinstance(kernel, FixedPoint)
        kernel = {
            "msb": kernel.msb if alike else [fmt.msb for fmt in kernel],
            "nbits": kernel.nbits if alike else kernel[0].nbits,
        }
    return {"formats": {"kernel": kernel, "input": _format(x), "output": _format(y)}, "rounding": layer.rounding}


def _format(fmt):
    return None if fmt is None else {"msb": fmt.msb, "nbits": fmt.nbits, "signed": fmt.signed}


def _activation(activation):
    """Return what a ReLU clips at; None for what is no ReLU (`lower` has left it out at the head)."""
    if activation is activations.relu6:
        return {"highest": 6}
    return {"highest": None} if activation is activations.relu else None


# Other layers


def _rounding(call: Call) -> Written:
    layer: Any = call.operation
    if not layer.enabled or layer.activation not in (activations.linear, activations.relu, activations.relu6):
        raise _refused(call, f"rounds the function {getattr(layer.activation, '__name__', 'of an object')}")
    return "round", {"activation": _activation(layer.activation), **_settings(layer)}


def _clipping(call: Call) -> Written:
    activation = _activation(call.operation.activation)
    return ("clip", {"activation": activation}) if activation else ("reshape", {})


def _relu(call: Call) -> Written:
    layer: Any = call.operation
    if layer.negative_slope:
        raise _refused(call, "is a ReLU with a slope")
    highest = None if layer.max_value in (None, inf) else float(layer.max_value)
    return "clip", {"activation": {"highest": highest}}


def _pooling(kind: str) -> Callable[[Call], Written]:
    def written(call: Call) -> Written:
        layer: Any = call.operation
        shape = _shape_read(call)
        window = in_two(getattr(layer, "pool_size", shape[:2]))  # all pixels, where pooling is global
        strides = in_two(getattr(layer, "strides", (1, 1)))
        padding = padding_of(getattr(layer, "padding", "valid"), shape, window, strides)
        if kind == "average" and any(map(any, padding)):
            raise _refused(call, "averages windows that reach over the border")
        return kind, {"window": window, "strides": strides, "padding": padding}

    return written


def _padding(call: Call) -> Written:
    layer: Any = call.operation
    sides, sign = (layer.padding, 1) if hasattr(layer, "padding") else (layer.cropping, -1)
    sides = sides if isinstance(sides[0], tuple | list) else ((0, 0), sides)  # a sequence has a single row
    return "pad", {"padding": [[sign * n for n in side] for side in sides]}


def _concatenation(call: Call) -> Written:
    rank = len(call.outputs[0].shape)
    if call.operation.axis % rank != rank - 1:
        raise _refused(call, "joins tensors along another axis than the channels")
    return "concatenate", {}


def _sum(call: Call) -> Written:
    if len({tuple(x.shape) for x in call.inputs}) > 1:
        raise _refused(call, "adds tensors of several shapes")
    return "add", {}


def _same(call: Call) -> Written:
    return "reshape", {}


def _shape_read(call: Call) -> tuple[int, int, int]:
    return image_shape(call.inputs[0].shape[1:])


# Kind of layer -> what the page is told of a call.
HANDLERS: dict[type, Callable[[Call], Written]] = {
    QuantizedActivation: _rounding,
    layers.Activation: _clipping,
    layers.ReLU: _relu,
    layers.MaxPooling1D: _pooling("max"),
    layers.MaxPooling2D: _pooling("max"),
    layers.GlobalMaxPooling1D: _pooling("max"),
    layers.GlobalMaxPooling2D: _pooling("max"),
    layers.AveragePooling1D: _pooling("average"),
    layers.AveragePooling2D: _pooling("average"),
    layers.GlobalAveragePooling1D: _pooling("average"),
    layers.GlobalAveragePooling2D: _pooling("average"),
    layers.ZeroPadding1D: _padding,
    layers.ZeroPadding2D: _padding,
    layers.Cropping1D: _padding,
    layers.Cropping2D: _padding,
    layers.Concatenate: _concatenation,
    layers.Add: _sum,
    layers.Flatten: _same,
    layers.Reshape: _same,
    layers.Identity: _same,
    **dict.fromkeys(TRAINING_ONLY, _same),
}
