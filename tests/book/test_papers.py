"""The theses' tables as transcribed: every file parses, and cells read from the source a second time agree."""

import csv
import re
from pathlib import Path

import pytest

from fewbits.book import papers
from fewbits.errors import InputError

TABLES = sorted(p.relative_to(papers.FOLDER).as_posix() for p in papers.FOLDER.glob("*/table-*.csv"))
ROWS = {
    ("vieito2017", 2): 4,
    ("vieito2017", 4): 5,
    ("vieito2017", 5): 4,
    ("vieito2017", 6): 4,
    ("vieito2017", 7): 5,
    ("vieito2017", 8): 4,
    ("vieito2017", 9): 4,
    ("vieito2017", 10): 4,
    ("vieito2017", 11): 10,
    ("vieito2017", 12): 2,
    ("vieito2017", 13): 3,
    ("vieito2017", 14): 2,
    ("backstrom2018", 2): 15,
    ("backstrom2018", 3): 9,
    ("backstrom2018", 4): 9,
    ("backstrom2018", 5): 6,
    ("backstrom2018", 6): 11,
    ("backstrom2018", 7): 8,
    ("backstrom2018", 11): 2,
    ("backstrom2018", 12): 10,
    ("backstrom2018", 13): 10,
    ("chernis", 1): 6,
    ("chernis", 2): 14,
    ("gaikwad2018", 101): 4,  # its tables are numbered by chapter: 1.1
    ("gaikwad2018", 102): 3,
    ("gaikwad2018", 701): 22,  # 7.1
    ("gaikwad2018", 801): 14,
    ("gaikwad2018", 802): 22,
}
# key, table, row, column, cell: typed from the source, not from the files
CELLS = [
    ("vieito2017", 2, 0, "lower", -0.7315),
    ("vieito2017", 2, 3, "upper", 0.1659),
    ("vieito2017", 4, 1, "accuracy", 49.1),
    ("vieito2017", 4, 2, "msb", -1),
    ("vieito2017", 4, 4, "accuracy", 0.17),  # one cell for two rows in the source
    ("vieito2017", 5, 2, "accuracy", 7.16),
    ("vieito2017", 6, 1, "on_model_accuracy", 49.3),
    ("vieito2017", 6, 3, "off_model_accuracy", 0.14),
    ("vieito2017", 7, 1, "lower", -1008),
    ("vieito2017", 7, 1, "upper", 571.9),
    ("vieito2017", 7, 4, "accuracy", 25.7),
    ("vieito2017", 8, 1, "accuracy", 48.08),
    ("vieito2017", 8, 3, "accuracy", 44.52),
    ("vieito2017", 9, 1, "accuracy", 0.25),
    ("vieito2017", 9, 2, "kernel_bits", 16),
    ("vieito2017", 10, 1, "training_hours", 41),
    ("vieito2017", 10, 3, "dynamic_accuracy", 44.9),
    ("vieito2017", 11, 1, "kernel_msb_99_9", 1),
    ("vieito2017", 11, 2, "data_msb_99_9", 11),
    ("vieito2017", 11, 4, "data_msb_99_99", 10),
    ("vieito2017", 11, 9, "kernel_msb_99_99", -2),
    ("vieito2017", 12, 0, "custom_msb_accuracy", 30.31),
    ("vieito2017", 12, 1, "training_hours", 44),
    ("vieito2017", 13, 0, "lock_accuracy", 3.97),
    ("vieito2017", 13, 1, "train_accuracy", 37.16),  # the text has 38.16
    ("vieito2017", 14, 0, "accuracy", 41.3),
    ("backstrom2018", 7, 4, "accuracy", 96.2),
    ("backstrom2018", 7, 7, "std_dev", 3.59),
    ("backstrom2018", 2, 0, "kernels", 96),
    ("backstrom2018", 2, 5, "activations", "53x53"),
    ("backstrom2018", 2, 12, "kernel_stride", "(3x3) / 1"),  # 1x1 in SqueezeNet
    ("backstrom2018", 2, 14, "kernels", ""),
    ("backstrom2018", 3, 2, "accuracy", 0.004),
    ("backstrom2018", 3, 4, "quantized", "FC weights"),
    ("backstrom2018", 3, 5, "accuracy", 0.548),
    ("backstrom2018", 3, 7, "bits", 8),
    ("backstrom2018", 3, 8, "accuracy", 0.09),
    ("backstrom2018", 4, 0, "accuracy", 0.5712),
    ("backstrom2018", 4, 3, "layer", "conv3"),
    ("backstrom2018", 4, 8, "accuracy", 0.5638),
    ("backstrom2018", 5, 1, "accuracy", 0.5592),
    ("backstrom2018", 5, 5, "accuracy", 0.0348),
    ("backstrom2018", 6, 0, "top1_accuracy", 0.5804),
    ("backstrom2018", 6, 7, "top5_accuracy", 0.792),
    ("backstrom2018", 11, 1, "tl_0_accuracy", 92.0),
    ("backstrom2018", 11, 1, "tl_25_accuracy", 96.9),
    ("backstrom2018", 12, 0, "mac", 25.8),
    ("backstrom2018", 12, 5, "model_size", "731K"),
    ("backstrom2018", 12, 9, "std_dev", 6.51),
    ("backstrom2018", 13, 4, "accuracy", 94.7),
    ("chernis", 1, 3, "parameters", 715169),  # 715162 is right
    ("chernis", 1, 5, "accuracy", 38.39),
    ("chernis", 2, 4, "s1x1", 16),  # 32 is right
    ("chernis", 2, 4, "parameters", 43344),  # 45344 is right
    ("chernis", 2, 12, "parameters", 5120),  # without bias
    ("chernis", 2, 9, "layer", "Fire8"),
    ("gaikwad2018", 101, 1, "convolution_percent", 89),
    ("gaikwad2018", 101, 3, "dense_percent", 0),
    ("gaikwad2018", 102, 2, "million_parameters", 1.24),
    ("gaikwad2018", 701, 13, "accuracy", 74),
    ("gaikwad2018", 701, 14, "pruning_ratio", 67),
    ("gaikwad2018", 701, 15, "accuracy", 70),
    ("gaikwad2018", 701, 16, "accuracy", 72),  # more than at a lower ratio
    ("gaikwad2018", 701, 21, "accuracy", 0),
    ("gaikwad2018", 802, 14, "accuracy", 74),  # the text has 73
    ("gaikwad2018", 802, 17, "accuracy", 65),
    ("gaikwad2018", 802, 20, "accuracy", 45),
    ("gaikwad2018", 801, 3, "iteration_10", 6),  # 9 by the sums of its row and its column
    ("gaikwad2018", 801, 4, "iteration_11", "x"),  # so in our text of the thesis; 8 by the sums
    ("gaikwad2018", 801, 12, "total", 340),
    ("gaikwad2018", 801, 13, "iteration_12", 128),
]


def test_every_table_is_known_here():
    assert TABLES == sorted(f"{key}/table-{number:02d}.csv" for key, number in ROWS)


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_a_file_has_a_cell_for_each_column(name):
    with (papers.FOLDER / name).open(newline="") as file:
        head, *rows = csv.reader(file)
    assert len(set(head)) == len(head) and all(c == c.lower() and c.isidentifier() for c in head)
    assert all(len(row) == len(head) for row in rows)
    assert all(cell == cell.strip() for row in rows for cell in row)


@pytest.mark.parametrize(("key", "number"), ROWS)
def test_a_table_has_as_many_rows_as_the_source(key, number):
    assert len(papers.table(key, number)) == ROWS[key, number]


@pytest.mark.parametrize(("key", "number", "row", "column", "cell"), CELLS)
def test_a_cell_is_as_printed(key, number, row, column, cell):
    found = papers.table(key, number)[row][column]
    assert found == cell and type(found) is type(cell)


@pytest.mark.parametrize(("key", "number"), ROWS)
def test_an_accuracy_is_a_percentage(key, number):
    for row in papers.table(key, number):
        assert all(0 <= row[column] <= 100 for column in row if column.endswith("accuracy"))


@pytest.mark.parametrize(("key", "number"), [("vieito2017", 99), ("nobody", 1)])
def test_a_table_that_is_not_transcribed_is_refused_with_those_that_are(key, number):
    with pytest.raises(InputError, match=f"no table {number} of '{key}'.*chernis/table-01, chernis/table-02"):
        papers.table(key, number)


def test_bits_are_those_of_kernel_input_and_output():
    assert papers.bits_of(papers.table("vieito2017", 13)[1]) == (6, 6, 6)


def test_the_schedules_of_four_tables_are_told_in_one():
    found = papers.schedule_accuracies()
    assert found["train", "custom", (6, 6, 6), 10] == (37.16, 13) and found["lock", "custom", (6, 6, 6), 10] == (
        0.15,
        13,
    )
    assert found["lock", "generic", (8, 6, 6), 10] == (0.41, 10)
    assert found["lock", "generic", (8, 6, 6), 100] == (6.28, 12), "Table 12 repeats it"
    assert found["train", "custom", (6, 6, 6), 100] == (41.3, 14)
    rows = [row for number in (10, 12, 13, 14) for row in papers.table("vieito2017", number)]
    printed = {value for row in rows for column, value in row.items() if "accuracy" in column} - {
        row["static_accuracy"] for row in rows if "static_accuracy" in row
    }
    assert {accuracy for accuracy, _ in found.values()} == printed


def test_without_the_books_folder_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(papers, "FOLDER", tmp_path / "none")
    with pytest.raises(InputError, match="the theses' tables belong to the book's repository"):
        papers.table("vieito2017", 13)


ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("notebooks/*.py"), *ROOT.glob("book/*.md")])


def test_every_work_that_a_page_cites_is_in_the_references_once():
    known = re.findall(r"^@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text(), re.M)
    cited = {
        key.strip(): page.name
        for page in PAGES
        for keys in re.findall(r"\{cite:[pt]\}`([^`]+)`", page.read_text())
        for key in keys.split(",")
    }
    assert len(known) == len(set(known)) and len(cited) > 20
    assert {key: page for key, page in cited.items() if key not in known} == {}


def test_the_notes_name_tables_that_are_transcribed():
    notes = re.findall(r"^\| (\w+), ([\d, andto]+) \|", (papers.FOLDER / "README.md").read_text(), re.M)
    named = {(key, int(number)) for key, numbers in notes for number in re.findall(r"\d+", numbers)}
    assert len(named) >= 5 and named <= ROWS.keys()


def test_the_source_does_not_say_how_many_bits_the_inputs_of_table_7_have():
    table_7, table_8 = (papers.table("vieito2017", number) for number in (7, 8))
    assert not any("bits" in column for column in table_7[0])
    [clipped] = [row["accuracy"] for row in table_7 if row["msb"] == 9]
    assert [row["bits"] for row in table_8 if row["accuracy"] == clipped] == [16]
