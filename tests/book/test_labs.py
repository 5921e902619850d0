"""Each lab: with gaps it stops at a check that says so, and with the solutions it passes."""

import subprocess
import sys
from pathlib import Path

import pytest

from fewbits.book.lab_notebooks import Lab, find_labs
from fewbits.errors import InputError

ROOT = Path(__file__).parents[2]
EVERY = find_labs(ROOT)
OF_CHAPTERS = [lab for lab in EVERY if lab.name != "20-capstone"]  # which tests/labs/test_capstone.py rehearses
every_lab = pytest.mark.parametrize("lab", EVERY, ids=[lab.name for lab in EVERY])
each_lab = pytest.mark.parametrize("lab", OF_CHAPTERS, ids=[lab.name for lab in OF_CHAPTERS])


@each_lab
def test_every_gap_is_found_open_and_its_solution_passes(lab, capsys):
    gaps = lab.gaps()
    assert 3 <= len(gaps) <= 5
    assert lab.rehearse() == gaps
    assert [f"passed: {gap}" for gap in gaps] == [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("passed: ")
    ]


@every_lab
def test_a_pair_is_in_sync_and_its_code_fits_a_page(lab):
    assert lab.in_pair(), "run `make sync`"
    for cell in lab.notebook().cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 14, cell.source
            assert max(map(len, cell.source.splitlines())) <= 79, cell.source


@each_lab
def test_a_lab_has_every_part_a_reader_expects_and_is_listed(lab):
    text = lab.script.read_text()
    number = int(lab.name[:2])
    assert f"# # Lab {number}: " in text
    for part in ("**Time**", "**You need**", "**Goals**", "## An open question"):
        assert part in text
    assert f"labs/{lab.name}" in (ROOT / "book" / "labs.md").read_text()
    [chapter] = (ROOT / "notebooks").glob(f"{lab.name[:2]}-*.py")
    assert f"labs/{lab.name}.py" in chapter.read_text()


LAB = '''
from fewbits.labs import Case, check_cases, equals

def double(x):
    """Return twice x."""
    ...

check_cases(double, [Case((3,), equals(6), "Twice.")])
'''


@pytest.fixture
def small(tmp_path):
    def make(solution, text=LAB):
        (tmp_path / "notebooks/labs/solutions").mkdir(parents=True)
        lab = Lab(tmp_path, "01-small")
        lab.script.write_text(text)
        lab.solution.write_text(solution)
        return lab

    return make


def test_a_lab_is_rehearsed(small):
    lab = small("def double(x):\n    return 2 * x\n")
    assert lab.gaps() == lab.rehearse() == ["double"]


def test_a_wrong_solution_fails(small):
    with pytest.raises(InputError, match=r"double\(x=3\) returns 9\. Twice"):
        small("def double(x):\n    return x * x\n").rehearse()


def test_a_solution_without_a_gap_is_refused(small):
    with pytest.raises(InputError, match="must hold the functions double"):
        small("def triple(x):\n    return 3 * x\n").rehearse()


def test_a_gap_that_no_check_finds_is_not_reported(small):
    lab = small("def double(x):\n    return 2 * x\n", LAB.partition("check_cases(double")[0])
    assert lab.gaps() == ["double"] and lab.rehearse() == []


def test_a_script_with_gaps_fails_and_says_which_one(small):
    done = subprocess.run([sys.executable, small("").script], capture_output=True, text=True)
    assert done.returncode == 1 and "double is not done yet" in done.stderr
