"""A Sphinx extension for pages that need nothing from outside.

Equations become MathML, which every browser draws with no script and no fonts to fetch. Thebe, which would fetch its
scripts and a kernel from other hosts, is left out. Pages that have moved leave one that leads on: the setting
`moved_pages`, old address -> new one, without `.html`.
"""

from html import escape
from pathlib import Path
from typing import Any, NoReturn

from fewbits.book.moved_pages import write_moved_pages
from fewbits.errors import needs_extra

with needs_extra("book", "Pages"):
    from docutils.nodes import SkipNode
    from latex2mathml.converter import convert
    from sphinx.util.math import get_node_equation_number


def setup(app: Any) -> dict[str, bool]:
    """Register the extension.

    Args:
        app: The Sphinx application.

    Returns:
        What Sphinx may do in parallel.
    """
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("config-inited", _without_thebe)
    app.connect("autodoc-skip-member", _skip_tuple_field)
    app.connect("html-page-context", _no_list_of_citations)
    app.add_config_value("moved_pages", {}, "html")
    app.connect("build-finished", _write_moved)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer: Any, node: Any) -> NoReturn:
    writer.body.append(convert(node.astext()))
    raise SkipNode


def _block(writer: Any, node: Any) -> NoReturn:
    number = f'<span class="eqno">({escape(get_node_equation_number(writer, node))})</span>' if node["number"] else ""
    equation = convert(node.astext(), display="block")
    writer.body.append(f"{writer.starttag(node, 'div', CLASS='equation')}{number}{equation}</div>")
    raise SkipNode


def _without_thebe(app: Any, config: Any) -> None:
    app.registry.css_files[:] = [f for f in app.registry.css_files if "thebe" not in f[0]]
    for event, listeners in app.events.listeners.items():
        app.events.listeners[event] = [f for f in listeners if not f.handler.__module__.startswith("sphinx_thebe")]


def _skip_tuple_field(app: Any, kind: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    # The class lists its fields with their meaning; Python's own line says "Alias for field number 0".
    return True if str(member.__doc__).startswith("Alias for field number") else None


def _no_list_of_citations(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    # Docutils calls them a list, but its parts are no list items, and a screen reader says that the list is empty.
    if "body" in context:
        context["body"] = context["body"].replace('role="list" class="citation-list"', 'class="citation-list"')


def _write_moved(app: Any, error: Exception | None) -> None:
    if error is None:
        write_moved_pages(Path(app.outdir), app.config.moved_pages)
