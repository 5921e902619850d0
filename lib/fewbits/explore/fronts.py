"""Explorers of what accuracy costs: networks as points, and the Pareto front, the line of those that none beats."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from fewbits.errors import InputError
from fewbits.explore import plots
from fewbits.explore.axes import log_axis
from fewbits.explore.explorer import Explorer, View

ALL = "all"
COLOURS = tuple(colour for colour in plots.COLOURS if colour != plots.GREY)  # grey is for what is not ours
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "pentagon")


class Point(NamedTuple):
    """A network with its accuracy and its costs.

    Attributes:
        name: What it is called.
        group: What it belongs to, such as a technique.
        accuracy: Top-1, from 0 to 1.
        half_width: Half the width of the interval of its accuracy.
        costs: Cost -> number.
        training: In a few words, what it was trained with.
        command: The command that makes it.
    """

    name: str
    group: str
    accuracy: float
    half_width: float
    costs: dict[str, float]
    training: str = ""
    command: str = ""


def pareto_front(points: Sequence[Point], cost: str) -> list[Point]:
    """Return the points that no other beats, cheapest first: no other costs as little and is as accurate.

    Of equal points the first stays. Points without the cost are left out.

    Args:
        points: Networks.
        cost: Which of their costs to compare.

    Example:
        >>> small, large = Point("small", "ours", 0.8, 0.01, {"kB": 70}), Point("large", "ours", 0.7, 0.01, {"kB": 90})
        >>> [point.name for point in pareto_front([large, small], "kB")]
        ['small']
    """
    best, found = -1.0, list[Point]()
    for point in sorted((p for p in points if cost in p.costs), key=lambda p: (p.costs[cost], -p.accuracy)):
        if point.accuracy > best:
            best = point.accuracy
            found.append(point)
    return found


def table_of_fronts(fronts: Mapping[str, Sequence[Point]], units: Mapping[str, str]) -> plots.Table:
    """Return a row per network that is on any front, the least accurate first; a star marks the costs of its fronts.

    Args:
        fronts: Cost -> the points on its front, as `pareto_front` returns them. All points have all these costs.
        units: Cost -> its unit.
    """
    on = {cost: {id(point) for point in front} for cost, front in fronts.items()}
    best = {id(point): point for front in fronts.values() for point in front}
    rows = [
        (
            point.name,
            point.training,
            f"{point.accuracy:.1%} ± {100 * point.half_width:.1f}",
            *(f"{point.costs[cost]:,.4g}{' *' * (key in on[cost])}" for cost in fronts),
        )
        for key, point in sorted(best.items(), key=lambda found: found[1].accuracy)
    ]
    return plots.Table(("network", "trained with", "top-1", *(f"{cost}, {units[cost]}" for cost in fronts)), rows)


def accuracy_over_cost(points: Sequence[Point], units: dict[str, str], label: str, caption: str) -> Explorer:
    """Return an explorer of accuracy over a cost that the reader chooses, with the Pareto front.

    Args:
        points: Networks.
        units: Cost -> its unit. Costs are positive, because the axis is logarithmic.
        label: The number of the figure.
        caption: What the figure shows.

    Raises:
        InputError: when there are no points.
    """
    if not points:
        raise InputError("there is no network to show; give at least one point")
    groups = _groups(points)

    def view(cost: str) -> View:
        best = pareto_front(points, cost)
        traces: list[dict] = [{"x": [p.costs[cost] for p in best], "y": [p.accuracy for p in best]}]
        for members in groups.values():
            shown = [p for p in members if cost in p.costs]
            traces.append(
                {
                    "x": [p.costs[cost] for p in shown],
                    "y": [p.accuracy for p in shown],
                    "text": [p.name for p in shown],
                    "error_y": {"array": [p.half_width for p in shown]},
                }
            )
        named = [f"{p.name} ({p.accuracy:.1%}, {p.costs[cost]:,.4g} {units[cost]})" for p in best]
        return View(
            traces,
            {"no other is better": "; ".join(named) or "not known"},
            {"xaxis": _axis(points, cost, units[cost])},
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
        yaxis={"tickformat": ".0%", "rangemode": "nonnegative"},
        height=440,
    )
    return Explorer(
        {"cost": tuple(units)},
        {"cost": next(iter(units))},
        view,
        figure,
        label,
        caption,
        "Points, one per network: accuracy over what it costs, and the line of those that no other beats.",
    )


def choose_network(
    points: Sequence[Point], others: Sequence[Point], units: dict[str, str], label: str, caption: str
) -> Explorer:
    """Return an explorer for choosing a network on the Pareto front, with the command that makes it.

    The reader chooses the cost, a group or all of them, and a place on the front of that group, the cheapest first;
    places beyond the end show the last. A point without a cost is not shown over it.

    Args:
        points: Networks.
        others: Networks of somebody else, shown beside all groups and never on the front.
        units: As in `accuracy_over_cost`.
        label: The number of the figure.
        caption: What the figure shows.

    Raises:
        InputError: when there are no points.
    """
    if not points:
        raise InputError("there is no network to choose from; give at least one point")
    groups, theirs = _groups(points), _groups(others)
    fronts = {
        (cost, group): pareto_front([p for p in points if group in (ALL, p.group)], cost)
        for cost in units
        for group in (ALL, *groups)
    }

    def view(cost: str, place: int, technique: str) -> View:
        best = fronts[cost, technique]
        chosen = best[min(place, len(best)) - 1 :][:1]
        traces: list[dict] = [_at(best, cost), _at(chosen, cost)]
        for group, members in (*groups.items(), *theirs.items()):
            seen = technique in (ALL, group)
            traces.append({"visible": True, "x": _at(members, cost)["x"]} if seen else {"visible": False})
        network = chosen[0] if chosen else Point("none", "", 0, 0, {})
        readings = {
            "place on the line": f"{min(place, len(best))} of {len(best)}",
            "network": network.name,
            "technique": network.group,
            "accuracy": f"{network.accuracy:.1%} ± {100 * network.half_width:.1f}" if chosen else "",
            "trained with": network.training,
            **{
                c: f"{network.costs[c]:,.4g} {unit}" if c in network.costs else "not measured"
                for c, unit in units.items()
            },
            "command": network.command,
        }
        return View(traces, readings, {"xaxis": _axis([*points, *others], cost, units[cost])})

    def cloud(name: str, members: list[Point], symbol: str, colour: str, **error: Any) -> go.Scatter:
        return go.Scatter(
            name=name,
            mode="markers",
            y=[p.accuracy for p in members],
            text=[", ".join(filter(None, (p.name, p.training))) for p in members],
            error_y={"type": "data", "array": [p.half_width for p in members], "thickness": 1, **error},
            marker={"size": 8, "symbol": symbol, "color": colour},
            hovertemplate="%{text}: %{y:.1%}<extra></extra>",
        )

    hollow = [f"{symbol}-open" for symbol in SYMBOLS]
    figure = plots.figure(
        go.Scatter(name="the best", mode="lines", line={"color": plots.GREY, "dash": "dot", "shape": "hv"}),
        go.Scatter(
            name="chosen",
            mode="markers",
            marker={"size": 20, "symbol": "circle-open", "color": plots.GREY, "line": {"width": 3}},
            hoverinfo="skip",
        ),
        *(cloud(*of, *look) for of, *look in zip(groups.items(), SYMBOLS * len(groups), COLOURS * len(groups))),
        *(cloud(*of, look, plots.GREY, visible=False) for of, look in zip(theirs.items(), hollow * len(theirs))),
        x="",
        y="top-1 accuracy",
        yaxis={"tickformat": ".0%", "rangemode": "nonnegative"},
        height=640,
    )
    first = next(iter(units))
    return Explorer(
        {
            "cost": tuple(units),
            "place": tuple(range(1, max(map(len, fronts.values())) + 1)),
            "technique": (ALL, *groups),
        },
        {"cost": first, "place": (len(fronts[first, ALL]) + 1) // 2, "technique": ALL},
        view,
        figure,
        label,
        caption,
        "Points, one per network: accuracy over what it costs, the line of those that no other beats, and one chosen.",
    )


def _groups(points: Sequence[Point]) -> dict[str, list[Point]]:
    return {p.group: [q for q in points if q.group == p.group] for p in points}


def _axis(points: Sequence[Point], cost: str, unit: str) -> dict[str, Any]:
    return log_axis([p.costs.get(cost) for p in points], title={"text": f"{cost} ({unit})"})


def _at(points: Sequence[Point], cost: str) -> dict[str, list]:
    """Return where points are over a cost, to four digits; None if it is not known."""
    found = [p.costs.get(cost) for p in points]
    return {"x": [c and float(f"{c:.4g}") for c in found], "y": [p.accuracy for p in points]}
