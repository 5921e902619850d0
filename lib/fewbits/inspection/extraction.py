"""What the layers of a network compute for each image, batch by batch.

Source: vieito2017, 3.2.1 and 3.2.2 (output_extraction), 5.2.2 (what for: the limits of convolution outputs).
"""

from collections.abc import Callable, Sequence

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError, nearest
from fewbits.graph import Graph, check_names
from fewbits.quantization.layers import quantized_type
from fewbits.training.interruption import postponed


def select(model: keras.Model, names: Sequence[str] | None = None, raw: bool = False) -> list[keras.Layer]:
    """Find layers whose outputs can be read.

    Args:
        model: A functional model, or a sequential one with an Input.
        names: Of layers; None for every layer that can be quantized.
        raw: Whether the layers must have products.

    Returns:
        The layers, each once, in the order of `names`.

    Raises:
        InputError: when a layer does not exist, is used more than once, has several outputs or, with `raw`, no
            products; as `check_names`.
    """
    check_names(model)
    graph = Graph(model)
    known = {layer.name: layer for layer in model.layers}
    multiplying = [name for name, layer in known.items() if quantized_type(layer)]
    names = multiplying if names is None else list(dict.fromkeys(names))
    if not names:
        raise InputError(f"{model.name} has no convolution, depthwise convolution or dense layer; name other layers")
    for name in names:
        if name not in known:
            near = nearest(name, known)
            raise InputError(f"there is no layer {name!r} in {model.name}{near}; there are {', '.join(known)}")
        layer = known[name]
        kind = type(layer).__name__
        if raw and name not in multiplying:
            raise InputError(f"layer {name} is a {kind}, which has no products; {', '.join(multiplying) or 'none'} do")
        calls = graph.calls_of(layer)
        if len(calls) > 1:
            raise InputError(f"layer {name} is used {len(calls)} times; build one layer for each use")
        if isinstance(layer, keras.Model) or len(calls[0].outputs) != 1:
            raise InputError(f"layer {name} is a {kind}, not a layer with one output")
    return [known[name] for name in names]


def extractor(
    model: keras.Model, names: Sequence[str] | None = None, raw: bool = False
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Make a function that computes the outputs of layers; quantized layers compute as they are set.

    Args:
        model: A functional model, or a sequential one with an Input.
        names: Of layers; None for every layer that can be quantized.
        raw: Read the products of inputs and kernel, before bias, output quantizer and activation, instead of the
            output of the layer.

    Returns:
        A function of images (n, height, width, channels) that returns layer name -> values (n, ...).

    Raises:
        InputError: as `select`.
    """
    chosen = select(model, names, raw)
    graph = Graph(model)
    calls = {layer.name: graph.calls_of(layer)[0] for layer in chosen}
    tensors = {name: (call.inputs if raw else call.outputs)[0] for name, call in calls.items()}
    reader = keras.Model(model.inputs[0] if len(model.inputs) == 1 else model.inputs, tensors)
    reader.jit_compile = False

    def compute(images: np.ndarray) -> dict[str, np.ndarray]:
        with postponed():
            values = reader.predict_on_batch(images)
        return {layer.name: _product(layer, values[layer.name]) if raw else values[layer.name] for layer in chosen}

    return compute


def _product(layer: keras.Layer, inputs: np.ndarray) -> np.ndarray:
    if hasattr(layer, "extract"):
        return ops.convert_to_numpy(layer.extract(inputs))
    return ops.convert_to_numpy(quantized_type(layer).product(layer, inputs, layer.kernel))
