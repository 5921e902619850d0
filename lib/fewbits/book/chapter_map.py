"""The map of chapters: which chapter needs which, as the chapters themselves say below their titles."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from fewbits.book.chapter import Chapter, chapters

# Chapter -> column and row on the map, and a word.
_PLACES = {
    1: (1, 0, "fixed point"),
    2: (4, 0, "counting"),
    3: (1, 1, "percentiles"),
    11: (3, 1, "SqueezeNet"),
    14: (4, 1, "pruning"),
    12: (5, 1, "MobileNet"),
    4: (1, 2, "layers"),
    9: (0, 3, "lock, train"),
    5: (2, 3, "SQNR"),
    16: (5, 3, "integers"),
    8: (1, 4, "quantizers"),
    6: (2, 4, "two theses"),
    13: (3, 4, "transfer"),
    15: (4, 4, "prune + bits"),
    18: (5, 4, "Pareto"),
    17: (6, 4, "in gates"),
    10: (0, 5, "few bits"),
    7: (2, 5, "repairs"),
    19: (3, 5, "places"),
}
_COLUMN, _ROW, _WIDTH, _HEIGHT = 90, 84, 82, 48  # units of the drawing


def map_of(root: Path) -> str:
    """Draw the map of a book's chapters.

    Args:
        root: The top folder of the book.

    Returns:
        An SVG.
    """
    every = {int(chapter.name[:2]): chapter for chapter in chapters(root)}
    return map_svg({number: chapter_needs(every[number]) for number in sorted(_PLACES)})


def chapter_needs(chapter: Chapter) -> list[int]:
    """Return the numbers of the chapters that a chapter names as what it needs."""
    stated = re.search(r"^\*Reading time: .*? Needs: (.*?)\*$", chapter.notebook().cells[0].source, re.M | re.S)
    return [int(number) for number in re.findall(r"\[chapter\s+(\d+)\]", stated[1])] if stated else []


def direct_needs(needs: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """Leave out what a chapter needs by way of another one.

    Args:
        needs: Chapter -> the earlier chapters that it needs.

    Example:
        >>> direct_needs({1: [], 3: [1], 4: [1, 3]})
        {1: [], 3: [1], 4: [3]}
    """

    def reached(chapter: int) -> set[int]:
        return {before for each in needs[chapter] for before in (each, *reached(each))}

    return {
        chapter: [each for each in before if not any(each in reached(other) for other in before)]
        for chapter, before in needs.items()
    }


def map_svg(needs: Mapping[int, Sequence[int]]) -> str:
    """Draw the map: an arrow leads from each chapter to those that build on it directly.

    Args:
        needs: Chapter -> the earlier chapters that it needs.

    Returns:
        An SVG that is readable on light and on dark ground.
    """
    direct = direct_needs(needs)
    arrows = [_arrow(before, chapter) for chapter, each in direct.items() for before in each]
    width = _COLUMN * (1 + max(column for column, _, _ in _PLACES.values()))
    height = _ROW * max(row for _, row, _ in _PLACES.values()) + _HEIGHT + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" text-anchor="middle" fill="#fff">',
        "<title>Which chapter needs which</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#888"/></marker></defs>',
        *(f'<path d="{arrow}" fill="none" stroke="#888" stroke-width="2" marker-end="url(#tip)"/>' for arrow in arrows),
        *(_box(chapter) for chapter in sorted(needs)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _corner(chapter: int) -> tuple[int, int]:
    column, row, _ = _PLACES[chapter]
    return column * _COLUMN + (_COLUMN - _WIDTH) // 2, row * _ROW + 4


def _arrow(start: int, end: int) -> str:
    (x, y), (to_x, to_y) = _corner(start), _corner(end)
    x, to_x, y = x + _WIDTH // 2, to_x + _WIDTH // 2, y + _HEIGHT
    bend = _ROW // 3
    return f"M{x} {y}C{x} {y + bend} {to_x} {to_y - bend} {to_x} {to_y}"


def _box(chapter: int) -> str:
    x, y = _corner(chapter)
    middle = x + _WIDTH // 2
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="7" fill="#1c5a8a"/>'
        f'<text x="{middle}" y="{y + 20}" font-size="17" font-weight="bold">{chapter}</text>'
        f'<text x="{middle}" y="{y + 38}" font-size="14">{escape(_PLACES[chapter][2])}</text>'
    )
