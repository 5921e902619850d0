"""Usual ways to prepare images, tried on images that were prepared in one of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fewbits.data.pixels import GRAY, Pixels

CAFFE_MEAN = 104.0, 117.0, 123.0  # blue, green, red, of ImageNet
BYTES = 0.0, 255.0
AS_GIVEN = "as given"


@dataclass(frozen=True)
class UsualPreparation:
    """One usual way to prepare images.

    Attributes:
        name: What is done.
        images: The images as they come out, (n, height, width, channels).
        options: The options of the command line for it; empty if pixels are not known.
    """

    name: str
    images: np.ndarray
    options: str


def usual_preparations(
    images: np.ndarray, calibration: np.ndarray, pixels: Pixels | None = None
) -> Iterator[UsualPreparation]:
    """Yield images prepared in the usual ways: those that differ from the images as they were given.

    These are: channels in reverse order, minus the mean of each channel, scaled to -1..1, scaled to 0..255, and what
    networks from Caffe take (reversed, 0..255, minus the mean of ImageNet).

    Args:
        images: (n, height, width, channels), as they were given.
        calibration: Others, prepared alike; their mean and range are taken.
        pixels: How `images` were made of pixels; None if that is not known.

    Yields:
        The preparations, in this order.
    """
    known = pixels or Pixels(GRAY if images.shape[-1] == 1 else "rgb")
    raw, seen = _raw(images, known), _raw(calibration, known)
    low, high = _limits(seen)
    for name, prepared in _usual(known, seen, low, high):
        flipped = prepared.order != known.order
        changed = (raw[..., ::-1] if flipped else raw) - np.array(prepared.mean or 0, np.float32)
        changed = changed * np.float32(prepared.scale)
        if not np.allclose(changed, images, atol=1e-6 * float(np.abs(images).max())):
            yield UsualPreparation(name, np.ascontiguousarray(changed), _options(prepared) if pixels else "")


def _usual(known: Pixels, seen: np.ndarray, low: float, high: float) -> Iterator[tuple[str, Pixels]]:
    order, colour = known.order, seen.shape[-1] == 3
    other = {"rgb": "bgr", "bgr": "rgb"}.get(order, order)
    to_bytes = 255 / (high - low)
    if colour:
        yield f"channels reversed, as {other}", Pixels(other, known.mean and tuple(known.mean)[::-1], known.scale)
    mean = tuple(float(f"{value:.4g}") for value in seen.mean(axis=tuple(range(seen.ndim - 1)), dtype=float))
    yield "minus the mean of each channel", Pixels(order, mean if colour else (sum(mean) / len(mean),), known.scale)
    yield "scaled to -1..1", Pixels(order, ((low + high) / 2,), 2 / (high - low))
    yield "scaled to 0..255", Pixels(order, (low,) if low else None, to_bytes)
    if colour:
        caffe = tuple(low + value / to_bytes for value in CAFFE_MEAN)
        yield "bgr, 0..255, minus the mean of ImageNet", Pixels("bgr", caffe, to_bytes)


def _raw(images: np.ndarray, pixels: Pixels) -> np.ndarray:
    return images / np.float32(pixels.scale) + np.array(pixels.mean or 0, np.float32)


def _limits(raw: np.ndarray) -> tuple[float, float]:
    """Return the range of pixels: that of bytes if they can be bytes, otherwise that which is seen."""
    low, high = float(raw.min()), float(raw.max())
    if -0.5 <= low and 1.5 < high <= 255.5:
        return BYTES
    return (low, high) if low < high else (low, low + 1)


def _options(pixels: Pixels) -> str:
    mean = f" --mean-pixel={','.join(f'{value:g}' for value in pixels.mean)}" if pixels.mean else ""
    return f"--order {pixels.order}{mean} --scale {pixels.scale:.6g}"
