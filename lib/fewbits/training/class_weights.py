"""Class weights: how much the loss of an image counts in training, by its class."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fewbits.errors import InputError
from fewbits.training.batches import Source
from fewbits.training.heads import Head

BALANCED = "balanced"

ClassWeight = Mapping[int, float] | str


def weights_of_classes(given: ClassWeight | None, head: Head, source: Source, name: str) -> np.ndarray | None:
    """Return the weight of each class in the loss.

    Args:
        given: Class number -> weight, 1 for classes that are left out; `balanced` for n / (classes * images of the
            class), with which each class counts the same; or None.
        head: Of the network.
        source: The training images; a stream is read once for `balanced`.
        name: Of the network, for error messages.

    Returns:
        (classes,) float32, or None for no weights.

    Raises:
        InputError: when an image may have several labels, there is no such class, a weight is not a number of at least
            0, or a class that should count the same has no image.
    """
    if given is None:
        return None
    if head.kind == "multi-label":
        raise InputError(
            f"class weights are for images of one class, and {name} ends in {head.units} sigmoid units; leave them out"
        )
    if isinstance(given, str):
        return _balanced(given, head, source, name)
    if not isinstance(given, Mapping):
        raise InputError(f"class weights must be a mapping, class number -> weight, or {BALANCED!r}, not {given!r:.60}")
    weights = np.ones(head.classes, np.float32)
    for number, weight in given.items():
        weights[_class(number, head, name)] = _checked(number, weight)
    return weights


def _balanced(given: str, head: Head, source: Source, name: str) -> np.ndarray:
    if given != BALANCED:
        raise InputError(f"class weights must be a mapping, class number -> weight, or {BALANCED!r}, not {given!r}")
    counts = np.bincount(all_labels(source), minlength=head.classes)
    if not counts.all():
        raise InputError(
            f"class {int(np.argmin(counts))} of {name} has no training image, so its weight cannot be balanced; add "
            "images, or name the weights of classes"
        )
    return (counts.sum() / (head.classes * counts)).astype(np.float32)


def all_labels(source: Source) -> np.ndarray:
    """Return the labels of all images of a source; a stream is read to its end.

    Args:
        source: As from `source_of`.

    Returns:
        Integers (n,) or (n, units).
    """
    known = getattr(source, "labels", None)
    return np.concatenate([labels for _, labels in source.batches(100)]) if known is None else known


def _class(number: Any, head: Head, name: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < head.classes:
        raise InputError(
            f"class weights name the class {number!r}, and the classes of {name} are 0 to {head.classes - 1}"
        )
    return int(number)


def _checked(number: Any, weight: Any) -> float:
    try:
        value = float(weight)
    except (TypeError, ValueError):
        value = -1
    if not 0 <= value < float("inf"):
        raise InputError(f"the weight of class {number} must be a number of at least 0, not {weight!r:.60}")
    return value
