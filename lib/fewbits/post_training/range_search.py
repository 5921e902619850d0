"""Repairs for activations: formats that belong to an edge, which leads from the layers that write to those that read.

A quantized layer rounds its inputs, and the layer before has rounded them already. Two formats make two errors.
"""

from collections.abc import Callable
from functools import partial
from operator import add
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax

from fewbits.backend import keras
from fewbits.errors import InputError
from fewbits.graph import Graph
from fewbits.post_training.copies import copied
from fewbits.quantization.conversion import QuantizedModel, dequantize_model
from fewbits.quantization.fixedpoint import MAX_ABS_MSB, FixedPoint
from fewbits.quantization.layers import Formats, quantized_type

layers = keras.layers

# Layers after which all values are still codes of the format they had.
KEEPING = (
    layers.MaxPooling2D,
    layers.GlobalMaxPooling2D,
    layers.ReLU,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.Dropout,
    layers.Identity,
    layers.Flatten,
    layers.Reshape,
    layers.Concatenate,
)


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
    """Return the edges between the quantized layers of a network, and those from and to the user.

    What max-pooling, ReLU, padding, flattening or concatenation pass on stays on the edge. After an average or an
    addition the values are others, and a new edge begins.

    Args:
        network: The quantized network.

    Returns:
        The edges in the order of their first writers, after those that come from the user.
    """
    graph = Graph(network)
    made = {layer.name: graph.calls_of(layer)[0].outputs[0] for layer in network.quantized_layers}
    read_by = {name: _readers(graph, tensor) for name, tensor in made.items()}
    groups: list[tuple[set[str], set[str]]] = []
    for writer, readers in read_by.items():
        joined = [group for group in groups if group[1] & set(readers)]
        group = {writer}.union(*(g[0] for g in joined)), set(readers).union(*(g[1] for g in joined))
        groups = [g for g in groups if g not in joined] + [group]
    fed = {reader for _, readers in groups for reader in readers}
    groups += [(set(), {layer.name}) for layer in network.quantized_layers if layer.name not in fed]
    order = [layer.name for layer in network.quantized_layers]
    found = [Edge(*(tuple(sorted(names, key=order.index)) for names in group)) for group in groups]
    return sorted(found, key=lambda edge: order.index(edge.writers[0]) if edge.writers else -1)


def share_formats(network: QuantizedModel) -> QuantizedModel:
    """Return `network` with one MSB for all outputs and inputs of an edge: the largest that its readers have.

    The reader's rounding then changes nothing, and values that a ReLU removes do not count in the choice. Price: less
    than none; one quantizer per edge instead of two.

    Args:
        network: The quantized network. Bits stay as they are, and so does an edge whose readers are in float.

    Returns:
        A new network.
    """
    network = copied(network)
    for edge in edges(network):
        msbs = [fmt.msb for name in edge.readers if (fmt := network.get_layer(name).formats.input)]
        if msbs and edge.writers:
            network.set_formats(_with_msb(network, edge, partial(lambda largest, _: largest, max(msbs))))
    return network


def search_msbs(
    network: QuantizedModel, images: np.ndarray, progress: Callable[[int, int], None] | None = None
) -> QuantizedModel:
    """Return `network` with the MSBs of its edges at which its outputs on `images` come nearest to those of float.

    Edge by edge, from the input on, all MSBs of an edge go up, or else down, by one for as long as the divergence of
    the network's outputs from those of float falls (Kullback-Leibler, of their softmax). A rule that looks at the
    values of one layer only clips too much: clipped values are the large ones, which decide. No labels are needed.
    Price: none; about three evaluations per edge, offline.

    Args:
        network: The quantized network.
        images: (n, height, width, channels); some tens.
        progress: Called after each edge with the number of edges done and their total.

    Returns:
        A new network.

    Raises:
        InputError: when there are no images.
    """
    if not len(images):
        raise InputError("at least one image is needed to search MSBs")
    network = copied(network)
    wanted = log_softmax(dequantize_model(network).predict_on_batch(images), axis=-1)

    def error():
        return float(np.sum(np.exp(wanted) * (wanted - log_softmax(network.predict_on_batch(images), axis=-1))))

    found = edges(network)
    least = error()
    for done, edge in enumerate(found, 1):
        for step in (1, -1):
            start = least
            while (formats := _with_msb(network, edge, partial(add, step))) is not None:
                before = {name: network.formats[name] for name in formats}
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
                formats[name] = layer_formats._replace(**{kind: FixedPoint(msb, fmt.nbits)})
    return formats or None


def _readers(graph: Graph, tensor: keras.KerasTensor) -> list[str]:
    """Return the names of the quantized layers that read `tensor`, directly or through layers that keep its codes."""
    found, waiting = [], [tensor]
    while waiting:
        for call in graph.readers(waiting.pop()):
            if quantized_type(call.operation):
                found.append(call.name)
            elif _keeps(call.operation):
                waiting += call.outputs
    return found


def _keeps(layer: keras.Operation) -> bool:
    if type(layer) is layers.Activation:
        return layer.activation in (keras.activations.relu, keras.activations.linear)
    return isinstance(layer, KEEPING)
