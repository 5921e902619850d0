"""ONNX files, written node by node as exporters write them, and what ONNX Runtime computes of them."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


class ONNXFile:
    """A graph that grows node by node; names are those of PyTorch's exporter."""

    def __init__(self, opset=17, seed=0):
        self.opset, self.rng = opset, np.random.default_rng(seed)
        self.nodes, self.arrays, self.inputs, self.outputs = [], [], [], []

    def input(self, *shape, name="image", dtype=TensorProto.FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def constant(self, values, dtype=np.float32, name=None):
        name = name or f"onnx::constant_{len(self.arrays)}"
        self.arrays.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def random(self, *shape, name=None, scale=0.5):
        return self.constant(self.rng.normal(0, scale, shape), name=name)

    def node(self, operator, *inputs, name=None, **attributes):
        made = f"{name or operator}_output_{len(self.nodes)}"
        name = name or f"/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [made], name, **attributes))
        return made

    def nodes_of_two(self, operator, *inputs, **attributes):
        """Add a node with two outputs; return both."""
        first = self.node(operator, *inputs, **attributes)
        self.nodes[-1].output.append(f"{first}_second")
        return first, self.node("Cast", f"{first}_second", to=TensorProto.FLOAT)

    def conv(self, x, channels, filters, size=3, name="conv", bias=True, groups=1, **attributes):
        kernel = self.random(filters, channels // groups, size, size, name=f"{name}.weight")
        inputs = [x, kernel, *([self.random(filters, name=f"{name}.bias")] if bias else [])]
        path = "/" + "/".join(name.split(".")) + "/Conv"
        return self.node("Conv", *inputs, name=path, kernel_shape=[size, size], group=groups, **attributes)

    def norm(self, x, channels, name="bn"):
        arrays = {kind: self.rng.normal(size=channels) for kind in ("weight", "bias", "running_mean")}
        arrays["running_var"] = self.rng.uniform(0.5, 2, channels)
        names = [self.constant(array, name=f"{name}.{kind}") for kind, array in arrays.items()]
        return self.node("BatchNormalization", x, *names, name=f"/{name}/BatchNormalization")

    def linear(self, x, inputs, outputs, name="fc"):
        kernel, bias = self.random(outputs, inputs, name=f"{name}.weight"), self.random(outputs, name=f"{name}.bias")
        return self.node("Gemm", x, kernel, bias, name=f"/{name}/Gemm", transB=1)

    def proto(self, *outputs):
        ends = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, ends, self.arrays)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        proto = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=8))
        for output in (output for output in proto.graph.output if not output.type.WhichOneof("value")):
            output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, ["any"]))
        return proto

    def write(self, path, *outputs):
        path.write_bytes(self.proto(*outputs).SerializeToString())
        return path


def run(path, images):
    """Return the first output of a file for images with the channels first."""
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def resnet_block(file, x, name, channels, filters, stride):
    """Add a block of a ResNet."""
    y = file.conv(x, channels, filters, name=f"{name}.conv1", bias=False, pads=[1] * 4, strides=[stride] * 2)
    y = file.node("Relu", file.norm(y, filters, f"{name}.bn1"), name=f"/{name}/relu/Relu")
    y = file.conv(y, filters, filters, name=f"{name}.conv2", bias=False, pads=[1] * 4)
    y = file.norm(y, filters, f"{name}.bn2")
    if stride > 1:
        x = file.conv(x, channels, filters, 1, f"{name}.downsample.0", bias=False, strides=[stride] * 2)
        x = file.norm(x, filters, f"{name}.downsample.1")
    return file.node("Relu", file.node("Add", y, x, name=f"/{name}/Add"), name=f"/{name}/relu_1/Relu")


def resnet(path, batch=1, size=32):
    """Write a small ResNet as PyTorch exports it."""
    file = ONNXFile()
    x = file.conv(file.input(batch, 3, size, size), 3, 8, 7, "conv1", bias=False, pads=[3] * 4, strides=[2, 2])
    x = file.node("Relu", file.norm(x, 8, "bn1"), name="/relu/Relu")
    x = file.node("MaxPool", x, name="/maxpool/MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = resnet_block(file, x, "layer1.0", 8, 8, 1)
    x = resnet_block(file, x, "layer2.0", 8, 12, 2)
    x = file.node("GlobalAveragePool", x, name="/avgpool/GlobalAveragePool")
    x = file.node("Flatten", x, name="/Flatten", axis=1)
    return file.write(path, file.linear(x, 12, 5))


def mobilenet(path, batch=1, size=16):
    """Write inverted residual blocks of a MobileNetV2 with ReLU6 and biases, as PyTorch exports them folded."""
    file = ONNXFile()

    def relu6(y):
        return file.node("Clip", y, file.constant(0), file.constant(6))

    def block(x, channels, filters, stride, name):
        wide = 3 * channels
        y = relu6(file.conv(x, channels, wide, 1, f"{name}.conv.0.0"))
        y = relu6(file.conv(y, wide, wide, 3, f"{name}.conv.1.0", groups=wide, pads=[1] * 4, strides=[stride] * 2))
        y = file.conv(y, wide, filters, 1, f"{name}.conv.2")
        return file.node("Add", x, y, name=f"/{name}/Add") if stride == 1 and channels == filters else y

    x = file.conv(file.input(batch, 3, size, size), 3, 4, 3, "features.0.0", pads=[1] * 4, strides=[2, 2])
    x = block(relu6(x), 4, 6, 2, "features.1")
    x = block(x, 6, 6, 1, "features.2")
    x = file.node("ReduceMean", x, name="/ReduceMean", axes=[2, 3], keepdims=0)
    return file.write(path, file.linear(x, 6, 5, "classifier.1"))


def squeezenet(path, batch=1, size=23):
    """Write a Fire module between poolings that round up, and a head that is a convolution."""
    file = ONNXFile()
    x = file.conv(file.input(batch, 3, size, size), 3, 6, 3, "features.0", strides=[2, 2])
    x = file.node("Relu", x, name="/features/features.1/Relu")
    pooling = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
    x = file.node("MaxPool", x, name="/features/features.2/MaxPool", **pooling)
    x = file.node("Relu", file.conv(x, 6, 3, 1, "features.3.squeeze"))
    sides = [file.conv(x, 3, 4, 1, "features.3.expand1x1"), file.conv(x, 3, 4, 3, "features.3.expand3x3", pads=[1] * 4)]
    x = file.node("Concat", *(file.node("Relu", side) for side in sides), name="/features/features.3/Concat", axis=1)
    x = file.node("Dropout", file.node("MaxPool", x, **pooling), name="/classifier/classifier.0/Dropout")
    x = file.node("Relu", file.conv(x, 8, 5, 1, "classifier.1"), name="/classifier/classifier.2/Relu")
    x = file.node("GlobalAveragePool", x, name="/classifier/classifier.3/GlobalAveragePool")
    return file.write(path, file.node("Flatten", x, name="/Flatten"))
