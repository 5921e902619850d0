"""What the layers of an integer .tflite file compute in LiteRT, with XNNPACK, LiteRT's own kernels or its reference."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fewbits.audit.traces import Kernel, Trace, Window, few_enough, match_layers
from fewbits.backend import keras, no_stderr
from fewbits.deploy.kernel_lowering import padding_of
from fewbits.errors import InputError, check_name, needs_extra
from fewbits.names import LITERT_KERNELS

RESOLVERS = dict(zip(LITERT_KERNELS, ("AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "BUILTIN_REF"), strict=True))
"""Kernels of LiteRT -> the name of its resolver of operators."""
MULTIPLYING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
INTEGERS = {3: np.uint8, 7: np.int16, 9: np.int8, 2: np.int32, 4: np.int64}  # type in the schema -> that of NumPy


class _Layer(NamedTuple):
    """A layer of a file: its tensors, its window and its kernel."""

    name: str
    read: int
    made: int
    window: Window
    kernel: Kernel
    dense: bool


def litert_traces(path: Path | str, model: keras.Model, images: np.ndarray, kernels: str = "xnnpack") -> list[Trace]:
    """Run an integer .tflite file and return what its layers read and computed.

    Args:
        path: The file.
        model: The float network; layers are found by their kernels.
        images: As the float network takes them, (n, height, width, channels), float32.
        kernels: One of LITERT_KERNELS.

    Returns:
        A trace for each convolution and dense layer of integers.

    Raises:
        InputError: when the file cannot be read or run, has no such layer, or takes images of another shape; when
            ai-edge-litert or flatbuffers is not installed.
    """
    path = Path(path)
    check_name("kernels", kernels, LITERT_KERNELS)
    with needs_extra("export", ".tflite files"):
        from ai_edge_litert import schema_py_generated as schema
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    content = _content(path)
    try:
        file = schema.ModelT.InitFromPackedBuf(content, 0)
        with no_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that keeping all tensors takes memory
            network_of_file = Interpreter(
                model_content=content,
                num_threads=1,
                experimental_op_resolver_type=getattr(OpResolverType, RESOLVERS[kernels]),
                experimental_preserve_all_tensors=True,
            )
            network_of_file.allocate_tensors()
    except Exception as error:  # whatever damage raises, in the schema and in the interpreter
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{path} cannot be read ({why}); it may be truncated, or not a .tflite file") from None
    graph = file.subgraphs[0]
    layers = list(_layers(file, graph, schema))
    if not layers:
        raise InputError(
            f"{path} has no convolution or dense layer of integers; convert the network to int8, as "
            "`fewbits export --to litert --precision int8` does"
        )
    recorded = _run(path, network_of_file, layers, images)
    found = match_layers([layer.kernel for layer in layers], model)
    return [_trace(graph, layer, match, *codes) for layer, match, codes in zip(layers, found, recorded, strict=True)]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None


def _layers(file: Any, graph: Any, schema: Any) -> Iterator[_Layer]:
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    for operator in graph.operators or ():
        code = file.operatorCodes[operator.opcodeIndex]
        kind = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        tensors = [graph.tensors[i] for i in (*operator.inputs[:2], operator.outputs[0])]
        if kind in MULTIPLYING and all(x.type in INTEGERS and _is_scaled(x) for x in tensors):
            yield _layer(file, graph, operator, kind, schema)


def _layer(file: Any, graph: Any, operator: Any, kind: str, schema: Any) -> _Layer:
    read, weights, *rest = operator.inputs
    x, kernel, y = graph.tensors[read], graph.tensors[weights], graph.tensors[operator.outputs[0]]
    codes = _constant(file, kernel)
    window, options = Window(), operator.builtinOptions
    if kind == "FULLY_CONNECTED":
        columns = codes.T
    else:
        size, strides = codes.shape[1:3], (options.strideH, options.strideW)
        dilation = options.dilationHFactor, options.dilationWFactor
        reach = tuple((n - 1) * d + 1 for n, d in zip(size, dilation))
        same = "same" if options.padding == schema.Padding.SAME else "valid"
        depthwise = kind == "DEPTHWISE_CONV_2D"
        groups = int(x.shape[3] if depthwise else x.shape[3] // codes.shape[3])
        window = Window(size, strides, padding_of(same, tuple(x.shape[1:]), reach, strides), dilation, groups)
        columns = (codes[0] if depthwise else np.moveaxis(codes, 0, -1)).reshape(-1, y.shape[-1])
    columns = columns - np.ravel(kernel.quantization.zeroPoint).astype(np.float64)
    steps = np.broadcast_to(np.asarray(kernel.quantization.scale, np.float64), columns.shape[1])
    bias = np.zeros(columns.shape[1])
    if rest and rest[0] >= 0:
        bias = _constant(file, graph.tensors[rest[0]])
    name = y.name.decode(errors="replace")
    return _Layer(name, read, operator.outputs[0], window, Kernel(columns, steps, bias), kind == "FULLY_CONNECTED")


def _is_scaled(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None


def _constant(file: Any, tensor: Any) -> np.ndarray:
    """Return a constant as float64."""
    data = file.buffers[tensor.buffer].data
    if data is None:
        raise InputError(
            f"the tensor {tensor.name.decode(errors='replace')} is computed, and a kernel must be constant"
        )
    return np.frombuffer(bytes(data), INTEGERS[tensor.type]).reshape(tensor.shape).astype(np.float64)


def _run(path: Path, network: Any, layers: list[_Layer], images: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what each layer reads and makes, codes with zero points, for as many images as are examined of it."""
    entry, *others = network.get_input_details()
    shape = tuple(map(int, entry["shape"][1:]))
    if others or shape != images.shape[1:]:
        takes = f"{1 + len(others)} inputs" if others else f"images {shape}"
        raise InputError(
            f"{path} takes {takes}, and the float network images {images.shape[1:]}; give the same network"
        )
    found: list[tuple[list, list]] = [([], []) for _ in layers]
    for number, image in enumerate(images):
        network.set_tensor(entry["index"], _entered(image[np.newaxis], entry))
        network.invoke()
        for layer, (read, made) in zip(layers, found):
            output = network.get_tensor(layer.made)
            if number < few_enough(output.shape[1:], len(images)):
                made.append(output.copy())
                read.append(network.get_tensor(layer.read).copy())
    return [(np.concatenate(read), np.concatenate(made)) for read, made in found]


def _entered(image: np.ndarray, entry: Any) -> np.ndarray:
    """Return an image as the file takes it: floats, or codes rounded to nearest."""
    scale, zero = entry["quantization"]
    if not scale:
        return image.astype(entry["dtype"])
    limits = np.iinfo(entry["dtype"])
    return np.clip(np.rint(image / scale) + zero, limits.min, limits.max).astype(entry["dtype"])


def _trace(graph: Any, layer: _Layer, match: Any, read: np.ndarray, made: np.ndarray) -> Trace:
    (step, zero), (output_step, output_zero) = (_scale(graph.tensors[i]) for i in (layer.read, layer.made))
    inputs, codes = read.astype(np.float64) - zero, made.astype(np.float64) - output_zero
    if layer.dense:
        inputs = inputs.reshape(-1, 1, 1, layer.kernel.columns.shape[0])
        codes = codes.reshape(-1, 1, 1, layer.kernel.columns.shape[1])
    return Trace(
        match[0] if match else layer.name,
        inputs,
        codes,
        step,
        output_step,
        layer.window,
        {"given": layer.kernel},
        match[1] if match else None,
        note="" if match else "no layer of the float network has this kernel",
    )


def _scale(tensor: Any) -> tuple[float, float]:
    return float(tensor.quantization.scale[0]), float(tensor.quantization.zeroPoint[0])
