"""QONNX files: the simulation with one Quant node for each format, which tools for FPGAs read.

A Quant node holds a step, a number of bits and a rounding. QONNX has the roundings floor, nearest and nearest-away; for
nearest-up, half a step is added before a floor. Filters with formats of their own share one with the finest step and
more bits, because tools fail on a step per filter. Images have their channels first, (n, channels, height, width), and
an activation at the end is left out. hls4ml reads QONNX, but not every network exactly; `write_hls4ml` is for it.

Source: the QONNX team, https://github.com/fastmachinelearning/qonnx; its package executes the files.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from math import log2, prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fewbits.deploy.identity import Agreement, before_heads
from fewbits.deploy.onnx import LayerGraph
from fewbits.deploy.onnx_graph import IR_VERSION, ONNXGraph
from fewbits.deploy.operations import signed_bits
from fewbits.errors import InputError, needs_extra
from fewbits.graph import Graph
from fewbits.inspection.extraction import extractor
from fewbits.io.files import write_whole
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.layers import RoundingLayer, active_formats, effective_weights

DOMAIN = "qonnx.custom_op.general"
ROUNDINGS = {"floor": "FLOOR", "nearest": "ROUND", "nearest-up": "FLOOR", "nearest-away": "HALF_UP"}
NUMBERS = 2**17  # of images that are compared at once: qonnx keeps all tensors


def to_qonnx(model: QuantizedModel, batch: int = 1) -> Any:
    """Convert a quantized model.

    Args:
        model: The quantized model.
        batch: How many images the graph takes at once; tools for circuits expect one.

    Returns:
        An onnx.ModelProto from `image`, float32 (batch, channels, height, width), to `output`, float32, with the shape
        of every tensor. If there are several inputs or outputs, they have the names that Keras gives them.

    Raises:
        InputError: when `model` is not quantized; naming the layer, when ONNX or QONNX has no node for it; when the
            package onnx is not installed.
    """
    return _QuantGraph().convert(_without_heads(model), batch)


def write_qonnx(model: QuantizedModel, path: Path) -> None:
    """Write what `to_qonnx` returns to a file, whole or not at all.

    Args:
        model: As in `to_qonnx`.
        path: The .onnx file.

    Raises:
        InputError: as `to_qonnx`.
    """
    write_whole(path, to_qonnx(model).SerializeToString())


def joint_formats(model: QuantizedModel) -> dict[str, FixedPoint]:
    """Return the formats that QONNX files give to kernels whose filters have formats of their own.

    Args:
        model: A quantized model.

    Returns:
        Layer name -> a format with the finest step of the filters and the range of all.

    Raises:
        InputError: naming the layer, when such a format has more than 32 bits.
    """
    found = {layer.name: _kernel_format(layer) for layer in model.rounding_layers if len(_filters(layer)) > 1}
    return {name: fmt for name, fmt in found.items() if fmt is not None}


def compare_qonnx(model: QuantizedModel, images: Any, clean: bool = False) -> dict[str, Agreement]:
    """Compare every layer of a quantized model with what the package qonnx computes from its QONNX file.

    Args:
        model: The quantized model.
        images: (n, height, width, channels), float32; a list if the model has several inputs.
        clean: Whether qonnx cleans the file up first, as tools do that read it.

    Returns:
        Layer name -> agreement of all its values, in steps of the last format before them. A layer that is called
        several times is left out.

    Raises:
        InputError: as `to_qonnx`; when the package qonnx is not installed.
    """
    model = canonical(_without_heads(model))
    graph = Graph(model)
    names = [call.name for call in graph.calls if not call.is_input and len(graph.calls_of(call.operation)) == 1]
    read, steps, found = extractor(model, names), _steps(graph), dict.fromkeys(names, Agreement(0, 0, 0.0))
    for part, values in _executed(model, images, clean):
        ours = read(part)
        for name in names:
            gaps = np.abs(values[name].astype(np.float64) - ours[name]) / steps[name]
            codes, different, largest = found[name]
            off = int((~(gaps == 0)).sum())  # NaN counts as different
            found[name] = Agreement(codes + gaps.size, different + off, max(largest, float(gaps.max())))
    return found


def run_qonnx(model: QuantizedModel, images: Any) -> list[np.ndarray]:
    """Return the outputs that the package qonnx computes from the QONNX file of a quantized model.

    Args:
        model: As in `compare_qonnx`.
        images: As in `compare_qonnx`.

    Returns:
        An array (n, ...) per output, without softmax or other activations at the end.

    Raises:
        InputError: as `compare_qonnx`.
    """
    model = canonical(_without_heads(model))
    graph = Graph(model)
    names = [graph.made_by(output).name for output in graph.outputs]
    parts = [[values[name] for name in names] for _, values in _executed(model, images, clean=False)]
    return [np.concatenate(each) for each in zip(*parts)]


class _QuantGraph(LayerGraph):
    """A graph of ONNX whose quantizers are Quant nodes."""

    opsets: ClassVar[dict[str, int]] = LayerGraph.opsets | {DOMAIN: 1}
    channels_last = False

    def quantizer(self, x: str, fmt: FixedPoint | None, layer: Any) -> str:
        if fmt is None:
            return x
        if layer.rounding == "nearest-up":
            x = self.add("Add", x, self.array(fmt.step / 2))
        return self._quant(x, fmt, layer, ROUNDINGS[layer.rounding])

    def codes(self, x: str, fmt: FixedPoint, layer: Any) -> str:
        return self.add("Mul", self.quantizer(x, fmt, layer), self.array(1 / fmt.step))

    def kernel(self, x: str, layer: Any) -> str:
        fmt = _kernel_format(layer)
        return x if fmt is None else self._quant(x, fmt, layer)

    def bias(self, x: str, layer: Any) -> str:
        fmt = _bias_format(layer)
        return x if fmt is None else self._quant(x, fmt, layer)

    padded = ONNXGraph.border  # qonnx executes node by node, so nothing is merged

    def _quant(self, x, fmt, layer, rounding="ROUND"):
        """Add a Quant node; constants are rounded already."""
        if fmt.signed and fmt.nbits == 1:
            raise InputError(
                f"layer {layer.name} has a format of 1 bit, which stands for -1 and 1 in QONNX; use 2 bits"
            )
        numbers = (self.array(number) for number in (fmt.step, 0, fmt.nbits))
        kind = {"signed": int(fmt.signed), "narrow": 0, "rounding_mode": rounding}
        return self.add("Quant", x, *numbers, domain=DOMAIN, **kind)

    def model(self, name: str, inputs: Sequence[tuple], outputs: Sequence[tuple]) -> Any:
        proto = super().model(name, inputs, outputs)
        plain = type(proto)()
        plain.CopyFrom(proto)
        for node in plain.graph.node:
            if node.domain == DOMAIN:
                node.CopyFrom(self._onnx.helper.make_node("Identity", node.input[:1], node.output))
        proto.graph.value_info.extend(self._onnx.shape_inference.infer_shapes(plain).graph.value_info)
        return proto


def _without_heads(model: QuantizedModel) -> QuantizedModel:
    if not isinstance(model, QuantizedModel):
        raise InputError(
            f"{model.name} is not quantized; give it formats with quantize_model or `fewbits formats --save-model`"
        )
    return before_heads(model)


# Formats of constants


def _filters(layer: Any) -> set[FixedPoint]:
    """Return the formats of the filters of a layer, each once."""
    fmt = active_formats(layer).kernel
    return set(fmt) if isinstance(fmt, tuple) else set() if fmt is None else {fmt}


def _kernel_format(layer: Any) -> FixedPoint | None:
    """Return the format that holds the weights of all filters of a layer; None if they are floats."""
    filters = _filters(layer)
    if len(filters) < 2:
        return filters.pop() if filters else None
    finest, widest = min(fmt.step for fmt in filters), max(fmt.msb for fmt in filters)
    return _with_step(layer, finest, widest)


def _bias_format(layer: Any) -> FixedPoint | None:
    """Return the format that holds the bias of a layer; None if it is a float."""
    formats, kernel, (_, bias) = active_formats(layer), _kernel_format(layer), effective_weights(layer)
    if formats.bias is not None:
        return formats.bias
    if bias is None or kernel is None or formats.input is None or layer.bias_order != "accumulator":
        return None
    step = kernel.step * formats.input.step
    codes = bias.astype(np.float64) / step
    bits = max(signed_bits(int(codes.min()), int(codes.max())), 2)
    return _with_step(layer, step, int(log2(step)) + bits - 1)


def _with_step(layer: Any, step: float, msb: int) -> FixedPoint:
    bits = msb + 1 - int(log2(step))
    if bits > 32:
        raise InputError(
            f"layer {layer.name} has weights of {bits} bits on their finest step, and QONNX files hold 32; give its "
            "filters formats that are closer together"
        )
    return FixedPoint(msb, bits)


# Execution


def _executed(model: QuantizedModel, images: Any, clean: bool) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    """Yield some images at a time, a list of arrays if the model has several inputs, with the values of every layer."""
    every = [np.asarray(array, np.float32) for array in (images if isinstance(images, list) else [images])]
    size = max(1, NUMBERS // sum(prod(array.shape[1:]) for array in every))
    executor = cache(lambda batch: _executor(model, batch, clean))
    for start in range(0, len(every[0]), size):
        part = [array[start : start + size] for array in every]
        yield part if len(part) > 1 else part[0], executor(len(part[0]))(part)


def _executor(
    model: QuantizedModel, batch: int, clean: bool
) -> Callable[[Sequence[np.ndarray]], dict[str, np.ndarray]]:
    """Return what lets qonnx compute the values of every layer, channels last, for `batch` images at once."""
    with needs_extra("fpga", "QONNX files that are executed"):
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.util.cleanup import cleanup_model
    graph = _QuantGraph()
    proto = graph.convert(model, batch)
    for node in proto.graph.node:
        node.doc_string = node.output[0]  # which the clean-up keeps, while it renames all nodes and tensors
    wrapper = ModelWrapper(proto)
    if clean:
        wrapper = cleanup_model(wrapper)
    renamed = {node.doc_string: node.output[0] for node in wrapper.graph.node}
    renamed |= {x.name: y.name for x, y in zip(proto.graph.input, wrapper.graph.input)}

    def execute(images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        given = {x.name: _channels_first(image) for x, image in zip(wrapper.graph.input, images)}
        with _version_known_to_onnx_runtime():
            values = execute_onnx(wrapper, given, return_full_exec_context=True)
        return {layer: _channels_last(values[renamed[tensor]]) for layer, tensor in graph.tensors.items()}

    return execute


@contextmanager
def _version_known_to_onnx_runtime() -> Iterator[None]:
    """Let qonnx run its nodes in our version of ONNX; it takes the newest, which ONNX Runtime may not know yet."""
    from qonnx.core import onnx_exec

    make_model = onnx_exec.qonnx_make_model
    onnx_exec.qonnx_make_model = partial(make_model, ir_version=IR_VERSION)
    try:
        yield
    finally:
        onnx_exec.qonnx_make_model = make_model


def _channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim in (3, 4) else x


def _channels_last(x):
    return np.moveaxis(x, 1, -1) if x.ndim in (3, 4) else x


def _steps(graph: Graph) -> dict[str, float]:
    """Return the step of the last format before the output of each layer; 1 if there is none."""
    steps: dict[int, float] = {}
    found = {}
    for call in graph.calls:
        read = [steps[id(x)] for x in call.inputs]
        found[call.name] = steps[id(call.outputs[0])] = _step(call.operation) or min(read, default=1.0)
    return found


def _step(layer: Any) -> float:
    """Return the step of the values that a layer makes; 0 if it has no format for them."""
    if not isinstance(layer, RoundingLayer):
        return 0.0
    formats, filters = active_formats(layer), _filters(layer)
    if formats.output is not None:
        return formats.output.step
    return min((fmt.step for fmt in filters), default=1.0) * formats.input.step if formats.input else 0.0
