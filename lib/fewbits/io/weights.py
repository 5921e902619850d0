"""Trained weights in little space: an .npz of float16 arrays, one a variable, named by layer and variable."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fewbits.backend import ops
from fewbits.errors import InputError
from fewbits.io.files import read_arrays, write_aside


def save_weights(model, path: Path) -> None:
    """Write the weights of `model` to the .npz file `path`, rounded to float16, whole or not at all.

    Raises InputError where a weight is NaN or not below 65,520, which float16 does not hold.
    """
    with np.errstate(over="ignore"):
        arrays = {name: ops.convert_to_numpy(v).astype(np.float16) for name, v in variables(model).items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"{name} of {model.name} holds values that float16 does not; its weights are not saved")
    with write_aside(path) as file:
        np.savez_compressed(file, **arrays)


def load_weights(model, path: Path) -> None:
    """Give `model` the weights in `path`, all or, raising InputError that names the layer which does not fit, none."""
    assign_weights(model, read_arrays(path, tuple(variables(model))), path)


def filters_in(path: Path, model) -> dict[str, int]:
    """Return layer name -> how many filters it has in the .npz file `path`, of layers of `model`; errors as above."""
    kernels = tuple(name for name in variables(model) if name.endswith(("/kernel", "/pointwise_kernel")))
    return {name.split("/")[0]: kernel.shape[-1] for name, kernel in read_arrays(path, kernels).items()}


def assign_weights(model, arrays: dict[str, np.ndarray], source) -> None:
    """Give `model` the `arrays`, called as `variables` calls them, all or none; other weights stay as they are.

    source: what InputError calls them, where a shape does not fit, or a number is NaN or infinite.
    """
    named = variables(model)
    for name, array in arrays.items():
        needed = tuple(named[name].shape)
        if array.shape != needed or array.dtype.kind != "f":
            raise InputError(f"{source}: {name} has the shape {array.shape}, and {model.name} needs {needed}")
        if not np.isfinite(array).all():
            raise InputError(f"{source}: {name} holds NaN or infinity")
    for name, array in arrays.items():
        named[name].assign(array.astype(np.float32))


def assign_layers(triples: Iterable[tuple], source) -> None:
    """Give each layer of `triples`, (layer, kernel, bias), these arrays of floats, all layers or none.

    source: what InputError calls them, where a shape does not fit, or a number is NaN or infinite.
    """
    checked = []
    for layer, kernel, bias in triples:
        for what, array, variable in (("kernel", kernel, layer.kernel), ("bias", bias, layer.bias)):
            if array.shape != tuple(variable.shape):
                raise InputError(
                    f"{source}: the {what} of {layer.name} is {array.shape}, "
                    f"and the network needs {tuple(variable.shape)}"
                )
            if not np.isfinite(array).all():
                raise InputError(f"{source}: the {what} of {layer.name} holds NaN or infinity")
            checked.append((variable, array))
    for variable, array in checked:
        variable.assign(array)


def variables(model) -> dict:
    """Return LAYER/VARIABLE -> variable of `model`, without the states of random layers."""
    return {f"{layer.name}/{v.name}": v for layer in model.layers for v in layer.weights if "seed" not in v.name}
