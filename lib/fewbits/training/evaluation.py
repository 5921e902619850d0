"""Evaluation: how many images a network classifies correctly, and its loss."""

from typing import NamedTuple

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError, check_integers
from fewbits.statistics import Share
from fewbits.training.batches import LabelledImages, source_of
from fewbits.training.interruption import postponed
from fewbits.training.recipe import compiles_steps, ends_in_softmax


class Score(NamedTuple):
    """How well a network classifies images.

    Attributes:
        hits: Images whose label is the class with the highest output.
        n: Images in all.
        loss: Mean cross-entropy, in nats.
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
        model: Returns logits, or ends in softmax.
        data: As in `train`.
        batch_size: Images per step; it does not change the score.

    Returns:
        The score over all images that can be read.

    Raises:
        InputError: when `data` does not fit `model`, or no image can be read.
    """
    check_integers(batch_size=(batch_size, 1))
    source = source_of(model, data, "the data")
    if not model.compiled:
        model.jit_compile = compiles_steps()
    hits = hits_top5 = n = 0
    loss = 0.0
    softmax, classes = ends_in_softmax(model), model.output_shape[-1]
    for images, labels in source.batches(batch_size):
        with postponed():
            outputs = ops.convert_to_numpy(model.predict_on_batch(images)).astype(np.float64)
        rank = rank_of_label(outputs, labels)
        hits, hits_top5, n = hits + int((rank < 1).sum()), hits_top5 + int((rank < 5).sum()), n + len(labels)
        loss += float(_losses(outputs, labels, softmax).sum())
    if not n:
        raise InputError("none of the images could be read")
    return Score(hits, n, loss / n, hits_top5 if classes > 5 else None)


def rank_of_label(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how many classes each image has before its label; 0 is a hit.

    Of equal outputs the lower class comes first, as with argmax. If an output of an image is NaN, its label comes last.

    Args:
        outputs: Logits or probabilities (n, classes).
        labels: Integers (n,).

    Returns:
        Ranks (n,), from 0 to the number of classes.

    Example:
        >>> rank_of_label(np.array([[0.1, 0.7, 0.2]] * 3), np.array([0, 1, 2]))
        array([2, 0, 1])
    """
    of_label = np.take_along_axis(outputs, labels[:, np.newaxis], 1)
    before = np.arange(outputs.shape[1]) < labels[:, np.newaxis]
    rank = ((outputs > of_label) | (outputs == of_label) & before).sum(1)
    rank[np.isnan(outputs).any(1)] = outputs.shape[1]
    return rank


def _losses(outputs: np.ndarray, labels: np.ndarray, softmax: bool) -> np.ndarray:
    """Return the cross-entropy of each image."""
    of_label = np.take_along_axis(outputs, labels[:, np.newaxis], 1)[:, 0]
    if softmax:
        return -np.log(np.maximum(of_label, 1e-38))
    top = outputs.max(1)
    with np.errstate(invalid="ignore"):  # infinite logits give NaN
        return np.log(np.exp(outputs - top[:, np.newaxis]).sum(1)) + top - of_label
