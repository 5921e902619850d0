"""Ranges as trained quantities: the MSB of a format is the ceiling of a real number that learns with the weights.

A tensor x is rounded to q = s * k, with a step s = 2**(msb + 1 - nbits) and codes k = clip(round(x / s)). The trained
number m sets msb = ceil(m), so that a format is a FixedPoint at every moment. Two functions here have no useful
derivative. The ceiling passes gradients as if it were m. The rounding has, as everywhere in this package, the
derivative k' of a straight line: 1 where codes are not clipped, 0 elsewhere. Then

    dq/ds = k + s * k' * d(x / s)/ds = k - k' * x / s        ds/dm = s * ln 2

    dq/dm = ln 2 * (q - k' * x)

For a value that is not clipped, that is its error times ln 2; for one that is, the end of the range times ln 2. So
clipped values that lower a loss by moving outwards widen the range, and the errors of all others narrow it. For a loss
L with the gradient u in q, dL/dm = ln 2 * (sum(u * q) - sum(u * k' * x)), where u * k' is the gradient that x gets.

For a clipped value q = s * k is linear in s, and the derivative is exact. For others it is exact in expectation: where
codes change, the loss jumps, and over inputs whose density varies little within a step (or to which noise is added that
is uniform over one) the jumps add up to the term -k' * x / s. The expectation of dL/dm is then the derivative of the
expected loss by m, if msb were m itself. What remains is the half step beyond the code at each end: k' is 1 there, and
no code changes.

This gradient depends neither on the unit of the tensor nor on how many values it has, so ranges learn at the rate of
the weights. The range of an activation takes it from the first IMAGES images of a batch, times n / IMAGES: an estimate
without bias, because batches are drawn, in a fraction of the time.

An input that only learned outputs feed has no range of its own: it reaches as far as the widest of them until its layer
is locked. A quantizer that clips what another one lets through would keep both from learning.

Source: Jain, Gural, Wu and Dick 2020, "Trained quantization thresholds for accurate and efficient fixed-point inference
of deep neural networks", Equations 5 to 8. The m of a signed format is their log2 t, that of an unsigned one is one
less.
"""

from collections.abc import Iterable, Sequence
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from fewbits.backend import keras, ops, tensor

if TYPE_CHECKING:
    from fewbits.quantization.layers import RoundingLayer

IMAGES = 16
MIDDLE = 0.5  # how far below its ceiling a range starts: as far from the next smaller as from the next larger one
KINDS_OF_ACTIVATIONS = "input", "output"


class LearnedRanges(keras.layers.Layer):
    """The trained numbers of one layer, whose ceilings are its MSBs.

    Args:
        filters: How many formats the kernel has: 1, or one per filter; 0 for a layer without a kernel.
        **kwargs: As in keras.layers.Layer.
    """

    feeders: "tuple[RoundingLayer, ...]"

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.kernel_range = self._numbers("kernel_range", filters) if filters else None
        self.activation_ranges = self._numbers("activation_ranges", len(KINDS_OF_ACTIVATIONS))
        self.feed_from(())
        self.built = True

    def _numbers(self, name, length):
        return self.add_weight(name=name, shape=(length,), dtype="float32", initializer="zeros")

    def feed_from(self, feeders: "Iterable[RoundingLayer]") -> None:
        """Let the input reach as far as the outputs of `feeders`, the layers whose outputs are all that is read."""
        object.__setattr__(
            self, "feeders", tuple(feeders)
        )  # past Keras, which would count their weights as the layer's

    def start(self, kind: str, msbs: Sequence[int]) -> None:
        """Set the MSBs of a kind; a number that has this ceiling already stays.

        Args:
            kind: `kernel`, `input` or `output`.
            msbs: One MSB, or one per filter of a kernel. A kernel with a single range takes the largest.
        """
        variable: Any = self.activation_ranges if kind in KINDS_OF_ACTIVATIONS else self.kernel_range
        numbers = ops.convert_to_numpy(variable).copy()
        if kind in KINDS_OF_ACTIVATIONS:
            here = numbers[KINDS_OF_ACTIVATIONS.index(kind) :][:1]
        else:
            here = numbers
        wanted = np.resize(msbs, here.shape) if len(here) > 1 else np.max(msbs, keepdims=True)
        here[:] = np.where(np.ceil(here) == wanted, here, wanted - MIDDLE)
        variable.assign(numbers)

    def kernel(self, filters: int) -> Any:
        """Return the numbers of the kernel as a tensor (filters,), through which gradients pass."""
        return ops.broadcast_to(tensor(self.kernel_range), (filters,))

    def output(self) -> Any:
        """Return the number of the output, a tensor through which gradients pass."""
        return tensor(self.activation_ranges)[1]


def range_gradient(msb: Any, upstream: Any, y: Any, passed: Any, x: Any) -> Any:
    """Return the gradient that the trained number of a range gets: ln 2 * (sum(upstream * y) - sum(passed * x)).

    Args:
        msb: The trained numbers: one, or as many as broadcast against `x`.
        upstream: The gradient of the rounded values `y`.
        y: The rounded values, or their positive part.
        passed: The gradient that `x` gets.
        x: What was rounded.

    Returns:
        A tensor of the shape of `msb`.
    """
    shape, share = tuple(msb.shape), 1.0
    if not shape:
        n = ops.shape(x)[0]
        used = ops.minimum(n, IMAGES)
        share = ops.cast(n, x.dtype) / ops.cast(used, x.dtype)
        upstream, y, passed, x = (of[:IMAGES] for of in (upstream, y, passed, x))
    rank = len(x.shape)
    ours = (1,) * (rank - len(shape)) + shape
    axes = [axis for axis in range(rank) if ours[axis] == 1]
    total = ops.sum(upstream * y, axes) - ops.sum(passed * x, axes)
    return ops.cast(ops.reshape(total, shape) * (share * log(2)), msb.dtype)
