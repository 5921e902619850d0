"""Nodes of ONNX files: each has a name that begins with its layer, and each window its `kernel_shape`."""

import pytest

from fewbits import FixedPoint
from fewbits.backend import keras
from fewbits.quantization import quantize_model
from helpers.every_layer import every_layer, layers_with_options
from helpers.integer_networks import every_operation

onnx = pytest.importorskip("onnx")
from fewbits.deploy import to_integer_onnx, to_onnx, to_qonnx  # noqa: E402

L = keras.layers
KERNELS = {"Conv": 1, "ConvTranspose": 1, "ConvInteger": 1}  # operator -> which input is the kernel


def with_options():
    image = L.Input((7, 6, 4))
    return keras.Model(image, [layer(image) for layer in layers_with_options()], name="options")


def quantized():
    return quantize_model(every_layer(), (FixedPoint(0, 8), *[FixedPoint(2, 8)] * 2), unsupported="float")


FILES = {
    "every layer": lambda: to_onnx(every_layer()),
    "options": lambda: to_onnx(with_options()),
    "Quant nodes": lambda: to_qonnx(quantized()),
    "integers": lambda: to_integer_onnx(every_operation().made()),
}


@pytest.mark.parametrize("file", FILES)
def test_nodes_have_names_and_windows_a_kernel_shape(file):
    graph = FILES[file]().graph
    names = [node.name for node in graph.node]
    assert all(names) and len(set(names)) == len(names)
    arrays = {array.name: onnx.numpy_helper.to_array(array) for array in graph.initializer}
    arrays |= {
        n.output[0]: arrays.get(n.input[0]) for n in graph.node if n.op_type == "Quant"
    }  # a kernel's is constant
    windows = [node for node in graph.node if node.op_type in {*KERNELS, "MaxPool", "AveragePool"}]
    assert {node.op_type for node in windows} & KERNELS.keys()
    for node in windows:
        [shape] = [tuple(found.ints) for found in node.attribute if found.name == "kernel_shape"]
        assert node.op_type not in KERNELS or shape == arrays[node.input[KERNELS[node.op_type]]].shape[2:]


def test_names_begin_with_the_layer():
    model = every_layer()
    layers = {node.name.split("/")[0] for node in to_onnx(model).graph.node if "/" in node.name}
    silent = {layer.name for layer in model.layers if isinstance(layer, L.InputLayer | L.Dropout | L.Identity)}
    assert layers == {layer.name for layer in model.layers} - silent
    network = every_operation().made()
    layers = {node.name.split("/")[0] for node in to_integer_onnx(network).graph.node if "/" in node.name}
    assert layers == {operation.layer for operation in network.operations}
