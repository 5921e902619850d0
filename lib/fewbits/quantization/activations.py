"""Activations in fixed point, and quantizers of their own: what rounds between the layers with a kernel.

    y = quantize(activation(quantize(x)))

For integers, an activation with at most 256 input codes is a table. The slope of a leaky ReLU is a weight with a
format of its own.
"""

from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.quantization.fixedpoint import FixedPoint, quantize
from fewbits.quantization.known_grids import note_output
from fewbits.quantization.layers import Formats, RoundingLayer, active_formats

activations = keras.activations


class _Rounding(RoundingLayer):
    """What all activations share: they round what they read and what they return."""

    def _of_meaning(self, formats):
        return Formats(formats.kernel if slope_of(self) is not None else None, formats.input, formats.output)

    def call(self, inputs: Any) -> Any:
        """Compute the outputs of the layer for a tensor of inputs."""
        rounded = self._rounder()
        note_output(self.name, rounded.grids["output"])
        return rounded(self._activated(rounded(inputs, "input"), rounded), "output")

    def _activated(self, x, rounded):
        raise NotImplementedError


@keras.saving.register_keras_serializable("fewbits")
class QuantizedActivation(_Rounding, keras.layers.Activation):
    """An activation that rounds its input and its output; `linear` is a quantizer for any edge of a network.

    Args:
        activation: The activation, as in keras.layers.Activation.
        formats: `(None, input, output)`, each a FixedPoint or None for float; a kernel format has no meaning.
        enabled: As in QuantizedConv2D.
        rounding: As in QuantizedConv2D.
        gradient: As in QuantizedConv2D.
        level: As in QuantizedConv2D.
        **kwargs: All else as in keras.layers.Activation.

    Raises:
        InputError: on what is not a format, and on an unknown name.

    Example:
        An addition with a format of its own:

            x = keras.layers.Add()([x, y])
            x = QuantizedActivation("linear", formats=(None, None, FixedPoint(2, 8)))(x)
    """

    def _activated(self, x, rounded):
        return self.activation(x)


class _Sloped(_Rounding):
    """What the activations with a slope share: they multiply values below zero by a slope, rounded as a kernel is."""

    _slope: Any

    def _kernel_formats(self, input_shape):
        return 1

    def _activated(self, x, rounded):
        return ops.relu(x) - rounded(self._slope, "kernel") * ops.relu(-x)

    def rounded_slope(self) -> np.ndarray:
        """Return the slope with which the layer computes now, float32, in a shape that broadcasts against an input."""
        slope, fmt = ops.convert_to_numpy(self._slope).astype(np.float32), active_formats(self).kernel
        return quantize(slope, fmt, self.rounding) if isinstance(fmt, FixedPoint) else slope


@keras.saving.register_keras_serializable("fewbits")
class QuantizedLeakyReLU(_Sloped, keras.layers.LeakyReLU):
    """A LeakyReLU that rounds its input, its slope (format `kernel`) and its output; arguments as QuantizedActivation.

    The first argument is the slope, as in keras.layers.LeakyReLU.
    """

    @property
    def _slope(self):
        return ops.reshape(ops.cast(self.negative_slope, self.compute_dtype), (1,))


@keras.saving.register_keras_serializable("fewbits")
class QuantizedPReLU(_Sloped, keras.layers.PReLU):
    """A PReLU that rounds its input, its slopes (format `kernel`) and its output; arguments as QuantizedActivation.

    All slopes have one format. All else is as in keras.layers.PReLU.
    """

    @property
    def _slope(self):
        return self.alpha

    @property
    def _rounded_weights(self):
        return [self.alpha]


ACTIVATIONS: dict[type, Any] = {
    keras.layers.Activation: QuantizedActivation,
    keras.layers.LeakyReLU: QuantizedLeakyReLU,
    keras.layers.PReLU: QuantizedPReLU,
}


def activation_type(layer: keras.Layer) -> Any:
    """Return the class of quantized activations for `layer`: its own if it is one, None if it is of another kind."""
    return ACTIVATIONS.get(type(layer), type(layer) if type(layer) in ACTIVATIONS.values() else None)


def slope_of(layer: keras.Layer) -> np.ndarray | None:
    """Return the slope of a leaky ReLU or PReLU in float, float32; None for other keras.layers.

    Args:
        layer: A layer, quantized or not.
    """
    slope = getattr(layer, "alpha", None) if isinstance(layer, keras.layers.PReLU) else None
    if isinstance(layer, keras.layers.LeakyReLU):
        slope = layer.negative_slope
    return None if slope is None else np.asarray(ops.convert_to_numpy(slope), np.float32)
