"""The examples in the library's docstrings are right."""

import doctest
import importlib
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "lib"
MODULES = sorted(
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__")
    for path in (LIBRARY / "fewbits").rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_right(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for examples that write files
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert tried and not failed
