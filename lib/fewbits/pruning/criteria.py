"""Criteria: how much each filter matters, by its weights, its activation maps, or what the loss would change.

The map of a filter is what leaves it behind its batch normalization and its activation. All criteria have one
signature, see `importance`. Each layer is normalized by itself, as in the sources, for layers have other scales.

Sources: backstrom2018, Equations 11 and 12 (mean activation); gaikwad2018, Equations 7.1 (L2 of activation maps) and
8.6 (first-order Taylor expansion), and 9.1 (their combination).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from fewbits.backend import gradients, keras, ops
from fewbits.errors import InputError, check_name
from fewbits.names import CRITERIA
from fewbits.pruning.surgery import PRODUCERS, removable
from fewbits.quantization.conversion import nodes

layers = keras.layers
BEHIND = (layers.BatchNormalization, layers.Activation, layers.ReLU, layers.LeakyReLU)  # belong to the filter before


def importance(model: keras.Model, data, criterion: str = "combined", *, batch_size: int = 128, seed: int = 0):
    """Return layer name -> the importance of each of its filters, (filters,) float64: the least is pruned first.

    data: the tuple `(images, labels)`, arrays, or an iterable of such batches, for example a tf.data.Dataset; labels
    are class numbers, and only the criteria of a loss read them. criterion: one of CRITERIA. seed: of `random`. Layers
    that are used twice are left out. Raises InputError on an unknown criterion, on images without as many labels, on a
    model of several outputs where a loss is asked for, and on an importance that is NaN or infinite.
    """
    check_name("criterion", criterion, CRITERIA)
    found = _CRITERIA[criterion](model, lambda: _batches(data, batch_size), seed)
    for name, scores in found.items():
        if not np.isfinite(scores).all():
            raise InputError(f"the importance of {name}'s filters is NaN or infinite; look at its weights and the data")
    return found


def least_important(model: keras.Model, scores: dict[str, np.ndarray], n: int) -> dict[str, list[int]]:
    """Return layer name -> the filters to remove, as `remove_filters` takes them: about the `n` of least importance.

    scores: as `importance` returns them. Filters that go together count as many as they are, and their importance is
    the sum. Every layer keeps a filter at least: there may be fewer than `n`.
    """
    left = {name: len(found) for name, found in scores.items()}
    groups = [group for group in removable(model) if all(name in scores for name, _ in group)]
    order = np.argsort([sum(scores[name][i] for name, i in group) for group in groups], kind="stable")
    chosen, found = {}, 0
    for group in (groups[i] for i in order):
        if found < n and all(left[name] > 1 for name, _ in group):
            found += len(group)
            for name, i in group:
                chosen.setdefault(name, []).append(i)
                left[name] -= 1
    return chosen


# Criteria: functions of a model, of a function that returns the batches anew, and of a seed


def weights_l1(model, batches, seed):
    """The sum of a filter's absolute weights."""
    return _normalized({name: np.abs(kernel).sum(0) for name, kernel in _kernels(model).items()})


def weights_l2(model, batches, seed):
    """The L2 norm of a filter's weights."""
    return _normalized({name: np.sqrt((kernel**2).sum(0)) for name, kernel in _kernels(model).items()})


def random(model, batches, seed):
    """No criterion: the control."""
    rng = np.random.default_rng(seed)
    return {name: rng.random(kernel.shape[1]) for name, kernel in _kernels(model).items()}


def mean_activation(model, batches, seed):
    """The mean of a filter's maps, over places and images, as a share of the layer's largest (Equations 11, 12)."""
    means = _over_maps(model, batches, lambda maps: maps.mean(1))
    return {name: mean / (np.abs(mean).max() or 1) for name, mean in means.items()}


def activation_l2(model, batches, seed):
    """The L2 norm of a filter's map (Equation 7.1), its mean over images."""
    return _normalized(_over_maps(model, batches, lambda maps: np.sqrt((maps**2).sum(1))))


def taylor(model, batches, seed):
    """What the loss of an image would change without the filter, to first order (Equation 8.6), its mean over images.

    For each image the product of map and gradient is summed over places, and its absolute value taken.
    """
    return _normalized(_over_images(model, batches, lambda changes: np.abs(changes).mean(0)))


def taylor_averaged_first(model, batches, seed):
    """The same with the mean over images before the absolute value, a common mistake: what helps one image and harms
    another cancels out."""
    return _normalized(_over_images(model, batches, lambda changes: np.abs(changes.mean(0))))


def combined(model, batches, seed):
    """The mean of `taylor` and `activation_l2`, each normalized (gaikwad2018, 9.1, leaves open how they are joined)."""
    parts = taylor(model, batches, seed), activation_l2(model, batches, seed)
    return {name: (parts[0][name] + parts[1][name]) / 2 for name in parts[0]}


_CRITERIA: dict[str, Callable] = {
    "mean-activation": mean_activation,
    "activation-l2": activation_l2,
    "taylor": taylor,
    "taylor-averaged-first": taylor_averaged_first,
    "combined": combined,
    "weights-l1": weights_l1,
    "weights-l2": weights_l2,
    "random": random,
}


def _normalized(scores):
    """Return the scores of each layer over their L2 norm."""
    return {name: score / (np.linalg.norm(score) or 1) for name, score in scores.items()}


# Weights


def _kernels(model) -> dict[str, np.ndarray]:
    """Return layer -> (weights, filters) of layers that make channels."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, PRODUCERS):
            kernel = layer.pointwise_kernel if isinstance(layer, layers.SeparableConv2D) else layer.kernel
            array = ops.convert_to_numpy(kernel).astype(np.float64)
            found[layer.name] = array.reshape(-1, array.shape[-1])
    return found


# Maps


def _ends(model) -> dict[str, str]:
    """Return the layer that a filter's map leaves -> the layer that makes it; not of layers that are used twice."""
    graph = nodes(model)
    uses = Counter(node.operation.name for node in graph)
    outputs = {id(tensor) for tensor in model.outputs}
    readers = {}
    for node in graph:
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node)
    ends = {}
    for node in graph:
        made_by = node.operation
        if isinstance(made_by, PRODUCERS) and uses[made_by.name] == 1:
            while True:
                tensor = id(node.output_tensors[0])
                following = readers.get(tensor, [])
                if tensor in outputs or len(following) != 1 or not isinstance(following[0].operation, BEHIND):
                    break
                node = following[0]
            ends[node.operation.name] = made_by.name
    return ends


def _run(model, inputs, at: Callable):
    """Return the outputs of `model`, where `at`, called with a layer's name, may change what it hands on."""

    def step(layer):
        return lambda *args, **kwargs: at(layer.name, layer(*args, **kwargs))

    return model._run_through_graph(inputs, operation_fn=step)


def _over_maps(model, batches, measure) -> dict[str, np.ndarray]:
    """Return layer -> the mean over images of `measure`, of maps (images, places, filters), (images, filters)."""
    ends, sums, n = _ends(model), {}, 0

    def tally(name, maps):
        if name in ends:
            array = ops.convert_to_numpy(maps)
            array = array.reshape(len(array), -1, array.shape[-1]).astype(np.float64)
            sums[ends[name]] = sums.get(ends[name], 0) + measure(array).sum(0)
        return maps

    for images, _ in batches():
        _run(model, images, tally)
        n += len(images)
    return _in_order(model, {name: total / n for name, total in sums.items()})


def _over_images(model, batches, mean) -> dict[str, np.ndarray]:
    """Return layer -> `mean` of what the loss of each image would change without each filter, (images, filters).

    To first order that is the gradient of the loss by a factor at the filter's map, at 1.
    """
    ends, changes = _ends(model), {}
    if len(model.outputs) != 1:
        raise InputError(
            f"{model.name} has {len(model.outputs)} outputs, and a criterion of a loss needs one of logits"
        )
    filters = {end: model.get_layer(name) for end, name in ends.items()}
    filters = {end: getattr(layer, "filters", None) or layer.units for end, layer in filters.items()}
    places = {end: [1] * (len(model.get_layer(end).output.shape) - 2) for end in ends}

    def loss(images, labels, factors):
        logits = _run(model, images, lambda name, maps: maps * factors[name] if name in factors else maps)
        return ops.sum(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))

    for images, labels in batches():
        ones = {end: ops.ones((len(images), *places[end], n)) for end, n in filters.items()}
        for end, gradient in gradients(partial(loss, images, labels), ones).items():
            found = ops.convert_to_numpy(gradient).reshape(len(images), -1).astype(np.float64)
            changes.setdefault(ends[end], []).append(found)
    return _in_order(model, {name: mean(np.concatenate(found)) for name, found in changes.items()})


def _in_order(model, scores):
    return {layer.name: scores[layer.name] for layer in model.layers if layer.name in scores}


def _batches(data, batch_size) -> Iterable[tuple]:
    """Yield (images, labels) of `data`."""
    if isinstance(data, tuple) and len(data) == 2:
        images, labels = data
        if len(images) != len(labels) or not len(images):
            raise InputError(f"{len(images)} images need as many labels, and one at least, not {len(labels)}")
        for start in range(0, len(images), batch_size):
            yield images[start : start + batch_size], labels[start : start + batch_size]
    else:
        yield from data
