"""What a layer may compute that no calibration image shows: ranges that follow from the layers before it.

A layer whose inputs are zeros on all images has no range to take a format from. Its inputs are then taken to spread
evenly over what the layers before can pass on, and its outputs over what sums of such inputs, independent of each
other, reach: four standard deviations, and no more than the kernel allows.
"""

import warnings
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import CalibrationWarning
from fewbits.graph import Graph
from fewbits.quantization.float_network import as_float
from fewbits.quantization.layer_summary import LayerSummary
from fewbits.quantization.layers import QUANTIZED
from fewbits.quantization.layerwise import apply_call
from fewbits.quantization.value_summary import ValueSummary, is_nothing

Limits = tuple[float, float]

DEVIATIONS = 4
POINTS = 1001  # that stand for a range
COMBINED = 3  # inputs of a layer of whose limits all combinations are tried


def spread(limits: Limits) -> np.ndarray:
    """Return numbers (POINTS,), float32, that spread evenly between the limits."""
    return np.linspace(*limits, POINTS, dtype=np.float32)


class UnseenRanges:
    """Estimates of what layers may compute where images show only zeros or constants; tell it of all layers in order.

    Attributes:
        layers: The names of the layers with estimates.
    """

    def __init__(self, graph: Graph, shapes: dict[int, tuple[int, ...]], inputs: Iterable[ValueSummary]):
        """Begin with what the network reads.

        Args:
            graph: As in KnownLimits.
            shapes: As in KnownLimits.
            inputs: For each input of the network its values.
        """
        self.layers: list[str] = []
        self._shapes = shapes
        self._known = KnownLimits(graph, shapes, [(values.low, values.high) for values in inputs])

    def estimates(self, seen: LayerSummary) -> dict[str, np.ndarray]:
        """Return values to take for kernel, input or output in place of zeros and of what is not known.

        Args:
            seen: What the next layer of the network computes with.

        Returns:
            Kind -> values, any shape; empty for a layer that sees enough.
        """
        blind = seen.input.is_nothing or bool(self.layers) and seen.input.is_constant
        found = (self._of_kernel if type(seen.layer) in QUANTIZED else self._of_activation)(seen, blind)
        if found:
            self.layers.append(seen.layer.name)
        if type(seen.layer) in QUANTIZED:
            self._known.pass_on(seen.layer, found.get("output", np.array([seen.output.low, seen.output.high])))
        return found

    def warn(self, stacklevel: int) -> None:
        """Warn of the layers with estimates, if there are some.

        Args:
            stacklevel: As in `warnings.warn`, counted from the caller.
        """
        names = (
            f"layer {self.layers[0]} computes" if len(self.layers) == 1 else f"layers {', '.join(self.layers)} compute"
        )
        if self.layers:
            warnings.warn(
                f"{names} only zeros or constants on these images; the formats are estimates from kernels and the "
                "layers before, so calibrate with images that show more",
                CalibrationWarning,
                stacklevel=stacklevel + 1,
            )

    def _of_kernel(self, seen: LayerSummary, blind: bool) -> dict[str, np.ndarray]:
        no_kernel, no_output, found = is_nothing(seen.kernel), seen.output.is_nothing, {}
        limits = self._known.of(seen.layer.input) if blind else (seen.input.low, seen.input.high)
        limits = limits if any(limits) else (-1.0, 1.0)
        if no_kernel:
            found["kernel"] = np.ones_like(seen.kernel)
        if blind:
            found["input"] = spread(limits)
        if blind or no_output:
            reached = output_limits(seen.layer, limits, self._shapes[id(seen.layer.input)])
            found["output"] = spread(reached if any(reached) else limits)
        return found

    def _of_activation(self, seen: LayerSummary, blind: bool) -> dict[str, np.ndarray]:
        if not blind:
            return {}
        read = spread(self._known.of(seen.layer.input))
        slope = None if seen.kernel is None else np.ravel(seen.kernel)
        if slope is not None:
            return {"input": read, "output": np.where(read < 0, read * np.abs(slope).max(), read)}
        shape = len(read), *(1,) * (len(self._shapes[id(seen.layer.input)]) - 1)
        output = ops.convert_to_numpy(as_float(seen.layer(ops.convert_to_tensor(read.reshape(shape)))))
        return {"input": read, "output": output}


class KnownLimits:
    """The limits of tensors, from the largest magnitudes of what the layers before have computed.

    Layers with a kernel are told by `pass_on`, in topological order; what stands between them is probed with the limits
    of its inputs. Inputs of the network that are nothing but zeros are taken for images from -1 to 1.
    """

    def __init__(self, graph: Graph, shapes: dict[int, tuple[int, ...]], inputs: Sequence[Limits]):
        """Begin with what the network reads.

        Args:
            graph: The graph of the network.
            shapes: Identity of each tensor -> its shape, batch included.
            inputs: The lowest and the highest number of each input.
        """
        self._graph, self._shapes = graph, shapes
        self._known = {
            id(tensor): (-1.0, 1.0) if is_nothing(np.array(limits)) else limits
            for tensor, limits in zip(graph.inputs, inputs, strict=True)
        }

    def pass_on(self, layer: Any, outputs: np.ndarray) -> None:
        """Take note of what a layer computes; either sign may occur.

        Args:
            layer: A plain Keras layer with a kernel.
            outputs: Its products and bias before the activation, any shape.
        """
        largest = np.abs(outputs).max()
        ends = ops.convert_to_tensor(np.array([[-largest, largest]], np.float32))
        [call] = self._graph.calls_of(layer)
        self._known[id(call.outputs[0])] = _limits([(layer.activation or keras.activations.linear)(ends)])

    def of(self, tensor: keras.KerasTensor) -> Limits:
        """Return the lower and the upper limit of `tensor`."""
        if id(tensor) not in self._known:
            call = self._graph.made_by(tensor)
            results = [apply_call(call, values) for values in self._probes(call.inputs)]
            for i, output in enumerate(call.outputs):
                self._known[id(output)] = _limits([result[i] for result in results])
        return self._known[id(tensor)]

    def _probes(self, tensors):
        """Yield values for `tensors` at their limits."""
        limits = [self.of(tensor) for tensor in tensors]
        for ends in product(*limits) if len(tensors) <= COMBINED else zip(*limits):
            yield {
                id(tensor): ops.full((1, *self._shapes[id(tensor)][1:]), end, tensor.dtype)
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
