"""The notebooks as regression tests, and the harness that makes them so."""

import os
from pathlib import Path

import jupytext
import nbformat
import pytest

from fewbits.book.chapter import Chapter, chapters
from fewbits.book.execution import ExecutionError, check, check_parameters, hidden_errors, run
from fewbits.book.results import differences, read_baseline, record, recorded, write_baseline
from fewbits.errors import InputError

ROOT = Path(__file__).parents[2]
EVERY = chapters(ROOT)
each_chapter = pytest.mark.parametrize("chapter", EVERY, ids=[c.name for c in EVERY])


@pytest.mark.chapters
@each_chapter
def test_a_chapter_runs_and_its_results_are_those_of_the_baseline(chapter):
    run(chapter, "smoke")
    assert check(chapter, "smoke") == []


@each_chapter
def test_a_chapter_records_results_in_both_profiles(chapter):
    smoke, quick = (read_baseline(chapter.baseline, profile) for profile in ("smoke", "quick"))
    assert smoke.keys() == quick.keys() and smoke


@each_chapter
def test_a_pair_is_in_sync_and_holds_no_outputs(chapter):
    assert chapter.in_pair(), "run `make sync`"


@each_chapter
def test_visible_code_fits_a_page(chapter):
    for cell in chapter.notebook().cells:
        if cell.cell_type == "code" and not {"hide-input", "hide-cell", "remove-cell"} & set(
            cell.metadata.get("tags", [])
        ):
            assert len(cell.source.splitlines()) <= 14, cell.source
            assert max(map(len, cell.source.splitlines())) <= 79, cell.source


@pytest.mark.parametrize("chapter", [c for c in EVERY if "01" <= c.name < "90"], ids=lambda c: c.name)
def test_a_chapter_has_every_part_a_reader_expects(chapter):
    text = chapter.script.read_text()
    number = int(chapter.name[:2])
    assert f"# # {number} " in text
    for part in ("Predict first", "## What the thesis found", "Why they differ", "## Exercises", "## Run it on yours"):
        assert part in text


@pytest.fixture
def small(tmp_path):
    """Make a small book of one chapter with the given code cells."""

    def make(*cells, parameters='profile = "quick"'):
        for folder in ("notebooks", "lib", "data", "tests"):
            (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / "requirements.lock").touch()
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (parameters, *cells)])
        notebook.cells[0].metadata["tags"] = ["parameters"]
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        jupytext.write(notebook, tmp_path / "notebooks" / "01-small.py", fmt="py:percent")
        return Chapter(tmp_path, "01-small")

    return make


def test_an_unchanged_chapter_is_not_run_again(small):
    chapter = small("1 + 1")
    assert run(chapter, "smoke")
    assert not run(chapter, "smoke")


@pytest.mark.skipif(os.name != "posix", reason="needs sockets that are files")
def test_a_kernel_takes_no_port_that_another_could_take(small):
    chapter = small("from ipykernel.connect import get_connection_info\nimport json\njson.loads(get_connection_info())")
    run(chapter, "smoke")
    [output] = nbformat.read(chapter.executed("smoke"), 4).cells[-1].outputs
    assert "'transport': 'ipc'" in output["data"]["text/plain"]


@pytest.mark.parametrize("changed", ["lib/any.py", "data/table.csv", "requirements.lock", "notebooks/01-small.py"])
def test_a_chapter_depends_on_library_data_lock_and_itself(small, changed):
    chapter = small("1 + 1")
    before = chapter.key("smoke")
    with (chapter.root / changed).open("a") as file:
        file.write("# changed\n")
    assert chapter.key("smoke") != before


def test_a_chapter_does_not_depend_on_prose(small):
    chapter = small("1 + 1")
    before = chapter.key("smoke")
    (chapter.root / "book").mkdir()
    (chapter.root / "book" / "prose.md").write_text("words")
    assert chapter.key("smoke") == before


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("1 / 0", "cell 2 raised ZeroDivisionError"),
        ("import sys; print('careful', file=sys.stderr)", "careful"),
        ("print('WARNING: retracing')", "retracing"),
    ],
)
def test_a_failing_or_complaining_cell_fails_the_run_and_leaves_no_notebook(small, cell, said):
    chapter = small(cell)
    with pytest.raises(ExecutionError, match=said):
        run(chapter, "smoke")
    assert not chapter.executed("smoke").exists()


def test_an_error_in_a_widgets_callback_fails_the_run(small):
    chapter = small(
        "import ipywidgets\n"
        "slider = ipywidgets.IntSlider()\n"
        "shown = ipywidgets.interactive_output(lambda x: 1 / (x - 3), {'x': slider})",
        "slider.value = 3\nshown",
    )
    with pytest.raises(ExecutionError, match="callback raised ZeroDivisionError"):
        run(chapter, "smoke")


def test_a_notebook_without_the_parameter_profile_is_refused(small):
    with pytest.raises(InputError, match="no parameter 'profile'; it has speed"):
        run(small(parameters="speed = 1"), "smoke")


def test_an_unknown_parameter_is_refused_by_name(small, tmp_path):
    nbformat.write(small().notebook(), tmp_path / "source.ipynb")
    with pytest.raises(InputError, match="no parameter 'profil'"):
        check_parameters(tmp_path / "source.ipynb", {"profil": "quick"})


def test_recorded_results_come_back_from_the_executed_notebook(small):
    chapter = small("from fewbits.book import record\nrecord(codes=256)\nrecord(within=0.1, share=0.5)")
    run(chapter, "smoke")
    results = recorded(nbformat.read(chapter.executed("smoke"), 4))
    assert results == {"codes": {"value": 256, "within": None}, "share": {"value": 0.5, "within": 0.1}}


@pytest.mark.parametrize(("profile", "band"), [("smoke", 0.6), ("quick", 0.05)])
def test_a_result_has_the_band_of_the_active_profile(small, profile, band):
    chapter = small(
        "from fewbits.book import record\nrecord(within={'smoke': 0.6, 'quick': 0.05}, share=0.5)\n"
        "record(within=0.2, other=1.0)"
    )
    run(chapter, profile)
    results = recorded(nbformat.read(chapter.executed(profile), 4))
    assert results == {"share": {"value": 0.5, "within": band}, "other": {"value": 1.0, "within": 0.2}}


def test_a_profile_without_a_band_takes_that_of_quick_or_is_refused(monkeypatch):
    monkeypatch.setenv("FEWBITS_PROFILE", "full")
    record(within={"smoke": 0.6, "quick": 0.05}, share=0.5)
    with pytest.raises(InputError, match="no band for the profile full"):
        record(within={"smoke": 0.6}, share=0.5)


EXACT, BANDED = {"value": 3, "within": None}, {"value": 0.9, "within": 0.05}


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ({"a": EXACT, "b": BANDED}, []),
        ({"a": EXACT, "b": {"value": 0.86, "within": 0.05}}, []),
        ({"a": {"value": 4, "within": None}, "b": BANDED}, ["a is 4; its baseline is 3"]),
        ({"a": EXACT, "b": {"value": 0.84, "within": 0.05}}, ["b is 0.84; its baseline is 0.9 within 0.05"]),
        ({"a": EXACT, "b": {"value": 0.9, "within": 0.5}}, ["b has a band of 0.5; its baseline has 0.05"]),
        ({"a": EXACT}, ["b is in the baseline but was not recorded"]),
        ({"a": EXACT, "b": BANDED, "c": EXACT}, ["c was recorded but has no baseline"]),
    ],
)
def test_results_are_held_against_the_baseline(results, said):
    assert differences(results, {"a": EXACT, "b": BANDED}) == said


def test_a_baseline_keeps_its_other_profile_and_needs_a_reason(tmp_path):
    path = tmp_path / "baselines" / "01.json"
    write_baseline(path, "smoke", {"a": EXACT}, "first")
    write_baseline(path, "quick", {"b": BANDED}, "second")
    assert read_baseline(path, "smoke") == {"a": EXACT} and read_baseline(path, "quick") == {"b": BANDED}
    with pytest.raises(InputError, match="REASON"):
        write_baseline(path, "smoke", {}, " ")


def test_an_executed_notebook_holds_no_path_of_this_machine(small):
    chapter = small("1 + 1")
    run(chapter, "smoke")
    text = chapter.executed("smoke").read_text()
    assert str(ROOT) not in text and str(Path.home()) + "/" not in text and str(chapter.root) not in text


def test_an_unknown_chapter_is_refused_with_those_that_exist():
    with pytest.raises(InputError, match="no chapter begins with '99'; there are 00-"):
        chapters(ROOT, ["99"])


def test_hidden_errors_are_none_in_a_clean_notebook():
    assert hidden_errors(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("words")])) == []
