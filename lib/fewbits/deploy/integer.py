"""Integer networks: codes of an image in, codes of the logits out, and no floating-point operation in between.

The contract: the codes are those of the quantized Keras model, bit for bit, wherever float32 is exact there
(`fewbits.deploy.lower` proves that layer by layer).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fewbits.deploy.operations import Add, Convolve, Input, Operation, SumPool, Tensor
from fewbits.errors import InputError

AT_ONCE = 2**22  # codes of a tensor in memory, for all images of a batch together
FLOAT32_INTEGERS = 2**24  # up to here float32 holds every integer


class Output(NamedTuple):
    """One output of a network.

    Attributes:
        layer: Name of the layer that makes it.
        tensor: Index of the tensor that holds it.
        shape: Its shape in Keras, without the batch.
    """

    layer: str
    tensor: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class IntegerNetwork:
    """Operations in topological order, each of which makes one tensor; tensor 0 is the image.

    A sequence (steps, channels) is an image of one row, and a vector an image of one pixel. Further inputs are
    operations that read nothing.

    Attributes:
        name: Name of the Keras model.
        image: The tensor of the pixels minus `mean`.
        mean: The integer that is subtracted from the pixels of each channel.
        operations: The operations; operation n (from 1) makes tensor n, and the last one makes the logits.
        outputs: Layer name -> index of the tensor that holds the output of the layer.
        output_shape: Shape of the logits in Keras, without the batch.
        earlier: The outputs of the network before the last one, which is the logits; none if it has one output.

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
    earlier: Sequence[Output] = ()

    @property
    def inputs(self) -> list[int]:
        """Indices of the tensors that are inputs of the network, in Keras' order."""
        return [0, *(n for n, operation in enumerate(self.operations, 1) if isinstance(operation, Input))]

    @property
    def means(self) -> list[tuple[int, ...]]:
        """The mean of each input."""
        return [self.mean, *(operation.mean for operation in self.operations if isinstance(operation, Input))]

    @property
    def results(self) -> list[Output]:
        """All outputs of the network, in Keras' order."""
        layer = self.operations[-1].layer if self.operations else self.name
        return [*self.earlier, Output(layer, len(self.operations), self.output_shape)]

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
            largest[operation.layer] = max(self._largest_sum(operation), largest.get(operation.layer, 0))
        return [layer for layer, magnitude in largest.items() if magnitude > FLOAT32_INTEGERS]

    def _largest_sum(self, operation: Operation) -> int:
        """Return the largest absolute value of a result of `operation`, and of its sums on the way."""
        if isinstance(operation, Convolve):
            return max(operation.output.magnitude, operation.magnitude)
        if isinstance(operation, Add) and len(operation.inputs) > 2:
            largest = sum(self.tensors[i].magnitude << shift for i, shift in zip(operation.inputs, operation.shifts))
        else:
            largest = operation.output.magnitude
        return 4 * largest if self._takes_reciprocal(operation) else largest

    def _takes_reciprocal(self, operation: Operation) -> bool:
        """Return whether `operation` is one for which float32 multiplies by 1/n, with a rounding of its own."""
        divisor = operation.output.divisor
        if isinstance(operation, SumPool) or not operation.inputs or not divisor & (divisor - 1):
            return False
        return divisor != self.tensors[operation.inputs[0]].divisor

    @property
    def batch(self) -> int:
        """How many images run at a time."""
        return max(1, AT_ONCE // max(tensor.size for tensor in self.tensors))

    @property
    def weight_bits(self) -> int:
        """Bits of all kernel codes and biases; each array has the width that its own codes need."""
        return sum(_bits(operation.kernel) + _bits(operation.bias) for operation in self.convolutions)

    def run(self, images: Any) -> Any:
        """Return the codes of the logits.

        Args:
            images: Pixels, integers (n, height, width, channels); (n, steps, channels) or (n, features) for a network
                that takes these. A list of arrays if the network has several inputs.

        Returns:
            Codes (int64), of shape `(n, *output_shape)`; a list of arrays if the network has several outputs.

        Raises:
            InputError: when images are not integers, have another shape, or exceed the range of the image's codes.
        """
        batches = list(self._batches(images, {output.tensor for output in self.results}))
        found = [
            np.concatenate([codes[output.tensor] for codes in batches]).reshape(-1, *output.shape)
            for output in self.results
        ]
        return found if self.earlier else found[0]

    def trace(self, images: Any) -> dict[str, np.ndarray]:
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

    def _batches(self, images: Any, wanted: set[int]) -> Iterator[dict[int, np.ndarray]]:
        """Yield the codes of the `wanted` tensors by index, a batch of images at a time."""
        inputs = self._codes(images)
        last = {i: number for number, operation in enumerate(self.operations, 1) for i in operation.inputs}
        for start in range(0, len(inputs[0]), self.batch):
            codes = {i: array[start : start + self.batch] for i, array in inputs.items()}
            for number, operation in enumerate(self.operations, 1):
                if number in inputs:
                    continue
                codes[number] = operation.compute(*(codes[i] for i in operation.inputs))
                for i in set(operation.inputs) - wanted:
                    if last[i] == number:
                        del codes[i]
            yield {i: codes[i] for i in wanted}

    def _codes(self, images: Any) -> dict[int, np.ndarray]:
        """Return the codes of each input by the index of its tensor."""
        if len(self.inputs) == 1:
            return {0: _checked(images, self.image, self.mean)}
        if not isinstance(images, list | tuple) or len(images) != len(self.inputs):
            raise InputError(f"{self.name} has {len(self.inputs)} inputs; give a list with an array for each")
        codes = [_checked(array, self.tensors[i], mean) for array, i, mean in zip(images, self.inputs, self.means)]
        if len({len(array) for array in codes}) > 1:
            counts = ", ".join(str(len(array)) for array in codes)
            raise InputError(f"the inputs of {self.name} must hold equally many images, not {counts}")
        return dict(zip(self.inputs, codes))


def _checked(images: Any, tensor: Tensor, mean: tuple[int, ...]) -> np.ndarray:
    """Return the codes of `tensor` that pixels stand for."""
    images = np.asarray(images)
    outer = (1,) * (4 - images.ndim)  # a sequence is an image of one row, a vector one of one pixel
    if images.dtype.kind not in "ui" or outer + images.shape[1:] != tensor.shape or not len(images):
        shape = ", ".join(map(str, tensor.shape))
        raise InputError(f"images must be integers of shape (n, {shape}), not {images.dtype} {images.shape}")
    codes = images.reshape(len(images), *tensor.shape).astype(np.int64) - np.asarray(mean)
    if codes.min() < tensor.low or codes.max() > tensor.high:
        raise InputError(
            f"pixels minus their mean must be from {tensor.low} to {tensor.high}, not {codes.min()} to {codes.max()}"
        )
    return codes


def _bits(array: np.ndarray) -> int:
    tensor = Tensor((1, 1, array.size), 0, min(0, int(array.min(initial=0))), max(0, int(array.max(initial=0))))
    return tensor.size * tensor.bits
