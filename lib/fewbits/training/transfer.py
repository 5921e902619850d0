"""Transfer learning: a network takes the first levels of one that was trained on other images, and may hold them.

Source: backstrom2018, 2.4, 4.2.1 and 4.2.5. There a network with tl = l has levels 1 to l of a network trained on
ImageNet, levels l + 1 and up are drawn anew, and all are trained; nothing is held.
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
    """Give the first `levels` levels of `model` the weights that layers of these names have in `source`.

    source: a network, the path of a .keras file or of an .npz file of `save_weights`, or the name of one in
    data/weights. What is behind these levels may be another, such as a last level for other classes, and stays as it is
    in `model`. levels: as in `zoo.levels`; a batch normalization belongs to the level of its convolution.

    Raises InputError, with nothing changed, where there are fewer levels, or `source` lacks a layer or has it in
    another shape.
    """
    first = set(first_levels(model, levels))
    wanted = tuple(name for name in variables(model) if name.split("/")[0] in first)
    source = find_weights(source) if isinstance(source, str) else source
    assign_weights(model, _read(source, wanted), source.name)


def freeze_levels(model: keras.Model, levels: int) -> None:
    """Hold the first `levels` levels of `model` in training, and no others.

    Their batch normalization uses and keeps the means and variances it has. To be called before
    `fewbits.training.prepare`: a compiled model goes on as it was compiled, so it is refused with InputError, as is a
    number of levels that it does not have.
    """
    held = set(first_levels(model, levels))
    if model.compiled:
        raise InputError(f"{model.name} is compiled already; freeze its levels before it is prepared for training")
    for layer in model.layers:
        layer.trainable = layer.name not in held


def first_levels(model: keras.Model, levels: int) -> list[str]:
    """Return the names of the layers with weights in the first `levels` levels of `model`, in its order."""
    known = list(dict.fromkeys(_level(names[0]) for names in zoo.levels(model)))
    if isinstance(levels, bool) or not isinstance(levels, int) or not 0 <= levels <= len(known):
        raise InputError(f"levels must be an integer from 0 to {len(known)}, those of {model.name}, not {levels!r}")
    layers = dict.fromkeys(name.split("/")[0] for name in variables(model))
    for layer in layers:
        if _level(layer) not in known:
            raise InputError(f"layer {layer} of {model.name} is in no level; call it after one, as in {known[0]}_bn")
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


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    """Return layer -> a copy of its kernel, of any shape, in the order of the graph."""
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    return {layer.name: np.array(ops.convert_to_numpy(layer.kernel)) for layer in layers}


def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, float]:
    """Return layer -> how far its kernel is from where it was, as a share of where it was.

    before, after: as `kernels` returns them. That is the L2 norm of the change of all weights of a kernel over the norm
    of those before. backstrom2018, Figure 12 shows the change's norm itself, which grows with the number of weights.
    Raises InputError, naming the layer, where layers or shapes differ, a weight is NaN or infinite, or all weights
    were 0.
    """
    if before.keys() != after.keys():
        raise InputError(f"kernels before and after are of other layers; look at {min(before.keys() ^ after.keys())}")
    return {name: _distance(name, before[name], after[name]) for name in before}


def spread(kernels: dict[str, np.ndarray]) -> dict[str, float]:
    """Return layer -> the standard deviation of all weights of its kernel (backstrom2018, Figure 13).

    Raises InputError, naming the layer, where a weight is NaN or infinite.
    """
    return {name: float(np.std(_finite(name, kernel))) for name, kernel in kernels.items()}


def _distance(name, before, after) -> float:
    before, after = _finite(name, before), _finite(name, after)
    if before.shape != after.shape:
        raise InputError(f"the kernel of {name} was {before.shape}, and is {after.shape}")
    start = np.linalg.norm(before)
    if not start:
        raise InputError(f"all weights of {name} were 0, so no distance is a share of them")
    return float(np.linalg.norm(after - before) / start)


def _finite(name, kernel) -> np.ndarray:
    kernel = np.asarray(kernel, np.float64)
    if not np.isfinite(kernel).all():
        raise InputError(f"the kernel of {name} holds NaN or infinity")
    return kernel
