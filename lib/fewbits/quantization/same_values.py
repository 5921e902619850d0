"""Tensors whose values are those of others, copied, joined or clipped, so that they need not be counted again."""

from math import inf
from typing import Any, NamedTuple

from fewbits.backend import keras
from fewbits.quantization.conversion import TRAINING_ONLY
from fewbits.quantization.float_network import FloatNetwork, relu_ceiling

layers = keras.layers

# Layers that return in inference the values that they read, all of them and each once.
COPYING = (layers.Concatenate, layers.Flatten, layers.Identity, layers.Permute, layers.Reshape, *TRAINING_ONLY)


class ClippedOutput(NamedTuple):
    """The values that a layer passes to its output quantizer, clipped.

    Attributes:
        layer: The layer.
        low: The lower limit.
        high: The upper limit.
    """

    layer: Any
    low: float
    high: float


def clipped_outputs(network: FloatNetwork, tensor: keras.KerasTensor) -> list[ClippedOutput]:
    """Return the outputs of layers which together, clipped, are the values of a tensor.

    Args:
        network: A network.
        tensor: One of the tensors of its graph.

    Returns:
        The outputs; none if the tensor holds other values, too.
    """
    call = network.graph.made_by(tensor)
    if keras.backend.standardize_dtype(tensor.dtype) != "float32":  # which rounds the values
        return []
    if any(call.operation is layer for layer in network.layers):
        limits = network.limits_of(call.operation)
        return [] if limits is None else [ClippedOutput(call.operation, *limits)]
    ceiling = relu_ceiling(call.operation)
    if ceiling is None and type(call.operation) not in COPYING:
        return []
    read = [clipped_outputs(network, x) for x in call.inputs]
    low, high = (-inf, inf) if ceiling is None else (0.0, ceiling)
    outputs = [output for found in read for output in found] if all(read) else []
    return [ClippedOutput(x.layer, *(min(max(end, low), high) for end in (x.low, x.high))) for x in outputs]
