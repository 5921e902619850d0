"""The explorer of a study: what it shows is the study's, and what has no answers says so."""

import numpy as np
import pytest

from fewbits.experiment import Answers, Scheme, Study
from fewbits.explore import accuracy_by_repair, accuracy_by_scheme

BITS = [(8, None, None), (4, None, None), (8, 8, None), (8, 8, 8)]
RULES = {"own": {"msb": (0, 9, 9)}, "one a layer": {"percentile": 99.0}}


@pytest.fixture
def explorer():
    study, rng = Study(), np.random.default_rng(0)
    study.images = 40
    for number, bits in enumerate(BITS[:3], 1):
        hits = rng.permutation(40) < 5 * number
        study.add(Scheme(bits=bits, rounding="floor", msb=(0, 9, 9)), Answers(hits, hits), seconds=1.0)
    return accuracy_by_scheme(study, BITS, RULES, {(8, None, None): 0.07}, "6.9", "a network")


def shown(explorer, **setting):
    return explorer.view(**{**explorer.start, **setting})


def test_settings_are_grouped_by_how_much_is_quantized(explorer):
    assert explorer.controls["quantized"] == ("kernels", "kernels, inputs", "kernels, inputs, outputs")
    assert shown(explorer).traces[1]["x"] == ["8-f-f", "4-f-f"]
    assert shown(explorer, quantized="kernels, inputs").traces[1]["x"] == ["8-8-f"]


def test_bars_are_the_shares_of_the_study_beside_those_in_print(explorer):
    print_, ours = shown(explorer).traces
    assert print_["y"] == [0.07, None]
    assert ours["y"] == [5 / 40, 10 / 40]
    low, high = (5 / 40 - ours["error_y"]["arrayminus"][0], 5 / 40 + ours["error_y"]["array"][0])
    assert (low, high) == pytest.approx((0.0546, 0.2611), abs=1e-3)  # Wilson's interval of 5 of 40
    assert shown(explorer).readings["8-f-f"].startswith("12.5% (5.5% to 26.1%)")


def test_what_was_not_run_says_so(explorer):
    view = shown(explorer, quantized="kernels, inputs, outputs")
    assert view.traces[1]["y"] == [None] and view.readings == {"8-8-8": "no data"}
    assert set(shown(explorer, MSB="one a layer").readings.values()) == {"no data"}
    assert set(shown(explorer, rounding="nearest").readings.values()) == {"no data"}


def test_all_states_are_drawn(explorer):
    assert len(explorer.states()) == 3 * 2 * 2
    assert "Figure 6.9" in explorer.html()


@pytest.fixture
def repairs():
    study, rng = Study(), np.random.default_rng(0)
    study.images = 40
    ways = {
        name: {b: Scheme(bits=b, remedies=remedies) for b in ((8, 8, 8), (4, 4, 4))}
        for name, remedies in {"none": (), "equalized": ("equalize",), "searched": ("search MSBs",)}.items()
    }
    shown = [Scheme(bits=(None,) * 3), ways["none"][8, 8, 8], ways["none"][4, 4, 4], ways["equalized"][4, 4, 4]]
    for hits, scheme in zip((30, 20, 5, 10), shown):
        right = rng.permutation(40) < hits
        study.add(scheme, Answers(right, right), seconds=1.0)
    return accuracy_by_repair(study, ways, "7.3", "a network")


def test_each_way_is_a_point_at_the_bits_that_are_chosen(repairs):
    eight, four = repairs.controls["bits"]
    assert [eight.replace("\u2011", "-"), four.replace("\u2011", "-")] == ["8-8-8", "4-4-4"]
    [points] = repairs.view(bits=four).traces
    assert dict(zip(points["y"], points["x"])) == {"none": 5 / 40, "equalized": 10 / 40, "searched": None}
    right = points["y"].index("none")
    assert 5 / 40 + points["error_x"]["array"][right] == pytest.approx(0.2611, abs=1e-3)
    assert dict(zip(*(repairs.view(bits=eight).traces[0][axis] for axis in "yx")))["none"] == 0.5


def test_ways_are_read_in_their_order_and_those_not_run_say_so(repairs):
    readings = repairs.view(bits=repairs.controls["bits"][1]).readings
    assert list(readings) == ["none", "equalized", "searched"] and readings["searched"] == "no data"
    assert repairs.figure.layout.shapes[0].x0 == 30 / 40  # float
    assert len(repairs.states()) == 2 and "Figure 7.3" in repairs.html()
