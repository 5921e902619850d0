"""Criteria: how much each filter matters, by its weights, by its activation maps, or by what the loss would change.

The activation map of a filter is taken after its batch normalization and its activation. All criteria have the same
signature, see `importance`. Each layer is normalized by itself, as in the sources, because scales differ between
layers.

Sources: backstrom2018, Equations 11 and 12 (mean activation); gaikwad2018, Equations 7.1 (L2 of activation maps) and
8.6 (first-order Taylor expansion), and 9.1 (their combination).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, cast

import numpy as np

from fewbits.backend import gradients, keras, ops
from fewbits.data.dataset import Split, as_labels
from fewbits.data.inputs import Images, labelled_batches
from fewbits.errors import InputError, check_name
from fewbits.graph import Call, Graph, clone, function_name, give_weights, rebuild
from fewbits.names import CRITERIA
from fewbits.pruning.channels import ACTIVATION_FUNCTIONS, PRODUCERS, TRANSPOSED
from fewbits.pruning.surgery import removable
from fewbits.quantization.canonical_form import canonical
from fewbits.training.batches import check_images
from fewbits.training.heads import head_of, logits_of

layers = keras.layers
# What belongs to the filter before it.
FOLLOWING = (
    layers.BatchNormalization,
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.PReLU,
    layers.ELU,
)
FOLLOWING_FUNCTIONS = (*ACTIVATION_FUNCTIONS, "Sigmoid", "HardSigmoid")

Batch = tuple[np.ndarray, np.ndarray]  # images and labels
Scores = dict[str, np.ndarray]  # layer -> the importance of each of its filters


def importance(
    model: keras.Model,
    data: Batch | Split | Images,
    criterion: str = "combined",
    *,
    batch_size: int = 128,
    seed: int = 0,
) -> Scores:
    """Return the importance of each filter; the least important is pruned first.

    Args:
        model: The network, with one input; criteria that need a loss need a head, as in `training.head_of`. A network
            of mixed precision is ranked in float32.
        data: A tuple of images and labels, a Split, an ImageFolder, or a stream that can be read again, such as a list
            of batches, a `tf.data.Dataset` or a `keras.utils.PyDataset`. Labels are as in `training.train`; only
            criteria that need a loss read them, and the others need none.
        criterion: One of `names.CRITERIA`.
        batch_size: Images per step; batches of a stream come as they are.
        seed: Of the criterion `random`.

    Returns:
        Layer name -> importance (filters,) float64. Names are those that `quantization.canonical` gives; layers that
        are used twice are left out.

    Raises:
        InputError: when the criterion is unknown; images and labels differ in number, or do not fit the model; a loss
            is needed and `training.head_of` refuses the model; or an importance is NaN or infinite.
    """
    check_name("criterion", criterion, CRITERIA)
    found = _CRITERIA[criterion](canonical(model), lambda: _batches(model, data, batch_size), seed)
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
        lost = Counter(name for name, _ in group)
        if found < n and all(left[name] > lost[name] for name in lost):
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
            array = ops.convert_to_numpy(layer.kernel).astype(np.float64)
            array = np.swapaxes(array, -1, -2) if isinstance(layer, TRANSPOSED) else array
            found[layer.name] = array.reshape(-1, array.shape[-1])
    return found


# Maps


def _ends(graph: Graph, names: Iterable[str]) -> dict[Call, str]:
    """Return the last call of a filter's map -> the layer of `names` that makes it; leave out what is used twice."""
    ends = {}
    for call in graph.calls:
        made_by = call
        if call.name in names and len(graph.calls_of(call.operation)) == 1:
            while (following := graph.only_reader(call.outputs[0])) and _follows(following.operation):
                call = following
            ends[call] = made_by.name
    return ends


def _follows(operation: keras.Operation) -> bool:
    return isinstance(operation, FOLLOWING) or function_name(operation) in FOLLOWING_FUNCTIONS


def _producers(model: keras.Model) -> set[str]:
    return {layer.name for layer in model.layers if isinstance(layer, PRODUCERS)}


def _run(graph: Graph, inputs: Any, at: Callable[[Call, Any], Any]) -> list:
    """Return the list of outputs of a graph, where `at` may change the outputs of each call."""
    return graph.run([inputs], lambda call, *args, **kwargs: at(call, call.operation(*args, **kwargs)))


def _over_maps(model: keras.Model, batches: Batches, measure: Callable[[np.ndarray], np.ndarray]) -> Scores:
    """Return the mean over images of `measure`, which maps (images, places, filters) to (images, filters)."""
    graph, n = Graph(_in_float32(model)), 0
    ends = _ends(graph, _producers(model))
    sums: dict[str, Any] = {}

    def tally(call: Call, maps: Any) -> Any:
        if call in ends:
            array = ops.convert_to_numpy(maps)
            array = array.reshape(len(array), -1, array.shape[-1]).astype(np.float64)
            sums[ends[call]] = sums.get(ends[call], 0) + measure(array).sum(0)
        return maps

    for images, _ in batches():
        check_images(model, tuple(images.shape[1:]), "the images to rank filters by")
        _run(graph, images, tally)
        n += len(images)
    return _in_order(model, {name: total / n for name, total in sums.items()})


def _over_images(model: keras.Model, batches: Batches, mean: Callable[[np.ndarray], np.ndarray]) -> Scores:
    """Return `mean` of what the loss of each image would change without each filter, (images, filters).

    To first order, this is the gradient of the loss with respect to a factor of the filter's map, at 1.
    """
    head, what = head_of(model), "the images to rank filters by"
    plain = _in_float32(model)
    graph = Graph(logits_of(plain) if head.activated else plain)
    ends = _ends(graph, _producers(model))
    shapes = {name: call.outputs[0].shape for call, name in ends.items()}
    changes: dict[str, list[np.ndarray]] = {}

    def loss(images: np.ndarray, targets: np.ndarray, factors: dict[str, Any]) -> Any:
        [logits] = _run(graph, images, lambda call, maps: maps * factors[ends[call]] if call in ends else maps)
        return ops.sum(head.loss_of_each(targets, logits))

    for images, labels in batches():
        check_images(model, tuple(images.shape[1:]), what)
        labels = as_labels(labels, what)
        head.check_labels(labels, model.name, what)
        ones = {name: ops.ones((len(images), *[1] * (len(s) - 2), s[-1])) for name, s in shapes.items()}
        for name, gradient in gradients(partial(loss, images, head.targets(labels)), ones).items():
            found = ops.convert_to_numpy(gradient).reshape(len(images), -1).astype(np.float64)
            changes.setdefault(name, []).append(found)
    return _in_order(model, {name: mean(np.concatenate(found)) for name, found in changes.items()})


def _in_float32(model: keras.Model) -> keras.Model:
    """Return `model`, or, if a layer computes in another type, a copy that computes in float32.

    Gradients would be lost in 16 bits, and images and factors are in 32.
    """
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model

    def copied(operation: Any) -> Any:
        return clone(operation, dtype="float32") if isinstance(operation, layers.Layer) else clone(operation)

    copy = rebuild(model, copied)
    give_weights(copy, (weight.astype(np.float32) for weight in model.get_weights()))
    return copy


def _in_order(model: keras.Model, scores: Scores) -> Scores:
    return {layer.name: scores[layer.name] for layer in model.layers if layer.name in scores}


def _batches(model: keras.Model, data: Batch | Split | Images, batch_size: int) -> Iterator[Batch]:
    """Yield the images and labels of `data` in batches."""
    if isinstance(data, Split):
        data = data.images, data.labels
    if isinstance(data, tuple) and len(data) == 2:
        images, labels = cast(Batch, data)
        if len(images) != len(labels) or not len(images):
            raise InputError(
                f"images and labels must be equal in number, and at least one, not {len(images)} and {len(labels)}"
            )
        for start in range(0, len(images), batch_size):
            yield images[start : start + batch_size], labels[start : start + batch_size]
    else:
        what = "the images to rank filters by"
        for arrays, found in labelled_batches(model, data, what, batch_size, required=False):
            check_images(model, arrays[0].shape[1:], what)
            yield arrays[0], cast(np.ndarray, found)
