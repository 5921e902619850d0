"""What all remedies share: a copy of the network they are given, and its kernels in their formats."""

import numpy as np

from fewbits.backend import ops
from fewbits.errors import InputError
from fewbits.graph import rebuild
from fewbits.quantization.conversion import QuantizedModel, quantized_type


def copied(network, with_bias=False) -> QuantizedModel:
    """Return a copy of `network`, with its formats and switches; with_bias: each layer has one, of zeros at first."""
    if not isinstance(network, QuantizedModel):
        raise InputError(f"{getattr(network, 'name', network)} has no formats to keep to; use quantize_model before")

    def clone(layer):
        extra = {"use_bias": True} if with_bias and quantized_type(layer) else {}
        return type(layer).from_config(layer.get_config() | extra)

    graph = rebuild(network, clone)
    copy = QuantizedModel(graph.input, graph.output, name=network.name)
    for layer in copy.layers:
        old = network.get_layer(layer.name)
        if not quantized_type(layer):
            layer.set_weights(old.get_weights())
            continue
        layer.kernel.assign(ops.convert_to_numpy(old.kernel))
        if layer.bias is not None:
            layer.bias.assign(np.zeros(layer.bias.shape) if old.bias is None else ops.convert_to_numpy(old.bias))
        layer.locked = old.locked
    return copy


def enabled_layers(network) -> list:
    return [layer for layer in network.quantized_layers if layer.enabled]
