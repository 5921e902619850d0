"""What one layer of a runtime read and computed, and the layer of the float network that it stands for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fewbits.backend import keras, ops
from fewbits.quantization.adapted import float_kernel
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.layers import by_filter, quantized_type

MOST_CODES = 2**20  # of a layer that are examined: fewer images of large layers
ALIKE = 0.5  # the least correlation of a kernel with the float kernel that it stands for


class Kernel(NamedTuple):
    """A kernel as codes with one column per filter, and the bias as a sum of products.

    Attributes:
        columns: Codes without zero points (float64), (weights, filters).
        steps: What a code stands for, (filters,).
        bias: The bias in accumulators, (filters,): in steps of kernel times input.
    """

    columns: np.ndarray
    steps: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True, eq=False)
class Trace:
    """What a layer read and computed for some images.

    Attributes:
        layer: Name of the layer in the float network, or in the runtime's file if no layer matches.
        inputs: What it read, in steps of its input and without zero point (float64), (n, ..., channels).
        codes: What it computed, without zero point (float64), (n, ..., filters); NaN where a later step of the layer
            hides the rounding.
        input_step: What a step of the inputs stands for.
        output_step: What a step of the codes stands for.
        multiply: The sums of products of inputs and columns of a kernel, (n, ..., filters), without bias.
        kernels: Name -> kernel: the one that the runtime is known to use, or those that it may use.
        reference: The float kernel, with `steps` of 1 and the bias as values; None if no layer matches.
        limits: The layer first rounds its inputs to integers between these two; None if it takes them as they are.
        note: What is to be said about the layer, or "".
    """

    layer: str
    inputs: np.ndarray
    codes: np.ndarray
    input_step: float
    output_step: float
    multiply: Callable[[np.ndarray, np.ndarray], np.ndarray]
    kernels: dict[str, Kernel]
    reference: Kernel | None = None
    limits: tuple[float, float] | None = None
    note: str = field(default="")


@dataclass(frozen=True)
class Window:
    """The window of a convolution: what a file says about it.

    Attributes:
        size: Rows and columns.
        strides: Rows and columns from one window to the next.
        padding: Rows above and below, columns left and right.
        dilation: Rows and columns from one weight to the next.
        groups: Number of groups of channels.
    """

    size: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __call__(self, inputs: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the sums of products.

        Args:
            inputs: Float64, (n, height, width, channels).
            columns: A kernel with one column per filter, as in Kernel.

        Returns:
            Float64, (n, height, width, filters); exact for integers below 2**53.
        """
        padded = np.pad(inputs, ((0, 0), *self.padding, (0, 0)))
        reach = [(n - 1) * d + 1 for n, d in zip(self.size, self.dilation)]
        sides = [(n - r) // s + 1 for n, r, s in zip(padded.shape[1:3], reach, self.strides)]
        kernel = columns.reshape(*self.size, -1, self.groups, columns.shape[1] // self.groups)
        sums = np.zeros((self.groups, len(inputs) * sides[0] * sides[1], kernel.shape[-1]))
        for row, column in np.ndindex(*self.size):
            first = row * self.dilation[0], column * self.dilation[1]
            places = [slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, sides, self.strides)]
            pixels = padded[:, places[0], places[1]].reshape(sums.shape[1], self.groups, -1)
            sums += pixels.transpose(1, 0, 2) @ kernel[row, column].transpose(1, 0, 2)
        return sums.transpose(1, 0, 2).reshape(len(inputs), *sides, columns.shape[1])


def folded(model: keras.Model) -> QuantizedModel:
    """Return a network as a runtime computes it: in float, with each batch normalization folded.

    Args:
        model: A float network, or one that is quantized, which is returned as it is.

    Raises:
        InputError: as `quantize_model`.
    """
    if isinstance(model, QuantizedModel):
        return model
    return quantize_model(model, fold_batch_normalization=True, unsupported="float", rounding="nearest")


def reference_kernel(layer: Any) -> Kernel:
    """Return the float kernel and bias of a layer, in values."""
    columns = by_filter(layer, float_kernel(layer)).astype(np.float64)
    filters = columns.shape[1]
    bias = np.zeros(filters) if layer.bias is None else ops.convert_to_numpy(layer.bias).astype(np.float64)
    return Kernel(columns, np.ones(filters), bias)


def match_layers(kernels: Iterable[Kernel], model: keras.Model) -> list[tuple[str, Kernel] | None]:
    """Find the layers of a network that kernels of a file stand for, by the kernels themselves.

    Args:
        kernels: The kernels of a file, in which batch normalization may be folded, or not.
        model: The float network.

    Returns:
        For each kernel, name and float kernel of the layer whose kernel has the same shape and is most like it, each
        layer used once; None if there is none.
    """
    networks = [folded(model), canonical(model)]
    layers = [layer for network in networks for layer in network.layers if quantized_type(layer)]
    left = [(layer.name, reference_kernel(layer)) for layer in layers]
    found: list[tuple[str, Kernel] | None] = []
    for kernel in kernels:
        values = kernel.columns * kernel.steps
        alike = [_correlation(values, own.columns) for _, own in left]
        best = int(np.argmax(alike)) if left else -1
        if not left or alike[best] < ALIKE:
            found.append(None)
            continue
        name, own = left[best]
        left = [other for other in left if other[0] != name]
        found.append((name, own if kernel.bias.any() else own._replace(bias=np.zeros_like(own.bias))))
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two arrays; -1 if their shapes differ or one is constant."""
    if a.shape != b.shape or not a.size:
        return -1.0
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm else -1.0


def few_enough(outputs: Sequence[int], images: int) -> int:
    """Return how many images of a layer are examined.

    Args:
        outputs: The shape of its output for one image.
        images: How many there are.
    """
    return max(1, min(images, MOST_CODES // max(1, int(np.prod(outputs)))))
