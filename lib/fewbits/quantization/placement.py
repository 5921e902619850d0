"""Where a network needs quantizers besides those of its layers with a kernel: activations, averages and products."""

from typing import Any

import numpy as np

from fewbits.backend import keras
from fewbits.graph import Call, Graph, clone, copy_weights, free_name, rebuild
from fewbits.quantization.activations import activation_type
from fewbits.quantization.layers import quantized_type
from fewbits.quantization.preprocessing import foldable_preprocessing

layers, activations = keras.layers, keras.activations

# Activations after which values lie on the grid on which they lay before.
ON_GRID = None, activations.linear, activations.relu, activations.relu6
# Layers whose outputs lie on a grid that nothing but a quantizer leads back from: quotients and products.
OFF_GRID = (
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.Average,
    layers.Multiply,
)
SCALE_BITS = 8  # of a scale that leads from a grid to a grid
# Layers that pass values on as they are, or zeros.
PASSING = (
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.Identity,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.Permute,
    layers.ReLU,
    layers.Reshape,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.UpSampling1D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
)


def placed(model: keras.Model) -> keras.Model:
    """Return a network with the outputs of `model` in which every value that needs a quantizer has a layer for it.

    - An activation other than ReLU and ReLU6 that a layer with a kernel applies becomes a layer after it, named
      `<layer>_activation`; leaky forms of ReLU and ELU become LeakyReLU and Activation. Each call has a layer of its
      own.
    - An average, a product of tensors, and a product with a number of many bits such as 1/6, are followed by a linear
      Activation, named `<layer>_quantizer`, unless all that read them are quantized.

    What the network returns, and nothing in it reads, has no quantizer, so that its head stays in float.

    Args:
        model: A network as `canonical` returns it; it stays as it is.

    Returns:
        `model` itself if nothing needs a layer; otherwise a new model with copies of the layers and their weights.
    """
    graph = Graph(model)
    shared = [layer for layer in graph.layers if activation_type(layer) and not layer.weights]
    again = {id(call.outputs[0]) for layer in shared for call in graph.calls_of(layer)[1:]}
    split = {id(call.outputs[0]) for call in graph.calls if _applies_activation(graph, call)}
    folded = {id(call.outputs[0]) for one in foldable_preprocessing(model) for call in one.calls}
    off_grid = [call for call in graph.calls if _leaves_grid(call) and id(call.outputs[0]) not in folded]
    loose = {id(call.outputs[0]) for call in off_grid if not _is_rounded(graph, call)}
    if not again | split | loose and not any(_plainer(layer) for layer in graph.layers):
        return model
    names = {layer.name for layer in graph.layers}
    linear = {id(call.operation) for call in graph.calls if id(call.outputs[0]) in split}

    def replaced(layer: Any) -> Any:
        return _plainer(layer) or clone(layer, **({"activation": "linear"} if id(layer) in linear else {}))

    def apply(call: Call, layer: Any, *args: Any, **kwargs: Any) -> Any:
        output = id(call.outputs[0])
        if output in again:
            layer = clone(layer, name=free_name(layer.name, names))
        y = layer(*args, **kwargs)
        if output in split:
            wanted = free_name(f"{call.name}_activation", names)
            return layers.Activation(call.operation.activation, name=wanted, dtype=layer.dtype_policy)(y)
        if output in loose:
            return layers.Activation(
                "linear", name=free_name(f"{call.name}_quantizer", names), dtype=layer.dtype_policy
            )(y)
        return y

    rewritten = rebuild(model, replaced, apply)
    copy_weights(model, rewritten)
    return rewritten


def quantized_activations(model: keras.Model) -> list[str]:
    """Return the names of the layers without a kernel that become quantizers, in the order of the graph.

    Args:
        model: A network as `placed` returns it.
    """
    graph = Graph(model)
    return [call.name for call in graph.calls if activation_type(call.operation) and not _is_plain(graph, call)]


def _applies_activation(graph: Graph, call: Call) -> bool:
    """Return whether a layer with a kernel applies an activation that needs a quantizer of its own."""
    if not quantized_type(call.operation) or _is_output(graph, call):
        return False
    return call.operation.activation not in (*ON_GRID, activations.softmax)


def _is_plain(graph: Graph, call: Call) -> bool:
    """Return whether an activation needs no quantizer: a ReLU, a softmax, or the head of the network."""
    known = (activations.relu, activations.relu6, activations.softmax)
    return getattr(call.operation, "activation", None) in known or _is_output(graph, call)


def _leaves_grid(call: Call) -> bool:
    """Return whether the outputs of a call lie on a grid of their own: quotients, products, and scales of many bits."""
    if type(call.operation) is layers.Rescaling:
        mantissas, _ = np.frexp(np.asarray(call.operation.scale, np.float32))
        return bool(np.any(mantissas * 2**SCALE_BITS % 1))
    return type(call.operation) in OFF_GRID


def _is_output(graph: Graph, call: Call) -> bool:
    """Return whether a call makes an output of the network that nothing else reads."""
    return any(graph.is_output(y) for y in call.outputs) and not any(graph.readers(y) for y in call.outputs)


def _is_rounded(graph: Graph, call: Call) -> bool:
    """Return whether all that read the output of `call` round it, or return it."""
    return all(
        bool(quantized_type(reader.operation))
        or (activation_type(reader.operation) and not _is_plain(graph, reader))
        or (type(reader.operation) in PASSING and _is_rounded(graph, reader))
        for output in call.outputs
        for reader in graph.readers(output)
    )


def _plainer(layer: Any) -> keras.Layer | None:
    """Return the layer of a quantized kind that computes what `layer` does; None if it has none or needs none."""
    named = {"name": layer.name, "dtype": getattr(layer, "dtype_policy", None)}
    if type(layer) is layers.ReLU and layer.negative_slope and not layer.threshold and layer.max_value is None:
        return layers.LeakyReLU(float(layer.negative_slope), **named)
    if type(layer) is layers.ELU and layer.alpha == 1:
        return layers.Activation("elu", **named)
    return None
