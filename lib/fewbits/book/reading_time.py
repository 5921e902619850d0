"""How long a chapter takes to read, from its words, its lines of code, its figures and its questions."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

WORDS_PER_MINUTE = 230.0
LINES_PER_MINUTE = 20.0
MINUTES_PER_FIGURE = 0.75
MINUTES_PER_QUESTION = 0.75

SECOND_READING = "*For a second reading.*"
"""The first line of a section that a reader may leave out at first, with the sections below it."""

FOLDED = frozenset({"hide-input", "hide-cell", "remove-cell", "remove-input"})
"""Tags of cells whose code the page does not show."""

_FENCE = re.compile(r"^```(?!\{).*?^```", re.M | re.S)  # of code; boxes such as {admonition} are prose
_EQUATION = re.compile(r"\$\$.*?\$\$", re.S)
_HEADING = re.compile(r"^(?=#{1,6} )", re.M)
_WORD = re.compile(r"\w[\w.,'-]*")


class ReadingTime(NamedTuple):
    """How long a chapter takes to read, without its exercises and what follows them.

    Attributes:
        minutes: For all sections but those for a second reading.
        second: For those, in minutes.
    """

    minutes: float
    second: float


def time_to_read(notebook: Any) -> ReadingTime:
    """Estimate the time for a chapter at a steady pace; folded code takes none.

    Args:
        notebook: The chapter, as `Chapter.notebook` or `nbformat.read` returns it.

    Source:
        Brysbaert, M. (2019). How many words do we read per minute? Journal of Memory and Language 109. (Its 238 words
        are for prose; the pace of code is our guess.)
    """
    minutes = {False: 0.0, True: 0.0}
    number = ""
    for cell, text, second in _parts(notebook):
        title = re.match(r"# (\d+) ", text)
        number = title[1] if title else number
        minutes[second] += _of_prose(text) if cell.cell_type == "markdown" else _of_code(cell, number)
    return ReadingTime(minutes[False], minutes[True])


def count_words(markdown: str) -> int:
    """Count the words of prose, without fenced code and equations on lines of their own.

    Example:
        >>> count_words("A *network* with 3 layers.")
        5
    """
    return len(_WORD.findall(_EQUATION.sub("", _FENCE.sub("", markdown))))


def _parts(notebook: Any) -> Iterator[tuple[Any, str, bool]]:
    """Yield each cell with its text, markdown section by section, and whether that is for a second reading."""
    marked: int | None = None  # the level of the heading that is marked
    for cell in notebook.cells:
        prose = cell.cell_type == "markdown"
        for text in _HEADING.split(_FENCE.sub("", cell.source)) if prose else [cell.source]:
            level = len(text) - len(text.lstrip("#")) if prose else 0
            if level and text.lstrip("# ").startswith("Exercises\n"):
                return
            if level and (marked is None or level <= marked):
                marked = level if SECOND_READING in text else None
            yield cell, text, marked is not None


def _of_prose(text: str) -> float:
    return count_words(text) / WORDS_PER_MINUTE


def _of_code(cell: Any, number: str) -> float:
    folded = bool(FOLDED & set(cell.metadata.get("tags", [])))
    lines = 0 if folded else sum(bool(line.strip()) for line in cell.source.splitlines())
    figures = len(set(re.findall(rf'"{number}\.\d+"', cell.source)))  # their labels, such as "3.1" in chapter 3
    asked = cell.source.count("questions.ask(")
    return lines / LINES_PER_MINUTE + figures * MINUTES_PER_FIGURE + asked * MINUTES_PER_QUESTION
