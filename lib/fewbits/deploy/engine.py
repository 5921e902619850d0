"""What of a network of integers runs on the hardware convolution engine of the PULP platform, and in how many passes.

The engine reads one plane of 16-bit pixels, slides a window of 3x3 or 5x5 over it pixel by pixel, and adds what it
finds to planes of 16-bit sums: one plane with weights of 16 bits, two with 8, four with 4. Before it adds, it shifts
the window's sum to the right (normalisation); what it adds saturates. One such run over a plane is a pass.

Source: Conti and Benini, 2015; the engine that vieito2017 plans for (1.1, 3.4) and never reaches. How other layers are
laid onto it is ours: a small window is surrounded by zeros, a large one is cut into pieces of 5x5, and of a stride's
results only those are kept that are wanted.
"""

from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Convolve, signed_bits

PIXEL_BITS = SUM_BITS = 16
PLANES = {4: 4, 8: 2, 16: 1}  # bits of a weight -> planes of sums at once
WINDOWS = (3, 5)


@dataclass(frozen=True)
class EngineMapping:
    """How a layer runs on the engine.

    reason: why it does not, else "". window: side of the engine's. weight_bits: 4, 8 or 16. passes: over planes. macs:
    of the layer, for one image. utilisation: macs over those that the engine's multipliers could do in these passes.
    shift: by which a window's sum must be shifted for 16 bits to hold the layer's sums at their worst.
    """

    layer: str
    reason: str
    window: int = 0
    weight_bits: int = 0
    passes: int = 0
    macs: int = 0
    utilisation: float = 0.0
    shift: int = 0


def map_to_engine(network: IntegerNetwork) -> list[EngineMapping]:
    """Return a EngineMapping for each layer of `network` that multiplies, in its order."""
    return [_mapping(operation, network.tensors[operation.inputs[0]]) for operation in network.convolutions]


def convolve_on_engine(operation: Convolve, codes, shift: int) -> np.ndarray:
    """Return what the engine makes of `codes` (n, height, width, channels): sums of 16 bits, with 2**shift as one.

    Plane after plane of the input is added, each sum shifted (rounded down) before, each addition saturated: that is
    not what one sum over all planes would be.
    """
    low, high = -(2 ** (SUM_BITS - 1)), 2 ** (SUM_BITS - 1) - 1
    bias = np.zeros_like(operation.bias)
    sums = np.clip(np.broadcast_to(operation.bias >> shift, (len(codes), *operation.output.shape)), low, high)
    for channel in range(1 if operation.depthwise else codes.shape[-1]):
        plane = slice(None) if operation.depthwise else slice(channel, channel + 1)
        alone = _with(operation, operation.kernel[:, :, plane], bias)
        sums = np.clip(sums + (alone.compute(codes[..., plane]).astype(np.int64) >> shift), low, high)
    return sums


def _mapping(operation, tensor) -> EngineMapping:
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
    planes = PLANES[weight_bits]
    passes = pieces * channels * ceil(filters / planes)
    at_every_pixel = prod((side - 1) * stride + 1 for side, stride in zip(operation.output.shape, operation.strides))
    could = passes * planes * window**2 * at_every_pixel
    shift = max(0, operation.partial_bits - SUM_BITS)
    return EngineMapping(operation.layer, "", window, weight_bits, passes, macs, macs / could, shift)


def _with(operation, kernel, bias):
    """Return `operation` with another kernel and bias."""
    return type(operation)(**{**vars(operation), "kernel": kernel, "bias": bias})
