"""Pages at the old addresses of chapters that have moved, which lead on to the new ones."""

from collections.abc import Mapping
from html import escape
from os.path import relpath
from pathlib import Path

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>This page has moved</title>
<link rel="canonical" href="{to}">
<meta http-equiv="refresh" content="1; url={to}">
<script>location.replace("{to}" + location.hash)</script>
<p>This page has moved: <a href="{to}">{to}</a></p>
</html>
"""


def write_moved_pages(html: Path, moved: Mapping[str, str]) -> None:
    """Write a page at each old address; a link to a part of it leads to that part of the new page.

    Args:
        html: The folder of the pages.
        moved: Old address -> new one, both from `html` on and without `.html`. If the new page is not there, as where
            only a part of the book is built, none is written.

    Raises:
        ValueError: when a page still stands at an old address.
    """
    for old, new in moved.items():
        page, target = html / f"{old}.html", html / f"{new}.html"
        if page.exists() and "This page has moved" not in page.read_text(encoding="utf-8"):
            raise ValueError(f"moved_pages: {old} still exists")
        if target.exists():
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(PAGE.format(to=escape(relpath(target, page.parent))), encoding="utf-8")
