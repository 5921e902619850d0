"""Criteria: how much each filter matters, by its weights, by its activation maps, or by what the loss would change.

The activation map of a filter is taken after its batch normalization and its activation. All criteria have the same
signature, see `importance`. Each layer is normalized by itself, as in the sources, because scales differ between
layers.

Sources: backstrom2018, Equations 11 and 12 (mean activation); gaikwad2018, Equations 7.1 (L2 of activation maps) and
8.6 (first-order Taylor expansion), and 9.1 (their combination).
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, cast

import numpy as np

from fewbits.backend import gradients, keras, ops
from fewbits.errors import InputError, check_name
from fewbits.graph import Graph
from fewbits.names import CRITERIA
from fewbits.pruning.surgery import PRODUCERS, removable

layers = keras.layers
FOLLOWING = (layers.BatchNormalization, layers.Activation, layers.ReLU, layers.LeakyReLU)  # belong to the filter before

Batch = tuple[np.ndarray, np.ndarray]  # images and labels
Scores = dict[str, np.ndarray]  # layer -> the importance of each of its filters


def importance(
    model: keras.Model,
    data: Batch | Iterable[Batch],
    criterion: str = "combined",
    *,
    batch_size: int = 128,
    seed: int = 0,
) -> Scores:
    """Return the importance of each filter; the least important is pruned first.

    Args:
        model: The network; criteria that need a loss need a single output, of logits.
        data: A tuple of images and labels, or an iterable of such batches that can be read again, for example a
            tf.data.Dataset. Labels are class numbers; only criteria that need a loss read them.
        criterion: One of `names.CRITERIA`.
        batch_size: Images per step, if `data` is a tuple.
        seed: Of the criterion `random`.

    Returns:
        Layer name -> importance (filters,) float64. Layers that are used twice are left out.

    Raises:
        InputError: when the criterion is unknown; images and labels differ in number; the model has several outputs
            and a loss is needed; or an importance is NaN or infinite.
    """
    check_name("criterion", criterion, CRITERIA)
    found = _CRITERIA[criterion](model, lambda: _batches(data, batch_size), seed)
    for name, scores in found.items():
        if not np.isfinite(scores).all():
            raise InputError(f"the importance of {name}'s filters is NaN or infinite; look at its weights and the data")
    return found


def least_important(model: keras.Model, scores: Scores, n: float) -> dict[str, list[int]]:
    """Return the filters to remove: about the `n` least important ones.

    Filters that are removed together count as many as they are, and their importance is the sum.

    Args:
        model: The network.
        scores: Layer name -> importance of its filters, as from `importance`; filters of other layers stay.
        n: How many filters to remove. Fewer are returned if a layer would lose its last filter.

    Returns:
        Layer name -> numbers of its filters, as `remove_filters` takes them.
    """
    left = {name: len(found) for name, found in scores.items()}
    groups = [group for group in removable(model) if all(name in scores for name, _ in group)]
    order = np.argsort([sum(scores[name][i] for name, i in group) for group in groups], kind="stable")
    chosen: dict[str, list[int]] = {}
    found = 0
    for group in (groups[i] for i in order):
        if found < n and all(left[name] > 1 for name, _ in group):
            found += len(group)
            for name, i in group:
                chosen.setdefault(name, []).append(i)
                left[name] -= 1
    return chosen


# Criteria: functions of a model, a function that returns the batches, and a seed

Batches = Callable[[], Iterable[Batch]]


def _weights_l1(model: keras.Model, batches: Batches, seed: int) -> Scores:
    """Return the sum of the absolute weights of each filter."""
    return _normalized({name: np.abs(kernel).sum(0) for name, kernel in _kernels(model).items()})


def _weights_l2(model: keras.Model, batches: Batches, seed: int) -> Scores:
    """Return the L2 norm of the weights of each filter."""
    return _normalized({name: np.sqrt((kernel**2).sum(0)) for name, kernel in _kernels(model).items()})


def _random(model: keras.Model, batches: Batches, seed: int) -> Scores:
    """Return random numbers: the control."""
    rng = np.random.default_rng(seed)
    return {name: rng.random((kernel.shape[1],)) for name, kernel in _kernels(model).items()}


def _mean_activation(model: keras.Model, batches: Batches, seed: int) -> Scores:
    """Return the mean activation over places and images, as a share of the layer's largest (Equations 11, 12)."""
    means = _over_maps(model, batches, lambda maps: maps.mean(1))
    return {name: mean / (np.abs(mean).max() or 1) for name, mean in means.items()}


def _activation_l2(model: keras.Model, batches: Batches, seed: int) -> Scores:
    """Return the L2 norm of the activation map (Equation 7.1), averaged over images."""
    return _normalized(_over_maps(model, batches, lambda maps: np.sqrt((maps**2).sum(1))))


def _taylor(model: keras.Model, batches: Batches, seed: int) -> Scores:
    """Return how much the loss of an image would change without the filter, averaged over images.

    To first order (Equation 8.6): for each image the product of map and gradient is summed over places, and the
    absolute value is taken.
    """
    return _normalized(_over_images(model, batches, lambda changes: np.abs(changes).mean(0)))


def _taylor_averaged_first(model: keras.Model, batches: Batches, seed: int) -> Scores:
    """Return the same as `taylor` with the mean over images taken before the absolute value, a common mistake.

    What helps one image and harms another cancels out.
    """
    return _normalized(_over_images(model, batches, lambda changes: np.abs(changes.mean(0))))


def _combined(model: keras.Model, batches: Batches, seed: int) -> Scores:
    """Return the mean of `taylor` and `activation_l2`, each normalized.

    gaikwad2018, 9.1, leaves open how the two are combined.
    """
    parts = _taylor(model, batches, seed), _activation_l2(model, batches, seed)
    return {name: (parts[0][name] + parts[1][name]) / 2 for name in parts[0]}


_CRITERIA: dict[str, Callable[[keras.Model, Batches, int], Scores]] = {
    "mean-activation": _mean_activation,
    "activation-l2": _activation_l2,
    "taylor": _taylor,
    "taylor-averaged-first": _taylor_averaged_first,
    "combined": _combined,
    "weights-l1": _weights_l1,
    "weights-l2": _weights_l2,
    "random": _random,
}


def _normalized(scores: Scores) -> Scores:
    """Divide the scores of each layer by their L2 norm."""
    return {name: score / (np.linalg.norm(score) or 1) for name, score in scores.items()}


# Weights


def _kernels(model: keras.Model) -> dict[str, np.ndarray]:
    """Return layer -> (weights, filters) of layers that make channels."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, PRODUCERS):
            kernel = layer.pointwise_kernel if isinstance(layer, layers.SeparableConv2D) else layer.kernel
            array = ops.convert_to_numpy(kernel).astype(np.float64)
            found[layer.name] = array.reshape(-1, array.shape[-1])
    return found


# Maps


def _ends(model: keras.Model) -> dict[str, str]:
    """Return the last layer of a filter's map -> the layer that makes it; leave out layers that are used twice."""
    graph, ends = Graph(model), {}
    for call in graph.calls:
        made_by = call.operation
        if isinstance(made_by, PRODUCERS) and len(graph.calls_of(made_by)) == 1:
            while (following := graph.only_reader(call.outputs[0])) and isinstance(following.operation, FOLLOWING):
                call = following
            ends[call.name] = made_by.name
    return ends


def _run(model: keras.Model, inputs: Any, at: Callable[[str, Any], Any]) -> list:
    """Return the list of outputs of `model`, where `at`, called with a layer's name, may change its outputs."""
    return Graph(model).run([inputs], lambda call, *args, **kwargs: at(call.name, call.operation(*args, **kwargs)))


def _over_maps(model: keras.Model, batches: Batches, measure: Callable[[np.ndarray], np.ndarray]) -> Scores:
    """Return the mean over images of `measure`, which maps (images, places, filters) to (images, filters)."""
    ends, n = _ends(model), 0
    sums: dict[str, Any] = {}

    def tally(name: str, maps: Any) -> Any:
        if name in ends:
            array = ops.convert_to_numpy(maps)
            array = array.reshape(len(array), -1, array.shape[-1]).astype(np.float64)
            sums[ends[name]] = sums.get(ends[name], 0) + measure(array).sum(0)
        return maps

    for images, _ in batches():
        _run(model, images, tally)
        n += len(images)
    return _in_order(model, {name: total / n for name, total in sums.items()})


def _over_images(model: keras.Model, batches: Batches, mean: Callable[[np.ndarray], np.ndarray]) -> Scores:
    """Return `mean` of what the loss of each image would change without each filter, (images, filters).

    To first order, this is the gradient of the loss with respect to a factor of the filter's map, at 1.
    """
    ends = _ends(model)
    changes: dict[str, list[np.ndarray]] = {}
    if len(model.outputs) != 1:
        raise InputError(
            f"{model.name} has {len(model.outputs)} outputs, and a criterion that needs a loss needs one, of logits"
        )
    filters = {end: model.get_layer(name) for end, name in ends.items()}
    filters = {end: getattr(layer, "filters", None) or layer.units for end, layer in filters.items()}
    places = {end: [1] * (len(model.get_layer(end).output.shape) - 2) for end in ends}

    def loss(images: np.ndarray, labels: np.ndarray, factors: dict[str, Any]) -> Any:
        [logits] = _run(model, images, lambda name, maps: maps * factors[name] if name in factors else maps)
        return ops.sum(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))

    for images, labels in batches():
        ones = {end: ops.ones((len(images), *places[end], n)) for end, n in filters.items()}
        for end, gradient in gradients(partial(loss, images, labels), ones).items():
            found = ops.convert_to_numpy(gradient).reshape(len(images), -1).astype(np.float64)
            changes.setdefault(ends[end], []).append(found)
    return _in_order(model, {name: mean(np.concatenate(found)) for name, found in changes.items()})


def _in_order(model: keras.Model, scores: Scores) -> Scores:
    return {layer.name: scores[layer.name] for layer in model.layers if layer.name in scores}


def _batches(data: Batch | Iterable[Batch], batch_size: int) -> Iterator[Batch]:
    """Yield the images and labels of `data` in batches."""
    if isinstance(data, tuple) and len(data) == 2:
        images, labels = cast(Batch, data)
        if len(images) != len(labels) or not len(images):
            raise InputError(
                f"images and labels must be equal in number, and at least one, not {len(images)} and {len(labels)}"
            )
        for start in range(0, len(images), batch_size):
            yield images[start : start + batch_size], labels[start : start + batch_size]
    else:
        yield from cast(Iterable[Batch], data)
