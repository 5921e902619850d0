"""Activation functions as nodes of ONNX: the operations of Keras in their order, so that exact ones stay exact."""

from collections.abc import Callable

from fewbits.backend import keras
from fewbits.deploy.onnx_graph import ONNXGraph

activations = keras.activations


def activated(graph: ONNXGraph, x: str, function: Callable, axis: int) -> str | None:
    """Add an activation.

    Args:
        graph: The graph to add it to.
        x: Name of the tensor to activate.
        function: The activation, such as `keras.activations.relu`.
        axis: The axis of the channels of `x`, for a softmax.

    Returns:
        The name of the activated tensor; None if there are no nodes for `function`.
    """
    if function is activations.linear:
        return x
    if function in OPERATORS:
        return graph.add(OPERATORS[function], x)
    if function in (activations.softmax, activations.log_softmax):
        return graph.add("Softmax" if function is activations.softmax else "LogSoftmax", x, axis=axis)
    return COMPOSED[function](graph, x) if function in COMPOSED else None


OPERATORS = {
    activations.relu: "Relu",
    activations.sigmoid: "Sigmoid",
    activations.tanh: "Tanh",
    activations.elu: "Elu",
    activations.selu: "Selu",
    activations.celu: "Celu",
    activations.softplus: "Softplus",
    activations.softsign: "Softsign",
    activations.exponential: "Exp",
}


def _clipped(graph: ONNXGraph, x: str, low: float, high: float) -> str:
    return graph.add("Clip", x, graph.array(low), graph.array(high))


def _sixths(graph: ONNXGraph, x: str) -> str:
    """Add relu6(x + 3)."""
    return _clipped(graph, graph.add("Add", x, graph.array(3)), 0, 6)


def _hard_sigmoid(graph: ONNXGraph, x: str) -> str:
    return graph.add("Div", _sixths(graph, x), graph.array(6))


def _hard_silu(graph: ONNXGraph, x: str) -> str:
    return graph.add("Mul", x, _hard_sigmoid(graph, x))


def hard_silu_divided_last(graph: ONNXGraph, x: str) -> str:
    """Add x * relu6(x + 3) / 6, as a QuantizedActivation computes it, whose product is exact; return its name.

    Args:
        graph: The graph to add it to.
        x: Name of the tensor to activate.
    """
    return graph.add("Div", graph.add("Mul", x, _sixths(graph, x)), graph.array(6))


def _gelu(graph: ONNXGraph, x: str) -> str:
    share = graph.add("Erf", graph.add("Mul", x, graph.array(0.5**0.5)))
    return graph.add("Mul", graph.add("Mul", x, graph.array(0.5)), graph.add("Add", share, graph.array(1)))


def _softened(graph: ONNXGraph, x: str, function: str) -> str:
    """Add x * function(x)."""
    return graph.add("Mul", x, graph.add(function, x))


def _mish(graph: ONNXGraph, x: str) -> str:
    return graph.add("Mul", x, graph.add("Tanh", graph.add("Softplus", x)))


COMPOSED: dict[Callable, Callable[[ONNXGraph, str], str]] = {
    activations.relu6: lambda graph, x: _clipped(graph, x, 0, 6),
    activations.hard_tanh: lambda graph, x: _clipped(graph, x, -1, 1),
    activations.leaky_relu: lambda graph, x: graph.add("LeakyRelu", x, alpha=0.2),
    activations.hard_sigmoid: _hard_sigmoid,
    activations.hard_silu: _hard_silu,
    activations.silu: lambda graph, x: _softened(graph, x, "Sigmoid"),
    activations.gelu: _gelu,
    activations.mish: _mish,
    activations.log_sigmoid: lambda graph, x: graph.add("Neg", graph.add("Softplus", graph.add("Neg", x))),
}
