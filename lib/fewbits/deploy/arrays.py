"""HDF5 and NumPy files of a network's weights, its codes, and what its layers compute: for MATLAB and others.

Arrays have Keras' order of axes: kernels (height, width, in, filters), depthwise ones (height, width, in, multiplier),
dense ones (in, units), activations (images, height, width, channels). MATLAB's `h5read` gives axes in reverse order,
so there a kernel is (filters, in, width, height): `permute(kernel, ndims(kernel):-1:1)` turns it back.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fewbits.backend import keras, ops
from fewbits.deploy.frozen import active_formats, check_exportable, effective_weights, kernel_formats, multiplies
from fewbits.graph import Graph
from fewbits.inspection.extraction import extractor
from fewbits.io.files import write_aside
from fewbits.io.hdf5 import write_hdf5

AXES = "as in Keras; MATLAB's h5read reverses them: permute(x, ndims(x):-1:1)"


def weights_and_codes(model: keras.Model) -> dict[str, np.ndarray]:
    """Return layer/variable -> float32 array of the weights of `model`, and its codes where a kernel is quantized.

    The codes are int32; a code k stands for k * 2**(msb + 1 - nbits), whose msb, one a filter (int32), is in
    layer/kernel_msb and whose nbits is in layer/kernel_nbits. Raises InputError as `frozen.check_exportable`.
    """
    check_exportable(model)
    found = {}
    for layer in model.layers:
        hidden = {id(v) for v in layer.state.weights} if hasattr(layer, "formats") else ()
        own = [v for v in layer.weights if id(v) not in hidden]
        found |= {f"{layer.name}/{v.name}": ops.convert_to_numpy(v) for v in own}
        filters = kernel_formats(layer) if multiplies(layer) else ()
        if filters:
            kernel, bias = effective_weights(layer)
            steps = np.float32([fmt.step for fmt in filters])
            steps = steps.reshape(kernel.shape[2:]) if isinstance(layer, keras.layers.DepthwiseConv2D) else steps
            found[f"{layer.name}/kernel_codes"] = (kernel / steps).astype(np.int32)
            found[f"{layer.name}/kernel_msb"] = np.int32([fmt.msb for fmt in filters])
            found[f"{layer.name}/kernel_nbits"] = np.int32([filters[0].nbits])
            if bias is not None:
                found[f"{layer.name}/bias_used"] = bias
    return found


def write_hdf5_arrays(model: keras.Model, path: Path, batches=()) -> None:
    """Write `model` to the .h5 file `path`, whole or not at all: `weights/LAYER/...` and `activations/LAYER`.

    The datasets are those of `arrays`; a layer's group has its kind, its rounding, and `msb` and `nbits` of its input
    and output as attributes, where it is quantized. batches: of images (n, height, width, channels), whose activations
    in every layer that multiplies, and the network's output, are kept. Raises InputError as `arrays`.
    """
    pieces = {f"weights/{name}": array for name, array in weights_and_codes(model).items()}
    attributes = {"/": {"network": model.name, "axes": AXES}}
    for layer in model.layers:
        if any(name.startswith(f"weights/{layer.name}/") for name in pieces):
            attributes[f"weights/{layer.name}"] = _attributes(layer)
    write_hdf5(path, _pieces(model, pieces, batches), attributes)


def write_npz_arrays(model: keras.Model, path: Path) -> None:
    """Write what `arrays` returns to the .npz file `path`, whole or not at all; errors as there."""
    found = weights_and_codes(model)
    with write_aside(path) as file:
        np.savez_compressed(file, **found)


def _attributes(layer):
    found = {"kind": type(layer).__name__}
    if multiplies(layer):
        for kind, fmt in zip(("kernel", "input", "output", "bias"), active_formats(layer)):
            if fmt is not None and kind != "kernel":
                found |= {f"{kind}_msb": fmt.msb, f"{kind}_nbits": fmt.nbits}
        if active_formats(layer) != (None,) * 4:
            found["rounding"] = layer.rounding
    return found


def _pieces(model, weights, batches) -> Iterator[dict[str, np.ndarray]]:
    """Yield the weights, then the activations on each batch."""
    yield weights
    compute = None
    for images in batches:
        compute = compute or extractor(model, _tapped(model))
        yield {f"activations/{name}": x for name, x in compute(images).items()}


def _tapped(model):
    names = [layer.name for layer in model.layers if multiplies(layer)]
    last = Graph(model).made_by(model.outputs[0]).name
    return [*names, *({last} - set(names))]
