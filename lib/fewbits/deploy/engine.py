"""Which layers run on the hardware convolution engine of the PULP platform, in how many passes and cycles.

The engine reads one plane of 16-bit pixels, slides a 3x3 or 5x5 window over it pixel by pixel, and adds the results to
planes of 16-bit sums: one plane with 16-bit weights, two with 8-bit weights, four with 4-bit weights. Before it adds,
it shifts the sum of the window to the right (normalization); the addition saturates. One such run over a plane is a
pass.

How other layers map to the engine is our choice: a small window is surrounded by zeros, a large one is cut into pieces
of 5x5, and with strides only the results that are needed are kept.

Cycles are those of the engine in gates, `fewbits.deploy.hardware`, which reads one pixel per cycle. Passes follow one
another without a gap if planes have at least five pixels, so that a pass takes as many cycles as its plane has pixels,
however many results are kept. Streams come in time, as do the first weights of a layer.

Source: Conti and Benini, 2015; the engine that vieito2017 plans for (1.1, 3.4) but never builds on.
"""

from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Convolve, Tensor, signed_bits
from fewbits.errors import check_integer

PIXEL_BITS = SUM_BITS = 16
PLANES = {4: 4, 8: 2, 16: 1}  # bits of a weight -> planes of sums per pass
WINDOWS = (3, 5)
STAGES = 6  # cycles from the pixel that completes a window to its code


@dataclass(frozen=True)
class EngineMapping:
    """How a layer runs on the engine.

    Attributes:
        layer: Name of the layer.
        reason: Why the engine cannot run the layer; empty if it does.
        window: Side of the engine's window, 3 or 5.
        weight_bits: 4, 8 or 16.
        passes: Number of passes over a plane.
        cycles: Clock cycles for one image.
        macs: Multiply-accumulates of the layer for one image.
        utilisation: `macs` divided by what the multipliers of the engine could do in these cycles.
        shift: How far the sum of a window must be shifted so that 16 bits hold the worst-case sums of the layer.
    """

    layer: str
    reason: str
    window: int = 0
    weight_bits: int = 0
    passes: int = 0
    cycles: int = 0
    macs: int = 0
    utilisation: float = 0.0
    shift: int = 0


def map_to_engine(network: IntegerNetwork, words: int = 1) -> list[EngineMapping]:
    """Return how each layer of `network` that multiplies runs on the engine.

    Args:
        network: An integer network.
        words: How many words of 16 bits of weights the engine multiplies each pixel of a window by; one on PULP. With
            several, a pass makes as many times more planes of sums.

    Returns:
        One mapping per convolution, depthwise convolution or dense layer, in topological order.

    Raises:
        InputError: when `words` is out of range.
    """
    check_integer("words", words, 1, 64)
    return [_mapping(operation, network.tensors[operation.inputs[0]], words) for operation in network.convolutions]


def convolve_on_engine(operation: Convolve, codes: np.ndarray, shift: int) -> np.ndarray:
    """Return the sums that the engine computes.

    The engine adds one input plane after the other. It shifts each sum first, which rounds down, and each addition
    saturates; a single sum over all planes would differ.

    Args:
        operation: The convolution.
        codes: Input codes, (n, height, width, channels).
        shift: How far each sum is shifted to the right.

    Returns:
        16-bit sums in units of 2**shift, (n, height, width, filters).
    """
    low, high = -(2 ** (SUM_BITS - 1)), 2 ** (SUM_BITS - 1) - 1
    bias = np.zeros_like(operation.bias)
    sums = np.clip(np.broadcast_to(operation.bias >> shift, (len(codes), *operation.output.shape)), low, high)
    own = operation.kernel.shape[2]  # channels of a group
    parts = [(slice(c, c + 1), slice(c, None, own)) for c in range(own)]  # a plane of each group at a time
    for weights, planes in [(slice(None), slice(None))] if operation.depthwise else parts:
        alone = _with(operation, operation.kernel[:, :, weights], bias)
        sums = np.clip(sums + (alone.compute(codes[..., planes]).astype(np.int64) >> shift), low, high)
    return sums


def _mapping(operation: Convolve, tensor: Tensor, words: int) -> EngineMapping:
    height, width, channels, filters = operation.kernel.shape
    places = prod(operation.output.shape[:2])
    macs = operation.kernel.size * places
    needed = signed_bits(int(operation.kernel.min()), int(operation.kernel.max()))
    weight_bits = next((bits for bits in PLANES if bits >= needed), None)
    if tensor.shape[:2] == (1, 1):
        return EngineMapping(operation.layer, "has no plane of pixels to slide over", macs=macs)
    if tensor.bits > PIXEL_BITS:
        return EngineMapping(operation.layer, f"reads pixels of {tensor.bits} bits", macs=macs)
    if weight_bits is None:
        return EngineMapping(operation.layer, f"has weights of {needed} bits", macs=macs)
    if operation.dilation != (1, 1):
        return EngineMapping(operation.layer, "has holes in its window", macs=macs)
    window = next((side for side in WINDOWS if side >= max(height, width)), WINDOWS[-1])
    pieces = ceil(height / window) * ceil(width / window)
    planes = PLANES[weight_bits] * words
    passes = pieces * channels * operation.groups * ceil(filters // operation.groups / planes)
    cycles = _cycles(operation, tensor.shape, passes)
    shift = max(0, operation.partial_bits - SUM_BITS)
    utilisation = macs / (cycles * planes * window**2)
    return EngineMapping(operation.layer, "", window, weight_bits, passes, cycles, macs, utilisation, shift)


def _cycles(operation: Convolve, shape: tuple[int, int, int], passes: int) -> int:
    """Return the cycles of `passes` over planes of `shape`: the last one ends with the pixel of the last window."""
    rows, columns, _ = shape
    (top, _), (left, _) = operation.padding
    height, width = operation.kernel.shape[:2]
    first = (height - 1 - top) * columns + width - 1 - left  # pixels before the one that completes the first window
    row, column = ((n - 1) * stride for n, stride in zip(operation.output.shape, operation.strides))
    return (passes - 1) * rows * columns + first + row * columns + column + STAGES


def _with(operation, kernel, bias):
    """Return `operation` with another kernel and bias."""
    return type(operation)(**{**vars(operation), "kernel": kernel, "bias": bias})
