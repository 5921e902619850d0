"""Folders of photographs, sorted into sub-folders or listed in a table, decoded while the network computes.

Source: vieito2017, 3.2.1 and 3.2.3: batches read by the CPU ahead of use, resized, cropped, in RGB or BGR, less the
mean pixel of the training images.
"""

import csv
import json
import os
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from fewbits.data.dataset import stratified
from fewbits.errors import InputError, check_integers
from fewbits.names import CHANNEL_ORDERS

AHEAD = 2  # batches that are decoded before they are asked for

TABLE = "labels.csv"
IMAGES = "images"  # the sub-folder that its paths may leave out
FILE_COLUMNS = ("image", "file", "filename", "id")
LABEL_COLUMN = "label"
CLASS_INDEX = "class_index.json"
MOST_CLASSES = 100_000  # more is a slip, or an identifier taken for a label


class ImageFolder:
    """Images in files and their labels, in no more memory than a few batches; made by `load_folder`.

    classes: names of the sub-folders, sorted, or those of a table; a label is an index into them. files: paths below
    `path`, sorted. labels: (n,) int64. skipped: what could not be used, path below `path` -> why; a file is found to be
    unreadable only when its turn to be decoded comes.
    """

    def __init__(self, path: Path, classes, files: Sequence[str], labels, skipped: dict, prepare, on_skip):
        self.path, self.classes, self.files = path, tuple(classes), tuple(files)
        self.labels = np.asarray(labels, np.int64)
        self.skipped = skipped
        self._prepare, self._on_skip = prepare, on_skip

    def __len__(self) -> int:
        return len(self.files)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (self._prepare.size, self._prepare.size, 3)

    @property
    def checksum(self) -> str:
        """SHA-256 over the names of the files, their labels and how images are prepared; not over what they hold."""
        listing = (*self.files, *map(str, self.labels), repr(self._prepare.settings))
        return sha256("\n".join(listing).encode(errors="surrogateescape")).hexdigest()

    def batches(self, batch_size: int, shuffle_seed=None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield images (n, size, size, 3) float32 and labels (n,) int64, in the order of `files`.

        shuffle_seed: an integer or a sequence of them; draws the order. A batch is short of the files that cannot be
        decoded: each is added to `skipped` and told once.
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

    def split(self, share: float = 0.1, seed: int = 0) -> tuple["ImageFolder", "ImageFolder"]:
        """Return two folders: the rest, and a random `share` of each class. Raises InputError outside (0, 1)."""
        if not 0 < share < 1:
            raise InputError(f"the share must be between 0 and 1, not {share!r}")
        held_out, rest = stratified(self.labels, share, seed)
        if not len(held_out):
            raise InputError(f"{self.path} has a single image a class; none can be held out")
        return self.pick(rest), self.pick(held_out)

    def split_photographs(self, share: float = 0.1, seed: int = 0) -> tuple["ImageFolder", "ImageFolder"]:
        """Return two folders: the rest, and all images of a random `share` of the photographs they were cut out of.

        Raises InputError outside (0, 1), where a file is not called PHOTOGRAPH-NUMBER, and with a single photograph.
        """
        if not 0 < share < 1:
            raise InputError(f"the share must be between 0 and 1, not {share!r}")
        photographs = np.array([photograph_of(self.path / file) for file in self.files])
        names = np.random.default_rng(seed).permutation(np.unique(photographs))
        if len(names) < 2:
            raise InputError(f"{self.path} has images of one photograph, {names[0]}; none can be held out")
        chosen = np.isin(photographs, names[: min(max(1, round(share * len(names))), len(names) - 1)])
        return self.pick(np.flatnonzero(~chosen)), self.pick(np.flatnonzero(chosen))

    def pick(self, indices) -> "ImageFolder":
        """Return the folder with the files at `indices` only, in that order."""
        files = [self.files[i] for i in indices]
        return ImageFolder(
            self.path, self.classes, files, self.labels[indices], self.skipped, self._prepare, self._on_skip
        )

    def _submit(self, pool, indices):
        return [(i, pool.submit(self._decoded, self.files[i])) for i in indices]

    def _decoded(self, name):
        """Return the image, or in words why there is none."""
        try:
            return self._prepare(self.path / name)
        except MemoryError:
            raise
        except Exception as error:  # whatever a damaged file raises: Pillow's, struct's and zlib's errors differ
            return f"{error or type(error).__name__}".replace(str(self.path / name), "it")

    def _usable(self, name, image):
        if isinstance(image, str) and name not in self.skipped:
            self.skipped[name] = image
            self._on_skip(self.path / name, image)
        return not isinstance(image, str)


def photograph_of(path: Path) -> str:
    """Return the photograph that the image file `path` was cut out of; InputError if it is not PHOTOGRAPH-NUMBER."""
    photograph, _, number = path.stem.rpartition("-")
    if not photograph or not number.isdecimal():
        raise InputError(f"{path} is not called PHOTOGRAPH-NUMBER{path.suffix}, so its photograph is unknown")
    return photograph


def load_folder(
    path: Path | str,
    *,
    size: int,
    order: str = "rgb",
    mean_pixel: Sequence[float] | None = None,
    crop: bool = True,
    scale: float = 1.0,
    on_skip: Callable[[Path, str], None] | None = None,
) -> ImageFolder:
    """Return the images below `path`: one sub-folder for each class, with folders of their own or without, or a table.

    The table is a `labels.csv` in `path`. Its first line names the columns: `image` (or `file`, `filename`, `id`), a
    path below `path` or its sub-folder `images`, with its suffix or without, and `label`, an integer from 0; what other
    columns and unlisted files say is passed over. A `class_index.json` beside it may name the classes, label -> name or
    [identifier, name] (the layout of Keras' imagenet_class_index.json); else they are called by their numbers.

    size: side of the images that come out, in pixels. crop: scale the shorter side to `size` and cut out the middle;
    False squeezes the whole image into the square. Both are bilinear. order: of the channels, `rgb` or `bgr` (networks
    from Caffe). mean_pixel: three numbers in that order, subtracted from pixels of 0 to 255. scale: what the
    differences are multiplied with. on_skip: is told the path and the reason of what is not used, instead of a
    warning: files that are no images, truncated, of more than 8 bits a channel or larger than Pillow's limit, and links
    that lead out of the folder or to other folders; and what a table lists and is not there. Hidden files are passed
    over.

    Raises InputError where there is no Pillow, no such folder, fewer than two classes, a class without files, or a
    table that cannot be read, lacks a column, names a file twice or outside of the folder, or has a label that is none.
    """
    if order not in CHANNEL_ORDERS:
        raise InputError(f"unknown order {order!r}; it is one of {', '.join(CHANNEL_ORDERS)}")
    check_integers(size=(size, 1))
    prepare = _Preparation(int(size), order, _checked_mean(mean_pixel), bool(crop), _checked_scale(scale))
    root, on_skip = Path(path), on_skip or _warn
    try:
        entries = {entry.name: entry for entry in os.scandir(root)}
    except OSError as error:
        raise InputError(f"{root} is no folder that can be read ({error.strerror})") from None
    classes, files, labels, skipped = _listed(root) if TABLE in entries else _sorted(root, entries)
    for name, reason in skipped.items():
        on_skip(root / name, reason)
    return ImageFolder(root, classes, files, labels, skipped, prepare, on_skip)


def _sorted(root: Path, entries: dict[str, os.DirEntry]):
    """Return classes, files, labels and what is left out of a folder with one sub-folder a class."""
    classes = sorted(name for name, e in entries.items() if e.is_dir(follow_symlinks=False) and name[0] != ".")
    if len(classes) < 2:
        raise InputError(
            f"{root} has {len(classes)} sub-folders; it needs at least two, one for each class, or a {TABLE}"
        )
    files, labels, skipped = [], [], {}
    for label, name in enumerate(classes):
        found, left_out = _listing(root, name)
        if not found:
            raise InputError(f"{root / name} holds no files; fill or remove it")
        files += found
        labels += [label] * len(found)
        skipped |= left_out
    return classes, files, labels, skipped


def _listed(root: Path):
    """Return classes, files, labels and what is left out of a folder with a table of labels."""
    table = root / TABLE
    present, left_out = _listing(root, ".")
    named = _by_name([*present, *left_out])
    label_of, skipped = {}, {}
    for line, name, label in _rows(table):
        found = named.get(name, [name])
        if len(found) > 1:
            raise InputError(f"{table}, line {line}: {name!r} may be {' or '.join(found)}; write its suffix too")
        [file] = found
        if file in label_of:
            raise InputError(f"{table}, line {line}: {name!r} is listed twice; keep one line")
        label_of[file] = label
        if file in left_out or name not in named:
            skipped[file] = left_out.get(file, f"{TABLE} lists it, and it is not there")
    classes = _classes(root / CLASS_INDEX, table, max(label_of.values()))
    files = sorted(label_of.keys() - skipped.keys())
    if not files:
        raise InputError(f"{table} lists {len(label_of)} files, none of which is in {root} or its sub-folder {IMAGES}")
    return classes, files, [label_of[file] for file in files], skipped


def _by_name(files: Sequence[str]) -> dict[str, list[str]]:
    """Return what a table may call each of `files` -> the files meant by it, more than one where stems are equal."""
    short = {file: file.removeprefix(f"{IMAGES}/") for file in files}
    stems = defaultdict(list)
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


def _checked_row(where, name, label):
    path = PurePosixPath(name or "")
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise InputError(f"{where}: {name!r} is no path below the folder; write it from there on, without ..")
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
    """What is done to each image file."""

    def __init__(self, size, order, mean, crop, scale):
        try:
            from PIL import Image, ImageOps
        except ImportError:
            raise InputError("folders of images need Pillow; install it with `pip install pillow`") from None
        self._image, self._upright = Image, ImageOps.exif_transpose
        self.size, self.order, self.mean, self.crop, self.scale = size, order, mean, crop, scale
        self.settings = size, order, mean, crop, scale

    def __call__(self, path: Path) -> np.ndarray:
        with self._image.open(path) as image:
            self._check_pixels(*image.size)
            if image.mode[0] in "IF":
                raise ValueError(f"its pixels are of mode {image.mode}, not of 8 bits a channel")
            image = self._fitted(self._upright(image).convert("RGB"))
        pixels = np.asarray(image, np.float32)
        if self.order == "bgr":
            pixels = pixels[..., ::-1]
        if self.mean is not None:
            pixels = pixels - np.float32(self.mean)
        return np.ascontiguousarray(pixels * np.float32(self.scale))

    def _fitted(self, image):
        width, height = image.size
        bilinear = self._image.Resampling.BILINEAR
        if not self.crop:
            return image.resize((self.size, self.size), bilinear)
        shorter = min(width, height)
        width, height = (round(side * self.size / shorter) for side in (width, height))
        self._check_pixels(width, height)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        return image.resize((width, height), bilinear).crop((left, top, left + self.size, top + self.size))

    def _check_pixels(self, width, height):
        limit = self._image.MAX_IMAGE_PIXELS
        if limit and width * height > limit:
            raise ValueError(f"it has {width} x {height} pixels, more than Pillow's limit of {limit:,}")


def _listing(root: Path, name: str) -> tuple[list[str], dict[str, str]]:
    """Return the files below `root`/`name`, sorted, and what is left out with the reason; paths are below `root`."""
    files, left_out, folders, home = [], {}, [name], root.resolve()
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
                left_out[path] = "it is a link to a folder or to nothing" if entry.is_symlink() else "it is no file"
    return sorted(files), dict(sorted(left_out.items()))


def _checked_mean(mean):
    if mean is None:
        return None
    try:
        mean = tuple(float(m) for m in mean)
    except (TypeError, ValueError):
        mean = ()
    if len(mean) != 3 or not np.isfinite(mean).all():
        raise InputError("the mean pixel must be three numbers, in the order of the channels")
    return mean


def _checked_scale(scale):
    if not np.isfinite(scale) or scale == 0:
        raise InputError(f"scale must be a number other than 0, not {scale!r}")
    return float(scale)


def _warn(path, reason):
    warnings.warn(f"{path} is skipped: {reason}", stacklevel=3)
