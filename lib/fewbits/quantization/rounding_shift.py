"""The shift that kernels rounded down give to the outputs of a layer, predicted before anything is rounded.

Rounded down, a weight is half a step too small on average, so an output falls by q / 2 times the sum of the inputs in
its window. Whether that hurts depends on how far outputs lie apart: on their spread.
"""

from typing import NamedTuple

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.inputs import Images
from fewbits.quantization.calibration import observe
from fewbits.quantization.conversion import QuantizedModel, quantize_model


class RoundingShift(NamedTuple):
    """What predicts the harm of kernels rounded down in one layer.

    Attributes:
        layer: Its name.
        window_sum: The sum of the inputs that a filter sees, averaged over images, places and filters.
        window_deviation: Its standard deviation over images and places.
        output_spread: The standard deviation of an output over images and places, before bias and activation: the root
            mean square over the filters.
    """

    layer: str
    window_sum: float
    window_deviation: float
    output_spread: float

    def relative(self, step: float) -> float:
        """Return the mean shift in units of the spread of the outputs, for kernels rounded down by steps of `step`."""
        return step / 2 * self.window_sum / self.output_spread if self.output_spread else 0.0


def rounding_shifts(model: keras.Model, images: Images) -> list[RoundingShift]:
    """Return what rounding down would shift, layer by layer.

    Args:
        model: A network that `quantize_model` accepts, quantized or not; its values in float count.
        images: As in `calibration.observe`; some tens. Labels are not used.

    Returns:
        One entry per quantized layer with a kernel, in the order of the graph.

    Raises:
        InputError: as `quantize_model` and `observe`.
    """
    network = model if isinstance(model, QuantizedModel) else quantize_model(model)
    names = {layer.name for layer in network.quantized_layers}
    shifts = []
    for name, values in observe(network, images):
        if name in names:
            layer = network.get_layer(name)
            ones = np.ones_like(ops.convert_to_numpy(values.kernel))
            sums, outputs = (_by_output(layer.product(values.input, kernel)) for kernel in (ones, values.kernel))
            spread = np.sqrt(np.mean(outputs.var(0)))
            shifts.append(RoundingShift(name, float(sums.mean()), float(sums.std(0).mean()), float(spread)))
    return shifts


def _by_output(products) -> np.ndarray:
    """Return products as a float64 matrix (images and places, filters)."""
    products = ops.convert_to_numpy(products).astype(np.float64)
    return products.reshape(-1, products.shape[-1])
