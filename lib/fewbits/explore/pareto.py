"""An explorer of what accuracy costs: networks as points, and the line of those that no other beats."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from fewbits import plots
from fewbits.errors import InputError
from fewbits.explore.explorer import Explorer, View

SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "pentagon")


class Point(NamedTuple):
    """A network: what it is called and belongs to, its top-1 accuracy, half of its interval, and cost -> number."""

    name: str
    group: str
    accuracy: float
    reach: float
    costs: dict[str, float]


def front(points: Sequence[Point], cost: str) -> list[Point]:
    """Return the `points` that no other beats, cheapest first: none costs no more and is at least as accurate.

    Of equal points the first stays. A point without the `cost` is no candidate.
    """
    best, found = -1.0, []
    for point in sorted((p for p in points if cost in p.costs), key=lambda p: (p.costs[cost], -p.accuracy)):
        if point.accuracy > best:
            best = point.accuracy
            found.append(point)
    return found


def pareto(points: Sequence[Point], units: dict[str, str], label: str, caption: str) -> Explorer:
    """Return an explorer of `points`: accuracy over a cost that the reader chooses, with the line of `front`.

    units: cost -> what stands at its axis; costs are positive, for the axis is logarithmic. Raises InputError without
    points.
    """
    if not points:
        raise InputError("there is no network to show; give at least one point")
    groups = {p.group: [q for q in points if q.group == p.group] for p in points}

    def view(cost):
        best = front(points, cost)
        traces = [{"x": [p.costs[cost] for p in best], "y": [p.accuracy for p in best]}]
        for members in groups.values():
            shown = [p for p in members if cost in p.costs]
            traces.append(
                {
                    "x": [p.costs[cost] for p in shown],
                    "y": [p.accuracy for p in shown],
                    "text": [p.name for p in shown],
                    "error_y": {"array": [p.reach for p in shown]},
                }
            )
        named = [f"{p.name} ({p.accuracy:.1%}, {p.costs[cost]:,.4g} {units[cost]})" for p in best]
        return View(
            traces,
            {"no other is better": "; ".join(named) or "not known"},
            {"xaxis": {"type": "log", "title": {"text": f"{cost} ({units[cost]})"}}},
        )

    figure = plots.figure(
        go.Scatter(name="the best", mode="lines", line={"color": plots.GREY, "dash": "dot", "shape": "hv"}),
        *(
            go.Scatter(
                name=group,
                mode="markers",
                marker={"size": 10, "symbol": symbol},
                error_y={"type": "data", "thickness": 1},
                hovertemplate="%{text}: %{y:.1%}<extra></extra>",
            )
            for group, symbol in zip(groups, SYMBOLS * len(groups))
        ),
        x="",
        y="top-1 accuracy",
        yaxis={"tickformat": ".0%"},
        height=440,
    )
    return Explorer(
        {"cost": tuple(units)},
        {"cost": next(iter(units))},
        view,
        figure,
        label,
        caption,
        "Points, one a network: accuracy over what it costs, and the line of those that no other beats.",
    )
