"""ONNX files: the simulation with its quantizers, node by node, so that ONNX Runtime computes what Keras does.

A quantizer is Mul, a rounding, Clip and Mul by powers of two, all of which are exact in float32: if sums stay below
2**24 steps, the outputs are equal bit for bit. Images have the layout of Keras, (n, height, width, channels). Inside,
ONNX puts channels first: every tensor of four axes is kept that way, and transposed back where the order of its values
matters.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fewbits.backend import keras
from fewbits.deploy.frozen import check_exportable, multiplies
from fewbits.deploy.onnx_graph import TO_FIRST, TO_LAST, ONNXGraph
from fewbits.errors import InputError, needs_extra
from fewbits.graph import Call, Graph
from fewbits.io.files import write_aside
from fewbits.quantization.conversion import TRAINING_ONLY
from fewbits.quantization.layers import active_formats, effective_weights

layers, activations = keras.layers, keras.activations

ACTIVATIONS = {activations.relu: "Relu", activations.sigmoid: "Sigmoid", activations.tanh: "Tanh"}
ACTIVATIONS |= {activations.elu: "Elu", activations.softplus: "Softplus"}


def to_onnx(model: keras.Model) -> Any:
    """Convert a Keras model.

    Args:
        model: A functional model of layers that `quantize_model` knows, quantized or not.

    Returns:
        An onnx.ModelProto from `image`, float32 (n, height, width, channels), to `output`, float32.

    Raises:
        InputError: naming the layer, when ONNX has no node for it here; when the package onnx is not installed; as
            `check_exportable`.
    """
    graph = _Graph()
    check_exportable(model)
    shapes = [("N", *x.shape[1:]) for x in (model.inputs[0], model.outputs[0])]
    names = {id(model.inputs[0]): graph.first("image", len(shapes[0]))}
    for call in Graph(model).calls:
        if not isinstance(call.operation, layers.InputLayer):
            inputs = [names[id(x)] for x in call.inputs]
            names[id(call.outputs[0])] = graph.layer(call, inputs)
    graph.add("Identity", graph.last(names[id(model.outputs[0])], len(shapes[1])), output="output")
    ends = ((name, np.float32, shape) for name, shape in zip(("image", "output"), shapes))
    return graph.model(model.name, *ends)


def write_onnx(model: keras.Model, path: Path) -> None:
    """Write what `to_onnx` returns to a file, whole or not at all.

    Args:
        model: As in `to_onnx`.
        path: The .onnx file.

    Raises:
        InputError: as `to_onnx`.
    """
    content = to_onnx(model).SerializeToString()
    with write_aside(path) as file:
        file.write(content)


class ONNXRunner:
    """An ONNX file that runs in ONNX Runtime, on one thread.

    Attributes:
        image_shape: (height, width, channels) of an image.
        levels: Number of values that a pixel can have; only integer networks, which take bytes, have this attribute.
    """

    def __init__(self, content: bytes):
        """Load a file.

        Args:
            content: Content of an .onnx file.

        Raises:
            InputError: when onnxruntime is not installed or cannot read the file.
        """
        with needs_extra("export", "ONNX files"):
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each kind of damage has its own class
            raise InputError(f"ONNX Runtime cannot read the file ({str(error).splitlines()[0][:200]})") from None
        [image] = self._session.get_inputs()
        self._image, self.image_shape = image.name, tuple(image.shape[1:])
        self._dtype: type[np.generic] = np.float32
        if image.type == "tensor(uint8)":
            self._dtype, self.levels = np.uint8, 256

    def run(self, image: np.ndarray) -> np.ndarray:
        """Return the output for one image, (height, width, channels), floats or bytes."""
        return self._session.run(None, {self._image: np.asarray(image, self._dtype)[np.newaxis]})[0][0]


class _Graph(ONNXGraph):
    """A graph to which layers are added."""

    def __init__(self):
        super().__init__(np.float32, default=np.float32)
        self._transposes: dict[str, str] = {}

    def layer(self, call: Call, inputs: list[str]) -> str:
        """Add what a call of a layer computes from `inputs`; return the name of its output."""
        layer = call.operation
        if multiplies(layer):
            return self._multiply(call, *inputs)
        handler = self._HANDLERS.get(type(layer))
        if handler is None:
            raise InputError(f"layer {layer.name} is a {type(layer).__name__}, which cannot be exported to ONNX")
        return handler(self, call, *inputs)

    # Layout

    def first(self, x: str, rank: int) -> str:
        """Return `x` with channels first if it has four axes."""
        return self._transposed(x, TO_FIRST) if rank == 4 else x

    def last(self, x: str, rank: int) -> str:
        """Return `x` with channels last if it has four axes."""
        return self._transposed(x, TO_LAST) if rank == 4 else x

    def _transposed(self, x, order):
        if x not in self._transposes:
            transposed = self.add("Transpose", x, perm=order)
            self._transposes |= {x: transposed, transposed: x}
        return self._transposes[x]

    def channels(self, values: np.ndarray, rank: int) -> str:
        """Return `values`, one per channel, as a constant that broadcasts against a tensor of `rank` axes."""
        return self.array(np.reshape(values, (-1, 1, 1) if rank == 4 else (-1,)))

    # Layers with a kernel

    def _multiply(self, call, x):
        layer, shape = call.operation, call.inputs[0].shape
        rank = len(shape)
        kernel, bias = effective_weights(layer)
        formats = active_formats(layer)
        x = self._quantizer(x, formats.input, layer)
        if isinstance(layer, layers.Dense):
            x = self.first(self.add("MatMul", self.last(x, rank), self.array(kernel)), rank)
        else:
            groups = getattr(layer, "groups", 1)
            if isinstance(layer, layers.DepthwiseConv2D):
                groups, kernel = kernel.shape[2], kernel.reshape(*kernel.shape[:2], 1, -1)
            x = self.add(
                "Conv",
                x,
                self.array(kernel.transpose(3, 2, 0, 1)),
                group=groups,
                strides=layer.strides,
                dilations=layer.dilation_rate,
                pads=_padding(layer, shape, layer.kernel_size, layer.dilation_rate),
            )
        steps = [lambda x: x if bias is None else self.add("Add", x, self.channels(bias, rank))]
        steps.append(lambda x: self._quantizer(x, formats.output, layer))
        if getattr(layer, "bias_order", "accumulator") == "output":
            steps.reverse()
        for step in steps:
            x = step(x)
        return self._activate(layer, x, rank)

    def _quantizer(self, x, fmt, layer):
        if fmt is None:
            return x
        x = self.rounded(self.add("Mul", x, self.array(1 / fmt.step)), layer.rounding)
        return self.add(
            "Mul", self.add("Clip", x, self.array(fmt.min_code), self.array(fmt.max_code)), self.array(fmt.step)
        )

    # Layers without a kernel

    def _activate(self, layer, x, rank):
        function = layer.activation
        if function in (None, activations.linear):
            return x
        if function is activations.relu6:
            return self._clip(x, 6)
        if function is activations.softmax:
            return self.add("Softmax", x, axis=1 if rank == 4 else -1)
        if function in ACTIVATIONS:
            return self.add(ACTIVATIONS[function], x)
        name = getattr(function, "__name__", function)
        raise InputError(f"layer {layer.name} has the activation {name}, which cannot be exported to ONNX")

    def _clip(self, x, highest):
        return self.add("Clip", x, self.array(0), self.array(highest))

    def _activation(self, call, x):
        return self._activate(call.operation, x, _rank(call))

    def _relu(self, call, x):
        layer = call.operation
        if layer.threshold or (layer.negative_slope and layer.max_value is not None):
            raise InputError(
                f"layer {layer.name} is a ReLU with a threshold, or with a slope and a maximum, which ONNX lacks"
            )
        if layer.max_value is not None:
            return self._clip(x, layer.max_value)
        if layer.negative_slope:
            return self.add("LeakyRelu", x, alpha=layer.negative_slope)
        return self.add("Relu", x)

    def _soften(self, call, x):
        layer, rank = call.operation, _rank(call)
        if layer.axis not in (-1, rank - 1):
            raise InputError(f"layer {layer.name} is a softmax over axis {layer.axis}, not over the channels")
        return self.add("Softmax", x, axis=1 if rank == 4 else -1)

    def _pool(self, call, x):
        layer = call.operation
        kind = "MaxPool" if isinstance(layer, layers.MaxPooling2D) else "AveragePool"
        pads = _padding(layer, call.inputs[0].shape, layer.pool_size)
        return self.add(kind, x, kernel_shape=layer.pool_size, strides=layer.strides, pads=pads)

    def _global_average(self, call, x):
        total = self.add("ReduceSum", x, self.array((2, 3), np.int64), keepdims=int(call.operation.keepdims))
        height, width = call.inputs[0].shape[1:3]
        return self.add("Div", total, self.array(height * width))  # as Keras: it does not multiply by the inverse

    def _global_max(self, call, x):
        return self.add("ReduceMax", x, axes=(2, 3), keepdims=int(call.operation.keepdims))

    def _pad(self, call, x):
        return self.padded(x, call.operation.padding)

    def _crop(self, call, x):
        cropping = call.operation.cropping
        ends = [side - end for side, (_, end) in zip(call.inputs[0].shape[1:3], cropping)]
        starts = [start for start, _ in cropping]
        return self.add("Slice", x, *(self.array(a, np.int64) for a in (starts, ends, (2, 3))))

    def _reshape(self, call, x):
        shape = call.outputs[0].shape[1:]
        x = self.add("Reshape", self.last(x, _rank(call)), self.array((-1, *shape), np.int64))
        return self.first(x, 1 + len(shape))

    def _skip(self, call, x):
        return x

    def _rescale(self, call, x):
        return self._affine(x, call.operation.scale, call.operation.offset, _rank(call))

    def _concatenate(self, call, *inputs):
        rank = _rank(call)
        axis = call.operation.axis % rank
        return self.add("Concat", *inputs, axis=TO_FIRST.index(axis) if rank == 4 else axis)

    def _sum(self, call, *inputs):
        if len({len(x.shape) for x in call.inputs}) > 1:
            raise InputError(f"layer {call.name} adds images and vectors, which broadcast differently in ONNX")
        return self.sum(*inputs)

    def _normalize(self, call, x):
        layer, rank = call.operation, _rank(call)
        if layer.axis not in (-1, rank - 1):
            raise InputError(f"layer {layer.name} normalizes axis {layer.axis}, not the channels")
        mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))
        scale = (1.0 if layer.gamma is None else np.asarray(layer.gamma)) / np.sqrt(variance + layer.epsilon)
        offset = (0.0 if layer.beta is None else np.asarray(layer.beta)) - mean * scale
        return self._affine(x, scale, offset, rank)

    def _affine(self, x, scale, offset, rank):
        """Add x * scale + offset, where scale and offset are numbers, or arrays with one entry per channel."""
        return self.add("Add", self.add("Mul", x, self.channels(scale, rank)), self.channels(offset, rank))

    _HANDLERS: ClassVar[dict] = {
        layers.Activation: _activation,
        layers.ReLU: _relu,
        layers.Softmax: _soften,
        layers.MaxPooling2D: _pool,
        layers.AveragePooling2D: _pool,
        layers.GlobalAveragePooling2D: _global_average,
        layers.GlobalMaxPooling2D: _global_max,
        layers.ZeroPadding2D: _pad,
        layers.Cropping2D: _crop,
        layers.Flatten: _reshape,
        layers.Reshape: _reshape,
        **dict.fromkeys(TRAINING_ONLY, _skip),
        layers.Identity: _skip,
        layers.Rescaling: _rescale,
        layers.Concatenate: _concatenate,
        layers.Add: _sum,
        layers.BatchNormalization: _normalize,
    }


def _rank(call):
    """Return how many axes the first input of a call has."""
    return len(call.inputs[0].shape)


def _padding(layer, shape, window, dilation=(1, 1)):
    """Return the rows above, columns left, rows below and columns right that Keras pads images of `shape` with."""
    if layer.padding == "valid":
        return (0, 0, 0, 0)
    sides = zip(shape[1:3], layer.strides, window, dilation)
    missing = [max((-(-side // stride) - 1) * stride + (w - 1) * rate + 1 - side, 0) for side, stride, w, rate in sides]
    return (*(n // 2 for n in missing), *(n - n // 2 for n in missing))
