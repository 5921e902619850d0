"""A stage of a pipeline: a register between two streams."""

from typing import Any

from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Module, Value


def add_stage(m: Module, source: Any, sink: Any, payload: Value, available: Value | int) -> Value:
    """Connect two streams by a register.

    ready = (nothing held or sink ready) and available. A stage passes one item a cycle, and holds it while the sink
    stalls.

    Args:
        m: The module to add to.
        source: The stream that is read.
        sink: The stream that is written.
        payload: What the sink gets for the item at the source.
        available: Whether all else that the payload needs is there.

    Returns:
        Whether an item is taken in this cycle.
    """
    free = ~sink.valid | sink.ready
    m.d.comb += source.ready.eq(free & available)
    taken = source.valid & source.ready
    with m.If(free):
        m.d.sync += sink.valid.eq(taken)
    with m.If(taken):
        m.d.sync += sink.payload.eq(payload)
    return taken
