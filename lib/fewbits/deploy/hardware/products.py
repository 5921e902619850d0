"""Products of a window and its weights, and their sum."""

from fewbits.deploy.hardware.design import NIBBLE, EngineDesign
from fewbits.deploy.hardware.sliding_window import Position, window_layout
from fewbits.deploy.hardware.stage import add_stage
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Cat, Module, Signal, signed
    from amaranth.lib.data import ArrayLayout, StructLayout
    from amaranth.lib.stream import Signature
    from amaranth.lib.wiring import Component, In, Out


def nibble_bits(design: EngineDesign) -> int:
    """Return the bits of the sum of a window's products with slices of 4 bits.

    Args:
        design: The engine.
    """
    return design.pixel_bits + 1 + NIBBLE + 1 + (design.window**2 - 1).bit_length()


class NibbleSums(Component):
    """Sums of products of pixels and slices of weights.

        sum[n] = sum over the window of pixel * nibble[n]

    A weight of 16 bits has four slices, one of 8 bits two: the same multipliers serve one wide weight or several
    narrow ones. The highest slice of a weight has its sign, the others have none.
    """

    def __init__(self, design: EngineDesign):
        """Prepare the multipliers.

        Args:
            design: The engine.
        """
        self._design = design
        taps, slices = design.window**2, design.words * design.nibbles
        sums = ArrayLayout(signed(nibble_bits(design)), slices)
        super().__init__(
            {
                "signed_pixels": In(1),
                "slices": In(2),  # slices of a weight: 0 for one, 1 for two, 2 for four
                "weights": In(ArrayLayout(ArrayLayout(NIBBLE, slices), taps)),
                "available": In(1),  # whether the weights are there
                "windows": In(Signature(window_layout(design))),
                "sums": Out(Signature(StructLayout({"sums": sums, "position": Position}))),
                "taken": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the logic."""
        m, window = Module(), self.windows.payload
        pixels = [Cat(pixel, pixel[-1] & self.signed_pixels).as_signed() for pixel in window.pixels]
        sums = []
        for n in range(self._design.words * self._design.nibbles):
            has_sign = Signal(name=f"has_sign_{n}")
            m.d.comb += has_sign.eq(~((n + 1) & ((1 << self.slices) - 1)).any())
            nibbles = [self.weights[tap][n] for tap in range(self._design.window**2)]
            factors = [Cat(nibble, nibble[-1] & has_sign).as_signed() for nibble in nibbles]
            sums.append(_tree([pixel * factor for pixel, factor in zip(pixels, factors)])[: nibble_bits(self._design)])
        taken = add_stage(m, self.windows, self.sums, Cat(*sums, window.position.as_value()), self.available)
        m.d.comb += self.taken.eq(taken)
        return m


def _tree(terms):
    """Return the sum of `terms` as a balanced tree of adders."""
    while len(terms) > 1:
        terms = [sum(terms[i + 1 : i + 2], terms[i]) for i in range(0, len(terms), 2)]
    return terms[0]
