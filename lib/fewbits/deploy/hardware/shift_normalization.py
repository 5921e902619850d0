"""From sums to output codes."""

from fewbits.deploy.hardware.design import EngineDesign
from fewbits.deploy.hardware.partial_sums import total_layout
from fewbits.deploy.hardware.shift_arithmetic import between, rounded_shift
from fewbits.deploy.hardware.stage import add_stage
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Cat, Module, signed
    from amaranth.lib.data import ArrayLayout, StructLayout
    from amaranth.lib.stream import Signature
    from amaranth.lib.wiring import Component, In, Out


def code_layout(design: EngineDesign) -> StructLayout:
    """Return the layout of the output codes of a place.

    Args:
        design: The engine.
    """
    return StructLayout({"codes": ArrayLayout(design.code_bits, design.filters), "ends_all": 1})


class ShiftNormalization(Component):
    """code = clip(round(sum / 2**shift), low, high), with a shift per filter."""

    def __init__(self, design: EngineDesign):
        """Prepare the shifters.

        Args:
            design: The engine.
        """
        self._design = design
        super().__init__(
            {
                "rounding": In(2),
                "low": In(signed(design.code_bits + 1)),
                "high": In(signed(design.code_bits + 1)),
                "totals": In(Signature(total_layout(design))),
                "codes": Out(Signature(code_layout(design))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the logic."""
        m, design, total = Module(), self._design, self.totals.payload
        codes = []
        for n in range(design.filters):
            rounded = rounded_shift(total.sums[n], total.shifts[n], self.rounding, design.roundings)
            codes.append(between(rounded, self.low, self.high)[: design.code_bits])
        add_stage(m, self.totals, self.codes, Cat(*codes, total.ends_all), 1)
        return m
