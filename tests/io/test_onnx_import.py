"""ONNX files as Keras models: the oracle is ONNX Runtime, on the file as it was written."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fewbits import InputError
from fewbits.backend import keras, ops
from fewbits.io.files import read_model, write_model
from fewbits.io.onnx_import import import_onnx
from helpers import onnx_files
from helpers.onnx_files import ONNXFile, channels_last

RNG = np.random.default_rng(3)


def check(path, shape, **options):
    """Import a file; return the model, which computes the same after a trip through a .keras file."""
    found = import_onnx(path, **options)
    write_model(found.model, path.with_suffix(".keras"))
    model = read_model(path.with_suffix(".keras"))
    images = RNG.normal(size=(1, *shape)).astype(np.float32)
    theirs = onnx_files.run(path, images)
    ours = ops.convert_to_numpy(model(channels_last(images) if len(shape) > 1 else images))
    theirs = theirs if theirs.ndim == 2 else channels_last(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    assert found.gap < 1e-5
    return model


# Whole networks


@pytest.mark.parametrize("batch", [1, 3, "batch"])
@pytest.mark.parametrize(
    ("write", "size"), [(onnx_files.resnet, 32), (onnx_files.mobilenet, 16), (onnx_files.squeezenet, 23)]
)
def test_a_network_of_pytorch_computes_the_same(write, size, batch, tmp_path):
    path = write(tmp_path / "network.onnx", batch)
    if batch != 3:
        check(path, (3, size, size))
    assert import_onnx(path).compared > 10


def test_layers_have_the_names_of_modules(tmp_path):
    model = import_onnx(onnx_files.resnet(tmp_path / "small-resnet.onnx")).model
    names = [layer.name for layer in model.layers]
    assert model.name == "small-resnet" and len(set(names)) == len(names)
    assert {"conv1", "bn1", "relu", "maxpool", "layer2.0.downsample.1", "layer2.0.relu_1", "Flatten", "fc"} <= set(
        names
    )


def test_open_sizes_are_given(tmp_path):
    path = onnx_files.resnet(tmp_path / "open.onnx", "batch", "side")
    assert check(path, (3, 32, 40), size=(32, 40)).input_shape == (None, 32, 40, 3)
    with pytest.raises(InputError, match=r"open\.onnx: the input image leaves the size of images open; give .* --size"):
        import_onnx(path)
    fixed = onnx_files.resnet(tmp_path / "fixed.onnx")
    with pytest.raises(InputError, match="has images of 32 x 32 pixels; leave out the size"):
        import_onnx(fixed, (32, 40))


def test_a_model_that_pytorch_exports(tmp_path):
    torch = pytest.importorskip("torch")
    nn, path = torch.nn, tmp_path / "torch.onnx"
    stem = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(3, 2, 1)]
    head = [nn.Conv2d(8, 8, 3, groups=8), nn.Hardswish(), nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), nn.Dropout()]
    network = nn.Sequential(*stem, *head, nn.LazyLinear(5)).eval()
    image = torch.randn(1, 3, 32, 32)
    network(image)
    torch.onnx.export(network, (image,), str(path))
    check(path, (3, 32, 32))


# Operator by operator: (shape of the image, what is added to a file)


def padded_conv(pads, stride=1, size=3, **options):
    return lambda f, x: f.conv(x, 4, 6, size, pads=pads, strides=[stride] * 2, **options)


def pooled(operator, size, stride, **options):
    return lambda f, x: f.node(operator, x, kernel_shape=[size] * 2, strides=[stride] * 2, **options)


def after_relu(part):
    return lambda f, x: part(f, f.node("Relu", x))


def with_constant(operator, values, first=False):
    def add(f, x):
        constant = f.constant(values)
        return f.node(operator, *((constant, x) if first else (x, constant)))

    return add


def flattened(between=()):
    def add(f, x):
        x = f.node("Flatten", x)
        for operator in between:
            x = f.norm(x, 4 * 7 * 6) if operator == "BatchNormalization" else f.node(operator, x)
        return f.linear(x, 4 * 7 * 6, 5)

    return add


def squeezed_and_excited(f, x):
    y = f.node("GlobalAveragePool", x)
    y = f.node("HardSigmoid", f.conv(y, 4, 4, 1), alpha=1 / 6, beta=0.5)
    return f.node("Mul", y, x)


def shuffled(f, x):
    x = f.node("Reshape", x, f.constant([1, 2, 2, 7, 6], np.int64))
    x = f.node("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = f.node("Reshape", x, f.constant([1, 4, 7, 6], np.int64))
    return f.conv(x, 4, 3)


def flattened_by_shape(f, x):
    batch = f.node("Gather", f.node("Shape", x), f.constant(0, np.int64), axis=0)
    batch = f.node("Unsqueeze", batch, f.constant([0], np.int64))
    shape = f.node("Concat", batch, f.constant([-1], np.int64), axis=0)
    return f.linear(f.node("Reshape", x, shape), 4 * 7 * 6, 5)


def multiplied(f, x):
    x = f.node("MatMul", f.node("Flatten", x), f.random(168, 5))
    return f.node("Add", x, f.random(5))


def padded_by_constants(f, x):
    """As PyTorch writes F.pad: the pads of the last axes come first, and are put in order by constant nodes."""
    start, end = f.constant([-1], np.int64), f.constant([np.iinfo(np.int64).min + 1], np.int64)
    others = f.node(
        "ConstantOfShape", f.constant([4], np.int64), value=helper.make_tensor("", TensorProto.INT64, [1], [0])
    )
    pads = f.node("Concat", f.constant([0, 1, 2, 3], np.int64), others, axis=0)
    pads = f.node("Reshape", pads, f.constant([-1, 2], np.int64))
    pads = f.node("Transpose", f.node("Slice", pads, start, end, f.constant([0], np.int64), start), perm=[1, 0])
    pads = f.node("Cast", f.node("Reshape", pads, start), to=TensorProto.INT64)
    return f.node("Pad", x, pads, "", mode="constant")


def shared_weights(f, x):
    """As PyTorch writes a module that is used twice: the weights are copied by Identity."""
    kernel, bias = f.random(4, 4, 3, 3), f.random(4)
    for _ in range(2):
        x = f.node("Conv", x, f.node("Identity", kernel), f.node("Identity", bias), pads=[1] * 4)
    return x


def multiplied_by_transposed(f, x):
    kernel = f.node("Transpose", f.random(5, 168), perm=[1, 0])
    return f.node("Add", f.random(5), f.node("MatMul", f.node("Flatten", x), kernel))


def channels_last_inside(f, x):
    """As Keras exports: tensors are transposed before and after."""
    x = f.node("Transpose", x, perm=[0, 2, 3, 1])
    x = f.node("MatMul", x, f.random(4, 5))
    x = f.node("Transpose", x, perm=[0, 3, 1, 2])
    return f.conv(x, 5, 6, pads=[0, 0, 1, 1], strides=[2, 2])


def joined_vectors(f, x):
    both = f.node("Concat", f.node("Flatten", x), f.node("Flatten", f.node("GlobalMaxPool", x)), axis=1)
    return f.linear(both, 172, 5)


def averaged_sequence(f, x):
    x = f.node("Reshape", x, f.constant([0, 4, -1], np.int64))
    return f.node("ReduceMean", x, f.constant([2], np.int64), keepdims=0)


def transposed_conv(**options):
    return lambda f, x: f.node("ConvTranspose", x, f.random(4, 5, 3, 3), f.random(5), **options)


def resized(**options):
    scales = [1, 1, 2, 3]
    return lambda f, x: f.node("Resize", x, "", f.constant(scales), **options)


PARTS = {
    "conv, same": padded_conv([1] * 4),
    "conv, stride": padded_conv([1] * 4, 2),
    "conv, asymmetric": padded_conv([0, 2, 1, 0], 2),
    "conv, no padding": padded_conv([0] * 4, size=1),
    "conv, same upper": lambda f, x: f.conv(x, 4, 6, auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv, same lower": lambda f, x: f.conv(x, 4, 6, 2, auto_pad="SAME_LOWER"),
    "conv, dilated": padded_conv([2] * 4, dilations=[2, 2]),
    "conv, groups": padded_conv([1] * 4, groups=2),
    "conv, depthwise": lambda f, x: f.conv(x, 4, 4, groups=4, pads=[1] * 4, strides=[2, 2]),
    "conv, multiplier": lambda f, x: f.conv(x, 4, 12, groups=4),
    "conv, bias after": lambda f, x: f.node("Add", f.conv(x, 4, 6, bias=False), f.random(6, 1, 1)),
    "conv, offset of all": lambda f, x: f.node("Add", f.conv(x, 4, 6, bias=False), f.constant(0.5)),
    "transposed": transposed_conv(strides=[2, 2], pads=[1] * 4),
    "transposed, output padding": transposed_conv(strides=[2, 2], pads=[1] * 4, output_padding=[1, 1]),
    "transposed, stride above size": transposed_conv(strides=[4, 4]),
    "max": pooled("MaxPool", 2, 2),
    "max, padded": pooled("MaxPool", 3, 2, pads=[1] * 4),
    "max, padded, every": pooled("MaxPool", 3, 1, pads=[1] * 4),
    "max, padded after relu": after_relu(pooled("MaxPool", 3, 2, pads=[1] * 4)),
    "max, asymmetric": pooled("MaxPool", 3, 2, pads=[0, 1, 1, 0]),
    "max, large": pooled("MaxPool", 5, 2, pads=[2, 1, 1, 2]),
    "max, ceil": pooled("MaxPool", 2, 2, ceil_mode=1),
    "max, ceil, padded": after_relu(pooled("MaxPool", 3, 2, ceil_mode=1, pads=[1] * 4)),
    "max, ceil, padded, large": pooled("MaxPool", 5, 2, ceil_mode=1, pads=[1] * 4),
    "max, ceil, windows beyond": after_relu(pooled("MaxPool", 2, 2, ceil_mode=1, pads=[1] * 4)),
    "max, same": pooled("MaxPool", 2, 2, auto_pad="SAME_UPPER"),
    "average": pooled("AveragePool", 2, 2),
    "average, counted": pooled("AveragePool", 3, 2, pads=[1] * 4, count_include_pad=1),
    "average, not counted": pooled("AveragePool", 3, 1, pads=[1] * 4),
    "global maximum": lambda f, x: f.node("GlobalMaxPool", x),
    "reduced": lambda f, x: f.node("ReduceMean", x, f.constant([-1, -2], np.int64), keepdims=1),
    "norm": lambda f, x: f.norm(x, 4),
    "leaky": lambda f, x: f.node("LeakyRelu", x, alpha=0.2),
    "prelu": lambda f, x: f.node("PRelu", x, f.random(4, 1, 1)),
    "prelu, one slope": lambda f, x: f.node("PRelu", x, f.constant([0.3])),
    "clip above": lambda f, x: f.node("Clip", x, f.constant(0), f.constant(0.7)),
    "clip below": lambda f, x: f.node("Clip", x, f.constant(0)),
    "hard tanh": lambda f, x: f.node("Clip", x, f.constant(-1), f.constant(1)),
    "hard sigmoid of Keras 2": lambda f, x: f.node("HardSigmoid", x),
    "hard sigmoid": lambda f, x: f.node("HardSigmoid", x, alpha=1 / 6),
    "hard swish": lambda f, x: f.node("HardSwish", x),
    "silu": lambda f, x: f.node("Mul", x, f.node("Sigmoid", x)),
    "elu": lambda f, x: f.node("Elu", x, alpha=0.7),
    "selu": lambda f, x: f.node("Selu", x),
    "celu": lambda f, x: f.node("Celu", x),
    "tanh": lambda f, x: f.node("Tanh", x),
    "mish": lambda f, x: f.node("Mish", x),
    "softmax of channels": lambda f, x: f.node("Softmax", x, axis=1),
    "softmax of columns": lambda f, x: f.node("Softmax", x, axis=-1),
    "log softmax of rows": lambda f, x: f.node("LogSoftmax", x, axis=2),
    "scaled": with_constant("Mul", 0.3),
    "scaled per channel": with_constant("Mul", [[[[0.3]], [[-1]], [[2]], [[1]]]]),
    "mean per channel": with_constant("Sub", [[[0.3]], [[-1]], [[2]], [[1]]]),
    "deviation per channel": with_constant("Div", [[[0.3]], [[-1]], [[2]], [[1]]]),
    "subtracted from": with_constant("Sub", 1, first=True),
    "sum of one twice": lambda f, x: f.node("Add", x, x),
    "difference": lambda f, x: f.node("Sub", f.conv(x, 4, 4, 1), x),
    "maximum": lambda f, x: f.node("Max", x, f.conv(x, 4, 4, 1), f.node("Tanh", x)),
    "excited": squeezed_and_excited,
    "joined": lambda f, x: f.node("Concat", x, f.conv(x, 4, 2, 1), axis=1),
    "joined rows": lambda f, x: f.node("Concat", x, f.node("Tanh", x), axis=-2),
    "joined vectors": joined_vectors,
    "flattened": flattened(),
    "flattened, relu, norm": flattened(["Relu", "BatchNormalization", "Identity", "Dropout"]),
    "flattened by shape": flattened_by_shape,
    "flattened to the end": lambda f, x: f.node("Flatten", f.node("Tanh", x)),
    "flattened, softmax": lambda f, x: f.node("Softmax", f.node("Flatten", x)),
    "flattened, scaled": lambda f, x: f.node("Mul", f.node("Flatten", x), f.random(168)),
    "multiplied": multiplied,
    "squeezed": lambda f, x: f.node("Squeeze", f.node("GlobalAveragePool", x), f.constant([2, 3], np.int64)),
    "averaged sequence": averaged_sequence,
    "shuffled": shuffled,
    "channels last inside": channels_last_inside,
    "padded": lambda f, x: f.node("Pad", x, f.constant([0, 0, 1, 2, 0, 0, 3, 0], np.int64)),
    "cropped": lambda f, x: f.node("Pad", x, f.constant([0, 0, -1, 2, 0, 0, 0, -3], np.int64)),
    "nearest": resized(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "nearest, half pixel": resized(mode="nearest"),
    "bilinear": resized(mode="linear"),
    "bilinear of PyTorch": resized(mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    "padded by constants": padded_by_constants,
    "shared weights": shared_weights,
    "multiplied by transposed": multiplied_by_transposed,
}


@pytest.mark.parametrize("part", PARTS)
def test_an_operator_computes_the_same(part, tmp_path):
    file = ONNXFile(opset=19)
    out = PARTS[part](file, file.conv(file.input(1, 2, 7, 6), 2, 4, 1, "stem"))
    check(file.write(tmp_path / "part.onnx", out), (2, 7, 6))


@pytest.mark.parametrize("opset", [9, 10])
def test_an_older_file_computes_the_same(opset, tmp_path):
    file = ONNXFile(opset=opset)
    x = file.node("Clip", file.conv(file.input(1, 2, 7, 6), 2, 4, 1), min=0.0, max=0.7)
    x = file.node("Pad", x, pads=[0, 0, 1, 1, 0, 0, 1, 1])
    x = file.node("Upsample" if opset == 9 else "Resize", x, file.constant([1, 1, 2, 2]))
    x = file.node("Dropout", file.node("Squeeze", file.node("Unsqueeze", x, axes=[2, 5]), axes=[2, 5]))
    x = file.node("Softmax", file.node("Reshape", x, file.constant([1, -1], np.int64)))
    check(file.write(tmp_path / "old.onnx", x), (2, 7, 6))


def test_a_sequence_computes_the_same(tmp_path):
    file = ONNXFile()
    x = file.node("Conv", file.input(1, 3, 20), file.random(6, 3, 5), file.random(6), strides=[2], pads=[2, 2])
    x = file.node("MaxPool", file.norm(x, 6), kernel_shape=[2], strides=[2])
    x = file.node("Conv", x, file.random(6, 1, 3), group=6)
    check(file.write(tmp_path / "sequence.onnx", file.linear(file.node("Flatten", x), 18, 4)), (3, 20))


def test_images_that_have_their_channels_last_keep_them(tmp_path):
    file = ONNXFile()
    x = file.node("Transpose", file.input(1, 7, 6, 2), perm=[0, 3, 1, 2])
    x = file.node("Transpose", file.conv(x, 2, 4), perm=[0, 2, 3, 1])
    path = file.write(
        tmp_path / "last.onnx", file.linear(file.node("Reshape", x, file.constant([1, 80], np.int64)), 80, 3)
    )
    model = import_onnx(path).model
    images = RNG.normal(size=(1, 7, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(ops.convert_to_numpy(model(images)), onnx_files.run(path, images), rtol=0, atol=1e-4)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["InputLayer", "Conv2D", "Flatten", "Dense"]


def test_our_own_export_comes_back(tmp_path):
    from fewbits.deploy.onnx import write_onnx

    layers = keras.layers
    stack = [layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"), layers.DepthwiseConv2D(3)]
    model = keras.Sequential([layers.Input((9, 8, 3)), *stack, layers.Flatten(), layers.Dense(5), layers.Softmax()])
    write_onnx(model, tmp_path / "own.onnx")
    images = RNG.normal(size=(2, 9, 8, 3)).astype(np.float32)
    back = import_onnx(tmp_path / "own.onnx").model
    np.testing.assert_allclose(ops.convert_to_numpy(back(images)), ops.convert_to_numpy(model(images)), atol=1e-5)


def test_several_inputs_and_outputs_stay(tmp_path):
    file = ONNXFile()
    one, two = file.input("n", 2, 7, 6), file.input("n", 2, 7, 6, name="other")
    total = file.node("Add", file.conv(one, 2, 4), file.conv(two, 2, 4, name="conv_b"))
    model = import_onnx(file.write(tmp_path / "two.onnx", total, file.node("Relu", total))).model
    assert [x.name for x in model.inputs] == ["image", "other"] and len(model.outputs) == 2


def test_nothing_more_than_needed_is_added(tmp_path):
    file = ONNXFile()
    x = file.conv(file.input(1, 2, 8, 8), 2, 4, pads=[1] * 4)
    x = file.node("Mul", x, file.node("Sigmoid", x))
    x = file.linear(file.node("Flatten", x), 256, 3)
    model = import_onnx(file.write(tmp_path / "plain.onnx", x)).model
    assert [type(layer).__name__ for layer in model.layers] == [
        "InputLayer",
        "Conv2D",
        "Activation",
        "Flatten",
        "Dense",
    ]
    assert model.layers[2].activation is keras.activations.silu


# What is refused


def sliced(f, x):
    return f.node("Slice", x, *(f.constant([n], np.int64) for n in (0, 1, 1)))


REFUSED = {
    "operator": (
        lambda f, x: f.node("InstanceNormalization", x, f.random(4), f.random(4)),
        "cannot be imported; replace",
    ),
    "slice": (sliced, "cannot be imported; replace"),
    "foreign": (lambda f, x: f.node("FusedConv", x, domain="com.microsoft"), "is an operator of com.microsoft; export"),
    "stride and dilation": (padded_conv([0] * 4, 2, dilations=[2, 2]), "both strides and dilations"),
    "channels": (lambda f, x: f.conv(x, 6, 3), "kernel for 6 channels and an input of 4"),
    "kernel from the network": (lambda f, x: f.node("Conv", x, f.node("Sigmoid", x)), "only constant ones"),
    "not finite": (with_constant("Mul", np.nan), "NaN or infinite"),
    "average": (pooled("AveragePool", 3, 2, pads=[1] * 4), "averages over windows of several sizes; set count_include"),
    "max, ceil": (pooled("MaxPool", 3, 2, ceil_mode=1, pads=[1] * 4), "more padding than half its window; pad less"),
    "training": (
        lambda f, x: f.node("Dropout", x, f.constant(0.5), f.constant(True, bool)),
        r"training mode; call model.eval\(\)",
    ),
    "batch": (lambda f, x: f.node("Transpose", x, perm=[1, 0, 2, 3]), "moves the batch"),
    "batch in a shape": (lambda f, x: f.node("Reshape", x, f.constant([4, 1, -1], np.int64)), "mixes images"),
    "batch squeezed": (lambda f, x: f.node("Squeeze", x), "keep the batch as the first axis"),
    "channels padded": (lambda f, x: f.node("Pad", x, f.constant([0, 1, 0, 0] * 2, np.int64)), "pads the channels"),
    "reflected": (
        lambda f, x: f.node("Pad", x, f.constant([0, 0, 1, 1] * 2, np.int64), mode="reflect"),
        "other values than zero",
    ),
    "constant per pixel": (with_constant("Add", np.ones((1, 1, 7, 6))), "each pixel with a constant of its own"),
    "clip": (lambda f, x: f.node("Clip", x, f.constant(-2), f.constant(3)), "clips to -2 and 3; use a ReLU"),
    "resize": (lambda f, x: f.node("Resize", x, "", f.constant([1, 1, 0.5, 0.5])), "whole factors"),
    "corners": (resized(mode="linear", coordinate_transformation_mode="align_corners"), "align_corners=False"),
    "second output": (
        lambda f, x: f.node("Add", *f.nodes_of_two("MaxPool", x, kernel_shape=[2, 2])),
        "has a second output that is read",
    ),
    "large constant": (
        lambda f, x: f.node("Add", x, f.node("ConstantOfShape", f.constant([100_000, 100_000], np.int64))),
        "makes a large constant",
    ),
}


@pytest.mark.parametrize("part", REFUSED)
def test_a_node_that_cannot_be_imported_is_named(part, tmp_path):
    add, message = REFUSED[part]
    file = ONNXFile(opset=19)
    x = add(file, file.conv(file.input(1, 2, 7, 6), 2, 4, 1, "stem"))
    path = file.write(tmp_path / "part.onnx", x)
    with pytest.raises(InputError, match=rf"part\.onnx: node [/\w]+ \(\w+\) .*{message}") as refused:
        import_onnx(path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_a_node_that_computes_something_else_is_named(tmp_path, monkeypatch):
    from fewbits.io import onnx_import

    path = onnx_files.mobilenet(tmp_path / "network.onnx")
    monkeypatch.setitem(onnx_import.OPERATORS, "Add", onnx_import.OPERATORS["Mul"])
    monkeypatch.setattr("fewbits.io.onnx_elements.MERGES", {"Add": keras.layers.Multiply})
    with pytest.raises(
        InputError, match=r"node /features.2/Add \(Add\) differs from ONNX Runtime by .* of its largest"
    ):
        import_onnx(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[: len(c) // 2], "cannot be read; it may be truncated"),
        (lambda c: c.replace(b"/Flatten", b"/Fl\xfftten"), "cannot be read; it may be truncated"),
        (lambda c: b"", "is not a valid ONNX file"),
        (lambda c: b"\x80\x04\x95 pickled", "cannot be read; it may be truncated"),
    ],
)
def test_a_damaged_file_is_refused(change, message, tmp_path):
    path = onnx_files.squeezenet(tmp_path / "network.onnx")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=rf"network\.onnx {message}"):
        import_onnx(path)


def test_no_damage_ends_in_a_traceback(tmp_path):
    content, path = onnx_files.squeezenet(tmp_path / "network.onnx").read_bytes(), tmp_path / "damaged.onnx"
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            import_onnx(path)
        except InputError as error:
            assert "\n" not in str(error)


def test_inputs_that_are_no_float_images_are_refused(tmp_path):
    file = ONNXFile()
    image = file.node("Cast", file.input(1, 3, 4, 4, dtype=TensorProto.UINT8), to=TensorProto.FLOAT)
    with pytest.raises(InputError, match="the input image does not hold float32 numbers; export"):
        import_onnx(file.write(tmp_path / "bytes.onnx", file.node("Relu", image)))


@pytest.fixture
def split(tmp_path):
    """Write a network whose weights are in a file beside it; return its path and its proto."""
    folder = tmp_path / "folder"
    folder.mkdir()
    proto = onnx.load(onnx_files.squeezenet(tmp_path / "whole.onnx"))
    onnx.save(proto, folder / "net.onnx", save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    return folder / "net.onnx"


def test_weights_beside_the_file_are_read(split, tmp_path):
    whole, parts = import_onnx(tmp_path / "whole.onnx").model, import_onnx(split).model
    assert all((a == b).all() for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True))


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "folder/secret", "..", "", "link", "a\\b"])
def test_weights_elsewhere_are_not_read(location, split):
    (split.parent.parent / "secret").write_bytes(bytes(10_000))
    (split.parent / "link").symlink_to(split.parent.parent / "secret")
    proto = onnx.load(split, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        entry.value = location if entry.key == "location" else entry.value
    split.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match="weights must be in a plain file beside it"):
        import_onnx(split)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("offset", "-1", "is not a number"),
        ("length", "99999999999", "it is truncated"),
        ("length", "4", "cannot be read|not a valid"),
        ("location", "none", "none does not exist"),
    ],
)
def test_places_of_weights_are_checked(key, value, message, split):
    proto = onnx.load(split, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        entry.value = value if entry.key == key else entry.value
    split.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match=message):
        import_onnx(split)


def test_a_constant_in_another_file_is_not_read(tmp_path):
    file = ONNXFile()
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [0.5])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    x = file.node("Add", file.input(1, 3, 4, 4), file.node("Constant", value=tensor))
    path = tmp_path / "constant.onnx"
    file.nodes[-1].name = "/Add"
    graph = helper.make_graph(file.nodes, "g", file.inputs, [helper.make_tensor_value_info(x, 1, [1, 3, 4, 4])])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(InputError, match="has a constant in another file; only weights may be there"):
        import_onnx(path)


@pytest.mark.parametrize(("batch", "side"), [(10**6, 32), (1, 10**5), ("batch", 10**5)])
def test_images_too_large_to_compare_are_refused(batch, side, tmp_path):
    file = ONNXFile()
    path = file.write(tmp_path / "large.onnx", file.node("Identity", file.input(batch, 3, side, side)))
    with pytest.raises(InputError, match="a batch of .* images is too large to compare; export"):
        import_onnx(path)


@pytest.mark.parametrize("part", ["pad", "kernel"])
def test_a_small_file_makes_no_large_network(part, tmp_path):
    file = ONNXFile()
    x = file.input(1, 1, 4, 4)
    if part == "pad":
        x = file.node("Pad", x, file.constant([0, 0, 10**6, 10**6] * 2, np.int64))
    else:
        kernel = file.random(512, 1, 32, 32)
        for _ in range(600):
            x = file.node("ReduceMean", file.node("Conv", x, kernel, pads=[31] * 4), axes=[2, 3])
            x = file.node("Conv", x, "narrow", kernel_shape=[1, 1])
        file.random(1, 512, 1, 1, name="narrow")
    with pytest.raises(InputError, match="a network of more than 268,435,456 numbers"):
        import_onnx(file.write(tmp_path / "large.onnx", x))
