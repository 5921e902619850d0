"""The options of the commands that read images, and the images that they name."""

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from fewbits.errors import InputError
from fewbits.names import CHANNEL_ORDERS

# Part of the data -> the names that its folder may have.
PART_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}


class Part(NamedTuple):
    """Images with labels.

    Attributes:
        data: A pair of arrays or an ImageFolder, as `fewbits.training.train` takes it.
        what: A description for the user.
        image_shape: Height, width and channels.
        classes: How many.
    """

    data: Any
    what: str
    image_shape: tuple[int, int, int]
    classes: int


class Sample(NamedTuple):
    """Some images of a part of the data.

    Attributes:
        part: The images.
        numbers: (images,) int, their numbers in the whole part.
    """

    part: Part
    numbers: Any

    def batches(self, size: int) -> Iterator[tuple]:
        """Yield images, labels and names of at most `size` images: file names, or numbers in the part of a data set."""
        data = self.part.data
        if not isinstance(data, tuple):
            yield from self._folder_batches(size)
            return
        for i in range(0, len(self.numbers), size):
            yield *(array[i : i + size] for array in data), self.numbers[i : i + size]

    def _folder_batches(self, size: int) -> Iterator[tuple]:
        folder, empty = self.part.data, True
        usable = (name for name in folder.files if name not in folder.skipped)  # complete for a batch once it was read
        for images, labels in folder.batches(size):
            yield images, labels, list(islice(usable, len(images)))
            empty = False
        if empty:
            raise InputError(f"none of the {len(folder)} images drawn from {folder.path} can be read")


def add_options(command: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the options that name images and say how they are prepared.

    Args:
        command: The parser of a command.
        required: Whether the command needs images.
    """
    command.add_argument(
        "--data",
        required=required,
        help="digits or crops; mnist, cifar10, cifar100 or cwfid, read from the folder in the environment variable "
        "FEWBITS_DATA; a folder of images with a sub-folder per class or a labels.csv; or a folder with such folders "
        "named train, validation and test",
    )
    folder = command.add_argument_group("folders of images")
    folder.add_argument("--size", type=int, help="side of the images in pixels (default 227)")
    folder.add_argument(
        "--order", choices=CHANNEL_ORDERS, help="order of the channels (default rgb); networks from Caffe expect bgr"
    )
    folder.add_argument(
        "--mean-pixel",
        type=_numbers,
        metavar="A,B,C",
        help="subtract this from pixels, which are 0 to 255; in the order of --order",
    )
    folder.add_argument("--scale", type=float, help="multiply pixels by this (default: 1/256, or 1 with --mean-pixel)")
    folder.add_argument(
        "--no-crop",
        action="store_true",
        default=None,
        help="stretch the whole image to the square instead of cropping it",
    )


def add_held_out(command: argparse.ArgumentParser) -> None:
    """Add the option for how validation images are held out of a folder that has no parts."""
    command.add_argument(
        "--by-photograph",
        action="store_true",
        default=None,
        help="hold out whole photographs of a folder whose images are named PHOTOGRAPH-NUMBER, as `fewbits data "
        "voc-crops` names them; by default single images are held out, and a photograph may be on both sides",
    )


def add_sample(command: argparse.ArgumentParser) -> None:
    """Add the options of `read_sample`."""
    command.add_argument("--images", type=int, default=32, help="number of images, drawn at random (default 32)")
    command.add_argument("--seed", type=int, default=0, help="seed of the drawing (default 0)")


def read_sample(options: argparse.Namespace, name: str) -> Sample:
    """Return images drawn at random, in the order in which they are stored.

    Args:
        options: With `images`, how many to draw at most, and `seed`.
        name: The part of the data to draw from.

    Raises:
        InputError: when the options do not fit, or the data cannot be read.
    """
    import numpy as np

    if options.images < 1:
        raise InputError(f"--images must be at least 1, not {options.images}")
    if options.seed < 0:
        raise InputError(f"--seed must be at least 0, not {options.seed}")
    [part] = read_parts(options, name)
    total = len(part.data[1] if isinstance(part.data, tuple) else part.data)
    numbers = np.sort(np.random.default_rng(options.seed).permutation(total)[: options.images])
    if isinstance(part.data, tuple):
        data = tuple(array[numbers] for array in part.data)
    else:
        data = part.data.pick(numbers)
    what = part.what if len(numbers) == total else f"{len(numbers):,} of {part.what}"
    return Sample(part._replace(data=data, what=what), numbers)


def read_parts(options: argparse.Namespace, *names: str, seed: int = 0) -> list[Part]:
    """Return parts of the data that the options name.

    Args:
        options: As `add_options` declares them.
        names: Train, validation or test. A folder without parts is each of them; only train and validation together
            divide it, one image in ten for validation.
        seed: Draws what is held out of a folder without parts.

    Raises:
        InputError: when the options do not fit, or the data cannot be read or have no such part.
    """
    from fewbits import data

    if options.data in data.NAMES:
        _refuse_folder_options(options)
        dataset = data.load(options.data)
        return [_dataset_part(dataset, name) for name in names]
    path = Path(options.data)
    if not path.is_dir():
        raise InputError(f"{options.data!r} is neither a folder nor one of {', '.join(data.NAMES)}")
    inner = {name: path / n for name, known in PART_FOLDERS.items() for n in reversed(known) if (path / n).is_dir()}
    if "train" in inner:
        if getattr(options, "by_photograph", None):
            raise InputError(f"--by-photograph holds images out; {path} has folders of its own for that")
        missing = [name for name in names if name not in inner]
        if missing:
            raise InputError(f"{path} has a folder train and no folder {missing[0]}; add it, or name another folder")
        return _same_classes([_folder_part(_load(inner[name], options)) for name in names])
    folder = _load(path, options)
    if names == ("train", "validation"):
        split, tenth = folder.split, "one in ten"
        if options.by_photograph:
            split, tenth = folder.split_photographs, "one photograph in ten"
        rest, held_out = split(0.1, seed)
        return [_folder_part(rest, f" but {tenth} of {path}"), _folder_part(held_out, f" held out of {path}")]
    return [_folder_part(folder)]


def report_skipped(parts: list[Part]) -> None:
    """Print how many files were skipped, if any."""
    found = {id(part.data.skipped): part.data.skipped for part in parts if hasattr(part.data, "skipped")}
    n = sum(map(len, found.values()))  # parts of one folder share what they skipped
    if n:
        print(f"{n} file{'s' if n > 1 else ''} skipped")


def _dataset_part(dataset: Any, name: str) -> Part:
    split = getattr(dataset, name)
    what = f"{len(split):,} images ({name} part of {dataset.name})"
    return Part((dataset.scaled(split), split.labels), what, dataset.image_shape, len(dataset.classes))


def _folder_part(folder: Any, what: str | None = None) -> Part:
    what = f"{len(folder):,} images{what or f' of {folder.path}'}"
    return Part(folder, what, folder.image_shape, len(folder.classes))


def _same_classes(parts: list[Part]) -> list[Part]:
    first = parts[0].data
    for part in parts[1:]:
        if part.data.classes != first.classes:
            raise InputError(f"{first.path} and {part.data.path} have different classes; give them equal sub-folders")
    return parts


def _load(path: Path, options: argparse.Namespace) -> Any:
    from fewbits.data import load_folder

    scale = options.scale
    if scale is None:
        scale = 1.0 if options.mean_pixel else 1 / 256
    return load_folder(
        path,
        size=227 if options.size is None else options.size,
        order=options.order or "rgb",
        mean_pixel=options.mean_pixel,
        crop=not options.no_crop,
        scale=scale,
        on_skip=_warn_of_skipped,
    )


def _warn_of_skipped(file: Path, reason: str) -> None:
    from tqdm import tqdm

    tqdm.write(f"fewbits: warning: {file} is skipped: {reason}", file=sys.stderr)  # above a progress bar


def _refuse_folder_options(options: argparse.Namespace) -> None:
    for name in ("size", "order", "mean_pixel", "scale", "no_crop", "by_photograph"):
        if getattr(options, name, None) is not None:
            raise InputError(f"--{name.replace('_', '-')} is for folders of images; {options.data} has its own pixels")


def _numbers(text: str) -> tuple[float, float, float]:
    try:
        a, b, c = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers, such as 104,117,123") from None
    return a, b, c
