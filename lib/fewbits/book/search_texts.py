"""A Sphinx extension that writes the texts of all pages as one classic script, for the search in the browser.

Sphinx's own search fetches pages for its excerpts, and a browser fetches nothing from file://. This one needs only the
script, which the page of the search alone loads; so Sphinx writes no index of its own.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from fewbits.errors import needs_extra

with needs_extra("book", "Pages"):
    from docutils import nodes
    from sphinx import addnodes

SCRIPT = "search-texts.js"
_UNREAD = (nodes.raw, nodes.math_block, nodes.comment, nodes.image, nodes.title, addnodes.index, addnodes.toctree)
_OF_ITS_OWN = (nodes.section, addnodes.desc)


class Passage(NamedTuple):
    """What a search can find: a section of a page, or an entry of the API.

    Attributes:
        anchor: Its id in the page; nothing for the page itself.
        title: Its title, or the name of what is described.
        text: Its text without that of passages inside of it, words separated by single spaces.
    """

    anchor: str
    title: str
    text: str


def setup(app: Any) -> dict[str, bool]:
    """Register the extension.

    Args:
        app: The Sphinx application.

    Returns:
        What Sphinx may do in parallel.
    """
    pages: dict[str, list[Passage]] = {}
    app.connect("builder-inited", _without_index)
    app.connect("doctree-resolved", lambda app, doctree, page: pages.update({page: list(passages(doctree))}))
    app.connect("html-collect-pages", lambda app: [("search", {}, "search.html")])
    app.connect("build-finished", partial(_write, pages))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def passages(doctree: Any) -> Iterator[Passage]:
    """Yield what can be found in a page, in its order.

    Args:
        doctree: The page as docutils' tree, its references and outputs resolved.
    """
    for section in doctree.findall(lambda node: isinstance(node, _OF_ITS_OWN)):
        if isinstance(section, nodes.section):
            anchor = "" if isinstance(section.parent, nodes.document) else section["ids"][0]
            yield Passage(anchor, section.next_node(nodes.title).astext(), _text(section))
        else:
            signature = section.next_node(addnodes.desc_signature)
            anchor = next(iter(signature["ids"]), "")
            if anchor:
                content = section.next_node(addnodes.desc_content)
                yield Passage(anchor, signature.get("fullname") or anchor, _text(content))


def write_texts(html: Path, pages: dict[str, list[Passage]]) -> None:
    """Write the script that hands the texts to the search.

    Args:
        html: The folder of the pages.
        pages: Page -> what can be found in it.
    """
    texts = json.dumps(pages, ensure_ascii=False, separators=(",", ":"))
    (html / SCRIPT).write_text(f"const FEWBITS_TEXTS = {texts};\n", encoding="utf-8")


def _text(node: Any) -> str:
    return " ".join(" ".join(_parts(node)).split())


def _parts(node: Any) -> Iterator[str]:
    for child in node.children:
        if isinstance(child, (*_UNREAD, *_OF_ITS_OWN)):
            continue
        if isinstance(child, nodes.TextElement | nodes.Text):
            yield child.astext()
        else:
            yield from _parts(child)


def _without_index(app: Any) -> None:
    app.builder.search = False


def _write(pages: dict[str, list[Passage]], app: Any, error: Exception | None) -> None:
    if error is None:
        write_texts(Path(app.outdir), pages)
