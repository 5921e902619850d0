"""A Sphinx extension: {figure}`3.2` in a text leads to figure 3.2, in whichever chapter it is."""

from typing import Any

from fewbits.errors import needs_extra
from fewbits.explore.plots import anchor

with needs_extra("book", "Pages"):
    from docutils import nodes
    from sphinx.util import logging
    from sphinx.util.docutils import SphinxRole


def setup(app: Any) -> dict[str, bool]:
    """Register the role.

    Args:
        app: The Sphinx application.

    Returns:
        What Sphinx may do in parallel.
    """
    app.add_role("figure", _Mention())
    app.connect("doctree-resolved", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class _Mention(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        return [nodes.reference("", f"figure {self.text}", figure=self.text, internal=True)], []


def _link(app: Any, doctree: nodes.document, page: str) -> None:
    for mention in doctree.findall(lambda node: isinstance(node, nodes.reference) and "figure" in node):
        label = mention["figure"]
        start = f"notebooks/{int(label.split('.')[0]):02d}-"
        chapter = next((name for name in app.env.found_docs if name.startswith(start)), None)
        if chapter is None:
            logging.getLogger(__name__).warning("no chapter has figure %s", label, type="ref", subtype="ref")
            mention.replace_self(nodes.Text(mention.astext()))
        else:
            mention["refuri"] = f"{app.builder.get_relative_uri(page, chapter)}#{anchor(label)}"
