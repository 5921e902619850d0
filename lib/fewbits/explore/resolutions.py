"""An explorer of what networks cost: parameters, MACs and memory, level by level."""

import itertools

import plotly.graph_objects as go

from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View

SIDES = (96, 128, 192, 224, 256, 288, 320)
QUANTITIES = ("parameters", "MACs", "activations")


def costs_by_level(networks, label: str, sides=SIDES) -> Explorer:
    """Return an explorer of where networks keep their parameters, MACs and activations, level by level.

    networks: name -> function from the side of a square image, in pixels, to a functional keras.Model. A level is what
    stands before the first underscore of a layer's name; layers without parameters belong to the level before them.
    sides: those that every network takes; the middle one is shown first. Errors as in `complexity.cost_table`.
    """
    from fewbits.costs.complexity import cost_table, totals

    counted = {}
    for name, side in itertools.product(networks, sides):
        model = networks[name](side)
        counted[name, side] = _levels(cost_table(model)), totals(model)

    def view(network, side, quantity):
        levels, sums = counted[network, side]
        heights = {level: row[QUANTITIES.index(quantity)] for level, row in levels.items()}
        largest = max(heights, key=heights.get)
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
            xaxis={"autotickangles": [0, -45, -90]},
        ),
        label,
        "Parameters, MACs and activations of each level, for one square image of the given side in pixels. The peak is "
        "the most memory that activations fill at once, layer after layer.",
        "Bars, one a level of the network: its parameters, MACs or activations.",
    )


def _levels(rows) -> dict[str, list[int]]:
    """Return the QUANTITIES of each level, in the order of `rows`; rows before the first level belong to it."""
    named = [row.name.split("_")[0] if row.parameters else None for row in rows]
    level = next(filter(None, named), "all")
    levels = {}
    for row, name in zip(rows, named):
        level = name or level
        sums = levels.setdefault(level, [0] * len(QUANTITIES))
        levels[level] = [n + getattr(row, quantity.lower()) for n, quantity in zip(sums, QUANTITIES)]
    return levels


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
