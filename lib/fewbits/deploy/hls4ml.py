"""hls4ml projects: a quantized network in C++ for high-level synthesis, from which an FPGA computes the same codes.

hls4ml writes the project from our layers (`hls4ml_layers`), with types as wide as every sum needs. Its C++ also
compiles with g++: this emulation has the types of the circuit, so that codes can be compared on any machine.

Source: the hls4ml team, https://github.com/fastmachinelearning/hls4ml; formats are its `ap_fixed` and `ap_ufixed`.
"""

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from fewbits.backend import keras
from fewbits.deploy.c import identifier
from fewbits.deploy.hls4ml_layers import CONVOLUTIONS, KERNELS, PADDINGS, connected, register_layers
from fewbits.deploy.identity import before_heads, to_values
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Tensor
from fewbits.errors import InputError, check_integer, check_name, needs_extra
from fewbits.graph import Call, Graph, copy_weights, free_name, rebuild
from fewbits.io.files import folder_aside
from fewbits.names import HLS4ML_BACKENDS
from fewbits.quantization.activations import QuantizedActivation
from fewbits.quantization.conversion import POOLINGS, TRAINING_ONLY, QuantizedModel
from fewbits.quantization.layers import QuantizedDense

layers, activations = keras.layers, keras.activations

COMPILER = "g++"
KINDS = (
    *KERNELS,
    *PADDINGS,
    QuantizedActivation,
    layers.InputLayer,
    layers.Activation,
    layers.ReLU,
    layers.Rescaling,
    layers.Add,
    layers.Concatenate,
    *POOLINGS,
    layers.Flatten,
    layers.Reshape,
)


class HLS4MLSettings(NamedTuple):
    """How hls4ml builds a circuit.

    Attributes:
        backend: One of HLS4ML_BACKENDS.
        part: The FPGA; None for the default of hls4ml.
        clock: Period of the clock, in nanoseconds.
        reuse: How many products share a multiplier.
        streaming: Whether pixels arrive one after the other, as large networks need, or all at once.
    """

    backend: str = "Vitis"
    part: str | None = None
    clock: float = 5
    reuse: int = 1
    streaming: bool = False


DEFAULTS = HLS4MLSettings()


def write_hls4ml(
    model: QuantizedModel, network: IntegerNetwork, folder: Path | str, settings: HLS4MLSettings = DEFAULTS
) -> None:
    """Write a quantized model as a project of hls4ml.

    The circuit takes values as the model does, and returns values; softmax at the end is left out.

    Args:
        model: The quantized model.
        network: What `lower` returned for it; its pixels set the type of the input.
        folder: The folder to write, whole or not at all; it must not exist yet, or be empty.
        settings: How hls4ml builds the circuit.

    Raises:
        InputError: when hls4ml is not installed; on settings out of range; naming the layer, when hls4ml does not
            compute it exactly; when `folder` is not empty or cannot be created.
    """
    _check_settings(settings)
    model = _bare(model)
    _check_layers(model, settings.streaming)
    with folder_aside(folder) as aside, redirect_stdout(StringIO()):
        graph = _to_hls4ml(model, network, aside, settings)
        graph.write()
        place = aside / "hls4ml_config.yml"
        place.write_text(place.read_text().replace(str(aside), "."))


class HLS4MLRunner:
    """A project of hls4ml that runs as compiled C++, with the types of the circuit.

    Attributes:
        image_shape: (height, width, channels) of an image; of the first input, if there are several.
    """

    def __init__(self, network: IntegerNetwork, folder: Path | str, *flags: str):
        """Compile a project; nothing is left in its folder, which must stay until the first run.

        Args:
            network: The integer network from which the project was written.
            folder: The folder that `write_hls4ml` wrote.
            flags: Options of the compiler, by default -O1.

        Raises:
            InputError: when g++ is not installed, or does not compile the project.
        """
        if not shutil.which(COMPILER):
            raise InputError(f"there is no C++ compiler; install {COMPILER}")
        self._network, name, source = network, identifier(network.name), Path(folder).absolute()
        self.image_shape, firmware = network.image.shape, source / "firmware"
        files = firmware / f"{name}.cpp", source / f"{name}_bridge.cpp"
        with TemporaryDirectory() as temporary:
            library = Path(temporary, "library.so")
            options = ["-std=c++14", "-shared", "-fPIC", *(flags or ("-O1",)), f'-DWEIGHTS_DIR="{firmware}/weights"']
            command = [COMPILER, *options, "-I", str(firmware / "ap_types"), *map(str, files), "-o", str(library)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reasons = [line for line in done.stderr.splitlines() if "error" in line] or ["it gives no reason"]
                raise InputError(f"{COMPILER} cannot compile {source} ({reasons[0].strip()[:200]}); write it again")
            self._call = getattr(ctypes.CDLL(str(library)), f"{name}_double")  # once loaded, the file is not needed

    def run(self, *images: np.ndarray) -> np.ndarray:
        """Return the codes of the first output for one image per input, as `run_all`."""
        return self.run_all(*images)[0]

    def run_all(self, *images: np.ndarray) -> list[np.ndarray]:
        """Return the codes of every output for one image per input.

        Args:
            images: Pixels, integers (height, width, channels).

        Returns:
            Codes (float64), flat, of each output; a value between two codes is between them here, too.
        """
        network = self._network
        values = [
            np.ascontiguousarray(to_values(network.tensors[i], image.astype(np.float64) - np.asarray(mean)))
            for i, image, mean in zip(network.inputs, images, network.means, strict=True)
        ]
        results = [np.empty(network.tensors[output.tensor].size) for output in network.results]
        self._call(*(array.ctypes.data_as(ctypes.c_void_p) for array in (*values, *results)))
        return [_codes(network.tensors[output.tensor], x) for output, x in zip(network.results, results)]


def check_hls4ml(model: keras.Model, streaming: bool = False) -> None:
    """Check that hls4ml computes every layer of a quantized model exactly.

    Args:
        model: A quantized model.
        streaming: As in HLS4MLSettings.

    Raises:
        InputError: naming the layer that it does not.
    """
    _check_layers(_bare(model), streaming)


def _check_layers(model: keras.Model, streaming: bool) -> None:
    graph = Graph(model)
    for call in graph.calls:
        reason = _reader_refusal(graph, call, streaming) or _refusal(call, streaming)
        if reason:
            raise InputError(f"layer {call.name} {reason}")


def _reader_refusal(graph: Graph, call: Call, streaming: bool) -> str:
    """Return why hls4ml does not compute a call exactly for those that read it; empty if it does."""
    kind, readers = type(call.operation), {type(reader.operation) for reader in graph.readers(call.outputs[0])}
    if kind in PADDINGS and not (readers and readers <= {*CONVOLUTIONS}):
        return "pads with zeros, which hls4ml does in convolutions only; put nothing but convolutions after it"
    if streaming and kind in (layers.Flatten, layers.Reshape) and not readers <= {QuantizedDense}:
        return "reshapes, which hls4ml does as a stream only before dense layers; leave the stream out"
    return ""


def _refusal(call: Call, streaming: bool) -> str:
    """Return why hls4ml does not compute a call exactly, and what to do; empty if it does."""
    layer: Any = call.operation
    kind, shape = type(layer), call.outputs[0].shape
    if kind not in KINDS:
        return f"is a {kind.__name__.removeprefix('Quantized')}, which cannot be exported to hls4ml; export C instead"
    function = getattr(layer, "activation", None)
    if function not in (None, activations.linear, activations.relu, activations.relu6):
        return f"has the activation {function.__name__}, which hls4ml does not round as we do; use ReLU"
    if kind is layers.ReLU and (layer.max_value not in (None, 6) or layer.negative_slope or layer.threshold):
        return (
            "is a ReLU with a slope, a threshold or a limit other than 6, which cannot be exported to hls4ml; use ReLU"
        )
    if getattr(layer, "bias_order", "") == "output" and getattr(layer, "bias", None) is not None:
        return "adds its bias after rounding, which hls4ml does not; use bias_order='accumulator'"
    if max(np.ravel(getattr(layer, "dilation_rate", 1))) > 1:
        return "is dilated, which hls4ml does not convolve; use dilation_rate=1"
    if isinstance(layer, layers.Dense) and len(shape) > 2:
        return f"is dense on {len(shape) - 1} axes, which hls4ml does not multiply; use a convolution of 1x1"
    if isinstance(layer, layers.Add | layers.Concatenate) and len(call.inputs) != 2:
        return f"joins {len(call.inputs)} tensors, but hls4ml joins two at a time; take two"
    if kind is layers.Concatenate and layer.axis not in (-1, len(shape) - 1):
        return "does not join channels, as hls4ml does; use axis=-1"
    return _pooling_refusal(call, streaming) if hasattr(layer, "pool_size") else ""


def _pooling_refusal(call: Call, streaming: bool) -> str:
    """Return why hls4ml does not compute a pooling exactly; empty if it does."""
    layer: Any = call.operation
    if (streaming or not isinstance(layer, layers.MaxPooling1D | layers.MaxPooling2D)) and _pads(call):
        return "pools over an edge that is padded, which hls4ml does not; use padding='valid'"
    if streaming and layer.pool_size != layer.strides:
        return "pools windows that overlap or leave gaps, which hls4ml does not as a stream; leave the stream out"
    return ""


def _pads(call: Call) -> bool:
    """Return whether a pooling with padding reads beyond the edge."""
    layer: Any = call.operation
    sides = zip(call.inputs[0].shape[1:-1], layer.pool_size, layer.strides)
    return layer.padding == "same" and any((-(-n // s) - 1) * s + size > n for n, size, s in sides)


def _bare(model: QuantizedModel) -> keras.Model:
    """Return `model` without activations at its outputs and without layers that act in training only."""
    model = before_heads(model)
    bare = rebuild(model, apply=lambda call, layer, x, **kw: x if isinstance(layer, TRAINING_ONLY) else layer(x, **kw))
    copy_weights(model, bare)
    return bare


def _to_hls4ml(model: keras.Model, network: IntegerNetwork, folder: Path, settings: HLS4MLSettings) -> Any:
    """Return `model` as a graph of hls4ml that will be written to `folder`."""
    with needs_extra("fpga", "hls4ml projects"):
        from hls4ml.converters import create_config
        from hls4ml.converters.keras_v3_to_hls import parse_keras_v3_model
        from hls4ml.model import ModelGraph
    register_layers()
    described, inputs, outputs, _ = parse_keras_v3_model(model, allow_da_fallback=False, allow_v2_fallback=False)
    names = _identifiers([layer["name"] for layer in described])
    for layer in described:
        layer |= {"name": names[layer["name"]], "inputs": [names[name] for name in layer["inputs"]]}
    inputs = [names[name] for name in inputs]
    described, outputs = connected(described, [names[name] for name in outputs])
    types = {}
    for name, i in zip(inputs, network.inputs):
        next(layer for layer in described if layer["name"] == name)["trusted"] = True
        types[name] = {"Precision": {"result": _type(network.tensors[i])}}
    for layer in described:
        if layer["class_name"] == "Concatenate":
            layer["axis"] = -1
    config = create_config(
        output_dir=str(folder),
        project_name=identifier(network.name),
        backend=settings.backend,
        part=settings.part,
        clock_period=settings.clock,
        io_type="io_stream" if settings.streaming else "io_parallel",
    )
    model_settings = {"Precision": "fixed<16,6>", "ReuseFactor": settings.reuse, "BitExact": True}
    config["HLSConfig"] = {"Model": model_settings, "LayerName": types}
    return ModelGraph.from_layer_list(config, described, inputs, outputs)


def _check_settings(settings: HLS4MLSettings) -> None:
    check_name("backend", settings.backend, HLS4ML_BACKENDS)
    check_integer("the reuse factor", settings.reuse, 1)
    if not settings.clock > 0:
        raise InputError(f"the clock period must be above 0 ns, not {settings.clock!r}")


def _type(tensor: Tensor) -> str:
    """Return the type of hls4ml that holds the codes of an image."""
    assert isinstance(tensor.exponent, int)
    bits = tensor.bits if tensor.low < 0 else tensor.bits - 1
    return f"{'' if tensor.low < 0 else 'u'}fixed<{bits},{bits + tensor.exponent}>"


def _codes(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """Return the codes that values stand for, flat; of a quotient, the dividend."""
    steps = values.reshape(-1, tensor.shape[2]) / np.exp2(np.asarray(tensor.exponent, float)) * tensor.divisor
    return (steps if tensor.divisor == 1 else np.rint(steps)).ravel()


def _identifiers(names: Sequence[str]) -> dict[str, str]:
    """Return the name of each layer as an identifier of C++, all different; types of hls4ml have two names."""
    used = {"input", "result"}
    return {name: free_name(identifier(name, "layer"), used) for name in names}
