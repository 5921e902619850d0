"""What each call of a graph does to the channels of the tensors that it reads.

Surgery removes channels. A call that computes each channel from itself alone hands its channels on; a call of which
this is not known needs all of them. Networks are those that `quantization.canonical` returns.
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
    *TRANSPOSED,
    layers.Dense,
)
SUMS = (layers.Add, layers.Subtract, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply)
# Each channel is computed from itself alone.
PASSING = (
    *DEPTHWISE,
    layers.Activation,
    layers.ActivityRegularization,
    layers.AlphaDropout,
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
    layers.Resizing,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
)
# Operations for which there is no layer.
SUM_FUNCTIONS = ("Add", "Subtract", "Maximum", "Minimum", "Multiply")
ACTIVATION_FUNCTIONS = ("Absolute", "Celu", "Clip", "Elu", "Exp", "Gelu", "HardTanh", "Sqrt", "Square", "Tanh")
NUMBER_FUNCTIONS = (*SUM_FUNCTIONS, "Cast", "Divide", "Power", "TrueDivide")  # of a tensor and a number
POOLING_FUNCTIONS = ("Max", "Mean", "Min", "Sum")

Channels = np.ndarray


def made_by_filters(call: Call) -> bool:
    """Return whether each channel that `call` makes is that of a filter or unit of its own."""
    return isinstance(call.operation, PRODUCERS) and _channels_last(call.operation)


def mixing_activation(layer: Any) -> str:
    """Return the name of the activation of `layer` if it computes a channel from others, as softmax does; else ""."""
    activation = getattr(layer, "activation", None)
    if activation is None or _is_by_channel(activation):
        return ""
    return getattr(activation, "__name__", type(activation).__name__)


def passed_on(call: Call, entering: list[Channels], shape: tuple) -> list[Channels] | None:
    """Return the channels that leave `call`, and those of other tensors that are joined with them one by one.

    Args:
        call: A call of an operation that has no filters.
        entering: The channels of each tensor that it reads.
        shape: Of the tensor that it makes.

    Returns:
        The channels that leave, followed by those of each tensor that is added; a single channel that is added to all
        of them stays. None if the call needs every channel that enters.
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
    if type(layer) in SUMS:
        return _joined(entering, n)
    if isinstance(layer, PASSING) and _is_channelwise(layer, len(shape)):
        return [np.repeat(first, n // len(first))]  # a depthwise convolution may make several of each
    return None


def _joined(entering: list[Channels], n: int) -> list[Channels] | None:
    """Return the channels of tensors that are added; those with all `n` channels come first."""
    widest_first = sorted(entering, key=len, reverse=True)
    return widest_first if all(len(channels) in (1, n) for channels in entering) else None


def _is_channelwise(layer: Any, rank: int) -> bool:
    """Return whether `layer`, one of PASSING, computes each channel from itself alone."""
    if isinstance(layer, layers.BatchNormalization):
        return layer.axis in (-1, rank - 1)
    if isinstance(layer, layers.Permute):
        return layer.dims[-1] == rank - 1
    if isinstance(layer, layers.Rescaling):
        return np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0
    return not mixing_activation(layer)


def _is_by_channel(activation: Any) -> bool:
    """Return whether `activation` computes each channel from itself alone: other channels change, one does not."""
    channels = np.array([[0.5, -1.0, 2.0, 0.1], [0.5, 3.0, -2.0, 0.7]], np.float32)
    return bool(np.ptp(ops.convert_to_numpy(activation(channels))[:, 0]) == 0)


def _through_function(call: Call, name: str, entering: list[Channels], shape: tuple) -> list[Channels] | None:
    operation: Any = call.operation
    tensors, axes = len(entering), getattr(operation, "axis", None)
    if name in SUM_FUNCTIONS and tensors == 2:
        return _joined(entering, shape[-1])
    if name in POOLING_FUNCTIONS and axes is not None:
        rank = len(call.inputs[0].shape)
        reduced = {axis % rank for axis in (axes if isinstance(axes, (tuple, list)) else [axes])}
        return None if reduced & {0, rank - 1} else entering
    if name in (*ACTIVATION_FUNCTIONS, *NUMBER_FUNCTIONS) and tensors == 1 and len(entering[0]) == shape[-1]:
        return None if _has_arrays(call) else entering
    return None


def _has_arrays(call: Call) -> bool:
    """Return whether a function is given more than numbers besides its tensor, such as one number per channel."""
    own = [value for name, value in vars(call.operation).items() if not name.startswith("_")]
    given = (*call.arguments, *call.keywords.values(), *own)
    return any(np.ndim(x) for x in given if not isinstance(x, keras.KerasTensor))


def _channels_last(operation: Any) -> bool:
    return getattr(operation, "data_format", None) != "channels_first"
