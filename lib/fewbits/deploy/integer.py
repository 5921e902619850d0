"""A network of integers: codes of an image in, codes of the logits out, and no float operation between.

The contract, from DESIGN's section Identity: its codes are those of the quantized Keras model, bit for bit, wherever
the float32 of that is exact (`lowering.lower` proves it, layer by layer).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fewbits.deploy.operations import Convolve, Operation, Tensor
from fewbits.errors import InputError

AT_ONCE = 2**22  # codes of a tensor in memory, for all images of a batch
FLOAT32_INTEGERS = 2**24  # up to here float32 holds every integer


@dataclass(frozen=True)
class IntegerNetwork:
    """Operations in the order in which they run; each makes one tensor, and the tensor 0 is the image.

    image: the tensor of pixels less `mean`, one integer a channel. outputs: layer name -> index of the tensor that holds
    what this layer hands on; the last operation makes the logits. output_shape: of the logits in Keras.
    """

    name: str
    image: Tensor
    mean: tuple[int, ...]
    operations: Sequence[Operation]
    outputs: dict[str, int]
    output_shape: tuple[int, ...]

    @property
    def tensors(self) -> list[Tensor]:
        return [self.image, *(operation.output for operation in self.operations)]

    @property
    def convolutions(self) -> list[Convolve]:
        return [operation for operation in self.operations if isinstance(operation, Convolve)]

    @property
    def beyond_float32(self) -> list[str]:
        """Names of the layers whose sums may pass 2**24, so that a simulation in float32 may differ from integers."""
        largest = {}
        for operation in self.operations:
            sums = max(operation.output.magnitude, operation.magnitude if isinstance(operation, Convolve) else 0)
            largest[operation.layer] = max(sums, largest.get(operation.layer, 0))
        return [layer for layer, magnitude in largest.items() if magnitude > FLOAT32_INTEGERS]

    @property
    def batch(self) -> int:
        """How many images to run at a time."""
        return max(1, AT_ONCE // max(tensor.size for tensor in self.tensors))

    @property
    def weight_bits(self) -> int:
        """Bits of all kernel codes and biases, each layer at the width that its own need."""
        return sum(_bits(operation.kernel) + _bits(operation.bias) for operation in self.convolutions)

    def run(self, images) -> np.ndarray:
        """Return the codes (int64) of the logits, (n, ...), of `images`, integers (n, height, width, channels).

        Raises InputError where images are no integers, of another shape, or not in the range of the image's codes.
        """
        last = len(self.operations)
        return np.concatenate([codes[last] for codes in self._batches(images, {last})]).reshape(-1, *self.output_shape)

    def trace(self, images) -> dict[str, np.ndarray]:
        """Return layer name -> codes of what it hands on, (n, height, width, channels); errors as in `run`."""
        wanted = set(self.outputs.values())
        batches = list(self._batches(images, wanted))
        return {name: np.concatenate([codes[i] for codes in batches]) for name, i in self.outputs.items()}

    def _batches(self, images, wanted) -> Iterator[dict[int, np.ndarray]]:
        """Yield tensor index -> codes of the `wanted` tensors, a batch of images at a time."""
        images = self._checked(images)
        last = {i: number for number, operation in enumerate(self.operations, 1) for i in operation.inputs}
        for start in range(0, len(images), self.batch):
            codes = {0: images[start : start + self.batch]}
            for number, operation in enumerate(self.operations, 1):
                codes[number] = operation.compute(*(codes[i] for i in operation.inputs))
                for i in set(operation.inputs) - wanted:
                    if last[i] == number:
                        del codes[i]
            yield {i: codes[i] for i in wanted}

    def _checked(self, images):
        images = np.asarray(images)
        if images.dtype.kind not in "ui" or images.shape[1:] != self.image.shape or not len(images):
            shape = ", ".join(map(str, self.image.shape))
            raise InputError(f"images must be integers of shape (n, {shape}), not {images.dtype} {images.shape}")
        codes = images.astype(np.int64) - np.asarray(self.mean)
        if codes.min() < self.image.low or codes.max() > self.image.high:
            raise InputError(
                f"pixels less their mean must be from {self.image.low} to {self.image.high}, "
                f"not {codes.min()} to {codes.max()}"
            )
        return codes


def _bits(array) -> int:
    tensor = Tensor((1, 1, array.size), 0, min(0, int(array.min(initial=0))), max(0, int(array.max(initial=0))))
    return tensor.size * tensor.bits
