"""Copies of quantized networks, which all post-training repairs start from."""

from typing import Any

import numpy as np

from fewbits.backend import ops
from fewbits.errors import InputError
from fewbits.graph import clone, ends, give_weights, like, rebuild
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.layers import quantized_type


def copied(network: QuantizedModel, with_bias: bool = False) -> QuantizedModel:
    """Return a copy of `network` with its weights, formats and switches.

    Args:
        network: The quantized network.
        with_bias: Whether each quantized layer of the copy has a bias; a new one consists of zeros.

    Returns:
        The copy.

    Raises:
        InputError: when `network` is not quantized.
    """
    if not isinstance(network, QuantizedModel):
        raise InputError(f"{getattr(network, 'name', network)} has no formats to keep to; use quantize_model first")

    def replaced(layer):
        return clone(layer, **({"use_bias": True} if with_bias and quantized_type(layer) else {}))

    copy: Any = like(network, *ends(rebuild(network, replaced)))
    for layer in copy.layers:
        old = network.get_layer(layer.name)
        if not quantized_type(layer):
            give_weights(layer, old.get_weights())
            continue
        layer.kernel.assign(ops.convert_to_numpy(old.kernel))
        if layer.bias is not None:
            layer.bias.assign(np.zeros(layer.bias.shape) if old.bias is None else ops.convert_to_numpy(old.bias))
        if old.locked:
            layer.locked = True
    return copy


def enabled_layers(network: QuantizedModel) -> list[Any]:
    """Return the layers of `network` that quantize now, in the order of the graph."""
    return [layer for layer in network.quantized_layers if layer.enabled]
