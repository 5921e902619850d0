"""The convolution engine: streams of pixels and weights in, a stream of output codes out."""

from fewbits.deploy.hardware.design import NIBBLE, EngineDesign
from fewbits.deploy.hardware.join_slices import JoinSlices
from fewbits.deploy.hardware.partial_sums import PartialSums, filter_layout
from fewbits.deploy.hardware.prefetch import Prefetch
from fewbits.deploy.hardware.products import NibbleSums
from fewbits.deploy.hardware.register_map import ADDRESS_BITS
from fewbits.deploy.hardware.registers import Registers
from fewbits.deploy.hardware.shift_normalization import ShiftNormalization
from fewbits.deploy.hardware.sliding_window import SlidingWindow
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Module
    from amaranth.lib.data import ArrayLayout
    from amaranth.lib.stream import Signature
    from amaranth.lib.wiring import Component, In, Out, connect


class ConvolutionEngine(Component):
    """A pipeline: window, products, sums of filters, partial sums, codes.

    A job computes a layer. It is a series of runs, each for as many filters as fit; a run reads the planes that its
    filters need, one after the other, and outputs the codes of a place, for all filters of the run, with the last
    plane. Streams are in this order:

        pixels   run, plane, row, column
        weights  run, plane, row of the window: the words of its columns
        filters  run: bias and shift of each filter
        codes    run, row, column: a code of each filter
    """

    def __init__(self, design: EngineDesign):
        """Prepare an engine.

        Args:
            design: Its parameters.
        """
        self.design = design
        row = ArrayLayout(ArrayLayout(NIBBLE, design.words * design.nibbles), design.window)
        super().__init__(
            {
                "address": In(ADDRESS_BITS),
                "write": In(1),
                "write_data": In(32),
                "read_data": Out(32),
                "pixels": In(Signature(design.pixel_bits)),
                "weights": In(Signature(row)),
                "filters": In(Signature(filter_layout(design))),
                "codes": Out(Signature(ArrayLayout(design.code_bits, design.filters))),
            }
        )
        # The parts that a pixel passes, as attributes: a simulation can record what each of them is given.
        self.window, self.products, self.join = SlidingWindow(design), NibbleSums(design), JoinSlices(design)
        self.partial_sums, self.normalization = PartialSums(design), ShiftNormalization(design)

    def elaborate(self, platform: object) -> Module:
        """Return the logic."""
        m, design = Module(), self.design
        m.submodules.registers = registers = Registers()
        m.submodules.window = window = self.window
        m.submodules.weights = weights = Prefetch(design.window, self.weights.payload.shape())
        m.submodules.products = products = self.products
        m.submodules.join = join = self.join
        m.submodules.filters = filters = Prefetch(1, filter_layout(design))
        m.submodules.partial_sums = partial_sums = self.partial_sums
        m.submodules.normalization = normalization = self.normalization

        connect(m, window.windows, products.windows)
        connect(m, products.sums, join.source)
        connect(m, join.sums, partial_sums.source)
        connect(m, partial_sums.totals, normalization.totals)
        for inner, outer in ((window.pixels, self.pixels), (weights.source, self.weights)):
            m.d.comb += [inner.payload.eq(outer.payload), inner.valid.eq(outer.valid), outer.ready.eq(inner.ready)]
        m.d.comb += [
            filters.source.payload.eq(self.filters.payload),
            filters.source.valid.eq(self.filters.valid),
            self.filters.ready.eq(filters.source.ready),
            self.codes.payload.eq(normalization.codes.payload.codes),
            self.codes.valid.eq(normalization.codes.valid),
            normalization.codes.ready.eq(self.codes.ready),
        ]

        # Numbers in use are released with the last window that needs them.
        m.d.comb += [
            products.weights.eq(weights.held),
            products.available.eq(weights.valid),
            weights.release.eq(products.taken & window.windows.payload.position.ends_plane),
            partial_sums.filters.eq(filters.held),
            partial_sums.available.eq(filters.valid),
            filters.release.eq(partial_sums.ends_run),
        ]

        settings, size = registers.settings, window.geometry.size
        m.d.comb += window.restart.eq(registers.start)
        m.d.comb += [getattr(registers, name).eq(getattr(self, name)) for name in ("address", "write", "write_data")]
        m.d.comb += [
            window.geometry[name].eq(settings[name])
            for name in ("top", "left", "last_row", "last_column", "stride_mask", "delay")
        ]
        m.d.comb += [size[name[:-1]].eq(settings[name]) for name in ("columns", "rows", "planes", "runs")]
        m.d.comb += [
            self.read_data.eq(registers.read_data),
            products.signed_pixels.eq(settings.signed_pixels),
            products.slices.eq(settings.slices),
            join.slices.eq(settings.slices),
            partial_sums.plane_shift.eq(settings.plane_shift),
            normalization.rounding.eq(settings.rounding),
            normalization.low.eq(settings.low),
            normalization.high.eq(settings.high),
            registers.ends.eq(self.codes.valid & self.codes.ready & normalization.codes.payload.ends_all),
            registers.waits.wait_pixel.eq(window.starved),
            registers.waits.wait_weight.eq(window.windows.valid & ~weights.valid),
            registers.waits.wait_filter.eq(join.sums.valid & ~filters.valid),
            registers.waits.wait_sum.eq(partial_sums.starved),
            registers.waits.wait_output.eq(self.codes.valid & ~self.codes.ready),
        ]
        return m
