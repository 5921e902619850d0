"""Filter surgery: a network without some of its filters, really smaller, with the weights that are left.

A filter's output is the channel it makes. Layers behind it hand the channel on (batch normalization, activations,
pooling, depthwise convolutions), join it with others (concatenation), add it to the channel of another filter
(addition), or read it (convolutions, dense layers). To remove the filter is to take its channel out of all of these.

Sources: backstrom2018, 2.3.2 (what is removed in the next layer); gaikwad2018, 6 and 7.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError, nearest
from fewbits.quantization.conversion import QUANTIZED, nodes, rebuild

layers = keras.layers

PRODUCERS = (layers.Conv2D, layers.SeparableConv2D, layers.Dense)  # a filter, or unit, makes a channel
SUMS = (layers.Add, layers.Subtract, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply)
# A channel of zeros leaves them as zeros, and no other channel is touched.
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
    """Return what can be removed from `model`: groups of (layer, filter) that go together, most of one alone.

    Filters whose channels are added go together. Not among them are those that make an output of the model, those whose
    channel reaches a layer that surgery does not know, and those of which a convolution in groups would have to lose
    several at once. In the order of the graph. Raises InputError as `remove_filters` for a model without a graph.
    """
    channels, together = _trace(model), {}
    held = set(channels.held)
    for name, made in channels.made.items():
        for i, channel in enumerate(made):
            together.setdefault(channels.find(channel), []).append((name, i))
        if getattr(model.get_layer(name), "groups", 1) > 1:
            held.update(map(channels.find, (*made, *channels.entering[name])))
    return [tuple(group) for root, group in together.items() if root not in held]


def remove_filters(model: keras.Model, filters: Mapping[str, Iterable[int]]) -> keras.Model:
    """Return `model` without these filters, as a new model that is not compiled; `model` stays as it is.

    filters: layer name -> numbers of the filters of a convolution or the units of a dense layer. The outputs are those
    of `model` with the channels of these filters set to zero in every layer that hands them on. Quantized layers keep
    their formats.

    Raises InputError, naming the layer, before anything is built: on an unknown layer or filter, where a layer would
    keep none, where a channel is an output of the model, is added to one that stays, or reaches a layer that is used
    twice or that surgery does not know, and where a convolution in groups would lose more in one group than in another.
    """
    channels = _trace(model)
    gone = _gone(model, channels, filters)
    kept = {
        side: {name: np.flatnonzero([channels.find(c) not in gone for c in found]) for name, found in named.items()}
        for side, named in (("entering", channels.entering), ("leaving", channels.leaving))
    }
    _check_groups(model, channels, kept)

    def clone(layer):
        config, left = layer.get_config(), kept["leaving"].get(layer.name)
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
    """Return `model` with so many filters in each layer, to take the weights of a network that was pruned before.

    filters: layer name -> how many; the last go. Raises InputError as `remove_filters`, and where there are fewer.
    """
    channels = _trace(model)
    for name, n in filters.items():
        if name in channels.made and n > len(channels.made[name]):
            raise InputError(f"{name} of {model.name} has {len(channels.made[name])} filters, and cannot have {n}")
    return remove_filters(model, {name: range(n, len(channels.made.get(name, ()))) for name, n in filters.items()})


# Channels


@dataclass
class _Channels:
    """Where each channel of a graph comes from and goes to. A channel is a number; those that are added are joined.

    made: layer -> the channels its filters make. entering, leaving: layer -> those of its inputs and of its output.
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
        """Return the one that stands for all that `channel` is joined with."""
        while self._parents[channel] != channel:
            self._parents[channel] = channel = self._parents[self._parents[channel]]
        return int(channel)

    def join(self, some, others) -> None:
        for one, other in zip(some, others):
            self._parents[self.find(one)] = self.find(other)

    def hold(self, channels, reason: str) -> None:
        """Say why `channels` cannot be removed."""
        self._reasons.extend((channel, reason) for channel in channels)

    @property
    def held(self) -> dict[int, str]:
        return {self.find(channel): reason for channel, reason in reversed(self._reasons)}


def _trace(model) -> _Channels:
    if not getattr(model, "inputs", None):
        raise InputError(f"{model.name} has no graph; build a functional model, or a sequential one with an Input")
    channels, tensors, graph = _Channels(), {}, nodes(model)
    uses = Counter(node.operation.name for node in graph)
    for tensor in model.inputs:
        tensors[id(tensor)] = channels.new(tensor.shape[-1])
        channels.hold(tensors[id(tensor)], "it is a channel of the input")
    for node in graph:
        layer, read = node.operation, [tensors.get(id(x)) for x in node.input_tensors]
        for tensor in node.output_tensors:
            if id(tensor) not in tensors:
                tensors[id(tensor)] = _leaving(channels, layer, read, tensor.shape)
        if uses[layer.name] > 1:
            for tensor in (*node.input_tensors, *node.output_tensors):
                channels.hold(
                    tensors[id(tensor)], f"its channel reaches {layer.name}, which is used {uses[layer.name]} times"
                )
    for tensor in model.outputs:
        channels.hold(tensors[id(tensor)], "it makes an output of the model")
    return channels


def _leaving(channels, layer, entering, shape) -> np.ndarray:
    """Return the channels of a tensor of `shape` that `layer` makes of tensors with the channels `entering`."""
    handed_on = _handed_on(channels, layer, entering, shape)
    everything = np.concatenate(entering)
    if handed_on is None:
        handed_on = channels.new(shape[-1])
        reason = f"its channel reaches {layer.name}, a {type(layer).__name__}, which needs all channels"
        channels.hold([*everything, *handed_on], reason)
    channels.entering[layer.name], channels.leaving[layer.name] = everything, handed_on
    return handed_on


def _handed_on(channels, layer, entering, shape) -> np.ndarray | None:
    """Return the channels that leave `layer`; None where it cannot do without one that enters."""
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


def _keeps_zeros(layer) -> bool:
    """Whether `layer` works on each channel by itself and, without shifts and biases, leaves one of zeros so."""
    if isinstance(layer, layers.BatchNormalization):
        return layer.axis in (-1, 3)
    if isinstance(layer, layers.ReLU):
        return layer.threshold == 0
    activation = getattr(layer, "activation", None) or keras.activations.linear
    return activation is not keras.activations.softmax and not float(ops.squeeze(activation(ops.zeros((1, 1)))))


# What is asked for


def _gone(model, channels, filters) -> set[int]:
    """Return what stands for the channels to remove."""
    asked = {}
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
            raise InputError(f"{name} would keep no filter; leave it one at least")
    return set(gone)


def _check_groups(model, channels, kept) -> None:
    for name in channels.made:
        groups = getattr(model.get_layer(name), "groups", 1)
        for side, what in (("entering", "channels of its input"), ("leaving", "filters")):
            size = len(getattr(channels, side)[name]) // groups
            left = np.bincount(kept[side][name] // size, minlength=groups)
            if len(set(left)) > 1:
                counts = ", ".join(map(str, left))
                raise InputError(f"{name} works in {groups} groups, which must keep as many {what} each, not {counts}")


# Weights


def _copy(old, new, entering, leaving) -> None:
    """Give `new` the variables of `old`, or the part that belongs to these channels of its input and of its output."""
    for variable, source in zip(new.variables, old.variables, strict=True):
        array = ops.convert_to_numpy(source)
        whole = array.shape == tuple(variable.shape)
        variable.assign(array if whole else _part(old, variable.name, array, entering, leaving))
    if isinstance(new, tuple(QUANTIZED.values())):
        new.state.loaded()  # a locked layer holds what it has now


def _part(layer, name, array, entering, leaving) -> np.ndarray:
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
    return array[leaving]  # one number a channel


def _multiplied(entering, multiplier) -> np.ndarray:
    """Return the numbers of the channels that a depthwise convolution makes of those `entering`."""
    return (entering[:, np.newaxis] * multiplier + np.arange(multiplier)).ravel()


def _convolution(kernel, groups, entering, leaving) -> np.ndarray:
    """Return what is left of `kernel` (height, width, in / groups, out), whose groups keep as many filters each."""
    read, made = kernel.shape[2], kernel.shape[3] // groups  # by each
    parts = [
        kernel[:, :, entering[entering // read == group] % read][..., leaving[leaving // made == group]]
        for group in range(groups)
    ]
    return np.concatenate(parts, axis=3)
