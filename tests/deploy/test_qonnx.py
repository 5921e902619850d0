"""QONNX files: qonnx computes what Keras does in every layer, before and after its clean-up."""

import re
import sys

import numpy as np
import pytest

from fewbits import FixedPoint, formats_for, quantize_model
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.deploy import compare_qonnx, joint_formats, qonnx, to_qonnx, write_qonnx
from fewbits.io.files import write_model
from helpers.graphs import DIGITS, per_filter, trained
from helpers.graphs import graph as small

onnx = pytest.importorskip("onnx")
package = pytest.importorskip("qonnx")
from qonnx.core.modelwrapper import ModelWrapper  # noqa: E402
from qonnx.util.cleanup import cleanup_model  # noqa: E402

L = keras.layers
IMAGES = DIGITS.scaled(DIGITS.test)
CONV, INPUT, OUTPUT = FixedPoint(0, 6), FixedPoint(0, 7, signed=False), FixedPoint(1, 5)


def with_formats(model, rounding, bits, **options):
    model = quantize_model(model, rounding=rounding, fold_batch_normalization=True)
    model.set_formats(formats_for(model, IMAGES[:64], bits, **options))
    return model


def different(model, images, clean=False):
    """Return the layers in which values differ, after a check that all layers are alive and were compared."""
    found = compare_qonnx(model, images, clean)
    assert found.keys() >= {layer.name for layer in model.rounding_layers}
    assert all(agreement.codes >= len(images) for agreement in found.values())
    return {name: agreement for name, agreement in found.items() if agreement.different}


@pytest.mark.parametrize(
    ("name", "rounding", "bits", "options"),
    [
        ("lenet", "nearest", 8, {}),
        ("squeezenet_digits", "nearest-up", (8, 6, 7), {"per_channel": True}),
        *(
            pytest.param(name, *how, marks=pytest.mark.slow)
            for name in ("squeezenet_digits", "mobilenet_cifar", "resnet_cifar")
            for how in (
                ("nearest", 8, {}),
                ("floor", 8, {"signed": True}),
                ("nearest-away", 6, {"per_channel": True}),
                ("nearest-up", 4, {"per_channel": True}),
                ("nearest", (4, 6, 8), {}),
            )
        ),
    ],
)
def test_every_layer_is_equal_on_all_digits_before_and_after_the_clean_up(name, rounding, bits, options):
    keras.utils.set_random_seed(3)
    model = with_formats(trained(name), rounding, bits, **options)
    assert different(model, IMAGES) == different(model, IMAGES, clean=True) == {}


def pieces():
    """Return what a clean-up or an execution node by node could get wrong, as layers."""
    return [
        L.ZeroPadding2D(((1, 0), (0, 2))),
        L.Conv2D(4, 3, groups=1, dilation_rate=2, name="conv"),
        L.UpSampling2D(2),
        L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, activation="relu", name="depth"),
        L.PReLU(shared_axes=[1, 2], name="slope"),
        L.Activation("tanh", name="table"),
        L.Dropout(0.5),
        lambda x: L.Add(name="sum")([x, L.Conv2D(8, 1, name="other")(x)]),
        L.AveragePooling2D(2, padding="same", name="mean"),
        L.Reshape((-1, 4), name="sequence"),
        L.Conv1D(3, 2, padding="causal", name="steps"),
        L.GlobalAveragePooling1D(),
        L.Dense(3, activation="softmax", name="logits"),
    ]


def of_all_kinds(rounding):
    model = small(*pieces(), rounding=rounding)
    model.set_formats({layer.name: (CONV, FixedPoint(1, 7), FixedPoint(2, 6)) for layer in model.rounding_layers})
    return model


@pytest.mark.parametrize("rounding", ["floor", "nearest-away"])
def test_layers_of_all_kinds(rounding):
    model = of_all_kinds(rounding)
    images = np.random.default_rng(1).integers(0, 256, (20, 7, 6, 3)).astype(np.float32) / 128
    assert different(model, images) == different(model, images, clean=True) == {}
    assert not {"Max", "Softmax"} & {node.op_type for node in to_qonnx(model).graph.node}


def test_a_difference_is_found(monkeypatch):
    model = of_all_kinds("nearest")
    images = np.random.default_rng(1).random((4, 7, 6, 3), np.float32)
    monkeypatch.setitem(qonnx.ROUNDINGS, "nearest", "FLOOR")
    found = different(model, images)
    assert {"conv", "depth", "logits"} <= found.keys()


def test_several_inputs_and_outputs_in_batches(monkeypatch):
    keras.utils.set_random_seed(1)
    inputs = [L.Input((6, 6, 2), name="left"), L.Input((5,), name="right")]
    x = L.Flatten()(L.Conv2D(3, 3, strides=2, name="conv")(inputs[0]))
    x = L.Concatenate(name="join")([x, L.Dense(4, name="dense")(inputs[1])])
    model = quantize_model(keras.Model(inputs, [L.Dense(2, name="a")(x), L.Dense(3, name="b")(x)]), rounding="nearest")
    model.set_formats((CONV, INPUT, OUTPUT))
    images = [np.random.default_rng(0).random((9, *x.shape[1:]), np.float32) for x in inputs]
    assert not any(a.different for clean in (False, True) for a in compare_qonnx(model, images, clean).values())
    found = compare_qonnx(model, images)
    monkeypatch.setattr(qonnx, "NUMBERS", 4 * 77)  # three batches, of 4, 4 and 1 images
    assert compare_qonnx(model, images) == found


# The file


def one_convolution(rounding="nearest", kernel=CONV):
    model = quantize_model(
        keras.Sequential([L.Input((4, 5, 2)), L.Conv2D(3, (3, 2), name="conv", bias_initializer="ones")]),
        rounding=rounding,
    )
    model.set_formats((kernel, INPUT, OUTPUT))
    return model


def quants(proto):
    """Return step, bits, attributes and input of each Quant node."""
    arrays = {array.name: onnx.numpy_helper.to_array(array) for array in proto.graph.initializer}
    for node in (node for node in proto.graph.node if node.op_type == "Quant"):
        x, step, zero, bits = node.input
        assert arrays[zero] == 0 and arrays[step].shape == arrays[bits].shape == ()
        said = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert said["narrow"] == 0 and node.domain == "qonnx.custom_op.general"
        yield float(arrays[step]), int(arrays[bits]), said["signed"], said["rounding_mode"].decode(), arrays.get(x)


def test_quant_nodes_have_the_formats_of_the_layer():
    read, kernel, bias, wrote = quants(to_qonnx(one_convolution()))
    assert read[:4] == (INPUT.step, 7, 0, "ROUND") and wrote[:4] == (OUTPUT.step, 5, 1, "ROUND")
    assert kernel[:3] == (CONV.step, 6, 1) and bias[:2] == (CONV.step * INPUT.step, 13)  # 1 is 2**11 of its steps
    assert np.unique(kernel[4]).size > 5 and np.all(bias[4] == 1)


@pytest.mark.parametrize(
    ("rounding", "name"), [("floor", "FLOOR"), ("nearest-up", "FLOOR"), ("nearest-away", "HALF_UP")]
)
def test_roundings_have_names_and_nearest_up_half_a_step_before_a_floor(rounding, name):
    proto = to_qonnx(one_convolution(rounding))
    read, *_, wrote = quants(proto)
    assert read[3] == wrote[3] == name
    assert [node.op_type for node in proto.graph.node].count("Add") == (3 if rounding == "nearest-up" else 1)


def test_filters_share_the_finest_step_with_more_bits():
    kernel = FixedPoint(-2, 6), FixedPoint(1, 6), FixedPoint(0, 6)
    model = one_convolution(kernel=kernel)
    assert joint_formats(model) == {"conv": FixedPoint(1, 9)} and joint_formats(one_convolution()) == {}
    assert list(quants(to_qonnx(model)))[1][:2] == (kernel[0].step, 9)
    weights = np.float32([-1, 2, 1])[:, None, None, None] - np.float32([0, 1 / 16, 1 / 32])[:, None, None, None]
    model.get_layer("conv").kernel.assign(np.broadcast_to(np.moveaxis(weights, 0, -1), (3, 2, 2, 3)))  # at their limits
    images = np.random.default_rng(1).random((9, 4, 5, 2), np.float32)
    assert different(model, images) == {}
    by_filter = small(
        L.Conv2D(5, 3, name="conv"), fmt={"kernel": per_filter(None, 5), "input": INPUT, "output": OUTPUT}
    )
    assert different(by_filter, np.random.default_rng(1).random((9, 7, 6, 3), np.float32), clean=True) == {}


def test_the_file_has_one_image_with_its_channels_first_and_all_shapes(tmp_path):
    write_qonnx(one_convolution(), tmp_path / "conv.onnx")
    proto = onnx.load(tmp_path / "conv.onnx")
    wrapper = ModelWrapper(proto)
    assert wrapper.get_tensor_shape("image") == [1, 2, 4, 5] and wrapper.get_tensor_shape("output") == [1, 3, 2, 4]
    assert wrapper.check_all_tensor_shapes_specified()
    assert cleanup_model(wrapper).model.ir_version == proto.ir_version == 8  # newer ones are too new for some runtimes
    assert "Transpose" not in {node.op_type for node in proto.graph.node}


# The command


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "lenet.keras"
    model = with_formats(trained("lenet"), "nearest", 8)
    layer = model.get_layer("conv1")
    layer.set_formats(per_filter(layer, layer.filters), *layer.formats[1:3])
    write_model(model, path)
    return str(path)


def test_the_command_says_where_values_differ(saved, tmp_path, capsys, monkeypatch):
    output = tmp_path / "lenet.onnx"
    command = ["export", saved, "--to", "qonnx", "--output", str(output), "--data", "digits", "--images", "9"]
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{output} written;") and said[0].endswith("channels first")
    assert said[1] == "the filters of conv1 share ap_fixed<8, 1>, with the finest step of their formats"
    equal = "all codes of all layers are equal, on 9 of 359 images (test part of digits), in qonnx"
    assert said[2] == "outputs equal to Keras, on 9 of 359 images (test part of digits)"
    shares = re.fullmatch(r"accuracy: (.+) of Keras on the images, (.+) of the file on their pixels as stored", said[3])
    assert shares[1] == shares[2]
    assert said[4:] == [equal, f"{equal} after its clean-up"]
    monkeypatch.setitem(qonnx.ROUNDINGS, "nearest", "FLOOR")
    assert main(command) == 0
    assert "codes differ, by at most 1 step" in capsys.readouterr().out


def test_without_qonnx_the_command_says_so(saved, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "qonnx", None)
    assert main(["export", saved, "--to", "qonnx", "--output", str(tmp_path / "lenet.onnx")]) == 0
    assert "it was not run: the package qonnx is not installed" in capsys.readouterr().out
