"""Transfer learning: a network takes the first levels of one that was trained on other images, and may freeze them.

Source: backstrom2018, 2.4, 4.2.1 and 4.2.5. There a network with tl = l has levels 1 to l of a network trained on
ImageNet, levels l + 1 and up are initialized anew, and all are trained; nothing is frozen.
"""

from pathlib import Path

import numpy as np

from fewbits import zoo
from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.io.files import read_arrays, read_model
from fewbits.io.weights import assign_weights, variables
from fewbits.zoo.trained import find_weights


def take_levels(model: keras.Model, source: keras.Model | Path | str, levels: int) -> None:
    """Copy the weights of the first `levels` levels from `source` into `model`.

    The other levels of `model` stay as they are; in `source` they may differ, such as a last level for other classes.

    Args:
        model: The network to change.
        source: A network, the path of a .keras file or of an .npz file of `save_weights`, or the name of a trained
            network of the book. Its layers have the same names.
        levels: How many; levels are those of `zoo.levels`, and a batch normalization belongs to the level of its
            convolution.

    Raises:
        InputError: when `model` has fewer levels, or `source` lacks a layer or has it in another shape; nothing is
            changed then.
    """
    first = set(first_levels(model, levels))
    wanted = tuple(name for name in variables(model) if name.split("/")[0] in first)
    source = find_weights(source) if isinstance(source, str) else source
    assign_weights(model, _read(source, wanted), source.name)


def freeze_levels(model: keras.Model, levels: int) -> None:
    """Freeze the first `levels` levels of `model` in training, and no others.

    Their batch normalization uses and keeps the means and variances it has.

    Args:
        model: The network to change; not compiled, because a compiled model goes on training as it was compiled.
        levels: How many, as in `take_levels`.

    Raises:
        InputError: when `model` is compiled, or has fewer levels.
    """
    frozen = set(first_levels(model, levels))
    if model.compiled:
        raise InputError(f"{model.name} is compiled already; freeze its levels before it is prepared for training")
    for layer in model.layers:
        layer.trainable = layer.name not in frozen


def first_levels(model: keras.Model, levels: int) -> list[str]:
    """Return the names of the layers with weights in the first `levels` levels of `model`.

    Args:
        model: The network.
        levels: How many, as in `take_levels`.

    Returns:
        Names in the order of the layers of `model`.

    Raises:
        InputError: when `model` has fewer levels, or a layer with weights belongs to none.
    """
    known = list(dict.fromkeys(_level(names[0]) for names in zoo.levels(model)))
    if isinstance(levels, bool) or not isinstance(levels, int) or not 0 <= levels <= len(known):
        raise InputError(f"levels must be an integer from 0 to {len(known)}, those of {model.name}, not {levels!r}")
    layers = dict.fromkeys(name.split("/")[0] for name in variables(model))
    for layer in layers:
        if _level(layer) not in known:
            raise InputError(
                f"layer {layer} of {model.name} belongs to no level; name it after one, such as {known[0]}_bn"
            )
    return [layer for layer in layers if _level(layer) in known[:levels]]


def _level(layer: str) -> str:
    return layer.split("_")[0]


def _read(source: keras.Model | Path, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
    if isinstance(source, Path):
        return _read(read_model(source), wanted) if source.suffix == ".keras" else read_arrays(source, wanted)
    named = variables(source)
    for name in wanted:
        if name not in named:
            raise InputError(f"{source.name} has no {name}, so it cannot be taken from there")
    return {name: ops.convert_to_numpy(named[name]) for name in wanted}


# What training changed


def copy_kernels(model: keras.Model) -> dict[str, np.ndarray]:
    """Return layer -> a copy of its kernel, in the order of the layers of `model`."""
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    return {layer.name: np.array(ops.convert_to_numpy(layer.kernel)) for layer in layers}


def relative_change(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, float]:
    """Return how far training moved each kernel, relative to its norm.

    This is the L2 norm of the change over the L2 norm of the kernel before. backstrom2018, Figure 12 shows the norm of
    the change itself, which grows with the number of weights.

    Args:
        before: Layer -> kernel, as from `copy_kernels`.
        after: The same layers, later.

    Returns:
        Layer -> the relative change.

    Raises:
        InputError: when layers or shapes differ, a weight is NaN or infinite, or all weights of a layer were 0.
    """
    if before.keys() != after.keys():
        layer = min(before.keys() ^ after.keys())
        raise InputError(f"kernels before and after must belong to the same layers; look at {layer}")
    return {name: _distance(name, before[name], after[name]) for name in before}


def weight_spread(kernels: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the standard deviation of the weights of each kernel.

    Args:
        kernels: Layer -> kernel, as from `copy_kernels`.

    Returns:
        Layer -> the standard deviation over all its weights.

    Raises:
        InputError: when a weight is NaN or infinite.

    Source:
        backstrom2018, Figure 13.
    """
    return {name: float(np.std(_finite(name, kernel))) for name, kernel in kernels.items()}


def _distance(name: str, before: np.ndarray, after: np.ndarray) -> float:
    before, after = _finite(name, before), _finite(name, after)
    if before.shape != after.shape:
        raise InputError(f"the kernel of {name} was {before.shape}, and is {after.shape}")
    start = np.linalg.norm(before)
    if not start:
        raise InputError(f"all weights of {name} were 0, so a relative change is not defined")
    return float(np.linalg.norm(after - before) / start)


def _finite(name: str, kernel: np.ndarray) -> np.ndarray:
    kernel = np.asarray(kernel, np.float64)
    if not np.isfinite(kernel).all():
        raise InputError(f"the kernel of {name} holds NaN or infinity")
    return kernel
