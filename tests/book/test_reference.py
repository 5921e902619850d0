"""Our results on real data: that what is committed is whole, and how it is told."""

import json
from math import inf

import pytest

from fewbits import InputError
from fewbits.book import reference
from fewbits.experiment import Record, Scheme, Study, Trial, read_grid, study
from fewbits.statistics import Estimate, Share, mean_interval, paired, verdict, wilson_interval


@pytest.fixture(scope="module")
def records():
    paths = sorted((reference.FOLDER / "trials").glob("*.json"))
    return [Record(**json.loads(path.read_text())) for path in paths]


def test_every_committed_record_belongs_to_a_grid_and_says_where_it_comes_from(records):
    asked_for = {trial.key for grid in reference.grids() for trial in grid.trials}
    starts = {trial.start.key for grid in reference.grids() for trial in grid.trials if hasattr(trial.start, "key")}
    assert records and {record.trial.key for record in records} <= asked_for | starts
    for record in records:
        assert record.trial.profile == "reference"
        assert record.provenance.keys() >= {"fewbits", "commit", "data", "versions", "hardware", "seconds", "date"}
        assert record.results.test.n in {"digits": (359,), "cwfid": (97, 98, 99)}.get(record.trial.data, (10_000,))


def test_cells_join_folds():
    cells = reference.cells("transfer")
    assert [(cell.trial.transfer, cell.trial.fold) for cell in cells] == [(0, 0), (9, 0)]
    [grid] = [grid for grid in reference.grids() if grid.name == "transfer"]
    assert {(t.transfer, t.fold) for t in grid.trials} == {(n, fold) for n in (0, 9) for fold in range(5)}


def test_cells_join_what_starts_from_other_folds_too():
    [nothing, taken] = reference.cells("transfer, quantized")
    assert (nothing.trial.start.transfer, taken.trial.start.transfer) == (0, 9)
    assert [sorted(r.trial.fold for r in cell.records) for cell in (nothing, taken)] == [list(range(5))] * 2
    assert all(r.trial.start.fold == r.trial.fold for r in (*nothing.records, *taken.records))


def test_cells_join_what_differs_in_its_seed_only():
    [grid] = [grid for grid in reference.grids() if grid.name == "lock or train"]
    cells = reference.cells("lock or train")
    assert len(cells) == 4 and len(grid.trials) == 12
    assert {(cell.trial.strategy, cell.trial.bits[0]) for cell in cells} == {
        (s, b) for s in ("lock", "train") for b in (6, 8)
    }


def test_what_is_not_run_says_so():
    cell = reference.Cell(None, [])
    assert str(cell) == "not run" and reference.difference(cell, cell) is None
    assert reference.made_with([]) == "Not run yet."


def test_the_seeds_that_are_told_are_those_of_what_was_trained(records):
    static = next(r for r in records if r.trial.strategy == "static" and isinstance(r.trial.start, Trial))
    assert static.trial.seed == 0 and static.trial.start.seed == 1
    assert ", seed 1; " in reference.made_with([static])


def test_an_unknown_grid_is_refused_by_name():
    with pytest.raises(InputError, match="no reference grid 'Float'; there are float"):
        reference.cells("Float")


def test_the_difference_is_taken_fold_by_fold(records):
    def folds(order, more):
        found = [_with(records[0], 1, 5000 + 1000 * fold + more) for fold in order]
        moved = [record.trial.model_copy(update={"fold": fold}) for record, fold in zip(found, order)]
        return reference.Cell(None, [r.model_copy(update={"trial": trial}) for r, trial in zip(found, moved)])

    mean, reach = reference.difference(folds((2, 0, 1, 4), 100), folds((0, 1, 2, 3), 0))
    assert mean == pytest.approx(0.01) and reach == pytest.approx(0, abs=1e-9)
    assert str(folds((0, 1, 2), 0)).endswith(" (3 folds)") and str(folds((2,), 0)) == "70.0% (1 fold)"


def _with(record, seed, hits):
    test = record.results.test.model_copy(update={"hits": hits})
    results = record.results.model_copy(update={"test": test})
    return record.model_copy(update={"trial": record.trial.model_copy(update={"seed": seed}), "results": results})


def test_the_difference_is_taken_seed_by_seed(records):
    lock = [_with(records[0], seed, 5000 + 1000 * seed) for seed in (1, 2, 3)]
    train = [_with(records[0], seed, 5100 + 1000 * seed) for seed in (3, 1, 2)]
    mean, reach = reference.difference(reference.Cell(None, train), reference.Cell(None, lock))
    assert mean == pytest.approx(0.01) and reach == pytest.approx(0, abs=1e-9)
    assert str(reference.Cell(None, lock)) == "70.0% ± 24.8 (3 seeds)"  # t(0.975, 2) = 4.303, deviation 0.1


def test_the_interval_is_of_the_seeds_or_of_the_images_of_one(records):
    low = [_with(records[0], seed, 5000 + 1000 * seed) for seed in (1, 2, 3)]
    high = [_with(records[0], seed, 5100 + 1000 * seed) for seed in (1, 2, 3)]
    n = records[0].results.test.n
    assert reference.Cell(None, []).measured is None
    assert reference.Cell(None, low).measured == reference.mean_interval([h / n for h in (6000, 7000, 8000)])
    mean, reach = reference.Cell(None, low[:1]).measured
    assert mean == 6000 / n and reach == pytest.approx(1.96 * (mean * (1 - mean) / n) ** 0.5, rel=0.01)
    cells = [reference.Cell(None, found) for found in (high, low, high[:1], low[:1], [])]
    assert reference.gap(*cells[:2]) == reference.difference(*cells[:2])
    gap, reach = reference.gap(*cells[2:4])
    assert gap == pytest.approx(100 / n) and reach == pytest.approx(2**0.5 * cells[3].measured[1], rel=0.01)
    assert reference.gap(cells[0], cells[4]) is None and reference.gap(cells[4], cells[0]) is None


def test_what_chance_has_decided_is_the_seeds_of_what_was_trained():
    pruned = {"network": "squeezenet_cifar", "data": "cifar10", "strategy": "prune", "start": "squeezenet_cifar"}
    start = Trial(**pruned, ratio=0.5, seed=3)
    static = Trial(network="squeezenet_cifar", data="cifar10", strategy="static", bits=(8, 8, 8), start=start)
    float_ = Trial(network="squeezenet_cifar", data="cifar10", epochs=1, transfer=0, start=start, seed=2)
    assert reference.drawn(start) == reference.drawn(static) == (3, 0)
    assert reference.drawn(float_) == (2, 0, 3, 0)


def pruned(records, *hits):
    """Return a cell of prunings, a seed each from 1 on, with so many hits of 100 behind each step."""
    found = []
    for seed, each in enumerate(hits, 1):
        steps = [{"step": n, "test": {"hits": h, "n": 100, "loss": 1, "hits_top5": h}} for n, h in enumerate(each)]
        results = records[0].results.model_copy(update={"pruning": steps})
        trial = records[0].trial.model_copy(update={"seed": seed, "start": None})
        found.append(records[0].model_copy(update={"trial": trial, "results": results}))
    return reference.Cell(None, found)


def test_a_step_of_prunings_is_told_as_a_cell_of_those_that_came_so_far(records):
    cell = pruned(records, [90, 80, 70], [90, 60])
    assert cell.after_step(1).drawn_accuracies == {(1, 0): 0.8, (2, 0): 0.6}
    assert cell.after_step(1).measured == reference.mean_interval([0.8, 0.6])
    assert cell.after_step(2).drawn_accuracies == {(1, 0): 0.7} and str(cell.after_step(2)) == "70.0% (1 seed)"
    mean, reach = cell.after_step(2).measured
    assert mean == 0.7 and reach == pytest.approx((0.7811 - 0.6042) / 2, abs=1e-4)  # Wilson's interval of 70 of 100
    # the network that all start from, once, not twice the same
    assert cell.after_step(0).measured == pruned(records, [90]).after_step(0).measured
    assert cell.after_step(3).measured is None and str(cell.after_step(3)) == "not run"
    assert cell.accuracies == 2 * [records[0].results.accuracy]  # the cell stays as it is


def test_two_prunings_are_compared_step_by_step_and_seed_by_seed(records):
    high, low = pruned(records, [90, 80], [90, 70]), pruned(records, [90, 70], [90, 60], [90, 10])
    gap, reach = reference.difference(high.after_step(1), low.after_step(1))
    assert gap == pytest.approx(0.1) and reach == pytest.approx(0, abs=1e-9)


def test_one_seed_has_no_interval_and_decides_nothing():
    high, low = {(1, 0): 0.99, (2, 0): 0.5}, {(1, 0): 0.01, (3, 0): 0.5}
    found = reference.paired(high, low)
    assert found == (pytest.approx(0.98), inf) == reference.over_seeds(iter([0.98]))
    assert reference.verdict(found) == reference.verdict((-0.98, inf)) == "not decided"
    assert reference.points(found) == "+98.0 points (1 run)" and reference.percent(found) == "98.0 (1 run)"
    assert reference.paired(high, {}) is None and reference.over_seeds([]) is None


def test_pairs_are_compared_and_told():
    mean, reach = reference.paired({1: 0.9, 2: 0.8, 3: 0.1}, {1: 0.8, 2: 0.6})
    assert (mean, reach) == pytest.approx((0.15, 0.05 * 12.706), rel=1e-3)  # Student's t of one degree of freedom
    assert reference.points((0.0123, 0.004)) == "+1.2 ± 0.4 points" and reference.points(None) == "not run"
    assert reference.percent((0.7554, 0.0084)) == "75.5 ± 0.8" and reference.percent(None) == "not run"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([(0.2, 0.1), (0.3, 0.2)], "confirmed"),
        ([(0.2, 0.1), (0.1, 0.2)], "not decided"),
        ([(0.2, 0.1), (-0.3, 0.2)], "refuted"),
        ([(0.2, 0.1), None], "not run"),
    ],
)
def test_a_claim_is_confirmed_where_every_interval_is_above_zero(found, said):
    assert reference.verdict(*found) == said


def test_a_cell_is_found_by_its_fields_or_refused():
    assert reference.cell("lock or train", strategy="lock", bits=(8, 8, 8)).trial.bits == (8, 8, 8)
    with pytest.raises(InputError, match="2 cells of the reference grid 'lock or train'"):
        reference.cell("lock or train", strategy="lock")


# Studies of schemes; with none at first


STUDIES = sorted((reference.FOLDER / "studies").glob("*.json"))
SCHEMES = sorted(path for path in reference.FOLDER.glob("*.toml") if path.name != "grids.toml")


def test_the_photographs_have_schemes_each_grid_with_its_name():
    grids = read_grid(reference.FOLDER / "photographs.toml", Scheme)
    assert grids and all(isinstance(scheme, Scheme) for grid in grids for scheme in grid.trials)
    assert all(len(set(grid.trials)) == len(grid.trials) for grid in grids)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_whole_asked_for_and_says_where_it_comes_from(path):
    kept = Study.load(path)
    asked_for = {scheme for file in SCHEMES for grid in read_grid(file, Scheme) for scheme in grid.trials}
    assert study.FLOAT_SCHEME in kept and set(kept) <= asked_for | {study.FLOAT_SCHEME}
    assert kept.images >= 100 and f"{kept.images:,} images, {len(kept)} schemes; " in kept.made_with
    for run in kept.runs:
        assert run.keys() >= {"model", "fewbits", "commit", "data", "versions", "hardware", "seconds", "date"}
        assert len(run["model"]) == len(run["data"]) == 64 and run["seconds"] > 0
    for answers in kept.values():
        assert len(answers.top1) == kept.images and (answers.top1 <= answers.top5).all()
    assert kept.under_float(study.FLOAT_SCHEME) == Estimate(0, 0, kept.images)


def test_a_study_that_is_not_run_is_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    assert not reference.load_study("none") and reference.load_study("none").made_with == "Not run yet."


def test_a_study_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "ours.json").write_text('{"images": 3, "runs": [], "schemes": []}')
    assert reference.load_study("ours").images == 3
