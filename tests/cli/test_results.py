"""`fewbits results`: the table it prints of a store, and what it refuses."""

import csv
import io

import pytest

from fewbits.cli import main
from fewbits.experiment import Store, trial_table
from helpers.cli import refused
from helpers.records import quantized, record


@pytest.fixture
def store(tmp_path):
    kept = Store(tmp_path)
    for each in (record(95), quantized(80), quantized(84, seed=1), quantized(70, seed=1, bits=(2, 2, 2))):
        kept.save(each)
    return tmp_path


def printed(capsys, *arguments):
    assert main(["results", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_one_line_per_trial(store, capsys):
    head, *lines = printed(capsys, store, "--sort", "top1")
    assert head.split()[0] == "name" and len(lines) == 4
    assert lines[0].startswith("lenet digits train 2-2-2 seed 1") and " 70.00 " in lines[0] and " 20.00 " in lines[0]
    assert lines[-1].split()[-4:-1] == ["95.00", "-", "10"]


def test_groups_have_intervals(store, capsys):
    head, *lines = printed(capsys, store, "--where", "strategy=train", "--group-by", "bits")
    two, four = sorted(lines)
    assert head.split()[:2] == ["bits", "n"]
    assert four.split()[:5] == ["4-float-8", "2", "82.00", "±", "25.41"]  # 12.706 standard errors
    assert two.startswith("2-2-2") and "70.00 (1 run)" in two


def test_comma_separated_values_hold_all_columns(store, capsys):
    rows = list(csv.DictReader(io.StringIO("\n".join(printed(capsys, store, "--csv", "--sort", "top1")))))
    assert tuple(rows[0]) == trial_table.COLUMNS and [row["top1"] for row in rows] == ["0.7", "0.8", "0.84", "0.95"]
    assert rows[0]["bits"] == "2-2-2" and rows[0]["per_channel"] == "false" and rows[0]["edge_bits"] == ""
    grouped = list(
        csv.DictReader(io.StringIO("\n".join(printed(capsys, store, "--csv", "--group-by", "network,strategy"))))
    )
    assert [row["n"] for row in sorted(grouped, key=lambda row: row["n"])] == ["1", "3"]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--where", "strategy"], "takes COLUMN=VALUE"),
        (["--where", "strategy=prune"], "it is one of float, train"),
        (["--sort", "accuracy"], "no column 'accuracy'"),
        (["--group-by", "bits,"], "no column ''"),
    ],
)
def test_what_does_not_exist_is_refused(store, capsys, arguments, sentence):
    assert sentence in refused(["results", str(store), *arguments], capsys)


def test_a_folder_without_records_is_refused_and_not_made(tmp_path, capsys):
    assert "there is no folder" in refused(["results", str(tmp_path / "store")], capsys)
    assert not list(tmp_path.iterdir())
    assert "holds no record" in refused(["results", str(tmp_path)], capsys)
