"""The page that says what a build is made of."""

import re

import nbformat
import pytest

from fewbits.book import reference
from fewbits.book.chapter import Chapter
from fewbits.book.execution import versions
from fewbits.book.results import write_baseline
from fewbits.book.status import agreement, status_page


@pytest.fixture
def chapter(tmp_path):
    """Make an executed chapter that recorded some results, with a baseline of them."""

    def make(name, results, baseline, **run):
        outputs = [
            nbformat.v4.new_output("display_data", metadata={"scrapbook": {"name": key}, "fewbits": result})
            for key, result in results.items()
        ]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=outputs)])
        notebook.metadata["fewbits"] = {"date": "2026-01-02", "seconds": 1.0, "versions": {}, **run}
        chapter = Chapter(tmp_path, name)
        chapter.executed("quick").parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, chapter.executed("quick"))
        write_baseline(chapter.baseline, "quick", baseline, "a test")
        return chapter

    return make


def value(number, within=None):
    return {"value": number, "within": within}


@pytest.mark.parametrize(
    ("results", "baseline", "counts"),
    [
        ({"a": value(1), "b": value(0.5, 0.1)}, {"a": value(1), "b": value(0.55, 0.1)}, (2, 2)),
        ({"a": value(2), "b": value(0.5, 0.1)}, {"a": value(1), "b": value(0.75, 0.1)}, (0, 2)),
        ({"a": value(1)}, {"a": value(1), "b": value(1)}, (1, 2)),
        ({"a": value(1), "c": value(1)}, {"a": value(1)}, (1, 2)),
    ],
)
def test_results_that_agree_are_counted(chapter, results, baseline, counts):
    made = chapter("01-one", results, baseline)
    assert agreement(made, nbformat.read(made.executed("quick"), 4), "quick") == counts


def test_the_page_tells_each_chapter_and_the_sums(chapter):
    one = chapter("01-one", {"a": value(1)}, {"a": value(1)}, seconds=12.4, versions={"Python": "3.11.9", "keras": "3"})
    two = chapter("02-two", {"a": value(1)}, {"a": value(2)}, seconds=20.4, versions={"Python": "3.12.0", "keras": "3"})
    page = status_page([one, two], "quick")
    assert "| [](../notebooks/01-one) | 2026-01-02 | 12 | 1 of 1 |" in page
    assert "| [](../notebooks/02-two) | 2026-01-02 | 20 | 0 of 1 |" in page
    assert "| **all** | | **33** | **1 of 2** |" in page
    assert "| Python | 3.11.9, 3.12.0 |" in page and "| keras | 3 |" in page


def test_the_page_lists_the_trials_without_a_record(chapter, monkeypatch, tmp_path):
    made = chapter("01-one", {}, {})
    (tmp_path / "trials").mkdir()
    (tmp_path / "grids.toml").write_text(
        '[common]\nnetwork = "lenet"\ndata = "digits"\nepochs = 1\nlearning_rate = 0.1\n'
        '[[grid]]\nname = "two"\nvary = { seed = [1, 2] }\n'
        '[[grid]]\nname = "again"\nfixed = { seed = 2 }\n'
    )
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    [grid, _] = reference.grids()
    page = status_page([made], "quick")
    assert "2 of the trials" in page and page.count("| not run | - |") == 2
    assert all(f"| two | {trial.name} | not run | - |" in page for trial in grid.trials)
    monkeypatch.setattr(reference, "missing", dict)
    assert "has been run" in status_page([made], "quick") and "not run" not in status_page([made], "quick")


def test_the_versions_are_those_of_this_environment():
    found = versions()
    assert {"Python", "fewbits", "keras", "numpy"} <= set(found) and {"tensorflow", "tensorflow-cpu"} & set(found)
    assert all(re.match(r"\d+\.\d", version) for version in found.values())
