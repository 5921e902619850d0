"""Charts made from named values: lines, bars, scattered points and histograms, each shown with its data as a table.

Lines and bars can have controls: `adjustable_lines` and `adjustable_bars` return an Explorer.

A value is a number, None where there is none, or a measurement that knows its interval: a `Share` or `Estimate`, or
something that has one, such as a `Score`, `Answers` or a reference `Cell`. Intervals become error bars.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle
from math import isfinite
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View
from fewbits.statistics import Estimate, Share

Series = Mapping[str, Mapping[Any, Any]]
"""Name -> place on the x axis -> value."""


def lines(
    series: Series,
    label: str,
    caption: str,
    alt: str,
    *,
    x: str,
    y: str = "top-1 accuracy",
    levels: Mapping[str, Any] | None = None,
    colours: Iterable[str] = plots.COLOURS,
    dashes: Iterable[str] | None = None,
    mode: str = "lines+markers",
    table: plots.Table | None = None,
    **layout: Any,
) -> None:
    """Show a line per series, with error bars where the values know their intervals.

    Args:
        series: Name -> place -> value. Numbers as places make a continuous axis, words (and tuples of bits, shown as in
            8-6-6) one place after the other. A line is broken where its value is None.
        label: The number of the figure, such as "8.1".
        caption: What the figure shows.
        alt: A text alternative.
        x: The title of the x axis.
        y: The title of the y axis.
        levels: Name -> value, drawn as a dotted grey line across, for example of the float network.
        colours: Of the series, in their order.
        dashes: Of the series, in their order; by default solid for as many series as there are colours, then dotted.
        mode: Plotly's; "lines" for curves of many points.
        table: The data of the figure; by default a row per place and a column per series.
        **layout: More of Plotly's layout. If all values are a `Share`, the y axis goes from 0 to 100 %.

    Example:
        lines({"lock": {8: Share(300, 320), 4: Share(90, 320)}}, "7.1", "Accuracy ...", "Line ...", x="bits")
    """
    colours, named = list(colours), {name: _known(by_place) for name, by_place in series.items()}
    styles = zip(cycle(colours), cycle(dashes or [d for d in plots.DASHES for _ in colours]))
    traces = []
    for (name, found), (colour, dash) in zip(named.items(), styles):
        line = {"color": colour, "dash": dash}
        traces.append(go.Scatter(**_trace(name, found, found.values()), mode=mode, line=line))
    places = _places(named)
    known = {name: _measured(value) for name, value in (levels or {}).items()}
    for name, value in known.items():
        ends = [_place(place) for place in (places[0], places[-1])]
        line = {"color": plots.GREY, "dash": "dot"}
        traces.append(go.Scatter(x=ends, y=2 * [_height(value)], name=name, mode="lines", line=line))
    layout = _layout([*(v for found in named.values() for v in found.values()), *known.values()], places, layout)
    table = table or _table({**series, **{n: dict.fromkeys(places, v) for n, v in (levels or {}).items()}}, x, layout)
    plots.show(plots.figure(*traces, x=x, y=y, **layout), label, caption, alt, table)


def bars(
    series: Series,
    label: str,
    caption: str,
    alt: str,
    *,
    x: str,
    y: str = "top-1 accuracy",
    colours: Iterable[str] = plots.COLOURS,
    patterns: Iterable[str] = ("",),
    table: plots.Table | None = None,
    **layout: Any,
) -> None:
    """Show a group of bars per place, one bar per series, with error bars where the values know their intervals.

    Args:
        series: Name -> place -> value. No bar stands where the value is None. A single series has no legend.
        label: The number of the figure, such as "8.1".
        caption: What the figure shows.
        alt: A text alternative.
        x: The title of the x axis.
        y: The title of the y axis.
        colours: Of the series, in their order.
        patterns: Of the series, in their order, such as "" and "/".
        table: The data of the figure; by default a row per place and a column per series.
        **layout: More of Plotly's layout. If all values are a `Share`, the y axis goes from 0 to 100 %.
    """
    named = {name: _known(by_place) for name, by_place in series.items()}
    traces = []
    for (name, found), colour, pattern in zip(named.items(), cycle(colours), cycle(patterns)):
        marker = {"color": colour, "pattern": {"shape": pattern}}
        traces.append(go.Bar(**_trace(name, found, found.values()), marker=marker))
    values = [value for found in named.values() for value in found.values()]
    defaults = {"barmode": "group", "showlegend": len(named) > 1}
    layout = {**defaults, **_layout(values, [str(place) for place in _places(named)], layout)}
    plots.show(plots.figure(*traces, x=x, y=y, **layout), label, caption, alt, table or _table(series, x, layout))


def scatter(
    series: Mapping[str, Mapping[str, tuple[Any, Any]]],
    label: str,
    caption: str,
    alt: str,
    *,
    x: str,
    y: str = "top-1 accuracy",
    mode: str | Sequence[str] = "markers",
    colours: Iterable[str] = plots.COLOURS,
    symbols: Iterable[str] = ("circle",),
    table: plots.Table | None = None,
    **layout: Any,
) -> None:
    """Show points by series; a point's name appears when the reader points at it.

    Args:
        series: Name -> name of a point -> its x, a number, and its y, a value. Points without one of both are left out.
        label: The number of the figure, such as "2.3".
        caption: What the figure shows.
        alt: A text alternative.
        x: The title of the x axis.
        y: The title of the y axis.
        mode: Plotly's: "markers"; "lines+markers" joins the points of a series; "markers+text" writes their names. A
            sequence has one per series.
        colours: Of the series, in their order.
        symbols: Of the series, in their order, such as "circle" and "diamond".
        table: The data of the figure; by default a row per point.
        **layout: More of Plotly's layout.
    """
    traces, rows, values = [], [], list[Any]()
    looks = zip(cycle(colours), cycle(symbols), cycle([mode] if isinstance(mode, str) else mode))
    for (name, members), (colour, symbol, drawn) in zip(series.items(), looks):
        rows += [(name, point, *place) for point, place in members.items()]
        shown = [(point, at, _measured(value)) for point, (at, value) in members.items()]
        shown = [place for place in shown if None not in place]
        points, across, up = zip(*shown) if shown else ((), (), ())
        values += up
        marker = {"color": colour, "symbol": symbol, "size": 12}
        hover = "%{text}: %{x:,.4~g}, %{y:,.4~g}<extra></extra>"
        look = {
            "mode": drawn,
            "textposition": "top center",
            "marker": marker,
            "text": points,
            "hovertemplate": hover,
            "line": {"width": 1},
        }
        traces.append(go.Scatter(**_trace(name, across, up), **look))
    layout = _layout(values, [0.0], layout)
    table = table or plots.Table(("", "point", x, y), rows)
    plots.show(plots.figure(*traces, x=x, y=y, **layout), label, caption, alt, table)


def histogram(
    values: np.ndarray,
    limits: Mapping[str, tuple[float, float]],
    label: str,
    caption: str,
    alt: str,
    *,
    x: str = "value",
    y: str = "number of values",
    bins: int = 120,
    table: plots.Table | None = None,
    **layout: Any,
) -> None:
    """Show how values are distributed, on a logarithmic axis, with pairs of lines that mark ranges.

    Args:
        values: Numbers, of any shape.
        limits: Name -> lower and upper limit, each drawn as a pair of vertical lines.
        label: The number of the figure, such as "3.1".
        caption: What the figure shows.
        alt: A text alternative.
        x: The title of the x axis.
        y: The title of the y axis.
        bins: How many bars there are.
        table: The data of the figure; by default the limits.
        **layout: More of Plotly's layout.
    """
    counts, edges = np.histogram(values, bins)
    top, lowest = int(counts.max()), 0.7  # below the bar of a single value
    marker = {"color": plots.BLUE, "line": {"width": 0}}
    traces = [go.Bar(x=(edges[1:] + edges[:-1]) / 2, y=counts, name=y, marker=marker)]
    for (name, (low, high)), colour, dash in zip(limits.items(), cycle(plots.COLOURS[1:]), cycle(_RANGE_DASHES)):
        ends = {"x": [low, low, None, high, high], "y": [lowest, top, None, lowest, top]}
        traces.append(go.Scatter(**ends, name=name, mode="lines", line={"color": colour, "dash": dash}))
    logarithmic = {"type": "log", "range": [-0.15, np.log10(top) + 0.1], "dtick": 1}
    layout = {"bargap": 0, "yaxis": logarithmic, **layout}
    rows = [(name, float(low), float(high)) for name, (low, high) in limits.items()]
    table = table or plots.Table(("range", "lower limit", "upper limit"), rows)
    plots.show(plots.figure(*traces, x=x, y=y, **layout), label, caption, alt, table)


def adjustable_lines(
    values: Callable[..., tuple],
    controls: dict[str, Sequence],
    start: dict[str, Any],
    label: str,
    caption: str,
    alt: str,
    *,
    x: str,
    y: str = "top-1 accuracy",
    colours: Iterable[str] = plots.COLOURS,
    dashes: Iterable[str] = ("solid",),
    modes: Iterable[str] = ("lines",),
    **layout: Any,
) -> Explorer:
    """Return an explorer that draws a line per series, with error bars where the values know their intervals.

    Args:
        values: Called with one value per control, by name. Returns the series, as `lines` takes them, with the same
            names for all settings, and the readings, name -> text; then, if it changes, a part of Plotly's layout.
        controls: Name -> its values in order; integers make a slider, words a menu.
        start: Name -> the value that is shown first.
        label: The number of the figure, such as "8.4".
        caption: What the figure shows.
        alt: A text alternative.
        x: The title of the x axis.
        y: The title of the y axis.
        colours: Of the series, in their order.
        dashes: Of the series, in their order.
        modes: Plotly's, of the series, in their order.
        **layout: More of Plotly's layout.
    """
    looks = zip(cycle(colours), cycle(dashes), cycle(modes))
    traces = [
        go.Scatter(**trace, mode=mode, line={"color": colour, "dash": dash})
        for trace, (colour, dash, mode) in zip(_adjusted(values(**start)[0]), looks)
    ]
    return _adjustable(values, controls, start, plots.figure(*traces, x=x, y=y, **layout), label, caption, alt)


def adjustable_bars(
    values: Callable[..., tuple],
    controls: dict[str, Sequence],
    start: dict[str, Any],
    label: str,
    caption: str,
    alt: str,
    *,
    x: str,
    y: str = "top-1 accuracy",
    colours: Iterable[str] = plots.COLOURS,
    **layout: Any,
) -> Explorer:
    """Return an explorer that draws a group of bars per place, one bar per series.

    Args:
        values: As in `adjustable_lines`.
        controls: As in `adjustable_lines`.
        start: As in `adjustable_lines`.
        label: The number of the figure, such as "8.3".
        caption: What the figure shows.
        alt: A text alternative.
        x: The title of the x axis.
        y: The title of the y axis.
        colours: Of the series, in their order.
        **layout: More of Plotly's layout.
    """
    shown = _adjusted(values(**start)[0])
    traces = [
        go.Bar(**trace, marker={"color": colour, "line": {"width": 0}}) for trace, colour in zip(shown, cycle(colours))
    ]
    layout = {"barmode": "group", "showlegend": len(shown) > 1, **layout}
    return _adjustable(values, controls, start, plots.figure(*traces, x=x, y=y, **layout), label, caption, alt)


def _adjustable(
    values: Callable[..., tuple],
    controls: dict[str, Sequence],
    start: dict[str, Any],
    figure: go.Figure,
    label: str,
    caption: str,
    alt: str,
) -> Explorer:
    def view(**setting: Any) -> View:
        series, readings, *layout = values(**setting)
        return View(_adjusted(series), readings, *layout)

    return Explorer(controls, start, view, figure, label, caption, alt)


def _adjusted(series: Series) -> list[dict[str, Any]]:
    """Return the traces of series; one without intervals has no error bars, whatever it had before."""
    traces = []
    for name, by_place in series.items():
        known = _known(by_place)
        trace = {"error_y": {"visible": False}} | _trace(name, known, known.values())
        trace["error_y"] = {"visible": True} | trace["error_y"]
        trace["y"] = [None if height is None else float(f"{height:.4g}") for height in trace["y"]]
        traces.append(trace)
    return traces


_RANGE_DASHES = ("solid", "dash", "dot", "dashdot")


def _measured(value: Any) -> Any:
    """Return a number, a Share or an Estimate; None where there is no value."""
    for name in ("share", "estimate"):
        value = getattr(value, name, value)
    if isinstance(value, Estimate) and not value:
        return None
    return value


def _known(by_place: Mapping[Any, Any]) -> dict[Any, Any]:
    return {place: _measured(value) for place, value in by_place.items()}


def _height(value: Any) -> float | None:
    return None if value is None else float(value)


def _places(named: Mapping[str, Mapping[Any, Any]]) -> list[Any]:
    """Return the places of all series, in the order in which they come."""
    return list(dict.fromkeys(place for found in named.values() for place in found))


def _place(place: Any) -> Any:
    return place if isinstance(place, int | float) else plots.text(place)


def _trace(name: str, places: Iterable[Any], values: Iterable[Any]) -> dict[str, Any]:
    """Return x, y and, where there are intervals, the error bars of a series."""
    values = list(values)
    trace: dict[str, Any] = {"name": name, "x": [*map(_place, places)], "y": [*map(_height, values)]}
    if any(isinstance(value, Share | Estimate) for value in values):
        above, below = zip(*map(_bar_ends, values))
        trace["error_y"] = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1}
    return trace


def _bar_ends(value: Any) -> tuple[float | None, float | None]:
    """Return how far the interval of a value goes above and below it; None without an interval, as for one seed."""
    if not isinstance(value, Share | Estimate) or not isfinite(value.half_width):
        return None, None
    return value.high - float(value), float(value) - value.low


def _layout(values: Sequence[Any], places: Sequence[Any], layout: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layout, with the axes that values and places call for unless it says otherwise."""
    known = [value for value in values if value is not None]
    vertical: dict[str, Any] = {}
    if known and all(isinstance(value, Share) for value in known):
        vertical = plots.ACCURACY
    elif any(isinstance(value, Share | Estimate) for value in known):
        vertical = plots.PERCENT
    horizontal = {} if all(isinstance(place, int | float) for place in places) else {"type": "category"}
    axes = {"xaxis": horizontal, "yaxis": vertical}
    return {**layout, **{name: {**axis, **layout.get(name, {})} for name, axis in axes.items()}}


def _table(series: Series, x: str, layout: Mapping[str, Any]) -> plots.Table:
    """Return a row per place and a column per series."""
    percent = "%" in layout["yaxis"].get("tickformat", "")
    across = "%" in layout["xaxis"].get("tickformat", "")

    def written(value: Any) -> Any:
        value = getattr(value, "share", value)
        return f"{value:.1%}" if percent and isinstance(value, float) else value

    rows = [
        (
            f"{place:.0%}" if across else _place(place),
            *(written(found[place]) if place in found else "" for found in series.values()),
        )
        for place in _places(series)
    ]
    return plots.Table((x, *series), rows)
