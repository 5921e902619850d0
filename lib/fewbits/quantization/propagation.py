"""How errors travel: what has become of each layer's output in a quantized network, beside what Equation 8 predicts.

Both speak of what a layer hands on: its products plus bias, behind its output quantizer and its activation. That is the
activation a(L) of backstrom2018, 2.2 (Equation 8), whose own quantization is the last part of the sum.
"""

from dataclasses import dataclass
from math import inf, log10

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError, finite
from fewbits.graph import Graph
from fewbits.quantization.calibration import observe
from fewbits.quantization.conversion import QuantizedModel, dequantize_model, quantized_type
from fewbits.quantization.fixedpoint import quantize
from fewbits.quantization.layers import active_formats, by_filter
from fewbits.quantization.sqnr import measured_sqnr, predicted_sqnr, quantization_error


@dataclass(frozen=True)
class PropagatedError:
    """What a layer's output has lost, with all errors of the layers before it.

    signal: mean square of the float output. bias: mean error of each channel over images and places, squared, its mean
    over channels. variance: the rest; bias + variance is the mean square of the error. predicted: the SQNR in dB by
    Equation 8, from the parts alone.
    """

    signal: float
    bias: float
    variance: float
    predicted: float

    @property
    def sqnr(self) -> float:
        """The SQNR in dB, of signal to bias and variance together."""
        return _decibels(self.signal, self.bias + self.variance)

    @property
    def bias_sqnr(self) -> float:
        """What the SQNR would be in dB if the bias were all of the error."""
        return _decibels(self.signal, self.bias)

    @property
    def variance_sqnr(self) -> float:
        """What the SQNR would be in dB if the variance were all of the error."""
        return _decibels(self.signal, self.variance)


class Propagation:
    """A quantized network and some images, on which its float values are computed once.

    network: its formats, roundings and levels may be set anew between calls of `errors`, its weights may not. images:
    as in `observe`, some tens: all outputs are in memory at once. Raises InputError where network is no QuantizedModel.
    """

    def __init__(self, network: QuantizedModel, images):
        if not isinstance(network, QuantizedModel):
            raise InputError(f"errors are followed through a QuantizedModel, not through a {type(network).__name__}")
        self.network, self.observed = network, dict(observe(network, images))
        self._images = finite(images, "images").astype("float32")
        self._calls = Graph(network).calls
        outputs = [network.get_layer(name).output for name in self.observed]
        self._reader = keras.Model(network.inputs[0], outputs)
        plain = dequantize_model(network)
        plain_reader = keras.Model(plain.inputs[0], [plain.get_layer(name).output for name in self.observed])
        self._outputs = dict(zip(self.observed, _read(plain_reader, self._images)))
        # What lies between the products of one layer and the next, cut out of the network.
        joined = [tensor for call in self._calls if len(call.inputs) > 1 for tensor in call.inputs]
        inputs = [network.get_layer(name).input for name in self.observed]
        self._wires = keras.Function([network.inputs[0], *outputs], [*inputs, *joined])
        self._handed_on = {name: self._finish(name, values.output) for name, values in self.observed.items()}
        exact = _read(self._wires, [self._images, *self._handed_on.values()])
        self._inputs = dict(zip(self.observed, exact))
        self._powers = {id(t): float(np.square(x, dtype=float).sum()) for t, x in zip(joined, exact[len(inputs) :])}

    def errors(self) -> dict[str, PropagatedError]:
        """Return layer name -> PropagatedError with the formats that the network has now.

        The parts of Equation 8 are each measured alone, on float values: what each layer on the way reads, rounded by
        all quantizers since the last product (two of equal formats round once); its kernel; and the layer's own output.
        What stays in float has none. As in the source, biases and poolings are left out. Where branches meet, by
        concatenation or addition, the noise of each counts by its share of their power, for nothing is multiplied
        there; so a part on several paths counts once. In a chain of layers it is Equation 8 as printed.
        """
        predicted, found = self._predicted(), {}
        for name, values in zip(self.observed, _read(self._reader, self._images)):
            exact = self._outputs[name].astype(float)
            error = (values - exact).reshape(-1, exact.shape[-1])
            bias = float(np.mean(error.mean(0) ** 2))
            found[name] = PropagatedError(float(np.mean(exact**2)), bias, float(error.var(0).mean()), predicted[name])
        return found

    def _predicted(self) -> dict[str, float]:
        formats = {layer.name: active_formats(layer) for layer in self.network.quantized_layers}
        rounding = {layer.name: layer.rounding for layer in self.network.quantized_layers}
        handed_on = {
            name: self._finish(name, _rounded(values.output, formats[name].output, rounding[name]))
            for name, values in self.observed.items()
        }
        read = dict(zip(self.observed, _read(self._wires, [self._images, *handed_on.values()])))
        predicted = {}

        def through(name, before):
            """Return the SQNR behind the product of the layer `name`; that of what it hands on goes to `predicted`."""
            fmt, values = formats[name], self.observed[name]
            parts = [before, measured_sqnr(self._inputs[name], _rounded(read[name], fmt.input, rounding[name]))]
            if fmt.kernel is not None:
                kernel = by_filter(self.network.get_layer(name), values.kernel)
                parts.append(quantization_error(kernel, fmt.kernel, rounding[name]).sqnr)
            predicted[name] = predicted_sqnr(*parts, measured_sqnr(self._handed_on[name], handed_on[name]))
            return predicted_sqnr(*parts)

        carried = {id(tensor): inf for tensor in self.network.inputs}
        for call in self._calls:
            if call.inputs:
                sqnr = self._joined(call.inputs, carried)
                sqnr = through(call.name, sqnr) if quantized_type(call.operation) else sqnr
                carried.update((id(tensor), sqnr) for tensor in call.outputs)
        return predicted

    def _joined(self, tensors, carried) -> float:
        """Return the SQNR of `tensors` together: each one's noise counts by its share of the power."""
        if len(tensors) == 1:
            return carried[id(tensors[0])]
        powers = [self._powers[id(tensor)] for tensor in tensors]
        shares = [(carried[id(tensor)], power / sum(powers)) for tensor, power in zip(tensors, powers) if power]
        return predicted_sqnr(*(sqnr - 10 * log10(share) for sqnr, share in shares))

    def _finish(self, name, values):
        """Return what the layer `name` hands on of what is behind its output quantizer."""
        layer = self.network.get_layer(name)
        if layer.bias is not None and layer.bias_order == "output":
            values = values + ops.convert_to_numpy(layer.bias)
        return ops.convert_to_numpy((layer.activation or keras.activations.linear)(ops.convert_to_tensor(values)))


def _read(model, inputs) -> list[np.ndarray]:
    return [ops.convert_to_numpy(y) for y in keras.tree.flatten(model(inputs))]


def _rounded(values, fmt, rounding):
    return values if fmt is None else quantize(values, fmt, rounding).astype(values.dtype)


def _decibels(signal, noise):
    if not noise:
        return inf
    return 10 * log10(signal / noise) if signal else -inf
