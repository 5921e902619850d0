"""Which layers have rounded what a layer reads."""

from fewbits.backend import keras
from fewbits.graph import Graph
from fewbits.quantization.layers import RoundingLayer, quantized_type
from fewbits.quantization.placement import PASSING

layers, activations = keras.layers, keras.activations

_SCALING = layers.Dropout, layers.ReLU, layers.SpatialDropout1D, layers.SpatialDropout2D
# Layers whose outputs are among their inputs, or zeros, also in training.
KEEPING = (*(kind for kind in PASSING if kind not in _SCALING), layers.Concatenate, layers.RepeatVector)
EXACT = "float32", "float64"  # types that hold rounded values as they are


def feeding_layers(graph: Graph, tensor: keras.KerasTensor) -> tuple[RoundingLayer, ...]:
    """Return the layers whose rounded outputs, and nothing else but zeros, are what `tensor` holds.

    Args:
        graph: Of a network.
        tensor: One of its tensors.

    Returns:
        The layers, each once; empty if the tensor holds other values, too.
    """
    call = graph.made_by(tensor)
    if isinstance(call.operation, RoundingLayer):
        return (call.operation,) if _returns_what_it_rounds(call.operation) else ()
    if type(call.operation) not in KEEPING:
        return ()
    before = [feeding_layers(graph, x) for x in call.inputs]
    return tuple(dict.fromkeys(layer for found in before for layer in found)) if all(before) else ()


def _returns_what_it_rounds(layer: RoundingLayer) -> bool:
    """Return whether all outputs of a layer lie on the grid of its output format."""
    if layer.compute_dtype not in EXACT:
        return False
    if quantized_type(layer) is None:
        return True
    shifted = layer.bias_order == "output" and layer.use_bias
    return not shifted and layer.activation in (None, activations.linear, activations.relu)
