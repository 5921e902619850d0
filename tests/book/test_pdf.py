"""The book as one PDF: its contents tell the sheets on which pages begin, and nothing is cut off."""

import os
import re
import shutil
from pathlib import Path

import pytest

from fewbits.book.pdf import BROWSERS, Printed, _book, count_sheets, printed_parts, write_pdf
from fewbits.errors import InputError

ROOT = Path(__file__).parents[2]
PRINT = ROOT / "book" / "offline"
PAGE = """<!doctype html><html data-theme="dark"><meta charset="utf-8"><link rel="stylesheet" href="../print.css">
<style>html[data-theme=dark] body {{ background: black; color: white }}</style>
<body><aside>beside</aside><article class="bd-article"><h1>{title}</h1>{body}</article>
<script src="../print.js"></script>"""
LONG = f"<pre id='code'>{'x = 1; ' * 60}</pre><table><tr>{'<td>a_word_of_some_length</td>' * 12}</tr></table>"
LINKS = "<p id='top'><a href='../notebooks/two.html#end'>in the file</a> <a href='other.html'>not in it</a></p>"
PAINTED = "<div class='live'><h2>On screens</h2><canvas></canvas></div>"
LIVE = f"<figure>{PAINTED}<noscript><h2>On paper</h2></noscript></figure>"
PARTS = {"": ["book/one"], "I Numbers": ["notebooks/two"]}
WORDS = "<p>words</p>" * 120
MANY = WORDS + "<h2 id='end'>The end</h2>"


@pytest.fixture(scope="module", autouse=True)
def browser():
    if not (os.environ.get("FEWBITS_BROWSER") or any(map(shutil.which, BROWSERS))):
        pytest.skip("there is no Chromium")


@pytest.fixture
def html(tmp_path):
    """A built book of two pages."""
    for name, title, body in (
        ("book/one", "Page one", LINKS + LONG + LIVE + WORDS),
        ("notebooks/two", "Page two", MANY),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.html").write_text(PAGE.format(title=title, body=body))
    for name in ("print.css", "print.js"):
        shutil.copy(PRINT / name, tmp_path)
    return tmp_path


def outline(pdf):
    """Return the sheet on which each heading stands, from the outline that Chromium writes: title -> number."""
    objects = {int(n): body for n, body in re.findall(rb"(?s)\n(\d+) 0 obj\n(.*?)\nendobj", pdf)}
    sheets = {}

    def walk(number):
        kids = re.search(rb"/Kids\s*\[(.*?)\]", objects[number], re.S)
        if kids is None:
            sheets[number] = len(sheets) + 1
        for kid in re.findall(rb"(\d+) 0 R", kids[1]) if kids else ():
            walk(int(kid))

    [root] = [n for n, body in objects.items() if b"/Type /Pages" in body and b"/Parent" not in body]
    walk(root)
    found = {}
    for body in objects.values():
        title, to = re.search(rb"/Title \((.*?)\)", body), re.search(rb"/Dest \[(\d+) 0 R", body)
        if title and to:
            found[title[1].decode()] = sheets[int(to[1])]
    return found


def test_the_contents_tell_the_sheet_on_which_each_page_begins(html, tmp_path):
    starts = write_pdf(html, PARTS, tmp_path / "dist" / "book.pdf", title="A book")
    pdf = (tmp_path / "dist" / "book.pdf").read_bytes()
    headings = outline(pdf)
    assert starts == {"book/one": headings["Page one"], "notebooks/two": headings["Page two"]}
    assert "On paper" in headings and "On screens" not in headings
    assert headings["Contents"] == 1 and starts["book/one"] == 2
    assert headings["The end"] == count_sheets(pdf) > starts["notebooks/two"] + 1 > 4
    assert b"/Dest /notebooks-two--end" in pdf and b"(file:" not in pdf  # links stay inside
    assert [path.name for path in (tmp_path / "dist").iterdir()] == ["book.pdf"]


def test_a_missing_page_is_refused(html, tmp_path):
    with pytest.raises(InputError, match="no page book/three; build it first"):
        write_pdf(html, {"": ["book/one"], "II": ["book/three"]}, tmp_path / "book.pdf")


def test_the_printed_parts_are_those_of_the_table_of_contents_without_the_api():
    parts = printed_parts(ROOT / "_toc.yml")
    assert parts[""] == ["notebooks/00-few-bits"] and parts["VI To the device"][-1] == "notebooks/19-localisation"
    assert "book/glossary" in parts["Reference"] and "book/api" not in parts["Reference"]


def test_the_contents_are_grouped_by_part():
    pages = {name: Printed(name, name.title(), f"<article>{name}</article>", []) for name in ("a", "b", "c")}
    html = _book(pages, {"": ["a"], "I <Numbers>": ["b", "c"]}, "Book", {"a": 2, "b": 5, "c": 9})
    contents = re.sub(r"<[^>]+>", " ", html[html.index("Contents</h1>") : html.index("</nav>")]).split()
    assert contents == ["Contents", "A", "2", "I", "&lt;Numbers&gt;", "B", "5", "C", "9"]


def test_on_paper_a_page_is_light_and_no_code_or_table_is_cut_off(html):
    from playwright.sync_api import sync_playwright

    from fewbits.book.pdf import find_browser

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 658, "height": 900})
        page.goto((html / "book/one.html").as_uri())
        page.evaluate(
            "addEventListener('beforeprint', () => { document.title = document.documentElement.dataset.theme })"
        )
        page.pdf()
        assert page.title() == "light" and page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.emulate_media(media="print")
        assert page.evaluate("document.getElementById('code').scrollWidth <= document.body.clientWidth")
        browser.close()
