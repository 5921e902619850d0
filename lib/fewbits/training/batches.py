"""Where training and evaluation read images and labels: arrays in memory, or a folder of photographs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from fewbits.backend import keras
from fewbits.data.dataset import Split
from fewbits.data.folders import ImageFolder
from fewbits.data.inputs import as_labels
from fewbits.errors import InputError
from fewbits.graph import Graph, ends
from fewbits.training.heads import head_of


@dataclass(frozen=True)
class ArraySource:
    """Checked images and labels in memory, with the methods of an ImageFolder that training needs.

    Attributes:
        images: Real numbers (n, height, width, channels).
        labels: Integers (n,), or (n, units) for several sigmoid units.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image: height, width, channels."""
        return self.images.shape[1:]

    @property
    def checksum(self) -> str:
        """SHA-256 over the shape and type of the images, their values, and the labels."""
        digest = sha256(repr((self.images.shape, self.images.dtype.str)).encode())
        for array in (self.images, self.labels):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def batches(
        self, batch_size: int, shuffle_seed: int | Sequence[int] | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the images and labels in batches; the last may be smaller.

        Args:
            batch_size: Images per batch.
            shuffle_seed: Draws the order; None keeps it.

        Yields:
            Images (n, height, width, channels) float32 and labels.
        """
        n = len(self)
        order = np.arange(n) if shuffle_seed is None else np.random.default_rng(shuffle_seed).permutation(n)
        for start in range(0, n, batch_size):
            chosen = order[start : start + batch_size]
            yield self.images[chosen].astype(np.float32), self.labels[chosen]

    def pick(self, indices: Sequence[int] | np.ndarray) -> "ArraySource":
        """Return the images and labels at `indices`, in that order."""
        return ArraySource(self.images[indices], self.labels[indices])


Source = ArraySource | ImageFolder
LabelledImages = Source | Split | tuple[np.ndarray, np.ndarray]


def source_of(model: keras.Model, data: LabelledImages, what: str) -> Source:
    """Return `data` as a source of batches for `model`.

    Args:
        model: Has one input, of images, and ends in a head, as in `head_of`.
        data: A Split, whose pixels are taken as they are; a pair of images (n, height, width, channels) and labels,
            which are class numbers (n,) or, for several sigmoid units, 0 or 1 (n, units); an ImageFolder; or what this
            function returned before.
        what: What error messages call the data.

    Returns:
        A source with a length, `checksum`, `labels`, `batches` and `pick`.

    Raises:
        InputError: when `data` is empty, holds NaN or infinity, or does not fit `model`, or `head_of` refuses it.
    """
    source = data if isinstance(data, ArraySource | ImageFolder) else _checked(data, what)
    if not len(source):
        raise InputError(f"{what} hold no images")
    check_images(model, tuple(source.image_shape), what)
    head_of(model).check_labels(source.labels, model.name, what)
    return source


def as_input(model: keras.Model, images: Any) -> Any:
    """Return images as `model` takes them: alone, or in a list or dict.

    Args:
        model: Has one input.
        images: An array or tensor.
    """
    return keras.tree.pack_sequence_as(ends(model)[0], [images])


def check_images(model: keras.Model, shape: tuple[int, ...], what: str) -> None:
    """Check that `model` takes images of `shape`.

    Args:
        model: Has one input, of images.
        shape: Height, width and channels of the images.
        what: What the error message calls the images.

    Raises:
        InputError: when `model` has no graph or several inputs, or takes images of another shape.
    """
    if len(Graph(model).inputs) != 1:
        raise InputError(f"{model.name} has {len(model.inputs)} inputs; it must have one, of images")
    expected = model.inputs[0].shape[1:]
    if len(shape) != len(expected) or any(e is not None and e != s for s, e in zip(shape, expected)):
        raise InputError(f"{model.name} takes images of {_sides(expected)}, and {what} are {_sides(shape)}")


def _checked(data: Any, what: str) -> ArraySource:
    try:
        images, labels = (data.images, data.labels) if isinstance(data, Split) else data
    except (TypeError, ValueError):
        raise InputError(f"{what} must be a Split, a pair of images and labels, or an ImageFolder") from None
    images, labels = np.asarray(images), as_labels(labels, what)
    if images.dtype.kind not in "uif":
        raise InputError(f"{what} must hold images of real numbers, not of {images.dtype}")
    if labels.shape[:1] != images.shape[:1]:
        raise InputError(f"{what} must hold one label per image, not {images.shape} and {labels.shape}")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise InputError(f"{what} hold NaN or infinity; clean them first")
    return ArraySource(images, labels)


def _sides(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape)
