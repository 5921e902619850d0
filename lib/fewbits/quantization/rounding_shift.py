"""The shift that kernels rounded down give to a layer, predicted before anything is rounded.

Rounded down, a weight is half a step too small on average, so an output falls by q / 2 times the sum of the inputs in
its window. Whether that hurts depends on how far apart the outputs lie that the layer passes on.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.inputs import Images
from fewbits.graph import Graph
from fewbits.quantization.activations import QuantizedActivation, activation_type
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.observation import Values, observe

layers = keras.layers

ORDER_KEEPING = layers.GlobalAveragePooling2D, layers.Flatten, layers.Dropout, layers.Softmax
STEPS = tuple(2.0**k for k in range(-14, 1))  # those of kernels with MSB 0 and 15 to 1 bits


class RoundingShift(NamedTuple):
    """What predicts the harm of kernels rounded down in one layer.

    Attributes:
        layer: Its name.
        window_sum: The sum of the inputs that a filter sees, averaged over images, places and filters.
        window_deviation: Its standard deviation over images and places, averaged over filters.
        steps: Steps of a kernel, ascending.
        relative: For each step, how far the shift moves what the layer passes on: the root mean square of the change
            after the activation, in units of the standard deviation of the values there. Above 1, the shift is larger
            than what the values tell apart. Where only linear layers lead to the output of the network, a change that
            all filters share does not count: it moves all classes alike.
    """

    layer: str
    window_sum: float
    window_deviation: float
    steps: tuple[float, ...]
    relative: tuple[float, ...]

    def at(self, step: float) -> float:
        """Return the relative shift for kernels rounded down by steps of `step`; between `steps` on a log scale."""
        if not all(self.relative):
            return 0.0
        return float(np.exp2(np.interp(np.log2(step), np.log2(self.steps), np.log2(self.relative))))


def rounding_shifts(model: keras.Model, images: Images, steps: Sequence[float] = STEPS) -> list[RoundingShift]:
    """Return what rounding down would shift, layer by layer.

    Args:
        model: A network that `quantize_model` accepts, quantized or not; its values in float count.
        images: As in `observation.observe`; some tens. Labels are not used.
        steps: Steps of the kernels, ascending.

    Returns:
        One entry per quantized layer with a kernel, in the order of the graph.

    Raises:
        InputError: as `quantize_model` and `observe`.
    """
    network = model if isinstance(model, QuantizedModel) else quantize_model(model)
    graph, names = Graph(network), {layer.name for layer in network.quantized_layers}
    shifts = []
    for name, values in observe(network, images):
        if name in names:
            shifts.append(_shift(graph, network.get_layer(name), values, tuple(steps)))
    return shifts


def _shift(graph: Graph, layer: Any, values: Values, steps: tuple[float, ...]) -> RoundingShift:
    sums = ops.convert_to_numpy(layer.product(values.input, np.ones_like(values.kernel)))
    passed = _activation(graph, layer)
    before = passed(values.output)
    over_places = tuple(range(sums.ndim - 1))
    spread = np.sqrt(np.mean(before.var(over_places, dtype=np.float64)))
    common = _leads_to_classes(graph, layer)
    relative = []
    for step in steps:
        change = before - passed(values.output - np.float32(step / 2) * sums)
        if common:
            change -= change.mean(-1, keepdims=True)
        relative.append(float(np.sqrt(np.mean(change**2)) / spread) if spread else 0.0)
    return RoundingShift(layer.name, float(sums.mean()), float(sums.std(over_places).mean()), steps, tuple(relative))


def _activation(graph: Graph, layer: Any) -> Any:
    """Return the function from the outputs of `layer`, before its activation, to what it passes on."""
    [call] = graph.calls_of(layer)
    reader = graph.only_reader(call.outputs[0])
    after = reader.operation if reader and _is_activation(reader.operation) else keras.activations.linear

    def passed(outputs: np.ndarray) -> np.ndarray:
        return ops.convert_to_numpy(after(layer.activation(ops.convert_to_tensor(outputs))))

    return passed


def _leads_to_classes(graph: Graph, layer: Any) -> bool:
    """Return whether between the outputs of `layer` and those of the network there are only layers that keep order."""
    if layer.activation is not keras.activations.linear:
        return False
    [call] = graph.calls_of(layer)
    tensor = call.outputs[0]
    while not graph.is_output(tensor):
        reader = graph.only_reader(tensor)
        if reader is None or not _keeps_order(reader.operation):
            return False
        tensor = reader.outputs[0]
    return True


def _keeps_order(operation: Any) -> bool:
    quantizer = isinstance(operation, QuantizedActivation) and operation.activation is keras.activations.linear
    return quantizer or isinstance(operation, ORDER_KEEPING)


def _is_activation(operation: Any) -> bool:
    return isinstance(operation, layers.ReLU) or activation_type(operation) is not None
