"""Numbers that are loaded while those before them are in use."""

from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Module, Signal
    from amaranth.lib.data import ArrayLayout, Layout
    from amaranth.lib.stream import Signature
    from amaranth.lib.wiring import Component, In, Out


class Prefetch(Component):
    """Two sets of registers: one in use, one that a stream fills.

    The set in use is held until it is released; in that cycle a full second set takes its place. What comes before a
    job starts is for that job.
    """

    def __init__(self, beats: int, layout: Layout):
        """Prepare two sets.

        Args:
            beats: How many items of the stream make a set.
            layout: Layout of an item.
        """
        self._beats, self._layout = beats, layout
        super().__init__(
            {
                "source": In(Signature(layout)),
                "release": In(1),
                "held": Out(ArrayLayout(layout, beats)),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the logic."""
        m = Module()
        coming = Signal(ArrayLayout(self._layout, self._beats))
        count = Signal(range(self._beats + 1))
        full, moves = count == self._beats, Signal()
        m.d.comb += [
            moves.eq(full & (~self.valid | self.release)),
            self.source.ready.eq(~full | moves),
        ]
        with m.If(self.release):
            m.d.sync += self.valid.eq(0)
        with m.If(moves):
            m.d.sync += [self.held.eq(coming), self.valid.eq(1), count.eq(0)]
        with m.If(self.source.valid & self.source.ready):
            m.d.sync += count.eq(count + 1)
            with m.If(moves):
                m.d.sync += count.eq(1)
            items = [*[coming[i + 1] for i in range(self._beats - 1)], self.source.payload]  # a shift register
            m.d.sync += [coming[i].eq(item) for i, item in enumerate(items)]
        return m
