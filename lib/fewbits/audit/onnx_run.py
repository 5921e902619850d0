"""What the integer layers of an ONNX file compute in ONNX Runtime: QLinearConv, QLinearMatMul and QGemm."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from fewbits.audit.traces import Kernel, Trace, Window, few_enough, match_layers
from fewbits.backend import keras
from fewbits.deploy.kernel_lowering import padding_of
from fewbits.deploy.onnx import exact_session
from fewbits.errors import InputError, needs_extra
from fewbits.io.onnx_file import first_line, printable, read_onnx

SCALED = {"QLinearConv": (0, 3, 6), "QLinearMatMul": (0, 3, 6), "QGemm": (0, 3, 7)}
"""Operator -> the places of its input, its kernel and the scale of its output; a scale follows an input or kernel."""


class _Layer(NamedTuple):
    """A layer of a file: its tensors, its window and its kernel."""

    name: str
    read: str
    made: str
    window: Window | None  # None for a dense layer
    kernel: Kernel
    scales: tuple[float, float, float, float]  # step and zero point of the input, and of the output


def onnx_traces(path: Path | str, model: keras.Model, images: np.ndarray) -> list[Trace]:
    """Run an integer ONNX file and return what its layers read and computed.

    Args:
        path: The file.
        model: The float network; layers are found by their kernels.
        images: As the float network takes them, (n, height, width, channels), float32. A file that takes its channels
            first gets them so.

    Returns:
        A trace for each layer that multiplies integers.

    Raises:
        InputError: when the file cannot be read or run, has no such layer, or takes images of another shape; when the
            packages onnx and onnxruntime are not installed.
    """
    proto = read_onnx(path)
    with needs_extra("export", "ONNX files"):
        import onnxruntime
    if any(node.op_type == "DequantizeLinear" for node in proto.graph.node):
        proto = _fused(path, proto)
    constants = _constants(proto)
    nodes = [node for node in proto.graph.node if node.op_type in SCALED]
    if not nodes:
        raise InputError(
            f"{path} has no layer of integers (QLinearConv, QLinearMatMul or QGemm); quantize it with "
            "onnxruntime.quantization"
        )
    tapped = type(proto)()
    tapped.CopyFrom(proto)
    outputs = {output.name for output in proto.graph.output}
    wanted = list(dict.fromkeys(name for node in nodes for name in (node.input[0], node.output[0])))
    for name in wanted:
        if name not in outputs:
            tapped.graph.output.add(name=name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = exact_session(tapped.SerializeToString(), options)
        codes = _run(path, session, wanted, images)
    except InputError:
        raise
    except Exception as error:  # each kind of damage has its own class
        raise InputError(f"ONNX Runtime cannot run {path} ({first_line(error)}); export it again") from None
    layers = list(_layers(nodes, constants, codes))
    found = match_layers([layer.kernel for layer in layers], model)
    return [_trace(layer, match, codes) for layer, match in zip(layers, found, strict=True)]


def _fused(path: Path | str, proto: Any) -> Any:
    """Return the graph as ONNX Runtime runs it: DequantizeLinear, a convolution and QuantizeLinear become one node."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    fused = type(proto)()
    with TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder, "fused.onnx"))
        try:
            onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each kind of damage has its own class
            raise InputError(f"ONNX Runtime cannot run {path} ({first_line(error)}); export it again") from None
        fused.ParseFromString(Path(options.optimized_model_filepath).read_bytes())
    return fused


def _constants(proto: Any) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = next(numpy_helper.to_array(a.t) for a in node.attribute if a.name == "value")
    return found


def _run(path: Path | str, session: Any, wanted: list[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the codes of each tensor, for as many images as are examined of it."""
    entry, *others = session.get_inputs()
    shape = tuple(entry.shape[1:])
    first = np.moveaxis(images, -1, 1)
    fitting = [x for x in (first, images) if len(shape) == x.ndim - 1 and all(map(_fits, shape, x.shape[1:]))]
    if others or not fitting:
        takes = f"{1 + len(others)} inputs" if others else f"images {shape}"
        raise InputError(
            f"{path} takes {takes}, and the float network images {images.shape[1:]}; give the same network"
        )
    if entry.type != "tensor(float)":
        raise InputError(f"{path} takes {entry.type}, not floats; export it with a QuantizeLinear at its start")
    found: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    for number, image in enumerate(fitting[0].astype(np.float32)):
        for name, codes in zip(wanted, session.run(wanted, {entry.name: image[np.newaxis]})):
            if number < few_enough(codes.shape[1:], len(images)):
                found[name].append(codes)
    return {name: np.concatenate(codes) for name, codes in found.items()}


def _fits(side: Any, given: int) -> bool:
    return not isinstance(side, int) or side == given


def _layers(nodes: list[Any], constants: dict[str, np.ndarray], codes: dict[str, np.ndarray]) -> Iterator[_Layer]:
    for node in nodes:
        x, w, y = SCALED[node.op_type]
        label = printable(node.name or node.output[0])
        if len(node.input) <= y or not node.input[y]:
            continue  # a QGemm whose output is float does not round
        lacking = [
            name
            for name in (*node.input[x + 1 : x + 3], *node.input[w : w + 3], node.input[y])
            if name not in constants
        ]
        if lacking:
            raise InputError(f"the kernel or a scale of {label} is computed; constants are needed")
        steps, zeros = ([constants[node.input[i + n]].astype(np.float64) for i in (x, w)] for n in (1, 2))
        output_step = float(np.ravel(constants[node.input[y]])[0])
        output_zero = float(np.ravel(constants[node.input[y + 1]])[0]) if len(node.input) > y + 1 else 0.0
        attributes = {a.name: a for a in node.attribute}
        kernel, window = constants[node.input[w]].astype(np.float64), None
        if node.op_type == "QLinearConv":
            window = _window(attributes, kernel.shape, codes[node.input[0]].shape)
            columns = np.moveaxis(kernel, (0, 1), (-1, -2)).reshape(-1, len(kernel))
        else:
            turned = node.op_type == "QGemm" and "transB" in attributes and attributes["transB"].i
            columns = kernel.T if turned else kernel
        columns = columns - np.ravel(zeros[1])
        place = 8 if node.op_type == "QLinearConv" else 6 if node.op_type == "QGemm" else None
        bias = np.zeros(columns.shape[1])
        if place is not None and len(node.input) > place and node.input[place]:
            bias = np.broadcast_to(np.ravel(constants[node.input[place]]).astype(np.float64), bias.shape)
        kernel_steps = np.broadcast_to(np.ravel(steps[1]), bias.shape)
        scales = float(np.ravel(steps[0])[0]), float(np.ravel(zeros[0])[0]), output_step, output_zero
        yield _Layer(label, node.input[0], node.output[0], window, Kernel(columns, kernel_steps, bias), scales)


def _window(attributes: dict[str, Any], kernel: tuple[int, ...], images: tuple[int, ...]) -> Window:
    """Return the window of a convolution; one of a sequence has a single row."""

    def numbers(name: str, otherwise: int, count: int) -> list[int]:
        return list(attributes[name].ints) if name in attributes else [otherwise] * count

    axes = len(kernel) - 2
    size, strides, dilation = list(kernel[2:]), numbers("strides", 1, axes), numbers("dilations", 1, axes)
    pads = numbers("pads", 0, 2 * axes)
    if axes == 1:
        size, strides, dilation, pads = [1, *size], [1, *strides], [1, *dilation], [0, pads[0], 0, pads[1]]
        images = (*images[:2], 1, images[2])
    padding = (pads[0], pads[2]), (pads[1], pads[3])
    auto = attributes["auto_pad"].s.decode() if "auto_pad" in attributes else "NOTSET"
    if auto.startswith("SAME"):
        reach = (dilation[0] * (size[0] - 1) + 1, dilation[1] * (size[1] - 1) + 1)
        padding = padding_of("same", images[2:], reach, (strides[0], strides[1]))
        padding = padding if auto == "SAME_UPPER" else (padding[0][::-1], padding[1][::-1])
    groups = attributes["group"].i if "group" in attributes else 1
    return Window((size[0], size[1]), (strides[0], strides[1]), padding, (dilation[0], dilation[1]), groups)


def _trace(layer: _Layer, match: Any, codes: dict[str, np.ndarray]) -> Trace:
    step, zero, output_step, output_zero = layer.scales
    read, made = (codes[name].astype(np.float64) for name in (layer.read, layer.made))
    inputs, outputs = _last(read - zero, layer.window), _last(made - output_zero, layer.window)
    return Trace(
        match[0] if match else layer.name,
        inputs,
        outputs,
        step,
        output_step,
        layer.window or Window(),
        {"given": layer.kernel},
        match[1] if match else None,
        note="" if match else "no layer of the float network has this kernel",
    )


def _last(codes: np.ndarray, window: Window | None) -> np.ndarray:
    """Return codes of images with their channels last; vectors as images of one pixel, sequences as one of one row."""
    if window is None:
        return codes.reshape(-1, 1, 1, codes.shape[-1])
    codes = codes[:, :, np.newaxis] if codes.ndim == 3 else codes
    return np.moveaxis(codes, 1, -1)
