"""What pruning must not change: a network in which nothing reads the channels that are removed.

The oracle knows no list of layers. It runs the graph twice, with other values in the channels of the removed filters:
what differs belongs to these channels, until a convolution or dense layer reads zeros in their place.
"""

from inspect import signature

import numpy as np

from fewbits.backend import keras, ops
from fewbits.graph import Graph
from fewbits.pruning import removable
from fewbits.quantization import canonical

layers = keras.layers
MIXING = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
    layers.Dense,
)


class _Marked:
    """The values of a tensor, and which of its channels belong to removed filters."""

    def __init__(self, values, gone):
        self.values, self.gone = values, gone

    def with_gone(self, value):
        return np.where(self.gone, value, self.values).astype(self.values.dtype)


def zeroed(model, gone, inputs):
    """Return the outputs of `model` where what reads the channels of the filters `gone` reads zeros."""
    rng = np.random.default_rng(0)

    def computed(call, args, kwargs, of):
        args, kwargs = keras.tree.map_structure(lambda x: of(x) if isinstance(x, _Marked) else x, (args, kwargs))
        if "training" in signature(call.operation.call).parameters:
            kwargs["training"] = False
        return [ops.convert_to_numpy(y) for y in keras.tree.flatten(call.operation(*args, **kwargs))]

    def step(call, *args, **kwargs):
        if isinstance(call.operation, keras.Model):
            return Graph(call.operation).run(keras.tree.flatten(args or kwargs["inputs"]), step)
        if isinstance(call.operation, MIXING):
            [y] = computed(call, args, kwargs, lambda x: x.with_gone(0))
            return _Marked(y, np.isin(np.arange(y.shape[-1]), list(gone.get(call.name, []))))
        found = computed(call, args, kwargs, lambda x: x.values)
        others = [
            computed(call, args, kwargs, lambda x: x.with_gone(scale * rng.normal(size=x.values.shape)))
            for scale in (1, 30)
        ]
        return [
            _Marked(y, np.any([(y != z[i]).any(tuple(range(y.ndim - 1))) for z in others], axis=0))
            for i, y in enumerate(found)
        ]

    marked = [_Marked(np.asarray(x), np.zeros(x.shape[-1], bool)) for x in keras.tree.flatten(inputs)]
    outputs = Graph(model).run(marked, step)
    assert not any(output.gone.any() for output in outputs), "a removed channel is part of an output"
    return [output.values for output in outputs]


def drawn(model, share, seed):
    """Return a share of the filters that can be removed, but not all of a layer."""
    rng, gone = np.random.default_rng(seed), {}
    plain = canonical(model)
    left = {layer.name: layer.kernel.shape[-1] for layer in plain.layers if hasattr(layer, "kernel")}
    for group in removable(model):
        names = [name for name, _ in group]
        if rng.random() < share and all(left[name] > names.count(name) for name in names):
            for name, i in group:
                gone.setdefault(name, []).append(i)
                left[name] -= 1
    return gone
