"""Confusion: which classes a network takes for which, and how well it knows each of them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fewbits.training.heads import Head


class Mistake(NamedTuple):
    """Images of one class that a network took for another.

    Attributes:
        label: Their class.
        taken_for: The other class.
        images: How many.
    """

    label: int
    taken_for: int
    images: int


@dataclass(frozen=True)
class Confusion:
    """How many images of each class a network took for each class.

    Attributes:
        counts: Integers (classes, classes), by the label of the images, then by the class they were taken for.
        images: Integers (classes,), how many images of each class there are. It is more than the sum of a row only if
            outputs were NaN, which stand for no class.

    Example:
        >>> confusion = Confusion(np.array([[8, 0], [1, 1]]), np.array([8, 2]))
        >>> confusion.accuracies
        array([1. , 0.5])
        >>> confusion.balanced_accuracy
        0.75
    """

    counts: np.ndarray
    images: np.ndarray

    @property
    def accuracies(self) -> np.ndarray:
        """The share of the images of each class that is right, (classes,) from 0 to 1; NaN without images."""
        with np.errstate(invalid="ignore"):
            return np.diag(self.counts) / self.images

    @property
    def balanced_accuracy(self) -> float:
        """The mean of the accuracies of the classes that have images, from 0 to 1."""
        return float(np.nanmean(self.accuracies))

    @property
    def imbalance(self) -> float:
        """How many times as many images the largest class has as the smallest that has any."""
        some = self.images[self.images > 0]
        return float(some.max() / some.min())

    def mistakes(self, n: int) -> list[Mistake]:
        """Return the most frequent mistakes, the most frequent first.

        Args:
            n: How many at most.
        """
        wrong = self.counts * (1 - np.eye(len(self.counts), dtype=int))
        order = np.argsort(-wrong, axis=None, kind="stable")[:n]
        pairs = zip(*map(np.ndarray.tolist, np.unravel_index(order, wrong.shape)))
        return [Mistake(i, j, int(wrong[i, j])) for i, j in pairs if wrong[i, j]]


def count_confusion(head: Head, outputs: np.ndarray, labels: np.ndarray) -> Confusion:
    """Return what a network took images for.

    Args:
        head: Of the network; each image has one class.
        outputs: Numbers (n, units).
        labels: Integers (n,).
    """
    taken = outputs.argmax(1) if head.exclusive else (outputs[:, 0] > (0.5 if head.activated else 0)).astype(int)
    answered = ~np.isnan(outputs).any(1)
    cells = np.bincount(labels[answered] * head.classes + taken[answered], minlength=head.classes**2)
    return Confusion(cells.reshape(head.classes, head.classes), np.bincount(labels, minlength=head.classes))
