"""Folding of preprocessing: the scale of Rescaling and Normalization goes into the kernel that reads them.

Such a layer computes y = scale * x + offset, with one number for all channels or one per channel.
"""

from typing import Any, NamedTuple

import numpy as np

from fewbits.backend import keras, ops
from fewbits.graph import Call, Graph, clone, give_weights, rebuild, takes_integers
from fewbits.quantization.folding import input_folded, takes_shift
from fewbits.quantization.layers import quantized_type

layers = keras.layers

# Layers that keep the channels of a pixel together and change none of their values, so that a scale can pass them.
PASSING = (
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Dropout,
    layers.Identity,
    layers.RandomFlip,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
)
PADDING = layers.ZeroPadding1D, layers.ZeroPadding2D
OFFSET_BITS = 16
AFFINE = layers.Rescaling, layers.Normalization


class Preprocessing(NamedTuple):
    """Layers of preprocessing that one layer with a kernel reads.

    Attributes:
        calls: Their calls, the last one first.
        layer: The name of the layer with the kernel.
        scale: What they multiply by together, float64, one number or one per channel.
        offset: What they add after that, alike.
        in_bias: Whether the bias of the layer can take the offset; otherwise `x + offset / scale` stays before it.
    """

    calls: tuple[Call, ...]
    layer: str
    scale: np.ndarray
    offset: np.ndarray
    in_bias: bool


def foldable_preprocessing(model: keras.Model) -> list[Preprocessing]:
    """Return the layers of preprocessing that can be folded, by the layers with a kernel that read them.

    Args:
        model: A network as `canonical` returns it.

    Returns:
        One Preprocessing per layer with a kernel that takes any, in the order of the graph.
    """
    graph = Graph(model)
    found = (_before(graph, call) for call in graph.calls if quantized_type(call.operation))
    return [one for one in found if one is not None and not _is_folded(one)]


def scales_alike(model: keras.Model) -> bool:
    """Return whether the preprocessing that can be folded has one scale for all channels, which kernels take best.

    Args:
        model: A network as `canonical` returns it.
    """
    return all(one.scale.ndim == 0 for one in foldable_preprocessing(model))


def fold_preprocessing(model: keras.Model, *, keep_size: bool = False) -> keras.Model:
    """Return a network with the outputs of `model` whose kernels take the scale of the preprocessing before them.

    An offset goes into the bias or, before a layer that pads with zeros, becomes a Rescaling that only adds. It keeps
    its 16 most significant bits, so that float32, and so integers, add it to pixels exactly.

    Args:
        model: A network as `canonical` returns it; it stays as it is.
        keep_size: Whether kernels keep their size, as the steps of a training need it: the nearest power of two of the
            scale stays before them, which integers compute exactly.

    Returns:
        `model` itself if there is nothing to fold; otherwise a new model.
    """
    plan = foldable_preprocessing(model)
    if not plan:
        return model
    absorbed = {id(call.outputs[0]) for one in plan for call in one.calls}
    first = {id(one.calls[-1].outputs[0]): one for one in plan}
    by_layer = {one.layer: one for one in plan}
    left = {one.layer: _power_of_two(one.scale) if keep_size else 1.0 for one in plan}

    def replaced(layer: Any) -> Any:
        one = by_layer.get(layer.name)
        return clone(layer, **({"use_bias": True} if one is not None and one.in_bias else {}))

    def apply(call: Call, layer: Any, *args: Any, **kwargs: Any) -> Any:
        one = first.get(id(call.outputs[0]))
        if one is not None:
            scale = left[one.layer]
            shift = 0.0 if one.in_bias else of_few_bits(scale * one.offset / one.scale, OFFSET_BITS).tolist()
            if scale != 1 or np.any(shift) or takes_integers(args[0]):  # of which Rescaling makes floats
                return layers.Rescaling(scale, shift, name=call.name)(*args)
        return args[0] if id(call.outputs[0]) in absorbed else layer(*args, **kwargs)

    folded = rebuild(model, replaced, apply)
    for layer in (layer for layer in folded.layers if layer.weights):
        old, one = model.get_layer(layer.name), by_layer.get(layer.name)
        if one is not None:
            scale = one.scale / left[one.layer]
            kernel, bias = input_folded(old, scale, one.offset if one.in_bias else 0 * one.offset)
            layer.kernel.assign(kernel)
            if layer.bias is not None:
                layer.bias.assign(bias)
        else:
            give_weights(layer, old.get_weights())
    return folded


def of_few_bits(numbers: Any, bits: int) -> Any:
    """Return the nearest numbers that are integers of few bits times a power of two.

    Args:
        numbers: Finite numbers, one or an array.
        bits: How many bits.

    Returns:
        float64, as many.
    """
    mantissas, exponents = np.frexp(numbers)
    return np.ldexp(np.rint(np.ldexp(mantissas, bits)), exponents - bits)


def _before(graph: Graph, call: Call) -> Preprocessing | None:
    """Return the preprocessing that the call of a layer with a kernel reads; None without any."""
    layer = call.operation
    if isinstance(layer, layers.Conv2DTranspose) or len(graph.calls_of(layer)) > 1:
        return None
    scale, offset, padded, found = np.ones(()), np.zeros(()), False, []
    tensor = call.inputs[0]
    while graph.only_reader(tensor) is not None:
        made_by = graph.made_by(tensor)
        numbers = _numbers(made_by.operation, tensor) if len(graph.calls_of(made_by.operation)) == 1 else None
        if numbers is not None:
            offset, scale = offset + scale * numbers[1], scale * numbers[0]
            found.append(made_by)
        elif type(made_by.operation) not in PASSING or isinstance(made_by.operation, PADDING) and np.any(offset):
            break
        padded = padded or isinstance(made_by.operation, PADDING)
        tensor = made_by.inputs[0]
    one_scale = getattr(layer, "groups", 1) == 1 or not (scale.ndim or offset.ndim)
    if not found or not np.all(scale) or not one_scale:
        return None
    return Preprocessing(tuple(found), layer.name, scale, offset, takes_shift(graph, call) and not padded)


def _numbers(layer: Any, tensor: keras.KerasTensor) -> tuple[np.ndarray, np.ndarray] | None:
    """Return scale and offset of a layer of preprocessing, scalars or (channels,); None for another layer."""
    channels = tensor.shape[-1]
    if isinstance(layer, layers.Rescaling):
        numbers = layer.scale, layer.offset
    elif isinstance(layer, layers.Normalization) and not layer.invert and getattr(layer, "mean", None) is not None:
        mean, variance = (np.asarray(ops.convert_to_numpy(x), float) for x in (layer.mean, layer.variance))
        deviation = np.maximum(np.sqrt(variance), keras.backend.epsilon())
        numbers = 1 / deviation, -mean / deviation
    else:
        return None
    scale, offset = (np.squeeze(np.asarray(x, float)) for x in numbers)
    return (scale, offset) if {scale.shape, offset.shape} <= {(), (channels,)} else None


def _power_of_two(scale: np.ndarray) -> float:
    """Return the power of two nearest to a scale, or to the geometric mean of the scales of channels."""
    return float(2.0 ** np.rint(np.mean(np.log2(np.abs(scale)))))


def _is_folded(one: Preprocessing) -> bool:
    """Return whether nothing is left to fold: the layer only adds, and the bias cannot take that."""
    return len(one.calls) == 1 and bool(np.all(one.scale == 1)) and not one.in_bias
