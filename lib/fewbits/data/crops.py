"""Drawn photographs of onions and weeds in soil and in pots, with a tight box around each plant.

They replace the photographs of backstrom2018, 3.1, which are unpublished: thin-bladed onions and three kinds of
broad-leaved weeds, seen from 45 degrees above, in light and shadow, some in a pot on a bright background.

A leaf is a map from a rectangle to the picture: u runs along it, from 0 to 1, and v across it, from -1 to 1. It is
drawn by painting many points (u, v), at twice the resolution of the image. What is painted later lies in front.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import pi
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewbits.data.voc import Box, write_boxes
from fewbits.errors import check_integers, needs_extra
from fewbits.io.files import write_aside

CLASSES = ("onion", "weed")
SMALLEST = 32  # pixels; in smaller images, leaves fall between the pixels
MOST_PLANTS = 7
LEAST_VISIBLE = 0.6  # share of each plant's area; a plant that would hide more of another one is left out
LEAST_SIDE = 4  # of a box, in pixels
DENSITY = 1.5  # points per pixel, along a leaf and across it; above the square root of 2 there are no gaps


@dataclass(frozen=True)
class Scene:
    """A drawn photograph.

    Attributes:
        name: Such as `scene-00000`.
        image: (size, size, 3) uint8, RGB.
        boxes: One per plant, just around its visible pixels.
        masks: The visible pixels of each plant, (plants, size, size) bool: those that no other plant hides and no edge
            of the image cuts off.
    """

    name: str
    image: np.ndarray
    boxes: tuple[Box, ...]
    masks: np.ndarray


def draw_scenes(n: int, size: int = 224, seed: int = 0) -> Iterator[Scene]:
    """Draw scenes, each when its turn comes.

    The same seed gives the same bits on any machine whose sine is wrong in its last bits at most.

    Args:
        n: How many, at least 1; scene i is the same for every `n`.
        size: Height and width in pixels, at least 32.
        seed: At least 0.

    Returns:
        An iterator over `n` scenes.

    Raises:
        InputError: when a number is out of range or not an integer.
    """
    check_integers(scenes=(n, 1), size=(size, SMALLEST), seed=(seed, 0))
    return (_scene(f"scene-{i:05}", int(size), np.random.default_rng([seed, i])) for i in range(n))


def write_scene(scene: Scene, folder: Path) -> None:
    """Write the image of a scene to NAME.png, and its boxes to NAME.xml in the format of PASCAL VOC.

    Args:
        scene: One of `draw_scenes`.
        folder: An existing folder.

    Raises:
        InputError: when Pillow is not installed, or there is no such folder.
    """
    with needs_extra("data", "Image files"):
        from PIL import Image
    height, width, _ = scene.image.shape
    with write_aside(folder / f"{scene.name}.png") as file:
        Image.fromarray(scene.image).save(file, "PNG")
    write_boxes(folder / f"{scene.name}.xml", f"{scene.name}.png", width, height, scene.boxes)


def _scene(name: str, size: int, rng: np.random.Generator) -> Scene:
    side = 2 * size
    pot = _pot(side, rng) if rng.random() < 0.4 else None
    canvas = _Canvas(_ground(side, pot, rng), _sun(side, rng))
    kinds = []
    places = (_place(side, pot, rng) for _ in range(rng.integers(1, MOST_PLANTS, endpoint=True)))
    for place in sorted(places, key=lambda place: place[1]):  # the nearest last
        kind = int(rng.integers(2))
        if canvas.add((_onion, _weed)[kind](place, side * rng.uniform(0.22, 0.5), rng)):
            kinds.append(CLASSES[kind])
    masks = canvas.masks()
    boxes = tuple(_box(kind, mask) for kind, mask in zip(kinds, masks))
    if not boxes or min(min(box.width, box.height) for box in boxes) < LEAST_SIDE:
        return _scene(name, size, rng)  # with the numbers that are drawn next
    return Scene(name, canvas.image(rng), boxes, masks)


def _box(name: str, mask: np.ndarray) -> Box:
    """Return the smallest box with all of `mask`."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Box(name, int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


# Painting

_Colour = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of u (n, 1) and v (m,) -> (n, m, 3)


class _Leaf(NamedTuple):
    """Points of a leaf: columns and rows (n,) of the canvas, which may lie outside of it, and colours (n, 3) uint8."""

    x: np.ndarray
    y: np.ndarray
    colours: np.ndarray


class _Canvas:
    """A square picture of twice the image's resolution, and which plant is seen in each of its pixels, 0 for none."""

    def __init__(self, ground: np.ndarray, sun: "_Sun"):
        self.side, self.sun = len(ground), sun
        self.colours = ground.reshape(-1, 3)
        self.plants = np.zeros(self.side**2, np.uint8)
        self.shaded = np.zeros(self.side**2, bool)
        self.areas: list[int] = []  # of each plant, before others hid some of it

    def add(self, plant: list[_Leaf]) -> bool:
        """Paint `plant`, or return False, where too little of it or of the plants behind it would be seen."""
        points = [self._inside(leaf.x, leaf.y) for leaf in plant]
        covered = np.zeros((self.side, self.side), bool)
        for flat, _ in points:
            covered.reshape(-1)[flat] = True
        sides = np.count_nonzero(covered.any(0)), np.count_nonzero(covered.any(1))
        inside = sum(len(flat) for flat, _ in points) / sum(len(leaf.x) for leaf in plant)
        behind = self.plants * ~covered.reshape(-1)
        left = np.bincount(behind, minlength=len(self.areas) + 1)[1:]
        if inside < LEAST_VISIBLE or min(sides) < 2 * LEAST_SIDE or (left < LEAST_VISIBLE * np.array(self.areas)).any():
            return False
        self.areas.append(int(np.count_nonzero(covered)))
        for leaf, (flat, kept) in zip(plant, points):  # each after its shadow
            self.shaded[self._inside(leaf.x + self.sun.right, leaf.y + self.sun.down)[0]] = True
            self.shaded[flat] = False
            self.colours[flat] = leaf.colours[kept]
            self.plants[flat] = len(self.areas)
        return True

    def masks(self) -> np.ndarray:
        """Return where some of each plant is seen in the image: (plants, size, size) bool."""
        plants = self.plants.reshape(self.side, self.side)
        numbers = np.arange(1, len(self.areas) + 1, dtype=np.uint8)[:, np.newaxis, np.newaxis]
        a, b, c, d = (plants[i::2, j::2] == numbers for i in (0, 1) for j in (0, 1))
        return a | b | c | d

    def image(self, rng: np.random.Generator) -> np.ndarray:
        """Return the mean of each 2 x 2 pixels, under a light that changes over the image, with a camera's noise."""
        sunlight = np.where(self.shaded, self.sun.shade, np.uint16(8))[:, np.newaxis]
        fine = (self.colours * sunlight).reshape(self.side, self.side, 3)
        pixels = fine[::2, ::2] + fine[::2, 1::2] + fine[1::2, ::2] + fine[1::2, 1::2]
        light = _smooth(rng.integers(160, 290, (3, 3)), len(pixels))[..., np.newaxis]
        noise = rng.integers(-4, 5, pixels.shape, np.int8)
        return np.clip(pixels * (light / np.float32(8 * 4 * 256)) + noise, 0, 255).astype(np.uint8)

    def _inside(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the flat indices of the points that are in the picture, and which those are."""
        inside = (x >= 0) & (x < self.side) & (y >= 0) & (y < self.side)
        return (y * self.side + x)[inside], inside


def _leaf(
    start: tuple[float, float],
    headings: np.ndarray,
    length: float,
    widths: np.ndarray,
    colour: _Colour,
    flat: float = 1.0,
) -> _Leaf:
    """Return the points of a leaf.

    start: column and row of its stalk. headings: (n,) directions in radians along it, equal steps apart; length: of
    all steps. widths: (n,) from the middle to the edge. flat: height over width of what lies on the ground, seen from
    aside. colour: maps u (n, 1), v (m,) to colours (n, m, 3), before rounding.
    """
    n = len(headings)
    m = int(2 * widths.max() * DENSITY) + 2
    u, v = ((np.arange(n) + 0.5) / n)[:, np.newaxis], np.linspace(-1, 1, m)
    cos, sin = np.cos(headings), flat * np.sin(headings)
    x = (start[0] + np.cumsum(cos) * (length / n))[:, np.newaxis] - (sin * widths / flat)[:, np.newaxis] * v
    y = (start[1] + np.cumsum(sin) * (length / n))[:, np.newaxis] + (flat * cos * widths)[:, np.newaxis] * v
    colours = np.clip(colour(u, v), 0, 255).astype(np.uint8)
    return _Leaf(np.floor(x).astype(np.int32).ravel(), np.floor(y).astype(np.int32).ravel(), colours.reshape(-1, 3))


def _along(length: float) -> np.ndarray:
    """Return u at the steps of a leaf of `length` pixels."""
    n = max(4, int(length * DENSITY))
    return (np.arange(n) + 0.5) / n


def _green(rng: np.random.Generator) -> np.ndarray:
    """Return a green of any plant, from yellowish to bluish, dark to bright: onions and weeds share them."""
    yellow, blue = np.array([158, 170, 62.0]), np.array([66, 126, 84.0])
    return (yellow + rng.random() * (blue - yellow)) * rng.uniform(0.65, 1.15)


# Plants


def _onion(base: tuple[float, float], reach: float, rng: np.random.Generator) -> list[_Leaf]:
    """Return thin blades that rise from one point, bow, and here and there break."""
    green, thickness = _green(rng), reach * rng.uniform(0.022, 0.05)
    blades = []
    for _ in range(rng.integers(3, 11)):
        length, lean = reach * rng.uniform(0.5, 1.1), rng.uniform(-0.8, 0.8)
        u = _along(length)
        headings = -pi / 2 + lean + np.sign(lean) * rng.uniform(0, 1.4) * u * u
        if rng.random() < 0.3:
            headings = headings + np.sign(lean) * rng.uniform(0.6, 1.6) * (u > rng.uniform(0.4, 0.8))
        widths = thickness * rng.uniform(0.7, 1.1) * (1 - u * u * u) + 0.4
        start = base[0] + rng.uniform(-1, 1) * thickness, base[1]
        blades.append(_leaf(start, headings, length, widths, _tube(green * rng.uniform(0.85, 1.15), rng)))
    return blades


def _weed(base: tuple[float, float], reach: float, rng: np.random.Generator) -> list[_Leaf]:
    return (_nettle, _dandelion, _mallow)[rng.integers(3)](base, reach * 0.6, rng)


def _nettle(base: tuple[float, float], reach: float, rng: np.random.Generator) -> list[_Leaf]:
    """Return a stem with pairs of pointed, toothed leaves that get smaller towards its top."""
    green, length, lean = _green(rng), reach * rng.uniform(0.7, 1.3), rng.uniform(-0.4, 0.4)
    along = _along(length)
    headings = -pi / 2 + lean + rng.uniform(-0.6, 0.6) * along
    leaves = [_leaf(base, headings, length, np.full(len(along), 0.02 * reach + 0.4), _tube(green * 0.9, rng))]
    pairs = rng.integers(2, 5)
    for pair in range(pairs):
        at = (pair + 1) / pairs
        node = min(int(at * len(along)), len(along) - 1)
        x = base[0] + np.cos(headings[:node]).sum() * length / len(along)
        y = base[1] + np.sin(headings[:node]).sum() * length / len(along)
        for turn in (-1, 1):
            heading = headings[node] + turn * rng.uniform(0.7, 1.3)
            size = reach * rng.uniform(0.6, 0.9) * (1.1 - 0.5 * at)
            leaves.append(_blade((x, y), heading, size, rng.uniform(0.22, 0.4), green, rng, teeth=7, stalk=0.15))
    return leaves


def _dandelion(base: tuple[float, float], reach: float, rng: np.random.Generator) -> list[_Leaf]:
    """Return long lobed leaves that lie around one point."""
    green, lobes, width = _green(rng), int(rng.integers(3, 6)), rng.uniform(0.14, 0.24)
    return [
        _blade(base, heading, reach * rng.uniform(0.6, 1.0), width, green, rng, teeth=lobes, depth=0.6, stalk=0.12)
        for heading in _around(int(rng.integers(6, 12)), rng)
    ]


def _mallow(base: tuple[float, float], reach: float, rng: np.random.Generator) -> list[_Leaf]:
    """Return round leaves on long stalks around one point."""
    green, width, stalk = _green(rng), rng.uniform(0.26, 0.42), rng.uniform(0.3, 0.5)
    return [
        _blade(base, heading, reach * rng.uniform(0.55, 1.0), width, green, rng, teeth=0, stalk=stalk)
        for heading in _around(int(rng.integers(4, 10)), rng)
    ]


def _around(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return `n` directions all around, those to the back first."""
    headings = (np.arange(n) + rng.uniform(-0.3, 0.3, n)) * (2 * pi / n)
    return headings[np.argsort(np.sin(headings), kind="stable")]


def _blade(
    start: tuple[float, float],
    heading: float,
    length: float,
    width: float,
    green: np.ndarray,
    rng: np.random.Generator,
    *,
    teeth: int,
    stalk: float,
    depth: float = 0.18,
) -> _Leaf:
    """Return a broad leaf on a stalk; width: half of it, as a share of length; stalk: its share of length.

    teeth: along each edge, none for a round leaf; depth: of them, as a share of the width.
    """
    u = _along(length)
    blade = np.clip((u - stalk) / (1 - stalk), 0, 1)
    if teeth:
        outline = 2.6 * np.sqrt(blade) * (1 - blade) * (1 - depth * (blade * teeth % 1))
    else:
        outline = 2 * np.sqrt(blade * (1 - blade))
    widths = np.maximum(width * length * outline, 0.015 * length + 0.4)
    headings = heading + rng.uniform(-0.7, 0.7) * u
    return _leaf(start, headings, length, widths, _veined(green * rng.uniform(0.8, 1.2), stalk, rng), flat=0.75)


def _tube(green: np.ndarray, rng: np.random.Generator) -> _Colour:
    """Return the colours of a round blade, bright where it faces the sun, whitish at its foot."""
    facing, pale = rng.uniform(-0.5, 0.5), rng.uniform(0.02, 0.12)

    def colour(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        light = 1.15 - 0.4 * (v - facing) * (v - facing)
        white = np.clip(1 - u / pale, 0, 0.7)[..., np.newaxis]
        return (green * (1 - white) + 220 * white) * (light * (0.85 + 0.2 * u))[..., np.newaxis]

    return colour


def _veined(green: np.ndarray, stalk: float, rng: np.random.Generator) -> _Colour:
    """Return the colours of a leaf folded along its middle, with a light rib and veins."""
    fold, veins = rng.uniform(-0.14, 0.14), rng.integers(4, 8)

    def colour(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        rib = np.abs(v) < 0.07
        vein = ((u * veins - 0.8 * np.abs(v)) % 1 < 0.13) & (u > stalk)
        light = 1 + fold * np.sign(v) + 0.25 * rib + 0.12 * vein - 0.15 * (1 - u)
        return green * light[..., np.newaxis]

    return colour


# Light and ground


class _Sun(NamedTuple):
    """How many columns to the right and rows down a shadow falls, and how many eighths of the light are left in it."""

    right: int
    down: int
    shade: np.uint16


def _sun(side: int, rng: np.random.Generator) -> _Sun:
    right, down = rng.uniform(-0.03, 0.03), rng.uniform(0.005, 0.025)
    return _Sun(int(side * right), int(side * down), np.uint16(rng.integers(3, 8)))


class _Pot(NamedTuple):
    """The opening of a pot: an ellipse, in pixels of the canvas."""

    x: float
    y: float
    width: float  # from the middle to the edge
    height: float


def _pot(side: int, rng: np.random.Generator) -> _Pot:
    width = side * rng.uniform(0.4, 0.6)
    return _Pot(side * rng.uniform(0.4, 0.6), side * rng.uniform(0.5, 0.65), width, width * rng.uniform(0.6, 0.8))


def _place(side: int, pot: _Pot | None, rng: np.random.Generator) -> tuple[float, float]:
    """Return the column and row where a plant leaves the ground."""
    x, y = rng.uniform(-1, 1), rng.uniform(-1, 1)
    if pot is None:
        return side * (0.5 + 0.4 * x), side * (0.58 + 0.36 * y)
    return pot.x + 0.65 * pot.width * x, pot.y + 0.65 * pot.height * y


def _ground(side: int, pot: _Pot | None, rng: np.random.Generator) -> np.ndarray:
    """Return soil with pebbles, in a pot or without: (side, side, 3) uint8."""
    colours = _soil(side // 2, rng).repeat(2, 0).repeat(2, 1)
    _add_pebbles(colours, rng)
    if pot:
        _add_pot(colours, pot, rng)
    return colours


def _soil(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return clods of three sizes, and grains, of any brown: (size, size, 3) uint8."""
    relief = sum(share * _smooth(rng.integers(0, 256, (n, n)), size) for n, share in ((5, 0.3), (23, 0.3), (71, 0.4)))
    grain = rng.integers(-16, 17, (size, size), np.int8)
    brown = np.array([118, 92, 66]) * rng.uniform(0.55, 1.25) + rng.uniform(-14, 14, 3)
    light = np.float32(0.55) + relief * np.float32(0.9 / 256)
    soil = np.asarray(light)[..., np.newaxis] * brown.astype(np.float32) + grain[..., np.newaxis]
    return np.clip(soil, 0, 255).astype(np.uint8)


def _add_pebbles(colours: np.ndarray, rng: np.random.Generator) -> None:
    """Paint stones and grains of fertilizer, which may look like leaves to a network (backstrom2018, 4.2.4)."""
    side = len(colours)
    for _ in range(rng.integers(0, 60)):
        radius, (x, y) = side * rng.uniform(0.003, 0.014), rng.integers(0, side, 2)
        top, left = max(0, int(y - radius)), max(0, int(x - radius))
        spot = colours[top : int(y + radius) + 1, left : int(x + radius) + 1]
        rows, columns = np.ogrid[top : top + spot.shape[0], left : left + spot.shape[1]]
        down, right = (rows - y) / radius, (columns - x) / radius
        round_ = down * down * 1.6 + right * right < 1
        light = rng.integers(70, 200) * (1 - 0.3 * (down + 0.5 * right))
        spot[round_] = np.clip(light, 0, 255).astype(np.uint8)[round_][:, np.newaxis]


def _add_pot(colours: np.ndarray, pot: _Pot, rng: np.random.Generator) -> None:
    """Paint what is around the soil: the bright edge of the pot, its wall, and a bright background."""
    side = len(colours)
    right = ((np.arange(side) - pot.x) / pot.width)[np.newaxis]
    down = ((np.arange(side) - pot.y) / pot.height)[:, np.newaxis]
    distance = right * right + down * down
    outside, wall = distance > 1, (down > 0) & (np.abs(right) < 1.08)
    clay = np.array([[196, 120, 84], [226, 226, 220], [88, 92, 96]][rng.integers(3)])
    rounded = (0.75 - 0.3 * right * right)[..., np.newaxis] * clay
    _fill(colours, outside, int(rng.integers(205, 250)))
    _fill(colours, outside & wall, np.clip(rounded, 0, 255))
    _fill(colours, outside & (distance < 1.16), np.clip(clay * 1.15, 0, 255))


def _fill(colours: np.ndarray, where: np.ndarray, colour: np.ndarray | int) -> None:
    np.copyto(colours, np.asarray(colour).astype(np.uint8), where=where[..., np.newaxis])


def _smooth(grid: np.ndarray, side: int) -> np.ndarray:
    """Return the numbers of `grid` (n, n) spread over (side, side) pixels, smoothly between them; float32."""
    position = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32((len(grid) - 1) / side)
    before = np.minimum(position.astype(int), len(grid) - 2)
    t = position - before.astype(np.float32)
    t = t * t * (3 - 2 * t)
    grid = grid.astype(np.float32)
    rows = grid[before] + t[:, np.newaxis] * (grid[before + 1] - grid[before])
    return rows[:, before] + t * (rows[:, before + 1] - rows[:, before])
