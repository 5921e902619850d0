"""Folding of batch normalization: into the layer before it, into the one after it, or into a layer of its own.

In inference a batch normalization multiplies each channel by a scale and adds a shift: y = scale * x + shift.
"""

from typing import Any, NamedTuple

from fewbits.backend import keras, ops
from fewbits.graph import Call, Graph
from fewbits.quantization.layers import DEPTHWISE, per_filter, quantized_type

layers = keras.layers


class Folding(NamedTuple):
    """What becomes of one batch normalization.

    Attributes:
        call: The call of the batch normalization.
        way: `before` if the layer that makes its input takes scale and shift, `after` if the layer that reads its
            output does, `own` if it becomes a depthwise convolution with one weight per channel, `kept` if it stays in
            float.
        layer: The name of the layer that takes scale and shift, that of the batch normalization with `own` and `kept`.
        reason: Why it cannot be folded into the layer before it, as a clause; empty if it can.
    """

    call: Call
    way: str
    layer: str
    reason: str


def foldings(model: keras.Model) -> list[Folding]:
    """Return what folding makes of each batch normalization of `model`, in the order of the graph.

    Args:
        model: A network as `canonical` returns it.

    Returns:
        One Folding per call of a batch normalization.
    """
    graph = Graph(model)
    calls = [call for call in graph.calls if isinstance(call.operation, layers.BatchNormalization)]
    return [_folding(graph, call) for call in calls]


def folded_weights(layer: keras.Layer, before: Any = None, after: Any = None) -> tuple[Any, Any]:
    """Return kernel and bias of a layer with scale and shift of its neighbors folded in.

    Args:
        layer: A layer with a kernel.
        before: The batch normalization that reads the output of the layer, or None.
        after: The batch normalization that makes the input of the layer, or None.

    Returns:
        Kernel and bias, tensors.
    """
    kernel, bias = ops.convert_to_tensor(layer.kernel), 0.0 if layer.bias is None else layer.bias
    if after is not None:
        kernel, bias = input_folded(layer, *scale_and_shift(after))
    if before is not None:
        scale, shift = scale_and_shift(before, bias)
        kernel, bias = kernel * per_filter(layer, scale), shift
    return kernel, bias


def input_folded(layer: keras.Layer, scale: Any, shift: Any) -> tuple[Any, Any]:
    """Return kernel and bias of a layer that reads x as the layer now reads scale * x + shift.

    Args:
        layer: A layer with a kernel, but for a transposed convolution; it must not pad unless `shift` is zero.
        scale: One number per input channel, or one for all.
        shift: As `scale`.

    Returns:
        Kernel and bias, tensors.
    """
    kernel, bias = ops.convert_to_tensor(layer.kernel), 0.0 if layer.bias is None else layer.bias
    rows = (-1, 1)  # one number per input channel; the last two axes of a kernel are channels
    scale, shift = (ops.reshape(ops.cast(x, kernel.dtype), rows) for x in (scale, shift))
    moved = ops.reshape(kernel * shift, (-1, *kernel.shape[-2:]))
    depthwise = isinstance(layer, DEPTHWISE)
    bias = bias + (ops.reshape(ops.sum(moved, 0), (-1,)) if depthwise else ops.sum(moved, (0, 1)))
    return kernel * scale, bias


def scale_and_shift(norm: Any, bias: Any = 0.0) -> tuple[Any, Any]:
    """Return what a batch normalization multiplies by, and what it adds to values that lack a `bias`.

    Args:
        norm: The batch normalization.
        bias: One number per channel, or 0.

    Returns:
        Two tensors with one number per channel.
    """
    scale = ops.rsqrt(norm.moving_variance + norm.epsilon) * (1.0 if norm.gamma is None else norm.gamma)
    return scale, (bias - norm.moving_mean) * scale + (0.0 if norm.beta is None else norm.beta)


def _folding(graph: Graph, call: Call) -> Folding:
    norm, x, rank = call.operation, call.inputs[0], len(call.inputs[0].shape)
    if len(graph.calls_of(norm)) > 1:
        return Folding(call, "kept", call.name, f"it is used {len(graph.calls_of(norm))} times")
    if norm.axis not in (-1, rank - 1):
        return Folding(call, "kept", call.name, f"it works along axis {norm.axis}, not along channels")
    made_by, reader = graph.made_by(x), graph.only_reader(call.outputs[0])
    reason = _not_before(graph, made_by, x)
    if not reason:
        return Folding(call, "before", made_by.name, "")
    if reader is not None and takes_shift(graph, reader):
        return Folding(call, "after", reader.name, reason)
    return Folding(call, "own" if rank in (2, 3, 4) else "kept", call.name, reason)


def _not_before(graph: Graph, made_by: Call, x: keras.KerasTensor) -> str:
    """Return why the layer that makes `x` cannot take scale and shift; an empty string if it can."""
    layer = made_by.operation
    if quantized_type(layer) is None:
        return f"it reads {made_by.name}, which has no kernel"
    if len(graph.calls_of(layer)) > 1:
        return f"it reads {made_by.name}, which is used {len(graph.calls_of(layer))} times"
    if layer.activation not in (None, keras.activations.linear):
        return f"it reads {made_by.name} after an activation"
    return "" if graph.only_reader(x) is not None else f"others read {made_by.name}, too"


def takes_shift(graph: Graph, reader: Call) -> bool:
    """Return whether a layer can take a shift of its inputs: not if it pads them with zeros, which are not shifted.

    Args:
        graph: The graph of the network.
        reader: The call of the layer.
    """
    layer = reader.operation
    if quantized_type(layer) is None or isinstance(layer, layers.Conv2DTranspose) or len(graph.calls_of(layer)) > 1:
        return False
    if isinstance(layer, layers.Dense):
        return True
    pointwise = set(layer.kernel_size) == {1}
    return getattr(layer, "groups", 1) == 1 and (layer.padding == "valid" or pointwise and layer.padding == "same")
