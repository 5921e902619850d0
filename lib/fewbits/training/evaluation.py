"""Evaluation: how many images a network classifies correctly, of each class too, and its loss."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError, check_integers
from fewbits.statistics import Share
from fewbits.training.batches import LabelledImages, Source, as_input, source_of
from fewbits.training.confusion import Confusion, count_confusion
from fewbits.training.heads import Head, head_of
from fewbits.training.interruption import postponed
from fewbits.training.recipe import compiles_steps


class Score(NamedTuple):
    """How well a network classifies images.

    Attributes:
        hits: Images whose label is the class with the highest output, or on whose side of 0.5 a sigmoid unit is. For
            several sigmoid units, labels that are right.
        n: Images in all; for several sigmoid units, labels in all.
        loss: Mean cross-entropy, in nats, over images, and over labels if there are several.
        hits_top5: Images whose label is among the five classes with the highest outputs; None for a network of at most
            five classes.
    """

    hits: int
    n: int
    loss: float
    hits_top5: int | None

    @property
    def accuracy(self) -> float:
        """The top-1 accuracy, from 0 to 1."""
        return self.hits / self.n

    @property
    def share(self) -> Share:
        """The top-1 accuracy with its 95 % interval."""
        return Share(self.hits, self.n)


def evaluate(model: keras.Model, data: LabelledImages, batch_size: int = 100) -> Score:
    """Return how well `model` classifies `data`.

    Args:
        model: Ends in a head, as in `head_of`.
        data: As in `train`.
        batch_size: Images per step; it does not change the score.

    Returns:
        The score over all images that can be read.

    Raises:
        InputError: when `head_of` refuses `model`, `data` does not fit it, or no image can be read.
    """
    check_integers(batch_size=(batch_size, 1))
    return measure(model, head_of(model), source_of(model, data, "the data"), batch_size)


def evaluate_classes(model: keras.Model, data: LabelledImages, batch_size: int = 100) -> tuple[Score, Confusion]:
    """Return how well `model` classifies `data`, and which classes it takes for which.

    Args:
        model: Ends in a head, as in `head_of`, for images of one class each.
        data: As in `train`.
        batch_size: Images per step; it does not change the result.

    Returns:
        The score over all images that can be read, and the confusion.

    Raises:
        InputError: as `evaluate`, and when an image may have several labels.
    """
    check_integers(batch_size=(batch_size, 1))
    head = head_of(model)
    if head.kind == "multi-label":
        raise InputError(
            f"{model.name} ends in {head.units} sigmoid units, and a confusion is of images of one class each; "
            "call evaluate"
        )
    counts, images = np.zeros((head.classes, head.classes), int), np.zeros(head.classes, int)

    def counted(answers: Iterable[Answer]) -> Iterator[Answer]:
        for outputs, labels in answers:
            found = count_confusion(head, outputs, labels)
            np.add(counts, found.counts, out=counts)
            np.add(images, found.images, out=images)
            yield outputs, labels

    source = source_of(model, data, "the data")
    score = _score(head, counted(_answers(model, source, batch_size)))
    return score, Confusion(counts, images)


def evaluate_images(model: keras.Model, data: LabelledImages, batch_size: int = 100) -> tuple[Score, np.ndarray]:
    """Return how well `model` classifies `data`, and which images it gets right.

    Args:
        model: As in `evaluate`.
        data: As in `train`.
        batch_size: Images per step; it does not change the result.

    Returns:
        The score over all images that can be read, and (images,) bool; for several sigmoid units (images, units).

    Raises:
        InputError: as `evaluate`.
    """
    check_integers(batch_size=(batch_size, 1))
    head, right = head_of(model), []

    def kept(answers: Iterable[Answer]) -> Iterator[Answer]:
        for outputs, labels in answers:
            right.append(head.ranks(outputs, labels) < 1)
            yield outputs, labels

    score = _score(head, kept(_answers(model, source_of(model, data, "the data"), batch_size)))
    return score, np.concatenate(right)


def measure(network: keras.Model, head: Head, source: Source, batch_size: int) -> Score:
    """Return how well a network classifies a source that was checked.

    Args:
        network: Takes images and returns what `head` says.
        head: Its head.
        source: As from `source_of`.
        batch_size: Images per step.

    Raises:
        InputError: when no image can be read.
    """
    return _score(head, _answers(network, source, batch_size))


Answer = tuple[np.ndarray, np.ndarray]  # the outputs for a batch of images, and their labels


def _answers(network: keras.Model, source: Source, batch_size: int) -> Iterator[Answer]:
    for images, labels in source.batches(batch_size):
        yield outputs_of(network, images), labels


def outputs_of(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return what a network returns for a batch of images in inference.

    Args:
        network: Has one input and one output.
        images: (n, height, width, channels).

    Returns:
        Numbers (n, units), float64.

    Raises:
        InputError: as `as_input`.
    """
    if not network.compiled:
        network.jit_compile = compiles_steps()
    with postponed():
        [outputs] = keras.tree.flatten(network.predict_on_batch(as_input(network, images)))
    return ops.convert_to_numpy(outputs).astype(np.float64)


def _score(head: Head, answers: Iterable[Answer]) -> Score:
    hits = hits_top5 = n = 0
    loss, images_read = 0.0, 0
    for outputs, labels in answers:
        rank = head.ranks(outputs, labels)
        hits, hits_top5 = hits + int((rank < 1).sum()), hits_top5 + int((rank < 5).sum())
        n, images_read = n + rank.size, images_read + len(labels)
        loss += float(head.losses(outputs, labels).sum())
    if not n:
        raise InputError("none of the images could be read")
    return Score(hits, n, loss / images_read, hits_top5 if head.classes > 5 else None)
