"""Partial sums of all places of a plane, to which plane after plane is added."""

from fewbits.deploy.hardware.design import SHIFT_BITS, EngineDesign
from fewbits.deploy.hardware.join_slices import window_sum_bits
from fewbits.deploy.hardware.shift_arithmetic import saturated, wrapped
from fewbits.deploy.hardware.sliding_window import Position
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
    from amaranth.lib.data import ArrayLayout, StructLayout
    from amaranth.lib.fifo import SyncFIFOBuffered
    from amaranth.lib.stream import Signature
    from amaranth.lib.wiring import Component, In, Out


def filter_layout(design: EngineDesign) -> ArrayLayout:
    """Return the layout of what each filter has besides weights: its bias, and the shift of its outputs.

    Args:
        design: The engine.
    """
    return ArrayLayout(StructLayout({"bias": signed(design.sum_bits), "shift": unsigned(SHIFT_BITS)}), design.filters)


def total_layout(design: EngineDesign) -> StructLayout:
    """Return the layout of the sums of a place over all planes, with the shifts that follow.

    Args:
        design: The engine.
    """
    return StructLayout(
        {
            "sums": ArrayLayout(signed(design.sum_bits), design.filters),
            "shifts": ArrayLayout(SHIFT_BITS, design.filters),
            "ends_all": 1,
        }
    )


class PartialSums(Component):
    """Partial sums circulate in a queue, one per place.

        sum = saturate(previous + (sum of the window >> plane_shift)),  previous = the bias in the first plane

    The last plane's sums leave; the others return to the queue.
    """

    def __init__(self, design: EngineDesign):
        """Prepare the adders and the queue.

        Args:
            design: The engine.
        """
        self._design = design
        sums = ArrayLayout(signed(window_sum_bits(design)), design.filters)
        super().__init__(
            {
                "plane_shift": In(SHIFT_BITS),
                "filters": In(filter_layout(design)),
                "available": In(1),  # whether the filters' numbers are there
                "source": In(Signature(StructLayout({"sums": sums, "position": Position}))),
                "totals": Out(Signature(total_layout(design))),
                "ends_run": Out(1),
                "starved": Out(1),  # a partial sum is needed, and it is not back yet
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the logic."""
        m, design, source = Module(), self._design, self.source.payload
        position = source.position
        m.submodules.queue = queue = SyncFIFOBuffered(width=design.filters * design.sum_bits, depth=design.places)
        fit = saturated if design.overflow == "saturate" else wrapped
        sums = []
        for n in range(design.filters):
            partial = queue.r_data.word_select(n, design.sum_bits).as_signed()
            previous = Mux(position.first, self.filters[n].bias, partial).as_signed()
            sums.append(fit(previous + (source.sums[n] >> self.plane_shift), design.sum_bits))

        # The sums are held for a cycle, and then leave or return.
        held, held_valid, leaves = Signal(total_layout(design)), Signal(), Signal()
        free, taken = Signal(), Signal()
        m.d.comb += [
            free.eq(~held_valid | Mux(leaves, self.totals.ready, queue.w_rdy)),
            self.source.ready.eq(free & self.available & (position.first | queue.r_rdy)),
            taken.eq(self.source.valid & self.source.ready),
            queue.r_en.eq(taken & ~position.first),
            queue.w_en.eq(held_valid & ~leaves),
            queue.w_data.eq(held.sums.as_value()),
            self.totals.valid.eq(held_valid & leaves),
            self.totals.payload.eq(held),
            self.ends_run.eq(taken & position.last & position.ends_plane),
            self.starved.eq(self.source.valid & ~position.first & ~queue.r_rdy),
        ]
        with m.If(free):
            m.d.sync += held_valid.eq(taken)
        with m.If(taken):
            m.d.sync += [
                held.sums.eq(Cat(*sums)),
                held.shifts.eq(Cat(*(self.filters[n].shift for n in range(design.filters)))),
                held.ends_all.eq(position.ends_all),
                leaves.eq(position.last),
            ]
        return m
