"""Tensors and nodes of an ONNX graph, as the importer sees them: what Keras computes, and how its axes are ordered.

A `Transpose` moves no numbers here: it renames axes. Only where a layer needs another order does a layer `Permute`
stand in the network. The batch is the first axis of every tensor.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any, NoReturn

import numpy as np

from fewbits.backend import keras
from fewbits.errors import InputError
from fewbits.graph import give_weights
from fewbits.io.onnx_file import printable

LONGEST_NAME = 100
MOST_NUMBERS = 2**28  # that weights and the tensors for one image may hold in all: 1 GB


@dataclass(frozen=True)
class ONNXValue:
    """A tensor of an ONNX graph that depends on the images.

    Attributes:
        tensor: What Keras computes.
        order: The ONNX axis of each axis of `tensor`.
        flattened: None for a tensor whose values have ONNX's order. A vector that Keras flattened in another order has
            the shape before, without the batch, and the ONNX axis of each of Keras' axes then.
        nonnegative: Whether no value can be below zero.
        gate: None, or the name of an activation and the tensor x such that x times this value is the activation of x.
    """

    tensor: keras.KerasTensor
    order: tuple[int, ...]
    flattened: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    nonnegative: bool = False
    gate: tuple[str, keras.KerasTensor] | None = None

    @property
    def rank(self) -> int:
        """The number of axes, the batch included."""
        return len(self.order)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in ONNX's order of axes, without the batch."""
        return tuple(self.tensor.shape[self.order.index(axis)] for axis in range(1, self.rank))

    @property
    def columns(self) -> np.ndarray | slice:
        """Which ONNX value is each of Keras' values of a vector."""
        if self.flattened is None:
            return slice(None)
        shape, order = self.flattened
        return np.arange(prod(shape)).reshape(shape).transpose(order).ravel()

    def aligned(self, array: np.ndarray) -> np.ndarray:
        """Return an array of ONNX's tensor, batch included, with the order of axes and values that Keras has."""
        turned = array.transpose(self.order)
        return turned if self.flattened is None else turned[:, self.columns]


def channels_last(rank: int) -> tuple[int, ...]:
    """Return the ONNX axis of each of Keras' axes when the channels, ONNX's axis 1, come last."""
    return (0, *range(2, rank), 1) if rank > 1 else (0,)


@dataclass
class ONNXScope:
    """What the nodes of a graph share.

    Attributes:
        opset: The version of the operators.
        batch: The number of images that constants of the file stand for.
        names: The names of layers so far.
        weights: How many weights there are so far.
        numbers: How many numbers the tensors for one image hold so far.
    """

    opset: int
    batch: int = 1
    names: set[str] = field(default_factory=set)
    weights: int = 0
    numbers: int = 0


class ONNXNode:
    """A node of an ONNX graph with what it reads, and the layers that are made of it."""

    def __init__(
        self,
        proto: Any,
        inputs: Sequence[ONNXValue | np.ndarray | None],
        scope: ONNXScope,
        added_bias: np.ndarray | None = None,
    ):
        """Keep the node.

        Args:
            proto: An onnx.NodeProto.
            inputs: What it reads; constants are arrays, and None stands for an optional input that is not there.
            scope: What the nodes share; names and numbers of the node are added.
            added_bias: What the next node adds to each channel, if nothing else reads this one.
        """
        self.operator = proto.op_type
        self.inputs = list(inputs)
        self.scope, self.opset = scope, scope.opset
        self.added_bias = added_bias
        self._proto = proto

    @cached_property
    def name(self) -> str:
        """The name of the layer: that of the module in PyTorch if it can be told, else that of the node."""
        return unique_name(_module_name(self._proto), self.scope.names)

    @property
    def label(self) -> str:
        """The name in the file and the operator, for messages."""
        return f"node {printable(self._proto.name or self._proto.output[0])} ({printable(self.operator)})"

    def refuse(self, why: str) -> NoReturn:
        """Raise InputError, naming the node; why: what follows its name, with what to do."""
        raise InputError(f"{self.label} {why}")

    # What it reads

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute of the node.

        Args:
            name: The attribute.
            default: Returned where the node does not have it.
        """
        from onnx import helper

        for attribute in self._proto.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return default

    def value(self, index: int) -> ONNXValue:
        """Return an input that depends on the images."""
        found = self._input(index)
        if not isinstance(found, ONNXValue):
            self.refuse("reads a constant where values that depend on the image are expected; simplify the file first")
        return found

    def constant(self, index: int, default: Any = None) -> Any:
        """Return an input that is constant, an array.

        Args:
            index: The position of the input.
            default: Returned where the node does not have it.

        Raises:
            InputError: when the input depends on the images.
        """
        found = self._input(index)
        if isinstance(found, ONNXValue):
            self.refuse("reads its parameters from the network; only constant ones can be imported")
        return default if found is None else found

    def weights(self, index: int) -> np.ndarray:
        """Return an input that is constant, as finite float32 numbers."""
        array = self.constant(index)
        if array is None:
            self.refuse("has no weights; export it again")
        return self.floats(array)

    def floats(self, array: np.ndarray) -> np.ndarray:
        """Return constants of the file as finite float32 numbers."""
        if array.dtype.kind not in "fiu":
            self.refuse(f"has weights of type {array.dtype}; export the network in float32")
        with np.errstate(over="ignore"):
            found = array.astype(np.float32)
        if not np.isfinite(found).all():
            self.refuse("has weights that are NaN or infinite; train the network again")
        return found

    def bias(self, index: int) -> np.ndarray | None:
        """Return the bias, from an input or from the addition that follows; None where there is none."""
        return self.added_bias if self._input(index) is None else self.weights(index)

    def integers(self, name: str, index: int | None = None) -> list[int] | None:
        """Return integers that are an attribute or, in newer files, an input; None where there are none.

        Args:
            name: The attribute.
            index: The position of the input.
        """
        found = self.attribute(name)
        if found is None and index is not None:
            found = self.constant(index)
        return None if found is None else [int(n) for n in np.ravel(found)]

    def _input(self, index):
        return self.inputs[index] if index < len(self.inputs) else None

    # What it makes

    def layer(self, kind: Any, tensor: Any, suffix: str = "", weights: Any = None, **options: Any) -> Any:
        """Add a layer.

        Args:
            kind: A class of Keras layers.
            tensor: The tensor or list of tensors that it reads.
            suffix: Of the name; empty for the layer that gives the node its name.
            weights: Its arrays, if it has any.
            **options: Of the layer.

        Returns:
            The tensor that it makes.
        """
        name = unique_name(f"{self.name}_{suffix}", self.scope.names) if suffix else self.name
        layer = kind(name=name, **options)
        self.scope.weights += sum(array.size for array in weights or ())
        self.scope.numbers += prod(layer.compute_output_spec(tensor).shape[1:])
        if self.scope.weights + self.scope.numbers > MOST_NUMBERS:
            self.refuse(f"makes a network of more than {MOST_NUMBERS:,} numbers; use smaller images or kernels")
        made = layer(tensor)
        if weights is not None:
            give_weights(layer, weights)
        return made

    def same_axes(self, kind: Any, value: ONNXValue, nonnegative: bool = False, **options: Any) -> ONNXValue:
        """Return what a layer makes of each number of a value, whatever the order of axes.

        Args:
            kind: A class of Keras layers.
            value: The value.
            nonnegative: Whether no result can be below zero.
            **options: Of the layer.
        """
        tensor = self.layer(kind, value.tensor, **options)
        return replace(value, tensor=tensor, nonnegative=nonnegative, gate=None)

    def images(self, index: int) -> keras.KerasTensor:
        """Return an input with the channels last."""
        value = self.value(index)
        return self.ordered(value, channels_last(value.rank)).tensor

    def ordered(self, value: ONNXValue, order: tuple[int, ...]) -> ONNXValue:
        """Return a value with another order of axes.

        Args:
            value: The value.
            order: The ONNX axis of each axis that Keras shall have.
        """
        value = self.unmixed(value)
        if order == value.order:
            return value
        sizes = dict(zip(value.order, value.tensor.shape))
        moved = [axis for axis in value.order if sizes[axis] != 1]
        if moved == [axis for axis in order if sizes[axis] != 1]:
            tensor = self.layer(keras.layers.Reshape, value.tensor, "axes", target_shape=[sizes[a] for a in order[1:]])
        else:
            dims = [value.order.index(axis) for axis in order[1:]]
            tensor = self.layer(keras.layers.Permute, value.tensor, "axes", dims=dims)
        return replace(value, tensor=tensor, order=order, gate=None)

    def unmixed(self, value: ONNXValue) -> ONNXValue:
        """Return `value` with its numbers in the order that ONNX has, if it is a vector flattened by Keras."""
        if value.flattened is None:
            return value
        shape, order = value.flattened
        tensor = self.layer(keras.layers.Reshape, value.tensor, "sides", target_shape=[shape[a] for a in order])
        dims = [1 + order.index(axis) for axis in range(len(shape))]
        tensor = self.layer(keras.layers.Permute, tensor, "axes", dims=dims)
        tensor = self.layer(keras.layers.Flatten, tensor, "flat")
        return replace(value, tensor=tensor, flattened=None, gate=None)


def unique_name(name: str, taken: set[str]) -> str:
    """Return a name that Keras accepts and no other layer has.

    Args:
        name: As close to it as possible.
        taken: The names so far; the new one is added.
    """
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-")[:LONGEST_NAME] or "layer"
    free, number = clean, 0
    while free in taken:
        number += 1
        free = f"{clean}_{number}"
    taken.add(free)
    return free


def _module_name(proto: Any) -> str:
    """Return layer1.0.conv1 for weights called layer1.0.conv1.weight or a node /layer1/layer1.0/conv1/Conv."""
    if len(proto.input) > 1 and proto.input[1].endswith(".weight"):
        return proto.input[1].removesuffix(".weight")
    if not proto.name.startswith("/"):
        return proto.name or f"{proto.op_type}_{proto.output[0]}"
    *parts, last = proto.name.strip("/").split("/")
    path: list[str] = []
    for part in parts:
        if path and part.startswith(f"{path[-1]}."):
            path.pop()
        path.append(part)
    is_operator = re.fullmatch(rf"{re.escape(proto.op_type)}(_\d+)?", last)
    return ".".join(path if path and is_operator and proto.op_type not in ("Add", "Mul", "Concat") else [*path, last])
