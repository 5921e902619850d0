"""Filters whose output is always zero, and what the network is without them."""

import numpy as np

from fewbits.backend import keras
from fewbits.costs.complexity import totals
from fewbits.errors import InputError
from fewbits.pruning.criteria import importance
from fewbits.pruning.surgery import removable, remove_filters
from fewbits.report.measurements import DeadFilters
from fewbits.report.samples import BATCH, ImageSample


def find_dead_filters(plain: keras.Model, sample: ImageSample) -> list[DeadFilters]:
    """Return the filters whose output, after its activation, is zero on all images.

    Args:
        plain: A network without quantizers, as `dequantize_model` returns it.
        sample: The images.

    Raises:
        InputError: when the network has several inputs, or computes NaN or infinity.
    """
    if len(sample.inputs) > 1:
        raise InputError("dead filters are looked for in networks with one input")
    images = sample.inputs[0], np.zeros(len(sample), np.int64)  # these criteria read no labels
    activity = importance(plain, images, "activation-l2", batch_size=BATCH)
    weights = importance(plain, images, "weights-l1")
    free = {filter for group in removable(plain) for filter in group}
    found = []
    for name, scores in activity.items():
        numbers = tuple(int(i) for i in np.flatnonzero(scores == 0))
        if numbers:
            bare = sum(weights[name][i] == 0 for i in numbers)
            some_left = len(numbers) < len(scores)
            can = some_left and all((name, i) in free for i in numbers)
            found.append(DeadFilters(name, numbers, len(scores), int(bare), can))
    return found


def without_dead(network: keras.Model, dead: list[DeadFilters]) -> tuple[keras.Model, int]:
    """Return a network without the dead filters that can be removed, and how many bytes of weights that saves.

    Args:
        network: A network without quantizers.
        dead: as from `find_dead_filters`.

    Raises:
        InputError: as `pruning.remove_filters` and `costs.totals`.
    """
    smaller = remove_filters(network, {each.layer: each.filters for each in dead if each.removable})
    return smaller, totals(network).weight_bytes - totals(smaller).weight_bytes
