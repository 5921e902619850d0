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
from fewbits.graph import Graph, rebuild
from fewbits.quantization.conversion import QUANTIZED

layers = keras.layers

PRODUCERS = (layers.Conv2D, layers.SeparableConv2D, layers.Dense)  # a filter, or unit, makes a channel
SUMS = (layers.Add, layers.Subtract, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply)
# They turn a channel of zeros into zeros, and each channel is computed from itself alone.
PASSING = (
    layers.Activation,
    layers.AveragePooling2D,
    layers.BatchNormalization,
    layers.Cropping2D,
    layers.DepthwiseConv2D,
    layers.Dropout,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.Identity,
    layers.LeakyReLU,
    layers.MaxPooling2D,
    layers.ReLU,
    layers.SpatialDropout2D,
    layers.UpSampling2D,
    layers.ZeroPadding2D,
)


def removable(model: keras.Model) -> list[tuple[tuple[str, int], ...]]:
    """Return the filters that can be removed, in groups that must be removed together; most groups hold one filter.

    Filters whose channels are added must be removed together. Left out are filters that make an output of the model,
    filters whose channel reaches a layer that surgery does not know, and filters of which a grouped convolution would
    have to lose several at once.

    Args:
        model: A functional model, or a sequential one with an Input.

    Returns:
        Groups of (layer name, filter number), in the order of the graph.

    Raises:
        InputError: when `model` has no graph.
    """
    channels = _trace(model)
    together: dict[int, list[tuple[str, int]]] = {}
    held = set(channels.held)
    for name, made in channels.made.items():
        for i, channel in enumerate(made):
            together.setdefault(channels.find(channel), []).append((name, i))
        if getattr(model.get_layer(name), "groups", 1) > 1:
            held.update(map(channels.find, (*made, *channels.entering[name])))
    return [tuple(group) for root, group in together.items() if root not in held]


def remove_filters(model: keras.Model, filters: Mapping[str, Iterable[int]]) -> keras.Model:
    """Return a new model without these filters; `model` stays as it is.

    The outputs are those of `model` with the channels of these filters set to zero in every layer that passes them on.
    Quantized layers keep their formats.

    Args:
        model: A functional model, or a sequential one with an Input.
        filters: Layer name -> numbers of the filters of a convolution or the units of a dense layer.

    Returns:
        The smaller model, not compiled.

    Raises:
        InputError: before anything is built, naming the layer: when a layer or filter is unknown; a layer would keep
            no filter; a channel is an output of the model, is added to one that stays, or reaches a layer that is used
            twice or that surgery does not know; or a grouped convolution would lose more filters in one group than in
            another.
    """
    channels = _trace(model)
    gone = _gone(model, channels, filters)
    kept = {
        side: {name: np.flatnonzero([channels.find(c) not in gone for c in found]) for name, found in named.items()}
        for side, named in (("entering", channels.entering), ("leaving", channels.leaving))
    }
    _check_groups(model, channels, kept)

    def clone(layer: Any) -> Any:
        config, left = layer.get_config(), kept["leaving"].get(layer.name, ())
        if layer.name in channels.made:
            config["units" if isinstance(layer, layers.Dense) else "filters"] = len(left)
        kernel_formats = config.get("formats", [None])[0] or []
        if len(kernel_formats) > 1:
            config["formats"] = [[kernel_formats[i] for i in left], *config["formats"][1:]]
        return type(layer).from_config(config)

    smaller = rebuild(model, clone)
    for layer in smaller.layers:
        if layer.variables:
            _copy(model.get_layer(layer.name), layer, *(kept[side].get(layer.name) for side in ("entering", "leaving")))
    kind = keras.Model if isinstance(model, keras.Sequential) else type(model)
    return kind(smaller.input, smaller.output, name=model.name)


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
    channels = _trace(model)
    for name, n in filters.items():
        if name in channels.made and n > len(channels.made[name]):
            raise InputError(f"{name} of {model.name} has {len(channels.made[name])} filters, and cannot have {n}")
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
    for tensor in model.inputs:
        tensors[id(tensor)] = channels.new(tensor.shape[-1])
        channels.hold(tensors[id(tensor)], "it is a channel of the input")
    for call in graph.calls:
        layer, read = call.operation, [tensors.get(id(x)) for x in call.inputs]
        uses = len(graph.calls_of(layer))
        for tensor in call.outputs:
            if id(tensor) not in tensors:
                tensors[id(tensor)] = _leaving(channels, layer, read, tensor.shape)
        if uses > 1:
            for tensor in (*call.inputs, *call.outputs):
                channels.hold(tensors[id(tensor)], f"its channel reaches {layer.name}, which is used {uses} times")
    for tensor in model.outputs:
        channels.hold(tensors[id(tensor)], "it makes an output of the model")
    return channels


def _leaving(channels: _Channels, layer: Any, entering: list, shape: tuple) -> np.ndarray:
    """Return the channels of a tensor of `shape` that `layer` makes from tensors with the channels `entering`."""
    passed_on = _passed_on(channels, layer, entering, shape)
    everything = np.concatenate(entering)
    if passed_on is None:
        passed_on = channels.new(shape[-1])
        reason = f"its channel reaches {layer.name}, a {type(layer).__name__}, which needs all channels"
        channels.hold([*everything, *passed_on], reason)
    channels.entering[layer.name], channels.leaving[layer.name] = everything, passed_on
    return passed_on


def _passed_on(channels: _Channels, layer: Any, entering: list, shape: tuple) -> np.ndarray | None:
    """Return the channels that leave `layer`; None if it needs every channel that enters."""
    (first, *others), n = entering, shape[-1]
    if getattr(layer, "data_format", None) == "channels_first":
        return None
    if isinstance(layer, PRODUCERS):
        channels.made[layer.name] = channels.new(n)
        if layer.activation is keras.activations.softmax:
            channels.hold(channels.made[layer.name], f"{layer.name} has a softmax over its channels")
        return channels.made[layer.name]
    if type(layer) is layers.Flatten:
        return np.tile(first, n // len(first))
    if type(layer) is layers.Concatenate and layer.axis in (-1, len(shape) - 1):
        return np.concatenate(entering)
    if type(layer) in SUMS and all(len(channel) == n for channel in entering):
        for other in others:
            channels.join(first, other)
        return first
    if isinstance(layer, PASSING) and _keeps_zeros(layer):
        return np.repeat(first, n // len(first))  # a depthwise convolution may make several of each
    return None


def _keeps_zeros(layer: Any) -> bool:
    """Return whether `layer` computes each channel from itself and, apart from biases, turns zeros into zeros."""
    if isinstance(layer, layers.BatchNormalization):
        return layer.axis in (-1, 3)
    if isinstance(layer, layers.ReLU):
        return layer.threshold == 0
    activation = getattr(layer, "activation", None) or keras.activations.linear
    return activation is not keras.activations.softmax and not float(ops.squeeze(activation(ops.zeros((1, 1)))))


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
            raise InputError(f"{filter} cannot be removed: {held[root]}")
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
        for side, what in (("entering", "channels of its input"), ("leaving", "filters")):
            size = len(getattr(channels, side)[name]) // groups
            left = np.bincount(kept[side][name] // size, minlength=groups)
            if len(set(left)) > 1:
                counts = ", ".join(map(str, left))
                raise InputError(f"{name} works in {groups} groups, which must keep equally many {what}, not {counts}")


# Weights


def _copy(old: Any, new: Any, entering: np.ndarray | None, leaving: np.ndarray | None) -> None:
    """Copy to `new` the variables of `old`, or the part for these channels of its input and output."""
    for variable, source in zip(new.variables, old.variables, strict=True):
        array = ops.convert_to_numpy(source)
        whole = array.shape == tuple(variable.shape)
        variable.assign(array if whole else _part(old, variable.name, array, entering, leaving))
    quantized = isinstance(new, tuple(QUANTIZED.values()))
    if quantized:
        new.state.loaded()  # a locked layer holds what it has now


def _part(layer: Any, name: str, array: np.ndarray, entering: Any, leaving: Any) -> np.ndarray:
    if name == "pointwise_kernel":
        return array[:, :, _multiplied(entering, layer.depth_multiplier)][..., leaving]
    if name == "depthwise_kernel" or isinstance(layer, layers.DepthwiseConv2D) and name == "kernel":
        return array[:, :, entering]
    if name == "kernel":
        return (
            array[np.ix_(entering, leaving)]
            if array.ndim == 2
            else _convolution(array, layer.groups, entering, leaving)
        )
    return array[leaving]  # one number per channel


def _multiplied(entering: np.ndarray, multiplier: int) -> np.ndarray:
    """Return the numbers of the channels that a depthwise convolution makes from those `entering`."""
    return (entering[:, np.newaxis] * multiplier + np.arange(multiplier)).ravel()


def _convolution(kernel: np.ndarray, groups: int, entering: np.ndarray, leaving: np.ndarray) -> np.ndarray:
    """Return what is left of `kernel` (height, width, in / groups, out), whose groups keep equally many filters."""
    read, made = kernel.shape[2], kernel.shape[3] // groups  # per group
    parts = [
        kernel[:, :, entering[entering // read == group] % read][..., leaving[leaving // made == group]]
        for group in range(groups)
    ]
    return np.concatenate(parts, axis=3)
