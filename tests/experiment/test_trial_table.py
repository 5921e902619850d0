"""Records as a table: what a row says, and that groups, conditions and orders are those asked for."""

import statistics

import pytest

from fewbits import InputError, Trial
from fewbits.experiment import Store, trial_table
from helpers.records import quantized, record


def test_a_row_says_what_was_asked_and_what_was_measured():
    trial = quantized(84)
    [row] = trial_table.rows([trial])
    assert tuple(row) == trial_table.COLUMNS
    assert (row["bits"], row["start"], row["strategy"]) == ("4-float-8", trial.trial.start.key, "train")
    assert (row["top1"], row["validation"], row["top5"], row["parameters"]) == (0.84, 0.84, None, 7)
    assert row["under_float"] == pytest.approx(0.06) and row["key"] == trial.trial.key
    assert (row["seconds"], row["threads"], row["gpu"], row["commit"]) == (10.0, 1, None, None)


def test_every_field_of_a_trial_is_a_column():
    assert set(Trial.model_fields) < set(trial_table.COLUMNS)


def test_a_group_has_the_mean_of_its_trials_and_their_students_interval():
    hits = 80, 86, 83
    found = trial_table.rows([quantized(h, seed=seed) for seed, h in enumerate(hits)] + [record(95)])
    whole, alone = trial_table.grouped(found, ["strategy", "bits"])
    assert (whole["strategy"], whole["bits"], whole["n"], whole["seconds"]) == ("train", "4-float-8", 3, 10.0)
    half_width = 4.302653 * statistics.stdev(hits) / 3**0.5 / 100  # Student's t with two degrees of freedom
    assert whole["top1"].mean == pytest.approx(0.83) and whole["top1"].half_width == pytest.approx(half_width)
    assert whole["under_float"].mean == pytest.approx(0.07)
    assert alone["n"] == 1 and not alone["under_float"]


def test_flat_rows_hold_numbers_and_no_interval_of_one_trial():
    found = [
        trial_table.flat(row)
        for row in trial_table.grouped(trial_table.rows([quantized(80), record(95)]), ["strategy"])
    ]
    assert found[0]["top1"] == 0.8 and found[0]["top1_half_width"] is None
    assert found[1]["under_float"] is None and list(found[0]) == list(found[1])


def test_rows_are_ordered_by_value_and_what_has_none_stands_last():
    found = trial_table.rows([record(95), quantized(80), quantized(88, seed=1)])
    assert [row["under_float"] for row in trial_table.ordered(found, "under_float")] == [
        pytest.approx(0.02),
        pytest.approx(0.1),
        None,
    ]
    assert [row["strategy"] for row in trial_table.ordered(found, "strategy")] == ["float", "train", "train"]


def test_conditions_compare_with_what_is_printed():
    found = trial_table.rows([record(95, augment=True), record(90), quantized(80)])
    assert [row["top1"] for row in trial_table.rows_with(found, "augment", "true")] == [0.95]
    assert [row["top1"] for row in trial_table.rows_with(found, "bits", "")] == [0.95, 0.9]
    with pytest.raises(InputError, match=r"no trial has bits = '8-8-8'; it is one of 4-float-8$"):
        trial_table.rows_with(found, "bits", "8-8-8")
    with pytest.raises(InputError, match=r"no trial has ratio = '0.5'; none has a ratio$"):
        trial_table.rows_with(found, "ratio", "0.5")
    for refused in (lambda: trial_table.rows_with(found, "bit", "8"), lambda: trial_table.grouped(found, ["bit"])):
        with pytest.raises(InputError, match="no column 'bit'; the columns are name, network"):
            refused()


def test_a_store_returns_its_records_by_date(tmp_path):
    store = Store(tmp_path)
    written = [record(90 + i, seed=i, provenance={"date": f"2026-01-0{3 - i}"}) for i in range(3)]
    for each in written:
        store.save(each)
    assert store.records() == written[::-1]
    frame = store.to_dataframe()
    assert tuple(frame.columns) == trial_table.COLUMNS and list(frame["top1"]) == [0.92, 0.91, 0.9]
    assert frame.groupby("network")["top1"].agg(["mean", "count"]).loc["lenet"].tolist() == [pytest.approx(0.91), 3]
    assert tuple(Store(tmp_path / "empty").to_dataframe().columns) == trial_table.COLUMNS


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"trial": 1}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "0123456789abcdef.json").write_bytes(text)
    with pytest.raises(InputError, match="0123456789abcdef.json is damaged"):
        Store(tmp_path).records()


@pytest.mark.parametrize("change", [{"hits": 101}, {"hits": -1}, {"n": 0, "hits": 0}])
def test_counts_that_cannot_be_are_damage(tmp_path, change):
    store, kept = Store(tmp_path), record(95)
    store.save(kept)
    [path] = tmp_path.glob("*.json")
    before = '"hits": 95,\n   "n": 100'
    tally = {"hits": 95, "n": 100} | change
    path.write_text(path.read_text().replace(before, f'"hits": {tally["hits"]},\n   "n": {tally["n"]}', 1))
    with pytest.raises(InputError, match="is damaged"):
        store.records()
    path.rename(tmp_path / "0000000000000000.json")
    with pytest.raises(InputError, match="is damaged, or the record of another trial"):
        store.records()


@pytest.mark.parametrize("origin", [{"seconds": "long"}, {"hardware": [1]}, {"commit": "abc"}, {"date": None}])
def test_a_strange_origin_leaves_cells_empty(origin):
    [row] = trial_table.rows([record(95, provenance=origin)])
    assert row["top1"] == 0.95 and row["commit"] is None
    assert trial_table.grouped([row], ["network"])[0]["n"] == 1
