"""Codes or values that a runtime wrote to a file, and what each layer read when it computed them.

An .h5 or .npz file holds arrays, all but the first optional. Axes are those of Keras: images first, channels last.

layers/NAME
    What the layer computed, after its activation: integers are codes, floats are values.
inputs/NAME
    What it read, in the same way; otherwise it follows from the layers before it.
scales/NAME, input_scales/NAME
    What a step of the codes stands for.
zero_points/NAME, input_zero_points/NAME
    The code that stands for 0; 0 if it is missing.
kernels/NAME
    The codes of the kernel, axes of Keras.
kernel_scales/NAME
    What a step of the kernel stands for: one number, or one per filter.
kernel_zero_points/NAME
    The code of 0, one number or one per filter; 0 if it is missing.
biases/NAME
    The bias in the accumulator: integers, in steps of kernel times input.
images
    Which images were taken: numbers in the part of a data set, or names of files.

In an .npz file, an array NAME is one of layers/NAME. `fewbits output-extraction` writes such files. Scales that are
missing follow from the formats of a quantized network; the step of values without either is found from the values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fewbits.audit.findings import FLOAT
from fewbits.audit.roundings import ROUND
from fewbits.audit.traces import Kernel, Trace, few_enough, reference_kernel
from fewbits.backend import keras, ops
from fewbits.deploy.identity import simulation
from fewbits.errors import InputError, finite, nearest
from fewbits.graph import Graph
from fewbits.io.files import array_names, read_arrays
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.layers import (
    active_formats,
    by_filter,
    effective_weights,
    from_filters,
    kernel_formats,
    quantized_type,
)
from fewbits.quantization.placement import ON_GRID

GROUPS = (
    "layers",
    "inputs",
    "scales",
    "input_scales",
    "zero_points",
    "input_zero_points",
    "kernels",
    "kernel_scales",
    "kernel_zero_points",
    "biases",
)
AT_ONCE = 2**26  # values of all layers in memory
MOST_LEVELS = 2**16  # different values that lie on a grid
OFF_GRID = 1e-3  # steps that a value may be off, because floats are not exact


@dataclass(frozen=True)
class Recording:
    """What a runtime wrote.

    Attributes:
        name: Where it comes from, for messages.
        arrays: One of GROUPS -> name of a layer -> array.
        images: Numbers or names of the images; None if the file does not say.
    """

    name: str
    arrays: Mapping[str, Mapping[str, np.ndarray]]
    images: list[Any] | None = field(default=None)

    def get(self, group: str, layer: str) -> np.ndarray | None:
        """Return an array as finite float64; None if it is missing.

        Args:
            group: One of GROUPS.
            layer: Name of a layer.

        Raises:
            InputError: when it holds NaN or infinity.
        """
        found = self.arrays.get(group, {}).get(layer)
        return None if found is None else finite(found, f"{self.name}: {group}/{layer}")

    def is_codes(self, group: str, layer: str) -> bool:
        """Return whether an array holds integers.

        Args:
            group: One of GROUPS.
            layer: Name of a layer that the group holds.
        """
        return self.arrays[group][layer].dtype.kind in "ui"


def read_recording(path: Path | str) -> Recording:
    """Read an .h5 or .npz file.

    Args:
        path: The file.

    Raises:
        InputError: when it cannot be read, or holds no layers.
    """
    path = Path(path)
    found = _npz(path) if path.suffix == ".npz" else _hdf5(path)
    arrays: dict[str, dict[str, np.ndarray]] = {group: {} for group in GROUPS}
    for key, array in found.items():
        group, _, layer = key.partition("/")
        if group in GROUPS and layer:
            arrays[group][layer] = array
        elif key not in ("images", "labels"):
            arrays["layers"][key] = array
    if not arrays["layers"]:
        raise InputError(f"{path} holds no layers; write what a layer computed to layers/NAME")
    return Recording(str(path), arrays, _names(found.get("images")))


def recorded_traces(
    recording: Recording, network: QuantizedModel, reference: QuantizedModel, images: np.ndarray
) -> list[Trace]:
    """Return what each recorded layer read and computed.

    Args:
        recording: What a runtime wrote.
        network: The graph, with its formats if there are any; as `folded` returns it.
        reference: A network with layers of the same names, whose float weights are the reference.
        images: Those that the runtime took, (n, height, width, channels), float32.

    Returns:
        A trace for each layer with a kernel, in the order of the network; none for a layer whose values are those of
        its softmax, or of another activation that leads off the grid.

    Raises:
        InputError: naming the layer, when it does not exist, when shapes, numbers of images or the order of channels
            differ, when codes have no scale, or when values hold NaN or lie on no grid.
    """
    if len(network.inputs) != 1:
        raise InputError(f"{network.name} has {len(network.inputs)} inputs; an audit of a file takes networks of one")
    layers = {layer.name: layer for layer in network.layers}
    for name in recording.arrays["layers"]:
        if name not in layers:
            near = nearest(name, layers)
            raise InputError(f"{recording.name} has a layer {name!r}, which {network.name} has not{near}")
    wanted = [layer.name for layer in network.quantized_layers if layer.name in recording.arrays["layers"]]
    if not wanted:
        known = ", ".join(layer.name for layer in network.quantized_layers)
        raise InputError(f"{recording.name} holds no layer with a kernel; record some of {known}")
    outputs = {name: _Output(recording, layers[name], len(images)) for name in recording.arrays["layers"]}
    wide = simulation(network, "float64")
    graph = Graph(wide)
    count = max(1, AT_ONCE // sum(int(np.prod(x.shape[1:])) for call in graph.calls for x in call.outputs))
    read: dict[str, np.ndarray] = {}

    def step(call, *args, **kwargs):
        if call.name in wanted:
            read[call.name] = ops.convert_to_numpy(args[0])
        if call.name in outputs:
            return ops.convert_to_tensor(outputs[call.name].values[:count])
        return call.operation(*args, **kwargs)

    graph.run([ops.convert_to_tensor(images[:count].astype(np.float64))], step)
    lacking = _unrecorded(graph, set(outputs))
    return [
        _trace(recording, wide.get_layer(name), reference.get_layer(name), outputs[name], read[name], lacking[name])
        for name in wanted
        if outputs[name].step is not None
    ]


class _Output:
    """What a layer computed.

    Attributes:
        step: What a step stands for; None if the layer does not round.
        values: Float64, (n, ...).
        codes: Integers in float64, without zero point.
    """

    def __init__(self, recording: Recording, layer: Any, images: int):
        name, where = layer.name, f"{recording.name}: layer {layer.name}"
        given: Any = recording.get("layers", name)
        shape = (images, *layer.output.shape[1:])
        given = _in_shape(given, shape, where)
        scale, own = recording.get("scales", name), active_formats(layer).output if quantized_type(layer) else None
        self.step: float | None = float(np.ravel(scale)[0]) if scale is not None else own.step if own else None
        multiplies = quantized_type(layer) is not None
        if recording.is_codes("layers", name):
            if self.step is None:
                raise InputError(f"{where} holds codes without a scale; add scales/{name}, or give --formats")
            zero = recording.get("zero_points", name)
            self.codes = given - (0 if zero is None else zero)
            self.values = self.codes * (self.step if scale is None or scale.size == 1 else scale)
            return
        self.values = given
        if not multiplies:
            self.step, self.codes = None, given
            return
        if self.step is None:
            self.step = _grid(given)
        if self.step is None and layer.activation in ON_GRID:
            raise InputError(f"{where} holds values that lie on no grid; give codes and their scale, or --formats")
        if self.step is None:
            self.codes = given
            return
        self.codes = np.rint(given / self.step)
        if np.abs(given / self.step - self.codes).max() > OFF_GRID * max(1.0, 2**-20 * np.abs(self.codes).max()):
            if layer.activation not in ON_GRID:
                self.step = None
            elif not self._bias_after(layer):
                raise InputError(
                    f"{where} holds values that are no multiples of its step, {self.step:g}; check formats"
                )

    @staticmethod
    def _bias_after(layer: Any) -> bool:
        return layer.bias is not None and layer.bias_order == "output"


def _trace(recording, layer, reference, output, read, lacking):
    """Return the trace of one layer."""
    name, formats = layer.name, active_formats(layer)
    count = few_enough(output.codes.shape[1:], len(read))
    scale = recording.get("input_scales", name)
    step = float(np.ravel(scale)[0]) if scale is not None else formats.input.step if formats.input else 1.0
    known = scale is not None or formats.input is not None
    inputs, limits = read[:count] / step, (-np.inf, np.inf) if known else None
    given: Any = recording.get("inputs", name)
    if given is not None:
        given = _in_shape(given, (len(output.codes), *read.shape[1:]), f"{recording.name}: inputs/{name}")[:count]
        zero = recording.get("input_zero_points", name)
        codes = recording.is_codes("inputs", name)
        if codes and not known:
            raise InputError(f"{recording.name}: inputs/{name} holds codes without a scale; add input_scales/{name}")
        inputs, lacking = given - (0 if zero is None else zero) if codes else given / step, ""
        limits = None if codes else limits
    elif formats.input is not None and scale is None:
        limits = formats.input.min_code, formats.input.max_code
    whole = np.rint(inputs)
    inputs = whole if np.abs(inputs - whole).max() < 1e-9 * max(1.0, np.abs(whole).max()) else inputs
    codes = output.codes[:count]
    after = layer.bias is not None and layer.bias_order == "output" and formats.output is not None
    if after:
        codes = _before_bias(output.values[:count], layer, output.step)
    kernels = _kernels(recording, layer, reference, step, known, after)

    def multiply(x, columns):
        return ops.convert_to_numpy(layer.product(ops.convert_to_tensor(x), _in_layer(layer, columns)))

    own = reference_kernel(reference)
    note = f"its inputs are simulated, because {recording.name} lacks layer {lacking}" if lacking else ""
    trace = Trace(name, inputs, codes, step, output.step, multiply, kernels, own, limits, note)
    _check_order(recording, trace)
    return trace


def _kernels(recording, layer, reference, step, known, after):
    """Return the kernel that the layer is known to use, or all that it may use."""
    name, formats = layer.name, kernel_formats(layer)
    own = reference_kernel(layer)
    bias = _bias(layer, own, after)
    scales = recording.get("kernel_scales", name)
    steps = np.array([fmt.step for fmt in formats]) if scales is None and formats else scales
    codes = recording.get("kernels", name)
    if codes is not None and steps is None:
        raise InputError(f"{recording.name}: kernels/{name} holds codes without a scale; add kernel_scales/{name}")
    if steps is None:
        return {FLOAT: own._replace(bias=bias / step)}
    steps = np.broadcast_to(np.ravel(steps), own.steps.shape) if np.size(steps) in (1, own.steps.size) else None
    if steps is None:
        raise InputError(f"{recording.name}: kernel_scales/{name} must hold one number, or one per filter")
    given = recording.get("biases", name)
    sums = given.ravel() if given is not None else bias / (step * steps)
    sums = np.rint(sums) if known and given is None and not after else sums
    if codes is not None:
        shape = tuple(layer.kernel.shape)
        if codes.shape != shape:
            hint = (
                "; it has its filters first, move them last"
                if codes.shape == (shape[-1], shape[-2], *shape[:-2])
                else ""
            )
            raise InputError(f"{recording.name}: kernels/{name} must have the shape {shape}, not {codes.shape}{hint}")
        zero = recording.get("kernel_zero_points", name)
        columns = by_filter(layer, codes) - (0 if zero is None else np.ravel(zero))
        return {"given": Kernel(columns, steps, sums)}
    low, high = (formats[0].min_code, formats[0].max_code) if formats else (-np.inf, np.inf)
    found: dict[str, Kernel] = {}
    for rounding in ROUND:
        columns = np.clip(ROUND[rounding](own.columns / steps), low, high)
        if not any(np.array_equal(columns, other.columns) for other in found.values()):
            found[rounding] = Kernel(columns, steps, sums)
    return found


def _bias(layer, own, after):
    """Return the bias in values, as the accumulator begins with it."""
    if after:
        return np.zeros_like(own.bias)
    return own.bias if active_formats(layer).bias is None else _used_bias(layer)


def _used_bias(layer: Any) -> np.ndarray:
    """Return the bias of a layer that has one, as the layer adds it."""
    bias = effective_weights(layer)[1]
    assert bias is not None
    return bias.astype(np.float64)


def _before_bias(values, layer, step):
    """Return the codes to which a bias was added after the rounding; NaN where a ReLU hides them."""
    codes = np.rint((values - _used_bias(layer)) / step)
    return np.where(values > 0, codes, np.nan) if layer.activation is keras.activations.relu else codes


def _in_layer(layer, columns):
    """Return columns of a kernel in the shape that the layer multiplies with, as a tensor of float64."""
    return ops.convert_to_tensor(np.ascontiguousarray(from_filters(layer, columns), dtype=np.float64))


def _in_shape(array, shape, where):
    """Return an array that has `shape`, or one with axes of a single row and column before it."""
    if array.shape == (shape[0],) + (1,) * (4 - len(shape)) + shape[1:]:
        return array.reshape(shape)
    if array.shape == shape:
        return array
    if array.shape[1:] == shape[1:]:
        raise InputError(
            f"{where} holds {len(array)} images, and there are {shape[0]}; give --images {len(array)} and the same seed"
        )
    if len(shape) > 2 and array.shape[1:] == (shape[-1], *shape[1:-1]):
        raise InputError(f"{where} has its channels first; move them last, with np.moveaxis(x, 1, -1) for each layer")
    raise InputError(f"{where} has the shape {array.shape}, and the network computes {shape}; is it the same network?")


def _check_order(recording: Recording, trace: Trace) -> None:
    """Refuse channels first where the shape does not show it: outputs are more alike with their axes moved."""
    codes = trace.codes
    if codes.ndim < 3 or len(set(codes.shape[1:])) > 1 or codes.shape[-1] == 1 or trace.reference is None:
        return
    exact = trace.multiply(trace.inputs, trace.reference.columns) * trace.input_step + trace.reference.bias
    exact = np.clip(exact / trace.output_step, np.nanmin(codes), np.nanmax(codes))
    as_is, moved = (
        np.corrcoef(np.nan_to_num(x).ravel(), exact.ravel())[0, 1] for x in (codes, np.moveaxis(codes, 1, -1))
    )
    if moved > max(as_is, 0) + 0.1:
        raise InputError(
            f"{recording.name}: layer {trace.layer} has its channels first; move them last, with np.moveaxis(x, 1, -1) "
            "for each layer"
        )


def _unrecorded(graph: Graph, recorded: set[str]) -> dict[str, str]:
    """Return, for each layer, the name of one that it reads and that is not recorded; "" if there is none.

    Layers without a kernel pass on what they read.
    """
    made: dict[int, str] = {}
    read: dict[str, str] = {}
    for call in graph.calls:
        read[call.name] = next((made[id(x)] for x in call.inputs if made.get(id(x))), "")
        own = "" if call.name in recorded else call.name if quantized_type(call.operation) else read[call.name]
        made |= {id(x): own for x in call.outputs}
    return read


def _grid(values: np.ndarray) -> float | None:
    """Return the step of which all values are multiples; None if there is none."""
    levels = np.unique(values.astype(np.float32)).astype(np.float64)
    if 1 < len(levels) <= MOST_LEVELS:
        gaps = np.diff(levels)
        gap = float(gaps[gaps > 1e-6 * np.abs(levels).max()].min(initial=np.inf))
        for divisor in range(1, 9):
            codes = np.rint(levels * divisor / gap)
            step = float((codes * levels).sum() / (codes * codes).sum())  # the gap of two floats is not exact
            if np.abs(levels / step - codes).max() <= OFF_GRID * max(1.0, 2**-20 * np.abs(codes).max()):
                return step
    return None


def _npz(path: Path) -> dict[str, np.ndarray]:
    return read_arrays(path, array_names(path))


def _hdf5(path: Path) -> dict[str, np.ndarray]:
    import h5py

    found: dict[str, np.ndarray] = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError:
        raise InputError(f"{path} cannot be read; it may be truncated, or not an .h5 file") from None
    return found


def _names(images: np.ndarray | None) -> list[Any] | None:
    if images is None:
        return None
    return [x.decode(errors="surrogateescape") if isinstance(x, bytes) else x for x in images.tolist()]
