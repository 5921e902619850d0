"""The names of this library in the table of equivalents exist, and the table is whole."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book" / "equivalents.md").read_text()


def table(head):
    """Return the rows of the table whose head begins so."""
    lines = PAGE[PAGE.index(head) :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in [lines[0], *lines[2:]]]


FIRST, SECOND = table("| idea | chapter |"), table("| idea | HGQ |")
OURS = [name for _, _, cell, *_ in FIRST[1:] for name in re.findall(r"^`([\w.]+)`", cell)]


@pytest.mark.parametrize("name", OURS)
def test_a_name_of_ours_exists(name):
    module, _, attribute = f"fewbits.{name}".rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


def test_imports_of_the_examples_exist():
    lines = re.findall(r"^from (fewbits[\w.]*) import ([\w, ]+)$", PAGE, re.M)
    assert lines
    for module, names in lines:
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_every_row_has_all_columns_and_a_name_of_ours():
    for head, *rows in (FIRST, SECOND):
        assert len(rows) > 10 and {len(row) for row in rows} == {len(head)}
    assert len(OURS) == len(FIRST) - 2  # without the head, and this library has no zero points
    assert all(1 <= int(chapter) <= 18 for _, chapter, *_ in FIRST[1:])
    assert {row[0] for row in SECOND[1:]} <= {row[0] for row in FIRST[1:]}
