"""What a layer may compute that no calibration image shows: ranges that follow from the layers before it.

A layer whose inputs are zeros on all images has no range to take a format from. Its inputs are then taken to spread
evenly over what the layers before can pass on, and its outputs over what sums of such inputs, independent of each
other, reach: four standard deviations, and no more than the kernel allows.
"""

from itertools import product
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.quantization.fixedpoint import MAX_ABS_MSB
from fewbits.quantization.layers import QUANTIZED
from fewbits.quantization.layerwise import LayerwiseRun, apply_call

Limits = tuple[float, float]

NOTHING = 2.0**-MAX_ABS_MSB  # what is not larger in magnitude vanishes in every format
DEVIATIONS = 4
POINTS = 1001  # that stand for a range
COMBINED = 3  # inputs of a layer of whose limits all combinations are tried


def is_nothing(values: np.ndarray) -> bool:
    """Return whether `values` are zeros, or too small for any format."""
    return -NOTHING <= float(np.min(values)) and float(np.max(values)) <= NOTHING


def spread(limits: Limits) -> np.ndarray:
    """Return numbers (POINTS,), float32, that spread evenly between the limits."""
    return np.linspace(*limits, POINTS, dtype=np.float32)


class KnownLimits:
    """The limits of tensors, from the largest magnitudes of what the layers before have computed.

    Layers with a kernel are told by `pass_on`, in topological order; what stands between them is probed with the limits
    of its inputs. Inputs of the network that are nothing but zeros are taken for images from -1 to 1.
    """

    def __init__(self, run: LayerwiseRun, inputs: list[np.ndarray]):
        """Begin with the arrays that the network reads.

        Args:
            run: The run of the network.
            inputs: One array (n, ...) per input.
        """
        self._run = run
        self._known = {
            id(tensor): (-1.0, 1.0) if is_nothing(x) else (float(x.min()), float(x.max()))
            for tensor, x in zip(run.graph.inputs, inputs)
        }

    def pass_on(self, layer: Any, outputs: np.ndarray) -> None:
        """Take note of what a layer computes; either sign may occur.

        Args:
            layer: A plain Keras layer with a kernel.
            outputs: Its products and bias before the activation, any shape.
        """
        largest = np.abs(outputs).max()
        ends = ops.convert_to_tensor(np.array([[-largest, largest]], np.float32))
        [call] = self._run.graph.calls_of(layer)
        self._known[id(call.outputs[0])] = _limits([(layer.activation or keras.activations.linear)(ends)])

    def of(self, tensor: keras.KerasTensor) -> Limits:
        """Return the lower and the upper limit of `tensor`."""
        if id(tensor) not in self._known:
            call = self._run.graph.made_by(tensor)
            results = [apply_call(call, values) for values in self._probes(call.inputs)]
            for i, output in enumerate(call.outputs):
                self._known[id(output)] = _limits([result[i] for result in results])
        return self._known[id(tensor)]

    def _probes(self, tensors):
        """Yield values for `tensors` at their limits."""
        limits = [self.of(tensor) for tensor in tensors]
        for ends in product(*limits) if len(tensors) <= COMBINED else zip(*limits):
            yield {
                id(tensor): ops.full((1, *self._run.shapes[id(tensor)][1:]), end, tensor.dtype)
                for tensor, end in zip(tensors, ends)
            }


def output_limits(layer: Any, limits: Limits, shape: tuple[int, ...]) -> Limits:
    """Return the limits of the products and bias of a layer for inputs that spread evenly between `limits`.

    Args:
        layer: A plain Keras layer with a kernel.
        limits: The lower and the upper limit of its inputs.
        shape: The shape of its inputs, batch included.

    Returns:
        The lower and the upper limit.
    """
    low, high = limits
    kernel = ops.convert_to_numpy(layer.kernel).astype(np.float32)

    def multiply(x, kernel):
        return ops.convert_to_numpy(QUANTIZED[type(layer)].product(layer, ops.full((1, *shape[1:]), x), kernel))

    middle, farthest = multiply((low + high) / 2, kernel), multiply((high - low) / 2, np.abs(kernel))
    deviation = (high - low) / 12**0.5 * np.sqrt(np.maximum(multiply(1.0, kernel**2), 0))
    reach = np.minimum(DEVIATIONS * deviation, farthest)
    bias = 0.0 if layer.bias is None else ops.convert_to_numpy(layer.bias)
    return float((middle - reach + bias).min()), float((middle + reach + bias).max())


def _limits(values: list[Any]) -> Limits:
    arrays = [ops.convert_to_numpy(ops.cast(x, "float32")) for x in values]
    return float(min(x.min() for x in arrays)), float(max(x.max() for x in arrays))
