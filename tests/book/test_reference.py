"""Our results on real data: that what is committed is whole, and how it is told."""

import json
import re
from itertools import product
from math import inf

import numpy as np
import pytest

from fewbits import InputError, names, zoo
from fewbits.backend import ops
from fewbits.book import reference
from fewbits.experiment import Record, Results, Scheme, Study, Trial, read_grid, study
from fewbits.experiment.store import pack_answers
from fewbits.quantization import RoundingShift, quantize_model
from fewbits.statistics import Estimate, mean_interval, paired_difference


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
    assert str(cell) == "no data" and not cell.estimate and not cell - cell and not cell.paired(cell)
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

    found = folds((2, 0, 1, 4), 100).paired(folds((0, 1, 2, 3), 0))
    assert found.mean == pytest.approx(0.01) and found.half_width == pytest.approx(0, abs=1e-9) and found.n == 3
    assert str(folds((0, 1, 2), 0)).endswith(" (3 folds)") and str(folds((2,), 0)) == "70.0% (1 fold)"


def _with(record, seed, hits):
    test = record.results.test.model_copy(update={"hits": hits})
    results = record.results.model_copy(update={"test": test})
    return record.model_copy(update={"trial": record.trial.model_copy(update={"seed": seed}), "results": results})


def test_the_difference_is_taken_seed_by_seed(records):
    lock = [_with(records[0], seed, 5000 + 1000 * seed) for seed in (1, 2, 3)]
    train = [_with(records[0], seed, 5100 + 1000 * seed) for seed in (3, 1, 2)]
    found = reference.Cell(None, train).paired(reference.Cell(None, lock))
    assert found.mean == pytest.approx(0.01) and found.half_width == pytest.approx(0, abs=1e-9)
    assert str(reference.Cell(None, lock)) == "70.0% ± 24.8 (3 seeds)"  # t(0.975, 2) = 4.303, deviation 0.1


def test_the_interval_is_of_the_seeds_or_of_the_images_of_one(records):
    low = [_with(records[0], seed, 5000 + 1000 * seed) for seed in (1, 2, 3)]
    high = [_with(records[0], seed, 5100 + 1000 * seed) for seed in (1, 2, 3)]
    n = records[0].results.test.n
    assert not reference.Cell(None, []).estimate
    assert reference.Cell(None, low).estimate == Estimate(*mean_interval([h / n for h in (6000, 7000, 8000)]), 3)
    found = reference.Cell(None, low[:1]).estimate
    assert found.half_width == pytest.approx(1.96 * (found.mean * (1 - found.mean) / n) ** 0.5, rel=0.01)
    assert found.mean == 6000 / n and found.n == 1
    several, fewer, one, other, none = (reference.Cell(None, found) for found in (high, low, high[:1], low[:1], []))
    assert several - fewer == several.paired(fewer)
    gap = one - other
    assert gap.mean == pytest.approx(100 / n)
    assert gap.half_width == pytest.approx(2**0.5 * other.estimate.half_width, rel=0.01)
    assert one.paired(other) == Estimate(one.estimate.mean - other.estimate.mean, inf, 1)
    assert not several - none and not none - several


def answered(record, answers, *, data="cifar10", of="a", **fields):
    """Return a record with these answers to its test images; `of` stands for the checksum of the data."""
    test = record.results.test.model_copy(update={"hits": int(sum(answers)), "n": len(answers)})
    results = record.results.model_copy(update={"test": test, "answers": {"test": pack_answers(np.array(answers))}})
    trial = record.trial.model_copy(update={"data": data, **fields})
    return record.model_copy(update={"trial": trial, "results": results, "provenance": {"data": of}})


FIRST, SECOND = np.arange(100) % 10 > 1, np.arange(100) % 10 > 2  # 80 and 70 of 100; the 70 are among the 80


def test_single_seeds_that_answered_the_same_images_are_compared_image_by_image(records):
    one, other = (reference.Cell(None, [answered(records[0], right)]) for right in (FIRST, SECOND))
    found = one - other
    assert (found.mean, found.half_width) == paired_difference(FIRST, SECOND) and found.n == 1
    assert found.half_width == pytest.approx(1.96 * (0.1 * 0.9 / 100) ** 0.5)  # ten differ, all in one direction
    half_size = reference.Cell(None, [answered(records[0], SECOND, of="b", size=16)])
    assert one - half_size == found, "smaller copies of the same images"
    plain = one.records[0].results.model_copy(update={"answers": None})
    unknown = reference.Cell(None, [one.records[0].model_copy(update={"results": plain})])
    independent = one.estimate - other.estimate
    assert unknown - other == other._replace(records=unknown.records) - other == independent
    assert independent.half_width > 1.9 * found.half_width


@pytest.mark.parametrize("differs", [{"of": "b"}, {"fold": 1}, {"data": "mnist"}])
def test_answers_to_other_images_are_not_paired(differs, records):
    one = reference.Cell(None, [answered(records[0], FIRST)])
    other = reference.Cell(None, [answered(records[0], SECOND, **differs)])
    assert one - other == one.estimate - other.estimate


def test_several_seeds_are_paired_by_seed_even_if_their_answers_are_known(records):
    one, other = (
        reference.Cell(None, [answered(records[0], right, seed=seed) for seed in (1, 2)]) for right in (FIRST, SECOND)
    )
    assert one - other == one.paired(other) and (one - other).n == 2


def test_what_chance_has_decided_is_the_seeds_of_what_was_trained():
    pruned = {"network": "squeezenet_cifar", "data": "cifar10", "strategy": "prune", "start": "squeezenet_cifar"}
    start = Trial(**pruned, ratio=0.5, seed=3)
    static = Trial(network="squeezenet_cifar", data="cifar10", strategy="static", bits=(8, 8, 8), start=start)
    float_ = Trial(network="squeezenet_cifar", data="cifar10", epochs=1, transfer=0, start=start, seed=2)
    assert reference.drawn(start) == reference.drawn(static) == (3, 0)
    assert reference.drawn(float_) == (2, 0, 3, 0)


VALIDATED = {"val_accuracy": 0.5, "val_loss": 1.0}


def pruned(records, *hits):
    """Return a cell of prunings, a seed each from 1 on, with so many hits of 100 behind each step."""
    found = []
    for seed, each in enumerate(hits, 1):
        tests = [{"hits": h, "n": 100, "loss": 1, "hits_top5": h} for h in each]
        steps = [VALIDATED | {"step": n, "test": test} for n, test in enumerate(tests)]
        results = records[0].results.model_copy(update={"pruning": steps})
        trial = records[0].trial.model_copy(update={"seed": seed, "start": None})
        found.append(records[0].model_copy(update={"trial": trial, "results": results}))
    return reference.Cell(None, found)


def test_a_step_of_prunings_is_told_as_a_cell_of_those_that_came_so_far(records):
    cell = pruned(records, [90, 80, 70], [90, 60])
    assert cell.after_step(1).by_seed == {(1, 0): 0.8, (2, 0): 0.6}
    assert cell.after_step(1).estimate == Estimate(*mean_interval([0.8, 0.6]), 2)
    assert cell.after_step(2).by_seed == {(1, 0): 0.7} and str(cell.after_step(2)) == "70.0% (1 seed)"
    found = cell.after_step(2).estimate
    assert found.half_width == pytest.approx((0.7811 - 0.6042) / 2, abs=1e-4)  # Wilson's interval of 70 of 100
    assert found.mean == 0.7
    # the network that all start from, once, not twice the same
    assert cell.after_step(0).estimate == pruned(records, [90]).after_step(0).estimate
    assert not cell.after_step(3).estimate and str(cell.after_step(3)) == "no data"
    assert cell.accuracies == 2 * [records[0].results.accuracy]  # the cell stays as it is


def test_the_answers_of_the_last_step_are_not_those_of_another(records):
    """They would be paired with answers of another network, and the difference would be that of the last step."""
    cell = pruned(records, [90, 80])
    last = cell.records[0].results.model_copy(update={"answers": {"test": pack_answers(np.arange(100) < 80)}})
    cell = reference.Cell(None, [cell.records[0].model_copy(update={"results": last})])
    assert cell.after_step(1).records[0].results.answers is None
    assert (cell.after_step(0) - cell.after_step(1)).mean == pytest.approx(0.1)


def costing(records, *runs):
    """Return a cell of prunings, a seed each from 1 on, with (MACs, bytes, hits of 100) after each step."""
    found = []
    for seed, run in enumerate(runs, 1):
        tests = [{"hits": hits, "n": 100, "loss": 1, "hits_top5": None} for *_, hits in run]
        steps = [{"macs": m, "weight_bytes": b, "test": test} for (m, b, _), test in zip(run, tests)]
        results = records[0].results.model_copy(update={"pruning": steps})
        trial = records[0].trial.model_copy(update={"seed": seed, "start": None})
        found.append(records[0].model_copy(update={"trial": trial, "results": results}))
    return reference.Cell(None, found)


def test_prunings_are_compared_where_as_much_of_a_cost_is_left(records):
    """By hand: at half of 200 MACs the first run is a quarter of the way from 120 to 40 MACs, so 80 - 20 / 4 = 75 %."""
    cell = costing(records, [(200, 10, 90), (120, 4, 80), (40, 1, 60)], [(200, 10, 90), (100, 6, 70)])
    assert cell.at_cost("macs", 0.5) == pytest.approx({(1, 0): 0.75, (2, 0): 0.7})
    assert cell.at_cost("macs", 0.2) == pytest.approx({(1, 0): 0.6}), "the second run has not come so far"
    assert cell.at_cost("macs", 1) == pytest.approx({(1, 0): 0.9, (2, 0): 0.9})
    assert cell.at_cost("weight_bytes", 0.5) == pytest.approx({(1, 0): 0.8 + 0.1 / 6})
    assert cell.at_cost("macs", 0.1) == cell.at_cost("macs", 1.1) == {}
    assert reference.Cell(None, records[:1]).at_cost("macs", 0.5) == {}, "not a pruning"


def test_a_step_has_the_validation_accuracy_of_its_own(records):
    cell = reference.cell("pruning", criterion="combined")
    for number in (1, 5):
        for record, whole in zip(cell.after_step(number).records, cell.records):
            validation, step = record.results.validation, whole.results.pruning[number]
            assert validation.hits / validation.n == pytest.approx(step["val_accuracy"])
    assert cell.after_step(1).records[0].results.validation.hits > cell.records[0].results.validation.hits


def test_two_prunings_are_compared_step_by_step_and_seed_by_seed(records):
    high, low = pruned(records, [90, 80], [90, 70]), pruned(records, [90, 70], [90, 60], [90, 10])
    gap = high.after_step(1).paired(low.after_step(1))
    assert gap.mean == pytest.approx(0.1) and gap.half_width == pytest.approx(0, abs=1e-9)


def with_filters(records, *counts):
    """Return a cell of one pruning that leaves so many filters in its two layers at each step."""
    steps = [VALIDATED | {"step": n, "filters": dict(zip("ab", two))} for n, two in enumerate(counts)]
    test = {"hits": 1, "n": 2, "loss": 1, "hits_top5": 1}
    results = records[0].results.model_copy(update={"pruning": [step | {"test": test} for step in steps]})
    return reference.Cell(None, [records[0].model_copy(update={"results": results})])


def test_filters_are_counted_step_by_step(records):
    cell = with_filters(records, (6, 4), (5, 3), (2, 3))
    assert cell.filters_lost(1) == {"a": 1, "b": 1} and cell.filters_lost(2) == {"a": 4, "b": 1}
    assert list(cell.by_ratio) == pytest.approx([0, 0.2, 0.5])
    assert [found.estimate.mean for found in cell.by_ratio.values()] == 3 * [0.5]


def test_the_steps_are_those_of_the_run_that_went_furthest(records):
    short, long = with_filters(records, (6, 4)), with_filters(records, (6, 4), (1, 1))
    both = reference.Cell(None, [*short.records, *long.records])
    assert both.steps == long.steps and reference.Cell(None, []).steps == []


def test_what_is_lost_against_float_is_counted_by_seed(records):
    kept = [_with(records[0], seed, hits) for seed, hits in ((1, 5000), (2, 4000))]
    n = records[0].results.test.n
    before = records[0].results.test.model_copy(update={"hits": 6000})
    kept = [r.model_copy(update={"results": r.results.model_copy(update={"float_test": before})}) for r in kept]
    cell = reference.Cell(None, kept)
    assert sorted(cell.lost_by_seed.values()) == [1000 / n, 2000 / n]
    assert cell.lost == Estimate.of(cell.lost_by_seed.values())
    floats = [r.model_copy(update={"results": r.results.model_copy(update={"float_test": None})}) for r in kept]
    assert not reference.Cell(None, floats).lost


def test_what_one_network_lost_has_the_interval_of_its_images(records):
    """It is the base of other differences, which would otherwise take it for exact."""
    before = {"hits": 80, "n": 100, "loss": 0.5, "hits_top5": None}
    results = records[0].results.model_dump() | {"float_test": before, "test": before | {"hits": 70}, "answers": None}
    one = reference.Cell(None, [records[0].model_copy(update={"results": Results(**results)})])
    assert (one.lost.mean, one.lost.n) == (pytest.approx(0.1), 1) and 0.11 < one.lost.half_width < 0.13
    results["answers"] = {"float_test": pack_answers(FIRST), "test": pack_answers(SECOND)}
    known = reference.Cell(None, [records[0].model_copy(update={"results": Results(**results)})])
    assert (known.lost.mean, known.lost.half_width) == paired_difference(FIRST, SECOND) and known.lost.n == 1
    assert not reference.Cell(None, []).lost


def test_a_table_says_where_its_results_come_from(records):
    cell, other = reference.Cell(None, records[:1]), reference.Cell(None, [])
    table = reference.results_table(("what", "top-1"), [("a", cell), ("b", other), ("c", cell)], note="Means.")
    assert table.note == f"Means. 1 row has no record yet. Reference: {reference.made_with(records[:1])}"
    assert table.rows == [("a", cell), ("c", cell)] and table.html().count(f"<td>{cell}</td>") == 2
    none = reference.results_table(("what", "top-1", "over"), [("a", cell, other), ("b", other, other)])
    assert not none.rows and none.note == "2 rows have no record yet."
    assert reference.results_table(("what",), [("a",)], also=[cell]).note == f"Reference: {reference.made_with([cell])}"


def test_cells_of_several_grids_come_in_order():
    both = reference.cells("transfer", "float")
    assert [c.trial for c in both] == [c.trial for name in ("transfer", "float") for c in reference.cells(name)]


def test_without_the_books_folder_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "FOLDER", tmp_path / "none")
    readers = [reference.grids, lambda: reference.cells("float")]
    readers += [lambda: reference.load_study("photographs"), lambda: reference.load_shifts("lenet")]
    for read in readers:
        with pytest.raises(InputError, match="the reference results belong to the book's repository"):
            read()


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
    if path.stem.startswith("rounding-"):  # asked for by rounding.py, which names the layers of each network
        asked_for = {
            scheme for scheme in kept if scheme.bits[1:] == (None, None) and scheme.msb and not scheme.remedies
        }
    assert study.FLOAT_SCHEME in kept and set(kept) <= asked_for | {study.FLOAT_SCHEME}
    assert kept.images >= 100 and f"{kept.images:,} images, {len(kept)} schemes; " in kept.made_with
    for run in kept.runs:
        assert run.keys() >= {"model", "fewbits", "commit", "data", "versions", "hardware", "seconds", "date"}
        assert len(run["model"]) == len(run["data"]) == 64 and run["seconds"] > 0
    for answers in kept.values():
        assert len(answers.top1) == kept.images and (answers.top1 <= answers.top5).all()
    assert kept.under_float(study.FLOAT_SCHEME) == Estimate(0, 0, kept.images)


def test_every_network_of_a_study_of_rounding_has_shifts_of_its_layers():
    for path in STUDIES:
        if path.stem.startswith("rounding-"):
            asked = {scheme.layers[0] for scheme in Study.load(path) if scheme.layers}
            assert {shift.layer for shift in reference.load_shifts(path.stem.removeprefix("rounding-"))} == asked


def test_a_study_that_is_not_run_is_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    assert not reference.load_study("none") and reference.load_study("none").made_with == "Not run yet."


def test_shifts_are_found_by_network_and_none_are_a_guess(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    assert reference.load_shifts("ours") == []
    shift = RoundingShift("conv", 3.0, 1.0, (0.5, 1.0), (0.25, 0.5))
    (tmp_path / "shifts.json").write_text(json.dumps({"ours": [shift._asdict()]}))
    assert reference.load_shifts("ours") == [shift] and reference.load_shifts("theirs") == []


def test_a_study_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "ours.json").write_text('{"images": 3, "runs": [], "schemes": []}')
    assert reference.load_study("ours").images == 3


def test_what_another_tool_loses_has_intervals_and_says_who_measured():
    tool = reference.load_tool("model-compression-toolkit")
    assert tool.under_float.keys() == {8, 6, 5, 4} and tool.under_float[4].percent == "44.9 ± 3.3"
    assert "outside this book" in tool.made_with and "about 50 s" in tool.made_with and 0.5 < tool.minutes < 1


def test_what_networks_take_on_devices_is_kept_for_all_of_them():
    rows, made_with = reference.load_devices()
    ours = {(row.network, row.bits, row.device, row.optimized): row for row in rows if row.kernels == "ours"}
    assert set(ours) == {*product(("LeNet", "SqueezeNet"), (8, 4), names.DEVICES, ("-O2", "-Os"))}
    assert all(row.ram > 1_000 and row.flash > 40_000 and row.stack > 100 for row in ours.values())
    theirs = [row for row in rows if row.kernels == "CMSIS-NN"]
    assert theirs and all(row.ram is None and row.device.startswith("cortex") for row in theirs)
    assert re.fullmatch(r"Means of 40 digits; .*gcc.*; riscv.*; QEMU.*; CMSIS-NN \w{7}; code \w{7}\.", made_with)


def test_what_is_missing_is_asked_for_and_has_no_record():
    asked = {trial.key: trial for grid in reference.grids() for trial in grid.trials}
    missing = {trial.key: grid for trial, grid in reference.missing().items()}
    kept = {path.stem for path in (reference.FOLDER / "trials").glob("*.json")}
    assert set(missing) == set(asked) - kept
    first = {trial.key: grid.name for grid in reference.grids()[::-1] for trial in grid.trials}
    assert missing == {key: first[key] for key in missing}


RANGES = {
    "images": 2,
    "percentiles": [95, 99.9],
    "run": {
        "hardware": {"gpu": None, "cpu": "one", "cores": 2},
        "versions": {"keras": "3"},
        "commit": {"id": "0123456789"},
    },
    "all": {"kernel": [[-1, 2], [-3, 4]]},
    "histograms": {"output": {"ends": [-2.0, 2.0], "counts": [5, 0, 7, 1]}},
    "layers": {
        "conv1": {"kernel": [[-1, 2], [-3, 4]]},
        "fire2_squeeze1x1": {"kernel": [[-1, 8], [-2, 8]]},
        "fire2_expand1x1": {"kernel": [[-4, 3], [-5, 9]]},
    },
}


def test_the_limits_of_a_level_hold_those_of_all_its_layers(tmp_path, monkeypatch):
    (tmp_path / "ranges.json").write_text(json.dumps(RANGES))
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    found = reference.load_ranges()
    assert found.by_level("kernel", 95) == {"conv1": (-1, 2), "fire2": (-4, 8)}
    assert found.by_level("kernel", 99.9) == {"conv1": (-3, 4), "fire2": (-5, 9)}
    assert found.together == {"kernel": {95: (-1, 2), 99.9: (-3, 4)}}
    assert found.histograms == {"output": {-1.5: 5, -0.5: 0, 0.5: 7, 1.5: 1}}
    assert found.made_with == "cifar10, 2 training images; one, 2 cores; Keras 3; code 0123456."


def test_the_ranges_that_are_kept_are_those_of_the_networks_weights():
    found = reference.load_ranges()
    model = zoo.build("squeezenet_cifar", (32, 32, 3), 10, weights="squeezenet_cifar")
    folded = {layer.name: layer for layer in quantize_model(model, fold_batch_normalization=True).quantized_layers}
    assert list(found.layers) == list(folded)
    for name, kinds in found.layers.items():
        for kind in ("kernel", "bias"):
            values = ops.convert_to_numpy(getattr(folded[name], kind))
            for percentile, ends in kinds[kind].items():
                assert ends == pytest.approx(
                    np.percentile(values, [(100 - percentile) / 2, (100 + percentile) / 2]), rel=1e-3
                )
    assert sum(found.histograms["kernel"].values()) == sum(np.prod(layer.kernel.shape) for layer in folded.values())
    for kind in ("kernel", "bias", "output"):  # a higher percentile holds more
        for limits in [found.together[kind], *(layer[kind] for layer in found.layers.values())]:
            lows, highs = zip(*(limits[p] for p in found.percentiles))
            assert list(lows) == sorted(lows, reverse=True) and list(highs) == sorted(highs)


# Figures of reference results


def trained(records, *losses):
    """Return a cell with a seed for each list of losses, one loss per epoch."""
    found = []
    for path in losses:
        history = [{"epoch": n, "loss": loss} for n, loss in enumerate(path, 1)]
        results = records[0].results.model_copy(update={"history": history})
        found.append(records[0].model_copy(update={"results": results}))
    return reference.Cell(None, found)


def test_a_training_is_told_by_epoch_as_the_mean_of_the_seeds(records):
    cell = trained(records, [3.0, 2.0], [5.0, 1.0])
    assert cell.by_epoch("loss") == {1: 4.0, 2: 1.5} and cell.at_end("loss") == 1.5


def test_trainings_that_continue_one_another_count_their_epochs_on(records):
    held, freed = trained(records, [3.0, 2.0]), trained(records, [1.0, 0.5], [1.0, 1.5])
    panels = reference.training_panels({"both": (held, freed), "held": held}, {"loss in nats": "loss"})
    assert panels == {"loss in nats": {"both": {1: 3.0, 2: 2.0, 3: 1.0, 4: 1.0}, "held": {1: 3.0, 2: 2.0}}}


def test_images_are_counted_over_the_epochs(records):
    cell = trained(records, [3.0, 2.0, 1.0])
    short = cell._replace(trial=records[0].trial.model_copy(update={"data": "cifar10", "images": 1_000}))
    assert (short.images_per_epoch, short.images_seen) == (1_000, 3_000)
    validation = records[0].results.validation.n
    whole = cell._replace(trial=short.trial.model_copy(update={"images": None}))
    assert (whole.images_per_epoch, whole.images_seen) == (50_000 - validation, 3 * (50_000 - validation))
    assert trained(records, []).images_seen == 0 and reference.Cell(short.trial, []).images_seen == 0


def test_folds_have_their_deviation_and_their_number_if_some_are_missing(records):
    n = records[0].results.test.n
    cell = reference.Cell(None, [_with(records[0], seed, hits * n // 10) for seed, hits in ((1, 5), (2, 6), (3, 7))])
    assert cell.with_deviation(3) == "60.0 ± 10.0" and cell.with_deviation() == "60.0 ± 10.0 (3 folds)"


def test_seeds_are_counted_in_words(records):
    one, three = trained(records, [1.0]), trained(records, [1.0], [2.0], [3.0])
    assert reference.seeds_of([one]) == "1 seed" and reference.seeds_of([three]) == "3 seeds"
    assert reference.seeds_of([three, one, one]) == "1 or 3 seeds"


def test_the_data_of_a_figure_have_a_row_per_place_and_their_provenance():
    series = {"a": {2: 0.5, 1: Estimate(0.25, 0.01, 3)}, "b": {3: 0.125}}
    table = reference.data_table("step", series, "by hand.", {2: "two"})
    assert table.columns == ("step", "a", "b") and table.note == "Reference: by hand."
    assert table.rows == [(1, "25.0 ± 1.0", "-"), ("two", "50.0%", "-"), (3, "-", "12.5%")]
    words = reference.data_table("bits", {"a": {"float": 0.5, "8": 0.4}, "b": {"16": 0.3}}, "by hand.")
    assert [row[0] for row in words.rows] == ["float", "8", "16"]


def test_the_values_of_levels_have_their_reach_and_their_msbs():
    """By hand: 3 needs the MSB 2 (up to 4), 0.7 the MSB 0; a level holds both of its layers."""
    layers = {
        "fire2_squeeze": {"kernel": {95: (-0.7, 0.2), 99: (-0.7, 0.9)}},
        "fire2_expand": {"kernel": {95: (-0.1, 0.3), 99: (-3.0, 0.3)}},
    }
    ranges = reference.Ranges(4, (95, 99), {}, layers, {}, "by hand")
    assert ranges.msbs("kernel") == {"fire2": (0, 2)}
    assert ranges.reach("kernel") == {
        "95 %": {"fire2_squeeze": 0.7, "fire2_expand": 0.3},
        "99 %": {"fire2_squeeze": 0.9, "fire2_expand": 3.0},
    }


def test_what_a_layer_measured_is_the_mean_of_the_folds(records):
    moved = {"a": 0.1, "b": 1.0}, {"a": 0.3, "b": 2.0}
    kept = [
        r.model_copy(update={"results": r.results.model_copy(update={"moved": of})}) for r, of in zip(records, moved)
    ]
    assert reference.Cell(None, kept).by_layer("moved") == pytest.approx({"a": 0.2, "b": 1.5})
    assert reference.Cell(None, []).by_layer("moved") == {}
