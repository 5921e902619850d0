"""A block of a network while its kernels and biases are trained to restore the outputs that it has in float."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewbits.backend import keras, ops, tensor
from fewbits.post_training.blocks import Block
from fewbits.quantization.layers import by_filter, from_filters, kernel_formats
from fewbits.training.recipe import compiles_steps

BIAS_RATE = 0.02  # steps of the output format by which a bias may move in one training step, at first
LEAST = 1e-30  # of the error that counts 1 in the loss


class KernelInTraining:
    """How numbers that are trained stand for the kernel of a layer on the grids of its formats.

    Attributes:
        rate: The learning rate of the numbers, with Adam, before it decays.
        step: The step of each weight, an array that broadcasts against the kernel.
        least: The smallest code.
        most: The largest code.
    """

    rate = 0.01

    def __init__(self, layer: Any, start: np.ndarray):
        """Take the formats of a layer.

        Args:
            layer: A quantized layer, whose kernel has formats.
            start: The kernel to begin with, in the shape of the layer's.
        """
        formats, columns = kernel_formats(layer), by_filter(layer, start)
        self.step = from_filters(layer, np.broadcast_to([f.step for f in formats], columns.shape)).astype(np.float32)
        self.least, self.most = formats[0].min_code, formats[0].max_code
        self.start = np.asarray(start, np.float64) / self.step

    def codes(self, numbers: Any) -> Any:
        """Return the codes to compute with, a tensor that gradients pass."""
        raise NotImplementedError

    def price(self, numbers: Any, part: Any) -> Any:
        """Return what is added to the loss.

        Args:
            numbers: The numbers that are trained, a tensor.
            part: The part of the training that is done, from 0 to 1.
        """
        return 0.0

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        """Return the codes at the end, which are whole and within the formats."""
        raise NotImplementedError


class StraightThrough(KernelInTraining):
    """The numbers are rounded to codes in every step, and their gradient is that of the codes."""

    def codes(self, numbers: Any) -> Any:
        """Return the codes nearest to the numbers."""
        numbers = tensor(numbers)
        return numbers + ops.stop_gradient(ops.clip(ops.round(numbers), self.least, self.most) - numbers)

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        """Return the codes nearest to the numbers."""
        return np.clip(np.round(numbers), self.least, self.most)


class BlockInTraining(keras.Model):
    """A block that computes with kernels and biases that are trained, in place of those of its layers.

    Args:
        block: The block. Its layers must take kernels as they are given: their formats have none for the kernel.
        layers: The layers that are trained.
        kernels: For each, how its kernel is trained.
        units: For each, about how far its outputs may be off: the step of its output format.
        unit_of_error: The squared error that counts 1 in the loss.
        steps: How many times it will be trained.
    """

    def __init__(
        self,
        block: Block,
        layers: Sequence[Any],
        kernels: Sequence[KernelInTraining],
        units: Sequence[float],
        unit_of_error: float,
        steps: int,
    ):
        super().__init__(name="block")
        self.numbers = [self._variable(kernel.start) for kernel in kernels]
        self.shifts = [self._variable(np.zeros(layer.bias.shape)) for layer in layers]
        parts = list(zip(layers, kernels, units, self.numbers, self.shifts))
        self._parts, self._block = (lambda: parts), (lambda: block)  # Keras must not take their weights for its own
        self._rate, self._unit_of_error, self._steps = kernels[0].rate, max(unit_of_error, LEAST), steps
        self._part = self.add_weight(shape=(), initializer="zeros", trainable=False, name="part")
        self.compile(keras.optimizers.Adam(self._rate), jit_compile=compiles_steps())
        self.optimizer.build(self.trainable_variables)  # else the first step would be traced twice

    def _variable(self, start: np.ndarray) -> Any:
        return self.add_weight(shape=start.shape, initializer=lambda shape, dtype: ops.cast(start, dtype))

    def train(self, step: int, inputs: Sequence[Any], targets: Sequence[Any]) -> None:
        """Take one training step.

        Args:
            step: Its number, from 0.
            inputs: A batch of each input of the block.
            targets: A batch of each output.
        """
        part = step / self._steps
        self._part.assign(part)
        self.optimizer.learning_rate.assign(self._rate * (1 + np.cos(np.pi * part)) / 2)
        self.train_on_batch(list(inputs), list(targets))

    def call(self, inputs: Any) -> Any:
        """Compute the outputs of the block."""
        given = []
        for layer, kernel, unit, numbers, shift in self._parts():
            given.append((layer.kernel, ops.cast(kernel.codes(numbers) * kernel.step, layer.kernel.dtype)))
            given.append((layer.bias, tensor(layer.bias) + self._bias(shift, unit)))
        with keras.StatelessScope(state_mapping=given):
            return self._block().run(inputs)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the squared error of the outputs, as the unit of error counts it, and the price of the kernels.

        Args:
            x: Inputs of the block; not used.
            y: The outputs that are wanted.
            y_pred: The outputs that it has.
            sample_weight: Not used.
            training: Not used.
        """
        error = sum(ops.mean(ops.square(wanted - found)) for wanted, found in zip(y, y_pred))
        prices = [kernel.price(numbers, self._part) for _, kernel, _, numbers, _ in self._parts()]
        return error / self._unit_of_error + sum(prices) / len(prices)

    def weights_found(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return kernel, on the grids of its formats, and bias of each layer, float32."""
        found = []
        for layer, kernel, unit, numbers, shift in self._parts():
            codes = kernel.rounded(ops.convert_to_numpy(numbers))
            bias = ops.convert_to_numpy(layer.bias) + self._bias(ops.convert_to_numpy(shift), unit)
            found.append(((codes * kernel.step).astype(np.float32), bias))
        return found

    def _bias(self, shift: Any, unit: float) -> Any:
        return shift * (unit * BIAS_RATE / self._rate)
