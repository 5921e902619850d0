"""What is stored, and so has one number of bits: each kernel, and each activation from its writers to its readers.

An activation is stored once, in one format. The outputs of the layers that write it and the inputs of the layers that
read it therefore share their bits, and all layers that read the same tensor share theirs. What is concatenated is
stored side by side, in one format. What is added is not tied: numbers of different steps are added exactly, on the
finer step.
"""

from math import prod
from typing import NamedTuple

from fewbits.backend import keras
from fewbits.graph import Call, Graph
from fewbits.post_training.range_search import Edge, edges
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.layers import RoundingLayer
from fewbits.quantization.placement import PASSING

KERNEL, ACTIVATION = "kernel", "activation"


class StoredTensor(NamedTuple):
    """Values that are stored with the same number of bits.

    Attributes:
        name: Such as `conv1 kernel`, or `conv1 output` for what that layer writes.
        kind: `kernel` or `activation`.
        places: The formats that these bits belong to: names of layers, each with `kernel`, `input` or `output`.
        values: How many values are stored; for an activation, of one image.
        is_end: Whether it is an activation that comes from the user, such as pixels, or goes there, as logits do.
    """

    name: str
    kind: str
    places: tuple[tuple[str, str], ...]
    values: int
    is_end: bool = False


def stored_tensors(network: QuantizedModel) -> tuple[StoredTensor, ...]:
    """Return what a network stores: its kernels, then its activations, in the order of the graph.

    The slopes of leaky activations are left out; they are few, and keep the bits that they have.

    Args:
        network: The quantized network.
    """
    kernels = [
        StoredTensor(f"{layer.name} kernel", KERNEL, ((layer.name, "kernel"),), prod(layer.kernel.shape))
        for layer in network.quantized_layers
    ]
    graph = Graph(network)
    order = [layer.name for layer in network.rounding_layers]
    activations = [_activation(graph, edge) for edge in _joined(graph, edges(network))]
    return (*kernels, *sorted(activations, key=lambda tensor: order.index(tensor.places[0][0])))


def _activation(graph: Graph, edge: Edge) -> StoredTensor:
    places = (*((name, "output") for name in edge.writers), *((name, "input") for name in edge.readers))
    if edge.writers:
        tensors = [_call(graph, name).outputs[0] for name in edge.writers]
        is_end = not edge.readers and any(_reaches_user(graph, tensor) for tensor in tensors)
    else:
        tensors = [_origin(graph, _call(graph, edge.readers[0]).inputs[0])]
        is_end = graph.made_by(tensors[0]).is_input
    return StoredTensor(
        " ".join(places[0]), ACTIVATION, places, sum(prod(tensor.shape[1:]) for tensor in tensors), is_end
    )


def _joined(graph: Graph, found: list[Edge]) -> list[Edge]:
    """Return the edges, with one for all readers of a tensor that no rounding layer writes."""
    readers: dict[int, tuple[str, ...]] = {}
    for edge in found:
        if not edge.writers:
            origin = id(_origin(graph, _call(graph, edge.readers[0]).inputs[0]))
            readers[origin] = readers.get(origin, ()) + edge.readers
    return [Edge((), names) for names in readers.values()] + [edge for edge in found if edge.writers]


def _origin(graph: Graph, tensor: keras.KerasTensor) -> keras.KerasTensor:
    """Return the tensor that `tensor` is, or of which layers that only pass values on have made it."""
    while isinstance(graph.made_by(tensor).operation, PASSING):
        tensor = graph.made_by(tensor).inputs[0]
    return tensor


def _reaches_user(graph: Graph, tensor: keras.KerasTensor) -> bool:
    """Return whether an output of the network is made of `tensor` without any further rounding."""
    return graph.is_output(tensor) or any(
        _reaches_user(graph, output)
        for call in graph.readers(tensor)
        if not isinstance(call.operation, RoundingLayer)
        for output in call.outputs
    )


def _call(graph: Graph, name: str) -> Call:
    return next(call for call in graph.calls if call.name == name)
