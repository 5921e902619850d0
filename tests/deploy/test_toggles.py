"""Counts of changes in gates: those of a few gates by hand, the outputs of Yosys's netlists, and what is stored."""

import json
import shutil
import sys
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("amaranth")
REFERENCE = Path(__file__).parents[2] / "data/reference"
GATES = {
    "NOT": lambda a: not a,
    "AND": lambda a, b: a and b,
    "OR": lambda a, b: a or b,
    "XOR": lambda a, b: a != b,
    "MUX": lambda a, b, s: b if s else a,
}


@pytest.fixture(scope="module")
def toggles():
    """Return the script, as a module; it reads gates.py, which stands beside it."""
    sys.path.insert(0, str(REFERENCE))
    try:
        import toggles

        yield toggles
    finally:
        sys.path.remove(str(REFERENCE))


def rows(**kind):
    """Return the stored toggles of a kind, by width."""
    stored = json.loads((REFERENCE / "toggles.json").read_text())["rows"]
    found = [(row["bits"], row["toggles"]) for row in stored if kind.items() <= row.items()]
    assert [bits for bits, _ in found] == list(range(4, 17))
    return dict(found)


def test_changes_are_counted_moment_by_moment(toggles):
    gates = {3: ("XOR", [1, 2]), 4: ("AND", [1, 2]), 5: ("NOT", [3]), 6: ("OR", [4, 5]), 7: ("MUX", [6, "1", 1])}
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 2, (2, 999))
    changed, output = toggles.run(toggles.Netlist([[1], [2]], [7, 3], gates), a, b)
    moments = []
    for one, two in zip(a.tolist(), b.tolist(), strict=True):
        nets = {1: bool(one), 2: bool(two), "1": True}
        for net, (kind, reads) in gates.items():
            nets[net] = GATES[kind](*(nets[each] for each in reads))
        moments.append(nets)
    assert output.tolist() == [nets[7] + 2 * nets[3] for nets in moments]
    assert changed == sum(now[net] != then[net] for now, then in pairwise(moments) for net in now)


def test_what_does_not_change_does_not_count(toggles):
    gates = {3: ("XOR", [1, 2])}
    held = np.ones(50, np.int64)
    assert toggles.run(toggles.Netlist([[1], [2]], [3], gates), held, held)[0] == 0
    assert toggles.run(toggles.Netlist([[1], [2]], [3], gates), held, np.arange(50) % 2)[0] == 2 * 49  # net 2 and net 3


@pytest.mark.skipif(shutil.which("yosys") is None, reason="Yosys is not installed")
def test_gates_multiply_and_round_as_integers_do(toggles):
    pixels, weights = np.array(list(product(range(16), range(-8, 8)))).T
    toggles.checked(toggles.netlist(4, unit="multiply", pixels="unsigned"), pixels * weights, pixels, weights)
    sums = np.arange(-(2**15), 2**15)
    name = {"unit": "round", "shift": "layer", "codes": "unsigned"}
    codes = np.clip(np.floor(sums / 16 + 0.5).astype(int), 0, 15)
    toggles.checked(toggles.netlist(4, rounding="nearest-up", **name), codes, sums, 0 * sums)
    with pytest.raises(AssertionError):
        toggles.checked(toggles.netlist(4, rounding="floor", **name), codes, sums, 0 * sums)


@pytest.mark.parametrize("order", ["weights held", "weights changing"])
def test_products_of_a_layer_switch_fewer_gates_than_drawn_ones_and_wider_ones_more(order):
    layer, drawn = (rows(unit="multiply", codes=codes, order=order) for codes in ("layer", "drawn"))
    assert all(layer[bits] < drawn[bits] for bits in layer)
    assert all(a < b for each in (layer, drawn) for a, b in pairwise(each.values()))


def test_a_multiplier_switches_less_while_its_weight_is_held():
    held, changing = (
        rows(unit="multiply", codes="drawn", order=order) for order in ("weights held", "weights changing")
    )
    assert all(held[bits] < changing[bits] for bits in held)


@pytest.mark.parametrize("codes", ["layer", "drawn"])
def test_rounding_half_up_switches_more_gates_than_rounding_down(codes):
    floor, up = (rows(unit="round", codes=codes, rounding=rounding) for rounding in ("floor", "nearest-up"))
    assert all(floor[bits] < up[bits] for bits in floor)
