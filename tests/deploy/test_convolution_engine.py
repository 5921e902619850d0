"""The hardware engine in simulation: its codes are those of integer networks, whatever stalls, and 95 % of the peak."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewbits.deploy import convolve_on_engine, map_to_engine
from fewbits.errors import InputError
from helpers.engine_layers import random_layer
from helpers.integer_networks import Network

pytest.importorskip("amaranth")

from fewbits.deploy.hardware import (  # noqa: E402
    ENGINE_ROUNDINGS,
    EngineDesign,
    compute_tensors,
    ideal_cycles,
    peak_macs,
    plan_job,
    plan_jobs,
    simulate,
)


def codes_that_differ(design, layer, stall=0.0, seed=0, runs=1):
    """Return how many output codes differ from those of integers, the job, and the counters of its first run."""
    convolve, source, rounded, codes = layer
    job = plan_job(convolve, source, design, rounded)
    expected = rounded.compute(convolve.compute(codes[None]))[0]
    results = simulate(design, [(job, codes)] * runs, stall, seed)
    return sum(int((found != expected).sum()) for found, _ in results), job, results[0][1]


@st.composite
def cases(draw):
    """Return a design and a layer that it computes."""
    window = draw(st.sampled_from((1, 3, 5)))
    size = draw(st.tuples(*[st.integers(1, window)] * 2))
    shape = draw(st.tuples(st.integers(size[0], 7), st.integers(size[1], 7), st.integers(1, 3)))
    padding = tuple((draw(st.integers(0, side - 1)), 0) for side in size)
    padding = tuple((before, draw(st.integers(0, side - 1 - before))) for (before, _), side in zip(padding, size))
    kind, word_bits = draw(st.sampled_from(("dense", "groups", "depthwise"))), draw(st.sampled_from((4, 8, 16)))
    pixel_bits = draw(st.sampled_from((8, 16)))
    layer = random_layer(
        shape,
        draw(st.integers(1, 5)) * (shape[2] if kind == "groups" else 1),
        size,
        draw(st.sampled_from((1, 2))),
        padding,
        draw(st.integers(1, pixel_bits)),
        draw(st.integers(2, word_bits)),
        draw(st.booleans()),
        draw(st.sampled_from(ENGINE_ROUNDINGS)),
        draw(st.integers(2, 8)),
        draw(st.booleans()),
        shape[2] if kind == "groups" else 1,
        kind == "depthwise",
        draw(st.booleans()),
        draw(st.integers(0, 99)),
    )
    sums = layer[0].partial_bits + draw(st.sampled_from((0, 3)))
    design = EngineDesign(window, pixel_bits, word_bits, draw(st.integers(1, 2)), max(8, sums), 9, 8, 64)
    return design, layer


def check(case, stall, seed):
    design, layer = case
    assert codes_that_differ(design, layer, stall, seed, 2)[0] == 0


common = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
stalls = st.sampled_from((0.0, 0.2, 0.6))


@settings(max_examples=6, derandomize=True, **common)
@given(cases(), stalls, st.integers(0, 99))
def test_any_layer_on_any_engine(case, stall, seed):
    check(case, stall, seed)


@pytest.mark.slow
@settings(max_examples=60, derandomize=True, **common)
@given(cases(), stalls, st.integers(0, 99))
def test_many_layers_on_many_engines(case, stall, seed):
    check(case, stall, seed)


@pytest.mark.parametrize("word_bits", [4, 8, 16])
def test_the_largest_products_fit(word_bits):
    layer = random_layer((4, 4, 2), 4, (5, 5), 1, ((2, 2), (2, 2)), 16, word_bits, True, extreme=True)
    design = EngineDesign(5, 16, word_bits, 1, layer[0].partial_bits, 40 - 8, 4, 16)
    assert codes_that_differ(design, layer)[0] == 0


def test_narrow_weights_do_more_at_once_in_the_same_multipliers():
    design = EngineDesign(word_bits=16, sum_bits=40, columns=8, places=64)
    cycles = {}
    for bits in (4, 8, 16):
        wrong, job, counters = codes_that_differ(design, random_layer((5, 5, 2), 4, weight_bits=bits))
        assert not wrong
        cycles[bits] = counters["cycles"]
    assert cycles[16] > 1.8 * cycles[8] and cycles[8] > 1.7 * cycles[4]


def test_a_layer_of_3x3_reaches_95_percent_of_the_peak_and_its_last_cycles_are_known():
    design = EngineDesign(words=2, columns=8, places=64)
    wrong, job, counters = codes_that_differ(design, random_layer((8, 8, 6), 4))
    assert not wrong
    assert job.macs >= 0.95 * counters["cycles"] * peak_macs(job, design)
    # A row and a pixel until the first window is complete, and the stages of the pipeline.
    assert counters["cycles"] == ideal_cycles(job) + job.registers["delay"] + 5
    assert not any(value for name, value in counters.items() if name != "cycles")


def test_waits_are_counted_where_they_are():
    design = EngineDesign(window=5, columns=8, places=64)
    _, _, counters = codes_that_differ(design, random_layer((1, 2, 8), 2, (5, 1), padding=((4, 0), (0, 0))))
    assert counters["wait_weight"] and not counters["wait_pixel"]  # five rows of weights for two pixels
    _, _, counters = codes_that_differ(
        EngineDesign(columns=8, places=64), random_layer((1, 2, 8), 2, (1, 1), 1, ((0, 0),) * 2)
    )
    assert counters["wait_weight"] or counters["wait_sum"]
    _, _, counters = codes_that_differ(EngineDesign(columns=8, places=64), random_layer(), stall=0.5)
    assert counters["wait_pixel"] and counters["wait_output"]


@pytest.mark.parametrize(("shift", "saturates"), [(0, True), (5, False)])
def test_sums_of_16_bits_are_those_of_the_engine_of_pulp(shift, saturates):
    convolve, source, _, codes = random_layer((5, 4, 6), 3, weight_bits=8, signed=True, seed=4)
    design = EngineDesign(sum_bits=16, columns=4, places=20)
    job = plan_job(convolve, source, design, plane_shift=shift)
    [(found, _)] = simulate(design, [(job, codes)], 0.2)
    expected = convolve_on_engine(convolve, codes[None], shift)[0]
    assert np.array_equal(found, expected)
    assert (abs(expected + 0.5) == 2**15 - 0.5).any() == saturates


def test_what_pads_beyond_its_kernel_is_refused():
    convolve, source, rounded, _ = random_layer(padding=((3, 1), (1, 1)))
    with pytest.raises(InputError, match="layer layer pads by more than its kernel reaches"):
        plan_job(convolve, source, EngineDesign(), rounded)


def test_sums_that_wrap_differ_only_where_they_overflow():
    convolve, source, _, codes = random_layer((5, 4, 6), 3, weight_bits=8, signed=True, extreme=True, seed=4)
    found = {}
    for overflow in ("saturate", "wrap"):
        design = EngineDesign(sum_bits=18, code_bits=18, columns=4, places=20, overflow=overflow)
        job = plan_job(convolve, source, design, plane_shift=0)
        [(found[overflow], _)] = simulate(design, [(job, codes)])
    exact = convolve.compute(codes[None])[0]
    assert np.array_equal(found["wrap"], (exact + 2**17) % 2**18 - 2**17)
    assert (exact != found["wrap"]).any()


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_jobs_take_the_passes_of_the_profile(bits):
    network = Network((9, 8, 4))
    x = network.convolve(0, 6, (3, 3), padding=((1, 1), (1, 1)), bits=bits)
    x = network.requantize(network.convolve(network.requantize(x, 6), 5, (1, 1), bits=bits), 4)
    x = network.requantize(network.depthwise(x, 2), 3)
    x = network.requantize(network.grouped(x, 2, 3), 5)
    network.requantize(network.convolve(x, 7, (5, 5), (2, 2), ((2, 2), (2, 2)), bits=bits), 6)
    network = network.made()
    design = EngineDesign(5, 16, 16, 1, 40)
    passes = [job.planes.size for job in plan_jobs(network, design).values()]
    assert passes == [row.passes for row in map_to_engine(network)] and len(passes) == 5


def test_jobs_take_the_cycles_of_the_profile():
    network = Network((6, 7, 4))
    x = network.requantize(network.depthwise(0, 2, strides=(2, 2)), 6)
    x = network.requantize(network.grouped(x, 2, 3), 5)
    network.requantize(network.convolve(x, 3, (1, 1)), 4)
    network = network.made()
    design = EngineDesign(word_bits=16, columns=8, places=64)
    images = np.random.default_rng(0).integers(0, 256, (1, 6, 7, 4))
    jobs = plan_jobs(network, design)
    made = compute_tensors(network, images, {}, lambda job, codes: codes)
    results = simulate(design, [(job, made[job.reads]) for job in jobs.values()])
    assert all(np.array_equal(found, made[number]) for number, (found, _) in zip(jobs, results))
    assert [counters["cycles"] for _, counters in results] == [row.cycles for row in map_to_engine(network)]
