"""The images of a report, and what a network answers to them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.folders import ImageFolder
from fewbits.data.inputs import Images, labelled_batches
from fewbits.errors import InputError
from fewbits.graph import ends
from fewbits.training.heads import Head
from fewbits.training.interruption import postponed
from fewbits.training.recipe import compiles_steps

BATCH = 25  # images per step; the activations of more leave the cache of a CPU


@dataclass(frozen=True)
class ImageSample:
    """Images in memory, with labels if they have any.

    Attributes:
        inputs: One array (n, ...) float32 per input of the network.
        labels: (n,) or (n, units) integers; None without.
        what: A description for the user.
    """

    inputs: list[np.ndarray]
    labels: np.ndarray | None
    what: str

    def __len__(self) -> int:
        return len(self.inputs[0])

    def first(self, n: int) -> "ImageSample":
        """Return the first `n` images."""
        labels = None if self.labels is None else self.labels[:n]
        return replace(self, inputs=[x[:n] for x in self.inputs], labels=labels)

    def with_images(self, images: np.ndarray) -> "ImageSample":
        """Return the sample with other images for its only input."""
        return replace(self, inputs=[images])


def count_shared(sample: ImageSample, other: ImageSample) -> int:
    """Return how many images of `sample` equal one of `other`, bit for bit.

    Args:
        sample: The images that are counted.
        other: Those that they are looked for in.
    """
    known = {tuple(x[i].tobytes() for x in other.inputs) for i in range(len(other))}
    return sum(tuple(x[i].tobytes() for x in sample.inputs) in known for i in range(len(sample)))


def draw_sample(model: keras.Model, data: Images, n: int, seed: int, what: str) -> ImageSample:
    """Return images drawn at random, in the order in which they are stored.

    Args:
        model: The network that takes them.
        data: As in `data.inputs.labelled_batches`. Of a stream, the first images are taken.
        n: How many at most.
        seed: Of the draw.
        what: A description for the user.

    Returns:
        The sample.

    Raises:
        InputError: when the images do not fit the network, or none can be read.
    """
    if isinstance(data, ImageFolder):
        data = data.pick(_chosen(len(data), n, seed))
    batches, images = [], 0
    for batch in labelled_batches(model, data, what, required=False):
        batches.append(batch)
        images += len(batch[0][0])
        if images >= n and len(batches) > 1:
            break
    if not images:
        raise InputError(f"none of the images of {what} can be read")
    inputs = [np.concatenate(parts) for parts in zip(*(arrays for arrays, _ in batches))]
    labels = None if any(part is None for _, part in batches) else np.concatenate([part for _, part in batches])
    chosen = _chosen(images, n, seed) if len(batches) == 1 else np.arange(min(images, n))
    return ImageSample([x[chosen] for x in inputs], None if labels is None else labels[chosen], what)


def network_outputs(
    network: keras.Model, sample: ImageSample, on_images: Callable[[int], None] = lambda n: None
) -> np.ndarray:
    """Return what a network computes for each image.

    Args:
        network: Any network that takes the images.
        sample: The images.
        on_images: Called after each step with its number of images.

    Returns:
        (n, numbers) float64; several outputs stand side by side.
    """
    if not network.compiled:
        network.jit_compile = compiles_steps()
    steps = []
    for start in range(0, len(sample), BATCH):
        inputs = [x[start : start + BATCH] for x in sample.inputs]
        with postponed():
            outputs = network.predict_on_batch(keras.tree.pack_sequence_as(ends(network)[0], inputs))
        arrays = [ops.convert_to_numpy(y).astype(np.float64) for y in keras.tree.flatten(outputs)]
        steps.append(np.concatenate([array.reshape(len(array), -1) for array in arrays], 1))
        on_images(len(inputs[0]))
    return np.concatenate(steps)


def right_answers(head: Head | None, outputs: np.ndarray, sample: ImageSample) -> Any:
    """Return which answers are right.

    Args:
        head: Of the network, if it has one.
        outputs: (n, units), as from `network_outputs`.
        sample: The images.

    Returns:
        (n,) bool, or (n * units,) for a network with several labels per image; None without a head or labels.
    """
    if head is None or sample.labels is None:
        return None
    return (head.ranks(outputs, sample.labels) < 1).ravel()


def decisions(head: Head, outputs: np.ndarray) -> np.ndarray:
    """Return what a network decides.

    Args:
        head: Of the network.
        outputs: (n, units), as from `network_outputs`.

    Returns:
        (n,) the largest output of each image or, for sigmoid units, (n, units) which of them are on.
    """
    return outputs.argmax(1) if head.exclusive else outputs > (0.5 if head.activated else 0)


def _chosen(total: int, n: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(total)[:n])
