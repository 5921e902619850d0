"""From a quantized Keras model to an integer network, with a proof of how wide every sum can become.

A model can be lowered if it can be deployed: batch normalization is folded (`quantize_model(...,
fold_batch_normalization=True)`), every product is of two formats, and integers know the roundings. Anything else is
refused, by the name of the layer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewbits.backend import keras
from fewbits.data.pixel_codes import PixelCodes
from fewbits.deploy.activation_lowering import EXACT, activation_name
from fewbits.deploy.assembly import Assembly
from fewbits.deploy.frozen import check_exportable, multiplies
from fewbits.deploy.integer import IntegerNetwork, Output
from fewbits.deploy.kernel_lowering import multiply_kernel
from fewbits.deploy.layer_lowering import HANDLERS, image_shape
from fewbits.deploy.onnx import is_in_onnx
from fewbits.deploy.operations import Input, Tensor
from fewbits.errors import InputError
from fewbits.graph import Call, Graph, takes_integers
from fewbits.quantization.conversion import PREPROCESSING, QuantizedModel

layers, activations = keras.layers, keras.activations

# Activations of Keras that integers do not compute, and that stay outside at the head of a network.
OUTSIDE = {f for f in vars(activations).values() if callable(f) and f not in EXACT}
# What to do about layers that integer networks do not support.
HINTS: dict[type, str] = {
    layers.BatchNormalization: "quantize_model(..., fold_batch_normalization=True) folds it",
    layers.Normalization: "quantize_model(..., fold_preprocessing=True) folds it",
    layers.ELU: "use Activation('elu'), which quantize_model gives formats",
}
OTHERWISE = "export the network to {0}, or use a layer that the documentation lists for them"


def lower(
    model: QuantizedModel,
    levels: int | None = None,
    mean: int | Sequence[int] | None = None,
    divisor: int | None = None,
) -> IntegerNetwork:
    """Convert a quantized model to an integer network.

    A softmax, sigmoid or other activation in float at the end is left out.

    Args:
        model: The quantized model; it takes (pixel - mean) / divisor for unsigned pixels below `levels`, at each input.
            What `model.pixels` says need not be given.
        levels: Number of values of a pixel, a power of two, by default 256.
        mean: An integer, or one per channel, by default 0.
        divisor: A power of two, by default `levels`; 1 for a model that takes the pixels themselves, for example one
            whose Rescaling was folded with `quantize_model(..., fold_preprocessing=True)`. A model whose inputs hold
            integers takes pixels themselves, and 1 is the default for it.

    Returns:
        The integer network.

    Raises:
        InputError: when what is given is not what `model.pixels` says; naming the layer, when a layer is not enabled,
            has no kernel or input format, rounds as the thesis does, has a bias with a finer step than its products,
            needs integers of more than 63 bits, or is of a kind that integer networks do not support; as
            `check_exportable`.
    """
    if not isinstance(model, QuantizedModel):
        raise InputError(
            f"{model.name} is not quantized; give it formats with quantize_model or `fewbits formats --save-model`"
        )
    pixels = _pixels(model, levels, mean, divisor)
    for x in model.inputs:
        if len(x.shape) > 4 or None in x.shape[1:]:
            raise InputError(
                f"{model.name} must take images (height, width, channels), sequences or vectors of a fixed size, not "
                f"{str(x.shape[1:]).replace('None', 'any')}; build it for one size"
            )
    check_exportable(model)
    means = [pixels.means(x.shape[-1]) for x in model.inputs]
    images = [_image(x.shape[1:], pixels, of_each) for x, of_each in zip(model.inputs, means)]
    lowering = _Lowering(images[0])
    graph = Graph(model)
    lowering.made[id(model.inputs[0])] = 0
    for x, image, of_each in zip(model.inputs[1:], images[1:], means[1:]):
        lowering.made[id(x)] = lowering.assembly.add(Input, graph.made_by(x).name, (), image, of_each)
    for call in graph.calls:
        if not call.is_input:
            lowering.add(call, graph.is_output(call.outputs[0]))
    *earlier, last = (Output(graph.made_by(y).name, lowering.made[id(y)], tuple(y.shape[1:])) for y in model.outputs)
    lowering.assembly.finish(last.tensor)
    return IntegerNetwork(
        model.name, images[0], means[0], tuple(lowering.assembly.operations), lowering.outputs, last.shape, earlier
    )


class _Lowering:
    """Which tensor of the integer network holds what each call makes."""

    def __init__(self, image: Tensor):
        self.assembly = Assembly(image)
        self.made: dict[int, int] = {}  # identity of a symbolic tensor -> index
        self.outputs: dict[str, int] = {}  # layer name -> index
        self.outside: dict[int, str] = {}  # identity of a symbolic tensor -> the activation that is left out

    def add(self, call: Call, at_head: bool) -> None:
        """Add what `call` computes; the activation of one that makes an output may stay outside."""
        for x in call.inputs:
            if id(x) in self.outside:
                raise InputError(
                    f"layer {call.name} reads the {self.outside[id(x)]}, which integer networks leave out at the head; "
                    "end the network there, or use a QuantizedActivation with formats for what is not a softmax"
                )
        left_out = _left_out(call, at_head)
        if left_out:
            self.outside[id(call.outputs[0])] = f"{left_out} of layer {call.name}"
        try:
            index = self._lowered(call, [self.made[id(x)] for x in call.inputs], bool(left_out))
        except OverflowError:
            raise InputError(
                f"layer {call.name} needs integers of more than 63 bits; give it formats that are closer together"
            ) from None
        self.made[id(call.outputs[0])] = index
        if not left_out or multiplies(call.operation):
            self.outputs[call.name] = index

    def _lowered(self, call: Call, inputs: list[int], left_out: bool) -> int:
        layer: Any = call.operation
        if multiplies(layer):
            return multiply_kernel(self.assembly, call, inputs[0], None if left_out else layer.activation)
        if left_out:
            return inputs[0]
        handler = HANDLERS.get(type(layer))
        if handler is None:
            kind = type(layer).__name__
            raise InputError(f"layer {layer.name} is a {kind}, which integer networks do not support; {_hint(call)}")
        return handler(self.assembly, call, *inputs)


def _left_out(call: Call, at_head: bool) -> str:
    """Return the name of the activation of a call that stays outside; empty if there is none."""
    layer: Any = call.operation
    activation = layer.activation if type(layer) is layers.Activation or multiplies(layer) else None
    if type(layer) is layers.Softmax or activation is activations.softmax:
        return "softmax"  # everywhere, so that the message names it where another layer reads it
    return activation_name(activation) if at_head and activation in OUTSIDE else ""


def _hint(call: Call) -> str:
    """Return what to do about a layer that integer networks do not support."""
    layer: Any = call.operation
    if type(layer) is layers.BatchNormalization and layer.axis not in (-1, len(call.inputs[0].shape) - 1):
        return "build it with axis=-1, so that it can be folded"
    if isinstance(layer, PREPROCESSING):
        return "prepare the images before the network instead"
    return HINTS.get(type(layer), OTHERWISE.format("ONNX" if is_in_onnx(layer) else "LiteRT in float32"))


def _pixels(
    model: QuantizedModel, levels: int | None, mean: int | Sequence[int] | None, divisor: int | None
) -> PixelCodes:
    """Return what the model takes; what is given must be what it says itself."""
    told = model.pixels
    if told is None:
        levels = 256 if levels is None else levels
        itself = any(map(takes_integers, model.inputs))
        divisor = (1 if itself else levels) if divisor is None else divisor
        return PixelCodes(levels, divisor, _mean(0 if mean is None else mean))
    given = PixelCodes(
        told.levels if levels is None else levels,
        told.divisor if divisor is None else divisor,
        told.mean if mean is None else _mean(mean),
    )
    if given != told:
        raise InputError(f"{model.name} takes {told}, and {given} are asked for; leave levels, mean and divisor out")
    return told


def _mean(mean: Any) -> Any:
    return mean if np.ndim(mean) == 0 else tuple(np.ravel(mean).tolist())


def _image(shape: tuple[int, ...], pixels: PixelCodes, means: tuple[int, ...]) -> Tensor:
    """Return the tensor of pixels minus their means."""
    return Tensor(image_shape(shape), 1 - pixels.divisor.bit_length(), -max(means), pixels.levels - 1 - min(means))
