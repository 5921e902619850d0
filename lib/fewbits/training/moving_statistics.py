"""The moving means and variances of batch normalization: measured anew, exactly, on images.

In training they are moving averages, of which a short training leaves much of the values it began with: with Keras'
momentum of 0.99, 100 steps leave a third. They are averages over networks that have changed since, too, and over
batches, whose variances lack that between batches. Batch normalization is tested with them, and folding takes them for
good, so they are worth being right before a network is quantized.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.inputs import Images, input_arrays
from fewbits.errors import InputError
from fewbits.graph import Call, Graph
from fewbits.quantization.layerwise import LayerwiseRun

BATCH = 32  # images per pass
STATISTICS_IMAGES = 1_000  # how many training images a trial or a command takes


def reestimate_normalization(model: keras.Model, images: Images) -> None:
    """Set the mean and the variance of each batch normalization to those of its inputs on `images`.

    Layer by layer, in the order of the graph, in inference: a layer sees what the layers before it make with their new
    statistics, as it will when it is used. Nothing else changes. `pruning.renew_statistics` takes the mean over
    batches instead, of networks that normalize by the batch, for all layers in one pass.

    In a network that quantizes but keeps its batch normalization, the statistics are those of quantized values. After
    folding there are none left: correct the bias then, by `post_training.correct_bias_sequentially`.

    Args:
        model: The network to change, quantized or not.
        images: As in `input_arrays`: (n, height, width, channels), or what else the network takes; no labels. Some
            hundreds give means as good as the training images as a whole. What layers have still to read of all of
            them is in memory.

    Raises:
        InputError: when `model` has no batch normalization or uses one several times, images do not fit, or values
            are NaN or infinite; nothing is changed then, but for values that are not finite.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((1,)), keras.layers.BatchNormalization()])
        >>> reestimate_normalization(model, np.array([[1.0], [3.0]]))
        >>> [float(values[0]) for values in model.get_weights()[2:]]
        [2.0, 1.0]
    """
    if not normalizations(model):
        raise InputError(f"{model.name} has no batch normalization, so there is nothing to estimate; leave it out")
    _check_used_once(model)
    arrays = input_arrays(model, images)
    _reestimate(model, [[array[i : i + BATCH] for array in arrays] for i in range(0, len(arrays[0]), BATCH)])


def normalizations(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return the batch normalizations of a network, those in models inside it too.

    Args:
        model: The network.
    """
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += normalizations(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            found.append(layer)
    return found


def _check_used_once(model: keras.Model) -> None:
    graph = Graph(model)
    for call in graph.calls:
        times = len(graph.calls_of(call.operation))
        if times > 1 and _normalizes(call):
            raise InputError(
                f"{call.name} of {model.name} is used {times} times, and the statistics of its calls differ; give each "
                "call a layer"
            )
        if isinstance(call.operation, keras.Model):
            _check_used_once(call.operation)


def _normalizes(call: Call) -> bool:
    """Return whether a call is of a batch normalization, or of a model that has one."""
    if isinstance(call.operation, keras.Model):
        return bool(normalizations(call.operation))
    return isinstance(call.operation, keras.layers.BatchNormalization)


def _reestimate(model: keras.Model, batches: Sequence[Sequence[Any]]) -> None:
    run = LayerwiseRun(model, batches)
    for call in filter(_normalizes, run.graph.calls):
        if isinstance(call.operation, keras.Model):
            _reestimate(call.operation, list(zip(*map(run.read, call.inputs))))
            continue
        norm = call.operation
        mean, variance = _moments(run.read(call.inputs[0]), norm.axis)
        if not np.isfinite(variance).all():
            raise InputError(
                f"the inputs of {norm.name} are NaN or infinite on the images; check the weights before it"
            )
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(variance)


def _moments(batches: Iterable[Any], axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance along `axis` over all batches: (channels,) float64.

    Source:
        Chan et al., 1983: how means and squared deviations of parts are those of the whole, without cancellation.
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for batch in batches:
        values = np.moveaxis(ops.convert_to_numpy(batch).astype(np.float64), axis, -1)
        values = values.reshape(-1, values.shape[-1])
        n, own = len(values), values.mean(0)
        away = own - mean
        squares = squares + np.square(values - own).sum(0) + np.square(away) * count * n / (count + n)
        mean, count = mean + away * n / (count + n), count + n
    return mean, squares / count
