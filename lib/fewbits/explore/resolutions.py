"""An explorer of what networks cost: parameters, MACs and memory, level by level."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import plotly.graph_objects as go

from fewbits.backend import keras
from fewbits.costs.complexity import Row, cost_table, totals
from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View

SIDES = (96, 128, 192, 224, 256, 288, 320)
QUANTITIES = ("parameters", "MACs", "activations")


def costs_by_level(
    networks: Mapping[str, Callable[[int], keras.Model]], label: str, sides: Sequence[int] = SIDES
) -> Explorer:
    """Return an explorer of where networks keep their parameters, MACs and activations, level by level.

    A level is named by what comes before the first underscore of a layer's name. Layers without parameters belong to
    the level before them.

    Args:
        networks: Name -> function from the side of a square image, in pixels, to a functional model.
        label: The number of the figure.
        sides: Sides of images that every network takes; the middle one is shown first.

    Raises:
        InputError: as `costs.cost_table`.
    """
    counted = {}
    for name, side in itertools.product(networks, sides):
        model = networks[name](side)
        counted[name, side] = _levels(cost_table(model)), totals(model)

    def view(network: str, side: int, quantity: str) -> View:
        levels, sums = counted[network, side]
        heights = {level: row[QUANTITIES.index(quantity)] for level, row in levels.items()}
        largest = max(heights, key=lambda level: heights[level])
        readings = {
            "largest share": f"{largest}: {heights[largest] / sum(heights.values()):.1%}",
            "parameters": f"{sums.parameters:,}",
            "at 32 bits": _megabytes(sums.weight_bytes),
            "MACs": f"{sums.macs / 1e6:,.2f} million",
            "activations": f"{sums.activations:,}",
            "peak of activations at 32 bits": _megabytes(4 * sums.peak_activations),
        }
        return View(
            [{"x": list(heights), "y": list(heights.values())}], readings, {"yaxis": {"title": {"text": quantity}}}
        )

    return Explorer(
        {"network": tuple(networks), "side": sides, "quantity": QUANTITIES},
        {"network": next(iter(networks)), "side": sides[len(sides) // 2], "quantity": QUANTITIES[0]},
        view,
        plots.figure(
            go.Bar(name="level", marker={"color": plots.BLUE}),
            x="level",
            y="",
            showlegend=False,
        ),
        label,
        "Parameters, MACs and activations of each level, for one square image of the given side in pixels. The peak is "
        "the most memory that activations fill at once, layer after layer.",
        "Bars, one per level of the network: its parameters, MACs or activations.",
    )


def _levels(rows: Iterable[Row]) -> dict[str, list[int]]:
    """Return the QUANTITIES of each level, in order; rows before the first level belong to it."""
    rows = list(rows)
    named = [row.name.split("_")[0] if row.parameters else None for row in rows]
    level = next(filter(None, named), "all")
    levels: dict[str, list[int]] = {}
    for row, name in zip(rows, named):
        level = name or level
        sums = levels.setdefault(level, [0] * len(QUANTITIES))
        levels[level] = [n + getattr(row, quantity.lower()) for n, quantity in zip(sums, QUANTITIES)]
    return levels


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
