"""HDF5 and NumPy files of the weights, codes and activations of a network, for MATLAB and other programs.

Arrays have the axes of Keras: kernels (height, width, in, filters), depthwise kernels (height, width, in, multiplier),
dense kernels (in, units), activations (images, height, width, channels). MATLAB's `h5read` reverses the axes, so there
a kernel is (filters, in, width, height): `permute(kernel, ndims(kernel):-1:1)` restores the order.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.deploy.frozen import check_exportable, multiplies, rounds
from fewbits.graph import Graph
from fewbits.inspection.extraction import extractor
from fewbits.io.files import write_aside
from fewbits.io.hdf5 import write_hdf5
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.layers import active_formats, effective_weights, kernel_formats, per_filter

AXES = "as in Keras; MATLAB's h5read reverses them: permute(x, ndims(x):-1:1)"


def weights_and_codes(model: keras.Model) -> dict[str, np.ndarray]:
    """Return the weights of a model, and the codes of its quantized kernels.

    Args:
        model: A functional model, quantized or not; nested models are opened, as in `canonical`.

    Returns:
        LAYER/VARIABLE -> array (float32). For a quantized kernel also LAYER/kernel_codes (int32), LAYER/kernel_msb
        (int32, one per filter) and LAYER/kernel_nbits (int32): a code k stands for k * 2**(msb + 1 - nbits); and
        LAYER/bias_used, the bias as the layer adds it. For a quantized leaky ReLU LAYER/slope_used, the slope with
        which it multiplies.

    Raises:
        InputError: as `check_exportable`.
    """
    model = canonical(model)
    check_exportable(model)
    found: dict[str, np.ndarray] = {}
    for layer in model.layers:
        hidden = {id(v) for v in layer.state.weights} if hasattr(layer, "formats") else ()
        own = [v for v in layer.weights if id(v) not in hidden]
        found |= {f"{layer.name}/{v.name}": ops.convert_to_numpy(v) for v in own}
        filters = kernel_formats(layer) if multiplies(layer) else ()
        if filters:
            kernel, bias = effective_weights(layer)
            steps = ops.convert_to_numpy(per_filter(layer, np.asarray([fmt.step for fmt in filters], np.float32)))
            found[f"{layer.name}/kernel_codes"] = (kernel / steps).astype(np.int32)
            found[f"{layer.name}/kernel_msb"] = np.asarray([fmt.msb for fmt in filters], np.int32)
            found[f"{layer.name}/kernel_nbits"] = np.asarray([filters[0].nbits], np.int32)
            if bias is not None:
                found[f"{layer.name}/bias_used"] = bias
        if hasattr(layer, "rounded_slope"):
            found[f"{layer.name}/slope_used"] = layer.rounded_slope()
    return found


def write_hdf5_arrays(model: keras.Model, path: Path, batches: Iterable[np.ndarray] = ()) -> None:
    """Write weights, codes and activations to an HDF5 file, whole or not at all.

    The datasets are `weights/LAYER/...`, as `weights_and_codes` names them, and `activations/LAYER`. The group of a
    layer has its kind as an attribute; if the layer is quantized, also its rounding and the `msb` and `nbits` of its
    input, output and bias, and `signed`: 0 for an unsigned format. Files without `signed` hold signed formats alone.

    Args:
        model: A functional model, quantized or not.
        path: The .h5 file.
        batches: Batches of images, (n, height, width, channels). The file holds their activations in every layer that
            multiplies, and the outputs of the network.

    Raises:
        InputError: as `check_exportable`, and when h5py is not installed.
    """
    model = canonical(model)
    pieces = {f"weights/{name}": array for name, array in weights_and_codes(model).items()}
    attributes = {"/": {"network": model.name, "axes": AXES}}
    for layer in model.layers:
        if any(name.startswith(f"weights/{layer.name}/") for name in pieces):
            attributes[f"weights/{layer.name}"] = _attributes(layer)
    write_hdf5(path, _pieces(model, pieces, batches), attributes)


def write_npz_arrays(model: keras.Model, path: Path) -> None:
    """Write what `weights_and_codes` returns to a NumPy file, whole or not at all.

    Args:
        model: As in `weights_and_codes`.
        path: The .npz file.

    Raises:
        InputError: as `weights_and_codes`.
    """
    found: dict[str, Any] = weights_and_codes(model)
    with write_aside(path) as file:
        np.savez_compressed(file, **found)


def _attributes(layer):
    found: dict[str, Any] = {"kind": type(layer).__name__}
    if multiplies(layer) or rounds(layer):
        own = active_formats(layer)
        for kind, fmt in (("input", own.input), ("output", own.output), ("bias", own.bias)):
            if fmt is not None:
                found |= {f"{kind}_msb": fmt.msb, f"{kind}_nbits": fmt.nbits, f"{kind}_signed": int(fmt.signed)}
        if own != (None,) * 4:
            found["rounding"] = layer.rounding
    return found


def _pieces(
    model: keras.Model, weights: dict[str, np.ndarray], batches: Iterable[np.ndarray]
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the weights, then the activations of each batch."""
    yield weights
    compute = None
    for images in batches:
        compute = compute or extractor(model, _tapped(model))
        yield {f"activations/{name}": x for name, x in compute(images).items()}


def _tapped(model):
    names = [layer.name for layer in model.layers if multiplies(layer)]
    graph = Graph(model)
    ends = {call.name for call in map(graph.made_by, graph.outputs) if len(graph.calls_of(call.operation)) == 1}
    return [*names, *sorted(ends - set(names))]
