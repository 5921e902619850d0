"""The same network in the layers that the library knows: nested models opened, operations as layers, each used once.

Quantization, and all that follows it, sees only networks of this form.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.graph import (
    Call,
    Graph,
    check_names,
    clone,
    configuration,
    free_name,
    function_name,
    give_weights,
    run_again,
)
from fewbits.quantization.adapted import float_model

layers = keras.layers


def canonical(model: keras.Model, *, duplicate_shared: bool = False) -> keras.Model:
    """Return a network with the outputs of `model` in which every call is one of a layer that the library knows.

    Nested models are opened; their layers keep their names, with that of the model before it where two would be equal.
    Operations such as `x + y`, `x * 0.5` and `ops.relu` become layers. Separable convolutions become a depthwise and a
    pointwise one, layers that Keras has quantized or adapted float ones. An operation for which there is no layer stays
    as it is.

    Args:
        model: A functional model, or a sequential one with an input; it stays as it is.
        duplicate_shared: Whether a layer with weights that is called several times becomes one layer for each call,
            with the same weights.

    Returns:
        `model` itself if it has this form; otherwise a new model with copies of the layers and their weights.

    Raises:
        InputError: when `model` has no graph; as `check_names` and `float_model`.
    """
    check_names(model)
    model = float_model(model)
    graph = Graph(model)
    if not any(_changes(graph, call, duplicate_shared) for call in graph.calls):
        return model
    rewriting = _Rewriting(graph, duplicate_shared)
    rewritten = run_again(model, rewriting.step)
    for layer, source in rewriting.copies:
        give_weights(layer, source)
    return rewritten


def _changes(graph: Graph, call: Call, duplicate_shared: bool) -> bool:
    operation = call.operation
    shared = bool(getattr(operation, "weights", ())) and len(graph.calls_of(operation)) > 1
    rewritten = isinstance(operation, (keras.Model, *SEPARABLE)) or _layer_of(call) is not None
    return rewritten or duplicate_shared and shared


class _Rewriting:
    """What has been rewritten so far: the layer for each operation, the names in use, and the weights to copy."""

    def __init__(self, graph: Graph, duplicate_shared: bool):
        self.duplicate_shared = duplicate_shared
        self.made: dict[int, list[keras.Operation]] = {}
        self.names = {call.name for call in graph.calls if not isinstance(call.operation, keras.Model)}
        self.copies: list[tuple[keras.Layer, list[np.ndarray]]] = []

    def step(self, call: Call, *args: Any, path: str = "", **kwargs: Any) -> Any:
        operation = call.operation
        if isinstance(operation, keras.Model):
            inside = f"{path}{operation.name}_"
            given = args[0] if args else kwargs["inputs"]
            return Graph(operation).run(
                keras.tree.flatten(given), lambda call, *a, **k: self.step(call, *a, path=inside, **k)
            )
        found = _layer_of(call)
        if found is not None:
            make, tensors = found
            make = partial(make, dtype=call.outputs[0].dtype)
            return self._once(operation, path, lambda name: make(name=name))[0](tensors(args))
        if not isinstance(operation, keras.Layer):
            return operation(*args, **kwargs)
        if isinstance(operation, SEPARABLE):
            depthwise, pointwise = self._once(operation, path, *_parts_of_separable(operation))
            return pointwise(depthwise(*args))
        if path:  # a nested model was called with it
            kwargs.pop("training", None)
        return self._once(operation, path, lambda name: clone(operation, name=name))[0](*args, **kwargs)

    def _once(self, operation: keras.Operation, path: str, *makers: Callable[[str], keras.Layer]) -> list:
        """Return the layers for an operation, made at its first call or, if shared layers are duplicated, at each."""
        weights = bool(getattr(operation, "weights", ()))
        if id(operation) not in self.made or self.duplicate_shared and weights:
            name = self._name(operation.name, path, again=id(operation) in self.made)
            self.made[id(operation)] = [make(name) for make in makers]
            if weights:
                self._copy(operation, self.made[id(operation)])
        return self.made[id(operation)]

    def _copy(self, operation, made):
        values = operation.get_weights()
        if len(made) == 1:
            self.copies.append((made[0], values))
        else:
            self.copies += [(made[0], values[:1]), (made[1], values[1:])]

    def _name(self, name: str, path: str, again: bool) -> str:
        if not path and not again:
            return name
        return free_name(name if name not in self.names else f"{path}{name}", self.names)


# Separable convolutions

SEPARABLE = layers.SeparableConv1D, layers.SeparableConv2D


def _parts_of_separable(layer: keras.Layer) -> tuple[Callable[[str], keras.Layer], ...]:
    """Return what makes the depthwise and the pointwise convolution that `layer` consists of."""
    config, one = configuration(layer), isinstance(layer, layers.SeparableConv1D)
    depthwise, pointwise = (layers.DepthwiseConv1D, layers.Conv1D) if one else (layers.DepthwiseConv2D, layers.Conv2D)
    shared = {key: config[key] for key in ("data_format", "dtype", "trainable")}
    first = {key: config[key] for key in ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")}
    first |= {f"depthwise_{k}": config[f"depthwise_{k}"] for k in ("initializer", "regularizer", "constraint")}
    second = {key: config[key] for key in ("filters", "activation", "use_bias", "bias_initializer", "bias_regularizer")}
    second |= {f"kernel_{k}": config[f"pointwise_{k}"] for k in ("initializer", "regularizer", "constraint")}
    return (
        lambda name: depthwise.from_config({**shared, **first, "use_bias": False, "name": f"{name}_depthwise"}),
        lambda name: pointwise.from_config({**shared, **second, "kernel_size": 1, "name": name}),
    )


# Operations that are written as layers

_MERGES = {
    "Add": layers.Add,
    "Subtract": layers.Subtract,
    "Multiply": layers.Multiply,
    "Maximum": layers.Maximum,
    "Minimum": layers.Minimum,
}
_ACTIVATIONS = {
    "Exp": "exponential",
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "HardTanh": "hard_tanh",
    "LogSigmoid": "log_sigmoid",
    "Silu": "silu",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Selu": "selu",
}
_POOLING = {
    ("AveragePool", 4): layers.AveragePooling2D,
    ("AveragePool", 3): layers.AveragePooling1D,
    ("MaxPool", 4): layers.MaxPooling2D,
    ("MaxPool", 3): layers.MaxPooling1D,
}
_GLOBAL_POOLING = {
    ("Mean", 4): layers.GlobalAveragePooling2D,
    ("Mean", 3): layers.GlobalAveragePooling1D,
    ("Max", 4): layers.GlobalMaxPooling2D,
    ("Max", 3): layers.GlobalMaxPooling1D,
}
_RESHAPING = "Reshape", "Squeeze", "ExpandDims"

Found = tuple[Callable[..., keras.Layer], Callable[[tuple], Any]]  # makes the layer; takes its inputs from arguments


def _layer_of(call: Call) -> Found | None:
    """Return what makes the layer that computes what the operation of `call` does; None if it is one or has none."""
    operation: Any = call.operation
    kind, args = function_name(operation), call.arguments
    if not kind or not call.inputs:
        return None
    rank = len(call.inputs[0].shape)
    if kind in _MERGES and len(call.inputs) == 2 and len(call.inputs[0].shape) == len(call.inputs[1].shape):
        return _MERGES[kind], list
    if kind in _MERGES or kind in ("Divide", "TrueDivide", "Negative"):
        return _affine(kind, call)
    if kind in _ACTIVATIONS:
        return partial(layers.Activation, _ACTIVATIONS[kind]), _first
    if kind == "Gelu" and not operation.approximate:
        return partial(layers.Activation, "gelu"), _first
    if kind == "Elu":
        return partial(layers.ELU, operation.alpha), _first
    if kind == "LeakyRelu":
        return partial(layers.LeakyReLU, operation.negative_slope), _first
    if kind == "Softmax" and isinstance(operation.axis, int) and operation.axis % rank:
        return partial(layers.Softmax, operation.axis % rank - rank), _first
    if kind == "Cast" and "float" in operation.dtype:
        return partial(layers.Rescaling, 1.0), _first
    if kind == "Clip" and operation.x_min == 0 and np.ndim(operation.x_max) == 0:
        return partial(layers.ReLU, operation.x_max), _first
    if kind == "Concatenate":
        return partial(layers.Concatenate, operation.axis), lambda args: list(args[0])
    if (kind in _RESHAPING or kind == "GetItem" and _adds_axes(args[1])) and _keeps_images(call):
        return partial(layers.Reshape, call.outputs[0].shape[1:]), _first
    if kind == "Transpose" and operation.axes and operation.axes[0] == 0:
        return partial(layers.Permute, tuple(operation.axes[1:])), _first
    if (kind, rank) in _POOLING and operation.data_format == "channels_last":
        pooling = _POOLING[kind, rank]
        return partial(pooling, operation.pool_size, operation.strides, operation.padding), _first
    if (kind, rank) in _GLOBAL_POOLING:
        return _global_pooling(operation, rank)
    if kind == "Pad" and operation.mode == "constant" and rank == 4:
        rows = [tuple(int(n) for n in side) for side in operation.pad_width]
        fill = call.keywords.get("constant_values", args[1] if len(args) > 1 else None)
        if len(rows) == 4 and not any(rows[0] + rows[3]) and not fill:
            return partial(layers.ZeroPadding2D, tuple(rows[1:3])), _first
    if kind == "GetItem" and len(call.inputs) == 1:
        return _cropping(args[1], call.inputs[0].shape)
    return None


def _first(args: tuple) -> Any:
    return args[0]


def _adds_axes(key: Any) -> bool:
    """Return whether an index takes everything and may add axes, as `x[:, None]` does."""
    key = key if isinstance(key, tuple) else (key,)
    return all(k is None or k is Ellipsis or isinstance(k, slice) and k == slice(None) for k in key)


def _keeps_images(call: Call) -> bool:
    """Return whether a call gives each image another shape, and moves nothing from one image to another."""
    before, after = call.inputs[0].shape, call.outputs[0].shape
    fixed = None not in (*before[1:], *after[1:]) and before[0] == after[0]
    return fixed and prod(before[1:]) == prod(after[1:])


def _affine(kind: str, call: Call) -> Found | None:
    """Return what makes the Rescaling for an operation on a tensor and numbers; None if there is none."""
    if kind == "Negative":
        return partial(layers.Rescaling, -1.0), _first
    args = call.arguments
    tensor_first = isinstance(args[0], keras.KerasTensor)
    numbers = _numbers(args[1] if tensor_first else args[0], call)
    take = _first if tensor_first else lambda args: args[1]
    if numbers is None:
        return None
    if kind == "Maximum" and not np.any(numbers):
        return layers.ReLU, take
    scale_and_offset = {
        "Add": (1.0, numbers),
        "Subtract": (1.0, -numbers) if tensor_first else (-1.0, numbers),
        "Multiply": (numbers, 0.0),
        "Divide": (1 / numbers, 0.0) if tensor_first and np.all(numbers) else None,
        "TrueDivide": (1 / numbers, 0.0) if tensor_first and np.all(numbers) else None,
    }.get(kind)
    if scale_and_offset is None:
        return None
    return partial(layers.Rescaling, *(np.asarray(x).tolist() for x in scale_and_offset)), take


def _numbers(other: Any, call: Call) -> np.ndarray | None:
    """Return the operand of a tensor as one number, or one per channel; None if it is something else."""
    if ops.is_tensor(other):
        other = ops.convert_to_numpy(other)
    if not isinstance(other, (int, float, np.ndarray, np.generic)):
        return None
    numbers, read, made = np.asarray(other, np.float64), call.inputs[0].shape, call.outputs[0].shape
    if numbers.ndim == 0:
        return numbers
    one_per_channel = numbers.size == numbers.shape[-1] == read[-1] and read == made
    return numbers.ravel() if one_per_channel else None


def _global_pooling(operation: Any, rank: int) -> Found | None:
    axes = operation.axis if isinstance(operation.axis, (tuple, list)) else [operation.axis]
    if None in axes or getattr(operation, "initial", None) is not None:
        return None
    if sorted(axis % rank for axis in axes) != list(range(1, rank - 1)):
        return None
    kind = _GLOBAL_POOLING[type(operation).__name__, rank]
    return partial(kind, keepdims=operation.keepdims), _first


def _cropping(key: Any, shape: tuple) -> Found | None:
    """Return what makes the cropping that a slice of an image's height and width is; None for other slices."""
    key = key if isinstance(key, tuple) else (key,)
    if len(shape) != 4 or Ellipsis in key or not all(isinstance(k, slice) and k.step in (None, 1) for k in key):
        return None
    key = (*key, *[slice(None)] * (4 - len(key)))
    if key[0] != slice(None) or key[3] != slice(None) or None in shape[1:3]:
        return None
    ranges = [k.indices(side) for k, side in zip(key[1:3], shape[1:3])]
    sides = tuple((start, side - stop) for (start, stop, _), side in zip(ranges, shape[1:3]))
    return partial(layers.Cropping2D, sides), _first
