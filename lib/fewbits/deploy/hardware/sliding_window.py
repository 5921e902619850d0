"""A window that slides over planes, with zeros around them."""

from fewbits.deploy.hardware.design import SIZE_BITS, EngineDesign
from fewbits.deploy.hardware.line_buffers import LineBuffers
from fewbits.deploy.hardware.raster import Place, Raster
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Cat, Module, Mux, Signal
    from amaranth.lib.data import ArrayLayout, StructLayout
    from amaranth.lib.stream import Signature
    from amaranth.lib.wiring import Component, In, Out

# Where a window is: in the first or last plane of a run, at the end of a plane, at the end of all runs.
Position = StructLayout(dict.fromkeys(("first", "last", "ends_plane", "ends_all"), 1))
Geometry = StructLayout(
    {
        "size": Place,
        "top": 3,  # rows of zeros above
        "left": 3,  # columns of zeros on the left
        "last_row": SIZE_BITS,  # of the plane, where the last window of each column has its first pixel below the zeros
        "last_column": SIZE_BITS,
        "stride_mask": 3,  # stride - 1; the stride is a power of two
        "delay": 24,  # pixels from a place to the pixel that completes its window
    }
)


def window_layout(design: EngineDesign) -> StructLayout:
    """Return the layout of a window: its pixels, row by row, and its position.

    Args:
        design: The engine.
    """
    return StructLayout({"pixels": ArrayLayout(design.pixel_bits, design.window**2), "position": Position})


class SlidingWindow(Component):
    """The window of each place of a stream of planes.

        window[i, j] of place (r, c) = pixel (r - top + i, c - left + j), or 0 outside of the plane

    The planes follow one another without a gap. Pixel number t completes the window of place number t - delay, with
    delay = (side - 1 - top) * width + (side - 1 - left), which may be a place of the plane before: pixels of another
    plane are masked, so that zeros around a plane take no cycles. After the last plane, `delay` cycles complete the
    last windows.
    """

    def __init__(self, design: EngineDesign):
        """Prepare a window.

        Args:
            design: The engine.
        """
        self._design = design
        super().__init__(
            {
                "geometry": In(Geometry),
                "restart": In(1),
                "pixels": In(Signature(design.pixel_bits)),
                "windows": Out(Signature(window_layout(design))),
                "starved": Out(1),  # a pixel is needed, and there is none
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the logic."""
        m, side, geometry = Module(), self._design.window, self.geometry
        m.submodules.buffers = buffers = LineBuffers(side, self._design.pixel_bits, self._design.columns)
        m.submodules.arriving, m.submodules.home = arriving, home = Raster(), Raster()
        m.d.comb += [buffers.width.eq(geometry.size.column), buffers.pixel.eq(self.pixels.payload)]
        m.d.comb += [raster.size.eq(geometry.size) for raster in (arriving, home)]
        m.d.comb += [each.restart.eq(self.restart) for each in (buffers, arriving, home)]

        # A window leaves when it is taken, or when the stride skips it; a new pixel then completes the next one.
        held, wanted, free, advance = Signal(), Signal(), Signal(), Signal()
        remaining = Signal.like(geometry.delay)  # pixels to go before the first window is complete
        m.d.comb += [
            self.windows.valid.eq(held & wanted & ~home.done),
            free.eq(~held | ~wanted | self.windows.ready),
            advance.eq(free & ~home.done & (arriving.done | self.pixels.valid)),
            self.pixels.ready.eq(free & ~arriving.done),
            self.starved.eq(free & ~arriving.done & ~self.pixels.valid),
            arriving.advance.eq(advance & ~arriving.done),
            buffers.advance.eq(advance),
            home.advance.eq(held & free),
        ]
        with m.If(free):
            m.d.sync += held.eq(advance & (remaining == 0))
        with m.If(advance & (remaining != 0)):
            m.d.sync += remaining.eq(remaining - 1)
        with m.If(self.restart):
            m.d.sync += [held.eq(0), remaining.eq(geometry.delay)]

        window = Signal(ArrayLayout(self._design.pixel_bits, side**2))
        with m.If(advance):
            for row in range(side):
                start = row * side
                m.d.sync += [window[start + i].eq(window[start + i + 1]) for i in range(side - 1)]
                m.d.sync += window[start + side - 1].eq(buffers.column[row])

        place = home.place
        rows = [self._inside(place.row + i, geometry.top, geometry.size.row) for i in range(side)]
        columns = [self._inside(place.column + i, geometry.left, geometry.size.column) for i in range(side)]
        at_last = (place.row == geometry.last_row) & (place.column == geometry.last_column)
        in_last = place.plane + 1 == geometry.size.plane
        position = self.windows.payload.position
        m.d.comb += [
            self.windows.payload.pixels[row * side + column].eq(
                Mux(rows[row] & columns[column], window[row * side + column], 0)
            )
            for row in range(side)
            for column in range(side)
        ]
        m.d.comb += [
            wanted.eq(
                ~Cat(side & geometry.stride_mask for side in (place.row, place.column)).any()
                & (place.row <= geometry.last_row)
                & (place.column <= geometry.last_column)
            ),
            position.first.eq(place.plane == 0),
            position.last.eq(in_last),
            position.ends_plane.eq(at_last),
            position.ends_all.eq(at_last & in_last & (place.run + 1 == geometry.size.run)),
        ]
        return m

    def _inside(self, index, padding, size):
        return (index >= padding) & (index < size + padding)
