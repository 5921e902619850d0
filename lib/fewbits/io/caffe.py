"""Weights that were trained with Caffe: from a .caffemodel, or an .npz of the same arrays.

Caffe keeps a kernel as (out, in, height, width), Keras as (height, width, in, out); before a dense layer Caffe flattens
the channels first, Keras last. Its networks expect the channels in the order blue, green, red, pixels from 0 to 255
less the mean pixel, and pool with `ceil`.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fewbits.backend import keras
from fewbits.errors import InputError, needs_extra
from fewbits.graph import Graph
from fewbits.io.files import read_arrays
from fewbits.io.weights import assign_layers

# The messages and fields of caffe.proto that hold weights: name -> (number, kind, whether repeated). Older files keep
# layers in field 2, with other numbers, and a blob's shape in four fields.
MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Shape": {"dim": (1, "int64", True)},
    "Blob": {
        "num": (1, "int32", False),
        "channels": (2, "int32", False),
        "height": (3, "int32", False),
        "width": (4, "int32", False),
        "data": (5, "float", True),
        "shape": (7, "Shape", False),
    },
    "Layer": {"name": (1, "string", False), "blobs": (7, "Blob", True)},
    "OldLayer": {"name": (4, "string", False), "blobs": (6, "Blob", True)},
    "Net": {"layer": (100, "Layer", True), "layers": (2, "OldLayer", True)},
}

# Layers that keep the order of numbers, between a Flatten and the dense layer that reads it.
KEEPING_ORDER = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.Dropout,
    keras.layers.Identity,
    keras.layers.Rescaling,
)


def load_caffe_weights(model: keras.Model, path: Path | str) -> None:
    """Give the convolutions and dense layers of a model the weights of a Caffe network, all or none.

    Layers are found by name: Caffe's fire2/squeeze1x1 is fire2_squeeze1x1 here.

    Args:
        model: A built model, such as one of the zoo with `pooling="ceil"`; all its layers with a kernel have a bias.
        path: A .caffemodel, or an .npz of the same arrays, NAME.w and NAME.b.

    Raises:
        InputError: when the file cannot be read, a layer is missing, has another shape, or holds NaN or infinity, or a
            layer of the model has no bias.
    """
    path = Path(path)
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    for layer in layers:
        if layer.bias is None:
            raise InputError(f"{layer.name} of {model.name} has no bias, but Caffe's layers have one")
    read = _from_npz if path.suffix == ".npz" else _from_caffemodel
    found = read(path, [layer.name.replace("_", "/", 1) for layer in layers])
    sides = _flattened(model)
    pairs = zip(layers, found, strict=True)
    assign_layers(((layer, *_floats(path, layer, sides.get(layer.name), *pair)) for layer, pair in pairs), path)


def _floats(
    path: Path, layer: keras.Layer, sides: tuple[int, ...] | None, kernel: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return `kernel`, in Keras' order, and `bias` as float32."""
    for what, array in (("kernel", kernel), ("bias", bias)):
        if array.dtype.kind not in "fiu":
            raise InputError(f"{path}: the {what} of {layer.name} does not hold numbers")
    with np.errstate(over="ignore"):
        return _turned(kernel, layer, sides).astype(np.float32), bias.astype(np.float32)


def _turned(kernel: np.ndarray, layer: keras.Layer, sides: tuple[int, ...] | None) -> np.ndarray:
    """Return Caffe's `kernel` in Keras' order; sides: (height, width, channels) of what a dense `layer` reads flat."""
    if not isinstance(layer, keras.layers.Dense):
        return np.moveaxis(kernel, (0, 1), (-1, -2)) if kernel.ndim == 4 else kernel
    if kernel.ndim == 4 and kernel.shape[:2] == (1, 1):  # as older files have it
        kernel = kernel[0, 0]
    if sides and kernel.shape[1:] == (np.prod(sides),):
        height, width, channels = sides
        kernel = np.moveaxis(kernel.reshape(-1, channels, height, width), 1, -1).reshape(kernel.shape)
    return kernel.T


def _flattened(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Return name -> (height, width, channels) of what stood before it was flattened, for the dense layers of `model`.

    Raises InputError, naming the layer, where a dense one reads several arrays side by side.
    """
    graph = Graph(model)
    found: dict[str, tuple[int, ...]] = {}
    for layer in (layer for layer in model.layers if isinstance(layer, keras.layers.Dense)):
        call = graph.made_by(graph.calls_of(layer)[0].inputs[0])
        while isinstance(call.operation, KEEPING_ORDER):
            call = graph.made_by(call.inputs[0])
        if isinstance(call.operation, (keras.layers.Flatten, keras.layers.Reshape)):
            sides = call.inputs[0].shape[1:]
            if len(sides) == 3:
                found[layer.name] = sides
        elif len(call.inputs) > 1 and len(call.outputs[0].shape) == 2:
            raise InputError(f"{layer.name} reads several arrays as one; in which order Caffe has them is not known")
    return found


def _from_npz(path: Path, names: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    arrays = read_arrays(path, tuple(f"{name}.{kind}" for name in names for kind in "wb"))
    return [(arrays[f"{name}.w"], arrays[f"{name}.b"]) for name in names]


def _from_caffemodel(path: Path, names: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    with needs_extra("export", "Files of type .caffemodel"):
        from google.protobuf.message import DecodeError
    net = _net()()
    try:
        net.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except DecodeError:
        read = [layer.name for layer in (*net.layers, *net.layer) if layer.name]  # whole, before the damage
        last = f"; the last layer read is {read[-1]}" if read else ""
        raise InputError(f"{path} cannot be read{last}; it may be truncated, or not be a .caffemodel") from None
    layers = {layer.name: layer for layer in (*net.layers, *net.layer)}
    found = []
    for name in names:
        if name not in layers:
            with_weights = [n for n, layer in layers.items() if layer.blobs]
            raise InputError(f"{path} has no layer {name}; it has {', '.join(with_weights) or 'none with weights'}")
        blobs = layers[name].blobs
        if len(blobs) != 2:
            raise InputError(f"{path}: the layer {name} has {len(blobs)} arrays; a kernel and a bias are needed")
        found.append((_array(path, name, blobs[0]), _array(path, name, blobs[1])))
    return found


def _array(path: Path, name: str, blob: Any) -> np.ndarray:
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    else:
        shape = (blob.num, blob.channels, blob.height, blob.width)
        shape = shape[3:] if shape[:3] == (1, 1, 1) else shape  # a bias
    data = np.array(blob.data, np.float32)
    if min(shape, default=1) < 0 or int(np.prod(shape, dtype=object)) != len(data):
        raise InputError(f"{path}: the layer {name} holds {len(data)} numbers for a shape of {shape}")
    return data.reshape(shape)


@cache
def _net() -> Any:
    """Return the class of Caffe's NetParameter, as far as MESSAGES describes it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    Field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="fewbits_caffe.proto", package="fewbits_caffe", syntax="proto2")
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind, repeated) in fields.items():
            field = described.field.add(name=name, number=number)
            field.label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
            if kind in MESSAGES:
                field.type, field.type_name = Field.TYPE_MESSAGE, f".fewbits_caffe.{kind}"
            else:
                field.type = getattr(Field, f"TYPE_{kind.upper()}")
                field.options.packed = repeated
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fewbits_caffe.Net"))
