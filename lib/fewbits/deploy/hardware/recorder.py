"""A recorder on the engine in Amaranth's simulator: one item per transfer between its parts."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fewbits.deploy.hardware.convolution_engine import ConvolutionEngine
from fewbits.deploy.hardware.design import EngineDesign
from fewbits.deploy.hardware.job import EngineJob
from fewbits.deploy.hardware.join_slices import window_sum_bits
from fewbits.deploy.hardware.products import nibble_bits
from fewbits.deploy.hardware.simulator import Process, simulate
from fewbits.deploy.hardware.stream_items import codes_of_items, numbers_of_items
from fewbits.deploy.hardware.trace import EngineTrace
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Value


def trace_job(
    design: EngineDesign, job: EngineJob, codes: np.ndarray, stall: float = 0.0, seed: int = 0
) -> EngineTrace:
    """Run a job on an engine, and record what passes between its parts.

    Args:
        design: The engine.
        job: The job.
        codes: Its input codes, (height, width, channels).
        stall: As in `simulate`.
        seed: As in `simulate`.

    Returns:
        What was recorded.
    """
    windows: list[int] = []
    slices: list[int] = []
    sums: list[int] = []
    partial: list[int] = []
    beats: list[int] = []

    def watch(engine: ConvolutionEngine) -> Iterator[Process]:
        yield _recorder(engine.window.windows, windows)
        yield _recorder(engine.products.sums, slices)
        yield _recorder(engine.join.sums, sums)
        # A partial sum is held from the cycle after the one in which the window's sum is taken.
        yield _recorder(engine.partial_sums.source, partial, engine.partial_sums.totals.payload)
        yield _recorder(engine.codes, beats)

    simulate(design, [(job, codes)], stall, seed, watch)
    filters, side = design.filters, design.window
    places = *job.planes.shape, *job.output.shape[:2]
    signed = bool(job.registers["signed_pixels"])
    return EngineTrace(
        numbers_of_items(windows, design.pixel_bits, side**2, signed).reshape(*places, side, side),
        numbers_of_items(slices, nibble_bits(design), filters, True).reshape(*places, filters),
        numbers_of_items(sums, window_sum_bits(design), filters, True).reshape(*places, filters),
        numbers_of_items(partial, design.sum_bits, filters, True).reshape(*places, filters),
        codes_of_items(beats, job, design).reshape(len(job.planes), *job.output.shape[:2], filters),
    )


def _recorder(stream: Any, items: list[int], later: Any = None) -> Process:
    """Return what appends the payload of each transfer of a stream; or `later`, as it is in the cycle after it."""

    async def record(context: Any) -> None:
        passed = False
        payload = Value.cast(stream.payload if later is None else later)
        async for *_, passes, value in context.tick().sample(stream.valid & stream.ready, payload):
            if passes if later is None else passed:
                items.append(value)
            passed = passes

    return record
