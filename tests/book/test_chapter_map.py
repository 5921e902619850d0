"""The map of chapters says what the chapters say."""

import re
import xml.etree.ElementTree as xml
from pathlib import Path

from fewbits.book.chapter import chapters
from fewbits.book.chapter_map import chapter_needs, direct_needs, map_of

ROOT = Path(__file__).parents[2]
NEEDS = {int(c.name[:2]): chapter_needs(c) for c in chapters(ROOT) if "01" <= c.name[:2] < "90"}


def test_a_chapter_needs_earlier_ones_in_order():
    assert sum(map(len, NEEDS.values())) > 20  # the reader of the lines works
    for chapter, needed in NEEDS.items():
        assert needed == sorted(set(needed)) and all(before < chapter for before in needed)


def test_what_follows_by_way_of_another_chapter_is_not_drawn():
    assert direct_needs({1: [], 2: [1], 3: [], 4: [1, 2, 3]}) == {1: [], 2: [1], 3: [], 4: [2, 3]}


def test_the_drawing_is_that_of_the_chapters():
    stored = (ROOT / "book/images/chapter-map.svg").read_text()
    assert stored == map_of(ROOT), "run `python -m fewbits.book map`"
    drawn = xml.fromstring(stored)
    name = "{http://www.w3.org/2000/svg}"
    arrows = [path for path in drawn.iter(f"{name}path") if path.get("marker-end")]
    assert len(arrows) == sum(map(len, direct_needs(NEEDS).values()))
    assert len(list(drawn.iter(f"{name}rect"))) == len(NEEDS)


def test_the_table_beside_it_says_the_same():
    page = (ROOT / "book/how-to-read.md").read_text()
    rows = re.findall(r"^\| \[(\d+) [^|]*\| ([^|]*) \|$", page, re.M)
    assert {int(n): [int(each) for each in re.findall(r"\d+", needed)] for n, needed in rows} == NEEDS
