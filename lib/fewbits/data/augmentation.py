"""Random changes of training images that keep their class."""

import numpy as np


def shift_and_flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift each image by up to an eighth of its side, and mirror half of them left to right.

    An edge that moves in is filled with its mirror image. Not for digits or letters, whose meaning a mirror changes.

    Args:
        images: (n, height, width, channels).
        rng: Draws the shifts and which images are mirrored.

    Returns:
        New images of the same shape and type.

    Source:
        He et al., 2016, for CIFAR-10: a shift by 4 of 32 pixels, there filled with zeros.
    """
    n, height, width, _ = images.shape
    down, right = height // 8, width // 8
    wide = np.pad(images, ((0, 0), (down, down), (right, right), (0, 0)), "reflect")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (height, width), axis=(1, 2))
    moved = windows[np.arange(n), rng.integers(0, 2 * down + 1, n), rng.integers(0, 2 * right + 1, n)]
    moved = np.moveaxis(moved, 1, -1)  # windows put their sides last
    return np.where(rng.integers(0, 2, (n, 1, 1, 1)) == 1, moved[:, :, ::-1], moved)


def shift_flip_and_light(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift and mirror each image, then change its brightness and contrast.

    One number from -63 / 256 to 63 / 256 is added to all pixels of an image. Then each channel's distance from its mean
    is multiplied by one factor from 0.2 to 1.8.

    Args:
        images: (n, height, width, channels), pixels from 0 to 1.
        rng: Draws the shifts, the mirrored images and the light.

    Returns:
        New images of the same shape, float32; pixels may leave the range from 0 to 1.

    Source:
        chiang2017, 4.3.2.
    """
    n = len(images)
    images = shift_and_flip(images, rng) + rng.uniform(-63 / 256, 63 / 256, (n, 1, 1, 1)).astype(np.float32)
    mean = images.mean((1, 2), keepdims=True)
    return (images - mean) * rng.uniform(0.2, 1.8, (n, 1, 1, 1)).astype(np.float32) + mean
