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
