"""LiteRT files (.tflite): floats, or the codes and power-of-two scales of a quantized network.

TensorFlow's converter makes the graph; it chooses 8-bit codes wherever a fake quantizer stands. What it then does in
its own way is corrected in the file: kernels and biases become the codes of the network, each with its step as the
scale, and if a layer reads or makes codes on another grid than its format's, a QUANTIZE is inserted. (The converter
drops a quantizer that directly follows another.)

All codes are int8. Those of a signed format are the network's own, with the zero point 0; a code k of an unsigned
format is stored as k - 128, with the zero point -128. Kernels may hold the code -128, which LiteRT's specification
leaves out so that 16 bits hold the sum of two products; another code would be another network.

LiteRT rounds to nearest. XNNPACK, on which it runs by default, rounds halves to even as `rounding="nearest"` does, and
agrees with the simulation code by code in convolutions. LiteRT's own kernels, and those of TFLite Micro, multiply a sum
and round the product to 31 bits, then shift it and round again, halves away from zero. The first rounding changes
nothing if the scale of a kernel is the float just below its step and the sum has at most 24 bits: such are the scales
of a network with `rounding="nearest-away"`, which agrees with these kernels. Averages to another step may differ.

In int16x8, codes of activations are int16 without a zero point, so that those without a sign have at most 15 bits.
There LiteRT rounds the sums of convolutions once, halves up: networks with `rounding="nearest-up"` agree where layers
hand codes on without another rounding. In dense layers, negative halves go down.
"""

import re
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from fewbits.backend import keras, ops
from fewbits.deploy.frozen import Frozen, check_exportable, check_interpolation, freeze
from fewbits.deploy.identity import Agreement, before_heads, simulation
from fewbits.deploy.tensorflow_process import call_in_tensorflow
from fewbits.errors import InputError, check_name, needs_extra
from fewbits.graph import Graph
from fewbits.io.tflite import LiteRTRunner, to_tflite
from fewbits.names import PRECISIONS
from fewbits.quantization.activations import ACTIVATIONS
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.layers import TRANSPOSED, by_filter, effective_weights, from_filters, kernel_formats
from fewbits.quantization.placement import ON_GRID

INTEGERS = ("int8", "int16x8")
WIDE = "int16x8"
SUM_BITS = {"int8": 32, WIDE: 47}  # of products and bias; LiteRT rescales sums of 64 bits only if they have fewer
MULTIPLYING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Functions that LiteRT computes from codes by tables of its own, with steps of its own; they are computed in float.
FUNCTIONS = ("ELU", "EXP", "GELU", "HARD_SWISH", "LOG_SOFTMAX", "LOGISTIC", "SOFTMAX", "TANH")
# Operators whose inputs and outputs have one grid; those of QUANTIZE can have one.
# Versions of operators that take int16.
WIDE_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 3,
    "CONCATENATION": 3,
    "CONV_2D": 4,
    "DEPTHWISE_CONV_2D": 5,
    "DEQUANTIZE": 3,
    "FULLY_CONNECTED": 7,
    "MAXIMUM": 4,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MINIMUM": 4,
    "PAD": 3,
    "QUANTIZE": 2,
}
MOVING = (
    "CONCATENATION",
    "EXPAND_DIMS",
    "MAXIMUM",
    "MAX_POOL_2D",
    "MINIMUM",
    "PAD",
    "QUANTIZE",
    "REDUCE_MAX",
    "RELU",
    "RELU6",
    "RESHAPE",
    "RESIZE_NEAREST_NEIGHBOR",
    "SLICE",
    "SQUEEZE",
    "STRIDED_SLICE",
    "TRANSPOSE",
)


def to_litert(model: keras.Model, precision: str = "float32", images: Any = None, *, int8_io: bool = False) -> bytes:
    """Convert a Keras model.

    Args:
        model: A functional model, quantized or not.
        precision: One of PRECISIONS. "float32": what Keras computes; the quantizers of a quantized model become
            operators. "float16": weights take two bytes, and the computation is in float32. "int8": integers inside; a
            quantized model keeps its own formats and codes, for a float model LiteRT chooses them. "int16x8": as int8,
            with activations of up to 16 bits.
        images: For integers of a float model, representative images, (n, height, width, channels), float32; a list if
            the model has several inputs.
        int8_io: For "int8", whether inputs and outputs are codes, too. Those of a quantized model are on the grids of
            its formats, and a softmax or another activation at the end is left out.

    Returns:
        Content of a .tflite file for one image at a time, with float inputs and outputs unless `int8_io` is set.

    Raises:
        InputError: when TensorFlow is not installed or does not know a layer; as `check_exportable` and
            `call_in_tensorflow`; for integers, naming the layer, when a layer of a quantized model is float, has more
            bits than the file holds, adds its bias after its output is rounded, or adds up codes of more than 32 bits,
            47 in int16x8; for `int8_io`, when an input or output is not codes of one format.
    """
    check_name("precision", precision, PRECISIONS)
    model = canonical(model)
    check_exportable(model)
    _check_options(model)
    if int8_io and precision != "int8":
        raise InputError(f"int8_io is for int8, not {precision}; choose that precision, or leave int8_io out")
    if precision in INTEGERS and isinstance(model, QuantizedModel):
        _check_formats(model, precision)
        return call_in_tensorflow(_of_codes, before_heads(model) if int8_io else model, precision, (), int8_io)
    if precision in INTEGERS and images is None:
        raise InputError(
            f"{precision} needs representative images; give some to choose the range of each layer's codes from"
        )
    return call_in_tensorflow(_of_floats, model, precision, images, int8_io)


def compare_litert(
    model: QuantizedModel, images: Any, delegate: bool = True, precision: str = "int8"
) -> dict[str, Agreement]:
    """Compare the codes of a quantized model with those of its integer file.

    Every layer that rounds is compared, in a file that outputs the codes of all of them, and the outputs of the
    network; a softmax, or another activation at the end, is left out.

    Args:
        model: A quantized model.
        images: (n, height, width, channels), float32; a list if the model has several inputs.
        delegate: As in `litert_interpreter`.
        precision: Of the file, "int8" or "int16x8".

    Returns:
        Layer name -> agreement, in steps of the layer's output format; the output of the network comes last.

    Raises:
        InputError: as `to_litert`.
    """
    _check_formats(model, precision)
    model = before_heads(model)
    steps = {layer.name: layer.formats.output.step for layer in model.rounding_layers}
    for x in Graph(model).outputs:
        steps.setdefault(Graph(model).made_by(x).name, list(steps.values())[-1])

    runner = LiteRTRunner(call_in_tensorflow(_of_codes, model, precision, tuple(steps)), delegate)
    every = images if isinstance(images, list) else [images]
    theirs = zip(*(runner.run_all(*of_each) for of_each in zip(*every)))
    exact = simulation(model) if precision == WIDE else model  # float32 does not hold all sums of 16 bits times 8
    values = _tapped(exact, steps).predict_on_batch([np.float32(x) for x in every])
    ours = map(ops.convert_to_numpy, keras.tree.flatten(values))
    found = {}
    for (name, step), mine, other in zip(steps.items(), ours, theirs):
        gaps = np.abs(np.stack(other).astype(np.float64) - mine) / step
        found[name] = Agreement(gaps.size, int((~(gaps == 0)).sum()), float(gaps.max()))
    return found


def _of_floats(model, precision, images, int8_io):
    """Return the file of `model` in a precision, as TensorFlow's converter makes it."""
    return to_tflite(freeze(model), _precise(precision, images, int8_io))


def _of_codes(model, precision, layers=(), int8_io=False):
    """Return the file of a quantized `model` with its codes, which outputs those of `layers`, if there are any."""
    wide = precision == WIDE
    frozen = freeze(model, _FakeQuantizedWide if wide else _FakeQuantized)
    return _with_codes(to_tflite(_tapped(frozen, layers) if layers else frozen, _integers), model, wide, int8_io)


def _tapped(network, layers):
    """Return a model that outputs what `layers`, names, of `network` make."""
    graph = Graph(network)
    calls = [graph.calls_of(network.get_layer(name))[0] for name in layers]
    return keras.Model(network.inputs, [call.outputs[0] for call in calls])


def _check_options(model):
    """Raise InputError on options of layers that TensorFlow's converter does not know."""
    check_interpolation(model, "LiteRT files")
    for layer in model.layers:
        if isinstance(layer, TRANSPOSED) and any(rate > 1 for rate in layer.dilation_rate):
            raise InputError(
                f"layer {layer.name} is a Conv2DTranspose with dilation, which LiteRT files cannot hold; ONNX files can"
            )


def _check_formats(model, precision):
    check_exportable(model)
    _check_activations(model, precision)
    for layer in model.quantized_layers:
        kernel, x, output, own = layer.formats
        if isinstance(layer, TRANSPOSED):
            raise InputError(
                f"layer {layer.name} is a Conv2DTranspose, whose codes the converter to int8 does not keep; use "
                "UpSampling2D and Conv2D instead, or export in float32"
            )
        if not layer.enabled or kernel is None or x is None or output is None:
            raise InputError(
                f"layer {layer.name} computes in float; give it kernel, input and output formats for {precision}"
            )
        _check_widths(layer, precision)
        if layer.bias is not None and (layer.bias_order == "output" or own is not None):
            raise InputError(
                f"the bias of layer {layer.name} is not on the grid of its products, which int8 needs; use "
                "bias_order='accumulator' and no bias format"
            )
        bits, most = _accumulator_bits(layer), SUM_BITS[precision]
        if bits > most:
            raise InputError(
                f"products and bias of layer {layer.name} take {bits} bits, and {precision} files add in {most}; raise "
                f"the MSB of its input or kernel format by {bits - most}"
            )


def _check_widths(layer, precision):
    """Raise InputError on formats of a layer whose codes the file does not hold."""
    kernel = max(fmt.nbits for fmt in kernel_formats(layer))
    others = layer.formats.input, layer.formats.output
    if precision == "int8":
        widest = max(kernel, *(fmt.nbits for fmt in others))
        if widest > 8:
            raise InputError(f"layer {layer.name} has codes of {widest} bits; int8 holds 8; use fewer, or int16x8")
        return
    widest = max(fmt.nbits + (not fmt.signed) for fmt in others)  # LiteRT has no zero point for int16
    if kernel > 8 or widest > 16:
        raise InputError(
            f"layer {layer.name} has codes of more than 8 bits in the kernel, 16 bits elsewhere, or 15 without a sign, "
            "which int16x8 does not hold; use fewer"
        )


def _check_activations(model, precision):
    """Raise InputError on an activation inside the network that has more than 8 bits, or no formats."""
    graph = Graph(model)
    for call in graph.calls:
        layer: Any = call.operation
        function = getattr(layer, "activation", None)
        if type(layer) in ACTIVATIONS.values():
            _, x, output, _ = layer.formats
            if precision == WIDE:
                raise InputError(
                    f"layer {layer.name} is an activation, which int16x8 files of quantized networks do not hold; use "
                    "int8, or ReLU"
                )
            if output is None or any(fmt.nbits != 8 for fmt in (x, output) if fmt is not None):
                raise InputError(
                    f"layer {layer.name} is an activation; in int8 its input and output formats must have 8 bits"
                )
        elif function not in ON_GRID and graph.only_reader(call.outputs[0]) is not None:
            name = getattr(function, "__name__", type(function).__name__)
            raise InputError(
                f"layer {layer.name} has the activation {name} inside the network, where int8 needs formats; use a "
                "QuantizedActivation"
            )


def _accumulator_bits(layer):
    """Return the bits of the largest sum of products and bias of a layer with formats, in codes."""
    kernel, bias = effective_weights(layer)
    steps, x = np.array([fmt.step for fmt in kernel_formats(layer)]), layer.formats.input
    largest = np.abs(by_filter(layer, kernel)).sum(0, dtype=np.float64) / steps * max(-x.min_code, x.max_code)
    largest += 0 if bias is None else np.abs(bias / (steps * x.step))
    return int(np.rint(largest.max())).bit_length() + 1


def _precise(precision, images, int8_io):
    """Return a function that sets up a converter for `precision`."""

    def set_up(converter):
        import tensorflow as tf

        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision in INTEGERS:
            every = [np.asarray(x, np.float32) for x in (images if isinstance(images, list) else [images])]
            converter.representative_dataset = lambda: ([x[np.newaxis] for x in of_each] for of_each in zip(*every))
        if precision == WIDE:
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            ]
        if int8_io:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8

    return set_up


def _integers(converter):
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]


class CodeGrid(NamedTuple):
    """What int8 codes stand for: (code - zero) * step.

    Attributes:
        step: The distance between neighbouring values.
        zero: The zero point, the code of 0.
    """

    step: float
    zero: int = 0

    @classmethod
    def of(cls, fmt: FixedPoint) -> "CodeGrid":
        """Return the grid of the codes of a format, at most 8 bits."""
        return cls(fmt.step, 0 if fmt.signed else -128)


class _FakeQuantized(Frozen):
    """A layer whose formats the converter sees, as ranges of 8-bit codes with the same step.

    An activation is a table of what it makes of each code of its input.
    """

    def __init__(self, layer):
        super().__init__(layer)
        self._table, fmt = None, self.formats.input
        if self.weights_used is None and fmt is not None and not isinstance(layer, keras.layers.PReLU):
            values = (np.arange(fmt.min_code, fmt.max_code + 1) * fmt.step).astype(np.float32)
            self._table = ops.convert_to_numpy(layer(values[np.newaxis]))[0]

    def kernel(self, kernel):
        own = 1 + crc32(self.name.encode()) / 2**32  # else the converter makes one of two equal kernels
        step = own * 2.0**-6 * max(2.0**-20, float(np.abs(kernel).max()))
        return _fake_quantize(
            ops.convert_to_tensor(kernel), CodeGrid(step), f"kernel_{self.name.encode().hex()}_of_layer"
        )

    def call(self, x):
        one_dimensional = self.weights_used is not None and self.weights_used[0].ndim == 3
        return ops.squeeze(super().call(ops.expand_dims(x, 1)), 1) if one_dimensional else super().call(x)

    def product(self, x, kernel):
        [layer] = self._layer
        if kernel.ndim != 3:
            return super().product(x, kernel)
        convolve = ops.depthwise_conv if self.depthwise else ops.conv  # of one row, so that the kernel keeps its name
        if layer.padding == "causal":
            x = ops.pad(x, [[0, 0], [0, 0], [layer.dilation_rate[0] * (layer.kernel_size[0] - 1), 0], [0, 0]])
        return convolve(
            x,
            self.kernel(kernel[np.newaxis]),
            strides=(1, *layer.strides) if not self.depthwise else layer.strides[0],
            padding="same" if layer.padding == "same" else "valid",
            dilation_rate=(1, *layer.dilation_rate),
        )

    def quantizer(self, x, fmt):
        return x if fmt is None else _fake_quantize(x, CodeGrid.of(fmt))

    def activated(self, x):
        fmt: Any = self.formats.input
        if self._table is None:
            return super().activated(x)
        places = ops.clip(ops.cast(x / fmt.step - fmt.min_code, "int32"), 0, len(self._table) - 1)
        return ops.take(self._table, places)


class _FakeQuantizedWide(_FakeQuantized):
    """A layer for a file of int16: its formats are ranges of 8 bits to the converter, with their steps."""

    def quantizer(self, x, fmt):
        return x if fmt is None else _fake_quantize(x, CodeGrid(fmt.step))


def _fake_quantize(x, grid, name=None):
    import tensorflow as tf

    low, high = ((code - grid.zero) * grid.step for code in (-128, 127))
    return tf.quantization.fake_quant_with_min_max_args(x, low, high, num_bits=8, name=name)


def _with_codes(content: bytes, model: QuantizedModel, wide: bool, int8_io: bool) -> bytes:
    """Return the file with the codes and steps of `model` in every layer that multiplies."""
    with needs_extra("export", "LiteRT files in int8"):
        import flatbuffers  # type: ignore[import-untyped]  # it has no stubs
        from ai_edge_litert import schema_py_generated as schema

    file = schema.ModelT.InitFromPackedBuf(content, 0)
    edit = _Edit(file, schema, wide)
    layers = {layer.name: layer for layer in model.quantized_layers}
    multiplying = [operator for operator in file.subgraphs[0].operators if edit.kind(operator) in MULTIPLYING]
    pairs = [(operator, _layer_of(edit.name(operator.inputs[1]), layers)) for operator in multiplying]
    edit.share_grids(pairs)
    edit.averages_in_float()
    for operator, layer in pairs:
        edit.layer(operator, layer)
    edit.functions_in_float()
    edit.finish()
    if wide:
        edit.widen()
    if int8_io:
        edit.codes_at_ends(model.name)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(file.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _layer_of(name, layers):
    """Return the layer whose kernel is called `name` in the file; the name contains what `_FakeQuantized` gave it."""
    found = {bytes.fromhex(code).decode() for code in re.findall(r"kernel_([0-9a-f]+)_of_layer", name)}
    if len(found) != 1:
        raise InputError(f"the converter has lost a kernel among {', '.join(sorted(found)) or name}")
    return layers[found.pop()]


def _kernel_codes(layer, kernel, steps, kind):
    """Return the codes of a kernel of floats with the axes that the operator `kind` has."""
    codes = from_filters(layer, by_filter(layer, kernel) / steps)
    codes = codes[np.newaxis] if codes.ndim == 3 else codes  # of one row
    if kind == "DEPTHWISE_CONV_2D":
        return codes.reshape(1, *codes.shape[:-2], -1)
    return np.moveaxis(codes, -1, 0)


class _Edit:
    """Edits of a file, a `ModelT` of its schema; with `wide`, codes are int16, without a zero point."""

    def __init__(self, file, schema, wide):
        self.file, self.schema, self.graph, self.wide = file, schema, file.subgraphs[0], wide
        self.graph.operators = list(self.graph.operators)
        self.graph.tensors, self.file.operatorCodes = list(self.graph.tensors), list(file.operatorCodes)
        self.file.buffers = list(file.buffers)
        self._names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
        self._before, self._after, self._made, self._new = {}, {}, {}, []

    def kind(self, operator):
        """Return the name of the kind of an operator."""
        return self._names[self.file.operatorCodes[operator.opcodeIndex].builtinCode]

    def name(self, index):
        """Return the name of a tensor."""
        return self.graph.tensors[index].name.decode()

    def grid(self, index):
        """Return the grid of a tensor; None if it is float."""
        quantization = self.graph.tensors[index].quantization
        if quantization is None or quantization.scale is None:
            return None
        return CodeGrid(float(quantization.scale[0]), int(quantization.zeroPoint[0]))

    def grid_of(self, fmt):
        """Return the grid of the codes of a format."""
        return CodeGrid(fmt.step) if self.wide else CodeGrid.of(fmt)

    def fills(self, fmt):
        """Return whether the codes of a format are all that the integers of the file can hold."""
        return fmt.signed and fmt.nbits == 16 if self.wide else fmt.nbits == 8

    def widen(self):
        """Make int16 of all codes but those of kernels."""
        kernels = {operator.inputs[1] for operator in self.graph.operators if self.kind(operator) in MULTIPLYING}
        for index, tensor in enumerate(self.graph.tensors):
            if tensor.type == self.schema.TensorType.INT8 and index not in kernels:
                tensor.type = self.schema.TensorType.INT16
        for code in self.file.operatorCodes:
            code.version = max(code.version, WIDE_VERSIONS.get(self._names[code.builtinCode], 1))

    def share_grids(self, pairs):
        """Give operators that only move codes the grid of the layers that read them, or of those that make them.

        The converter takes the grid of any of the inputs. With the grid of the readers, codes are rounded before they
        are moved instead of after, which makes no difference. `pairs` holds operators and their layers.
        """
        own = {id(operator): self.grid(operator.outputs[0]) for operator in self.graph.operators}
        for group in self._moved_together():
            grid = self._shared_grid(group, pairs)
            if grid is not None:
                for index in group:
                    self.graph.tensors[index].quantization = self._quantization(grid)
        for operator in self.graph.operators:
            if self._rounds_function(operator) and own[id(operator)] != self.grid(operator.outputs[0]):
                self._round_first(operator, own[id(operator)])
        for operator in list(self.graph.operators):
            [source, *_], [target, *_] = operator.inputs, operator.outputs
            if self.kind(operator) == "QUANTIZE" and self.grid(source) == self.grid(target):
                self.graph.operators.remove(operator)
                self._read_instead(target, source)

    def _moved_together(self):
        """Return sets of tensors that have one grid, because operators only move codes between them."""
        groups: list[set[int]] = []
        for operator in self.graph.operators:
            if self.kind(operator) in MOVING:
                moved = {i for i in (*operator.inputs, *operator.outputs) if self.grid(i) is not None}
                groups = [*(g for g in groups if not g & moved), moved.union(*(g for g in groups if g & moved))]
        return groups

    def _shared_grid(self, group, pairs):
        """Return the grid for a group of tensors; None leaves the one that the converter has chosen."""
        makers = self._grids_made(group, pairs)
        readers = {
            self.grid_of(layer.formats.input): layer.name for operator, layer in pairs if operator.inputs[0] in group
        }
        agreed = [grids for grids in (readers, makers) if len(grids) == 1]
        if not agreed and len({grid.zero for grid in readers}) > 1:
            raise InputError(
                f"layers {' and '.join(readers.values())} read the same codes, signed and unsigned, which int8 files "
                "hold once; give these layers one input format"
            )
        return next(iter(agreed[0])) if agreed else None

    def _grids_made(self, group, pairs):
        """Return the grids on which operators that compute make the tensors of a group."""
        layers = {id(operator): layer for operator, layer in pairs}
        return {
            self.grid_of(layers[id(operator)].formats.output)
            if id(operator) in layers
            else self.grid(operator.outputs[0])
            for operator in self.graph.operators
            if operator.outputs[0] in group
            and (self.kind(operator) not in MOVING or self.grid(operator.inputs[0]) is None)
        }

    def averages_in_float(self):
        """Let averages compute in float if they do not stay on the grid of their inputs."""
        for operator in self.graph.operators:
            source, target = operator.inputs[0], operator.outputs[0]
            if self.kind(operator) != "AVERAGE_POOL_2D" or self.grid(source) == self.grid(target):
                continue
            operator.inputs, operator.outputs = [self._like(source, None)], [self._like(target, None)]
            self._operate("DEQUANTIZE", [source], operator.inputs[0])
            self._before[id(operator)], self._new = self._new, []
            self._quantize(operator.outputs[0], target)
            self._after[id(operator)], self._new = self._new, []

    def _rounds_function(self, operator):
        """Return whether an operator makes the codes of an activation: a table, or a function of floats."""
        source = operator.inputs[0]
        computed = self.kind(operator) == "QUANTIZE" and self.grid(source) is None and source not in self.graph.inputs
        return self.kind(operator) == "GATHER" or computed

    def _round_first(self, operator, grid):
        """Let an operator make codes on a grid, and a QUANTIZE those on the grid that its output has now."""
        target = operator.outputs[0]
        operator.outputs = [self._like(target, grid)]
        self._quantize(operator.outputs[0], target)
        self._read_instead(target, operator.outputs[0], but=(*MOVING, *MULTIPLYING))  # others read its own grid
        self._after[id(operator)], self._new = self._new, []

    def layer(self, operator, layer):
        """Give a convolution or dense layer its codes; insert a QUANTIZE where the grids of its neighbours differ."""
        x, output = layer.formats.input, layer.formats.output
        source, target = operator.inputs[0], operator.outputs[0]
        if self.grid(source) is None or self.grid(target) is None:
            raise InputError(f"LiteRT computes layer {layer.name} in float, not in int8")
        kernel, bias = effective_weights(layer)
        steps = np.array([fmt.step for fmt in kernel_formats(layer)])
        codes = _kernel_codes(layer, kernel, steps, self.kind(operator))
        axis = codes.ndim - 1 if self.kind(operator) == "DEPTHWISE_CONV_2D" else 0
        scales = np.nextafter(np.float32(steps), np.float32(0)) if layer.rounding == "nearest-away" else steps
        self._fill(operator.inputs[1], codes, np.int8, scales, axis)
        read, rest = self._in_format(source, x), self._own_bias(operator, len(steps))
        if rest:
            codes = np.zeros(len(steps)) if bias is None else np.rint(bias / (steps * x.step))
            self._fill(rest[0], codes, np.int64 if self.wide else np.int32, scales * x.step, axis=0)
        operator.inputs = [read, operator.inputs[1], *(rest or operator.inputs[2:])]
        self._before[id(operator)], self._new = self._new, []
        grid = self.grid_of(output)
        made = target if self.grid(target) == grid and self.fills(output) else self._like(target, grid)
        operator.outputs = [made]
        clipped = self._clipped(made, output)
        if clipped != target:
            self._quantize(clipped, target)
            self._read_instead(target, clipped, but=(*MOVING, *MULTIPLYING))  # others read the layer's own grid
        self._after[id(operator)], self._new = self._new, []

    def _read_instead(self, old, new, but=()):
        for reader in self.graph.operators:
            if old in reader.inputs and self.kind(reader) not in but:
                reader.inputs = [new if i == old else i for i in reader.inputs]

    def functions_in_float(self):
        """Let functions of codes whose values are read as floats compute in float."""
        for operator in [operator for operator in self.graph.operators if self.kind(operator) in FUNCTIONS]:
            source, target = operator.inputs[0], operator.outputs[0]
            readers = [reader for reader in self.graph.operators if target in reader.inputs]
            if self.grid(source) is None or [self.kind(reader) for reader in readers] != ["DEQUANTIZE"]:
                continue
            floats = self._like(source, None)
            self._operate("DEQUANTIZE", [source], floats)
            operator.inputs, operator.outputs = [floats, *operator.inputs[1:]], readers[0].outputs
            self.graph.operators.remove(readers[0])
            self._before[id(operator)], self._new = self._new, []

    def finish(self):
        """Insert the new operators where they belong."""
        self.graph.operators = [
            new
            for operator in self.graph.operators
            for new in (*self._before.get(id(operator), ()), operator, *self._after.get(id(operator), ()))
        ]
        self.graph.operators = [new for operator in self.graph.operators for new in self._to_even(operator)]

    def codes_at_ends(self, name):
        """Let the inputs and outputs of the file be codes; `name` is that of the network, for messages."""
        try:
            inputs = [self._end("QUANTIZE", i, reads=True) for i in self.graph.inputs]
            outputs = [self._end("DEQUANTIZE", i, reads=False) for i in self.graph.outputs]
        except InputError as error:
            raise InputError(f"{name} {error}, or leave int8 inputs and outputs out") from None
        codes = dict(zip([*self.graph.inputs, *self.graph.outputs], [*inputs, *outputs]))
        for signature in self.file.signatureDefs or ():
            for end in (*signature.inputs, *signature.outputs):
                end.tensorIndex = codes[end.tensorIndex]
        self.graph.inputs, self.graph.outputs = inputs, outputs

    def _end(self, kind, index, reads):
        """Remove what makes codes of a float input, or floats of the codes of an output; return the codes."""
        found = [
            operator for operator in self.graph.operators if index in (operator.inputs if reads else operator.outputs)
        ]
        if len(found) != 1 or self.kind(found[0]) != kind:
            kinds = " and ".join(self.kind(operator) for operator in found)
            raise InputError(
                f"computes {kinds} with an input before it is rounded; begin with a layer that rounds what it reads"
                if reads
                else f"has an output that {kinds} makes and nothing rounds; give its layer an output format"
            )
        self.graph.operators.remove(found[0])
        return (found[0].outputs if reads else found[0].inputs)[0]

    def _to_even(self, operator):
        """Return what replaces an operator: XNNPACK rounds halves up from codes to codes, but to even from floats."""
        [source, *_], [target, *_] = operator.inputs, operator.outputs
        if self.kind(operator) != "QUANTIZE" or self.grid(source) is None:
            return [operator]
        if self.grid(source).step >= self.grid(target).step:
            return [operator]  # there are no halves
        floats = self._like(source, None)
        self._operate("DEQUANTIZE", [source], floats)
        operator.inputs = [floats]
        before, self._new = self._new, []
        return [*before, operator]

    def _own_bias(self, operator, filters):
        """Return the bias of an operator in a list; the converter drops some of zeros, and lets layers share others.

        With `wide` there is one always: LiteRT adds up in 64 bits, and rounds once, for the sake of a bias of 64 bits.
        """
        index = operator.inputs[2] if len(operator.inputs) > 2 else -1
        if index < 0 and not self.wide:
            return []
        if index >= 0 and sum(index in other.inputs for other in self.graph.operators) == 1:
            return [index]
        copy = self._like(operator.inputs[1], None)
        tensor = self.graph.tensors[copy]
        tensor.shape, tensor.shapeSignature, tensor.buffer = [filters], None, len(self.file.buffers)
        self.file.buffers.append(self.schema.BufferT())
        return [copy]

    def _fill(self, index, codes, dtype, steps, axis):
        tensor = self.graph.tensors[index]
        if list(tensor.shape) != list(codes.shape):
            raise InputError(f"LiteRT keeps {self.name(index)} in the shape {list(tensor.shape)}, not {codes.shape}")
        steps = steps[:1] if len(set(steps)) == 1 else steps
        self.file.buffers[tensor.buffer].data = codes.astype(dtype).reshape(-1).view(np.uint8)
        tensor.type = getattr(self.schema.TensorType, np.dtype(dtype).name.upper())
        tensor.quantization = self._quantization(*map(CodeGrid, steps))
        tensor.quantization.quantizedDimension = axis if len(steps) > 1 else 0

    def _in_format(self, source, fmt):
        """Return the tensor that holds `source` in the format `fmt`."""
        key = source, fmt
        if key not in self._made:
            target = source
            if self.grid(source) != self.grid_of(fmt):
                target = self._like(source, self.grid_of(fmt))
                self._quantize(source, target)
            self._made[key] = self._clipped(target, fmt)
        return self._made[key]

    def _clipped(self, source, fmt):
        """Return the tensor that holds `source` clipped to the bits of `fmt`."""
        if self.fills(fmt):
            return source
        grid = self.grid_of(fmt)
        for kind, code in (("MINIMUM", fmt.max_code), ("MAXIMUM", fmt.min_code)):
            bound, target = self._like(source, grid), self._like(source, grid)
            tensor, buffer = self.graph.tensors[bound], self.schema.BufferT()
            buffer.data = np.array([code + grid.zero], np.int16 if self.wide else np.int8).view(np.uint8)
            tensor.shape, tensor.shapeSignature, tensor.buffer = [1], None, len(self.file.buffers)
            self.file.buffers.append(buffer)
            self._operate(kind, [source, bound], target)
            source = target
        return source

    def _quantization(self, *grids):
        quantization = self.schema.QuantizationParametersT()
        quantization.scale = np.array([grid.step for grid in grids], np.float32)
        quantization.zeroPoint = np.array([grid.zero for grid in grids], np.int64)
        return quantization

    def _like(self, index, grid):
        """Add a tensor with the shape of another, of codes on `grid`, or of floats if that is None."""
        tensor, old = self.schema.TensorT(), self.graph.tensors[index]
        tensor.shape, tensor.type, tensor.hasRank = old.shape, old.type, old.hasRank
        tensor.shapeSignature, tensor.buffer = old.shapeSignature, 0
        tensor.name = f"{self.name(index)}/grid{len(self.graph.tensors)}".encode()
        if grid is None:
            tensor.type = self.schema.TensorType.FLOAT32
        else:
            tensor.quantization = self._quantization(grid)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _quantize(self, source, target):
        self._operate("QUANTIZE", [source], target)

    def _operate(self, kind, sources, target):
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self._code(kind, version=2)  # the first that takes int8
        operator.inputs, operator.outputs = sources, [target]
        self._new.append(operator)

    def _code(self, name, version):
        number = getattr(self.schema.BuiltinOperator, name)
        for index, code in enumerate(self.file.operatorCodes):
            if code.builtinCode == number:
                code.version = max(code.version, version)
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = version
        self.file.operatorCodes.append(code)
        return len(self.file.operatorCodes) - 1
