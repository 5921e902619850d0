"""Sums of slices joined to sums of weights."""

from fewbits.deploy.hardware.design import NIBBLE, EngineDesign
from fewbits.deploy.hardware.products import nibble_bits
from fewbits.deploy.hardware.sliding_window import Position
from fewbits.deploy.hardware.stage import add_stage
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Cat, Module, Signal, signed
    from amaranth.lib.data import ArrayLayout, StructLayout
    from amaranth.lib.stream import Signature
    from amaranth.lib.wiring import Component, In, Out


def window_sum_bits(design: EngineDesign) -> int:
    """Return the bits of the sum of a window.

    Args:
        design: The engine.
    """
    return nibble_bits(design) + NIBBLE * (design.nibbles - 1)


class JoinSlices(Component):
    """The sum of each filter from the sums of the slices of its weights: sum of slice[k] * 16**k.

    With `s` slices a weight, a word holds nibbles / s filters; the remaining places of the word are 0.
    """

    def __init__(self, design: EngineDesign):
        """Prepare the adders.

        Args:
            design: The engine.
        """
        self._design = design
        layouts = [
            StructLayout({"sums": ArrayLayout(signed(bits), design.filters), "position": Position})
            for bits in (nibble_bits(design), window_sum_bits(design))
        ]
        super().__init__({"slices": In(2), "source": In(Signature(layouts[0])), "sums": Out(Signature(layouts[1]))})

    def elaborate(self, platform: object) -> Module:
        """Return the logic."""
        m, nibbles, source = Module(), self._design.nibbles, self.source.payload
        joined = []
        for word in range(self._design.words):
            parts = [source.sums[word * nibbles + n] for n in range(nibbles)]
            for place in range(nibbles):
                total = Signal(signed(window_sum_bits(self._design)), name=f"total_{word}_{place}")
                for power in range(nibbles.bit_length()):
                    slices = 1 << power
                    with m.If(self.slices == power):
                        own = parts[place * slices : (place + 1) * slices]
                        m.d.comb += total.eq(sum(part << (NIBBLE * k) for k, part in enumerate(own)))
                joined.append(total)
        add_stage(m, self.source, self.sums, Cat(*joined, source.position.as_value()), 1)
        return m
