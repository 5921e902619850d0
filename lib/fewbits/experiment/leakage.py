"""Images in two roles at once: those that choose a format must not judge it."""

from hashlib import sha256

import numpy as np


def shared_images(tested: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return which of the tested images are, bit for bit, among those that chose something.

    Args:
        tested: (n, ...), the images that judge.
        chosen: (m, ...), images that set formats, rates or the like.

    Returns:
        (n,) bool.
    """
    known = set(_digests(chosen))
    return np.array([digest in known for digest in _digests(tested)], bool)


def _digests(images: np.ndarray) -> list[bytes]:
    return [sha256(image.astype("<f4").tobytes()).digest() for image in images]
