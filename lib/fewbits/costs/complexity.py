"""Parameters, multiply-accumulates and activation memory of each layer of a functional Keras model.

Source: backstrom2018, Equations 2-6: a convolution has ks**2 * cin * cout parameters (2), as many MACs at every output
pixel (3), and cout * H * W activations (4); a dense layer has as many MACs as weights (5, 6). Here parameters include
biases, slopes and the statistics of batch normalization. MACs are those of kernels alone: biases and pooling do not
multiply, and normalization folds into the convolution beside it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from fewbits.backend import keras
from fewbits.errors import InputError
from fewbits.graph import Graph

layers = keras.layers

_KINDS: dict[str, tuple[type, ...]] = {  # a subclass has the kind of its parent
    "convolution": (layers.Conv1D, layers.Conv2D, layers.Conv3D),
    "depthwise convolution": (layers.DepthwiseConv1D, layers.DepthwiseConv2D),
    "transposed convolution": (layers.Conv1DTranspose, layers.Conv2DTranspose),
    "separable convolution": (layers.SeparableConv1D, layers.SeparableConv2D),
    "dense": (layers.Dense,),
    "normalization": (layers.BatchNormalization, layers.Normalization, layers.Rescaling),
    "pooling": (layers.MaxPooling1D, layers.MaxPooling2D, layers.AveragePooling1D, layers.AveragePooling2D),
    "global pooling": (
        layers.GlobalMaxPooling1D,
        layers.GlobalMaxPooling2D,
        layers.GlobalAveragePooling1D,
        layers.GlobalAveragePooling2D,
    ),
    "padding": (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.Cropping1D, layers.Cropping2D),
    "upsampling": (layers.UpSampling1D, layers.UpSampling2D),
    "concatenation": (layers.Concatenate,),
    "addition": (layers.Add, layers.Subtract, layers.Average),
    "product": (layers.Multiply,),
    "reshape": (layers.Flatten, layers.Reshape),
    "activation": (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU, layers.Softmax),
    "dropout": (layers.Dropout,),
}
_IN_PLACE = ("normalization", "reshape", "activation", "dropout")
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
_PARAMETERS = (*_KERNELS, "bias", "alpha", "gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class Row:
    """One call of a layer, for one image.

    Attributes:
        name: Of the layer.
        kind: Such as `convolution`; `other` if none is known.
        output_shape: Without the batch; a tuple of shapes if there are several outputs.
        parameters: 0 if an earlier row has counted them.
        macs: Multiply-accumulates.
        activations: Number of output values.
    """

    name: str
    kind: str
    output_shape: tuple[Any, ...]
    parameters: int
    macs: int
    activations: int


@dataclass(frozen=True)
class Totals:
    """What a whole model costs, for one image.

    Attributes:
        parameters: Their number.
        macs: Multiply-accumulates.
        activations: Number of output values of all layers.
        peak_activations: The most values held at once. Layers run in Keras' order, every value (of the input too) is
            kept until its last use, and only layers that work element by element, or not at all (normalization,
            activation, dropout, reshape), overwrite their input.
    """

    parameters: int
    macs: int
    activations: int
    peak_activations: int

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters, at 32 bits each."""
        return 4 * self.parameters


class _Call(NamedTuple):
    layer: keras.Layer
    kind: str
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]


def cost_table(model: keras.Model) -> list[Row]:
    """Count the costs of each call of a layer.

    Parameters are what a layer computes with: kernels, bias, and the scale, shift and statistics of normalization;
    not what a subclass or a tracked sub-layer adds, such as the number formats of a quantized layer. A layer of
    unknown kind (`other`) has no MACs.

    Args:
        model: A functional, or a built sequential, model with a fixed input size; nested models are opened.

    Returns:
        One row per call, in Keras' order of execution.

    Raises:
        InputError: when a layer of unknown kind has weights, the model is not functional, or its input size is open.
    """
    calls, _ = _trace(_graph(model), model.inputs)
    return _rows(calls)


def totals(model: keras.Model) -> Totals:
    """Count the costs of a whole model.

    Args:
        model: As in `cost_table`.

    Raises:
        InputError: as `cost_table`.
    """
    calls, outputs = _trace(_graph(model), model.inputs)
    rows = _rows(calls)
    return Totals(
        parameters=sum(row.parameters for row in rows),
        macs=sum(row.macs for row in rows),
        activations=sum(row.activations for row in rows),
        peak_activations=_peak(model.inputs, calls, outputs),
    )


def _graph(model: keras.Model) -> Graph:
    if not isinstance(model, keras.Function | keras.Sequential) or not getattr(model, "inputs", None):
        raise InputError(f"only a functional, or a built sequential, keras.Model can be counted, not {model!r}")
    graph = Graph(model)
    for x in graph.inputs:
        if None in x.shape[1:]:
            raise InputError(f"the model's input shape {x.shape[1:]} is open; build it for a fixed size")
    return graph


def _trace(graph: Graph, inputs: list[keras.KerasTensor]) -> tuple[list[_Call], list[keras.KerasTensor]]:
    """Return every call of a layer when `graph` is run on symbolic `inputs`, and its outputs."""
    calls: list[_Call] = []

    def traced(call, *args, **kwargs):
        layer, arguments = call.operation, _tensors((args, kwargs))
        if isinstance(layer, keras.Function | keras.Sequential):
            inner, outputs = _trace(Graph(layer), arguments)
            calls.extend(inner)
        else:
            outputs = layer.compute_output_spec(*args, **kwargs)
            calls.append(_Call(layer, _kind(layer), arguments, _tensors(outputs)))
        return outputs

    outputs = graph.run(inputs, traced)
    return calls, outputs


def _tensors(structure: Any) -> list[keras.KerasTensor]:
    return [x for x in keras.tree.flatten(structure) if isinstance(x, keras.KerasTensor)]


def _kind(layer: keras.Layer) -> str:
    kind = next((kind for kind, classes in _KINDS.items() if isinstance(layer, classes)), "other")
    if kind == "other" and getattr(layer, "weights", None):
        raise InputError(f"layer {layer.name!r}, a {type(layer).__name__}, has weights whose MACs cannot be counted")
    return kind


def _rows(calls: list[_Call]) -> list[Row]:
    rows: list[Row] = []
    counted: set[int] = set()
    for layer, kind, inputs, outputs in calls:
        shapes = [tuple(x.shape[1:]) for x in outputs]
        rows.append(
            Row(
                name=layer.name,
                kind=kind,
                output_shape=shapes[0] if len(shapes) == 1 else tuple(shapes),
                parameters=0 if id(layer) in counted else _count(layer, _PARAMETERS),
                macs=_count(layer, _KERNELS)
                * _positions(layer, tuple(inputs[0].shape[1:]) if "transposed" in kind else shapes[0]),
                activations=sum(map(prod, shapes)),
            )
        )
        counted.add(id(layer))
    return rows


def _count(layer: keras.Layer, names: Iterable[str]) -> int:
    weights: list[Any] = [getattr(layer, name, None) for name in names]
    return sum(prod(weight.shape) for weight in weights if hasattr(weight, "shape"))  # the alpha of an ELU is a number


def _positions(layer: keras.Layer, shape: tuple[int, ...]) -> int:
    """Return the number of places of `shape` at which every weight of a kernel is used.

    They lie in the output, those of a transposed convolution in the input.
    """
    return prod(shape[1:] if getattr(layer, "data_format", None) == "channels_first" else shape[:-1])


def _peak(inputs: list[keras.KerasTensor], calls: list[_Call], outputs: list[keras.KerasTensor]) -> int:
    """Return the most values held at once."""
    last: dict[int, int] = {}  # the last call during which each tensor is held
    for step, call in enumerate(calls):
        for x in call.inputs:
            last[id(x)] = max(last.get(id(x), -1), step - (call.kind in _IN_PLACE))
    last |= {id(x): len(calls) for x in outputs}
    held = _sizes(inputs)
    peak = sum(held.values())
    for step, call in enumerate(calls):
        held = {x: size for x, size in held.items() if last.get(x, -1) >= step} | _sizes(call.outputs)
        peak = max(peak, sum(held.values()))
    return peak


def _sizes(tensors: list[keras.KerasTensor]) -> dict[int, int]:
    return {id(x): prod(x.shape[1:]) for x in tensors}
