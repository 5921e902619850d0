"""Layers that CMSIS-NN, Arm's library of kernels for Cortex-M, computes exactly as the integer network does.

CMSIS-NN takes codes of 8 bits with a sign, multiplies sums by a factor and rounds half up, if it is compiled for single
rounding. The factor of a shift by k bits is 2^-k, so that nothing is lost. Codes without a sign are passed less 128.
"""

import os
from pathlib import Path
from typing import NamedTuple

from fewbits.deploy.operations import Convolve
from fewbits.deploy.program import DivideSums, Loop, Program

MOST_SHIFT = 31
OFFSET = 128  # of codes without a sign that need 8 bits
FOLDER = "CMSIS_NN"  # the environment variable with the folder of the library


class CMSISLayer(NamedTuple):
    """How CMSIS-NN computes a layer.

    Attributes:
        kind: "convolve", "depthwise" or "dense".
        shifts: By how many bits the sums of each filter are divided.
        low: The smallest code of the output.
        high: Its largest code.
        in_offset: What the codes of the input are passed less, 0 or OFFSET.
        out_offset: The same of the output.
        buffer_bytes: Memory that the library works in.
    """

    kind: str
    shifts: tuple[int, ...]
    low: int
    high: int
    in_offset: int
    out_offset: int
    buffer_bytes: int


def find_cmsis_nn() -> Path | None:
    """Return the folder of CMSIS-NN that the environment variable CMSIS_NN names; None if there is none."""
    path = os.environ.get(FOLDER)
    return Path(path) if path and Path(path, "Include", "arm_nnfunctions.h").is_file() else None


def cmsis_layer(program: Program, loop: Loop) -> CMSISLayer | None:
    """Return how CMSIS-NN computes a loop; None if it cannot, or not exactly.

    Args:
        program: The program of a network.
        loop: One of its loops.
    """
    operation = loop.operation
    if not isinstance(operation, Convolve) or loop.kind not in ("convolve", "depthwise") or loop.sum_bits != 32:
        return None
    source, target = program.buffers.get(loop.inputs[0]), program.buffers.get(loop.tensor)
    whole = loop.stride == loop.shape[2] and not loop.offset
    if not source or not target or {source.bits, target.bits} != {8} or not whole or len(loop.finish) != 1:
        return None
    [divide] = loop.finish
    if not isinstance(divide, DivideSums) or divide.divisor > 1 or divide.rounding != "nearest-up":
        return None
    x, kernel = program.network.tensors[loop.inputs[0]], operation.kernel
    shifts = divide.shift if isinstance(divide.shift, tuple) else (divide.shift,) * loop.shape[2]
    before = [side[0] for side in operation.padding]
    if not 0 <= min(shifts) <= max(shifts) <= MOST_SHIFT or min(before) < 0 or abs(kernel + 0.5).max() > 128:
        return None
    products = kernel.shape[0] * kernel.shape[1] * x.shape[2]
    is_dense = x.shape[:2] == (1, 1) and kernel.shape[:2] == (1, 1) and len(set(shifts)) == 1
    kind = "dense" if is_dense and loop.kind == "convolve" else loop.kind
    in_offset, out_offset = _offset(source, x.high), _offset(target, divide.high)
    buffer_bytes = 2 * products if kind == "depthwise" else 0 if kind == "dense" else 4 * (-(-products // 4) * 4)
    return CMSISLayer(kind, shifts, divide.low, divide.high, in_offset, out_offset, buffer_bytes)


def _offset(buffer, high):
    """Return what codes up to `high` are passed less: bytes up to 127 are the same with a sign and without."""
    return 0 if buffer.signed or high <= 127 else OFFSET
