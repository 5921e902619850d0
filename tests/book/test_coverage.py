"""The coverage of the five works: all their tables and figures, and what the chapters really name."""

import re
from pathlib import Path

import pytest

from fewbits.book import papers
from fewbits.book.coverage import coverage_page, expanded, read_coverage

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
    return (NOTEBOOKS / f"{chapter}.py").read_text()


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
            assert ("chapters" in entry) != ("why" in entry)
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


def test_the_page_counts_what_is_used():
    assert "| {cite:t}`chernis` | 2 of 2 | 0 of 0 |" in coverage_page()
