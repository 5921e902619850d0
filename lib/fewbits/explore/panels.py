"""Several charts of lines above each other, over the same x axis."""

from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fewbits.explore import plots


def stacked_lines(
    panels: Mapping[str, Mapping[str, Mapping[float, float]]],
    label: str,
    caption: str,
    alt: str,
    *,
    x: str,
    axes: Mapping[str, Mapping[str, Any]] | None = None,
    colours: Iterable[str] = plots.COLOURS,
    dashes: Iterable[str] = ("solid",),
    height: int = 560,
) -> None:
    """Show quantities of the same series above each other, with one legend.

    Args:
        panels: Quantity, the title of its y axis -> series -> place on the x axis -> value. All quantities have the
            same series and places.
        label: The number of the figure, such as "11.7".
        caption: What the figure shows.
        alt: A text alternative.
        x: The title of the x axis.
        axes: Quantity -> more of Plotly's y axis, such as `explore.PERCENT`; with it, the data table is in percent. The
            title of the x axis -> more of that axis.
        colours: Of the series, in their order.
        dashes: Of the series, in their order.
        height: Of the figure, in pixels.
    """
    axes, looks = axes or {}, (list(colours), list(dashes))
    fig = make_subplots(len(panels), 1, shared_xaxes=True, vertical_spacing=0.06)
    fig.update_layout(template=plots.TEMPLATE, height=height)
    fig.update_xaxes(axes.get(x)).update_xaxes(title=x, row=len(panels))
    for row, (quantity, series) in enumerate(panels.items(), 1):
        fig.update_yaxes(title=quantity, **axes.get(quantity, {}), row=row)
        for (name, found), colour, dash in zip(series.items(), *map(cycle, looks)):
            line, places, values = {"color": colour, "dash": dash}, [*found], [*map(float, found.values())]
            fig.add_trace(go.Scatter(x=places, y=values, name=name, line=line, showlegend=row == 1), row, 1)
    percent = {quantity: "%" in axes.get(quantity, {}).get("tickformat", "") for quantity in panels}
    first = next(iter(panels.values()))
    rows = [
        (name, place, *(_written(panels[quantity][name][place], percent[quantity]) for quantity in panels))
        for name, found in first.items()
        for place in found
    ]
    plots.show(fig, label, caption, alt, plots.Table(("", x, *panels), rows))


def _written(value: float, percent: bool) -> float | str:
    return f"{value:.1%}" if percent else float(value)
