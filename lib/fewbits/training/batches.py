"""Where training and evaluation read images and labels: arrays in memory, a folder of photographs, or a stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from typing import Any

import numpy as np

from fewbits.backend import keras
from fewbits.data.dataset import Split, as_labels
from fewbits.data.folders import ImageFolder
from fewbits.data.inputs import Images, check_fractions, is_stream, labelled_batches
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


class StreamSource:
    """Checked images and labels of a stream, read anew for each pass, in the order and the batches in which they come.

    Attributes:
        data: A `tf.data.Dataset`, a `keras.utils.PyDataset` or another iterable of pairs (images, labels).
        steps: How many batches a pass has; None until the first is over.
    """

    def __init__(self, model: keras.Model, data: Images, what: str):
        """Take a stream for a model.

        Args:
            model: As in `source_of`.
            data: The stream.
            what: What error messages call it.

        Raises:
            InputError: when the stream never ends.
        """
        self.data = data
        self.steps: int | None = None
        self._model, self._head, self._what = model, head_of(model), what
        self._images: int | None = None
        self._read = False
        if _is_endless(data):
            raise InputError(f"{what} never end; leave out repeat(), or take a number of batches, as in take(100)")

    def __len__(self) -> int:
        """How many images a pass has; the first call reads them all if no pass is over."""
        if self._images is None:
            for _ in self.batches(1):
                pass
        assert self._images is not None  # a pass that ends has set it
        return self._images

    @property
    def checksum(self) -> str:
        """SHA-256 over what is known of the stream without reading it: its kind, and the types of its elements."""
        known = type(self.data).__name__, str(getattr(self.data, "element_spec", "")), self._model.inputs[0].shape
        return sha256(repr(known).encode()).hexdigest()

    def batches(
        self, batch_size: int, shuffle_seed: int | Sequence[int] | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the images and labels in the order of the stream.

        Args:
            batch_size: Images per batch of a stream of single images. Batches come as they are.
            shuffle_seed: Not used; shuffle the stream itself.

        Yields:
            Images (n, ...) float32 and labels.

        Raises:
            InputError: when images or labels do not fit the model, there are none, or the stream is an iterator that
                has been read.
        """
        if self._read and isinstance(self.data, Iterator):
            raise InputError(
                f"{self._what} are a {type(self.data).__name__}, which can be read only once; give arrays or a data set"
            )
        self._read = True
        steps = images = 0
        for [array], labels in labelled_batches(self._model, self.data, self._what, batch_size):
            assert labels is not None  # they are required
            self._head.check_labels(labels, self._model.name, self._what)
            yield array, labels
            steps, images = steps + 1, images + len(array)
        if not images:
            raise InputError(f"{self._what} hold no images")
        self.steps, self._images = steps, images

    def pick(self, indices: Sequence[int] | np.ndarray) -> ArraySource:
        """Return the images and labels at `indices` of a pass, in the order of the stream, held in memory."""
        wanted, picked, first = np.sort(np.asarray(indices)), [], 0
        for images, labels in self.batches(1):
            here = wanted[(wanted >= first) & (wanted < first + len(labels))] - first
            if len(here):
                picked.append((images[here], labels[here]))
            first += len(labels)
        return ArraySource(*map(np.concatenate, zip(*picked)))

    def first(self, n: int) -> ArraySource:
        """Return the first `n` images and labels of a pass, or all if there are fewer; no more is read."""
        read: list[tuple[np.ndarray, np.ndarray]] = []
        for batch in self.batches(n):
            read.append(batch)
            if sum(len(labels) for _, labels in read) >= n:
                break
        images, labels = map(np.concatenate, zip(*read))
        return ArraySource(images[:n], labels[:n])


def _is_endless(data: Any) -> bool:
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    cardinality = getattr(data, "cardinality", None)
    return callable(cardinality) and int(cardinality()) == -1  # tf.data.INFINITE_CARDINALITY


Source = ArraySource | ImageFolder | StreamSource
LabelledImages = Source | Split | tuple[np.ndarray, np.ndarray] | Images


def source_of(model: keras.Model, data: LabelledImages, what: str) -> Source:
    """Return `data` as a source of batches for `model`.

    Args:
        model: Has one input, of images, and ends in a head, as in `head_of`.
        data: A Split, whose pixels are taken as they are; a pair of images (n, height, width, channels) and labels,
            which are class numbers (n,) or, for several sigmoid units, 0 or 1 (n, units); an ImageFolder; a stream of
            such pairs, single or in batches, which is a `tf.data.Dataset`, a `keras.utils.PyDataset` or another
            iterable; or what this function returned before.
        what: What error messages call the data.

    Returns:
        A source with a length, `checksum`, `batches` and `pick`. A stream is checked as it is read.

    Raises:
        InputError: when `data` is empty, never ends, holds NaN or infinity, or does not fit `model`, or `head_of`
            refuses it.
    """
    if isinstance(data, StreamSource):
        return data
    if not isinstance(data, ArraySource | ImageFolder) and is_stream(_with_one_input(model), data):
        return StreamSource(model, data, what)
    source = data if isinstance(data, ArraySource | ImageFolder) else _checked(data, what)
    if not len(source):
        raise InputError(f"{what} hold no images")
    check_images(model, tuple(source.image_shape), what)
    head_of(model).check_labels(source.labels, model.name, what)
    return source


def sample_images(source: Source, n: int) -> np.ndarray:
    """Return some images of a source: evenly spaced over it, or the first of a stream.

    Args:
        source: As from `source_of`.
        n: How many at most.

    Returns:
        (images, height, width, channels).

    Raises:
        InputError: when none of those can be read.
    """
    if isinstance(source, StreamSource):
        return source.first(n).images
    total = len(source)
    picked = source.pick(np.unique(np.linspace(0, total - 1, min(total, n)).astype(int)))
    batches = [images for images, _ in picked.batches(n)]
    if not batches:
        raise InputError(f"none of the {len(picked)} training images chosen for calibration can be read")
    return np.concatenate(batches)


def steps_of(source: Source, batch_size: int) -> int | None:
    """Return how many batches a pass over `source` has; None for a stream of which no pass is over.

    Args:
        source: As from `source_of`.
        batch_size: Images per batch.
    """
    return source.steps if isinstance(source, StreamSource) else ceil(len(source) / batch_size)


def as_input(model: keras.Model, images: Any) -> Any:
    """Return images as `model` takes them: alone, or in a list or dict.

    Args:
        model: Has one input.
        images: An array or tensor.

    Raises:
        InputError: when `model` takes integers, and `images` hold fractions.
    """
    check_fractions(model.inputs[0], images, "the data")
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
    expected = _with_one_input(model).inputs[0].shape[1:]
    if len(shape) != len(expected) or any(e is not None and e != s for s, e in zip(shape, expected)):
        raise InputError(f"{model.name} takes images of {_sides(expected)}, and {what} are {_sides(shape)}")


def _with_one_input(model: keras.Model) -> keras.Model:
    if len(Graph(model).inputs) != 1:
        raise InputError(f"{model.name} has {len(model.inputs)} inputs; it must have one, of images")
    return model


def _checked(data: Any, what: str) -> ArraySource:
    try:
        images, labels = (data.images, data.labels) if isinstance(data, Split) else data
    except (TypeError, ValueError):
        raise InputError(
            f"{what} must be a pair of images and labels, a Split, an ImageFolder, a tf.data.Dataset or a PyDataset"
        ) from None
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
