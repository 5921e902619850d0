"""ONNX Runtime's QLinearConv and QLinearMatMul: to nearest, ties to even, whatever the window and the zero points."""

import numpy as np
import pytest

from fewbits import InputError
from fewbits.audit.findings import common_ways, examine_layer
from fewbits.audit.roundings import in_words
from fewbits.backend import keras
from helpers.audits import LAYERS, digits, network

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from fewbits.audit.onnx_run import onnx_traces  # noqa: E402
from fewbits.deploy.onnx import to_onnx  # noqa: E402

L = keras.layers


class Builder:
    """An ONNX file, node by node, with scales that are powers of two, so that there are ties."""

    def __init__(self, shape):
        self.nodes, self.constants, self.last = [], [], "image"
        self.shape = shape

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, kind, *inputs, **attributes):
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *inputs], [output], **attributes))
        self.last = output

    def quantize(self, exponent, zero):
        self.node("QuantizeLinear", self.constant(np.float32(2.0**exponent)), self.constant(np.uint8(zero)))

    def multiply(self, kind, kernel, x, y, steps, kernel_zero=None, bias=None, **attributes):
        """x, y: exponent and zero point of input and output; steps: of the kernel, one or one per filter."""
        zero = np.zeros(np.shape(steps), kernel.dtype) if kernel_zero is None else kernel_zero
        given = [self.constant(np.float32(2.0 ** x[0])), self.constant(np.uint8(x[1])), self.constant(kernel)]
        given += [self.constant(np.asarray(steps, np.float32)), self.constant(np.asarray(zero, kernel.dtype))]
        given += [self.constant(np.float32(2.0 ** y[0])), self.constant(np.uint8(y[1]))]
        self.node(kind, *given, *([] if bias is None else [self.constant(np.asarray(bias, np.int32))]), **attributes)

    def save(self, path):
        ends = [helper.make_tensor_value_info("image", TensorProto.FLOAT, self.shape)]
        outputs = [helper.make_tensor_value_info(self.last, TensorProto.UINT8, [1, 5])]
        graph = helper.make_graph(self.nodes, "net", ends, outputs, self.constants)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(proto, path)


def build(path, rounding=np.rint, first=(1, 1, 8, 8)):
    """Write a file of a network with kernels rounded by `rounding`; return the float network."""
    keras.utils.set_random_seed(5)
    rng = np.random.default_rng(5)
    x = image = L.Input((8, 8, 1))
    x = L.Conv2D(4, 3, padding="same", strides=2, name="a")(x)
    x = L.DepthwiseConv2D(2, padding="valid", name="b")(x)
    x = L.Conv2D(6, 2, groups=2, padding="same", activation="relu", name="c")(x)
    model = keras.Model(image, L.Dense(5, name="d")(L.Flatten()(x)), name="onnx")
    steps, kernels, biases = {}, {}, {}
    for name in "abcd":
        layer, filters = model.get_layer(name), model.get_layer(name).bias.shape[0]
        layer.bias.assign(rng.normal(0, 0.1, filters))
        steps[name] = np.full(filters, 2.0**-5) if name == "d" else 2.0 ** rng.integers(-7, -4, filters)
        shaped = steps[name].reshape(-1, 1) if name == "b" else steps[name]
        kernels[name] = np.clip(rounding(np.asarray(layer.kernel) / shaped), -128, 127).astype(np.int8)
        biases[name] = np.asarray(layer.bias)
    file = Builder(first)
    if first[1] != 1:
        file.node("Transpose", perm=(0, 3, 1, 2))
    file.quantize(-4, 0)
    scales = {"a": (-4, 0), "b": (-5, 120), "c": (-5, 131), "d": (-5, 0)}
    after = {"a": scales["b"], "b": scales["c"], "c": scales["d"], "d": (-4, 127)}
    options = {
        "a": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        "b": {"group": 4},
        "c": {"group": 2, "pads": [0, 0, 1, 1]},
    }
    for name in "abc":
        kernel = kernels[name].transpose(2, 3, 0, 1) if name == "b" else kernels[name].transpose(3, 2, 0, 1)
        bias = np.rint(biases[name] / steps[name] / 2.0 ** scales[name][0])
        kernel_steps = steps[name]
        file.multiply(
            "QLinearConv",
            np.ascontiguousarray(kernel),
            scales[name],
            after[name],
            kernel_steps,
            None,
            bias,
            **options[name],
        )
    file.node("Transpose", perm=(0, 2, 3, 1))
    file.node("Reshape", file.constant(np.array([1, -1], np.int64)))
    unsigned = (kernels["d"].astype(np.int16) + 120).clip(0, 255).astype(np.uint8)
    file.multiply("QLinearMatMul", unsigned, scales["d"], after["d"], 2.0**-5, np.uint8(120))
    file.save(path)
    return model


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 8, 8, 1)])
def test_the_rounding_of_onnx_runtime_is_named(tmp_path, shape):
    model = build(tmp_path / "net.onnx", first=shape)
    found = {t.layer: examine_layer(t) for t in onnx_traces(tmp_path / "net.onnx", model, digits())}
    assert set(found) == set("abcd") and in_words(common_ways(list(found.values()))) == "nearest"
    for finding in found.values():
        assert finding.rounding.startswith("nearest") and finding.naming.explained == 1
        assert finding.kernel.startswith("nearest") and finding.kernel_naming.explained == 1
        assert finding.cost == 0 and abs(finding.total_bias) < 0.6


def test_kernels_that_are_rounded_down_are_seen(tmp_path):
    model = build(tmp_path / "net.onnx", np.floor)
    for finding in map(examine_layer, onnx_traces(tmp_path / "net.onnx", model, digits())):
        assert finding.kernel == "floor" and finding.rounding == "nearest" and finding.slope.mean < -0.3


class Images:
    def __init__(self, name):
        self.left = iter(digits())
        self.name = name

    def get_next(self):
        image = next(self.left, None)
        return None if image is None else {self.name: image[np.newaxis]}


@pytest.mark.parametrize("kind", ["QOperator", "QDQ"])
def test_files_of_onnxruntime_quantization_are_read(tmp_path, kind):
    quantization = pytest.importorskip("onnxruntime.quantization")
    proto = to_onnx(network())
    onnx.save(proto, tmp_path / "float.onnx")
    quantization.quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "net.onnx",
        Images(proto.graph.input[0].name),
        quant_format=quantization.QuantFormat[kind],
        per_channel=True,
    )
    found = {t.layer: examine_layer(t) for t in onnx_traces(tmp_path / "net.onnx", network(), digits())}
    assert set(found) == set(LAYERS)
    for finding in found.values():
        assert finding.rounding.startswith("nearest") and finding.naming.explained == 1
        assert finding.kernel.startswith("nearest") and not finding.truncates and finding.cost == 0


def test_files_that_cannot_be_audited_are_refused(tmp_path):
    onnx.save(to_onnx(network()), tmp_path / "float.onnx")
    with pytest.raises(InputError, match="has no layer of integers"):
        onnx_traces(tmp_path / "float.onnx", network(), digits(2))
    model = build(tmp_path / "net.onnx")
    with pytest.raises(InputError, match=r"takes images \(1, 8, 8\)"):
        onnx_traces(tmp_path / "net.onnx", model, np.zeros((2, 9, 9, 1), np.float32))
    (tmp_path / "no.onnx").write_bytes(b"no network at all")
    with pytest.raises(InputError, match="cannot be read"):
        onnx_traces(tmp_path / "no.onnx", model, digits(2))
