"""Integer networks: codes of an image in, codes of the logits out, and no floating-point operation in between.

The contract: the codes are those of the quantized Keras model, bit for bit, wherever float32 is exact there
(`fewbits.deploy.lower` proves that layer by layer).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fewbits.deploy.operations import Convolve, Operation, Tensor
from fewbits.errors import InputError

AT_ONCE = 2**22  # codes of a tensor in memory, for all images of a batch together
FLOAT32_INTEGERS = 2**24  # up to here float32 holds every integer


@dataclass(frozen=True)
class IntegerNetwork:
    """Operations in topological order, each of which makes one tensor; tensor 0 is the image.

    Attributes:
        name: Name of the Keras model.
        image: The tensor of the pixels minus `mean`.
        mean: The integer that is subtracted from the pixels of each channel.
        operations: The operations; operation n (from 1) makes tensor n, and the last one makes the logits.
        outputs: Layer name -> index of the tensor that holds the output of the layer.
        output_shape: Shape of the logits in Keras, without the batch.

    Example:
        A quantized network is lowered, and then runs on pixels:

            network = lower(quantized, levels=256)
            codes = network.run(pixels)
    """

    name: str
    image: Tensor
    mean: tuple[int, ...]
    operations: Sequence[Operation]
    outputs: dict[str, int]
    output_shape: tuple[int, ...]

    @property
    def tensors(self) -> list[Tensor]:
        """The image, then the output of each operation."""
        return [self.image, *(operation.output for operation in self.operations)]

    @property
    def convolutions(self) -> list[Convolve]:
        """The operations that multiply, in order: convolutions and dense layers."""
        return [operation for operation in self.operations if isinstance(operation, Convolve)]

    @property
    def beyond_float32(self) -> list[str]:
        """Names of the layers whose sums may exceed 2**24, so that a simulation in float32 may differ."""
        largest: dict[str, int] = {}
        for operation in self.operations:
            sums = max(operation.output.magnitude, operation.magnitude if isinstance(operation, Convolve) else 0)
            largest[operation.layer] = max(sums, largest.get(operation.layer, 0))
        return [layer for layer, magnitude in largest.items() if magnitude > FLOAT32_INTEGERS]

    @property
    def batch(self) -> int:
        """How many images run at a time."""
        return max(1, AT_ONCE // max(tensor.size for tensor in self.tensors))

    @property
    def weight_bits(self) -> int:
        """Bits of all kernel codes and biases; each array has the width that its own codes need."""
        return sum(_bits(operation.kernel) + _bits(operation.bias) for operation in self.convolutions)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the codes of the logits.

        Args:
            images: Pixels, integers (n, height, width, channels).

        Returns:
            Codes (int64), of shape `(n, *output_shape)`.

        Raises:
            InputError: when images are not integers, have another shape, or exceed the range of the image's codes.
        """
        last = len(self.operations)
        return np.concatenate([codes[last] for codes in self._batches(images, {last})]).reshape(-1, *self.output_shape)

    def trace(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the codes that each layer outputs.

        Args:
            images: As in `run`.

        Returns:
            Layer name -> codes, (n, height, width, channels).

        Raises:
            InputError: as in `run`.
        """
        wanted = set(self.outputs.values())
        batches = list(self._batches(images, wanted))
        return {name: np.concatenate([codes[i] for codes in batches]) for name, i in self.outputs.items()}

    def _batches(self, images: np.ndarray, wanted: set[int]) -> Iterator[dict[int, np.ndarray]]:
        """Yield the codes of the `wanted` tensors by index, a batch of images at a time."""
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
                f"pixels minus their mean must be from {self.image.low} to {self.image.high}, "
                f"not {codes.min()} to {codes.max()}"
            )
        return codes


def _bits(array: np.ndarray) -> int:
    tensor = Tensor((1, 1, array.size), 0, min(0, int(array.min(initial=0))), max(0, int(array.max(initial=0))))
    return tensor.size * tensor.bits
