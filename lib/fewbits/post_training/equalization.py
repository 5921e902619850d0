"""Cross-layer range equalization: a network that computes the same, with channels of equal range.

Source: Nagel et al., 2019 (arXiv 1906.04721).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.graph import Graph
from fewbits.quantization.conversion import check_layers, dequantize_model
from fewbits.quantization.layers import QUANTIZED, by_filter

layers = keras.layers

SWEEPS = 20  # of `equalize` over all layers at most; two or three suffice for most networks


def equalize(model: keras.Model) -> keras.Model:
    """Return the float `model` with the channels of its tensors scaled so that kernels need less range; same outputs.

    A layer to quantize, linear or with ReLU, may have channel i divided by s > 0 if those that read it multiply it by s
    again: what stands between passes the factor on (ReLU, pooling, padding, dropout, flattening, concatenation of
    channels; see PASSING). s = sqrt(r1 / r2) makes both ranges equal, where r1 is the largest magnitude in channel i of
    the first kernel, and r2 the largest in the kernels of all its readers: each channel then uses the whole range of
    one format per layer. Here s is the power of two nearest to that, with which float32 loses nothing: outputs are the
    same, bit for bit, as long as no number becomes subnormal. This goes on until every s is 1.

    A tensor stays as it is if something else reads it: an addition, a normalization that was not folded, another
    activation, the user. So does a channel with only zeros in the first kernel or in all that read it. Price: none; but
    ranges of activations change too, so calibrate after this.

    Args:
        model: A model that `quantize_model` accepts, quantized or not.

    Returns:
        A new float model.

    Raises:
        InputError: on what cannot be quantized, and on channels first; the message names the layer.

    Source:
        Nagel et al., 2019 (arXiv 1906.04721), 4.1, where s is any number and a layer has one reader; several readers,
        as in a fire module, share s here.
    """
    check_layers(model)
    for layer in model.layers:
        if getattr(layer, "data_format", "channels_last") == "channels_first":
            raise InputError(f"{layer.name} has its channels first; build it with data_format='channels_last'")
    model = dequantize_model(model)
    graph = Graph(model)
    scalable = [layer for layer in model.layers if _is_scalable(layer)]
    pairs = [(layer, _readers(graph, call.outputs[0])) for layer in scalable for call in graph.calls_of(layer)]
    for _ in range(SWEEPS):
        changed = [_equalized(layer, readers) for layer, readers in pairs if readers]
        if not any(changed):
            break
    return model


# Layers that pass on a factor of a channel: max and mean of scaled values are scaled. For Activation and ReLU see
# `_passes`.
PASSING = (
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.Dropout,
    layers.Identity,
    layers.Flatten,
)


def _has_channels_last(layer: keras.Operation) -> bool:
    """Return whether a layer has a kernel (..., input channels, filters); that of a transposed convolution is other."""
    return type(layer) in QUANTIZED and type(layer) is not layers.Conv2DTranspose


def _is_homogeneous(activation: Any) -> bool:
    return activation in (None, keras.activations.linear, keras.activations.relu)


def _is_scalable(layer: keras.Layer) -> bool:
    return _has_channels_last(layer) and _is_homogeneous(layer.activation)


def _passes(layer: keras.Operation) -> bool:
    if type(layer) is layers.Activation:
        return _is_homogeneous(layer.activation)
    if type(layer) is layers.ReLU:
        return layer.max_value is None and layer.threshold == 0
    return type(layer) in PASSING


def _readers(graph: Graph, tensor: keras.KerasTensor) -> list[tuple[Any, int, int]]:
    """Return (layer, channels, first) for each layer that reads `tensor`; nothing if anything else reads it.

    The channels of `tensor` are those of the layer's input from `first` on, which has `channels` in all.
    """
    found, waiting = [], [(tensor, tensor.shape[-1], 0)]
    while waiting:
        tensor, channels, first = waiting.pop()
        if graph.is_output(tensor):
            return []
        for call, place in [(c, i) for c in graph.readers(tensor) for i, x in enumerate(c.inputs) if x is tensor]:
            reader, result = call.operation, call.outputs[0]
            if _has_channels_last(reader):
                found.append((reader, channels, first))
            elif _passes(reader):  # flattened, a tensor has its channels over and over again
                waiting.append((result, channels, first))
            elif _joins_channels(reader, tensor, channels):
                before = sum(x.shape[-1] for x in call.inputs[:place])
                waiting.append((result, result.shape[-1], before + first))
            else:
                return []
    return found


def _joins_channels(layer: keras.Operation, tensor: keras.KerasTensor, channels: int) -> bool:
    """Return whether `layer` puts `tensor` and others side by side, channel by channel."""
    along = type(layer) is layers.Concatenate and layer.axis in (-1, len(tensor.shape) - 1)
    return along and tensor.shape[-1] == channels


def _equalized(layer: Any, readers: Sequence[tuple[Any, int, int]]) -> bool:
    """Scale the channels of `layer` and of its `readers`; return whether any scale was other than 1."""
    kernel = ops.convert_to_numpy(layer.kernel)
    own = by_filter(layer, kernel)
    n = own.shape[1]
    read = [_channels(reader, channels)[:, first : first + n] for reader, channels, first in readers]
    largest = np.max([np.abs(view).max((0, 2)) for view in read], axis=0)
    exponent = _balance(np.abs(own).max(0), largest)
    if not exponent.any():
        return False
    layer.kernel.assign(np.ldexp(own, -exponent).reshape(kernel.shape))
    if layer.bias is not None:
        layer.bias.assign(np.ldexp(ops.convert_to_numpy(layer.bias), -exponent))
    for reader, channels, first in readers:
        view = _channels(reader, channels).copy()
        view[:, first : first + n] = np.ldexp(view[:, first : first + n], exponent[:, np.newaxis])
        reader.kernel.assign(_kernel(reader, view))
    return True


def _channels(layer, channels):
    """Return the kernel of `layer` as (places, input channels, filters that read one channel).

    In a grouped convolution the filters of a group read its channels only.
    """
    kernel, groups = ops.convert_to_numpy(layer.kernel), getattr(layer, "groups", 1)
    places = kernel.reshape(-1, channels // groups, groups, kernel.shape[-1] // groups)
    return places.swapaxes(1, 2).reshape(len(places), channels, -1)


def _kernel(layer, view):
    """Return `view`, a kernel as `_channels` returns it, in the shape that the kernel of `layer` has."""
    places, channels, filters = view.shape
    groups = getattr(layer, "groups", 1)
    return view.reshape(places, groups, channels // groups, filters).swapaxes(1, 2).reshape(layer.kernel.shape)


def _balance(writer: np.ndarray, reader: np.ndarray) -> np.ndarray:
    """Return log2 of the power of two nearest to sqrt(writer / reader); 0 where either is zero."""
    usable = (writer > 0) & (reader > 0)
    ratio = np.log2(np.where(usable, writer, 1.0)) - np.log2(np.where(usable, reader, 1.0))
    return np.round(ratio / 2).astype(int)
