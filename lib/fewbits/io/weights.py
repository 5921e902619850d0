"""Trained weights in little space: an .npz file of float16 arrays, one per variable, named LAYER/VARIABLE."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.io.files import read_arrays, write_aside


def save_weights(model: keras.Model, path: Path | str) -> None:
    """Write the weights of a model, rounded to float16, whole or not at all.

    Args:
        model: Any built model.
        path: The .npz file.

    Raises:
        InputError: when a weight is NaN or not below 65,520, which float16 does not hold, or there is no folder for the
            file.
    """
    with np.errstate(over="ignore"):
        arrays = {name: ops.convert_to_numpy(v).astype(np.float16) for name, v in variables(model).items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"{name} of {model.name} holds values that float16 does not; its weights are not saved")
    with write_aside(path) as file:
        np.savez_compressed(file, **arrays)


def load_weights(model: keras.Model, path: Path | str) -> None:
    """Give a model the weights in a file of `save_weights`, all or none.

    Args:
        model: A built model with the layer names and shapes of the saved one.
        path: The .npz file.

    Raises:
        InputError: when the file cannot be read, or an array is missing, has another shape, or holds NaN or infinity.
    """
    assign_weights(model, read_arrays(path, tuple(variables(model))), path)


def filters_in(path: Path | str, model: keras.Model) -> dict[str, int]:
    """Count the filters of the layers of a model in a file of `save_weights`.

    Args:
        path: The .npz file.
        model: A model with the same layer names; its numbers of filters may differ.

    Returns:
        Layer name -> number of filters in the file.

    Raises:
        InputError: when the file cannot be read or lacks a layer.
    """
    kernels = tuple(name for name in variables(model) if name.endswith(("/kernel", "/pointwise_kernel")))
    return {name.split("/")[0]: kernel.shape[-1] for name, kernel in read_arrays(path, kernels).items()}


def assign_weights(model: keras.Model, arrays: dict[str, np.ndarray], source: object) -> None:
    """Give a model some arrays, all or none; its other weights stay as they are.

    Args:
        model: A built model.
        arrays: LAYER/VARIABLE, as in `variables` -> array.
        source: What messages call the arrays, such as the path of their file.

    Raises:
        InputError: when a shape does not fit, or an array holds NaN or infinity.
    """
    named = variables(model)
    for name, array in arrays.items():
        needed = tuple(named[name].shape)
        if array.shape != needed or array.dtype.kind != "f":
            raise InputError(f"{source}: {name} has the shape {array.shape}, but {model.name} needs {needed}")
        if not np.isfinite(array).all():
            raise InputError(f"{source}: {name} holds NaN or infinity")
    for name, array in arrays.items():
        named[name].assign(array.astype(np.float32))


def assign_layers(triples: Iterable[tuple[keras.Layer, np.ndarray, np.ndarray]], source: object) -> None:
    """Give layers their kernel and bias, all layers or none.

    Args:
        triples: A layer, and its kernel and bias as floats.
        source: What messages call the arrays, such as the path of their file.

    Raises:
        InputError: when a shape does not fit, or an array holds NaN or infinity.
    """
    checked = []
    for layer, kernel, bias in triples:
        for what, array, variable in (("kernel", kernel, layer.kernel), ("bias", bias, layer.bias)):
            if array.shape != tuple(variable.shape):
                raise InputError(
                    f"{source}: the {what} of {layer.name} is {array.shape}, "
                    f"but the network needs {tuple(variable.shape)}"
                )
            if not np.isfinite(array).all():
                raise InputError(f"{source}: the {what} of {layer.name} holds NaN or infinity")
            checked.append((variable, array))
    for variable, array in checked:
        variable.assign(array)


def variables(model: keras.Model) -> dict[str, Any]:
    """Return LAYER/VARIABLE -> variable of a model, without the states of random layers."""
    return {f"{layer.name}/{v.name}": v for layer in model.layers for v in layer.weights if "seed" not in v.name}
