"""Weights that were trained with Caffe: from a .caffemodel, or an .npz of the same arrays.

Caffe keeps a kernel as (out, in, height, width), Keras as (height, width, in, out). Its networks expect the channels in
the order blue, green, red, of 0 to 255, less the mean pixel, and pool with `ceil`.
"""

from functools import cache
from pathlib import Path

import numpy as np

from fewbits.errors import InputError
from fewbits.files import read_arrays

# The messages and fields of caffe.proto that hold weights: name -> (number, kind, whether repeated). Older files keep
# layers in field 2, with other numbers, and a blob's shape in four fields.
MESSAGES = {
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


def load_weights(model, path: Path) -> None:
    """Give the convolutions and dense layers of `model` the weights in `path`, a .caffemodel or .npz file; all or none.

    Layers are found by name, where Caffe's fire2/squeeze1x1 is ours of fire2_squeeze1x1. Raises InputError, naming the
    layer, where one is missing, has another shape, or holds NaN or infinity, and where the file cannot be read.
    """
    path = Path(path)
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    read = _from_npz if path.suffix == ".npz" else _from_caffemodel
    found = read(path, [layer.name.replace("_", "/", 1) for layer in layers])
    pairs = [_checked(path, layer, *arrays) for layer, arrays in zip(layers, found, strict=True)]
    for layer, (kernel, bias) in zip(layers, pairs):
        layer.kernel.assign(kernel)
        layer.bias.assign(bias)


def _checked(path, layer, kernel, bias):
    kernel = np.moveaxis(kernel, (0, 1), (-1, -2)).astype(np.float32) if kernel.ndim == 4 else kernel.T
    for what, array, variable in (("kernel", kernel, layer.kernel), ("bias", bias, layer.bias)):
        if array.shape != tuple(variable.shape):
            raise InputError(
                f"{path}: the {what} of {layer.name} is {array.shape}, and the network needs {tuple(variable.shape)}"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{path}: the {what} of {layer.name} holds NaN or infinity")
    return kernel, bias.astype(np.float32)


def _from_npz(path, names):
    arrays = read_arrays(path, tuple(f"{name}.{kind}" for name in names for kind in "wb"))
    return [(arrays[f"{name}.w"], arrays[f"{name}.b"]) for name in names]


def _from_caffemodel(path, names):
    try:
        from google.protobuf.message import DecodeError
    except ImportError:
        raise InputError("a .caffemodel is read with protobuf; install it with `pip install protobuf`") from None
    net = _net()()
    try:
        net.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except DecodeError:
        raise InputError(f"{path} cannot be read; it may be truncated, or no .caffemodel") from None
    layers = {layer.name: layer for layer in (*net.layers, *net.layer)}
    found = []
    for name in names:
        if name not in layers:
            with_weights = [n for n, layer in layers.items() if layer.blobs]
            raise InputError(f"{path} has no layer {name}; it has {', '.join(with_weights) or 'none with weights'}")
        blobs = layers[name].blobs
        if len(blobs) != 2:
            raise InputError(f"{path}: the layer {name} has {len(blobs)} arrays; a kernel and a bias are needed")
        found.append(tuple(_array(path, name, blob) for blob in blobs))
    return found


def _array(path, name, blob):
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
def _net():
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
