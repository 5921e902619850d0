"""The reference comparison of mixed bits with equal ones: that what is committed is whole, and how it is told."""

import json

import numpy as np
import pytest

from fewbits import InputError
from fewbits.book import reference
from fewbits.book.mixed_precision import load_mixed
from fewbits.experiment.store import pack_answers
from fewbits.search import COSTS
from fewbits.statistics import Share

FILES = sorted((reference.FOLDER / "mixed").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_mixed_bits_cost_no_more_than_the_equal_ones_that_they_are_compared_with(path):
    found = load_mixed(path.stem)
    assert found.float_share.n == found.content["images"] and "code " in found.made_with
    groups = {each.group for each in found.tried.values()}
    assert {"equal", "mixed", "mixed, bitops", "mixed, energy", "random"} == groups
    for each in found.tried.values():
        assert each.share.n == found.float_share.n and each.bits.keys() == found.tensors.keys()
        assert each.costs.keys() == set(COSTS)
        noise = sum(found.tensors[name][bits] for name, bits in each.bits.items())
        assert each.predicted_sqnr == pytest.approx(-10 * np.log10(noise))
        if each.group.startswith("mixed"):
            cost, equal = each.name.split(" of ")
            limits = ("bytes", "activation-bytes") if cost == "bytes" else (cost,)
            assert all(each.costs[limit] <= found[equal].costs[limit] * (1 + 1e-9) for limit in limits)
            assert each.predicted_sqnr > found[equal].predicted_sqnr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_provenance_is_that_of_a_record(path):
    run = load_mixed(path.stem).content["run"]
    assert run.keys() >= {"fewbits", "commit", "data", "start", "versions", "hardware", "seconds", "date"}
    assert run["commit"]["id"]


def written(folder, points):
    (folder / "mixed").mkdir()
    tensors = [{"name": "a kernel", "noise": {"2": 4.0, "4": 1.0}}]
    run = {"commit": {"id": "0123456789"}, "versions": {"keras": "3", "tensorflow": "2"}}
    run["hardware"] = {"gpu": None, "cpu": "one", "cores": 2}
    content = {
        "images": 4,
        "measured_on": 2,
        "seconds": {"noise": 90},
        "run": run,
        "float": pack_answers(np.ones(4, bool)),
    }
    content |= {"signal": 8.0, "tensors": tensors, "points": points}
    (folder / "mixed" / "ours.json").write_text(json.dumps(content))


def point(name, group, bits, sqnr, answers):
    costs = dict.fromkeys(COSTS, 1.0)
    known = {"name": name, "group": group, "bits": {"a kernel": bits}, "costs": costs, "predicted_sqnr": sqnr}
    return known | {"measured_sqnr": sqnr - 1, "top1": pack_answers(np.array(answers, bool))}


def test_networks_are_compared_image_by_image_and_ranked(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    two, four = point("2 bits", "equal", 2, 3.0, [0, 1, 0, 0]), point("4 bits", "equal", 4, 9.0, [1, 1, 0, 1])
    written(tmp_path, [two, four, point("bytes of 2 bits", "mixed", 4, 6.0, [1, 1, 0, 0])])
    found = load_mixed("ours")
    assert found.tensors == {"a kernel": {2: 0.5, 4: 0.125}}
    assert found["2 bits"].share == Share(1, 4) and found["2 bits"].bits == {"a kernel": 2}
    assert found.gain("bytes of 2 bits", "2 bits").mean == 0.25
    assert found.under_float("4 bits").mean == 0.25
    assert found.rank_correlation() == (pytest.approx(1), 3) and found.rank_correlation("equal") == (
        pytest.approx(1),
        2,
    )
    assert found.shares_by_prediction("equal") == {3.0: Share(1, 4), 9.0: Share(3, 4)}
    assert list(found.shares_by_prediction("mixed", "random")) == [6.0]
    assert [(p.name, p.accuracy, p.costs["bytes"]) for p in found.points][0] == ("2 bits", 0.25, 1.0)
    assert found.made_with.startswith("4 judging images, noise on 2 others in 1.5 min, 3 networks; one, 2 cores")
    with pytest.raises(InputError, match="'8 bits' was not tried; there are 2 bits, 4 bits"):
        found["8 bits"]


def test_what_is_not_run_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    found = load_mixed("ours")
    assert not found.tried and not found.gain("a", "b") and not found.under_float("a")
    assert str(found.gain("a", "b")) == "no data" and found.made_with == "Not run yet."
    assert found.rank_correlation()[1] == 0
