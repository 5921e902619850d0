"""Operators of ONNX that move numbers without changing them, as Keras layers or as nothing at all."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from fewbits.backend import keras
from fewbits.io.onnx_values import ONNXNode, ONNXValue, channels_last

layers = keras.layers


def keep(node: ONNXNode) -> ONNXValue:
    """Return the input of a node that changes nothing."""
    return node.value(0)


def drop_out(node: ONNXNode) -> ONNXValue:
    """Return `Dropout` as a layer that is used in training only."""
    ratio = node.attribute("ratio", 0.5) if node.opset < 12 else float(node.constant(1, 0.5))
    if node.opset >= 12 and bool(node.constant(2, False)):
        node.refuse("was exported in training mode; call model.eval() before the export")
    return node.same_axes(layers.Dropout, node.value(0), node.value(0).nonnegative, rate=float(ratio))


def transpose(node: ONNXNode) -> ONNXValue:
    """Return `Transpose` as other names of the axes."""
    value = node.unmixed(node.value(0))
    order = node.attribute("perm", list(range(value.rank))[::-1])
    if sorted(order) != list(range(value.rank)) or order[0] != 0:
        node.refuse("moves the batch; keep it first")
    return replace(value, order=tuple(order.index(axis) for axis in value.order), gate=None)


def shape_of(node: ONNXNode) -> np.ndarray:
    """Return `Shape`, a constant."""
    shape = np.array([node.scope.batch, *node.value(0).shape], np.int64)
    return shape[node.attribute("start", 0) : node.attribute("end")]


def reshape(node: ONNXNode) -> ONNXValue:
    """Return `Reshape` of each image."""
    value, batch = node.value(0), node.scope.batch
    wanted = node.integers("shape", 1) or []
    before = (batch, *value.shape)
    if not node.attribute("allowzero", 0):
        wanted = [before[i] if n == 0 and i < len(before) else n for i, n in enumerate(wanted)]
    if wanted.count(-1) == 1:
        known = -prod(wanted)
        wanted = [prod(before) // known if n == -1 and known > 0 else n for n in wanted]
    if min(wanted, default=0) < 1 or prod(wanted) != prod(before) or wanted[0] != batch:
        node.refuse("mixes images with one another, or does not fit its input; keep the batch as the first axis")
    return reshaped(node, value, wanted[1:])


def flatten(node: ONNXNode) -> ONNXValue:
    """Return `Flatten` of all axes but the batch."""
    value = node.value(0)
    if node.attribute("axis", 1) % value.rank != 1:
        node.refuse("does not flatten all axes but the batch; use axis 1")
    return reshaped(node, value, [prod(value.shape)])


def squeeze(node: ONNXNode) -> ONNXValue:
    """Return `Squeeze` and `Unsqueeze`."""
    value, batch = node.value(0), node.scope.batch
    axes, full = node.integers("axes", 1), [batch, *value.shape]
    if node.operator == "Squeeze":
        gone = [axis for axis, n in enumerate(full) if n == 1] if axes is None else [a % value.rank for a in axes]
        if 0 in gone or any(full[axis] != 1 for axis in gone):
            node.refuse("removes an axis of more than one value, or the batch; keep the batch as the first axis")
        wanted = [n for axis, n in enumerate(full) if axis not in gone]
    else:
        rank = value.rank + len(axes or [])
        new, rest = {a % rank for a in axes or []}, iter(full)
        wanted = [1 if axis in new else next(rest) for axis in range(rank)]
        if 0 in new:
            node.refuse("adds an axis before the batch; keep the batch as the first axis")
    return reshaped(node, value, wanted[1:])


def concatenate(node: ONNXNode) -> ONNXValue:
    """Return `Concat` of tensors that depend on the images."""
    values = [node.value(index) for index in range(len(node.inputs))]
    first = node.unmixed(values[0])
    axis = node.attribute("axis") % first.rank
    if axis == 0:
        node.refuse("joins batches; join channels, height or width")
    tensors = [node.ordered(value, first.order).tensor for value in values]
    nonnegative = all(value.nonnegative for value in values)
    made = tensors[0]
    if len(tensors) > 1:
        made = node.layer(layers.Concatenate, tensors, axis=first.order.index(axis))
    return ONNXValue(made, first.order, nonnegative=nonnegative)


def reshaped(node: ONNXNode, value: ONNXValue, shape: Sequence[int]) -> ONNXValue:
    """Return a value with another shape.

    Keras' order of axes stays where it can: an axis that is split is replaced by its parts, axes that are joined stand
    side by side first. A vector may keep Keras' order of values; the kernel that reads it is put in that order.

    Args:
        node: The node whose name the layers have.
        value: The value.
        shape: The new shape in ONNX's order of axes, without the batch.
    """
    shape = tuple(shape)
    if shape == value.shape:
        return value
    if len(shape) == 1 and value.flattened is None:
        made = node.layer(layers.Flatten, value.tensor)
        order = tuple(axis - 1 for axis in value.order[1:])
        moved = [axis for axis in order if value.shape[axis] > 1]
        flattened = (value.shape, order) if moved != sorted(moved) else None
        return replace(value, tensor=made, order=(0, 1), flattened=flattened, gate=None)
    value = node.unmixed(value)
    sizes = (0, *value.shape)
    blocks = list(_blocks(value.shape, shape))
    moved = [axis for axis in value.order[1:] if sizes[axis] > 1]
    blocks.sort(key=lambda block: min((moved.index(axis) for axis in block[0] if sizes[axis] > 1), default=-1))
    side_by_side = tuple(axis for sources, _ in blocks for axis in sources)
    if moved != [axis for axis in side_by_side if sizes[axis] > 1]:
        value = node.ordered(value, (0, *side_by_side))
    order = _usual_order((0, *(axis for _, targets in blocks for axis in targets)), (0, *shape))
    tensor = value.tensor
    target = tuple(shape[axis - 1] for axis in order[1:])
    if target != tuple(tensor.shape[1:]):
        tensor = node.layer(layers.Reshape, tensor, target_shape=target)
    return replace(value, tensor=tensor, order=order, gate=None)


def _usual_order(order, sizes):
    """Return channels last, or ONNX's order, if it differs from `order` only in axes of one value."""
    rank = len(order)
    for usual in (channels_last(rank), tuple(range(rank))):
        if [axis for axis in order if sizes[axis] > 1] == [axis for axis in usual if sizes[axis] > 1]:
            return usual
    return order


def _blocks(source: Sequence[int], target: Sequence[int]) -> Iterator[tuple[range, range]]:
    """Yield the axes of two shapes, counted from 1, that hold the same numbers; the shapes have as many numbers."""
    i = j = 0
    while i < len(source) or j < len(target):
        start, left, right = (i, j), 1, 1
        while left != right or (i, j) == start:
            if i < len(source) and (left <= right or j == len(target)):
                left, i = left * source[i], i + 1
            else:
                right, j = right * target[j], j + 1
        yield range(start[0] + 1, i + 1), range(start[1] + 1, j + 1)
