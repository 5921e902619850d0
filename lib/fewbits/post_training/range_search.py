"""Repairs for activations: formats that belong to an edge, which leads from the layers that write to those that read.

A quantized layer rounds its inputs, and the layer before has rounded them already. Two formats make two errors.
"""

from collections.abc import Callable
from functools import partial
from operator import add
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax

from fewbits.backend import keras
from fewbits.data.inputs import Images, input_arrays
from fewbits.errors import InputError
from fewbits.graph import Graph, ends
from fewbits.post_training.copies import copied
from fewbits.quantization.conversion import QuantizedModel, dequantize_model
from fewbits.quantization.fixedpoint import MAX_ABS_MSB, FixedPoint
from fewbits.quantization.layers import Formats, RoundingLayer
from fewbits.quantization.placement import PASSING
from fewbits.training.heads import Head, head_of

layers = keras.layers

KEEPING = (*PASSING, layers.Concatenate)  # layers after which all values are still codes of the format they had
LEAST = 1e-38  # a probability of 0 counts as this


class Edge(NamedTuple):
    """An edge between quantized layers: those that write a tensor, and those that read it.

    Attributes:
        writers: Names of the layers whose outputs, alone or side by side, are the inputs of the readers. Empty for an
            edge from the user.
        readers: Names of the layers that read them. Empty for an edge to the user.
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...]


def edges(network: QuantizedModel) -> list[Edge]:
    """Return the edges between the layers of a network that round, and those from and to the user.

    What max-pooling, ReLU, padding, flattening or concatenation pass on stays on the edge. After an average or an
    addition the values are others, and a new edge begins.

    Args:
        network: The quantized network.

    Returns:
        The edges in the order of their first writers, after those that come from the user.
    """
    graph = Graph(network)
    rounding = network.rounding_layers
    made = {layer.name: graph.calls_of(layer)[0].outputs[0] for layer in rounding}
    read_by = {name: _readers(graph, tensor) for name, tensor in made.items()}
    groups: list[tuple[set[str], set[str]]] = []
    for writer, readers in read_by.items():
        joined = [group for group in groups if group[1] & set(readers)]
        group = {writer}.union(*(g[0] for g in joined)), set(readers).union(*(g[1] for g in joined))
        groups = [g for g in groups if g not in joined] + [group]
    fed = {reader for _, readers in groups for reader in readers}
    groups += [(set(), {layer.name}) for layer in rounding if layer.name not in fed]
    order = [layer.name for layer in rounding]
    found = [Edge(*(tuple(sorted(names, key=order.index)) for names in group)) for group in groups]
    return sorted(found, key=lambda edge: order.index(edge.writers[0]) if edge.writers else -1)


def share_formats(network: QuantizedModel) -> QuantizedModel:
    """Return `network` with one MSB for all outputs and inputs of an edge: the largest that its readers have.

    The reader's rounding then changes nothing, and values that a ReLU removes do not count in the choice. Where readers
    have unsigned formats, so do writers, unless an addition, or the user, reads negative values of theirs, too. Price:
    less than none; one quantizer per edge instead of two.

    Args:
        network: The quantized network. Bits stay as they are, and so does an edge whose readers are in float.

    Returns:
        A new network.
    """
    network = copied(network)
    graph = Graph(network)
    for edge in edges(network):
        wanted = [fmt for name in edge.readers if (fmt := network.get_layer(name).formats.input)]
        if not wanted or not edge.writers:
            continue
        signed = any(fmt.signed for fmt in wanted)
        msb = max(_msb_of(fmt, signed) for fmt in wanted)
        for name in edge.readers:
            _set_range(network.get_layer(name), "input", msb, signed)
        for name in edge.writers:
            layer = network.get_layer(name)
            if signed or not _is_read_below_zero(graph, layer):
                _set_range(layer, "output", msb, signed)
            else:
                _set_range(layer, "output", msb + 1, signed=True)
    return network


def _msb_of(fmt: FixedPoint, signed: bool) -> int:
    """Return the MSB of a format with the largest value of `fmt`, signed or not: a sign takes a bit."""
    return fmt.msb + (signed and not fmt.signed)


def _set_range(layer: Any, kind: str, msb: int, signed: bool) -> None:
    if fmt := getattr(layer.formats, kind):
        layer.set_formats(*layer.formats._replace(**{kind: FixedPoint(min(msb, MAX_ABS_MSB), fmt.nbits, signed)}))


def search_msbs(
    network: QuantizedModel, images: Images, progress: Callable[[int, int], None] | None = None
) -> QuantizedModel:
    """Return `network` with the MSBs of its edges at which its outputs on `images` come nearest to those of float.

    Edge by edge, from the input on, all MSBs of an edge go up, or else down, by one for as long as the divergence of
    the network's outputs from those of float falls: Kullback-Leibler, of the probabilities that its head stands for, or
    the squared error of a network without a head (several outputs, or one number per pixel). A rule that looks at the
    values of one layer only clips too much: clipped values are the large ones, which decide. No labels are needed.
    Price: none; about three evaluations per edge, offline.

    Args:
        network: The quantized network.
        images: As in `input_arrays`: (n, height, width, channels), or what else the network takes; some tens.
        progress: Called after each edge with the number of edges done and their total.

    Returns:
        A new network.

    Raises:
        InputError: when there are no images, or they do not fit the network.
    """
    arrays = input_arrays(network, images)
    network = copied(network)
    given = keras.tree.pack_sequence_as(ends(network)[0], arrays)
    distance = _distance(network, _outputs(dequantize_model(network), given))

    def error():
        return distance(_outputs(network, given))

    found = edges(network)
    least = error()
    for done, edge in enumerate(found, 1):
        for step in (1, -1):
            start = least
            while (formats := _with_msb(network, edge, partial(add, step))) is not None:
                before = {name: network.get_layer(name).formats for name in formats}
                network.set_formats(formats)
                now = error()
                if now >= least:
                    network.set_formats(before)
                    break
                least = now
            if least < start:
                break
        if progress:
            progress(done, len(found))
    return network


def _outputs(network: keras.Model, given: Any) -> list[np.ndarray]:
    return [np.asarray(output) for output in keras.tree.flatten(network.predict_on_batch(given))]


def _distance(network: keras.Model, wanted: list[np.ndarray]) -> Callable[[list[np.ndarray]], float]:
    """Return a function of the outputs of a network, which says how far they are from those that are wanted."""
    try:
        head = head_of(network)
    except InputError:  # it is a network for something else
        powers = [max(float(np.mean(np.square(output))), LEAST) for output in wanted]
        return lambda found: sum(
            float(np.mean(np.square(a - b))) / power for a, b, power in zip(wanted, found, powers, strict=True)
        )
    logs = _log_probabilities(head, wanted[0])
    return lambda found: float(np.sum(np.exp(logs) * (logs - _log_probabilities(head, found[0]))))


def _log_probabilities(head: Head, outputs: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities of the classes or, of each sigmoid unit, of 1 and 0: the last axis."""
    if head.exclusive:
        return np.log(np.maximum(outputs, LEAST)) if head.activated else log_softmax(outputs, axis=-1)
    if head.activated:
        return np.log(np.maximum(np.stack([outputs, 1 - outputs], -1), LEAST))
    return -np.logaddexp(0, np.stack([-outputs, outputs], -1))


def _with_msb(network: QuantizedModel, edge: Edge, choose: Callable[[int], int]) -> dict[str, Formats] | None:
    """Return name -> formats of the layers at `edge` with MSBs that `choose` makes of theirs; None if out of range."""
    formats: dict[str, Formats] = {}
    for names, kind in ((edge.writers, "output"), (edge.readers, "input")):
        for name in names:
            layer_formats = formats.get(name, network.get_layer(name).formats)
            fmt = getattr(layer_formats, kind)
            if fmt is not None:
                msb = choose(fmt.msb)
                if abs(msb) > MAX_ABS_MSB:
                    return None
                formats[name] = layer_formats._replace(**{kind: FixedPoint(msb, fmt.nbits, fmt.signed)})
    return formats or None


def _readers(graph: Graph, tensor: keras.KerasTensor) -> list[str]:
    """Return the names of the layers that round and read `tensor`, directly or through layers that keep its codes."""
    found, waiting = [], [tensor]
    while waiting:
        for call in graph.readers(waiting.pop()):
            if isinstance(call.operation, RoundingLayer):
                found.append(call.name)
            elif _keeps(call.operation):
                waiting += call.outputs
    return found


def _is_read_below_zero(graph: Graph, layer: Any) -> bool:
    """Return whether the user, or a call that does not round, reads the outputs of `layer` before a ReLU."""
    waiting = [] if _is_relu(layer) else [graph.calls_of(layer)[0].outputs[0]]
    while waiting:
        tensor = waiting.pop()
        if graph.is_output(tensor):
            return True
        for call in graph.readers(tensor):
            if isinstance(call.operation, RoundingLayer) or _is_relu(call.operation):
                continue
            if not _keeps(call.operation):
                return True
            waiting += call.outputs
    return False


def _is_relu(layer: Any) -> bool:
    if isinstance(layer, layers.ReLU):
        return layer.negative_slope == 0 and layer.threshold == 0
    return getattr(layer, "activation", None) is keras.activations.relu


def _keeps(layer: keras.Operation) -> bool:
    if type(layer) is layers.Activation:
        return layer.activation in (keras.activations.relu, keras.activations.linear)
    return isinstance(layer, KEEPING)
