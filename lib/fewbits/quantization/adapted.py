"""Layers that Keras itself has quantized or adapted, and the float layers that they stand for.

`model.quantize("int8")` puts codes in the place of a kernel, with their scale beside them; `enable_lora` leaves the
kernel as it is, and the layer adds the product of two small matrices to it.
"""

from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.graph import clone, give_weights, rebuild

ADAPTABLE = keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Dense
READABLE = ("int8", "int4", "float8")  # modes of `keras.Model.quantize` whose kernels can be read as floats


def float_model(model: keras.Model) -> keras.Model:
    """Return `model` with float layers in place of those that Keras has quantized or adapted.

    Args:
        model: A functional model, or a sequential one with an input; it stays as it is.

    Returns:
        A new model, or `model` itself if it has no such layer.

    Raises:
        InputError: when `model` has no graph; naming the layer, when Keras has quantized it in a way not in READABLE.
    """
    return _float_copy(model) if any(map(is_adapted, model._flatten_layers())) else model


def is_adapted(layer: keras.Layer) -> bool:
    """Return whether Keras has quantized `layer`, a convolution or dense layer, or added matrices to its kernel."""
    return isinstance(layer, ADAPTABLE) and (layer.quantization_mode is not None or layer.lora_enabled)


def float_kernel(layer: keras.Layer) -> np.ndarray:
    """Return the kernel with which `layer` multiplies, as floats also where Keras has quantized or adapted it.

    Args:
        layer: A built layer with a kernel.

    Returns:
        An array in the shape of the kernel.

    Raises:
        InputError: when Keras has quantized the layer in a way not in READABLE.
    """
    if not is_adapted(layer):
        return ops.convert_to_numpy(layer.kernel)
    kernel = _dequantized(layer)
    if layer.lora_enabled:
        a, b = ops.convert_to_numpy(layer.lora_kernel_a), ops.convert_to_numpy(layer.lora_kernel_b)
        kernel = kernel + layer.lora_alpha / layer.lora_rank * (a @ b)
    return kernel.astype(np.float32)


def _dequantized(layer: Any) -> np.ndarray:
    mode, codes = layer.quantization_mode, ops.convert_to_numpy(layer._kernel)
    if mode in (None, "float8"):  # float8 rounds while it computes
        return codes
    if mode not in READABLE:
        raise InputError(f"layer {layer.name} was quantized by Keras ({mode}); take the model from before that")
    scale = ops.convert_to_numpy(layer.kernel_scale)
    if mode == "int4":
        codes = ops.convert_to_numpy(keras.quantizers.unpack_int4(layer._kernel, layer.units, axis=-1))
    if scale.ndim == 1:
        return codes / scale
    group = ops.convert_to_numpy(layer.g_idx).astype(int)  # of each row of the kernel
    return (codes - ops.convert_to_numpy(layer.kernel_zero).astype(np.float32)[group]) * scale[group]


def _float_copy(model: keras.Model) -> keras.Model:
    """Return a copy of `model` with float layers and the same weights."""
    made: list[tuple[Any, Any]] = []

    def replace(operation):
        if isinstance(operation, keras.Model):
            return _float_copy(operation)
        adapted = is_adapted(operation)
        made.append((operation, _float_layer(operation) if adapted else clone(operation)))
        return made[-1][1]

    copy = rebuild(model, replace)
    for old, new in made:
        if is_adapted(old):
            new.set_weights([float_kernel(old)] + ([] if old.bias is None else [ops.convert_to_numpy(old.bias)]))
        elif getattr(old, "weights", ()):
            give_weights(new, old.get_weights())
    return copy


def _float_layer(layer: Any) -> Any:
    """Return a new layer that computes what `layer` did before Keras quantized or adapted it."""
    plain = {"dtype": layer.compute_dtype, "lora_rank": None, "lora_alpha": None}
    return clone(layer, **plain, **({"quantization_config": None} if isinstance(layer, keras.layers.Dense) else {}))
