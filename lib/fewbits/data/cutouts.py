"""Images of a single plant each, cut out of photographs with boxes, and of the ground between the plants.

Source: backstrom2018, 3.1.3 and 3.1.4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewbits.data.crops import Scene
from fewbits.data.dataset import Split
from fewbits.data.folders import load_folder, photograph_of
from fewbits.data.voc import Box, Photograph
from fewbits.errors import InputError, check_integers, needs_extra
from fewbits.io.files import write_aside

BACKGROUND = "background"
TRIES = 200  # places for one image of the background


@dataclass(frozen=True)
class Cutouts(Split):
    """Images (n, size, size, 3) uint8, RGB, labels (n,) int64, and the photograph that each image comes from.

    Attributes:
        classes: Sorted names; a label is an index into them.
        photographs: The name of each image's photograph, (n,).
    """

    classes: tuple[str, ...]
    photographs: tuple[str, ...]

    def pick(self, indices: np.ndarray) -> "Cutouts":
        """Return only the images at `indices` (n,), in that order."""
        photographs = tuple(self.photographs[i] for i in indices)
        return Cutouts(self.images[indices], self.labels[indices], self.classes, photographs)

    def take(self, n: int) -> "Cutouts":
        """Return the first `n` images, or all if there are fewer."""
        return self.pick(np.arange(len(self))[:n])

    @property
    def background(self) -> np.ndarray:
        """Whether each image is of the background, (n,) bool."""
        return np.array(self.classes)[self.labels] == BACKGROUND


def cut_out(
    photographs: Sequence[Photograph | Scene],
    size: int,
    *,
    square: bool = False,
    background: bool = True,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    on_bad: Callable[[Photograph | Scene, InputError], None] | None = None,
) -> Cutouts:
    """Cut each box out of its photograph and scale it to `size` x `size` pixels, bilinear.

    Args:
        photographs: Photographs, or scenes of `draw_scenes`.
        size: Height and width of the images in pixels.
        square: Cut the smallest square around the box, moved into the photograph if it fits. Otherwise the box is
            stretched, as in the source: plants change their proportions, which costs the source errors (4.2.4).
        background: Add images that touch no box: per photograph the number of its boxes, at least one, and none if
            there is no room. Their widths and heights are drawn from a normal distribution with the mean and the
            deviation of all boxes (3.1.4), between the smallest and the largest.
        seed: Draws the background.
        progress: Called with the number of photographs that are done.
        on_bad: Called with a photograph whose image cannot be read and the reason; it is left out. None raises the
            reason.

    Raises:
        InputError: when there are no boxes, a class is called background, or an image cannot be read.
    """
    check_integers(size=(size, 1), seed=(seed, 0))
    boxes = [box for photograph in photographs for box in photograph.boxes]
    if not boxes:
        raise InputError(f"{len(photographs)} photographs have no boxes; draw one around each plant")
    names = sorted({box.name for box in boxes} | ({BACKGROUND} if background else set()))
    if background and any(box.name == BACKGROUND for box in boxes):
        raise InputError(f"a box is called {BACKGROUND!r}, as are the images between boxes; turn `background` off")
    rng = np.random.default_rng(seed)
    images, found, origins = [], [], []
    for done, photograph in enumerate(photographs, 1):
        try:
            pixels = photograph.image
        except InputError as error:
            if on_bad is None:
                raise
            on_bad(photograph, error)
            reason = error
            continue
        wanted = [*photograph.boxes]
        if background:
            wanted += _between(photograph.boxes, boxes, pixels.shape[1], pixels.shape[0], square, rng)
        images += [_resized(pixels, _squared(box, pixels) if square else box, size) for box in wanted]
        found += [names.index(box.name) for box in wanted]
        origins += [photograph.name] * len(wanted)
        if progress:
            progress(done)
    if not images:
        raise InputError(f"no photograph can be used; the last one: {reason}")
    return Cutouts(np.stack(images), np.array(found, np.int64), tuple(names), tuple(origins))


def write_cutouts(cutouts: Cutouts, folder: Path, progress: Callable[[int], None] | None = None) -> None:
    """Write each image to `folder`/CLASS/PHOTOGRAPH-NUMBER.png, lossless: a folder that `load_folder` reads.

    Args:
        cutouts: The images.
        folder: An existing folder; sub-folders of the classes are made.
        progress: Called with the number of images that are done.

    Raises:
        InputError: when Pillow is not installed.
    """
    with needs_extra("data", "Image files"):
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
    """Read what `write_cutouts` wrote.

    Args:
        folder: The folder it was written to.
        size: Height and width in pixels; images of another size are scaled.

    Returns:
        The images, sorted by class and name.

    Raises:
        InputError: as `load_folder`, and when an image cannot be read or its name does not contain its photograph.
    """

    def refuse(path: Path, reason: str) -> None:
        raise InputError(f"{path} cannot be used: {reason}")

    files = load_folder(folder, size=size, crop=False, on_skip=refuse)
    photographs = tuple(photograph_of(files.path / file) for file in files.files)
    images = np.concatenate([images for images, _ in files.batches(64)])
    return Cutouts(images.astype(np.uint8), files.labels, files.classes, photographs)


def _between(
    taken: Sequence[Box], everywhere: Sequence[Box], width: int, height: int, square: bool, rng: np.random.Generator
) -> list[Box]:
    """Return boxes of background that touch none of the boxes `taken`, in sizes like those of `everywhere`."""
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


def _drawn(sides: Sequence[int], most: int, rng: np.random.Generator) -> int:
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
    with needs_extra("data", "Image files"):
        from PIL import Image
    part = Image.fromarray(pixels[box.top : box.bottom, box.left : box.right])
    return np.asarray(part.resize((size, size), Image.Resampling.BILINEAR))
