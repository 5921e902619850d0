"""ONNX files: the simulation with its quantizers, node by node, so that ONNX Runtime computes what Keras does.

A quantizer is Mul, a rounding, Clip and Mul by powers of two, all of which are exact in float32: if sums stay below
2**24 steps, the outputs are equal bit for bit. Images have the layout of Keras, (n, height, width, channels). Inside,
ONNX puts channels first: every tensor of three or four axes is kept that way, and transposed back where the order of
its values matters.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fewbits.backend import keras, ops
from fewbits.deploy.frozen import check_exportable, multiplies
from fewbits.deploy.onnx_activations import activated, hard_silu_divided_last
from fewbits.deploy.onnx_graph import ONNXGraph
from fewbits.errors import InputError, needs_extra
from fewbits.graph import Graph
from fewbits.io.files import write_whole
from fewbits.quantization.activations import QuantizedActivation, QuantizedLeakyReLU, QuantizedPReLU
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import TRAINING_ONLY
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.layers import DEPTHWISE, TRANSPOSED, active_formats, effective_weights

layers, activations = keras.layers, keras.activations

TABLE_BITS = 8  # up to here the function of a quantized activation is a table of all its inputs
RESIZING = {
    "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
}


def to_onnx(model: keras.Model) -> Any:
    """Convert a Keras model.

    Args:
        model: A functional model of layers that `quantize_model` knows, quantized or not.

    Returns:
        An onnx.ModelProto from `image`, float32 (n, height, width, channels), to `output`, float32. If there are
        several inputs or outputs, they have the names that Keras gives them.

    Raises:
        InputError: naming the layer, when ONNX has no node for it here; when the package onnx is not installed; as
            `check_exportable`.
    """
    return LayerGraph().convert(model)


def write_onnx(model: keras.Model, path: Path) -> None:
    """Write what `to_onnx` returns to a file, whole or not at all.

    Args:
        model: As in `to_onnx`.
        path: The .onnx file.

    Raises:
        InputError: as `to_onnx`.
    """
    write_whole(path, to_onnx(model).SerializeToString())


def is_in_onnx(layer: Any) -> bool:
    """Return whether files can hold layers of this kind.

    Args:
        layer: A layer or another operation of Keras.
    """
    return multiplies(layer) or type(layer) in LayerGraph._HANDLERS


def exact_session(content: bytes, options: Any) -> Any:
    """Return a session of ONNX Runtime, on the processor, that sums products of bytes exactly.

    On processors without dot products of bytes (VNNI), the fast sums of int8 products stop at 16 bits. The slower ones
    make a file give the same answers everywhere. ONNX Runtime has none for some operators of signed bytes; a file with
    such an operator gets the fast ones.

    Args:
        content: Content of an .onnx file.
        options: An onnxruntime.SessionOptions, which is changed.
    """
    from onnxruntime import InferenceSession
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except NoKernel:
        options.add_session_config_entry("session.x64quantprecision", "0")
        return InferenceSession(content, options, providers=["CPUExecutionProvider"])


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
            self._session = exact_session(content, options)
        except Exception as error:  # each kind of damage has its own class
            said = str(error).splitlines()[0][:200]
            raise InputError(f"ONNX Runtime cannot read the file ({said}); export it again") from None
        inputs = self._session.get_inputs()
        self._shapes, self.image_shape = {x.name: x.shape[1:] for x in inputs}, tuple(inputs[0].shape[1:])
        self._dtype: type[np.generic] = np.float32
        if inputs[0].type == "tensor(uint8)":
            self._dtype, self.levels = np.uint8, 256

    def run(self, *images: np.ndarray) -> np.ndarray:
        """Return the first output for one image per input, (height, width, channels), floats or bytes."""
        return self.run_all(*images)[0]

    def run_all(self, *images: np.ndarray) -> list[np.ndarray]:
        """Return every output for one image per input, (height, width, channels), floats or bytes."""
        given = zip(self._shapes.items(), images, strict=True)
        batch = {name: np.asarray(image, self._dtype).reshape(1, *shape) for (name, shape), image in given}
        return [x[0] for x in self._session.run(None, batch)]


def _end_names(model):
    """Return the names of the inputs and outputs of the file, all different."""
    inputs = ["image"] if len(model.inputs) == 1 else [x.name for x in model.inputs]
    outputs = ["output"] if len(model.outputs) == 1 else list(model.output_names)
    used: list[str] = []
    for name in [*inputs, *outputs]:
        used.append(next(n for n in _numbered(name) if n not in used))
    return used[: len(inputs)], used[len(inputs) :]


def _numbered(name):
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


class LayerGraph(ONNXGraph):
    """A graph to which the layers of a model are added.

    Attributes:
        channels_last: Whether images have the layout of Keras; otherwise that which is used inside.
        tensors: Layer name -> name of its last output.
    """

    channels_last = True

    def __init__(self) -> None:
        super().__init__(np.float32, default=np.float32)
        self.tensors: dict[str, str] = {}
        self._transposes: dict[tuple[str, tuple[int, ...]], str] = {}

    def convert(self, model: keras.Model, batch: int | str = "N") -> Any:
        """Add all layers of a model; return an onnx.ModelProto of them.

        Args:
            model: As in `to_onnx`.
            batch: How many images there are, or a name for any number of them.

        Raises:
            InputError: naming the layer, when ONNX has no node for it here; as `check_exportable`.
        """
        model = canonical(model)
        check_exportable(model)
        inputs, outputs = _end_names(model)
        names = {id(x): self._first_outside(name, len(x.shape)) for x, name in zip(model.inputs, inputs, strict=True)}
        for call in Graph(model).calls:
            if not call.is_input:
                self.layer = call.name
                self.tensors[call.name] = self._call(call, [names[id(x)] for x in call.inputs])
                names[id(call.outputs[0])] = self.tensors[call.name]
        self.layer = ""
        for x, name in zip(model.outputs, outputs, strict=True):
            self.add("Identity", self._last_outside(names[id(x)], len(x.shape)), output=name)
        ends = (
            [(name, np.float32, self._outside((batch, *x.shape[1:]))) for name, x in zip(*side)]
            for side in ((inputs, model.inputs), (outputs, model.outputs))
        )
        return self.model(model.name, *ends)

    def _call(self, call, inputs):
        """Add what a call of a layer computes from `inputs`; return the name of its output."""
        layer = call.operation
        if multiplies(layer):
            return self._multiply(call, *inputs)
        handler = self._HANDLERS.get(type(layer))
        if handler is None:
            raise InputError(
                f"layer {layer.name} is a {type(layer).__name__}, which cannot be exported to ONNX; "
                "use another layer, or LiteRT in float32, which takes more kinds"
            )
        return handler(self, call, *inputs)

    # Layout

    def _first(self, x: str, rank: int) -> str:
        """Return `x` with channels first if it has three or four axes."""
        return self._transposed(x, _to_first(rank))

    def _last(self, x: str, rank: int) -> str:
        """Return `x` with channels last if it has three or four axes."""
        return self._transposed(x, _to_last(rank))

    def _transposed(self, x, order):
        if order == tuple(range(len(order))):
            return x
        if (x, order) not in self._transposes:
            transposed = self.add("Transpose", x, perm=order)
            back = tuple(int(i) for i in np.argsort(order))
            self._transposes |= {(x, order): transposed, (transposed, back): x}
        return self._transposes[x, order]

    def _first_outside(self, x, rank):
        return self._first(x, rank) if self.channels_last else x

    def _last_outside(self, x, rank):
        return self._last(x, rank) if self.channels_last else x

    def _outside(self, shape):
        """Return the shape that a tensor of Keras has at an end of the graph."""
        return shape if self.channels_last else tuple(shape[i] for i in _to_first(len(shape)))

    def _spread(self, values: Any, rank: int) -> str:
        """Return a number or array that broadcasts against a tensor of Keras with `rank` axes as one that does here."""
        values = np.asarray(values)
        if values.ndim > 1:
            values = values.reshape((1,) * (rank - values.ndim) + values.shape).transpose(_to_first(rank))[0]
        return self.array(values) if values.ndim > 1 else self._channels(values, rank)

    def _channels(self, values: Any, rank: int) -> str:
        """Return `values`, one per channel, as a constant that broadcasts against a tensor of `rank` axes."""
        return self.array(np.reshape(values, (-1, *(1,) * (rank - 2))))

    # Layers with a kernel

    def _multiply(self, call, x):
        layer, rank = call.operation, _rank(call)
        _, bias = effective_weights(layer)
        formats = active_formats(layer)
        x = self._product(call, self.quantizer(x, formats.input, layer))
        steps = [lambda x: x if bias is None else self.add("Add", x, self.bias(self._channels(bias, rank), layer))]
        steps.append(lambda x: self.quantizer(x, formats.output, layer))
        if getattr(layer, "bias_order", "accumulator") == "output":
            steps.reverse()
        for step in steps:
            x = step(x)
        return self._activate(layer, x, rank)

    def _product(self, call, x):
        """Add the product of `x` and the kernel of a layer."""
        layer, rank, shape = call.operation, _rank(call), call.inputs[0].shape
        kernel, _ = effective_weights(layer)
        if isinstance(layer, layers.Dense):
            return self._first(self.add("MatMul", self._last(x, rank), self.kernel(self.array(kernel), layer)), rank)
        groups = getattr(layer, "groups", 1)
        if isinstance(layer, DEPTHWISE):
            groups, kernel = kernel.shape[-2], kernel.reshape(*kernel.shape[:-2], 1, -1)
        weights = self.kernel(self.array(np.moveaxis(kernel, (-1, -2), (0, 1))), layer)
        options = {"group": groups, "strides": layer.strides, "dilations": layer.dilation_rate}
        options["kernel_shape"] = layer.kernel_size
        if isinstance(layer, TRANSPOSED):
            options |= _around_transposed(layer, shape, call.outputs[0].shape)
            return self.add("ConvTranspose", x, weights, **options)
        return self.add(
            "Conv", x, weights, **options, pads=_padding(layer, shape, layer.kernel_size, layer.dilation_rate)
        )

    # Formats

    def quantizer(self, x: str, fmt: FixedPoint | None, layer: Any) -> str:
        """Add a quantizer.

        Args:
            x: Name of the tensor to quantize.
            fmt: Its format; None leaves it unchanged.
            layer: The layer, which has the rounding.

        Returns:
            The name of the quantized tensor.
        """
        return x if fmt is None else self.add("Mul", self.codes(x, fmt, layer), self.array(fmt.step))

    def codes(self, x: str, fmt: FixedPoint, layer: Any) -> str:
        """Add what makes codes, in float32, of a tensor.

        Args:
            x: Name of the tensor to quantize.
            fmt: Its format.
            layer: The layer, which has the rounding.

        Returns:
            The name of the codes.
        """
        x = self.rounded(self.add("Mul", x, self.array(1 / fmt.step)), layer.rounding)
        return self.add("Clip", x, self.array(fmt.min_code), self.array(fmt.max_code))

    def kernel(self, x: str, layer: Any) -> str:
        """Add what the file makes of the kernel of a layer: nothing here.

        Args:
            x: Name of the kernel or slope, which is rounded already.
            layer: The layer.

        Returns:
            The name of the kernel.
        """
        return x

    def bias(self, x: str, layer: Any) -> str:
        """Add what the file makes of the bias of a layer: nothing here.

        Args:
            x: Name of the bias, which is rounded already.
            layer: The layer.

        Returns:
            The name of the bias.
        """
        return x

    # Activations

    def _activate(self, layer, x, rank):
        function = layer.activation or activations.linear
        active = activated(self, x, function, axis=1 if rank > 2 else -1)
        if active is None:
            name = getattr(function, "__name__", type(function).__name__)
            raise InputError(
                f"layer {layer.name} has the activation {name}, which cannot be exported to ONNX; use one of "
                "Keras' usual activations, or LiteRT in float32, which takes more of them"
            )
        return active

    def _activation(self, call, x):
        return self._activate(call.operation, x, _rank(call))

    def _quantized_activation(self, call, x):
        layer, (_, fmt, output, _) = call.operation, active_formats(call.operation)
        if layer.activation is not activations.linear and fmt is not None and fmt.nbits <= TABLE_BITS:
            return self._table(layer, self.codes(x, fmt, layer), fmt)
        x = self.quantizer(x, fmt, layer)
        divided_last = layer.activation is activations.hard_silu
        x = hard_silu_divided_last(self, x) if divided_last else self._activate(layer, x, _rank(call))
        return self.quantizer(x, output, layer)

    def _table(self, layer, codes, fmt):
        """Add a table of what `layer` makes of each code of its input."""
        inputs = np.arange(fmt.min_code, fmt.max_code + 1) * fmt.step
        table = ops.convert_to_numpy(layer(inputs.astype(np.float32)[np.newaxis]))[0]
        places = self.cast(self.add("Sub", codes, self.array(fmt.min_code)), np.int32)
        return self.add("Gather", self.array(table), places)

    def _quantized_slope(self, call, x):
        layer, (_, fmt, output, _) = call.operation, active_formats(call.operation)
        slope = self.kernel(self._spread(layer.rounded_slope(), _rank(call)), layer)
        return self.quantizer(self.add("PRelu", self.quantizer(x, fmt, layer), slope), output, layer)

    def _relu(self, call, x):
        layer = call.operation
        slope, highest, threshold = (getattr(layer, name) for name in ("negative_slope", "max_value", "threshold"))
        if not threshold and not slope:
            return self.add("Relu", x) if highest is None else self._clip(x, highest)
        if threshold:
            above = self.add("Greater", x, self.array(threshold))
            below = self.add("Mul", self.add("Sub", x, self.array(threshold)), self.array(slope))
            x = self.add("Where", above, x, below)
        else:
            x = self.add("LeakyRelu", x, alpha=slope)
        return x if highest is None else self.add("Min", x, self.array(highest))

    def _clip(self, x, highest):
        return self.add("Clip", x, self.array(0), self.array(highest))

    def _leaky_relu(self, call, x):
        return self.add("LeakyRelu", x, alpha=float(call.operation.negative_slope))

    def _prelu(self, call, x):
        return self.add("PRelu", x, self._spread(ops.convert_to_numpy(call.operation.alpha), _rank(call)))

    def _elu(self, call, x):
        return self.add("Elu", x, alpha=float(call.operation.alpha))

    def _soften(self, call, x):
        layer = call.operation
        if not isinstance(layer.axis, int):
            raise InputError(f"layer {layer.name} is a softmax over several axes; Reshape them to one to export it")
        return self.add("Softmax", x, axis=_axis(layer.axis, _rank(call)))

    # Layers without a kernel

    def _pool(self, call, x):
        layer = call.operation
        kind = "MaxPool" if isinstance(layer, layers.MaxPooling1D | layers.MaxPooling2D) else "AveragePool"
        pads = _padding(layer, call.inputs[0].shape, layer.pool_size)
        return self.add(kind, x, kernel_shape=layer.pool_size, strides=layer.strides, pads=pads)

    def _global_average(self, call, x):
        shape = call.inputs[0].shape
        axes = self.array(range(2, len(shape)), np.int64)
        total = self.add("ReduceSum", x, axes, keepdims=int(call.operation.keepdims))
        return self.add("Div", total, self.array(np.prod(shape[1:-1])))  # as Keras: it does not multiply by the inverse

    def _global_max(self, call, x):
        return self.add("ReduceMax", x, axes=range(2, _rank(call)), keepdims=int(call.operation.keepdims))

    def _pad(self, call, x):
        return self.padded(x, _sides(call.operation.padding))

    def _crop(self, call, x):
        cropping = _sides(call.operation.cropping)
        ends = [side - end for side, (_, end) in zip(call.inputs[0].shape[1:], cropping)]
        starts = [start for start, _ in cropping]
        axes = range(2, _rank(call))
        return self.add("Slice", x, *(self.array(a, np.int64) for a in (starts, ends, axes)))

    def _resize(self, call, x):
        layer = call.operation
        way = getattr(layer, "interpolation", "nearest")
        if way not in RESIZING:
            raise InputError(f"layer {layer.name} resizes by {way}; ONNX files take {' and '.join(RESIZING)}")
        scales = (1, 1, *np.ravel(layer.size))
        whole = self.array(
            [side for side in (0, 1) for _ in scales]
        )  # a missing region has no name, which qonnx invents
        return self.add("Resize", x, whole, self.array(scales), **RESIZING[way])

    def _repeat(self, call, x):
        shape = (1, 1, call.operation.n)
        return self.add("Expand", self.add("Unsqueeze", x, self.array([2], np.int64)), self.array(shape, np.int64))

    def _permute(self, call, x):
        rank = _rank(call)
        return self._first(self._transposed(self._last(x, rank), (0, *call.operation.dims)), rank)

    def _reshape(self, call, x):
        shape = call.outputs[0].shape[1:]
        x = self.add("Reshape", self._last(x, _rank(call)), self.array((-1, *shape), np.int64))
        return self._first(x, 1 + len(shape))

    def _skip(self, call, x):
        return x

    def _rescale(self, call, x):
        scale, offset = (self._spread(value, _rank(call)) for value in (call.operation.scale, call.operation.offset))
        return self.add("Add", self.add("Mul", x, scale), offset)

    def _standardize(self, call, x):
        layer, rank = call.operation, _rank(call)
        mean, variance = (ops.convert_to_numpy(value) for value in (layer.mean, layer.variance))
        deviation = np.maximum(np.sqrt(variance), np.float32(keras.config.epsilon()))
        mean, deviation = (self._spread(value, rank) for value in (mean, deviation))
        if layer.invert:
            return self.add("Add", mean, self.add("Mul", x, deviation))
        return self.add("Div", self.add("Sub", x, mean), deviation)

    def _normalize(self, call, x):
        layer, rank = call.operation, _rank(call)
        mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))
        scale = (1.0 if layer.gamma is None else np.asarray(layer.gamma)) / np.sqrt(variance + layer.epsilon)
        offset = (0.0 if layer.beta is None else np.asarray(layer.beta)) - mean * scale
        along = [1] * rank
        along[layer.axis] = -1
        scale, offset = (self._spread(value.reshape(along), rank) for value in (scale, offset))
        return self.add("Add", self.add("Mul", x, scale), offset)

    # Layers that join

    def _concatenate(self, call, *inputs):
        return self.add("Concat", *inputs, axis=_axis(call.operation.axis, _rank(call)))

    def _sum(self, call, *inputs):
        return self.sum(*self._of_one_rank(call, inputs))

    def _average(self, call, *inputs):
        return self.add("Div", self._sum(call, *inputs), self.array(len(inputs)))

    def _subtract(self, call, *inputs):
        return self.add("Sub", *self._of_one_rank(call, inputs))

    def _product_of(self, call, *inputs):
        first, *rest = self._of_one_rank(call, inputs)
        for x in rest:
            first = self.add("Mul", first, x)
        return first

    def _extreme(self, call, *inputs):
        kind = "Max" if isinstance(call.operation, layers.Maximum) else "Min"
        return self.add(kind, *self._of_one_rank(call, inputs))

    def _of_one_rank(self, call, inputs):
        """Return tensors with as many axes as the one that has most: Keras adds axes right after that of the batch."""
        ranks = [len(x.shape) for x in call.inputs]
        most = max(ranks)
        return [
            x if rank == most else self.add("Unsqueeze", x, self.array(range(2, 2 + most - rank), np.int64))
            for x, rank in zip(inputs, ranks)
        ]

    _HANDLERS: ClassVar[dict] = {
        layers.Activation: _activation,
        layers.ELU: _elu,
        layers.LeakyReLU: _leaky_relu,
        layers.PReLU: _prelu,
        layers.ReLU: _relu,
        layers.Softmax: _soften,
        QuantizedActivation: _quantized_activation,
        QuantizedLeakyReLU: _quantized_slope,
        QuantizedPReLU: _quantized_slope,
        layers.MaxPooling1D: _pool,
        layers.MaxPooling2D: _pool,
        layers.AveragePooling1D: _pool,
        layers.AveragePooling2D: _pool,
        layers.GlobalAveragePooling1D: _global_average,
        layers.GlobalAveragePooling2D: _global_average,
        layers.GlobalMaxPooling1D: _global_max,
        layers.GlobalMaxPooling2D: _global_max,
        layers.ZeroPadding1D: _pad,
        layers.ZeroPadding2D: _pad,
        layers.Cropping1D: _crop,
        layers.Cropping2D: _crop,
        layers.UpSampling1D: _resize,
        layers.UpSampling2D: _resize,
        layers.RepeatVector: _repeat,
        layers.Permute: _permute,
        layers.Flatten: _reshape,
        layers.Reshape: _reshape,
        **dict.fromkeys(TRAINING_ONLY, _skip),
        layers.Identity: _skip,
        layers.Rescaling: _rescale,
        layers.Normalization: _standardize,
        layers.BatchNormalization: _normalize,
        layers.Concatenate: _concatenate,
        layers.Add: _sum,
        layers.Average: _average,
        layers.Subtract: _subtract,
        layers.Multiply: _product_of,
        layers.Maximum: _extreme,
        layers.Minimum: _extreme,
    }


def _rank(call):
    """Return how many axes the first input of a call has."""
    return len(call.inputs[0].shape)


def _to_first(rank: int) -> tuple[int, ...]:
    """Return the permutation that moves the channels of a tensor of Keras to where ONNX has them."""
    return (0, rank - 1, *range(1, rank - 1)) if rank in (3, 4) else tuple(range(rank))


def _to_last(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank), 1) if rank in (3, 4) else tuple(range(rank))


def _axis(axis: int, rank: int) -> int:
    """Return the axis that a tensor of ONNX has for one of Keras."""
    return _to_first(rank).index(axis % rank)


def _sides(padding: Any) -> list[tuple[int, int]]:
    """Return what a layer pads or crops before and after each axis."""
    padding = [padding] if isinstance(padding[0], int) else padding
    return [(int(before), int(after)) for before, after in padding]


def _padding(layer: Any, shape: Sequence[int], window: Sequence[int], dilation: Sequence[int] = (1, 1)) -> tuple:
    """Return what Keras pads tensors of `shape` with: before each axis, such as rows and columns, then after each."""
    reach = [(size - 1) * rate + 1 for size, rate in zip(window, dilation)]
    if layer.padding == "same":
        sides = zip(shape[1:], layer.strides, reach)
        missing = [max((-(-side // stride) - 1) * stride + size - side, 0) for side, stride, size in sides]
        return (*(n // 2 for n in missing), *(n - n // 2 for n in missing))
    before = [size - 1 if layer.padding == "causal" else 0 for size in reach]
    return (*before, *(0 for _ in reach))


def _around_transposed(layer: Any, shape: Sequence[int], made: Sequence[int]) -> dict[str, Iterable[int]]:
    """Return `pads` and `output_padding` of a transposed convolution from tensors of `shape` to those of `made`."""
    pads, more = [], []
    for side, out, size, stride, rate in zip(
        shape[1:], made[1:], layer.kernel_size, layer.strides, layer.dilation_rate
    ):
        whole = (side - 1) * stride + (size - 1) * rate + 1
        pads.append(max(whole - out, 0))
        more.append(max(out - whole, 0))
    return {"pads": (*(n // 2 for n in pads), *(n - n // 2 for n in pads)), "output_padding": more}
