"""A data set: three splits of integer images and their labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from fewbits.data.pixels import Pixels
from fewbits.errors import InputError, check_name
from fewbits.names import PARTS


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        images: Integers, or floats that are taken as they are, (n, height, width, channels).
        labels: int64 (n,), from 0 up.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, n: int) -> "Split":
        """Return the first `n` images and labels, or all if there are fewer."""
        return Split(self.images[:n], self.labels[:n])


@dataclass(frozen=True)
class Dataset:
    """Labelled images in three splits, and what their classes are called.

    The validation split is cut from the training images, never from the test images: choose on it, report on test.

    Attributes:
        name: The name of the data set.
        train: The images to train on.
        validation: The images to choose on.
        test: The images to report on.
        classes: The names of the classes; label i means `classes[i]`.
        levels: A power of two; all pixels are codes below it. 1 for floats, which are taken as they are.
        mean_pixel: Subtracted from pixels, as in `Pixels`; None for nothing.
        scale: What the differences are multiplied by; None for 1 with a mean and 1 / levels without.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    levels: int
    mean_pixel: Sequence[float] | None = None
    scale: float | None = None

    def scaled(self, split: Split) -> np.ndarray:
        """Return the images of `split` as float32: unless there is a mean or a scale, in [0, 1), and exact.

        Args:
            split: One of the splits of this data set, or a part of one.

        Returns:
            Images (n, height, width, channels).
        """
        return self.pixels(split.images)

    @property
    def pixels(self) -> Pixels:
        """What becomes of the pixels before a network sees them."""
        scale = self.scale or (1 / self.levels if self.mean_pixel is None else 1.0)
        return Pixels(mean=self.mean_pixel, scale=scale)

    def arrays(self, part: str, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return scaled images and labels of one part, ready for `fit`, `train` and `evaluate`.

        Args:
            part: `train`, `validation` or `test`.
            n: How many, counted from the first; all if None, or if there are fewer.

        Returns:
            Images (n, height, width, channels), float32 in [0, 1), and labels (n,), int64.

        Raises:
            InputError: when `part` is unknown.
        """
        check_name("part", part, PARTS)
        split: Split = getattr(self, part)
        if n is not None:
            split = split.take(n)
        return self.scaled(split), split.labels

    def resized(self, side: int) -> "Dataset":
        """Return the data set with smaller images, each pixel the rounded mean of the area it covers.

        Args:
            side: The new height and width, in pixels.

        Raises:
            InputError: when `side` is larger than the images are.

        Source:
            chiang2017, 4.3.3, the resolution multiplier.
        """
        if len(self.image_shape) != 3:
            raise InputError(
                f"{self.name} does not hold images (height, width, channels), so they have no size to change"
            )
        height, width, _ = self.image_shape
        if not 0 < side <= min(height, width):
            raise InputError(f"images of {self.name} are {height} x {width}; they cannot be scaled to {side} x {side}")

        def smaller(split: Split) -> Split:
            return Split(_area_mean(split.images, side), split.labels)

        return replace(self, train=smaller(self.train), validation=smaller(self.validation), test=smaller(self.test))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.train.images.shape[1:]

    @property
    def checksum(self) -> str:
        """SHA-256 over every image and label, in order."""
        digest = sha256()
        for split in (self.train, self.validation, self.test):
            digest.update(np.ascontiguousarray(split.images).data)
            digest.update(np.ascontiguousarray(split.labels).data)
        return digest.hexdigest()


def _area_mean(images: np.ndarray, side: int) -> np.ndarray:
    """Return images (n, height, width, c) as (n, side, side, c), the same type."""
    rows, columns = (_coverage(size, side) for size in images.shape[1:3])
    chunks = (images[i : i + 1000].astype(np.float32) for i in range(0, len(images), 1000))
    means = (np.einsum("yh,nhwc,xw->nyxc", rows, chunk, columns, optimize=True) for chunk in chunks)
    return np.concatenate([np.rint(mean).astype(images.dtype) for mean in means])


def _coverage(size: int, side: int) -> np.ndarray:
    """Return the share of each of `side` equal parts of a line that lies in each of its `size` pixels: (side, size)."""
    ends = np.arange(side + 1) * (size / side)
    pixels = np.arange(size)
    inside = np.minimum(ends[1:, None], pixels + 1) - np.maximum(ends[:-1, None], pixels)
    return np.maximum(inside, 0).astype(np.float32) * np.float32(side / size)


def stratified(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide images at random, with the same share of each class.

    Args:
        labels: (n,).
        share: From 0 to 1; at least one image of each class is chosen, and at least one is left.
        seed: Of the draw.

    Returns:
        The indices of the share, and those of the rest, both in ascending order.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def checked_split(images: np.ndarray, labels: np.ndarray, classes: int, levels: int, name: str) -> Split:
    """Return a Split of arrays from elsewhere, after a check of shapes, types and ranges.

    Args:
        images: (n, height, width[, channels]), integers, or floats that hold integers.
        labels: (n,) or (n, 1).
        classes: The number of classes; labels are below it.
        levels: The number of grey levels; pixels are below it.
        name: What messages call the data set.

    Raises:
        InputError: when shapes, types or ranges do not fit; the message names the data set.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or not len(images):
        raise InputError(f"{name}: images must have the shape (n, height, width, channels), not {images.shape}")
    labels = labels.reshape(-1) if labels.shape in {(len(images),), (len(images), 1)} else labels
    if labels.shape != (len(images),):
        raise InputError(f"{name}: {len(images)} images need as many labels, not an array of shape {labels.shape}")
    _check_codes(images, levels, f"{name}: pixels")
    _check_codes(labels, classes, f"{name}: labels")
    return Split(images.astype(np.uint8), labels.astype(np.int64))


def _check_codes(values: np.ndarray, limit: int, what: str) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{what} contain NaN or infinity; clean the data first")
    if values.dtype.kind not in "uif" or (values != np.floor(values)).any():
        raise InputError(f"{what} must be integers from 0 to {limit - 1}")
    if values.min() < 0 or values.max() >= limit:
        raise InputError(f"{what} must be from 0 to {limit - 1}, not {values.min()} to {values.max()}")


def as_labels(labels: Any, what: str) -> np.ndarray:
    """Return labels as integers, (n,) or, if an image has several, (n, units).

    Args:
        labels: Integers, truth values or whole numbers, (n,), (n, 1) or (n, units).
        what: What the error message calls the data.

    Raises:
        InputError: when there are no labels, or they are not whole numbers.
    """
    if labels is None:
        raise InputError(f"{what} has images without labels; give pairs, (images, labels)")
    labels = np.asarray(labels)
    if labels.dtype.kind == "b" or labels.dtype.kind == "f" and (labels == np.rint(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "ui":
        raise InputError(f"the labels of {what} must be integers, not {labels.dtype}")
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
