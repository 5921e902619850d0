"""Folders of photographs, sorted into sub-folders or listed in a table, decoded while the network computes.

Source: vieito2017, 3.2.1 and 3.2.3: the CPU reads batches ahead of use, resizes and crops them, in RGB or BGR, and
subtracts the mean pixel of the training images.
"""

import csv
import json
import os
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fewbits.data.dataset import stratified
from fewbits.data.image_files import open_image
from fewbits.data.pixels import GRAY, Pixels
from fewbits.errors import InputError, check_integer, needs_extra
from fewbits.names import PART_FOLDERS

AHEAD = 2  # batches that are decoded before they are asked for

TABLE = "labels.csv"
IMAGES = "images"  # the sub-folder that its paths may leave out
FILE_COLUMNS = ("image", "file", "filename", "id")
LABEL_COLUMN = "label"
CLASS_INDEX = "class_index.json"
BACKGROUND = "white"  # what shows through where an image is transparent
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")  # what Pillow calls gray images of 16 bits
MOST_CLASSES = 100_000  # more is a slip, or an identifier taken for a label

_Listed = tuple[list[str], list[str], list[int], dict[str, str]]  # classes, files, labels, skipped files with reasons


class ImageFolder:
    """Images in files and their labels, in no more memory than a few batches; made by `load_folder`.

    Attributes:
        path: The folder.
        classes: Names of the sub-folders, sorted, or those of a table; a label is an index into them.
        files: Paths below `path`, sorted.
        labels: (n,) int64.
        skipped: Path below `path` -> why the file was not used; an unreadable file is found when it is decoded.
    """

    def __init__(
        self,
        path: Path,
        classes: Sequence[str],
        files: Sequence[str],
        labels: Sequence[int] | np.ndarray,
        skipped: dict[str, str],
        prepare: "_Preparation",
        on_skip: Callable[[Path, str], None],
    ):
        self.path, self.classes, self.files = path, tuple(classes), tuple(files)
        self.labels = np.asarray(labels, np.int64)
        self.skipped = skipped
        self._prepare, self._on_skip = prepare, on_skip

    def __len__(self) -> int:
        return len(self.files)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image as it comes out."""
        return (*self._prepare.sides, self._prepare.channels)

    @property
    def checksum(self) -> str:
        """SHA-256 over the names of the files, their labels and how images are prepared, but not over their content."""
        listing = (*self.files, *map(str, self.labels), repr(self._prepare.settings))
        return sha256("\n".join(listing).encode(errors="surrogateescape")).hexdigest()

    def batches(
        self, batch_size: int, shuffle_seed: int | Sequence[int] | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Decode the images, batch by batch.

        Files that cannot be decoded are left out of their batch, added to `skipped` and reported once.

        Args:
            batch_size: Files per batch.
            shuffle_seed: Draws the order; None keeps that of `files`.

        Yields:
            Images (n, height, width, channels) float32 and labels (n,) int64.
        """
        order = (
            np.arange(len(self)) if shuffle_seed is None else np.random.default_rng(shuffle_seed).permutation(len(self))
        )
        chunks = (order[start : start + batch_size] for start in range(0, len(order), batch_size))
        pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="fewbits-images")
        try:
            waiting = deque(self._submit(pool, chunk) for chunk in islice(chunks, AHEAD))
            while waiting:
                decoded = [(i, future.result()) for i, future in waiting.popleft()]
                waiting.extend(self._submit(pool, chunk) for chunk in islice(chunks, 1))
                images = [(i, image) for i, image in decoded if self._usable(self.files[i], image)]
                if images:
                    yield np.stack([image for _, image in images]), self.labels[[i for i, _ in images]]
        finally:
            pool.shutdown(cancel_futures=True)

    @property
    def pixels(self) -> Pixels:
        """What becomes of the pixels, 0 to 255, before a network sees them."""
        return self._prepare.pixels

    def unscaled(self) -> "ImageFolder":
        """Return the folder with images of pixels as they are, 0 to 255, in the same order of the channels."""
        prepare = copy(self._prepare)
        prepare.pixels = Pixels(self.pixels.order)
        return ImageFolder(self.path, self.classes, self.files, self.labels, self.skipped, prepare, self._on_skip)

    def split(self, share: float = 0.1, seed: int = 0) -> tuple["ImageFolder", "ImageFolder"]:
        """Divide the images at random, with the same share of each class.

        Args:
            share: Of the images to hold out, between 0 and 1.
            seed: Of the draw.

        Returns:
            The rest, and the share.

        Raises:
            InputError: when `share` is out of range, or each class has a single image.
        """
        if not 0 < share < 1:
            raise InputError(f"the share must be between 0 and 1, not {share!r}")
        held_out, rest = stratified(self.labels, share, seed)
        if not len(held_out):
            raise InputError(f"{self.path} has a single image per class; none can be held out")
        return self.pick(rest), self.pick(held_out)

    def split_photographs(self, share: float = 0.1, seed: int = 0) -> tuple["ImageFolder", "ImageFolder"]:
        """Divide the images by the photographs they were cut out of.

        Args:
            share: Of the photographs to hold out, between 0 and 1.
            seed: Of the draw.

        Returns:
            The rest, and all images of the share.

        Raises:
            InputError: when `share` is out of range, a file is not called PHOTOGRAPH-NUMBER, or there is only one
                photograph.
        """
        if not 0 < share < 1:
            raise InputError(f"the share must be between 0 and 1, not {share!r}")
        photographs = np.array([photograph_of(self.path / file) for file in self.files])
        names = np.random.default_rng(seed).permutation(np.unique(photographs))
        if len(names) < 2:
            raise InputError(f"{self.path} has images of one photograph, {names[0]}; none can be held out")
        chosen = np.isin(photographs, names[: min(max(1, round(share * len(names))), len(names) - 1)])
        return self.pick(np.flatnonzero(~chosen)), self.pick(np.flatnonzero(chosen))

    def pick(self, indices: np.ndarray) -> "ImageFolder":
        """Return the folder with only the files at `indices` (n,), in that order."""
        files = [self.files[i] for i in indices]
        return ImageFolder(
            self.path, self.classes, files, self.labels[indices], self.skipped, self._prepare, self._on_skip
        )

    def _submit(self, pool: ThreadPoolExecutor, indices: np.ndarray) -> list[tuple[int, Future]]:
        return [(i, pool.submit(self._decoded, self.files[i])) for i in indices]

    def _decoded(self, name: str) -> np.ndarray | str:
        """Return the image, or the reason why there is none."""
        try:
            return self._prepare(self.path / name)
        except MemoryError:
            raise
        except Exception as error:  # whatever a damaged file raises: Pillow's, struct's and zlib's errors differ
            return f"{error or type(error).__name__}".replace(str(self.path / name), "it")

    def _usable(self, name: str, image: np.ndarray | str) -> bool:
        if isinstance(image, str) and name not in self.skipped:
            self.skipped[name] = image
            self._on_skip(self.path / name, image)
        return not isinstance(image, str)


def part_folders(path: Path) -> dict[str, Path]:
    """Return the folders of the parts of a data set: train, validation or val, and test.

    Args:
        path: The folder that holds them.

    Returns:
        Part -> its folder, for those that exist.
    """
    return {name: path / n for name, known in PART_FOLDERS.items() for n in reversed(known) if (path / n).is_dir()}


def photograph_of(path: Path) -> str:
    """Return the name of the photograph that an image was cut out of.

    Args:
        path: The image file, called PHOTOGRAPH-NUMBER.

    Raises:
        InputError: when it is called something else.
    """
    photograph, _, number = path.stem.rpartition("-")
    if not photograph or not number.isdecimal():
        raise InputError(f"{path} is not called PHOTOGRAPH-NUMBER{path.suffix}, so its photograph is unknown")
    return photograph


def load_folder(
    path: Path | str,
    *,
    size: int | tuple[int, int],
    order: str = "rgb",
    mean_pixel: Sequence[float] | None = None,
    crop: bool = True,
    scale: float = 1.0,
    background: str = BACKGROUND,
    classes: Sequence[str] | None = None,
    on_skip: Callable[[Path, str], None] | None = None,
) -> ImageFolder:
    """Find the images below a folder that has one sub-folder per class, or a table of labels.

    Sub-folders may have folders of their own. The table is a `labels.csv` in the folder. Its first line names the
    columns: `image` (or `file`, `filename`, `id`), a path below the folder or its sub-folder `images`, with or without
    suffix, and `label`, an integer from 0. Other columns and files that are not listed are ignored. A
    `class_index.json` beside it may name the classes, label -> name or [identifier, name] (the layout of Keras'
    imagenet_class_index.json); otherwise their names are their numbers.

    Images come out as pixels from 0 to 255, before mean and scale. Colour, gray and palette images become red, green
    and blue, or gray (ITU-R 601) with the order `gray`. Gray images of 16 bits are scaled from 0 to 65535 to 0 to 255,
    without rounding; of colour images of 16 bits, Pillow reads the upper 8. Transparent images are laid on the
    background. A photograph is turned as its EXIF entry says. Of several frames, the first is read.

    These files are skipped: files that are not images, are truncated, have pixels of 32 bits or are larger than
    Pillow's limit; links that lead out of the folder or to other folders; and files that a table lists but that do not
    exist. Hidden files are ignored.

    Args:
        path: The folder.
        size: Height and width, in pixels, of the images that come out; one number for squares.
        order: Of the channels: `rgb`, `bgr` (networks from Caffe) or `gray`, one channel.
        mean_pixel: Three numbers in that order, or one for all channels, subtracted from pixels from 0 to 255; None
            subtracts nothing.
        crop: Scale the image until it just covers `size` and cut out the middle; False squeezes the whole image into
            it. Both are bilinear.
        scale: What the differences are multiplied by.
        background: The colour behind transparent pixels: a name such as `white` or `black`, or `#rrggbb`.
        classes: The names of the classes, in the order of their labels, as for a test part that lacks some; None for
            those of the sub-folders. A table has its own.
        on_skip: Called with the path of a file that is skipped and the reason; None warns.

    Returns:
        The files, to be decoded batch by batch.

    Raises:
        InputError: when Pillow is not installed, there is no such folder, there are fewer than two classes, a class has
            no files, or a table cannot be read, lacks a column, names a file twice or outside of the folder, or has a
            label that is not an integer.
    """
    prepare = _Preparation(size, Pixels(order, mean_pixel, scale), bool(crop), background)
    root, on_skip = Path(path), on_skip or _warn
    try:
        entries = {entry.name: entry for entry in os.scandir(root)}
    except OSError as error:
        raise InputError(f"{root} is not a folder that can be read ({error.strerror})") from None
    if TABLE in entries:
        found = _listed(root)
    else:
        found = _sorted(root, entries) if classes is None else _sorted_as(root, entries, list(classes))
    for name, reason in found[-1].items():
        on_skip(root / name, reason)
    return ImageFolder(root, *found, prepare, on_skip)


def class_folders(path: Path) -> list[str]:
    """Return the names of the sub-folders of a folder, one for each class, sorted; none if it has a table of labels.

    Args:
        path: The folder.
    """
    entries = {entry.name: entry for entry in os.scandir(path)}
    return [] if TABLE in entries else _folder_names(entries)


def _folder_names(entries: dict[str, os.DirEntry]) -> list[str]:
    return sorted(name for name, e in entries.items() if e.is_dir(follow_symlinks=False) and name[0] != ".")


def _sorted_as(root: Path, entries: dict[str, os.DirEntry], classes: list[str]) -> _Listed:
    """Return what a folder holds whose sub-folders are some of `classes`."""
    present = _folder_names(entries)
    for name in present:
        if name not in classes:
            known = f"{', '.join(classes[:8])}{f' and {len(classes) - 8} more' if len(classes) > 8 else ''}"
            raise InputError(
                f"{root} has a folder {name!r}, and there is no such class in the training part, only {known}; rename "
                "or remove it"
            )
    files: list[str] = []
    labels: list[int] = []
    skipped: dict[str, str] = {}
    for name in present:
        found, left_out = _listing(root, name)
        files += found
        labels += [classes.index(name)] * len(found)
        skipped |= left_out
    if not files:
        raise InputError(f"{root} holds no files in the folders of its classes")
    return classes, files, labels, skipped


def _sorted(root: Path, entries: dict[str, os.DirEntry]) -> _Listed:
    """Return what a folder with one sub-folder per class holds."""
    classes = _folder_names(entries)
    if len(classes) < 2:
        raise InputError(
            f"{root} has {len(classes)} sub-folders; it needs at least two, one for each class, or a {TABLE}"
        )
    files: list[str] = []
    labels: list[int] = []
    skipped: dict[str, str] = {}
    for label, name in enumerate(classes):
        found, left_out = _listing(root, name)
        if not found:
            raise InputError(f"{root / name} holds no files; fill or remove it")
        files += found
        labels += [label] * len(found)
        skipped |= left_out
    return classes, files, labels, skipped


def _listed(root: Path) -> _Listed:
    """Return what a folder with a table of labels holds."""
    table = root / TABLE
    present, left_out = _listing(root, ".")
    named = _by_name([*present, *left_out])
    label_of: dict[str, int] = {}
    skipped: dict[str, str] = {}
    for line, name, label in _rows(table):
        found = named.get(name, [name])
        if len(found) > 1:
            raise InputError(f"{table}, line {line}: {name!r} may be {' or '.join(found)}; write its suffix too")
        [file] = found
        if file in label_of:
            raise InputError(f"{table}, line {line}: {name!r} is listed twice; keep one line")
        label_of[file] = label
        if file in left_out or name not in named:
            skipped[file] = left_out.get(file, f"{TABLE} lists it, but it does not exist")
    classes = _classes(root / CLASS_INDEX, table, max(label_of.values()))
    files = sorted(label_of.keys() - skipped.keys())
    if not files:
        raise InputError(f"{table} lists {len(label_of)} files, none of which is in {root} or its sub-folder {IMAGES}")
    return classes, files, [label_of[file] for file in files], skipped


def _by_name(files: Sequence[str]) -> dict[str, list[str]]:
    """Return what a table may call each of `files` -> the files meant by it, more than one where stems are equal."""
    short = {file: file.removeprefix(f"{IMAGES}/") for file in files}
    stems: dict[str, list[str]] = defaultdict(list)
    for file, name in short.items():
        for long in {file, name}:
            stems[str(PurePosixPath(long).with_suffix(""))].append(file)
    return {**stems, **{name: [file] for file, name in short.items()}, **{file: [file] for file in files}}


def _rows(table: Path) -> list[tuple[int, str, int]]:
    """Return line, path and label of each row of a table."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{table} cannot be read ({error}); it must be a table in UTF-8") from None
    column = next((c for c in FILE_COLUMNS if c in columns), None)
    if column is None or LABEL_COLUMN not in columns:
        lacking = " or ".join(FILE_COLUMNS) if column is None else LABEL_COLUMN
        raise InputError(f"{table} has no column {lacking}; its first line has {', '.join(columns) or 'nothing'}")
    if not rows:
        raise InputError(f"{table} lists no images; write a line for each")
    return [(line, *_checked_row(f"{table}, line {line}", row[column], row[LABEL_COLUMN])) for line, row in rows]


def _checked_row(where: str, name: str | None, label: str | None) -> tuple[str, int]:
    path = PurePosixPath(name or "")
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise InputError(
            f"{where}: {name!r} is not a path below the folder; write it relative to the folder, without .."
        )
    label = (label or "").strip()
    if not (label.isascii() and label.isdecimal() and len(label) < 10 and int(label) < MOST_CLASSES):
        raise InputError(f"{where}: the label must be an integer from 0 to {MOST_CLASSES - 1}, not {label[:40]!r}")
    return str(path), int(label)


def _classes(index: Path, table: Path, largest: int) -> list[str]:
    """Return the names of the classes: those of `index`, if it exists, else the numbers up to the `largest` label."""
    if index.is_file():
        names = _class_names(index)
        if largest >= len(names):
            raise InputError(f"{table} has the label {largest}, and {index} names the classes 0 to {len(names) - 1}")
    else:
        names = [str(label) for label in range(largest + 1)]
    if len(names) < 2:
        raise InputError(f"{table} has one class; it needs at least two")
    return names


def _class_names(index: Path) -> list[str]:
    try:
        named = json.loads(index.read_bytes())
        names = [named[str(label)] for label in range(len(named))]
        names = [name[-1] if isinstance(name, list) else name for name in names]
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in names):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise InputError(f"{index} must name the classes 0, 1, ... as in {{'0': ['n01440764', 'tench']}}") from None
    return names


class _Preparation:
    """How an image file becomes an array."""

    def __init__(self, size: int | tuple[int, int], pixels: Pixels, crop: bool, background: str):
        with needs_extra("data", "Folders of images"):
            from PIL import Image, ImageColor, ImageOps
        self._image, self._upright = Image, ImageOps.exif_transpose
        self.sides, self.pixels, self.crop = _checked_sides(size), pixels, crop
        self.channels = 1 if pixels.order == GRAY else 3
        try:
            self.background = ImageColor.getrgb(background)[:3]
        except (ValueError, AttributeError, TypeError):
            raise InputError(f"background must be a colour, such as white or #808080, not {background!r}") from None
        one = self.sides[0] if self.sides[0] == self.sides[1] else self.sides
        behind = () if background == BACKGROUND else (self.background,)
        self.settings = (one, pixels.order, pixels.mean, crop, pixels.scale, *behind)

    def __call__(self, path: Path) -> np.ndarray:
        with open_image(path) as image:
            self._check_pixels(*image.size)
            image = self._fitted(self._plain(self._upright(image), image.format))
        array = np.asarray(image, np.float32)
        if array.ndim == 2:
            array = np.repeat(array[..., np.newaxis], self.channels, -1)
        return self.pixels(array)

    def _plain(self, image: Any, kind: str | None) -> Any:
        """Return an image of gray or of red, green and blue, without transparency; of 16 bits as floats up to 255."""
        if image.mode in SIXTEEN_BITS or image.mode == "I" and kind in ("PNG", "PPM"):
            return self._image.fromarray(np.asarray(image).astype(np.float32) * np.float32(255 / 65535))
        if image.mode[0] in "IF":
            raise ValueError(f"its pixels are of mode {image.mode}, not of 8 or 16 bits per channel")
        if image.mode[-1] in "Aa" or "transparency" in image.info:
            image = image.convert("RGBA")
            below = self._image.new("RGBA", image.size, (*self.background, 255))
            image = self._image.alpha_composite(below, image)
        return image.convert("L" if self.channels == 1 else "RGB")

    def _fitted(self, image: Any) -> Any:
        width, height = image.size
        rows, columns = self.sides
        bilinear = self._image.Resampling.BILINEAR
        if not self.crop:
            return image.resize((columns, rows), bilinear)
        if columns * height >= rows * width:
            width, height = columns, round(height * columns / width)
        else:
            width, height = round(width * rows / height), rows
        self._check_pixels(width, height)
        left, top = (width - columns) // 2, (height - rows) // 2
        return image.resize((width, height), bilinear).crop((left, top, left + columns, top + rows))

    def _check_pixels(self, width: int, height: int) -> None:
        limit = self._image.MAX_IMAGE_PIXELS
        if limit and width * height > limit:
            raise ValueError(f"it has {width} x {height} pixels, more than Pillow's limit of {limit:,}")


def _listing(root: Path, name: str) -> tuple[list[str], dict[str, str]]:
    """Return the files below `root`/`name`, sorted, and what is left out with the reason; paths are below `root`."""
    files: list[str] = []
    left_out: dict[str, str] = {}
    folders, home = [name], root.resolve()
    while folders:
        folder = folders.pop()
        for entry in os.scandir(root / folder):
            path = f"{folder}/{entry.name}".removeprefix("./")
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(home):
                left_out[path] = "it is a link that leads out of the folder"
            elif entry.is_file():
                files.append(path)
            else:
                left_out[path] = "it is a link to a folder or to nothing" if entry.is_symlink() else "it is not a file"
    return sorted(files), dict(sorted(left_out.items()))


def _checked_sides(size: int | tuple[int, int]) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(sides) != 2:
        raise InputError(f"size must be one number, or height and width, not {size!r}")
    for side in sides:
        check_integer("size", side, 1)
    return int(sides[0]), int(sides[1])


def _warn(path: Path, reason: str) -> None:
    warnings.warn(f"{path} is skipped: {reason}", stacklevel=3)
