"""Budgets and bits: costs by hand, the integer program against every allocation, and budgets that are too low."""

import os
from itertools import product

import numpy as np
import pytest

from fewbits import InputError, quantize_model
from fewbits.backend import keras
from fewbits.costs import energy, totals
from fewbits.report.device_needs import packed_bytes
from fewbits.search import (
    COSTS,
    Budget,
    LogitNoise,
    allocate_bits,
    cost_model,
    mixed_front,
    read_budget,
    stored_tensors,
)
from fewbits.search.allocation import _no_stdout

L = keras.layers
WIDTHS = (2, 4, 8)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    x = image = L.Input((6, 6, 2))
    x = L.Conv2D(3, 3, activation="relu", name="a")(x)
    x = L.Conv2D(5, 3, activation="relu", use_bias=False, name="b")(x)
    return quantize_model(keras.Model(image, L.Dense(4, name="c")(L.Flatten()(x))), rounding="nearest")


KERNELS = {"a": 3 * 3 * 2 * 3, "b": 3 * 3 * 3 * 5, "c": 2 * 2 * 5 * 4}
BIASES = 3 + 4
MACS = {"a": KERNELS["a"] * 16, "b": KERNELS["b"] * 4, "c": KERNELS["c"]}
ACTIVATIONS = {"a input": 72, "a output": 48, "b output": 20, "c output": 4}
READS = {"a": "a input", "b": "a output", "c": "b output"}


def noise_of(network, seed=0):
    """Return noises at random that fall with the bits, as a network has them."""
    rng, tensors = np.random.default_rng(seed), stored_tensors(network)
    noise = {t.name: {n: float(rng.uniform(0.2, 5) * 4.0**-n) for n in WIDTHS} for t in tensors}
    return LogitNoise(network, tensors, 1.0, noise, {}, None)


def by_hand(kind, bits):
    """Return what a cost is, from the numbers above alone."""
    size = sum(n * bits[f"{name} kernel"] for name, n in KERNELS.items()) / 8 + 4 * BIASES
    factors = [(MACS[name], bits[f"{name} kernel"], bits[READS[name]]) for name in MACS]
    return {
        "bytes": size,
        "activation-bytes": sum(n * bits[name] for name, n in ACTIVATIONS.items()) / 8,
        "bitops": sum(macs * k * a for macs, k, a in factors),
        "energy": sum(macs * energy.mac(k, a) for macs, k, a in factors) + energy.reading(size),
    }[kind]


def every_allocation(noise):
    names = [tensor.name for tensor in noise.tensors]
    return [dict(zip(names, widths)) for widths in product(WIDTHS, repeat=len(names))]


@pytest.mark.parametrize("kind", COSTS)
def test_costs_are_those_by_hand(kind, network):
    noise, rng = noise_of(network), np.random.default_rng(1)
    costs = cost_model(network, noise.tensors, kind)
    for _ in range(5):
        bits = {tensor.name: int(rng.choice(WIDTHS)) for tensor in noise.tensors}
        assert costs.of(bits) == pytest.approx(by_hand(kind, bits))


@pytest.mark.parametrize("bits", WIDTHS)
def test_at_equal_bits_costs_are_those_of_the_cost_tables(bits, network):
    noise = noise_of(network)
    size, bitops = (cost_model(network, noise.tensors, kind).of(noise.everywhere(bits)) for kind in ("bytes", "bitops"))
    assert np.ceil(size) == packed_bytes(network, bits)
    assert bitops == totals(network).macs * bits**2


@pytest.mark.parametrize("kind", COSTS)
def test_no_allocation_within_a_budget_has_less_noise(kind, network):
    """The oracle tries all 2,187 allocations."""
    for seed, share in enumerate((0.3, 0.5, 0.62, 0.8)):
        noise, budget = noise_of(network, seed), Budget(kind, share, 8)
        limit = share * by_hand(kind, noise.everywhere(8))
        allowed = [bits for bits in every_allocation(noise) if by_hand(kind, bits) <= limit]
        if not allowed:
            with pytest.raises(InputError, match="cannot be met"):
                allocate_bits(noise, [budget])
            continue
        best = min(map(noise.predicted_sqnr, allowed)), max(map(noise.predicted_sqnr, allowed))
        found = allocate_bits(noise, [budget])
        assert by_hand(kind, found) <= limit
        assert noise.predicted_sqnr(found) == pytest.approx(best[1], abs=1e-6) and best[0] < best[1]


def test_what_the_solver_prints_is_not_seen(capfd):
    with _no_stdout():
        os.write(1, b"a line of the solver\n")
    print("a line of ours")
    assert capfd.readouterr().out == "a line of ours\n"


def test_budgets_hold_together(network):
    noise, budgets = (
        noise_of(network),
        [Budget("bytes", 0.7, 8), Budget("activation-bytes", 60), Budget("bitops", 0.4, 8)],
    )
    limits = [0.7 * by_hand("bytes", noise.everywhere(8)), 60, 0.4 * by_hand("bitops", noise.everywhere(8))]
    kinds = [budget.cost for budget in budgets]
    allowed = [b for b in every_allocation(noise) if all(by_hand(k, b) <= most for k, most in zip(kinds, limits))]
    found = allocate_bits(noise, budgets)
    assert found in allowed
    assert noise.predicted_sqnr(found) == pytest.approx(max(map(noise.predicted_sqnr, allowed)), abs=1e-6)


def test_what_may_not_be_chosen_is_not(network):
    noise = noise_of(network)
    choices = {"a input": (8,), "b kernel": (2, 4)}
    found = allocate_bits(noise, [Budget("bitops", 0.9, 8)], choices)
    assert found["a input"] == 8 and found["b kernel"] in (2, 4)
    allowed = [
        bits
        for bits in every_allocation(noise)
        if bits["a input"] == 8
        and bits["b kernel"] < 8
        and by_hand("bitops", bits) <= 0.9 * by_hand("bitops", noise.everywhere(8))
    ]
    assert noise.predicted_sqnr(found) == pytest.approx(max(map(noise.predicted_sqnr, allowed)), abs=1e-6)


def test_a_budget_that_allows_everything_gives_the_least_noise(network):
    noise = noise_of(network)
    assert allocate_bits(noise, [Budget("bytes", 1, 8)]) == noise.everywhere(8)
    noise.noise["a kernel"][4] = 0.0  # less than at 8 bits, as measurements can be
    assert allocate_bits(noise, [Budget("bytes", 1, 8)]) == noise.everywhere(8) | {"a kernel": 4}


def test_a_budget_is_met_exactly(network):
    """A limit that an allocation just reaches allows it, and one byte less does not."""
    noise = noise_of(network)
    size = by_hand("bytes", noise.everywhere(4))
    assert cost_model(network, noise.tensors, "bytes").of(allocate_bits(noise, [Budget("bytes", 1, 4)])) <= size
    least = by_hand("bytes", noise.everywhere(2))
    found = allocate_bits(noise, [Budget("bytes", least)])
    assert {name: bits for name, bits in found.items() if "kernel" in name} == dict.fromkeys(
        (f"{name} kernel" for name in KERNELS), 2
    )
    with pytest.raises(InputError, match="cannot be met"):
        allocate_bits(noise, [Budget("bytes", least - 1)])


@pytest.mark.parametrize(
    "text", ["10%-of-8-bit-bytes", "40B", "3%-of-8-bit-bitops", "100bitops", "1nJ", "2B-of-activations"]
)
def test_the_nearest_budget_that_can_be_met_is_named_and_can_be(text, network):
    noise = noise_of(network)
    with pytest.raises(InputError, match="the nearest budget that can is") as error:
        allocate_bits(noise, [read_budget(text)])
    message = str(error.value)
    assert message.startswith(f"{read_budget(text)} cannot be met") and message.count(". ") == 0
    nearest = message.rsplit(" is ", 1)[1]
    assert allocate_bits(noise, [read_budget(nearest)])
    least = by_hand(read_budget(text).cost, noise.everywhere(2))
    assert read_budget(nearest).limit(cost_model(network, noise.tensors, read_budget(text).cost)) <= 1.01 * least + 1


def test_a_front_has_less_noise_with_each_byte_and_its_points_are_named(network):
    noise = noise_of(network)
    points = mixed_front(noise, "bytes", (1, 0.6, 0.5, 0.4, 0.01))
    assert [point.name for point in points] == ["100%", "60%", "50%", "40%"]
    most = by_hand("bytes", noise.everywhere(8))
    for point, share in zip(points, (1, 0.6, 0.5, 0.4)):
        assert point.costs == pytest.approx({kind: by_hand(kind, point.bits) for kind in COSTS})
        assert point.costs["bytes"] <= share * most and point.predicted_sqnr == noise.predicted_sqnr(point.bits)
    sqnrs = [point.predicted_sqnr for point in points]
    assert sqnrs == sorted(sqnrs, reverse=True)


def test_points_that_are_the_same_are_one(network):
    points = mixed_front(noise_of(network), "bytes", (1, 0.9999, 0.5))
    assert len({tuple(point.bits.values()) for point in points}) == len(points)


@pytest.mark.parametrize(
    ("text", "cost", "amount", "of_bits"),
    [
        ("60%-of-8-bit-bytes", "bytes", 0.6, 8),
        ("12.5%-of-4-bit-bitops", "bitops", 0.125, 4),
        ("100%-of-8-bit-activation-bytes", "activation-bytes", 1, 8),
        ("50%-of-16-bit-energy", "energy", 0.5, 16),
        ("500kB", "bytes", 500_000, None),
        ("1.5 MB", "bytes", 1_500_000, None),
        ("60kB-of-activations", "activation-bytes", 60_000, None),
        ("3Gbitops", "bitops", 3e9, None),
        ("20uJ", "energy", 2e7, None),
    ],
)
def test_budgets_are_read(text, cost, amount, of_bits):
    assert read_budget(text) == Budget(cost, amount, of_bits)
    assert read_budget(str(read_budget(text))) == read_budget(text)


@pytest.mark.parametrize(
    "text", ["", "60%", "60%-of-8-bit-lines", "kB", "-3kB", "0kB", "500", "60%-of-99-bit-bytes", "5kb", "5kJ", "5mB"]
)
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(InputError, match="budget"):
        read_budget(text)


def test_what_was_not_measured_is_refused(network):
    noise, budgets = noise_of(network), [Budget("bytes", 1, 8)]
    with pytest.raises(InputError, match="cannot have 5 bits; there are 2, 4, 8"):
        allocate_bits(noise, budgets, {"a kernel": (5,)})
    with pytest.raises(InputError, match="unknown tensor 'z kernel'"):
        allocate_bits(noise, budgets, {"z kernel": (8,)})
    with pytest.raises(InputError, match="unknown cost"):
        Budget("lines", 1)
