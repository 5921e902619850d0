"""What each call of a graph does to the channels of the tensors that it reads.

Surgery removes channels. A call that computes each channel from itself alone, and zeros from a channel of zeros, hands
its channels on; a call of which this is not known needs all of them.
"""

from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.graph import Call, function_name

layers = keras.layers

DEPTHWISE = layers.DepthwiseConv1D, layers.DepthwiseConv2D
TRANSPOSED = layers.Conv1DTranspose, layers.Conv2DTranspose
PRODUCERS = (  # a filter, or unit, makes a channel
    layers.Conv1D,
    layers.Conv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
    *TRANSPOSED,
    layers.Dense,
)
SUMS = (layers.Add, layers.Subtract, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply)
# Each channel is computed from itself alone.
PASSING = (
    *DEPTHWISE,
    layers.Activation,
    layers.ActivityRegularization,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.BatchNormalization,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Dropout,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.Identity,
    layers.LeakyReLU,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.Permute,
    layers.PReLU,
    layers.ReLU,
    layers.Rescaling,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
)
# Operations that are not layers.
SUM_FUNCTIONS = ("Add", "Subtract", "Maximum", "Minimum", "Multiply")
ACTIVATION_FUNCTIONS = (
    "Absolute",
    "Celu",
    "Clip",
    "Elu",
    "Gelu",
    "HardSilu",
    "HardTanh",
    "LeakyRelu",
    "Negative",
    "Relu",
    "Relu6",
    "Selu",
    "Silu",
    "Softsign",
    "Square",
    "Tanh",
)
NUMBER_FUNCTIONS = (*SUM_FUNCTIONS, "Cast", "Divide", "TrueDivide")  # of a tensor and a number
POOLING_FUNCTIONS = ("Max", "Mean", "Min", "Sum")

Channels = np.ndarray


def made_by_filters(call: Call) -> bool:
    """Return whether each channel that `call` makes is that of a filter or unit of its own."""
    return isinstance(call.operation, PRODUCERS) and _channels_last(call.operation)


def passed_on(call: Call, entering: list[Channels], shape: tuple) -> list[Channels] | None:
    """Return the channels that leave `call`, and those of other tensors that are joined with them one by one.

    Args:
        call: A call of an operation that has no filters.
        entering: The channels of each tensor that it reads.
        shape: Of the tensor that it makes.

    Returns:
        The channels that leave, followed by as many for each tensor that is added; None if the call needs every channel
        that enters.
    """
    operation = call.operation
    if not entering or shape[-1] is None or not _channels_last(operation):
        return None
    if isinstance(operation, layers.Layer):
        return _through_layer(operation, entering, shape)
    return _through_function(call, function_name(operation), entering, shape)


def _through_layer(layer: Any, entering: list[Channels], shape: tuple) -> list[Channels] | None:
    first, n = entering[0], shape[-1]
    if type(layer) in (layers.Flatten, layers.Reshape):
        return None if n % len(first) else [np.tile(first, n // len(first))]
    if type(layer) is layers.Concatenate and layer.axis in (-1, len(shape) - 1):
        return [np.concatenate(entering)]
    if type(layer) in SUMS and all(len(channel) == n for channel in entering):
        return entering
    if isinstance(layer, PASSING) and _keeps_zeros(layer, len(shape)):
        return [np.repeat(first, n // len(first))]  # a depthwise convolution may make several of each
    return None


def _keeps_zeros(layer: Any, rank: int) -> bool:
    """Return whether `layer` computes each channel from itself and, apart from biases, turns zeros into zeros."""
    if isinstance(layer, layers.BatchNormalization):
        return layer.axis in (-1, rank - 1)
    if isinstance(layer, layers.ReLU):
        return layer.threshold == 0
    if isinstance(layer, layers.Permute):
        return layer.dims[-1] == rank - 1
    if isinstance(layer, layers.Rescaling):
        return np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0 and layer.offset == 0
    activation = getattr(layer, "activation", None) or keras.activations.linear
    return activation is not keras.activations.softmax and not float(ops.squeeze(activation(ops.zeros((1, 1)))))


def _through_function(call: Call, name: str, entering: list[Channels], shape: tuple) -> list[Channels] | None:
    operation: Any = call.operation
    tensors, axes = len(entering), getattr(operation, "axis", None)
    alike = all(len(channel) == shape[-1] for channel in entering)
    if name == "Concatenate" and axes in (-1, len(shape) - 1):
        return [np.concatenate(entering)]
    if name in SUM_FUNCTIONS and tensors == 2:
        return entering if alike else None
    if name in POOLING_FUNCTIONS and axes is not None:
        rank = len(call.inputs[0].shape)
        reduced = {axis % rank for axis in (axes if isinstance(axes, (tuple, list)) else [axes])}
        return None if reduced & {0, rank - 1} else entering
    if name in (*ACTIVATION_FUNCTIONS, *NUMBER_FUNCTIONS) and tensors == 1 and alike:
        return entering if _zero_of_zero(call) else None
    return None


def _zero_of_zero(call: Call) -> bool:
    """Return whether a function of a tensor and numbers turns zeros into zeros."""
    given = call.arguments, call.keywords
    if any(np.ndim(x) for x in keras.tree.flatten(given) if not isinstance(x, keras.KerasTensor)):
        return False

    def zero(x: Any) -> Any:
        return ops.zeros((1,) * len(x.shape), x.dtype) if isinstance(x, keras.KerasTensor) else x

    args, kwargs = keras.tree.map_structure(zero, given)
    return not float(ops.squeeze(call.operation(*args, **kwargs)))


def _channels_last(operation: Any) -> bool:
    return getattr(operation, "data_format", None) != "channels_first"
