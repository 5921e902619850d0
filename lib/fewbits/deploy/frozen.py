"""A network whose weights and formats are constants, for runtimes in which numbers of bits cannot change."""

from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.graph import Graph, clone, copy_weights, rebuild
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.fixedpoint import FixedPoint, quantclip
from fewbits.quantization.layers import DEPTHWISE, RoundingLayer, active_formats, effective_weights, quantized_type


def check_exportable(model: keras.Model) -> None:
    """Check that a model can be exported.

    The model must be a graph of fixed sizes, in float32 and channels last, with finite weights and without the rounding
    of the thesis.

    Args:
        model: Any Keras model.

    Raises:
        InputError: when the model cannot be exported; the message names the layer.
    """
    graph = Graph(model)
    if any(None in x.shape[1:] for x in model.inputs):
        raise InputError(f"{model.name} takes images of any size; build it for one size to export it")
    for layer in graph.layers:
        name = layer.name
        if getattr(layer, "compute_dtype", "float32") != "float32":
            raise InputError(
                f"layer {name} computes in {layer.compute_dtype}; fewbits.deploy.in_float32(model) returns a copy that "
                "can be exported"
            )
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise InputError(
                f"layer {name} computes with channels first; build it with data_format='channels_last' to export it"
            )
        for weight in layer.weights:
            if not np.isfinite(ops.convert_to_numpy(weight)).all():
                raise InputError(
                    f"{weight.name} of layer {name} holds NaN or infinity; train or load the network again"
                )
        if hasattr(layer, "rounding") and layer.enabled and layer.rounding == "thesis":
            raise InputError(
                f"layer {name} rounds as the thesis does, to one code more than its bits have; "
                "set_rounding('floor') gives it codes that fit"
            )


def check_interpolation(model: keras.Model, what: str) -> None:
    """Check that images are enlarged in a way that other runtimes know.

    Args:
        model: Any Keras model.
        what: What the files are called, for the message.

    Raises:
        InputError: naming the layer, when one interpolates in another way than `nearest` and `bilinear`.
    """
    for layer in model.layers:
        way = getattr(layer, "interpolation", "nearest")
        if way not in ("nearest", "bilinear"):
            raise InputError(f"layer {layer.name} resizes by {way}; {what} take nearest and bilinear")


def in_float32(model: keras.Model) -> keras.Model:
    """Return a copy of a model that computes in float32, with the same weights as far as float32 holds them.

    Args:
        model: A functional model, or a sequential one with an input, in any floating-point type.

    Returns:
        A new model.
    """
    model = canonical(model)

    def replaced(operation):
        return clone(operation, **({"dtype": "float32"} if isinstance(operation, keras.Layer) else {}))

    copy = rebuild(model, replaced)
    copy_weights(model, copy)
    return copy


def multiplies(layer: keras.Layer) -> bool:
    """Return whether `layer` is a convolution, a depthwise convolution or a dense layer."""
    return quantized_type(layer) is not None


def rounds(layer: keras.Layer) -> bool:
    """Return whether `layer` has formats: a quantized layer with a kernel, or a quantized activation."""
    return isinstance(layer, RoundingLayer)


class Frozen(keras.layers.Layer):
    """A layer that multiplies or rounds, with its current weights and formats as constants.

    Attributes:
        weights_used: Kernel and bias (float32) as the layer multiplies and adds them; the bias may be None. None for an
            activation.
        formats: The formats that the layer uses.
        rounding: The rounding of a quantized layer, otherwise None.
        depthwise: Whether the layer is a depthwise convolution.
    """

    def __init__(self, layer: keras.Layer):
        """Freeze `layer`, quantized or not."""
        super().__init__(name=layer.name)
        self._layer = [layer]  # in a list, so that Keras does not track its variables
        self.weights_used = effective_weights(layer) if multiplies(layer) else None
        self.formats = active_formats(layer)
        self.rounding: Any = getattr(layer, "rounding", None)
        self.depthwise = isinstance(layer, DEPTHWISE)
        self._slope = layer.rounded_slope() if hasattr(layer, "rounded_slope") else None
        self.built = True

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return what the layer computes from `x`."""
        x = self.quantizer(x, self.formats.input)
        if self.weights_used is None:
            return self.quantizer(self.activated(x), self.formats.output)
        return self._multiplied(x, *self.weights_used)

    def _multiplied(self, x, kernel, bias):
        [layer] = self._layer
        x = self.product(x, kernel)
        late = bias is not None and getattr(layer, "bias_order", "accumulator") == "output"
        x = x if bias is None or late else x + bias
        relu = layer.activation is keras.activations.relu
        x = keras.activations.relu(x) if relu and not late else x  # the same before and after rounding
        x = self.quantizer(x, self.formats.output)
        x = x + bias if late else x
        return x if relu and not late or layer.activation is None else layer.activation(x)

    def activated(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return what a quantized activation makes of its input in the input's format; a subclass may tabulate it."""
        [layer] = self._layer
        return layer._activated(x, None) if self._slope is None else ops.relu(x) - self._slope * ops.relu(-x)

    def product(self, x: keras.KerasTensor, kernel: np.ndarray) -> keras.KerasTensor:
        """Return the sums of products of inputs and kernel.

        Args:
            x: The inputs.
            kernel: The kernel, as `self.kernel` takes it.
        """
        [layer] = self._layer
        return quantized_type(layer).product(layer, x, self.kernel(kernel))

    def kernel(self, kernel: np.ndarray) -> keras.KerasTensor:
        """Return the kernel as a tensor; a subclass may quantize it."""
        return ops.convert_to_tensor(kernel)

    def quantizer(self, x: keras.KerasTensor, fmt: FixedPoint | None) -> keras.KerasTensor:
        """Return a tensor in a format.

        Args:
            x: The tensor.
            fmt: Its format; None leaves it unchanged.
        """
        return x if fmt is None else quantclip(x, fmt, self.rounding)

    def compute_output_shape(self, shape: tuple) -> tuple:
        """Return the shape of the output for inputs of `shape`."""
        return self._layer[0].compute_output_shape(shape)


def freeze(model: keras.Model, kind: type[Frozen] = Frozen) -> keras.Model:
    """Return a model in which every layer that multiplies or rounds is frozen.

    Args:
        model: A functional model, quantized or not.
        kind: The class of the frozen layers, Frozen or a subclass.

    Returns:
        A new model; other layers are copied.
    """
    frozen = rebuild(model, lambda layer: kind(layer) if multiplies(layer) or rounds(layer) else clone(layer))
    copy_weights(model, frozen)
    return frozen
