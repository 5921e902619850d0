"""A network that runs layer by layer on all batches at once, so that only what is still to be read is in memory."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.graph import Call, Graph


class LayerwiseRun:
    """The tensors of a network on some batches; computed when they are asked for, and dropped when all have read them.

    Attributes:
        graph: The graph of the network.
        shapes: Identity of each tensor that has been computed -> its shape in the first batch.
    """

    def __init__(self, model: keras.Model, batches: Sequence[Sequence[np.ndarray]]):
        """Take the inputs of `model`; nothing is computed yet.

        Args:
            model: A functional model.
            batches: For each batch one array (n, ...) per input of `model`.
        """
        self.graph = Graph(model)
        self.shapes: dict[int, tuple[int, ...]] = {}
        self._place = {id(call): i for i, call in enumerate(self.graph.calls)}
        self._unread = {id(x): len(self.graph.readers(x)) for call in self.graph.calls for x in call.outputs}
        self._values: list[dict[int, Any]] = [{} for _ in batches]
        for values, batch in zip(self._values, batches):
            for tensor, x in zip(self.graph.inputs, batch, strict=True):
                self._keep(values, tensor, ops.cast(ops.convert_to_tensor(x), tensor.dtype))

    def read(self, tensor: keras.KerasTensor) -> list[Any]:
        """Return the value of `tensor` on each batch; it must not have been dropped."""
        for call in self._calls_to(tensor):
            for values in self._values:
                for output, y in zip(call.outputs, apply_call(call, values)):
                    self._keep(values, output, y)
            for x in {id(x): x for x in call.inputs}:
                self._unread[x] -= 1
                if not self._unread[x]:
                    for values in self._values:
                        del values[x]
        return [values[id(tensor)] for values in self._values]

    def _calls_to(self, tensor: keras.KerasTensor) -> list[Call]:
        """Return the calls that are still to be made for `tensor`, in topological order."""
        found, waiting = {}, [tensor]
        while waiting:
            wanted = waiting.pop()
            if id(wanted) not in self._values[0]:
                call = self.graph.made_by(wanted)
                if id(call) not in found:
                    found[id(call)] = call
                    waiting += call.inputs
        return sorted(found.values(), key=lambda call: self._place[id(call)])

    def _keep(self, values, tensor, value):
        values[id(tensor)] = value
        self.shapes.setdefault(id(tensor), tuple(value.shape))


def image_shapes(model: keras.Model, inputs: Sequence[np.ndarray]) -> dict[int, tuple[int, ...]]:
    """Return the shapes of the tensors of a network for one image.

    Args:
        model: As in LayerwiseRun.
        inputs: One array (n, ...) per input; where sides are open, the first image is computed.

    Returns:
        Identity of each tensor -> its shape, batch included.
    """
    graph = Graph(model)
    tensors = [tensor for call in graph.calls for tensor in call.outputs]
    if all(None not in tensor.shape[1:] for tensor in tensors):
        return {id(tensor): (1, *tensor.shape[1:]) for tensor in tensors}
    run = LayerwiseRun(model, [[x[:1] for x in inputs]])
    for tensor in graph.outputs:
        run.read(tensor)
    return run.shapes


def apply_call(call: Call, values: dict[int, Any]) -> list[Any]:
    """Return what `call` makes in inference.

    Args:
        call: A call of a graph.
        values: Identity of each tensor that the call reads -> its value.

    Returns:
        One value per output of the call.
    """
    args, kwargs = call.filled(values)
    if "training" in inspect.signature(call.operation.call).parameters:
        kwargs["training"] = False
    return keras.tree.flatten(call.operation(*args, **kwargs))
