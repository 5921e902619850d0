"""The names of this library in the table of equivalents exist, and the table is whole."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book" / "equivalents.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
HEAD, *BODY = ROWS
OURS = sorted(set(re.findall(r"`(fewbits\.[\w.]+)`", PAGE)))


@pytest.mark.parametrize("name", OURS)
def test_a_name_of_ours_exists(name):
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


def test_imports_of_the_examples_exist():
    lines = re.findall(r"^from (fewbits[\w.]*) import ([\w, ]+)$", PAGE, re.M)
    assert lines
    for module, names in lines:
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_every_row_has_all_columns_and_names_something_of_ours_or_says_nothing():
    assert HEAD[:3] == ["idea", "chapter", "fewbits"] and len(BODY) > 15 and len(OURS) > 15
    for row in BODY:
        assert len(row) == len(HEAD), row[0]
        assert 1 <= int(row[1]) <= 17
        assert row[2].startswith("`fewbits.") or row[0] == "zero point"
