"""The float network of a model: what its layers compute where quantizers would round, and what they pass on."""

from math import inf
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.graph import Graph, function_name
from fewbits.quantization.activations import slope_of
from fewbits.quantization.conversion import QuantizedModel, check_layers, dequantize_model
from fewbits.quantization.layers import QUANTIZED
from fewbits.quantization.placement import placed, quantized_activations

LINEAR = None, keras.activations.linear


class FloatNetwork:
    """The float network of a model and its layers that are to be quantized.

    Attributes:
        model: The network in plain Keras layers.
        graph: Its graph.
        layers: The layers with a kernel; with activations, the activations that have formats, too.
    """

    def __init__(self, model: keras.Model, with_activations: bool = True):
        """Make the network.

        Args:
            model: A model that `quantize_model` accepts, quantized or not.
            with_activations: Whether activations count.

        Raises:
            InputError: as `check_layers`.
        """
        check_layers(model, "float")
        plain = dequantize_model(model)
        self.model = plain if isinstance(model, QuantizedModel) else placed(plain)
        self.graph = Graph(self.model)
        between = quantized_activations(self.model) if with_activations else []
        self.layers = [layer for layer in self.model.layers if type(layer) in QUANTIZED or layer.name in between]
        quantized = getattr(model, "quantized_layers", ())
        self._late = {layer.name for layer in quantized if layer.bias_order == "output"}

    def kernel_of(self, layer: Any) -> np.ndarray | None:
        """Return the kernel of one of the layers, or its slope; None without either."""
        return ops.convert_to_numpy(as_float(layer.kernel)) if type(layer) in QUANTIZED else slope_of(layer)

    def output_of(self, layer: Any, inputs: Any) -> Any:
        """Return what one of the layers passes to its output quantizer, as a tensor of float32, or float64 if it is.

        Args:
            layer: One of `layers`.
            inputs: What it reads, a tensor in its compute dtype.
        """
        if type(layer) not in QUANTIZED:
            return as_float(layer(inputs))
        product = as_float(QUANTIZED[type(layer)].product(layer, inputs, ops.cast(layer.kernel, layer.compute_dtype)))
        return product if layer.name in self._late else _with_bias(layer, product)

    def passed_on(self, layer: Any, output: Any) -> Any:
        """Return what one of the layers makes of its outputs before its output quantizer.

        Args:
            layer: One of `layers`.
            output: What `output_of` returns for it.
        """
        if type(layer) in QUANTIZED:
            output = _with_bias(layer, output) if layer.name in self._late else output
            output = (layer.activation or keras.activations.linear)(output)
        return ops.cast(output, layer.compute_dtype)

    def limits_of(self, layer: Any) -> tuple[float, float] | None:
        """Return between which limits `passed_on` clips the outputs of one of the layers; None if it does more.

        Args:
            layer: One of `layers`.
        """
        if type(layer) not in QUANTIZED or layer.name not in self._late and layer.activation in LINEAR:
            return -inf, inf
        ceiling = None if layer.name in self._late else _ceiling_of(layer.activation)
        return None if ceiling is None else (0.0, ceiling)

    def ceiling_of(self, layer: Any) -> float | None:
        """Return up to where a ReLU right after the output quantizer of one of the layers passes values on.

        That is a ReLU which the layer applies itself, or ReLUs that alone read what it returns.

        Returns:
            Infinity or another number such as 6; None where no ReLU follows, or a bias is added before it.
        """
        if layer.name in self._late:
            return None
        if type(layer) in QUANTIZED and layer.activation not in LINEAR:
            return _ceiling_of(layer.activation)
        [call] = self.graph.calls_of(layer)
        [output] = call.outputs
        ceilings = [relu_ceiling(reader.operation) for reader in self.graph.readers(output)]
        known = [ceiling for ceiling in ceilings if ceiling is not None]
        return max(known) if known and len(known) == len(ceilings) and not self.graph.is_output(output) else None


def relu_ceiling(operation: Any) -> float | None:
    """Return up to where an operation passes values on, infinity or another number, if it is a ReLU; otherwise None.

    Args:
        operation: A layer or another operation of Keras.
    """
    if isinstance(operation, keras.layers.ReLU):
        is_plain = not operation.negative_slope and not operation.threshold
        return (inf if operation.max_value is None else float(operation.max_value)) if is_plain else None
    if isinstance(operation, keras.layers.Activation):
        return _ceiling_of(operation.activation)
    return {"Relu": inf, "Relu6": 6.0}.get(function_name(operation))


def _ceiling_of(activation: Any) -> float | None:
    if activation is keras.activations.relu:
        return inf
    return 6.0 if activation is keras.activations.relu6 else None


def as_float(x: Any) -> Any:
    """Return a tensor as one of float32, or of float64 if it is."""
    return ops.cast(x, "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32")


def _with_bias(layer: Any, product: Any) -> Any:
    return product if layer.bias is None else product + ops.cast(layer.bias, product.dtype)
