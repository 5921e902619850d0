"""Filter surgery: a network without some of its filters, really smaller, with the weights that remain.

A filter's output is the channel it makes. The layers after it pass the channel on (batch normalization, activations,
pooling, depthwise convolutions), join it with others (concatenation), add it to the channel of another filter
(addition), or read it (convolutions, dense layers). To remove the filter means to take its channel out of all these
layers.

Sources: backstrom2018, 2.3.2 (what is removed in the next layer); gaikwad2018, 6 and 7.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError, nearest
from fewbits.graph import Call, Graph, clone, configuration, ends, like, rebuild, refresh_constants
from fewbits.pruning.channels import DEPTHWISE, PRODUCERS, TRANSPOSED, made_by_filters, mixing_activation, passed_on
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.layers import RoundingLayer

layers = keras.layers


def removable(model: keras.Model) -> list[tuple[tuple[str, int], ...]]:
    """Return the filters that can be removed, in groups that must be removed together; most groups hold one filter.

    Filters whose channels are added or multiplied must be removed together, and so must the filters of one group of a
    grouped convolution and those that make the channels it reads. Left out are filters that make an output of the
    model, and filters whose channel reaches a layer that surgery does not know.

    Args:
        model: A functional model, or a sequential one with an Input. Models within it are opened.

    Returns:
        Groups of (layer name, filter number), in the order of the graph; names are those that
        `quantization.canonical` gives.

    Raises:
        InputError: when `model` has no graph.
    """
    channels = _with_whole_groups(canonical(model))
    together: dict[int, list[tuple[str, int]]] = {}
    for name, made in channels.made.items():
        for i, channel in enumerate(made):
            together.setdefault(channels.find(channel), []).append((name, i))
    held = channels.held
    return [tuple(group) for root, group in together.items() if root not in held]


def kept_whole(model: keras.Model) -> dict[str, str]:
    """Return the layers that can lose no filter, each with the reason why.

    Args:
        model: A functional model, or a sequential one with an Input.

    Returns:
        Layer name -> the reason, in the order of the graph; names are those that `quantization.canonical` gives.

    Raises:
        InputError: when `model` has no graph.
    """
    channels = _with_whole_groups(canonical(model))
    held = channels.held
    reasons = {name: [held.get(channels.find(c)) for c in made] for name, made in channels.made.items()}
    return {name: str(found[0]) for name, found in reasons.items() if all(found)}


def remove_filters(model: keras.Model, filters: Mapping[str, Iterable[int]]) -> keras.Model:
    """Return a new model without these filters; `model` stays as it is.

    The outputs are those of `model` if every convolution and dense layer reads zeros in place of what these filters
    make. Quantized layers keep their formats.

    Args:
        model: A functional model, or a sequential one with an Input. Models within it are opened; layer names are those
            that `quantization.canonical` gives.
        filters: Layer name -> numbers of the filters of a convolution or the units of a dense layer.

    Returns:
        The smaller model, not compiled.

    Raises:
        InputError: before anything is built, naming the layer: when a layer or filter is unknown; a layer would keep
            no filter; a channel is an output of the model, is added to one that stays, or reaches a layer with weights
            that is used twice or one that surgery does not know; or the groups that a grouped convolution keeps
            would have different numbers of filters.
    """
    model = canonical(model)
    channels = _trace(model)
    gone = _gone(model, channels, filters)
    kept = {
        side: {name: np.flatnonzero([channels.find(c) not in gone for c in found]) for name, found in named.items()}
        for side, named in (("entering", channels.entering), ("leaving", channels.leaving))
    }
    _check_groups(model, channels, kept)

    def copy(operation: Any) -> Any:
        left = kept["leaving"].get(operation.name)
        return clone(operation) if left is None else clone(operation, **_changes(operation, left))

    smaller = rebuild(model, copy)
    for layer in smaller.layers:
        if layer.variables:
            _copy(model.get_layer(layer.name), layer, *(kept[side].get(layer.name) for side in ("entering", "leaving")))
    return like(smaller, *ends(smaller))


def _changes(layer: Any, left: np.ndarray) -> dict[str, Any]:
    """Return the entries of a layer's configuration that differ with the channels `left` of its output."""
    changes: dict[str, Any] = {}
    if isinstance(layer, PRODUCERS):
        changes["units" if isinstance(layer, layers.Dense) else "filters"] = len(left)
    if getattr(layer, "groups", 1) > 1:
        changes["groups"] = len(set(left // (layer.filters // layer.groups)))
    if isinstance(layer, layers.Reshape) and layer.target_shape[-1] != -1:
        changes["target_shape"] = (*layer.target_shape[:-1], len(left))
    formats = configuration(layer).get("formats") or [[]]
    if len(formats[0] or []) > 1:
        changes["formats"] = [[formats[0][i] for i in left], *formats[1:]]
    return changes


def shrunk_to(model: keras.Model, filters: Mapping[str, int]) -> keras.Model:
    """Return a model with fewer filters, to take the weights of a network that was pruned before.

    Args:
        model: As in `remove_filters`; it stays as it is.
        filters: Layer name -> how many filters it keeps, the first ones.

    Returns:
        The smaller model, not compiled.

    Raises:
        InputError: as in `remove_filters`, and when a layer has fewer filters.
    """
    model = canonical(model)
    channels = _trace(model)
    for name, n in filters.items():
        if name in channels.made and n > len(channels.made[name]):
            raise InputError(
                f"{name} of {model.name} has {len(channels.made[name])} filters; give it at most as many, not {n}"
            )
    return remove_filters(model, {name: range(n, len(channels.made.get(name, ()))) for name, n in filters.items()})


# Channels


@dataclass
class _Channels:
    """Where each channel of a graph comes from and goes to.

    A channel is a number. Channels that are added are joined.

    Attributes:
        made: Layer -> the channels that its filters make.
        entering: Layer -> the channels of its inputs.
        leaving: Layer -> the channels of its output.
    """

    made: dict[str, np.ndarray] = field(default_factory=dict)
    entering: dict[str, np.ndarray] = field(default_factory=dict)
    leaving: dict[str, np.ndarray] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=list)
    _reasons: list[tuple[int, str]] = field(default_factory=list)

    def new(self, n: int) -> np.ndarray:
        first = len(self._parents)
        self._parents.extend(range(first, first + n))
        return np.arange(first, first + n)

    def find(self, channel: int) -> int:
        """Return the channel that represents all channels joined with `channel`."""
        while self._parents[channel] != channel:
            self._parents[channel] = channel = self._parents[self._parents[channel]]
        return int(channel)

    def join(self, some: Iterable[int], others: Iterable[int]) -> None:
        for one, other in zip(some, others):
            self._parents[self.find(one)] = self.find(other)

    def hold(self, channels: Iterable[int], reason: str) -> None:
        """Note why `channels` cannot be removed."""
        self._reasons.extend((channel, reason) for channel in channels)

    @property
    def held(self) -> dict[int, str]:
        """The channels that cannot be removed -> the first reason."""
        return {self.find(channel): reason for channel, reason in reversed(self._reasons)}


def _trace(model: keras.Model) -> _Channels:
    channels, graph = _Channels(), Graph(model)
    tensors: dict[int, np.ndarray] = {}
    for tensor in graph.inputs:
        tensors[id(tensor)] = channels.new(tensor.shape[-1])
        channels.hold(tensors[id(tensor)], "it is a channel of the input")
    for call in graph.calls:
        read, uses = [tensors[id(x)] for x in call.inputs], len(graph.calls_of(call.operation))
        for tensor in call.outputs:
            if id(tensor) not in tensors:
                tensors[id(tensor)] = _leaving(channels, call, read, tensor.shape)
        if uses > 1 and (getattr(call.operation, "weights", None) or isinstance(call.operation, layers.Reshape)):
            for tensor in (*call.inputs, *call.outputs):
                channels.hold(tensors[id(tensor)], f"its channel reaches {call.name}, which is used {uses} times")
    for tensor in graph.outputs:
        channels.hold(tensors[id(tensor)], "it makes an output of the model")
    return channels


def _leaving(channels: _Channels, call: Call, entering: list[np.ndarray], shape: tuple) -> np.ndarray:
    """Return the channels of a tensor of `shape` that `call` makes from tensors with the channels `entering`."""
    name, everything = call.name, np.concatenate([*entering, np.arange(0)])
    if made_by_filters(call):
        leaving = channels.made[name] = channels.new(shape[-1])
        if mixing := mixing_activation(call.operation):
            channels.hold(leaving, f"{name} has a {mixing} over its channels")
    else:
        handed_on = passed_on(call, entering, shape)
        if handed_on is None:
            leaving = channels.new(shape[-1] or 0)
            reason = f"its channel reaches {name}, a {type(call.operation).__name__}, which needs all channels"
            channels.hold([*everything, *leaving], reason)
        else:
            leaving, *joined = handed_on
            for others in joined:
                if len(others) == len(leaving):
                    channels.join(leaving, others)
                else:
                    channels.hold(others, f"{name} joins it with all {len(leaving)} channels of another tensor")
    channels.entering[name], channels.leaving[name] = everything, leaving
    return leaving


def _with_whole_groups(model: keras.Model) -> _Channels:
    """Return the channels of `model`, where each group of a grouped convolution goes as a whole, with what it reads."""
    channels = _trace(model)
    for name, made in channels.made.items():
        groups = getattr(model.get_layer(name), "groups", 1)
        if groups > 1:
            for group in zip(np.split(channels.entering[name], groups), np.split(made, groups)):
                first, *others = np.concatenate(group)
                channels.join([first] * len(others), others)
    return channels


# What is asked for


def _gone(model: keras.Model, channels: _Channels, filters: Mapping[str, Iterable[int]]) -> set[int]:
    """Return the channels to remove, by the channel that represents them."""
    asked: dict[int, str] = {}
    for name, numbers in filters.items():
        if name not in channels.made:
            known = list(channels.made)
            raise InputError(f"{model.name} has no filters {name}{nearest(name, known)}; there are {', '.join(known)}")
        for i in numbers:
            if isinstance(i, bool) or not isinstance(i, Integral) or not 0 <= i < len(channels.made[name]):
                raise InputError(f"{name} has filters 0 to {len(channels.made[name]) - 1}, not {i!r}")
            asked[int(channels.made[name][i])] = f"filter {i} of {name}"
    gone, held = {channels.find(channel): asked[channel] for channel in asked}, channels.held
    for root, filter in gone.items():
        if root in held:
            raise InputError(
                f"{filter} cannot be removed: {held[root]}; removable(model) lists the filters that can be"
            )
    for name, made in channels.made.items():
        lost = [channel for channel in made if channels.find(channel) in gone]
        for channel in lost:
            if channel not in asked:
                raise InputError(
                    f"{gone[channels.find(channel)]} cannot be removed alone: its channel is added to that of filter "
                    f"{channel - made[0]} of {name}; remove both"
                )
        if len(lost) == len(made):
            raise InputError(f"{name} would keep no filter; leave it at least one")
    return set(gone)


def _check_groups(model: keras.Model, channels: _Channels, kept: dict[str, dict[str, np.ndarray]]) -> None:
    for name in channels.made:
        groups = getattr(model.get_layer(name), "groups", 1)
        reads, makes = (_of_groups(getattr(channels, s)[name], kept[s][name], groups) for s in ("entering", "leaving"))
        alive = (reads > 0) | (makes > 0)  # a group that loses all that it reads and makes is removed
        for left, what in ((reads, "channels of its input"), (makes, "filters")):
            if len(set(left[alive])) > 1:
                counts = ", ".join(map(str, left))
                raise InputError(
                    f"{name} works in {groups} groups, which must keep equally many {what}, not {counts}; remove as "
                    "many of each, or whole groups with what they read"
                )


def _of_groups(channels: np.ndarray, kept: np.ndarray, groups: int) -> np.ndarray:
    """Return how many of the `channels` of each group are `kept`."""
    return np.bincount(kept // (len(channels) // groups), minlength=groups)


# Weights


def _copy(old: Any, new: Any, entering: np.ndarray | None, leaving: np.ndarray | None) -> None:
    """Copy to `new` the variables of `old`, or the part for these channels of its input and output."""
    for variable, source in zip(new.variables, old.variables, strict=True):
        array = ops.convert_to_numpy(source)
        whole = array.shape == tuple(variable.shape)
        variable.assign(array if whole else _part(old, variable.name, array, entering, leaving))
    refresh_constants(new)
    if isinstance(new, RoundingLayer):
        new.state.loaded()  # a locked layer holds what it has now


def _part(layer: Any, name: str, array: np.ndarray, entering: Any, leaving: Any) -> np.ndarray:
    if isinstance(layer, DEPTHWISE) and name == "kernel":
        return array[..., entering, :]
    if isinstance(layer, TRANSPOSED) and name == "kernel":
        return array[..., leaving, :][..., entering]
    if name == "kernel":
        return _convolution(array, getattr(layer, "groups", 1), entering, leaving)
    return array[..., leaving]  # one number per channel, or more


def _convolution(kernel: np.ndarray, groups: int, entering: np.ndarray, leaving: np.ndarray) -> np.ndarray:
    """Return what is left of `kernel` (..., in / groups, out); groups that are left keep equally many filters."""
    read, made = kernel.shape[-2], kernel.shape[-1] // groups  # per group
    parts = [
        kernel[..., entering[entering // read == group] % read, :][..., leaving[leaving // made == group]]
        for group in sorted(set(leaving // made))
    ]
    return np.concatenate(parts, axis=-1)
