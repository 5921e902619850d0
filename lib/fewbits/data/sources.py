"""Where each data set comes from: scikit-learn, a drawing, the folder FEWBITS_DATA, keras.datasets, or the user."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewbits.data.archives import read_archive, with_channels
from fewbits.data.crops import draw_scenes
from fewbits.data.cutouts import cut_out
from fewbits.data.dataset import Dataset, Split, checked_split, stratified
from fewbits.data.folders import ImageFolder, class_folders, load_folder, part_folders
from fewbits.data.folds import split_folds
from fewbits.data.pixels import GRAY
from fewbits.data.voc import read_photographs
from fewbits.errors import InputError, check_name, needs_extra
from fewbits.io.files import read_arrays

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class _Archive:
    """A data set published as arrays x_train, y_train, x_test, y_test."""

    classes: tuple[str, ...]
    image_shape: tuple[int, ...]

    def read(self, name: str) -> dict[str, np.ndarray]:
        folder = os.environ.get("FEWBITS_DATA")
        return _from_folder(Path(folder), name) if folder else _from_keras(name)


_ARCHIVES = {
    "mnist": _Archive(DIGITS, (28, 28)),
    "cifar10": _Archive(CIFAR10_CLASSES, (32, 32, 3)),
    "cifar100": _Archive(tuple(f"class {i}" for i in range(100)), (32, 32, 3)),
}
NAMES = ("digits", *_ARCHIVES, "crops", "cwfid")
FOLDS = dict.fromkeys(NAMES, 1) | {"cwfid": 5}  # into how many parts each is divided, one of them to test on
SCENES = 300  # drawn for `crops`


def load(name: str, *, validation: float = 0.1, seed: int = 0, fold: int = 0) -> Dataset:
    """Load a data set.

    `digits` are scikit-learn's 1,797 real handwritten digits, 8 x 8 with grey levels 0 to 16 (so 5-bit codes); a fifth
    of them, drawn once with a fixed seed, is the test split. They need the extra `data`.

    `crops` are onions, weeds and background, 32 x 32, cut out of 300 drawn scenes; whole scenes are held out, the last
    fifth of them for the test. They need the extra `data`, too.

    `cwfid` are crop, weeds and background, 32 x 32, cut out of the field photographs of Haug and Ostermann (2014) in
    FEWBITS_DATA/cwfid, each with a file of PASCAL VOC beside it. They are divided into five folds, as `split_folds`
    does with its seed 0. Like the test part, the validation part has no background (backstrom2018, 3.1.5). The source
    subtracts the mean of the training part; here `scaled` leaves pixels as networks trained on other images know them,
    and batch normalization removes what is the same in all.

    The other data sets are read from the folder in the environment variable FEWBITS_DATA (NAME.npz or NAME/NAME.npz)
    or, if it is not set, through keras.datasets.

    Args:
        name: One of NAMES.
        validation: Share of the training images to hold out, between 0 and 1, stratified by class; of `cwfid` and
            `crops`, a share of the photographs.
        seed: Draws the validation part.
        fold: Which fold is the test part, from 0 to 4; 0 for data sets that are not divided.

    Raises:
        InputError: when the name is unknown, a number is out of range, a package is missing, or a file is missing,
            truncated or not what it should be.
    """
    check_name("data set", name, NAMES)
    if not 0 < validation < 1:
        raise InputError(f"validation must be a share between 0 and 1, not {validation!r}")
    if isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < FOLDS[name]:
        raise InputError(f"fold must be an integer from 0 to {FOLDS[name] - 1}, those of {name}, not {fold!r}")
    if name == "crops":
        return _crops(validation, seed)
    if name == "cwfid":
        return _cwfid(validation, seed, fold)
    if name == "digits":
        train, test, classes, levels = *_digits(), DIGITS, 32
    else:
        archive = _ARCHIVES[name]
        arrays = archive.read(name)
        train, test = (_archive_split(arrays, part, archive, name) for part in ("train", "test"))
        classes, levels = archive.classes, 256
    held_out, rest = stratified(train.labels, validation, seed)
    return Dataset(name, _pick(train, rest), _pick(train, held_out), test, classes, levels)


def load_own(
    path: Path | str,
    *,
    size: int | None = None,
    order: str | None = None,
    mean_pixel: Sequence[float] | None = None,
    scale: float | None = None,
    shape: tuple[int | None, ...] | None = None,
    classes: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Load labelled images of the user's own into memory.

    They are in a folder, as `load_folder` reads it, or in folders named train, validation and test in it; or in an .npz
    file, as `read_archive` reads it. Where there is no test part, a fifth of the images is that, drawn once with a
    fixed seed; where there is no validation part, a share of the training images is. Images of a folder are rounded to
    bytes.

    Args:
        path: The folder or the file.
        size: Side of the images in pixels; None for that of `shape`, or of the images in a file.
        order: Of the channels, as in `Pixels`; None for what `shape` needs.
        mean_pixel: As in `Pixels`.
        scale: As in `Pixels`; None for 1 with a mean, and otherwise for what brings integers into [0, 1).
        shape: Of an image as the network takes it; None for a network that is built for the images.
        classes: How many classes the network has; None for a network that is built for the images. A file that does not
            name its classes has at least as many.
        validation: Share of the training images to hold out where there is no validation part, between 0 and 1.
        seed: Draws the validation part.

    Raises:
        InputError: when the size of the images of a folder is not known, an image has several labels, or a part cannot
            be held out; as `load_folder` and `read_archive`.
    """
    path = Path(path)
    if path.is_dir():
        parts, names = _own_folders(path, size, order, shape)
        levels = 256
    else:
        archive = read_archive(path)
        pixels = archive.pixels(order)
        parts = {name: _own_arrays(split, pixels.order, shape) for name, split in archive.parts.items()}
        names, levels = archive.classes, archive.levels
        names = names or tuple(map(str, range(max(archive.n_classes, classes or 0))))
    if any(split.labels.ndim > 1 for split in parts.values()):
        raise InputError(f"{path} gives images several labels; a data set has one class for each")
    train, held_out, test = _parts_of_own(path, parts, validation, seed)
    dataset = Dataset(path.name, train, held_out, test, names, levels, mean_pixel, scale)
    return dataset if size is None or path.is_dir() else dataset.resized(size)


def _own_folders(
    path: Path, size: int | None, order: str | None, shape: tuple[int | None, ...] | None
) -> tuple[dict[str, Split], tuple[str, ...]]:
    height, width, channels = shape if shape is not None and len(shape) == 3 else (None, None, None)
    sides = size or (height and width and (height, width))
    if not sides:
        raise InputError(f"size is missing; the images of {path} have none in common")
    order = order or (GRAY if channels == 1 else "rgb")
    inner = part_folders(path)
    paths = inner if "train" in inner else {"": path}
    known = class_folders(inner["train"]) if "train" in inner else []
    folders = {
        name: load_folder(folder, size=sides, order=order, classes=None if name in ("train", "") else known or None)
        for name, folder in paths.items()
    }
    first = next(iter(folders.values()))
    for folder in folders.values():
        if folder.classes != first.classes:
            raise InputError(f"{first.path} and {folder.path} have different classes; give them equal sub-folders")
    return {name: _decoded(folder) for name, folder in folders.items()}, first.classes


def _decoded(folder: ImageFolder) -> Split:
    batches = [(np.rint(images).astype(np.uint8), labels) for images, labels in folder.batches(100)]
    if not batches:
        raise InputError(f"none of the {len(folder)} images of {folder.path} can be read")
    images, labels = zip(*batches)
    return Split(np.concatenate(images), np.concatenate(labels))


def _own_arrays(split: Split, order: str, shape: tuple[int | None, ...] | None) -> Split:
    images = with_channels(split.images, shape)
    return Split(np.ascontiguousarray(images[..., ::-1]) if order == "bgr" else images, split.labels)


def _parts_of_own(path: Path, parts: dict[str, Split], validation: float, seed: int) -> tuple[Split, Split, Split]:
    train = parts[""] if "" in parts else parts.get("train")
    if train is None:
        raise InputError(f"{path} has no training part; add it")
    test, held_out = parts.get("test"), parts.get("validation")
    if test is None:
        train, test = _held_out(path, train, 0.2, 2017)
    if held_out is None:
        train, held_out = _held_out(path, train, validation, seed)
    return train, held_out, test


def _held_out(path: Path, split: Split, share: float, seed: int) -> tuple[Split, Split]:
    chosen, rest = stratified(split.labels, share, seed)
    if not len(chosen):
        raise InputError(f"{path} has a single image per class; none can be held out")
    return _pick(split, rest), _pick(split, chosen)


def _digits() -> tuple[Split, Split]:
    with needs_extra("data", "The digits"):
        from sklearn.datasets import load_digits
    digits = load_digits()
    everything = checked_split(digits.images, digits.target, 10, 32, "digits")
    test, train = stratified(everything.labels, 0.2, seed=2017)
    return _pick(everything, train), _pick(everything, test)


def _crops(validation: float, seed: int) -> Dataset:
    plants = cut_out(list(draw_scenes(SCENES, 112)), 32)
    scene = np.unique(plants.photographs, return_inverse=True)[1]
    seen = np.random.default_rng(seed).permutation(SCENES * 4 // 5)
    held_out = seen[: min(max(1, round(validation * len(seen))), len(seen) - 1)]
    test, validated = scene >= len(seen), np.isin(scene, held_out)
    train, validated_part, tested = (plants.pick(np.flatnonzero(p)) for p in (~test & ~validated, validated, test))
    return Dataset("crops", train, validated_part, tested, plants.classes, 256)


def _cwfid(validation: float, seed: int, fold: int) -> Dataset:
    folder = Path(os.environ.get("FEWBITS_DATA", ""), "cwfid")
    if "FEWBITS_DATA" not in os.environ or not folder.is_dir():
        raise InputError(
            "cwfid is the Crop/Weed Field Image Dataset; get it from its authors, Haug and Ostermann, and put its "
            "images, with a .xml file of boxes beside each, into cwfid in the folder that FEWBITS_DATA names"
        )
    plants = cut_out(read_photographs(folder), 32)
    rest, test = split_folds(plants, FOLDS["cwfid"])[fold]
    train, held_out = split_folds(rest, max(2, round(1 / validation)), seed)[0]
    return Dataset("cwfid", train, held_out, test, plants.classes, 256)


def _pick(split: Split, indices: np.ndarray) -> Split:
    return Split(split.images[indices], split.labels[indices])


def _archive_split(arrays: dict[str, np.ndarray], part: str, archive: _Archive, name: str) -> Split:
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if images.shape[1:] != archive.image_shape:
        raise InputError(f"{name}: images must have the shape {archive.image_shape}, not {images.shape[1:]}")
    return checked_split(images, labels, len(archive.classes), 256, name)


def _from_folder(folder: Path, name: str) -> dict[str, np.ndarray]:
    candidates = [folder / f"{name}.npz", folder / name / f"{name}.npz"]
    path = next((p for p in candidates if p.is_file()), None)
    if path is None:
        raise InputError(f"{name}: neither {candidates[0]} nor {candidates[1]} exists; check FEWBITS_DATA or unset it")
    return read_arrays(path, ("x_train", "y_train", "x_test", "y_test"))


def _from_keras(name: str) -> dict[str, np.ndarray]:
    from fewbits.backend import keras

    loader: Callable = getattr(keras.datasets, name).load_data
    try:
        (x_train, y_train), (x_test, y_test) = loader()
    except Exception as error:  # whatever the download raises: urllib's, ssl's and Keras' own differ
        raise InputError(
            f"{name} could not be downloaded ({error}); without a network, set FEWBITS_DATA to a folder with {name}.npz"
        ) from None
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
