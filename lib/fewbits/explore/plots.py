"""Plotly figures, each with a caption, a text alternative and its data as a table.

In JupyterLab a figure is drawn by Plotly's own renderer. While the book is built (environment variable
FEWBITS_BOOK) it becomes one HTML <figure> that the book's script draws without a kernel or a network.
"""

import os
import re
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go

# Okabe and Ito's colours, told apart by colour-blind readers; all readable on white and on near-black.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#2a86c8", "#d55e00", "#009e73", "#cc79a7", "#888888"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GREY)

_AXIS = {
    "zeroline": False,
    "gridcolor": "rgba(136,136,136,0.25)",
    "linecolor": GREY,
    "ticks": "outside",
    "tickcolor": GREY,
}
TEMPLATE = go.layout.Template(
    layout={
        "colorway": COLOURS,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": GREY, "size": 14},
        "margin": {"l": 60, "r": 15, "t": 15, "b": 50},
        "height": 360,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)


@dataclass(frozen=True)
class Table:
    """A small table: column heads, and rows of numbers or words."""

    columns: tuple[str, ...]
    rows: list[tuple]

    def html(self) -> str:
        head = "".join(f'<th scope="col">{escape(c)}</th>' for c in self.columns)
        body = "".join("<tr>" + "".join(f"<td>{escape(_shown(v))}</td>" for v in row) + "</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def figure(*traces, x: str, y: str, **layout) -> go.Figure:
    """Return a figure of `traces` in the book's style, with axis titles `x` and `y`."""
    fig = go.Figure(list(traces), layout={"template": TEMPLATE, **layout})
    return fig.update_xaxes(title=x).update_yaxes(title=y)


def show(fig: go.Figure, label: str, caption: str, alt: str, table: Table) -> None:
    """Display `fig` as "Figure `label`": with its caption, text alternative `alt`, and data `table`."""
    from IPython.display import HTML, display

    words = caption_html(label, caption, table)
    if in_book():
        drawing = f'<div class="fewbits-plot" role="img" aria-label="{escape(alt)}">{as_script(fig.to_json())}</div>'
        display(HTML(f'<figure class="fewbits-figure">{drawing}{words}</figure>'))
    else:
        display(fig)
        display(HTML(words))


def in_book() -> bool:
    """Return whether the book is being built, so that output must live without a kernel."""
    return os.environ.get("FEWBITS_BOOK") == "1"


def as_script(json: str) -> str:
    """Return `json` as a script element that holds data only: nothing in it can end the element."""
    safe = json.replace("<", "\\u003c")
    return f'<script type="application/json">{safe}</script>'


def caption_html(label: str, caption: str, table: Table) -> str:
    """Return the caption of "Figure `label`", and its data `table` folded below it."""
    return (
        f"<figcaption><b>Figure {escape(label)}.</b> {escape(caption)}</figcaption>"
        f"<details><summary>Data of figure {escape(label)}</summary>{table.html()}</details>"
    )


def _shown(value) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return re.sub(r"(?<=\d)-(?=\d)", "\N{NON-BREAKING HYPHEN}", str(value))  # 8-6-6 stays in one line
