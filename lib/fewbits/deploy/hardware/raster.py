"""Counters that follow a stream of pixels."""

from fewbits.deploy.hardware.design import SIZE_BITS
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Module, Mux
    from amaranth.lib.data import StructLayout
    from amaranth.lib.wiring import Component, In, Out

Place = StructLayout(dict.fromkeys(("column", "row", "plane", "run"), SIZE_BITS))


class Raster(Component):
    """The place of a pixel: column by column, row by row, plane by plane, run by run."""

    def __init__(self):
        super().__init__(
            {
                "size": In(Place),
                "restart": In(1),
                "advance": In(1),
                "place": Out(Place),
                "done": Out(1, init=1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the logic."""
        m = Module()
        carry = self.advance
        for name in Place.members:
            last = self.place[name] + 1 == self.size[name]
            with m.If(carry):
                m.d.sync += self.place[name].eq(Mux(last, 0, self.place[name] + 1))
            carry = carry & last
        with m.If(carry):
            m.d.sync += self.done.eq(1)
        with m.If(self.restart):
            m.d.sync += [self.done.eq(0), self.place.eq(0)]
        return m
