"""The reading time that a chapter states is the one that its words, code, figures and questions take."""

import re
from pathlib import Path

import nbformat.v4 as nb
import pytest

from fewbits.book.chapter import chapters
from fewbits.book.reading_time import SECOND_READING, WORDS_PER_MINUTE, count_words, time_to_read

ROOT = Path(__file__).parents[2]
CHAPTERS = [c for c in chapters(ROOT) if "01" <= c.name[:2] < "90"]
STATED = re.compile(
    r"^# \d+ [^\n]*\n\n\*Reading time: (\d+) minutes"
    r"(?:, and (\d+) for what is marked for a second reading)?\. Needs: (.*?)\.\*\n\n",
    re.S,
)
MOST = 40  # minutes of a chapter
SLACK = 4  # a stated time is a multiple of five; small edits need not change it


def notebook(*cells):
    return nb.new_notebook(cells=list(cells))


def minutes(*cells):
    return time_to_read(notebook(*cells)).minutes


def prose(words):
    return "word " * words


def code(source, *tags):
    return nb.new_code_cell(source, metadata={"tags": list(tags)})


def test_words_are_counted_without_code_and_equations():
    assert count_words("Two words.\n\n```python\nthree = more + words\n```\n\n$$a + b = c$$\n") == 2
    assert count_words("```{admonition} Predict first\n:class: tip\nBoxes count.\n```") > 3


def test_time_grows_with_words_lines_figures_and_questions():
    title = nb.new_markdown_cell("# 3 Title")
    alone = minutes(title)
    assert minutes(title, nb.new_markdown_cell(prose(230))) == pytest.approx(alone + 230 / WORDS_PER_MINUTE)
    shown, folded = code("a = 1\n\nb = 2"), code("a = 1\nb = 2", "hide-input")
    line = minutes(title, code("a = 1")) - alone
    assert line > 0 and minutes(title, shown) == pytest.approx(alone + 2 * line)
    assert minutes(title, folded) == alone
    figures = [
        minutes(title, code(f'draw({labels}, "0.5")', "hide-input")) - alone for labels in ('"3.1"', '"3.1", "3.2"')
    ]
    assert figures[1] == pytest.approx(2 * figures[0]) and figures[0] > 0
    assert minutes(title, code("questions.ask(1)", "hide-input")) > alone


def test_exercises_and_what_follows_take_no_time():
    cells = [nb.new_markdown_cell(f"# 3 Title\n\n{prose(100)}\n\n## Exercises\n\n{prose(500)}"), code("a = 1")]
    assert minutes(*cells) == minutes(nb.new_markdown_cell(f"# 3 Title\n\n{prose(100)}"))


def test_a_section_for_a_second_reading_ends_at_the_next_heading_of_its_level():
    marked = f"## B\n\n{SECOND_READING}\n\n{prose(230)}\n\n### C\n\n{prose(230)}"
    cells = (
        nb.new_markdown_cell(f"# 3 Title\n\n## A\n\n{marked}"),
        code("a = 1"),
        nb.new_markdown_cell("## D\n\nword"),
    )
    found = time_to_read(notebook(*cells))
    assert found.second == pytest.approx(
        (460 + 5 + minutes(code("a = 1")) * WORDS_PER_MINUTE) / WORDS_PER_MINUTE, abs=0.02
    )
    assert found.minutes < 0.05
    fenced = "```shell\n# no heading\n```\n\n"
    assert time_to_read(notebook(nb.new_markdown_cell(f"{marked}\n\n{fenced}{prose(230)}"))).minutes == 0


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.name)
def test_a_chapter_states_its_time_and_what_it_needs(chapter):
    stated = STATED.match(chapter.notebook().cells[0].source)
    assert stated, "after the title: *Reading time: 15 minutes. Needs: ....*"
    found = time_to_read(chapter.notebook())
    first, second, needs = int(stated[1]), int(stated[2] or 0), stated[3]
    assert first % 5 == second % 5 == 0 and first <= MOST
    assert abs(first - found.minutes) <= SLACK, f"it is {found.minutes:.0f} minutes"
    assert abs(second - found.second) <= SLACK, f"for a second reading it is {found.second:.0f} minutes"
    for n, target in re.findall(r"\[chapter\s+(\d+)\]\(([^)]+)\)", needs):
        assert target[:2] == f"{int(n):02d}" < chapter.name and (ROOT / "notebooks" / f"{target}.py").exists()
