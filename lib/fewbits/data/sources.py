"""Where each data set comes from: scikit-learn, a drawing, the folder FEWBITS_DATA, or keras.datasets."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewbits.data.crops import draw_scenes
from fewbits.data.cutouts import cut_out
from fewbits.data.dataset import Dataset, Split, checked_split, stratified
from fewbits.data.folds import split_folds
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
