"""Images of a single plant each, cut out of photographs with boxes, and of the ground between the plants.

Source: backstrom2018, 3.1.3 and 3.1.4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewbits.data.dataset import Split
from fewbits.data.folders import load_folder, photograph_of
from fewbits.data.voc import Box, Photograph
from fewbits.errors import InputError, check_integers
from fewbits.io.files import write_aside

BACKGROUND = "background"
TRIES = 200  # places for one image of the background


@dataclass(frozen=True)
class Cutouts(Split):
    """Images (n, size, size, 3) uint8, RGB, labels (n,) int64, and the name of the photograph each comes from.

    classes: sorted names; a label is an index into them.
    """

    classes: tuple[str, ...]
    photographs: tuple[str, ...]

    def pick(self, indices) -> "Cutouts":
        """Return the images at `indices` (n,) only, in that order."""
        photographs = tuple(self.photographs[i] for i in indices)
        return Cutouts(self.images[indices], self.labels[indices], self.classes, photographs)

    def take(self, n: int) -> "Cutouts":
        return self.pick(np.arange(len(self))[:n])

    @property
    def background(self) -> np.ndarray:
        """Whether each image is of the background, (n,) bool."""
        return np.array(self.classes)[self.labels] == BACKGROUND


def cut_out(
    photographs: Sequence[Photograph],
    size: int,
    *,
    square: bool = False,
    background: bool = True,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Cutouts:
    """Return each box of each photograph, scaled to `size` x `size` pixels; bilinear.

    photographs: have a `name`, an `image` (height, width, 3) and `boxes`, as a Photograph and a Scene do. square: cut
    the smallest square around the box, moved into the photograph where it can be. Else the box is stretched, as in the
    source: plants change their proportions, which costs it errors (4.2.4). background: add as many images that touch
    no box as the photograph has boxes, one at least, but none where no room is found; their widths and heights are
    normal with the mean and deviation of all boxes (3.1.4), within the smallest and the largest. seed: draws them.
    progress: is told how many photographs are done.

    Raises InputError without boxes, on a class called background, and where an image cannot be read.
    """
    check_integers(size=(size, 1), seed=(seed, 0))
    boxes = [box for photograph in photographs for box in photograph.boxes]
    if not boxes:
        raise InputError(f"{len(photographs)} photographs have no boxes; draw one around each plant")
    names = sorted({box.name for box in boxes} | ({BACKGROUND} if background else set()))
    if background and any(box.name == BACKGROUND for box in boxes):
        raise InputError(f"a box is called {BACKGROUND!r}, and so are the images between boxes; do without those")
    rng = np.random.default_rng(seed)
    images, found, origins = [], [], []
    for done, photograph in enumerate(photographs, 1):
        pixels = photograph.image
        wanted = [*photograph.boxes]
        if background:
            wanted += _between(photograph.boxes, boxes, pixels.shape[1], pixels.shape[0], square, rng)
        images += [_resized(pixels, _squared(box, pixels) if square else box, size) for box in wanted]
        found += [names.index(box.name) for box in wanted]
        origins += [photograph.name] * len(wanted)
        if progress:
            progress(done)
    return Cutouts(np.stack(images), np.array(found, np.int64), tuple(names), tuple(origins))


def write_cutouts(cutouts: Cutouts, folder: Path, progress: Callable[[int], None] | None = None) -> None:
    """Write each image to `folder`/CLASS/PHOTOGRAPH-NUMBER.png, lossless: a folder that `load_folder` reads.

    progress: is told how many images are done.
    """
    from PIL import Image

    numbers = dict.fromkeys(cutouts.photographs, 0)
    images = zip(cutouts.images, cutouts.labels, cutouts.photographs)
    for done, (image, label, photograph) in enumerate(images, 1):
        path = folder / cutouts.classes[label] / f"{photograph}-{numbers[photograph]:03}.png"
        numbers[photograph] += 1
        path.parent.mkdir(exist_ok=True)
        with write_aside(path) as file:
            Image.fromarray(image).save(file, "PNG")
        if progress:
            progress(done)


def read_cutouts(folder: Path | str, size: int) -> Cutouts:
    """Return what `write_cutouts` wrote, sorted by class and name, scaled to `size` where it was of another.

    Raises InputError as `load_folder`, and where an image cannot be read or its name has no photograph.
    """

    def refuse(path, reason):
        raise InputError(f"{path} cannot be used: {reason}")

    files = load_folder(folder, size=size, crop=False, on_skip=refuse)
    photographs = tuple(photograph_of(files.path / file) for file in files.files)
    images = np.concatenate([images for images, _ in files.batches(64)])
    return Cutouts(images.astype(np.uint8), files.labels, files.classes, photographs)


def _between(taken: Sequence[Box], everywhere: Sequence[Box], width: int, height: int, square: bool, rng) -> list[Box]:
    """Return boxes of background that touch none of those `taken`, in sizes like those of `everywhere`."""
    widths, heights = ([getattr(box, side) for box in everywhere] for side in ("width", "height"))
    edges = np.array([box[1:] for box in taken]).reshape(-1, 4).T[..., np.newaxis]
    found = []
    for _ in range(max(1, len(taken))):
        wide, high = _drawn(widths, width, rng), _drawn(heights, height, rng)
        if square:
            wide = high = min(max(wide, high), width, height)
        left, top = rng.integers(0, width - wide + 1, TRIES), rng.integers(0, height - high + 1, TRIES)
        apart = (left >= edges[2]) | (left + wide <= edges[0]) | (top >= edges[3]) | (top + high <= edges[1])
        free = np.flatnonzero(apart.all(0))
        if len(free):
            x, y = int(left[free[0]]), int(top[free[0]])
            found.append(Box(BACKGROUND, x, y, x + wide, y + high))
    return found


def _drawn(sides: Sequence[int], most: int, rng) -> int:
    """Return a side drawn as the `sides` are distributed, of at most `most` pixels."""
    return int(np.clip(round(rng.normal(np.mean(sides), np.std(sides))), min(sides), min(max(sides), most)))


def _squared(box: Box, pixels: np.ndarray) -> Box:
    """Return the smallest square around `box`, of at most the shorter side of `pixels`, and inside of them."""
    height, width, _ = pixels.shape
    side = min(max(box.width, box.height), height, width)
    left = min(max(box.left + (box.width - side) // 2, 0), width - side)
    top = min(max(box.top + (box.height - side) // 2, 0), height - side)
    return Box(box.name, left, top, left + side, top + side)


def _resized(pixels: np.ndarray, box: Box, size: int) -> np.ndarray:
    from PIL import Image

    part = Image.fromarray(pixels[box.top : box.bottom, box.left : box.right])
    return np.asarray(part.resize((size, size), Image.Resampling.BILINEAR))
