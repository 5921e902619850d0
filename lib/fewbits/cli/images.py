"""The options of all commands that read images: which ones, and what becomes of them."""

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from fewbits.errors import InputError

PARTS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}


class Part(NamedTuple):
    """Images for `fewbits.training`, and what the user is told they are."""

    data: object
    what: str
    image_shape: tuple[int, int, int]
    classes: int


class Sample(NamedTuple):
    """Some images of a Part, and which ones: their numbers in the whole part."""

    part: Part
    numbers: object

    def batches(self, size: int) -> Iterator[tuple]:
        """Yield images, labels, and which images those are: file names in a folder, else their numbers in the part."""
        data = self.part.data
        if not isinstance(data, tuple):
            yield from self._folder_batches(size)
            return
        for i in range(0, len(self.numbers), size):
            yield *(array[i : i + size] for array in data), self.numbers[i : i + size]

    def _folder_batches(self, size):
        folder, empty = self.part.data, True
        usable = (name for name in folder.files if name not in folder.skipped)  # known of a batch once it is here
        for images, labels in folder.batches(size):
            yield images, labels, list(islice(usable, len(images)))
            empty = False
        if empty:
            raise InputError(f"none of the {len(folder)} images drawn from {folder.path} can be read")


def add_options(command, required: bool = True) -> None:
    command.add_argument(
        "--data",
        required=required,
        help="digits, crops, mnist, cifar10, cifar100, cwfid (FEWBITS_DATA names a folder to read these four from), "
        "or a folder of images with one sub-folder a class or a labels.csv, or with such folders called train, "
        "validation and test",
    )
    folder = command.add_argument_group("folders of images")
    folder.add_argument("--size", type=int, help="side of the images in pixels (default 227)")
    folder.add_argument("--order", help="of the channels: rgb (default) or bgr, as networks from Caffe expect")
    folder.add_argument(
        "--mean-pixel", type=_numbers, metavar="A,B,C", help="subtract this from pixels of 0 to 255; in --order"
    )
    folder.add_argument(
        "--scale", type=float, help="multiply pixels with this (default: 1/256, and 1 with --mean-pixel)"
    )
    folder.add_argument(
        "--no-crop", action="store_true", default=None, help="squeeze the whole image into the square; do not crop it"
    )


def add_held_out(command) -> None:
    """Add the option of commands that hold a validation part out of a folder without one."""
    command.add_argument(
        "--by-photograph",
        action="store_true",
        default=None,
        help="hold whole photographs out of a folder whose images are called PHOTOGRAPH-NUMBER, as those of `fewbits "
        "data voc-crops` are; else images are drawn one by one, and those of one photograph are on both sides",
    )


def add_sample(command) -> None:
    """Add the options of `read_sample`."""
    command.add_argument("--images", type=int, default=32, help="how many of them, drawn at random (default 32)")
    command.add_argument("--seed", type=int, default=0, help="draws the images (default 0)")


def read_sample(options, name: str) -> Sample:
    """Return `options.images` images of the part `name`, or all that it has; drawn with `options.seed`, in order."""
    import numpy as np

    if options.images < 1:
        raise InputError(f"--images must be at least 1, not {options.images}")
    if options.seed < 0:
        raise InputError(f"seed must be at least 0, not {options.seed}")
    [part] = read_parts(options, name)
    total = len(part.data[1] if isinstance(part.data, tuple) else part.data)
    numbers = np.sort(np.random.default_rng(options.seed).permutation(total)[: options.images])
    if isinstance(part.data, tuple):
        data = tuple(array[numbers] for array in part.data)
    else:
        data = part.data.pick(numbers)
    what = part.what if len(numbers) == total else f"{len(numbers):,} of {part.what}"
    return Sample(part._replace(data=data, what=what), numbers)


def read_parts(options, *names: str, seed: int = 0) -> list[Part]:
    """Return the named parts (train, validation, test) of the data that `options` name."""
    from fewbits import data

    if options.data in data.NAMES:
        _refuse_folder_options(options)
        dataset = data.load(options.data)
        return [_dataset_part(dataset, name) for name in names]
    path = Path(options.data)
    if not path.is_dir():
        raise InputError(f"{options.data!r} is neither a folder nor one of {', '.join(data.NAMES)}")
    inner = {name: next((path / n for n in PARTS[name] if (path / n).is_dir()), None) for name in PARTS}
    if inner["train"]:
        if getattr(options, "by_photograph", None):
            raise InputError(f"--by-photograph holds images out; {path} has folders of its own for that")
        missing = [name for name in names if not inner[name]]
        if missing:
            raise InputError(f"{path} has a folder train, and none called {missing[0]}; add it, or name another folder")
        return _same_classes([_folder_part(_load(inner[name], options)) for name in names])
    folder = _load(path, options)
    if names == ("train", "validation"):
        split, tenth = folder.split, "one in ten"
        if options.by_photograph:
            split, tenth = folder.split_photographs, "one photograph in ten"
        rest, held_out = split(0.1, seed)
        return [_folder_part(rest, f" but {tenth} of {path}"), _folder_part(held_out, f" held out of {path}")]
    return [_folder_part(folder)]


def tell_skipped(parts: list[Part]) -> None:
    """Say how many files were skipped, where there were any."""
    found = {id(part.data.skipped): part.data.skipped for part in parts if hasattr(part.data, "skipped")}
    n = sum(map(len, found.values()))  # parts of one folder share what they skipped
    if n:
        print(f"{n} file{'s' if n > 1 else ''} skipped")


def _dataset_part(dataset, name) -> Part:
    split = getattr(dataset, name)
    what = f"{len(split):,} images ({name} part of {dataset.name})"
    return Part((dataset.scaled(split), split.labels), what, dataset.image_shape, len(dataset.classes))


def _folder_part(folder, what=None) -> Part:
    what = f"{len(folder):,} images{what or f' of {folder.path}'}"
    return Part(folder, what, folder.image_shape, len(folder.classes))


def _same_classes(parts):
    first = parts[0].data
    for part in parts[1:]:
        if part.data.classes != first.classes:
            raise InputError(f"{first.path} and {part.data.path} have different classes; give them equal sub-folders")
    return parts


def _load(path, options):
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
        on_skip=_tell_skip,
    )


def _tell_skip(file, reason):
    line = "\n" if sys.stdout.isatty() else ""  # that a progress bar may be standing in
    print(f"{line}fewbits: warning: {file} is skipped: {reason}", file=sys.stderr)


def _refuse_folder_options(options) -> None:
    for name in ("size", "order", "mean_pixel", "scale", "no_crop", "by_photograph"):
        if getattr(options, name, None) is not None:
            raise InputError(f"--{name.replace('_', '-')} is for folders of images; {options.data} has its own pixels")


def _numbers(text):
    try:
        a, b, c = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers, such as 104,117,123") from None
    return a, b, c
