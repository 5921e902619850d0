"""The book's style of figures and tables; every figure has a caption, a text alternative and its data as a table.

In JupyterLab a figure is drawn by Plotly's own renderer. While the book is built (environment variable
FEWBITS_BOOK) it becomes one HTML <figure> that the book's script draws without a kernel or a network.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fewbits.explore.axes import log_axis

# Okabe and Ito's colours, told apart by colour-blind readers; all readable on white and on near-black.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#2a86c8", "#d55e00", "#009e73", "#cc79a7", "#888888"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GREY)
DASHES = ("solid", "dot", "dash", "dashdot", "longdash")

PERCENT = {"tickformat": ".0%"}
"""An axis of shares, for `xaxis=` and `yaxis=`."""
ACCURACY = {"tickformat": ".0%", "range": [0, 1.02]}
"""An axis of shares from 0 to 100 %."""

_AXIS = {
    "zeroline": False,
    "gridcolor": "rgba(136,136,136,0.25)",
    "linecolor": GREY,
    "ticks": "outside",
    "tickcolor": GREY,
    # Room for the labels of the ticks, however long, and for the title beyond them.
    "automargin": True,
    "title": {"standoff": 8},
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
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
        "xaxis": {**_AXIS, "autotickangles": [0, -45, -90]},
        "yaxis": _AXIS,
    }
)

# The buttons of a figure in JupyterLab; `book/offline/fewbits.js` has the same. Named one by one: Plotly's own set has
# a button that uploads the figure.
CONFIG = {"displaylogo": False, "modeBarButtons": [["zoom2d", "pan2d", "resetScale2d", "toImage"]]}


@dataclass(frozen=True, repr=False)
class Table:
    """A small table that displays itself: as the last expression of a cell, or with `show`.

    Attributes:
        columns: The column heads.
        rows: The rows; `text` writes their values.
        note: What stands below the table, for example where its numbers come from; nothing if empty.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    def html(self) -> str:
        """Return the table as HTML, with its note as a paragraph below it."""
        head = "".join(f'<th scope="col">{escape(c)}</th>' for c in self.columns)
        body = "".join("<tr>" + "".join(f"<td>{escape(text(v))}</td>" for v in row) + "</tr>" for row in self.rows)
        note = f"<p><em>{escape(self.note)}</em></p>" if self.note else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"

    def show(self) -> None:
        """Display the table; needed where it is not the last expression of its cell."""
        from IPython.display import HTML, display

        display(HTML(self.html()))

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        return f"<Table of {len(self.rows)} rows: {', '.join(self.columns)}>"


def text(value: Any) -> str:
    """Return a value as tables and axes show it.

    Floats have four digits, integers their thousands separated; a tuple of bits is written as in 8-6-6 (f: float);
    None is a dash.

    Example:
        >>> text(1234), text(0.123456), text((16, None, None)), text(None)
        ('1,234', '0.1235', '16\N{NON-BREAKING HYPHEN}f\N{NON-BREAKING HYPHEN}f', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if type(value) is tuple:
        value = "-".join("f" if part is None else str(part) for part in value)
        return value.replace("-", "\N{NON-BREAKING HYPHEN}")
    return re.sub(r"(?<=\d)-(?=\d)", "\N{NON-BREAKING HYPHEN}", str(value))  # 8-6-6 stays in one line


def figure(*traces: Any, x: str, y: str, **layout: Any) -> go.Figure:
    """Return a figure in the book's style.

    Args:
        *traces: Plotly's traces.
        x: The title of the x axis.
        y: The title of the y axis.
        **layout: More of Plotly's layout, such as `height` or `yaxis`.
    """
    for name in ("x", "y"):
        axis = layout.get(f"{name}axis", {})
        if axis.get("type") == "log":
            values = [value for trace in traces for value in np.ravel(trace[name])]
            layout[f"{name}axis"] = log_axis(values, **axis)
    fig = go.Figure(list(traces), layout={"template": TEMPLATE, **layout})
    return fig.update_xaxes(title=x).update_yaxes(title=y)


def show(fig: go.Figure, label: str, caption: str, alt: str, table: Table) -> None:
    """Display a figure with its caption and, folded below it, its data.

    Args:
        fig: What to show.
        label: The number of the figure, such as "8.1".
        caption: What it shows, with the number of images, seeds and whether it is quick or reference.
        alt: A text alternative, for those who do not see it.
        table: The data of the figure.
    """
    from IPython.display import HTML, display

    words = caption_html(label, caption, table)
    if in_book():
        drawing = f"{drawing_html(fig, alt)}{as_script(fig.to_json())}"
        display(HTML(f'<figure class="fewbits-figure" id="{anchor(label)}">{drawing}{words}</figure>'))
    else:
        fig.show(config=CONFIG)
        display(HTML(words))


def widget(fig: go.Figure) -> Any:
    """Return a figure as a widget of JupyterLab, with the book's buttons.

    Args:
        fig: The figure.
    """
    live = go.FigureWidget(fig)
    live._config = CONFIG
    return live


def in_book() -> bool:
    """Return whether the book is being built: output must then work without a kernel."""
    return os.environ.get("FEWBITS_BOOK") == "1"


def anchor(label: str) -> str:
    """Return the anchor of a figure in its page.

    Args:
        label: The number of the figure.

    Example:
        >>> anchor("8.1")
        'figure-8-1'
    """
    return f"figure-{label.replace('.', '-')}"


def drawing_html(fig: go.Figure, alt: str) -> str:
    """Return the place where the book's script draws a figure: as high as the figure, so that nothing moves later.

    Args:
        fig: The figure.
        alt: A text alternative.
    """
    height = fig.layout.height or fig.layout.template.layout.height
    return (
        f'<div class="fewbits-plot" role="group" aria-label="{escape(alt)}" style="height:{height:g}px"></div>'
        "<noscript>The figure is drawn by JavaScript. Its data are below.</noscript>"
    )


def as_script(json: str) -> str:
    """Return JSON as a script element that holds only data: nothing in it can end the element."""
    safe = json.replace("<", "\\u003c")
    return f'<script type="application/json">{safe}</script>'


def caption_html(label: str, caption: str, table: Table) -> str:
    """Return the caption of a figure as HTML, with its data folded below it.

    Args:
        label: The number of the figure.
        caption: What it shows.
        table: Its data.
    """
    return (
        f"<figcaption><b>Figure {escape(label)}.</b> {escape(caption)}</figcaption>"
        f"<details><summary>Data of figure {escape(label)}</summary>{table.html()}</details>"
    )
