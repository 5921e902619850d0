"""Random changes of training images that keep their class."""

import numpy as np


def shift_and_flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return each image moved by up to an eighth of its side and mirrored left to right half of the time.

    images: (n, height, width, channels); what moves in at an edge is its mirror image. Not for digits or letters, which
    a mirror changes. The usual augmentation of CIFAR-10 (He et al., 2016, shift by 4 of 32 pixels, with zeros).
    """
    n, height, width, _ = images.shape
    down, right = height // 8, width // 8
    wide = np.pad(images, ((0, 0), (down, down), (right, right), (0, 0)), "reflect")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (height, width), axis=(1, 2))
    moved = windows[np.arange(n), rng.integers(0, 2 * down + 1, n), rng.integers(0, 2 * right + 1, n)]
    moved = np.moveaxis(moved, 1, -1)  # windows put their sides last
    return np.where(rng.integers(0, 2, (n, 1, 1, 1)) == 1, moved[:, :, ::-1], moved)


def shift_flip_and_light(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return each image shifted and mirrored, in another light; pixels are 0 to 1, and may leave that range.

    Added to all pixels of an image: one number of up to 63 / 256 either way. Then each channel's distance from its mean
    is multiplied by one factor from 0.2 to 1.8. images: (n, height, width, channels). Source: chiang2017, 4.3.2.
    """
    n = len(images)
    images = shift_and_flip(images, rng) + rng.uniform(-63 / 256, 63 / 256, (n, 1, 1, 1)).astype(np.float32)
    mean = images.mean((1, 2), keepdims=True)
    return (images - mean) * rng.uniform(0.2, 1.8, (n, 1, 1, 1)).astype(np.float32) + mean
