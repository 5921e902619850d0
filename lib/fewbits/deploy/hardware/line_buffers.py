"""The rows above the pixel that arrives."""

from fewbits.deploy.hardware.design import SIZE_BITS
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Cat, Module, Mux, Signal
    from amaranth.lib.data import ArrayLayout
    from amaranth.lib.memory import Memory
    from amaranth.lib.wiring import Component, In, Out


class LineBuffers(Component):
    """The last pixels of a column: column[rows - 1 - k] = the pixel that arrived k * width pixels ago.

    A memory has a word for each column of the plane, which holds the pixels of the previous rows. When a pixel
    arrives, its word moves up by a row.
    """

    def __init__(self, rows: int, bits: int, longest: int):
        """Prepare buffers.

        Args:
            rows: Rows of the window; with one, there is no memory.
            bits: Bits of a pixel.
            longest: The longest row of a plane.
        """
        self._rows, self._bits, self._longest = rows, bits, longest
        super().__init__(
            {
                "width": In(SIZE_BITS),
                "restart": In(1),
                "advance": In(1),
                "pixel": In(bits),
                "column": Out(ArrayLayout(bits, rows)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the logic."""
        m = Module()
        if self._rows == 1:
            m.d.comb += self.column[0].eq(self.pixel)
            return m
        m.submodules.memory = memory = Memory(shape=(self._rows - 1) * self._bits, depth=self._longest, init=[])
        write = memory.write_port()
        read = memory.read_port(transparent_for=(write,))  # a plane one pixel wide reads what it writes
        place, following = Signal(range(self._longest)), Signal(range(self._longest))
        m.d.comb += [
            following.eq(Mux(place + 1 == self.width, 0, place + 1)),
            read.addr.eq(Mux(self.advance, following, place)),
            write.addr.eq(place),
            write.en.eq(self.advance),
            self.column.eq(Cat(read.data, self.pixel)),
            write.data.eq(self.column.as_value()[self._bits :]),
        ]
        with m.If(self.advance):
            m.d.sync += place.eq(following)
        with m.If(self.restart):
            m.d.sync += place.eq(0)
            m.d.comb += read.addr.eq(0)
        return m
