"""A Sphinx extension that tells a reader how to run a chapter: links to hosted kernels, commands and downloads.

The setting `book_repository` holds the address of the book's public repository. Without one, the pages show only the
commands for a reader who has the book's folder.
"""

import re
from html import escape
from typing import Any
from urllib.parse import quote, urlsplit

from fewbits.errors import InputError, needs_extra

with needs_extra("book", "Pages"):
    from docutils import nodes
    from docutils.parsers.rst import Directive

_CHAPTER = re.compile(r"notebooks/((\d\d)-[\w-]+)")
_PANEL = """<details class="fewbits-running">
<summary>Run this page</summary>
{links}<div class="highlight-shell notranslate"><div class="highlight"><pre>{commands}</pre></div></div>
<p>Download without outputs: <a href="{notebook}" download>notebook (.ipynb)</a> or
<a href="{script}" download>script (.py)</a>. Both need the folder of Few Bits around them.</p>
</details>
"""
_COLAB = """<p>In Colab, run this cell before the others:</p>
<div class="highlight-python notranslate"><div class="highlight"><pre>!git clone {address} few-bits
%cd few-bits
%pip install --quiet --editable '.[book]'</pre></div></div>
"""


def setup(app: Any) -> dict[str, bool]:
    """Register the extension.

    Args:
        app: The Sphinx application.

    Returns:
        What Sphinx may do in parallel.
    """
    app.add_config_value("book_repository", "", "env")
    app.add_directive("running", Running)
    app.connect("html-page-context", _add_panel)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Running(Directive):
    """The directive `running`: the commands that open all chapters in JupyterLab."""

    def run(self) -> list[Any]:
        """Return the commands as a block of shell code."""
        address = self.state.document.settings.env.config.book_repository
        text = "\n".join([*clone_commands(address), "make lab"])
        return [nodes.literal_block(text, text, language="shell")]


def clone_commands(address: str) -> list[str]:
    """Return the commands that fetch the book; none without an address.

    Args:
        address: The repository's address, or nothing.
    """
    return [f"git clone {address} few-bits", "cd few-bits"] if address else []


def launch_links(address: str, notebook: str) -> dict[str, str]:
    """Return the links that open a notebook on a hosted kernel.

    Args:
        address: The repository's address, such as "https://github.com/owner/few-bits"; or nothing.
        notebook: The notebook's path in the repository.

    Returns:
        Name of the service -> link. Colab reads GitHub alone; without an address there are none.

    Raises:
        InputError: when the address is not one of a repository on the web.
    """
    if not address:
        return {}
    parts = urlsplit(address)
    path = parts.path.strip("/").removesuffix(".git")
    if parts.scheme != "https" or path.count("/") < 1:
        raise InputError(f"book_repository must be like https://github.com/owner/few-bits, not {address!r}")
    sources = {"github.com": f"gh/{path}", "gitlab.com": f"gl/{quote(path, safe='')}"}
    source = sources.get(parts.netloc, f"git/{quote(address, safe='')}")
    links = {"Binder": f"https://mybinder.org/v2/{source}/HEAD?urlpath=lab/tree/{notebook}"}
    if parts.netloc == "github.com":
        links["Colab"] = f"https://colab.research.google.com/github/{path}/blob/HEAD/{notebook}"
    return links


def panel(address: str, name: str, downloads: str) -> str:
    """Return the HTML of a chapter's panel "Run this page".

    Args:
        address: The repository's address, or nothing.
        name: The chapter's name, such as "03-percentiles".
        downloads: The folder of the downloads, as the page refers to it.
    """
    links = launch_links(address, f"notebooks/{name}.ipynb")
    opened = "".join(f'<a href="{escape(link)}">Open in {service}</a> ' for service, link in links.items())
    number = int(name[:2])
    commands = [
        *clone_commands(address),
        f"make chapter N={number}  # run it and show its page",
        f"make lab N={number}      # open it in JupyterLab",
    ]
    return _PANEL.format(
        links=(f"<p>{opened}</p>\n" if opened else "") + (_COLAB.format(address=address) if "Colab" in links else ""),
        commands=escape("\n".join(commands), quote=False),
        notebook=f"{downloads}/{name}.ipynb",
        script=f"{downloads}/{name}.py",
    )


def _add_panel(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    chapter = _CHAPTER.fullmatch(page)
    if chapter:
        html = panel(app.config.book_repository, chapter[1], context["pathto"]("_static/downloads", 1))
        context["body"] = context["body"].replace("</h1>", f"</h1>\n{html}", 1)
