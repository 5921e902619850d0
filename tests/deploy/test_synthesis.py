"""Logic as cells: what can be counted by hand, the stored prices made again, and a machine without Yosys."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
from amaranth.hdl import signed

from fewbits.deploy.hardware import logic_module, lookup_tables, synthesis, synthesize
from fewbits.errors import InputError

REFERENCE = Path(__file__).parents[2] / "data/reference"
needs_yosys = pytest.mark.skipif(not shutil.which("yosys"), reason="Yosys is not installed")


@needs_yosys
def test_gates_that_can_be_counted_by_hand():
    makes = [lambda a, b: a & b, lambda a, b: a ^ b, lambda a, b: ~a, lambda a, b: a]
    found = synthesize([logic_module(make, (4, 4)) for make in makes], ["gates"])
    assert [each["cells"] for each in found] == [4, 4, 4, 0]
    assert [each["flip_flops"] for each in found] == [4] * 4


@needs_yosys
def test_lookup_tables_that_can_be_counted_by_hand():
    assert lookup_tables(lambda a: a[2:6], 8) == 0
    assert lookup_tables(lambda a: a.all(), 4) == 1
    assert lookup_tables(lambda a: a.xor(), 16) == 5  # four of four, and one of those
    assert 8 <= lookup_tables(lambda a, b: a + b, signed(8), signed(8)) <= 10


@needs_yosys
def test_the_stored_prices_come_out_again(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(REFERENCE), *sys.path])
    spec = importlib.util.spec_from_file_location("gates", REFERENCE / "gates.py")
    gates = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gates)
    stored = json.loads((REFERENCE / "gates.json").read_text())
    if gates.versions() != {name: stored["run"][name] for name in ("yosys", "amaranth")}:
        pytest.skip("the prices are stored for another version of Yosys or Amaranth")
    parts = list(gates.parts_for(4))[:4]
    made = [{"bits": 4} | part.name | found for part, found in zip(parts, gates.synthesized(parts), strict=True)]
    assert all(row in stored["parts"] for row in made)


def test_without_yosys_it_says_so(monkeypatch):
    monkeypatch.setattr(synthesis.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="there is no yosys; install it to count gates"):
        lookup_tables(lambda a: a, 4)
