"""Labelled images of the user's own in an .npz file.

The arrays are called `x_train` and `y_train`, `x_test` and `y_test`, and `x_validation` and `y_validation` (or `x_val`
and `y_val`), as in the files of keras.datasets; or `images` and `labels`, if the file is not divided into parts. An
array `classes` of text may name the classes.

Images are (n, height, width, channels), or of another shape that a network takes, such as (n, height, width) if they
are gray. They are integers of 8 or 16 bits, or floats. Labels are class numbers (n,) from 0 up, or 0 and 1 (n, units)
if an image has several.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewbits.data.dataset import Split, as_labels, stratified
from fewbits.data.pixels import GRAY, Pixels
from fewbits.errors import InputError
from fewbits.io.files import array_names, read_arrays

# Part -> the names that its images and labels may have.
PAIRS = {
    "train": (("x_train", "y_train"),),
    "validation": (("x_validation", "y_validation"), ("x_val", "y_val")),
    "test": (("x_test", "y_test"),),
}
WHOLE = ("images", "labels")
CLASSES = "classes"
TENTH = 0.1  # the share of the training images that is held out for validation

_CONVENTION = "save images (n, height, width, channels) and labels (n,) as x_train and y_train, or as images and labels"


@dataclass(frozen=True)
class Archive:
    """The labelled images of an .npz file.

    Attributes:
        path: The file.
        parts: Name of the part -> images as they are in the file and labels; a file without parts has one, `""`.
        classes: The names of the classes; () if the file does not name them.
    """

    path: Path
    parts: dict[str, Split]
    classes: tuple[str, ...]

    @property
    def levels(self) -> int:
        """How many values a pixel can have on either side of 0: 256 for bytes, 1 for floats, which have no codes."""
        dtype = next(iter(self.parts.values())).images.dtype
        return 1 if dtype.kind == "f" else 2 ** (8 * dtype.itemsize - (dtype.kind == "i"))

    @property
    def n_classes(self) -> int:
        """How many classes there are: as many as are named, or one more than the largest label."""
        return len(self.classes) or int(max(split.labels.max() for split in self.parts.values())) + 1

    def read(self, *names: str, seed: int = 0) -> list[Split]:
        """Return parts of the file.

        Args:
            names: Parts, each one of `names.PARTS`. A file without parts is each of them; only train and validation
                together divide it, one image in ten for validation. Where a file has parts and no validation part, one
                training image in ten is that.
            seed: Draws what is held out.

        Raises:
            InputError: when the file has no such part, or nothing can be held out.
        """
        if "" in self.parts:
            everything = self.parts[""]
            return self._divided(everything, seed) if names == ("train", "validation") else [everything] * len(names)
        parts = dict(self.parts)
        if "train" in parts and "validation" not in parts and {"train", "validation"} & {*names}:
            parts["train"], parts["validation"] = self._divided(parts["train"], seed)
        for name in names:
            if name not in parts:
                raise InputError(
                    f"{self.path} has no array {PAIRS[name][0][0]!r}; add it, or name a part that the file has: "
                    f"{', '.join(self.parts)}"
                )
        return [parts[name] for name in names]

    def pixels(
        self, order: str | None = None, mean: Sequence[float] | None = None, scale: float | None = None
    ) -> Pixels:
        """Return how the pixels of this file become the inputs of a network.

        Args:
            order: As in `Pixels`; None for `rgb`.
            mean: As in `Pixels`.
            scale: As in `Pixels`; None for 1 with a mean or for floats, which are taken as they are, and otherwise for
                one that brings pixels into [0, 1), or into [-1, 1) if they are signed.

        Raises:
            InputError: as `Pixels`, and when the order is `gray`.
        """
        if order == GRAY:
            raise InputError(f"gray is for folders of images; {self.path} has the channels that its arrays have")
        if scale is None:
            scale = 1 / self.levels if mean is None else 1.0
        return Pixels(order or "rgb", mean, scale)

    def _divided(self, split: Split, seed: int) -> list[Split]:
        labels = split.labels if split.labels.ndim == 1 else np.zeros(len(split), np.int64)
        held_out, rest = stratified(labels, TENTH, seed)
        if not len(held_out):
            raise InputError(f"{self.path} has a single image per class; none can be held out for validation")
        return [Split(split.images[chosen], split.labels[chosen]) for chosen in (rest, held_out)]


def read_archive(path: Path | str) -> Archive:
    """Read the labelled images of an .npz file; the docstring of this module says what it must hold.

    Args:
        path: The file. It is read without unpickling.

    Returns:
        The images and labels, checked.

    Raises:
        InputError: when the file is missing, damaged or of another kind, lacks an array, or has one of another shape,
            type or range; the message names the array.
    """
    path, names = Path(path), array_names(path)
    pairs = {part: pair for part, known in PAIRS.items() for pair in reversed(known) if pair[0] in names}
    if not pairs and WHOLE[0] in names:
        pairs = {"": WHOLE}
    if not pairs:
        held = f"{', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}" or "nothing"
        raise InputError(f"{path} has no array x_train or images, only {held}; {_CONVENTION}")
    for images, labels in pairs.values():
        if labels not in names:
            raise InputError(f"{path} has {images} and no {labels}; add the labels of the images, integers (n,)")
    wanted = [name for pair in pairs.values() for name in pair] + [CLASSES] * (CLASSES in names)
    arrays = read_arrays(path, tuple(wanted))
    parts = {part: _checked(path, arrays, *pair) for part, pair in pairs.items()}
    archive = Archive(path, parts, _class_names(path, arrays[CLASSES]) if CLASSES in arrays else ())
    if len({split.images.dtype for split in parts.values()}) > 1:
        raise InputError(f"{path} has parts of different types, {_types(parts)}; save all images in one")
    for (_, labels), split in zip(pairs.values(), parts.values()):
        if archive.classes and split.labels.ndim == 1 and split.labels.max() >= len(archive.classes):
            raise InputError(
                f"{path}: {labels} holds the label {split.labels.max()}, and {CLASSES} names {len(archive.classes)} "
                f"classes, 0 to {len(archive.classes) - 1}"
            )
    return archive


def with_channels(images: np.ndarray, shape: tuple[int | None, ...] | None) -> np.ndarray:
    """Return images with an axis of one channel where they lack it.

    Args:
        images: (n, height, width), (n, height, width, channels) or others.
        shape: Of an image as a network takes it; None for height, width and channels.
    """
    lacking = images.ndim == 3 if shape is None else images.ndim == len(shape) and shape[-1] in (1, None)
    return images[..., np.newaxis] if lacking else images


def _checked(path: Path, arrays: dict[str, np.ndarray], images_name: str, labels_name: str) -> Split:
    images, labels = arrays[images_name], arrays[labels_name]
    where = f"{path}: {images_name}"
    if images.ndim < 2 or not images.size:
        raise InputError(f"{where} must have the shape (n, height, width, channels), not {images.shape}")
    if images.dtype.kind not in "uif" or images.dtype.kind != "f" and images.dtype.itemsize > 2:
        raise InputError(
            f"{where} holds {images.dtype}; save pixels as integers of 8 or 16 bits, such as uint8, or as floats, "
            "which are taken as they are"
        )
    if images.dtype.kind == "f":
        with np.errstate(over="ignore"):
            images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise InputError(f"{where} holds NaN, infinity or numbers beyond 3e38; clean it first")
    labels = as_labels(labels, f"{path}, array {labels_name}")
    if labels.ndim not in (1, 2) or len(labels) != len(images):
        raise InputError(
            f"{path}: {labels_name} must have the shape ({len(images)},), a label per image of {images_name}, or "
            f"({len(images)}, units), not {labels.shape}"
        )
    if labels.min() < 0 or labels.max() > np.iinfo(np.int64).max or labels.ndim == 2 and labels.max() > 1:
        what = "0 or 1 if an image has several" if labels.ndim == 2 else "class numbers from 0 up"
        raise InputError(f"{path}: {labels_name} holds the label {_worst(labels)}; labels are {what}")
    return Split(images, labels.astype(np.int64))


def _worst(labels: np.ndarray) -> int:
    return int(labels.min() if labels.min() < 0 else labels.max())


def _class_names(path: Path, classes: np.ndarray) -> tuple[str, ...]:
    if classes.ndim != 1 or classes.dtype.kind != "U" or len(classes) < 2:
        raise InputError(f"{path}: {CLASSES} must hold the names of the classes, text (classes,), at least two")
    return tuple(map(str, classes))


def _types(parts: dict[str, Split]) -> str:
    return " and ".join(f"{split.images.dtype} for {part}" for part, split in parts.items())
