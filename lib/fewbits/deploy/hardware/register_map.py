"""The registers of the engine: address, width and meaning of each."""

from typing import NamedTuple

from fewbits.deploy.hardware.design import SHIFT_BITS, SIZE_BITS


class Register(NamedTuple):
    """A register; its address is its index in REGISTERS.

    Attributes:
        name: Its name.
        bits: Number of bits.
        meaning: What it holds.
        signed: Whether it is in two's complement.
        counts: Whether it is a counter, which can only be read.
    """

    name: str
    bits: int
    meaning: str
    signed: bool = False
    counts: bool = False


REGISTERS = (
    Register("start", 1, "a write starts a job; reads 1 until the last code has left"),
    Register("columns", SIZE_BITS, "columns of an input plane"),
    Register("rows", SIZE_BITS, "rows of an input plane"),
    Register("planes", SIZE_BITS, "planes that a run adds up"),
    Register("runs", SIZE_BITS, "runs of a job; each computes filters of its own"),
    Register("top", 3, "rows of zeros above a plane"),
    Register("left", 3, "columns of zeros on the left of a plane"),
    Register("last_row", SIZE_BITS, "(output rows - 1) * stride"),
    Register("last_column", SIZE_BITS, "(output columns - 1) * stride"),
    Register("stride_mask", 3, "stride - 1; the stride is a power of two"),
    Register("delay", 24, "(window - 1 - top) * columns + window - 1 - left"),
    Register("signed_pixels", 1, "1 if pixels are in two's complement"),
    Register("slices", 2, "0 for weights of 4 bits, 1 for 8, 2 for 16"),
    Register("plane_shift", SHIFT_BITS, "right shift of a window's sum before it is added; rounds down"),
    Register("rounding", 2, "of the output: 0 floor, 1 nearest-up, 2 nearest, 3 nearest-away"),
    Register("low", 32, "the smallest output code; 0 for a ReLU", signed=True),
    Register("high", 32, "the largest output code", signed=True),
    Register("cycles", 32, "cycles of the job", counts=True),
    Register("wait_pixel", 32, "cycles in which the window waited for a pixel", counts=True),
    Register("wait_weight", 32, "cycles in which a window waited for weights", counts=True),
    Register("wait_filter", 32, "cycles in which a sum waited for bias and shift", counts=True),
    Register("wait_sum", 32, "cycles in which a sum waited for the partial sum of its place", counts=True),
    Register("wait_output", 32, "cycles in which a code waited for its reader", counts=True),
)
ADDRESS_BITS = (len(REGISTERS) - 1).bit_length()
ADDRESSES = {register.name: address for address, register in enumerate(REGISTERS)}
COUNTERS = tuple(register.name for register in REGISTERS if register.counts)
