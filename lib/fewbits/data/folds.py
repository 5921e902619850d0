"""Cross-validation: every plant is tested once, by a network that never saw its photograph.

Source: backstrom2018, 3.1.5 and 3.1.6. The source shuffles and divides the images that were cut out; here whole
photographs are divided, because two plants in one photograph share its soil, its light and sometimes their leaves.
"""

from collections import Counter

import numpy as np

from fewbits.data.cutouts import Cutouts
from fewbits.data.dataset import Split
from fewbits.errors import InputError


def split_folds(cutouts: Cutouts, k: int = 5, seed: int = 0) -> list[tuple[Cutouts, Cutouts]]:
    """Divide images into `k` folds, so that no photograph is on both sides of one.

    Each plant is in one test part; images of the background are in training parts only. The photographs are shuffled,
    and those with most plants are dealt first, each to the part that holds the fewest plants of its classes, so that
    the parts hold similar numbers of each class.

    Args:
        cutouts: The images.
        k: The number of folds, at least 2.
        seed: Shuffles the photographs.

    Returns:
        `k` pairs of training and test images.

    Raises:
        InputError: when `k` is below 2, or fewer than `k` photographs have plants.
    """
    parts = _dealt(cutouts, k, seed)
    part_of = np.array([parts[name] for name in cutouts.photographs])
    return [
        (
            cutouts.pick(np.flatnonzero(part_of != part)),
            cutouts.pick(np.flatnonzero((part_of == part) & ~cutouts.background)),
        )
        for part in range(k)
    ]


def centred(train: Split, *others: Split, scale: float = 1.0) -> tuple[Split, ...]:
    """Subtract the mean pixel of the training images from all images, and scale them.

    Args:
        train: The training images (n, height, width, channels), whose mean per channel, over all images and places, is
            subtracted (3.1.6).
        others: Splits from which the same mean is subtracted.
        scale: What the differences are multiplied by.

    Returns:
        The splits in the same order, with images of float32.
    """
    mean = train.images.mean((0, 1, 2), dtype=np.float64).astype(np.float32)
    return tuple(
        Split((split.images.astype(np.float32) - mean) * np.float32(scale), split.labels) for split in (train, *others)
    )


def mirrored(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror each image left to right with probability one half; an `augment` for `fewbits.training.train`.

    Args:
        images: (n, height, width, channels).
        rng: Draws which images are mirrored.
    """
    return np.where(rng.integers(0, 2, (len(images), 1, 1, 1)) == 1, images[:, :, ::-1], images)


def _dealt(cutouts: Cutouts, k: int, seed: int) -> dict[str, int]:
    """Return the part, 0 to k - 1, of each photograph."""
    plants = ~cutouts.background
    names = sorted(set(cutouts.photographs))
    held = Counter(zip(np.array(cutouts.photographs)[plants].tolist(), cutouts.labels[plants].tolist()))
    counts = np.array([[held[name, label] for label in range(len(cutouts.classes))] for name in names])
    with_plants = np.count_nonzero(counts.any(1)) if names else 0
    if isinstance(k, bool) or not isinstance(k, int) or not 2 <= k <= with_plants:
        raise InputError(f"k must be an integer from 2 to {with_plants}, the photographs with plants, not {k!r}")
    shuffled = np.random.default_rng(seed).permutation(len(names))
    shuffled = shuffled[np.argsort(-counts[shuffled].sum(1), kind="stable")]
    parts: dict[str, int] = {}
    dealt, photographs = np.zeros((k, len(cutouts.classes)), int), np.zeros(k, int)
    for i in shuffled:
        part = int(np.lexsort((photographs, dealt @ counts[i]))[0])
        parts[names[i]] = part
        dealt[part] += counts[i]
        photographs[part] += 1
    return parts
