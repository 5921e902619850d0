"""What is fixed when an engine is built: its window, the widths of its numbers, and how much it does at once."""

from dataclasses import dataclass

from fewbits.errors import InputError, check_integer, check_name
from fewbits.names import OVERFLOWS

NIBBLE = 4  # bits of a slice of a weight; every multiplier takes one
SHIFT_BITS = 6
SIZE_BITS = 16  # of rows, columns, planes and runs
ENGINE_ROUNDINGS = ("floor", "nearest-up", "nearest", "nearest-away")  # register ROUNDING holds the index


@dataclass(frozen=True)
class EngineDesign:
    """The parameters of a convolution engine; everything else is in its registers.

    Attributes:
        window: Side of the window: 1, 3 or 5.
        pixel_bits: Bits of a pixel, 8 or 16; a register says whether it has a sign.
        word_bits: Bits of a word of weights, 4, 8 or 16. A word holds one weight of that width, or two or four narrow
            ones, each of a filter of its own.
        words: How many words of weights each pixel of the window is multiplied by in a cycle.
        sum_bits: Bits of a partial sum.
        code_bits: Bits of an output code.
        columns: The longest row of a plane, in pixels.
        places: The most places in an output plane: the depth of the memory of partial sums.
        roundings: The roundings that are built, a tuple of names from ENGINE_ROUNDINGS.
        overflow: What a partial sum that is too large does; one of OVERFLOWS.

    Raises:
        InputError: when a parameter is out of range.

    Example:
        >>> EngineDesign(window=3, word_bits=16, words=1).filters
        4
    """

    window: int = 3
    pixel_bits: int = 8
    word_bits: int = 8
    words: int = 1
    sum_bits: int = 32
    code_bits: int = 16
    columns: int = 64
    places: int = 1024
    roundings: tuple[str, ...] = ENGINE_ROUNDINGS
    overflow: str = "saturate"

    def __post_init__(self) -> None:
        for name, allowed in (("window", (1, 3, 5)), ("pixel_bits", (8, 16)), ("word_bits", (4, 8, 16))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(map(str, allowed))}, not {getattr(self, name)!r}")
        check_integer("words", self.words, 1, 64)
        check_integer("sum_bits", self.sum_bits, 8, 48)
        check_integer("code_bits", self.code_bits, 1, 32)
        check_integer("columns", self.columns, 2, 2**SIZE_BITS - 1)
        check_integer("places", self.places, 2, 2**24)
        for name in self.roundings:
            check_name("rounding of the engine", name, ENGINE_ROUNDINGS)
        check_name("overflow", self.overflow, OVERFLOWS)

    @property
    def nibbles(self) -> int:
        """Slices of 4 bits in a word."""
        return self.word_bits // NIBBLE

    @property
    def filters(self) -> int:
        """The most filters at once: with weights of 4 bits."""
        return self.words * self.nibbles

    @property
    def weight_widths(self) -> dict[int, int]:
        """Bits of a weight -> filters at once."""
        return {bits: self.words * (self.word_bits // bits) for bits in (4, 8, 16) if bits <= self.word_bits}
