"""Cross-validation: every plant is tested once, by a network that never saw its photograph.

Source: backstrom2018, 3.1.5 and 3.1.6. The source shuffles and divides the images that were cut out; here whole
photographs are divided, since two plants in one photograph share its soil, its light and at times their leaves.
"""

from collections import Counter

import numpy as np

from fewbits.data.cutouts import Cutouts
from fewbits.data.dataset import Split
from fewbits.errors import InputError


def split_folds(cutouts: Cutouts, k: int = 5, seed: int = 0) -> list[tuple[Cutouts, Cutouts]]:
    """Return `k` pairs of training and test images, in which no photograph is on both sides.

    Each plant is in one test part, images of the background only in training parts. The photographs are shuffled with
    `seed`, and those with most plants dealt first, each to the part that has least of what is in it: the parts
    hold about as many of each class. Raises InputError where k is below 2, or fewer than k photographs have plants.
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
    """Return the splits as float32 less the mean pixel (3,) of the training images `train`, times `scale`.

    The mean is one number a channel, over all training images and places (3.1.6); in other splits it is the same.
    """
    mean = train.images.mean((0, 1, 2), dtype=np.float64).astype(np.float32)
    return tuple(
        Split((split.images.astype(np.float32) - mean) * np.float32(scale), split.labels) for split in (train, *others)
    )


def mirrored(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return `images` (n, height, width, channels), each mirrored left to right with probability one half.

    To be given to `fewbits.training.train` as `augment`.
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
    parts, held, photographs = {}, np.zeros((k, len(cutouts.classes)), int), np.zeros(k, int)
    for i in shuffled:
        part = int(np.lexsort((photographs, held @ counts[i]))[0])
        parts[names[i]] = part
        held[part] += counts[i]
        photographs[part] += 1
    return parts
