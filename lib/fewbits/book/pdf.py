"""The whole book as one PDF, printed by Chromium: contents by part with page numbers, then every page of the book.

All pages become one document, so that links between chapters lead to their place in the file.
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from fewbits.errors import InputError, needs_extra
from fewbits.io.files import write_aside

with needs_extra("book", "Pages"):
    import yaml  # type: ignore[import-untyped]  # its types are a package of their own
with needs_extra("test", "Printed books"):
    from playwright.sync_api import Page, PdfMargins, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""The programs that can print the book, in the order in which they are looked for."""

_NOT_PRINTED = "book/api"
_WIDTH = 658  # pixels of A4 less 18 mm on each side
_MARGIN: PdfMargins = {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}
_ARTICLE = (Path(__file__).with_name("printed.js")).read_text(encoding="utf-8")
_DRAWN = "[...document.querySelectorAll('.fewbits-plot')].every(plot => plot.querySelector('.main-svg'))"
# A table or an equation that is wider than the page is made smaller.
_FIT = """() => document.querySelectorAll("article table, article math").forEach(wide => {
  const width = wide.getBoundingClientRect().width;
  if (width > document.body.clientWidth) wide.style.zoom = document.body.clientWidth / width;
})"""
_ONLY = "id => document.querySelectorAll('body > *').forEach(part => { part.hidden = id !== null && part.id !== id; })"
_FOOTER = '<div style="width: 100%; text-align: center; font-size: 8pt"><span class="pageNumber"></span></div>'
_BOOK = """<!doctype html>
<html lang="en" data-theme="light">
<head><meta charset="utf-8"><title>{title}</title>{styles}</head>
<body class="fewbits-printed">
<nav id="contents"><p class="title">{title}</p><h1>Contents</h1>{contents}</nav>
{articles}
</body>
</html>
"""


class Printed(NamedTuple):
    """One page of the book as it is printed.

    Attributes:
        name: Its address from the pages' folder on, without `.html`.
        title: Its title.
        html: Its article.
        styles: The addresses of its style sheets.
    """

    name: str
    title: str
    html: str
    styles: list[str]

    @property
    def anchor(self) -> str:
        """The id of its article."""
        return self.name.replace("/", "-")


def printed_parts(contents: Path) -> dict[str, list[str]]:
    """Return the parts of the book as printed: caption -> names of its pages; the API is left out.

    The first page belongs to no part; its caption is "".

    Args:
        contents: The file `_toc.yml`.
    """
    table = yaml.safe_load(contents.read_text())
    parts = {part["caption"]: [page["file"] for page in part["chapters"]] for part in table["parts"]}
    parts = {"": [table["root"]], **parts}
    return {caption: [name for name in names if name != _NOT_PRINTED] for caption, names in parts.items()}


def find_browser() -> str:
    """Return the path of a Chromium: that in FEWBITS_BROWSER, or one that is installed.

    Raises:
        InputError: when there is none.
    """
    path = os.environ.get("FEWBITS_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise InputError(
            "printing needs Chromium; install it (Debian: apt-get install chromium) or name it in FEWBITS_BROWSER"
        )
    return path


def write_pdf(html: Path, parts: Mapping[str, Sequence[str]], target: Path, title: str = "Few Bits") -> dict[str, int]:
    """Print pages of a built book into one PDF.

    Args:
        html: The folder of the pages.
        parts: Caption of a part, or "" -> its pages, without `.html`; all in the order of the book.
        target: The PDF file.
        title: The title above the contents.

    Returns:
        Page -> the number of its first sheet, as the contents print it.

    Raises:
        InputError: when there is no Chromium, or a page is missing.
    """
    names = [name for pages in parts.values() for name in pages]
    missing = [name for name in names if not (html / f"{name}.html").exists()]
    if missing:
        raise InputError(f"the book has no page {missing[0]}; build it first: make book")
    target.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, TemporaryDirectory(dir=target.parent) as folder:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox", "--disable-gpu"])
        view = browser.new_page(viewport={"width": _WIDTH, "height": 1000}, color_scheme="light")
        printed = {name: _article(view, html, name, names) for name in names}
        _open(view, Path(folder, "book.html"), _book(printed, parts, title, {}))
        starts = _first_sheets(view, printed)
        _open(view, Path(folder, "book.html"), _book(printed, parts, title, starts))
        with write_aside(target) as file:
            file.write(_print(view))
        browser.close()
    return starts


def count_sheets(pdf: bytes) -> int:
    """Return the number of sheets of a PDF that Chromium wrote.

    Args:
        pdf: The content of the file.
    """
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def _article(view: Page, html: Path, name: str, names: Sequence[str]) -> Printed:
    view.goto((html / f"{name}.html").resolve().as_uri(), wait_until="load")
    view.wait_for_function(_DRAWN)
    root = f"{html.resolve().as_uri()}/"
    return Printed(name, **view.evaluate(_ARTICLE, {"page": name, "pages": list(names), "root": root}))


def _book(
    printed: Mapping[str, Printed], parts: Mapping[str, Sequence[str]], title: str, starts: Mapping[str, int]
) -> str:
    styles = dict.fromkeys(style for page in printed.values() for style in page.styles)
    return _BOOK.format(
        title=escape(title),
        styles="".join(f'<link rel="stylesheet" href="{escape(style)}">' for style in styles),
        contents="".join(
            _entries(caption, [printed[name] for name in names], starts) for caption, names in parts.items()
        ),
        articles="\n".join(page.html for page in printed.values()),
    )


def _entries(caption: str, pages: Sequence[Printed], starts: Mapping[str, int]) -> str:
    """Return the part of the contents that lists one part of the book."""
    entry = '<li><a href="#{}"><span>{}</span><span>{}</span></a></li>'
    entries = "".join(entry.format(page.anchor, escape(page.title), starts.get(page.name, "")) for page in pages)
    heading = f'<p class="part">{escape(caption)}</p>' if caption else ""
    return f"{heading}<ol>{entries}</ol>"


def _open(view: Page, file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    view.goto(file.resolve().as_uri(), wait_until="load")
    view.emulate_media(media="print")
    view.evaluate(_FIT)


def _first_sheets(view: Page, printed: Mapping[str, Printed]) -> dict[str, int]:
    """Return on which sheet each page begins, by printing the contents and each page alone."""
    starts, number = {}, 1 + _sheets(view, "contents")
    for name, page in printed.items():
        starts[name] = number
        number += _sheets(view, page.anchor)
    return starts


def _sheets(view: Page, anchor: str) -> int:
    view.evaluate(_ONLY, anchor)
    return count_sheets(_print(view))


def _print(view: Page) -> bytes:
    return view.pdf(
        format="A4",
        margin=_MARGIN,
        print_background=True,
        outline=True,
        tagged=True,  # the outline needs it
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=_FOOTER,
    )
