"""Chapters run side by side: all of them, the longest first, and none after Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import pytest

from fewbits.book import parallel
from fewbits.book.chapter import chapters
from fewbits.errors import InputError


@pytest.fixture
def book(tmp_path):
    """Make a small book of chapters with one code cell each."""

    def make(**cells):
        for folder in ("notebooks", "lib", "data", "tests"):
            (tmp_path / folder).mkdir()
        (tmp_path / "requirements.lock").touch()
        for name, cell in cells.items():
            parameters = nbformat.v4.new_code_cell('profile = "quick"', metadata={"tags": ["parameters"]})
            notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(cell)])
            notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
            jupytext.write(
                notebook, tmp_path / "notebooks" / f"{name.removeprefix('c')}.py".replace("_", "-"), fmt="py:percent"
            )
        return chapters(tmp_path)

    return make


MEET = """
import pathlib, time
pathlib.Path("{mine}").touch()
end = time.monotonic() + 60
while not pathlib.Path("{other}").exists():
    assert time.monotonic() < end, "alone"
    time.sleep(0.1)
"""


def test_two_chapters_run_at_the_same_time(book, capsys):
    both = book(c01_a=MEET.format(mine="a", other="b"), c02_b=MEET.format(mine="b", other="a"))
    assert parallel.run_chapters(both, "smoke", workers=2) == {}
    assert all(chapter.executed("smoke").exists() for chapter in both)
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines[:2]) == ["01-a ...", "02-b ..."] and lines[-1].endswith("s (2 of 2 done)")
    assert parallel.run_chapters(both, "smoke", workers=2) == {}
    assert capsys.readouterr().out == "2 of 2 chapters unchanged\n"


def test_a_failing_chapter_is_named_and_the_others_go_on(book, capsys):
    first, second, third = book(c01_a="1 / 0", c02_b="1 + 1", c03_c="import os; os._exit(3)")
    failed = parallel.run_chapters([first, second, third], "smoke", workers=1)
    assert failed.keys() == {first, third} and second.executed("smoke").exists()
    assert failed[first].startswith("01-a: cell 2 raised ZeroDivisionError")
    assert failed[third].startswith("03-c: DeadKernelError")
    assert "01-a failed after" in capsys.readouterr().out


def test_the_command_reports_every_failure_and_exits_with_1(book):
    root = book(c01_a="1 / 0", c02_b="[][0]")[0].root
    command = [sys.executable, "-m", "fewbits.book", "execute", "--profile", "smoke", "--workers", "1"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: 2 chapters failed:" in done.stderr and "ZeroDivisionError" in done.stderr
    assert "IndexError" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_kernels_too(book, tmp_path, sent):
    cell = "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)"
    root = book(c13_first=cell, c90_last="1 + 1")[0].root
    command = [sys.executable, "-m", "fewbits.book", "execute", "--profile", "smoke", "--workers", "1"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for((root / "pid").exists, 120)
        wait_for((root / "pid").read_text, 10)
        process.send_signal(sent)  # to the parent alone: it tells its workers
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "stopped; chapters that had ended are kept\n" in said
    wait_for(lambda: not Path("/proc", (root / "pid").read_text()).exists(), 20)
    assert not list((root / "_build").rglob("*.ipynb"))


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_longest_chapter_starts_first(book, monkeypatch):
    every = book(c01_a="1", c02_b="1", c08_c="1", c99_d="1")
    names = [c.name for c in parallel.by_length(every, "smoke")]
    assert names == ["99-d", "08-c", "02-b", "01-a"]  # one that nobody has listed might be the longest
    seconds = {"01-a": 5.0, "02-b": 1.0, "08-c": 3.0}
    monkeypatch.setattr(parallel, "last_seconds", lambda chapter, profile: seconds.get(chapter.name))
    expected = parallel.by_length(every, "smoke")
    assert [c.name for c in expected] == ["99-d", "01-a", "08-c", "02-b"]
    assert list(expected.values()) == [parallel.UNKNOWN_SECONDS, 5, 3, 1]


def test_every_chapter_has_its_place_in_the_first_order():
    every = chapters(Path(__file__).parents[2])
    assert sorted(parallel.LONGEST_FIRST) == [chapter.name[:2] for chapter in every]


def test_the_number_of_kernels_fits_cores_and_memory(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 64)
    pages = {"SC_PAGE_SIZE": 4096}
    for gigabytes, workers in ((2, 1), (8, 1), (16, 2), (512, 2)):
        pages["SC_PHYS_PAGES"] = int(gigabytes * 1e9) // 4096
        monkeypatch.setattr(os, "sysconf", pages.__getitem__)
        assert parallel.default_workers() == workers
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    assert parallel.default_workers() == 1


def test_no_workers_are_refused(book):
    with pytest.raises(InputError, match="0 chapters cannot run at a time; give --workers 1 or more"):
        parallel.run_chapters(book(c01_a="1"), "smoke", workers=0)
