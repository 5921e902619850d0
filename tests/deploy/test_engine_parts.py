"""Parts of the hardware engine, each beside a model of its own: arithmetic at every input, and the window."""

import numpy as np
import pytest

from fewbits import FixedPoint, to_codes

pytest.importorskip("amaranth")

from amaranth.hdl import Const, Module, Signal, Value, signed  # noqa: E402
from amaranth.sim import Simulator  # noqa: E402

from fewbits.deploy.hardware import (  # noqa: E402
    ENGINE_ROUNDINGS,
    EngineDesign,
    Prefetch,
    SlidingWindow,
    between,
    rounded_shift,
    saturated,
    wrapped,
)


def results(make, inputs, rows):
    """Return what an expression of signals of `inputs` (shapes) is for each row of their values."""
    m, signals = Module(), [Signal(shape) for shape in inputs]
    expression, found = make(*signals), []
    output = Signal(Value.cast(expression).shape())
    m.d.comb += output.eq(expression)

    async def bench(context):
        for row in rows:
            for signal, value in zip(signals, row):
                context.set(signal, int(value))
            await context.delay(1e-9)
            found.append(context.get(output))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(found)


@pytest.mark.parametrize("rounding", ENGINE_ROUNDINGS)
@pytest.mark.parametrize("built", [None, ENGINE_ROUNDINGS])
def test_a_shift_rounds_as_the_number_format_for_all_values_and_shifts(rounding, built):
    rows = [(value, shift) for value in range(-32, 32) for shift in range(9)]
    index = Const(ENGINE_ROUNDINGS.index(rounding), 2)
    found = results(lambda x, s: rounded_shift(x, s, index, built or (rounding,)), (signed(6), 4), rows)
    values = np.array([value / 2**shift for value, shift in rows])
    assert np.array_equal(found, to_codes(values, FixedPoint(11, 12), rounding))


@pytest.mark.parametrize("bits", range(2, 7))
@pytest.mark.parametrize(("fit", "overflow"), [(saturated, "saturate"), (wrapped, "wrap")])
def test_a_sum_overflows_as_the_number_format_for_all_values(bits, fit, overflow):
    values = np.arange(-128, 128)
    found = results(lambda x: fit(x, bits), (signed(8),), values[:, None])
    assert np.array_equal(found, to_codes(values, FixedPoint(bits - 1, bits), overflow=overflow))


def test_what_fits_stays():
    assert results(lambda x: saturated(x, 8), (signed(4),), [(-8,), (7,)]).tolist() == [-8, 7]


@pytest.mark.parametrize(("low", "high"), [(-4, 3), (0, 7), (-8, 7), (2, 2)])
def test_limits_hold_for_all_values(low, high):
    values = np.arange(-16, 16)
    found = results(lambda x: between(x, Const(low, signed(5)), Const(high, signed(5))), (signed(5),), values[:, None])
    assert np.array_equal(found, np.clip(values, low, high))


def run_stream(device, source, sink, items, count, settle, stall, seed=0):
    """Return `count` items of a stream, after `settle` has set the device up; both streams wait at random."""
    random, found = np.random.default_rng(seed), []

    async def send(context):
        settle(context)
        await context.tick()
        context.set(device.restart, 1)
        await context.tick()
        context.set(device.restart, 0)
        for item in items:
            while random.random() < stall:
                await context.tick()
            context.set(Value.cast(source.payload), int(item))
            context.set(source.valid, 1)
            await context.tick().until(source.ready)
            context.set(source.valid, 0)

    async def receive(context):
        for _ in range(count):
            while random.random() < stall:
                await context.tick()
            context.set(sink.ready, 1)
            (payload,) = await context.tick().sample(Value.cast(sink.payload)).until(sink.valid)
            found.append(payload)
            context.set(sink.ready, 0)

    simulator = Simulator(device)
    simulator.add_clock(1e-8)
    simulator.add_testbench(send)
    simulator.add_testbench(receive)
    simulator.run()
    return found


@pytest.mark.parametrize(
    ("side", "shape", "top", "left", "stride"),
    [
        (3, (4, 5), 1, 1, 1),  # zeros around
        (3, (5, 4), 0, 0, 1),  # none
        (5, (3, 2), 2, 2, 1),  # planes smaller than the window
        (5, (6, 6), 4, 3, 1),  # zeros above and on the left only
        (3, (6, 5), 1, 0, 2),
        (3, (4, 1), 1, 1, 1),  # one pixel wide
        (1, (3, 2), 0, 0, 1),  # no window at all
    ],
)
@pytest.mark.parametrize("stall", [0, 0.5])
def test_the_window_is_that_of_each_place(side, shape, top, left, stride, stall):
    planes = np.random.default_rng(1).integers(1, 256, (3, *shape))
    padded = np.pad(planes, ((0, 0), (top, side), (left, side)))
    bottom, right = (min(pad, side - 1 - pad) if pad else 0 for pad in (top, left))
    rows = range(0, shape[0] - (0 if top else side - 1) if not bottom else shape[0], stride)
    columns = range(0, shape[1] - (0 if left else side - 1) if not right else shape[1], stride)
    expected = [padded[p, r : r + side, c : c + side].ravel() for p in range(3) for r in rows for c in columns]
    device = SlidingWindow(EngineDesign(window=side, columns=8))
    geometry = {"top": top, "left": left, "last_row": rows[-1], "last_column": columns[-1], "stride_mask": stride - 1}
    geometry["size"] = {"row": shape[0], "column": shape[1], "plane": 3, "run": 1}
    geometry["delay"] = (side - 1 - top) * shape[1] + side - 1 - left
    found = run_stream(
        device,
        device.pixels,
        device.windows,
        planes.ravel(),
        len(expected),
        lambda context: context.set(device.geometry, geometry),
        stall,
    )
    pixels = np.array([[item >> (8 * n) & 255 for n in range(side**2)] for item in found])
    assert np.array_equal(pixels, expected)
    flags = np.array([[item >> (8 * side**2 + n) & 1 for n in range(4)] for item in found]).reshape(3, -1, 4)
    assert flags[..., 0].tolist() == [[int(p == 0)] * len(flags[0]) for p in range(3)]  # first plane
    assert flags[..., 1].tolist() == [[int(p == 2)] * len(flags[0]) for p in range(3)]  # last plane
    assert flags[:, :-1, 2].sum() == 0 and flags[:, -1, 2].tolist() == [1, 1, 1]  # the end of each plane
    assert flags[..., 3].sum() == flags[-1, -1, 3] == 1


def test_a_set_is_held_until_it_is_released_while_the_next_one_comes():
    device, seen = Prefetch(3, 4), []

    async def send(context):
        for item in range(9):
            context.set(device.source.payload, item)
            context.set(device.source.valid, 1)
            await context.tick().until(device.source.ready)
        context.set(device.source.valid, 0)

    async def use(context):
        for wait in (9, 1, 6):
            while not context.get(device.valid):
                await context.tick()
            await context.tick().repeat(wait)
            seen.append([context.get(device.held[n]) for n in range(3)])
            context.set(device.release, 1)
            await context.tick()
            context.set(device.release, 0)

    simulator = Simulator(device)
    simulator.add_clock(1e-8)
    simulator.add_testbench(send)
    simulator.add_testbench(use)
    simulator.run()
    assert seen == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
