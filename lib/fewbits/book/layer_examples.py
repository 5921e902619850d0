"""The kinds of layers that the page of layers tries, each as a piece of a small network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fewbits.backend import keras, ops

layers = keras.layers

IMAGE, SEQUENCE = (8, 8, 4), (12, 4)


@dataclass(frozen=True)
class Example:
    """A kind of layer or operation.

    Attributes:
        title: What the page calls it.
        build: Makes the output from a symbolic tensor, with a layer of the name that it is given.
        shape: Of the tensor that it reads, an image or a sequence.
        at_input: Whether it reads the input of the network rather than the output of a convolution.
    """

    title: str
    build: Callable[[Any, str], Any]
    shape: tuple[int, ...] = IMAGE
    at_input: bool = False


def network_of(example: Example, *, normalized: bool = False) -> keras.Model:
    """Return a network with one such layer, named `here`, after a convolution `before` and before a dense layer.

    Args:
        example: The kind of layer.
        normalized: Whether a batch normalization follows the layer.
    """
    return keras.Model(*_ends(example, "here", normalized))


def network_of_all(examples: list[Example]) -> keras.Model:
    """Return a network whose output adds up what small networks with one example each return.

    Args:
        examples: Kinds of layers that read the same shape; the layer of each is named `here` and its place in the list.
    """
    image = layers.Input(examples[0].shape)
    outputs = []
    for number, example in enumerate(examples):
        start, end = _ends(example, f"here{number}", False)
        outputs.append(keras.Model(start, end, name=f"part{number}")(image))
    return keras.Model(image, layers.Add()(outputs) if len(outputs) > 1 else outputs[0])


def _ends(example: Example, name: str, normalized: bool) -> tuple[Any, Any]:
    image = x = layers.Input(example.shape)
    rank = len(example.shape) - 1
    convolution = getattr(layers, f"Conv{rank}D")(4, 3, padding="same", name=f"{name}_before")
    x = convolution(example.build(x, name)) if example.at_input else example.build(convolution(x), name)
    if normalized:
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
    x = layers.Flatten(name=f"{name}_flat")(x) if len(x.shape) > 2 else x
    return image, layers.Dense(2, name=f"{name}_dense")(x)


def _layer(kind: Any, *args: Any, **options: Any) -> Callable[[Any, str], Any]:
    return lambda x, name: kind(*args, name=name, **options)(x)


def _of(kind: Any, *args: Any, title: str = "", at_input: bool = False, **options: Any) -> Example:
    shape = SEQUENCE if "1D" in kind.__name__ else IMAGE
    return Example(title or kind.__name__, _layer(kind, *args, **options), shape, at_input)


def _join(kind: Any, title: str = "", **options: Any) -> Example:
    def build(x: Any, name: str) -> Any:
        return kind(name=name, **options)([x, layers.Conv2D(4, 1, name=f"{name}_other")(x)])

    return Example(title or kind.__name__, build)


def _on_vector(kind: Any, *args: Any, **options: Any) -> Example:
    def build(x: Any, name: str) -> Any:
        return kind(*args, name=name, **options)(layers.Flatten(name=f"{name}_vector")(x))

    return Example(kind.__name__, build)


def _activation(name: str) -> Example:
    return Example(f"Activation: {name}", _layer(layers.Activation, name))


def _operation(title: str, function: Callable[[Any], Any]) -> Example:
    return Example(title, lambda x, name: function(x))


def _nested(x: Any, name: str) -> Any:
    inner = layers.Input(x.shape[1:])
    return keras.Model(inner, layers.Conv2D(4, 3, name=f"{name}_inside")(inner), name=name)(x)


def _twice(kind: Any) -> Callable[[Any, str], Any]:
    def build(x: Any, name: str) -> Any:
        layer = kind(name=name)
        return layer(layers.Conv2D(4, 1, name=f"{name}_between")(layer(x)))

    return build


_same = {"padding": "same"}
WITH_KERNEL = [
    _of(layers.Conv1D, 4, 3),
    _of(layers.Conv2D, 4, 3),
    _of(layers.Conv2D, 4, 3, groups=2, title="Conv2D, grouped"),
    _of(layers.Conv2D, 4, 3, dilation_rate=2, title="Conv2D, dilated"),
    _of(layers.DepthwiseConv1D, 3),
    _of(layers.DepthwiseConv2D, 3),
    _of(layers.SeparableConv1D, 4, 3),
    _of(layers.SeparableConv2D, 4, 3),
    _of(layers.Conv1DTranspose, 4, 3),
    _of(layers.Conv2DTranspose, 4, 3),
    _on_vector(layers.Dense, 4),
]
ACTIVATIONS = [
    _of(layers.ReLU),
    _of(layers.ReLU, 6, title="ReLU up to 6"),
    _of(layers.LeakyReLU),
    _of(layers.PReLU, shared_axes=[1, 2]),
    _of(layers.ELU),
    _of(layers.Softmax, title="Softmax inside the network"),
    *map(_activation, ("hard_sigmoid", "hard_silu", "sigmoid", "tanh", "silu", "gelu", "selu", "softplus")),
]
POOLING = [
    *(_of(getattr(layers, f"{kind}Pooling{rank}D"), 2) for kind in ("Max", "Average") for rank in (1, 2)),
    _of(layers.AveragePooling2D, 3, strides=1, padding="same", title="AveragePooling2D, same padding"),
    *(_of(getattr(layers, f"Global{kind}Pooling{rank}D")) for kind in ("Max", "Average") for rank in (1, 2)),
]
SHAPES = [
    *(_of(getattr(layers, f"{kind}{rank}D")) for kind in ("ZeroPadding", "Cropping", "UpSampling") for rank in (1, 2)),
    _of(layers.UpSampling2D, interpolation="bilinear", title="UpSampling2D, bilinear"),
    _of(layers.Flatten),
    _of(layers.Reshape, (4, 16, 4)),
    _of(layers.Permute, (2, 1, 3), title="Permute that moves no channel"),
    _of(layers.Permute, (3, 1, 2), title="Permute that moves channels"),
    _on_vector(layers.RepeatVector, 2),
    _of(layers.Identity),
]
JOINS = [
    *map(_join, (layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum)),
    _join(layers.Concatenate),
    _join(layers.Concatenate, "Concatenate of rows", axis=1),
]
SCALES = [
    _of(layers.BatchNormalization),
    Example(
        "BatchNormalization after a ReLU",
        lambda x, name: layers.BatchNormalization(name=name)(layers.ReLU(name=f"{name}_relu")(x)),
    ),
    _of(layers.Rescaling, 1 / 255, title="Rescaling at the input", at_input=True),
    _of(layers.Rescaling, 0.3, 0.1, title="Rescaling inside the network"),
    _of(layers.Normalization, mean=[0.5] * 4, variance=[0.3] * 4, title="Normalization at the input", at_input=True),
    _of(layers.LayerNormalization),
    _of(layers.GroupNormalization, 2),
    _of(layers.UnitNormalization),
]
TRAINING = [
    _of(layers.ActivityRegularization),
    *(_of(kind, 0.1) for kind in (layers.AlphaDropout, layers.Dropout, layers.GaussianDropout, layers.GaussianNoise)),
    *(_of(kind, 0.1) for kind in (layers.SpatialDropout1D, layers.SpatialDropout2D)),
    *(_of(kind, 0.1, at_input=True) for kind in (layers.RandomBrightness, layers.RandomContrast)),
    _of(layers.RandomFlip, at_input=True),
    _of(layers.RandomRotation, 0.1, at_input=True),
    _of(layers.RandomTranslation, 0.1, 0.1, at_input=True),
    _of(layers.RandomZoom, 0.1, at_input=True),
    _of(layers.Resizing, 8, 8, at_input=True),
]
OPERATIONS = [
    _operation("x + y", lambda x: x + ops.relu(x)),
    _operation("x * 0.5 + 1", lambda x: x * 0.5 + 1),
    _operation("ops.relu(x)", ops.relu),
    _operation("x[:, 1:-1, 1:-1]", lambda x: x[:, 1:-1, 1:-1]),
    _operation("ops.mean(x, axis=(1, 2))", partial(ops.mean, axis=(1, 2))),
    _operation("ops.sort(x)", ops.sort),
    _of(layers.Lambda, lambda x: x),
]
STRUCTURES = [
    Example("a model within the model", _nested),
    Example("a ReLU used twice", _twice(layers.ReLU)),
    Example("a convolution used twice", _twice(partial(layers.Conv2D, 4, 3, padding="same"))),
]
EXAMPLES = {
    "Layers with weights": WITH_KERNEL,
    "Activations": ACTIVATIONS,
    "Pooling": POOLING,
    "Shapes": SHAPES,
    "Joins": JOINS,
    "Scales and normalization": SCALES,
    "Training only, and preprocessing": TRAINING,
    "Operations": OPERATIONS,
    "Structures": STRUCTURES,
}
