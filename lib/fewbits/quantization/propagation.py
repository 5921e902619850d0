"""How errors propagate: what each layer's output has lost in a quantized network, and what Equation 8 predicts.

Both concern what a layer passes on: its products plus bias, after its output quantizer and its activation. That is the
activation a(L) of backstrom2018, 2.2 (Equation 8), whose own quantization is the last part of the sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log10
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.inputs import Images, input_arrays
from fewbits.errors import InputError
from fewbits.graph import Graph
from fewbits.quantization.conversion import QuantizedModel, dequantize_model
from fewbits.quantization.fixedpoint import quantize
from fewbits.quantization.layers import active_formats, by_filter, quantized_type
from fewbits.quantization.observation import observe
from fewbits.quantization.sqnr import measured_sqnr, predicted_sqnr, quantization_error


@dataclass(frozen=True)
class PropagatedError:
    """What a layer's output has lost, with all errors of the layers before it.

    Attributes:
        signal: Mean square of the float output.
        bias: The square of each channel's mean error over images and places, averaged over channels.
        variance: The rest; bias + variance is the mean square of the error.
        predicted: The SQNR in dB by Equation 8, from the parts alone.
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
        """The SQNR in dB if the bias were the whole error."""
        return _decibels(self.signal, self.bias)

    @property
    def variance_sqnr(self) -> float:
        """The SQNR in dB if the variance were the whole error."""
        return _decibels(self.signal, self.variance)


class Propagation:
    """A quantized network and some images, on which its float values are computed once.

    Between calls of `errors` the formats, roundings and levels of the network may be set again; its weights may not
    change.

    Attributes:
        network: The quantized network.
        observed: Layer name -> its Values, as `observe` yields them.
    """

    def __init__(self, network: QuantizedModel, images: Images):
        """Compute the float values of `network` on `images`.

        Args:
            network: The quantized network.
            images: As in `observe`, some tens: all outputs are in memory at once.

        Raises:
            InputError: when `network` is not a QuantizedModel.
        """
        if not isinstance(network, QuantizedModel):
            kind = type(network).__name__
            raise InputError(f"errors are followed through a QuantizedModel, not a {kind}; quantize_model makes one")
        self._images = input_arrays(network, images)
        self.network, self.observed = network, dict(observe(network, self._images))
        self._calls = Graph(network).calls
        outputs = [network.get_layer(name).output for name in self.observed]
        self._reader = keras.Model(network.inputs, outputs)
        plain = dequantize_model(network)
        plain_reader = keras.Model(plain.inputs, [plain.get_layer(name).output for name in self.observed])
        self._outputs = dict(zip(self.observed, _read(plain_reader, self._images)))
        # What lies between the products of one layer and the next, cut out of the network.
        joined = [tensor for call in self._calls if len(call.inputs) > 1 for tensor in call.inputs]
        inputs = [network.get_layer(name).input for name in self.observed]
        self._between = keras.Function([*network.inputs, *outputs], [*inputs, *joined])
        self._passed_on = {name: self._finish(name, values.output) for name, values in self.observed.items()}
        exact = _read(self._between, [*self._images, *self._passed_on.values()])
        self._inputs = dict(zip(self.observed, exact))
        self._powers = {id(t): float(np.square(x, dtype=float).sum()) for t, x in zip(joined, exact[len(inputs) :])}

    def errors(self) -> dict[str, PropagatedError]:
        """Return the errors of all layers with the formats that the network has now.

        The parts of Equation 8 are each measured alone, on float values: what each layer on the way reads, rounded by
        all quantizers since the last product (two with equal formats round once); its kernel; and the layer's own
        output. What stays in float has no part. As in the source, biases and poolings are left out. Where branches
        meet, by concatenation or addition, the noise of each counts by its share of their power, because nothing is
        multiplied there; so a part on several paths counts once. In a chain of layers this is Equation 8 as printed.

        Returns:
            Layer name -> PropagatedError.
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
        passed_on = {
            name: self._finish(name, _rounded(values.output, formats[name].output, rounding[name]))
            for name, values in self.observed.items()
        }
        read = dict(zip(self.observed, _read(self._between, [*self._images, *passed_on.values()])))
        predicted = {}

        def through(name, before):
            """Return the SQNR of the products of the layer `name`; that of what it passes on goes to `predicted`."""
            fmt, values = formats[name], self.observed[name]
            parts = [before, measured_sqnr(self._inputs[name], _rounded(read[name], fmt.input, rounding[name]))]
            if fmt.kernel is not None:
                kernel = by_filter(self.network.get_layer(name), values.kernel)
                parts.append(quantization_error(kernel, fmt.kernel, rounding[name]).sqnr)
            predicted[name] = predicted_sqnr(*parts, measured_sqnr(self._passed_on[name], passed_on[name]))
            return predicted_sqnr(*parts)

        carried = {id(tensor): inf for tensor in self.network.inputs}
        for call in self._calls:
            if call.inputs:
                sqnr = self._joined(call.inputs, carried)
                sqnr = through(call.name, sqnr) if quantized_type(call.operation) else sqnr
                carried.update((id(tensor), sqnr) for tensor in call.outputs)
        return predicted

    def _joined(self, tensors: Sequence, carried: dict[int, float]) -> float:
        """Return the SQNR of `tensors` together: the noise of each counts by its share of the power."""
        if len(tensors) == 1:
            return carried[id(tensors[0])]
        powers = [self._powers[id(tensor)] for tensor in tensors]
        shares = [(carried[id(tensor)], power / sum(powers)) for tensor, power in zip(tensors, powers) if power]
        return predicted_sqnr(*(sqnr - 10 * log10(share) for sqnr, share in shares))

    def _finish(self, name, values):
        """Return what the layer `name` passes on for values that its output quantizer made."""
        layer = self.network.get_layer(name)
        if layer.bias is not None and layer.bias_order == "output":
            values = values + ops.convert_to_numpy(layer.bias)
        return ops.convert_to_numpy((layer.activation or keras.activations.linear)(ops.convert_to_tensor(values)))


def _read(model: keras.Model | keras.Function, inputs: Any) -> list[np.ndarray]:
    return [ops.convert_to_numpy(y) for y in keras.tree.flatten(model(inputs))]


def _rounded(values, fmt, rounding):
    return values if fmt is None else quantize(values, fmt, rounding).astype(values.dtype)


def _decibels(signal, noise):
    if not noise:
        return inf
    return 10 * log10(signal / noise) if signal else -inf
