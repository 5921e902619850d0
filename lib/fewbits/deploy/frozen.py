"""What a network computes with, as constants: for files of runtimes that know no variable bits."""

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.graph import Graph, clone, rebuild
from fewbits.quantization.conversion import quantized_type
from fewbits.quantization.fixedpoint import quantclip
from fewbits.quantization.layers import active_formats, effective_weights


def check_exportable(model: keras.Model) -> None:
    """Raise InputError, naming the layer, where `model` could be written to no file.

    It must be a graph from one input to one output, in float32 and channels last, whose weights are finite, without
    the thesis' operator.
    """
    graph = Graph(model)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"{model.name} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; one of each can be exported"
        )
    if None in model.inputs[0].shape[1:]:
        raise InputError(f"{model.name} takes images of any size; build it for one, to export it")
    for layer in graph.layers:
        name = layer.name
        if getattr(layer, "compute_dtype", "float32") != "float32":
            raise InputError(f"layer {name} computes in {layer.compute_dtype}; only float32 can be exported")
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise InputError(f"layer {name} computes with channels first; only channels last can be exported")
        for weight in layer.weights:
            if not np.isfinite(ops.convert_to_numpy(weight)).all():
                raise InputError(f"{weight.name} of layer {name} holds NaN or infinity; train or load it anew")
        if hasattr(layer, "rounding") and layer.enabled and layer.rounding == "thesis":
            raise InputError(
                f"layer {name} rounds as the thesis does, to one code more than its bits have; "
                "set_rounding('floor') gives it codes that fit"
            )


def multiplies(layer) -> bool:
    """Whether `layer` is a convolution, a depthwise convolution or a dense layer."""
    return quantized_type(layer) is not None


class Frozen(keras.layers.Layer):
    """A layer that multiplies, with constants for weights and formats; it computes what `layer` does at present."""

    def __init__(self, layer):
        super().__init__(name=layer.name)
        self._layer = [layer]  # in a list Keras does not track it: its variables are no longer needed
        self.weights_used, self.formats = effective_weights(layer), active_formats(layer)
        self.rounding = getattr(layer, "rounding", None)
        self.depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        self.built = True

    def call(self, x):
        [layer], (kernel, bias) = self._layer, self.weights_used
        x = quantized_type(layer).product(layer, self.quantizer(x, self.formats.input), self.kernel(kernel))
        behind = bias is not None and getattr(layer, "bias_order", "accumulator") == "output"
        x = x if bias is None or behind else x + bias
        relu = layer.activation is keras.activations.relu
        x = keras.activations.relu(x) if relu and not behind else x  # the same before and behind a rounding
        x = self.quantizer(x, self.formats.output)
        x = x + bias if behind else x
        return x if relu and not behind or layer.activation is None else layer.activation(x)

    def kernel(self, kernel):
        return ops.convert_to_tensor(kernel)

    def quantizer(self, x, fmt):
        return x if fmt is None else quantclip(x, fmt, self.rounding)

    def compute_output_shape(self, shape):
        return self._layer[0].compute_output_shape(shape)


def freeze(model: keras.Model, kind: type = Frozen) -> keras.Model:
    """Return `model` with a layer of `kind`, Frozen or a subclass, in place of each that multiplies."""

    frozen = rebuild(model, lambda layer: kind(layer) if multiplies(layer) else clone(layer))
    for layer in frozen.layers:
        if layer.weights:  # batch normalization
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return frozen
