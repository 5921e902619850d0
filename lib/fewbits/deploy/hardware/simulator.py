"""The engine in Amaranth's simulator, cycle by cycle."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import numpy as np

from fewbits.deploy.hardware.convolution_engine import ConvolutionEngine
from fewbits.deploy.hardware.design import EngineDesign
from fewbits.deploy.hardware.job import EngineJob, ideal_cycles
from fewbits.deploy.hardware.register_map import ADDRESSES, COUNTERS
from fewbits.deploy.hardware.stream_items import codes_of_items, filter_items, weight_items
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Value
    from amaranth.sim import Simulator


Process = Callable[[Any], Awaitable[None]]
"""What Amaranth runs beside an engine; it is called with the simulation's context."""


def simulate(
    design: EngineDesign,
    jobs: Iterable[tuple[EngineJob, np.ndarray]],
    stall: float = 0.0,
    seed: int = 0,
    watch: Callable[[ConvolutionEngine], Iterable[Process]] = lambda engine: (),
) -> list[tuple[np.ndarray, dict[str, int]]]:
    """Run jobs on one engine, one after the other.

    Args:
        design: The engine.
        jobs: Jobs, each with its input codes, (height, width, channels).
        stall: How probable it is in each cycle that a stream waits, from 0 to below 1.
        seed: Of the random waits.
        watch: Returns what runs beside the engine, to record its signals.

    Returns:
        For each job its output codes, (height, width, channels), and its counters by name.
    """
    engine = ConvolutionEngine(design)
    jobs, results = list(jobs), []

    async def control(context: Any) -> None:
        for job, _ in jobs:
            for name, value in job.registers.items():
                await _write(context, engine, name, value)
            await _write(context, engine, "start", 1)
            patience = 1000 + 100 * ideal_cycles(job)
            while await _read(context, engine, "start"):
                patience -= 1
                assert patience, "the engine stands still"
            results.append({name: await _read(context, engine, name) for name in COUNTERS})

    simulator = Simulator(engine)
    simulator.add_clock(1e-8)
    streams = (
        (engine.pixels, [int(x) & (2**design.pixel_bits - 1) for job, codes in jobs for x in job.pixels(codes)]),
        (engine.weights, [x for job, _ in jobs for x in weight_items(job, design)]),
        (engine.filters, [x for job, _ in jobs for x in filter_items(job, design)]),
    )
    for number, (stream, items) in enumerate(streams):
        random = np.random.default_rng((seed, number))
        simulator.add_testbench(_sender(stream, items, stall, random))
    beats: list[int] = []
    random = np.random.default_rng((seed, len(streams)))
    simulator.add_testbench(_receiver(engine.codes, beats, sum(job.beats for job, _ in jobs), stall, random))
    simulator.add_testbench(control)
    for process in watch(engine):
        simulator.add_process(process)
    simulator.run()

    found, start = [], 0
    for (job, _), counters in zip(jobs, results):
        found.append((job.codes(codes_of_items(beats[start : start + job.beats], job, design)), counters))
        start += job.beats
    assert start == len(beats)
    return found


def _sender(stream, items, stall, random):
    async def send(context):
        for item in items:
            while stall and random.random() < stall:
                await context.tick()
            context.set(Value.cast(stream.payload), item)
            context.set(stream.valid, 1)
            await context.tick().until(stream.ready)
            context.set(stream.valid, 0)

    return send


def _receiver(stream, items, count, stall, random):
    async def receive(context):
        for _ in range(count):
            while stall and random.random() < stall:
                await context.tick()
            context.set(stream.ready, 1)
            (payload,) = await context.tick().sample(Value.cast(stream.payload)).until(stream.valid)
            items.append(payload)
            context.set(stream.ready, 0)

    return receive


async def _write(context, engine, name, value):
    context.set(engine.address, ADDRESSES[name])
    context.set(engine.write_data, value & 0xFFFFFFFF)
    context.set(engine.write, 1)
    await context.tick()
    context.set(engine.write, 0)


async def _read(context, engine, name):
    context.set(engine.address, ADDRESSES[name])
    await context.tick()
    return context.get(engine.read_data)
