"""Operators of ONNX on single numbers and vectors, as Keras layers: activations, arithmetic, normalization, Dense."""

from dataclasses import replace
from typing import Any

import numpy as np

from fewbits.backend import keras
from fewbits.io.onnx_values import ONNXNode, ONNXValue

layers = keras.layers

# Activations without parameters: operator -> Keras' name.
ACTIVATIONS = {
    "HardSwish": "hard_swish",
    "LogSoftmax": "log_softmax",
    "Mish": "mish",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Tanh": "tanh",
}
MERGES = {
    "Add": layers.Add,
    "Sum": layers.Add,
    "Sub": layers.Subtract,
    "Mul": layers.Multiply,
    "Max": layers.Maximum,
    "Min": layers.Minimum,
    "Mean": layers.Average,
}


def multiply_matrix(node: ONNXNode) -> ONNXValue:
    """Return what `Gemm` and `MatMul` by a constant matrix compute."""
    value, kernel = node.value(0), node.weights(1)
    bias = node.bias(2)
    if node.operator == "Gemm":
        if node.attribute("transA", 0):
            node.refuse("multiplies a transposed input; transpose the kernel instead")
        kernel = kernel.T if node.attribute("transB", 0) else kernel
        kernel = kernel * np.float32(node.attribute("alpha", 1))
        bias = None if bias is None else bias * np.float32(node.attribute("beta", 1))
    if kernel.ndim != 2 or bias is not None and bias.size not in (1, kernel.shape[1]):
        node.refuse("has a kernel that is not a matrix, or a bias of another size; use a Linear layer")
    if value.rank > 2:
        value = node.ordered(value, tuple(range(value.rank)))
    if len(kernel) != value.tensor.shape[-1]:
        node.refuse(f"has a kernel for {len(kernel)} values and an input of {value.tensor.shape[-1]}; export it again")
    weights = [kernel[value.columns]]
    weights += [] if bias is None else [np.broadcast_to(bias.ravel(), kernel.shape[1:])]
    made = node.layer(layers.Dense, value.tensor, weights=weights, units=kernel.shape[1], use_bias=bias is not None)
    return ONNXValue(made, value.order)


def normalize(node: ONNXNode) -> ONNXValue:
    """Return what `BatchNormalization` computes with the statistics of the file."""
    if node.attribute("training_mode", 0):
        node.refuse("was exported in training mode; call model.eval() before the export")
    value = node.value(0)
    if value.rank > 2:
        value = ONNXValue(node.images(0), (0, *range(2, value.rank), 1))
    weights = [node.weights(index)[value.columns] for index in range(1, 5)]
    options = {"epsilon": node.attribute("epsilon", 1e-5), "momentum": node.attribute("momentum", 0.9)}
    made = node.layer(layers.BatchNormalization, value.tensor, weights=weights, **options)
    return replace(value, tensor=made, nonnegative=False, gate=None)


# Activations


def activate(node: ONNXNode) -> ONNXValue:
    """Return what an activation without parameters computes."""
    value = node.value(0)
    nonnegative = node.operator in ("Sigmoid", "Softplus")
    if node.operator == "LogSoftmax":
        value = _last_axis(node, value)
    made = node.same_axes(layers.Activation, value, nonnegative, activation=ACTIVATIONS[node.operator])
    return replace(made, gate=("silu", value.tensor)) if node.operator == "Sigmoid" else made


def rectify(node: ONNXNode) -> ONNXValue:
    """Return what `Relu`, `LeakyRelu` and `PRelu` compute."""
    value = node.value(0)
    if node.operator == "Relu":
        return node.same_axes(layers.ReLU, value, nonnegative=True)
    if node.operator == "LeakyRelu":
        return node.same_axes(layers.LeakyReLU, value, negative_slope=node.attribute("alpha", 0.01))
    if value.rank > 2:
        value = ONNXValue(node.images(0), (0, *range(2, value.rank), 1))
    slope = _per_channel(node, node.weights(1), value, "has a slope for each pixel; use one for each channel")
    weights = [np.broadcast_to(slope, value.tensor.shape[-1:]).reshape(*[1] * (value.rank - 2), -1)]
    options: dict[str, Any] = {"shared_axes": list(range(1, value.rank - 1)) or None}
    return replace(value, tensor=node.layer(layers.PReLU, value.tensor, weights=weights, **options), gate=None)


def clip(node: ONNXNode) -> ONNXValue:
    """Return what `Clip` computes: a ReLU, with a maximum or without, or a hard tanh."""
    if node.opset < 11:
        low, high = node.attribute("min", -np.inf), node.attribute("max", np.inf)
    else:
        low, high = (float(np.squeeze(node.constant(i, end))) for i, end in ((1, -np.inf), (2, np.inf)))
    most = float(np.finfo(np.float32).max)
    if (low, high) == (-1, 1):
        return node.same_axes(layers.Activation, node.value(0), activation="hard_tanh")
    if low != 0 or high <= 0:
        node.refuse(f"clips to {low:g} and {high:g}; use a ReLU, a ReLU6 or another range that begins at 0")
    return node.same_axes(layers.ReLU, node.value(0), nonnegative=True, max_value=high if high < most else None)


def harden(node: ONNXNode) -> ONNXValue:
    """Return what `HardSigmoid` computes: Keras' activation, or a scale and a clipping."""
    value = node.value(0)
    slope, offset = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    if np.isclose(slope, 1 / 6) and offset == 0.5:
        made = node.same_axes(layers.Activation, value, nonnegative=True, activation="hard_sigmoid")
        return replace(made, gate=("hard_swish", value.tensor))
    scaled = node.layer(layers.Rescaling, value.tensor, "scale", scale=slope, offset=offset)
    return node.same_axes(layers.ReLU, replace(value, tensor=scaled), nonnegative=True, max_value=1)


def grow_smoothly(node: ONNXNode) -> ONNXValue:
    """Return what `Elu`, `Selu`, `Celu` and `Gelu` compute."""
    value = node.value(0)
    if node.operator == "Elu":
        return node.same_axes(layers.ELU, value, alpha=node.attribute("alpha", 1.0))
    if node.operator == "Gelu":
        name = "gelu" if node.attribute("approximate", "none") == "none" else None
    else:
        usual = node.operator == "Celu" or np.isclose(node.attribute("gamma", 1.0507), 1.0507, atol=1e-4)
        alpha = node.attribute("alpha", 1.0 if node.operator == "Celu" else 1.67326)
        usual = usual and np.isclose(alpha, 1.0 if node.operator == "Celu" else 1.67326, atol=1e-4)
        name = node.operator.lower() if usual else None
    if name is None:
        node.refuse("has other parameters than Keras' activation; use its defaults")
    return node.same_axes(layers.Activation, value, activation=name)


def soften(node: ONNXNode) -> ONNXValue:
    """Return what `Softmax` computes over one axis."""
    value = node.value(0)
    axis = _softmax_axis(node, value)
    return node.same_axes(layers.Softmax, value, nonnegative=True, axis=value.order.index(axis))


def _last_axis(node, value):
    axis = _softmax_axis(node, value)
    order = (*(other for other in value.order if other != axis), axis)
    return value if value.rank == 2 else node.ordered(value, order)


def _softmax_axis(node, value):
    """Return the axis of a softmax; old files join all axes from the one they name."""
    axis = node.attribute("axis", -1 if node.opset >= 13 else 1) % value.rank
    if axis == 0 or node.opset < 13 and any(n > 1 for n in value.shape[axis:]):
        node.refuse("takes a softmax over several axes at once; take it over the channels")
    return axis


# Arithmetic


def combine(node: ONNXNode) -> ONNXValue:
    """Return the sum, product or the like of tensors of the network, or of one and a constant."""
    if any(isinstance(x, np.ndarray) for x in node.inputs):
        return _with_constant(node)
    values = [node.value(index) for index in range(len(node.inputs))]
    if node.operator == "Mul" and len(values) == 2:
        for x, factor in (values, values[::-1]):
            if factor.gate is not None and factor.gate[1] is x.tensor:
                return node.same_axes(layers.Activation, x, activation=factor.gate[0])
    if len({value.rank for value in values}) > 1:
        node.refuse("combines tensors of different numbers of axes; reshape them to the same number")
    first = values[0]
    if any(value.flattened != first.flattened for value in values):
        first, values = node.unmixed(first), [node.unmixed(value) for value in values]
    if first.flattened is None:
        values = [node.ordered(value, first.order) for value in values]
    nonnegative = node.operator != "Sub" and all(value.nonnegative for value in values)
    if len(values) == 1:
        return first
    if node.operator not in MERGES:
        node.refuse("divides by values of the network; multiply instead")
    made = node.layer(MERGES[node.operator], [value.tensor for value in values])
    return replace(first, tensor=made, nonnegative=nonnegative, gate=None)


def _with_constant(node):
    """Return a scale and an offset, equal for all values or one of each per channel."""
    if len(node.inputs) != 2 or node.operator not in ("Add", "Sub", "Mul", "Div"):
        node.refuse("combines the network with a constant; only one addition or multiplication can be imported")
    place = next(i for i, x in enumerate(node.inputs) if isinstance(x, ONNXValue))
    value, constant = node.value(place), node.weights(1 - place)
    if node.operator == "Div" and (place == 1 or not constant.all()):
        node.refuse("divides by zero, or by values of the network; multiply instead")
    advice = "combines each pixel with a constant of its own; use one for all, or one for each channel"
    number = _per_channel(node, constant, value, advice)
    if node.operator in ("Mul", "Div"):
        scale, offset = number if node.operator == "Mul" else np.float32(1) / number, np.zeros_like(number)
    else:
        scale = np.full_like(number, -1 if node.operator == "Sub" and place == 1 else 1)
        offset = -number if node.operator == "Sub" and place == 0 else number
    plain = [float(a[0]) if a.size == 1 or (a == a[0]).all() else [float(n) for n in a] for a in (scale, offset)]
    nonnegative = value.nonnegative and scale.min() >= 0 and offset.min() >= 0
    return node.same_axes(layers.Rescaling, value, nonnegative, scale=plain[0], offset=plain[1])


def _per_channel(node: ONNXNode, constant: np.ndarray, value: ONNXValue, advice: str) -> np.ndarray:
    """Return a constant as one number, or as one for each of Keras' channels; refuse others with `advice`."""
    if constant.size == 1:
        return constant.ravel()
    if constant.ndim <= value.rank:
        turned = constant.reshape((1,) * (value.rank - constant.ndim) + constant.shape).transpose(value.order)
        if turned.size == turned.shape[-1] == value.tensor.shape[-1]:
            return turned.ravel()[value.columns]
    node.refuse(advice)
