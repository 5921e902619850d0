"""The coverage of the five works: all their tables and figures, and what the chapters really name."""

import re
from pathlib import Path

import pytest

from fewbits.book import papers
from fewbits.book.coverage import EXTENTS, coverage_page, expanded, read_coverage

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
COUNTS = {  # counted in the texts of the works: captions, and numbers that the text names
    "vieito2017": (13, 25),
    "backstrom2018": (13, 20),
    "chiang2017": (3, 23),
    "chernis": (2, 0),
    "gaikwad2018": (5, 70),
}
WORKS = read_coverage()


def text_of(chapter):
    return (NOTEBOOKS / f"{chapter}.py").read_text().replace("\n# ", " ")  # prose goes on in the next line


def named(text, kind):
    """Return the numbers that follow the words `Table` and `Tables`, or `Figure` and `Figures`, ranges expanded."""
    found = set()
    for words in re.findall(rf"{kind}s? (\d[\d.]*(?:(?:, and |, | and | to )\d[\d.]*)*)", text):
        words = re.sub(r"(\d[\d.]*) to (\d[\d.]*)", r"\1-\2", words)
        found.update(expanded([word.rstrip(".") for word in re.findall(r"[\d.]+(?:-[\d.]+)?", words)]))
    return found


@pytest.mark.parametrize("key", COUNTS)
def test_every_table_and_figure_is_listed_once(key):
    for kind, count in zip(("tables", "figures"), COUNTS[key]):
        numbers = [number for entry in WORKS[key][kind] for number in expanded(entry["numbers"])]
        assert len(numbers) == len(set(numbers)) == count
    assert WORKS.keys() == COUNTS.keys()


@pytest.mark.parametrize("key", COUNTS)
def test_each_entry_has_chapters_that_name_it_or_a_reason(key):
    for kind in ("tables", "figures"):
        for entry in WORKS[key][kind]:
            assert bool(entry.get("chapters")) != bool(entry.get("why"))
            for chapter in entry.get("chapters", ()):
                text = text_of(chapter)
                read = {str(int(n)) for n in re.findall(rf'"{key}", (\d+)', text)}
                read |= {f"{int(n) // 100}.{int(n) % 100}" for n in read if int(n) > 100}
                missing = set(expanded(entry["numbers"])) - named(text, kind[:-1].title()) - read
                assert not missing, (chapter, kind, missing)


def test_each_table_that_a_chapter_reads_is_listed_with_a_chapter():
    listed = {
        (key, number)
        for key, work in WORKS.items()
        for entry in work["tables"]
        if "chapters" in entry
        for number in expanded(entry["numbers"])
    }
    for path in papers.FOLDER.glob("*/table-*.csv"):
        number = int(path.stem[6:])
        printed = f"{number // 100}.{number % 100}" if number > 100 else str(number)
        assert (path.parent.name, printed) in listed


def wrong_extents(works):
    """Return the entries with an unknown extent, or with chapters and no extent, or the other way round."""
    return [
        (key, kind, entry["numbers"])
        for key, work in works.items()
        for kind, entries in work.items()
        for entry in entries
        if ("extent" in entry) != ("chapters" in entry) or entry.get("extent", "part") not in EXTENTS
    ]


def test_each_entry_with_chapters_says_how_far_they_go_and_no_other_does():
    assert wrong_extents(WORKS) == []
    assert set(EXTENTS) == {e["extent"] for w in WORKS.values() for part in w.values() for e in part if "extent" in e}


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ({"chapters": ["01-a"], "extent": "part"}, False),
        ({"why": "a drawing"}, False),
        ({"chapters": ["01-a"], "extent": "mostly"}, True),
        ({"chapters": ["01-a"]}, True),
        ({"why": "a drawing", "extent": "part"}, True),
    ],
)
def test_an_extent_that_is_unknown_missing_or_without_chapters_is_found(entry, wrong):
    found = wrong_extents({"a": {"tables": [{"numbers": ["1"], **entry}]}})
    assert found == ([("a", "tables", ["1"])] if wrong else [])


def test_the_page_counts_by_extent_and_says_what_the_words_mean():
    page = coverage_page()
    assert "| {cite:t}`chernis` | tables | 1 | 1 | 0 | 0 |" in page
    assert "`chernis` | figures" not in page  # it has none
    assert all(meaning in page for meaning in EXTENTS.values())
    counts = re.findall(r"^\| \{cite:t\}`(\w+)` \| (\w+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", page, re.M)
    sums = {(key, kind): sum(map(int, numbers)) for key, kind, *numbers in counts}
    assert sums == {(key, k): n for key, both in COUNTS.items() for k, n in zip(("tables", "figures"), both) if n}


def test_a_line_of_the_page_shows_its_extent():
    lines = coverage_page().splitlines()
    [line] = [line for line in lines if line.startswith("| Table 5 | accuracy over the bits of weights")]
    assert line.split(" | ")[2] == "reproduced" and "[](../notebooks/06-two-theses)" in line
    [line] = [line for line in lines if line.startswith("| Figure 1 to 12 ")]
    assert line.split(" | ")[2:] == ["not", "drawings without results |"]
