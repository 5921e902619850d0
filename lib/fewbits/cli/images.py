"""The options of the commands that read images, and the images that they name."""

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from fewbits.errors import InputError, nearest
from fewbits.names import CHANNEL_ORDERS

BYTE = 256  # levels of the pixels of a folder
DEFAULT_SIZE = 227  # of the images of a folder, if no network says otherwise
FOLDERS_ONLY = ("size", "no_crop", "background", "by_photograph")  # options that other data do not take


class Part(NamedTuple):
    """Images with labels.

    Attributes:
        data: A pair of arrays or an ImageFolder, as `fewbits.training.train` takes it.
        what: A description for the user.
        image_shape: The shape of an image, in general height, width and channels.
        classes: How many; for an .npz file without names of classes, as many as its labels need.
        class_names: What they are called; () if the data do not say.
        raw: The images as they are stored, integers, or an ImageFolder of pixels from 0 to 255; None for floats.
        pixels: What became of them, as `data.Pixels`.
        levels: A power of two; stored pixels are below it.
    """

    data: Any
    what: str
    image_shape: tuple[int, ...]
    classes: int
    class_names: tuple[str, ...] = ()
    raw: Any = None
    pixels: Any = None
    levels: int = 1

    @property
    def codes(self) -> Any:
        """The PixelCodes of the images; None for floats, of which no integers are known.

        Raises:
            InputError: when integers cannot prepare pixels in this way.
        """
        from fewbits.data import PixelCodes

        return None if self.raw is None else PixelCodes.of(self.levels, self.pixels)


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

    def raw(self) -> Any:
        """Return the images as pixels, integers (n, height, width, channels) in the order that networks take channels.

        Pixels of resized photographs are rounded. None for images that are stored as floats.
        """
        import numpy as np

        stored, channels = self.part.raw, self.part.pixels
        if stored is None:
            return None
        if not isinstance(stored, np.ndarray):
            return np.concatenate([np.rint(images).astype(np.uint8) for images, _ in stored.batches(32)])
        return stored[..., ::-1] if channels.order == "bgr" else stored

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
        "FEWBITS_DATA; an .npz file with arrays x_train, y_train, x_test and y_test, or images and labels; a folder of "
        "images with a sub-folder per class or a labels.csv; or a folder with such folders named train, validation and "
        "test",
    )
    pixels = command.add_argument_group(".npz files and folders of images")
    pixels.add_argument(
        "--order",
        choices=CHANNEL_ORDERS,
        help="order of the channels (default: gray for networks that take one channel, otherwise rgb); networks from "
        "Caffe expect bgr",
    )
    pixels.add_argument(
        "--mean-pixel",
        type=_numbers,
        metavar="A,B,C",
        help="subtract this from pixels, which are 0 to 255 in folders; in the order of --order, or one number for all",
    )
    pixels.add_argument(
        "--scale",
        type=float,
        help="multiply pixels by this (default: 1 with --mean-pixel; otherwise 1/256 in folders and for bytes, 1/65536 "
        "for 16 bits, and floats are taken as they are)",
    )
    folder = command.add_argument_group("folders of images")
    folder.add_argument(
        "--size",
        type=_sides,
        metavar="SIDE|HxW",
        help=f"side of the images in pixels, or height and width, such as 49x10 (default: what the network takes, or "
        f"{DEFAULT_SIZE})",
    )
    folder.add_argument(
        "--no-crop",
        action="store_true",
        default=None,
        help="stretch the whole image to the size instead of cropping it",
    )
    folder.add_argument(
        "--background",
        metavar="COLOUR",
        help="colour behind transparent pixels, a name or #rrggbb (default white)",
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


def read_sample(options: argparse.Namespace, name: str, model: Any = None) -> Sample:
    """Return images drawn at random, in the order in which they are stored.

    Args:
        options: With `images`, how many to draw at most, and `seed`.
        name: The part of the data to draw from.
        model: As in `read_parts`.

    Raises:
        InputError: when the options do not fit, or the data cannot be read.
    """
    import numpy as np

    if options.images < 1:
        raise InputError(f"--images must be at least 1, not {options.images}")
    if options.seed < 0:
        raise InputError(f"--seed must be at least 0, not {options.seed}")
    [part] = read_parts(options, name, model=model)
    total = len(part.data[1] if isinstance(part.data, tuple) else part.data)
    numbers = np.sort(np.random.default_rng(options.seed).permutation(total)[: options.images])
    if isinstance(part.data, tuple):
        data, raw = tuple(array[numbers] for array in part.data), None if part.raw is None else part.raw[numbers]
    else:
        data, raw = part.data.pick(numbers), part.raw.pick(numbers)
    what = part.what if len(numbers) == total else f"{len(numbers):,} of {part.what}"
    return Sample(part._replace(data=data, what=what, raw=raw), numbers)


def read_parts(options: argparse.Namespace, *names: str, seed: int = 0, model: Any = None) -> list[Part]:
    """Return parts of the data that the options name.

    Args:
        options: As `add_options` declares them.
        names: Train, validation or test. A folder or file without parts is each of them; only train and validation
            together divide it, one image in ten for validation.
        seed: Draws what is held out.
        model: The network that the images are for. It says, unless the options do, how large the images of a folder
            are, whether they are gray, and whether gray images in a file lack an axis of channels.

    Raises:
        InputError: when the options do not fit, or the data cannot be read or have no such part.
    """
    from fewbits import data

    if options.data in data.NAMES:
        _refuse_folder_options(options)
        dataset = data.load(options.data)
        return [_dataset_part(dataset, name) for name in names]
    path, shape = Path(options.data), _input_shape(model)
    if path.suffix.lower() == ".npz" and not path.is_dir():
        return _archive_parts(path, options, names, seed, shape)
    if not path.is_dir():
        raise InputError(f"{options.data!r} is neither a folder nor one of {', '.join(data.NAMES)} nor an .npz file")
    inner = data.part_folders(path)
    if "train" in inner:
        if getattr(options, "by_photograph", None):
            raise InputError(f"--by-photograph holds images out; {path} has folders of its own for that")
        missing = [name for name in names if name not in inner]
        if missing:
            raise InputError(f"{path} has a folder train and no folder {missing[0]}; add it, or name another folder")
        classes = data.class_folders(inner["train"])  # a part that is not for training may lack some
        loaded = (_load(inner[n], options, shape, classes if n != "train" else None) for n in names)
        return _same_classes([_folder_part(folder) for folder in loaded])
    folder = _load(path, options, shape)
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


def check_classes(model: Any, part: Part, name: str) -> None:
    """Check that a network has a class for each of the data.

    Args:
        model: Ends in a head, as in `training.head_of`.
        part: The data. Labels of an .npz file that does not name the classes are checked when they are read.
        name: Of the network.

    Raises:
        InputError: when the network has more or fewer classes, or no head.
    """
    from fewbits.training.heads import head_of

    head = head_of(model)
    if part.class_names and not (isinstance(part.data, tuple) and part.data[1].ndim == 2):
        head.check_classes(part.classes, name)


def weights_by_number(weights: str | dict[str, float] | None, part: Part) -> str | dict[int, float] | None:
    """Return class weights as `fewbits.training.train` takes them.

    Args:
        weights: As `fewbits.cli.learning.weighted_classes` returns them.
        part: The training images, which name the classes.

    Raises:
        InputError: when there is no class of a name.
    """
    if not isinstance(weights, dict):
        return weights
    numbers = {name: number for number, name in enumerate(part.class_names)}
    for name in weights:
        if name not in numbers and not name.isdecimal():
            known = ", ".join(part.class_names[:8]) or f"numbers from 0 to {part.classes - 1}"
            raise InputError(f"--class-weights: there is no class {name!r}{nearest(name, numbers)}; there are {known}")
    return {numbers.get(name, int(name) if name.isdecimal() else -1): weight for name, weight in weights.items()}


def _dataset_part(dataset: Any, name: str) -> Part:
    split = getattr(dataset, name)
    what = f"{len(split):,} images ({name} part of {dataset.name})"
    data, shape = (dataset.scaled(split), split.labels), dataset.image_shape
    raw = split.images, dataset.pixels, dataset.levels
    return Part(data, what, shape, len(dataset.classes), dataset.classes, *raw)


def _archive_parts(
    path: Path, options: argparse.Namespace, names: tuple[str, ...], seed: int, shape: tuple[int | None, ...] | None
) -> list[Part]:
    from fewbits import data

    _refuse_folder_options(options, FOLDERS_ONLY)
    archive = data.read_archive(path)
    pixels = archive.pixels(options.order, options.mean_pixel, options.scale)
    parts = []
    for name, split in zip(names, archive.read(*names, seed=seed)):
        stored = data.with_channels(split.images, shape)
        images = pixels(stored)
        of = f"{path}" if "" in archive.parts else f"the {name} part of {path}"
        what = f"{len(split):,} images of {of}"
        raw = None if stored.dtype.kind == "f" else stored, pixels, archive.levels
        parts.append(Part((images, split.labels), what, images.shape[1:], archive.n_classes, archive.classes, *raw))
    return parts


def _input_shape(model: Any) -> tuple[int | None, ...] | None:
    """Return the shape of an image that `model` takes, with None for open sides; None if there is no such shape."""
    inputs: list[Any] = getattr(model, "inputs", None) or []
    return tuple(inputs[0].shape[1:]) if len(inputs) == 1 else None


def _folder_part(folder: Any, what: str | None = None) -> Part:
    what = f"{len(folder):,} images{what or f' of {folder.path}'}"
    raw = folder.unscaled(), folder.pixels, BYTE
    return Part(folder, what, folder.image_shape, len(folder.classes), folder.classes, *raw)


def _same_classes(parts: list[Part]) -> list[Part]:
    first = parts[0].data
    for part in parts[1:]:
        if part.data.classes != first.classes:
            raise InputError(f"{first.path} and {part.data.path} have different classes; give them equal sub-folders")
    return parts


def _load(
    path: Path, options: argparse.Namespace, shape: tuple[int | None, ...] | None, classes: list[str] | None = None
) -> Any:
    from fewbits.data import load_folder
    from fewbits.data.folders import BACKGROUND

    scale = options.scale
    if scale is None:
        scale = 1.0 if options.mean_pixel else 1 / 256
    height, width, channels = shape if shape is not None and len(shape) == 3 else (None, None, None)
    return load_folder(
        path,
        size=options.size or ((height, width) if height and width else DEFAULT_SIZE),
        order=options.order or ("gray" if channels == 1 else "rgb"),
        mean_pixel=options.mean_pixel,
        crop=not options.no_crop,
        scale=scale,
        background=options.background or BACKGROUND,
        classes=classes or None,
        on_skip=_warn_of_skipped,
    )


def _warn_of_skipped(file: Path, reason: str) -> None:
    from tqdm import tqdm

    tqdm.write(f"fewbits: warning: {file} is skipped: {reason}", file=sys.stderr)  # above a progress bar


def _refuse_folder_options(
    options: argparse.Namespace, names: tuple[str, ...] = ("order", "mean_pixel", "scale", *FOLDERS_ONLY)
) -> None:
    for name in names:
        if getattr(options, name, None) is not None:
            raise InputError(f"--{name.replace('_', '-')} is for folders of images; {options.data} has its own pixels")


def _sides(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if not all(side.isdecimal() and 0 < int(side) < 100_000 for side in sides) or len(sides) > 2:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a side in pixels, such as 224, nor HxW, such as 49x10")
    return int(sides[0]), int(sides[-1])


def _numbers(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers, such as 104,117,123, nor one")
    return numbers
