"""Learned rounding: whether each weight goes up or down is what makes the outputs of its layer come nearest to float.

Rounding to nearest makes the error of each weight least. The error of an output is a sum over many weights, and some
weights rounded the other way make it smaller. Which ones is learned, layer by layer, from unlabelled images.

Sources: Nagel et al., 2020 (AdaRound, arXiv 2004.10568); Louizos et al., 2018 (arXiv 1712.01312), for the sigmoid.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.backend import ops
from fewbits.data.inputs import Images
from fewbits.post_training.block_in_training import KernelInTraining
from fewbits.post_training.block_reconstruction import reconstruct
from fewbits.quantization.conversion import QuantizedModel

STEPS = 200  # per layer, by default
LOW, HIGH = -0.1, 1.1  # to which the sigmoid is stretched before it is clipped to 0 and 1
PRICE = 30.0  # at the end, if all weights lie half way between two codes; the error of rounding to nearest counts 1
INSIDE = 1e-3  # at least, the distance of a weight from its codes at the start: at 0 there is no gradient


def learn_rounding(
    network: QuantizedModel,
    images: Images,
    steps: int = STEPS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> QuantizedModel:
    """Return `network` with each weight rounded up or down so that the outputs of its layer come nearest to float.

    Layer by layer, in the order of the graph, each weight may lie anywhere between the two codes next to it while the
    squared error of the layer's outputs, after its ReLU, is made small by gradients; a price that rises from 0 drives
    it to one of the two before training ends: what is still undecided then is rounded off, an error that training never
    saw. Biases are trained, too. Inputs come from the quantized layers before, and targets from the float
    network; no labels are needed. A layer that this does not improve on all images is rounded to nearest. So no layer
    makes a larger error of what reaches it than with nearest; of the whole network, which is not compared, that is not
    certain. Price: none; the device sees other kernels and biases in the same formats.

    Args:
        network: The quantized network, with the weights of the float one.
        images: As in `input_arrays`: (n, height, width, channels), or what else the network takes; some tens.
        steps: Training steps per layer, with `block_reconstruction.BATCH` images each.
        seed: Draws images.
        progress: Called after each layer with the number of layers done and their total.

    Returns:
        A new network, whose layers all have a bias.

    Raises:
        InputError: when there are no images, or they do not fit the network.
    """
    return reconstruct(network, images, steps, seed, progress, UpOrDown, layer_by_layer=True, refit=False)


def rectified_sigmoid(gates: Any) -> Any:
    """Return how far up from the code below each weight lies, from 0 to 1: a sigmoid, stretched and clipped.

    It reaches 0 and 1, where its gradient is 0.

    Args:
        gates: A tensor of any shape.

    Returns:
        A tensor of its shape.

    Source:
        Louizos et al., 2018 (arXiv 1712.01312); Nagel et al., 2020, Equation 23.
    """
    return ops.clip(ops.sigmoid(gates) * (HIGH - LOW) + LOW, 0.0, 1.0)


def indecision(shares: Any) -> Any:
    """Return the mean of 1 - (2 h - 1) ** 2: 0 if all `shares` are 0 or 1, and 1 if all are half.

    Its gradient reaches every share between the two, so that some hundred steps decide all. With a power of 20 in place
    of 2, with which the paper begins, only shares next to 0 and 1 feel it, and they need thousands of steps.

    Args:
        shares: A tensor of numbers from 0 to 1.

    Returns:
        One number.

    Source:
        Nagel et al., 2020, Equation 24, at beta = 2.
    """
    return ops.mean(1 - ops.square(2 * shares - 1))


class UpOrDown(KernelInTraining):
    """The numbers are gates: through `rectified_sigmoid` they say how far each weight lies above the code below it."""

    rate = 0.1

    def __init__(self, layer: Any, start: np.ndarray):
        """Start where the weights lie between their codes.

        Args:
            layer: As in KernelInTraining.
            start: As in KernelInTraining.
        """
        super().__init__(layer, start)
        self.below = np.clip(np.floor(self.start), self.least, self.most - 1)
        share = np.clip(self.start - self.below, INSIDE, 1 - INSIDE)
        self.start = -np.log((HIGH - LOW) / (share - LOW) - 1)

    def codes(self, numbers: Any) -> Any:
        """Return numbers between the codes below and above the weights."""
        return self.below.astype(np.float32) + rectified_sigmoid(numbers)

    def price(self, numbers: Any, part: Any) -> Any:
        """Return the price of lying between two codes, which rises from 0 in proportion to `part`.

        Args:
            numbers: As in KernelInTraining.
            part: As in KernelInTraining.
        """
        return PRICE * part * indecision(rectified_sigmoid(numbers))

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        """Return the code below or above, whichever is nearer."""
        return self.below + (numbers >= 0)
