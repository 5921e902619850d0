"""Blocks of a network: the parts between tensors through which all of its values pass.

A residual unit is a block, and so is a fire module: its inputs and outputs are one tensor each, whatever branches lie
between them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from fewbits.backend import keras
from fewbits.graph import Call, Graph
from fewbits.quantization.layers import DEPTHWISE, quantized_type
from fewbits.quantization.layerwise import apply_call

layers = keras.layers

MOST_LAYERS = 16  # of a block; a larger one, as in a network with long skip connections, is taken layer by layer


class Block(NamedTuple):
    """A part of a network.

    Attributes:
        inputs: The tensors that it reads.
        calls: Its calls in topological order.
        outputs: The tensors that the rest of the network, or the user, reads.
    """

    inputs: tuple[keras.KerasTensor, ...]
    calls: tuple[Call, ...]
    outputs: tuple[keras.KerasTensor, ...]

    @property
    def layers(self) -> list[Any]:
        """Its layers with a kernel."""
        return [call.operation for call in self.calls if quantized_type(call.operation)]

    def run(self, inputs: Iterable[Any], wanted: Sequence[keras.KerasTensor] | None = None) -> list[Any]:
        """Return what the block computes in inference.

        Args:
            inputs: A value for each of its inputs.
            wanted: Tensors that it reads or makes; by default its outputs.

        Returns:
            One value for each.
        """
        wanted = self.outputs if wanted is None else wanted
        values = {id(tensor): value for tensor, value in zip(self.inputs, inputs, strict=True)}
        for call in self.calls:
            if all(id(tensor) in values for tensor in wanted):
                break
            values |= {id(tensor): value for tensor, value in zip(call.outputs, apply_call(call, values))}
        return [values[id(tensor)] for tensor in wanted]


def find_blocks(model: keras.Model, layer_by_layer: bool = False) -> list[Block]:
    """Return the blocks of a network in topological order, each with at least one layer with a kernel.

    A block ends where a single tensor holds all that the rest of the network reads. Pooling, activations and other
    layers without a kernel belong to the block before them, but a softmax to none. A layer alone before a branch
    belongs to the block of the branch (the squeezing layer of a fire module), and so does a depthwise convolution to
    that of the layer after it.

    Args:
        model: A functional model, quantized or not.
        layer_by_layer: Whether each layer with a kernel is a block of its own, with what only passes its outputs on.

    Returns:
        The blocks.
    """
    graph = Graph(model)
    if layer_by_layer:
        return _single_layers(graph, graph.calls)
    found: list[Block] = []
    for part in _joined(graph, _parts(graph)):
        block = _block(graph, part)
        if block.layers:
            found += [block] if len(block.layers) <= MOST_LAYERS else _single_layers(graph, part)
    return found


def _parts(graph: Graph) -> list[list[Call]]:
    """Return the calls of a graph, divided wherever a single tensor is still to be read."""
    unread = {id(x): len(graph.readers(x)) + graph.is_output(x) for x in graph.inputs}
    parts: list[list[Call]] = [[]]
    for call in graph.calls:
        if call.is_input:
            continue
        parts[-1].append(call)
        for x in {id(x) for x in call.inputs}:
            unread[x] -= 1
        unread |= {id(y): len(graph.readers(y)) + graph.is_output(y) for y in call.outputs}
        if sum(n > 0 for n in unread.values()) == 1:
            parts.append([])
    return [part for part in parts if part]


def _joined(graph: Graph, parts: Iterable[list[Call]]) -> list[list[Call]]:
    """Return parts without those that have no kernel, or only one that the next part has to be seen with."""
    joined: list[list[Call]] = []
    for part in parts:
        before = joined[-1] if joined else []
        alone = _kernels(part) == 0 and not any(map(_is_softmax, part))
        if before and (alone and _kernels(before) or _kernels(part) and _is_stem(graph, before)):
            before += part
        else:
            joined.append(list(part))
    return joined


def _is_stem(graph: Graph, part: list[Call]) -> bool:
    """Return whether `part` is a single layer that is depthwise or leads to a branch."""
    [kernel] = [call for call in part if quantized_type(call.operation)] if _kernels(part) == 1 else [None]
    if kernel is None:
        return False
    branches = len(graph.readers(part[-1].outputs[0])) > 1
    return branches or isinstance(kernel.operation, DEPTHWISE)


def _single_layers(graph: Graph, calls: Iterable[Call]) -> list[Block]:
    found = []
    for call in calls:
        if quantized_type(call.operation):
            part = [call]
            while (reader := _passing(graph, part[-1])) is not None:
                part.append(reader)
            found.append(_block(graph, part))
    return found


def _passing(graph: Graph, call: Call) -> Call | None:
    """Return the only reader of what `call` makes, if it has no kernel and reads nothing else."""
    reader = graph.only_reader(call.outputs[0])
    if reader is None or len(reader.inputs) > 1 or quantized_type(reader.operation) or _is_softmax(reader):
        return None
    return reader


def _block(graph: Graph, calls: list[Call]) -> Block:
    inside = {id(call) for call in calls}
    made = {id(y): y for call in calls for y in call.outputs}
    read = {id(x): x for call in calls for x in call.inputs if id(x) not in made}
    leaving = (y for y in made.values() if graph.is_output(y) or any(id(c) not in inside for c in graph.readers(y)))
    return Block(tuple(read.values()), tuple(calls), tuple(leaving))


def _kernels(calls: Iterable[Call]) -> int:
    return sum(quantized_type(call.operation) is not None for call in calls)


def _is_softmax(call: Call) -> bool:
    layer = call.operation
    return isinstance(layer, layers.Softmax) or getattr(layer, "activation", None) is keras.activations.softmax
