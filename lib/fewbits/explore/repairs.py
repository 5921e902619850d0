"""Explorers of a study: what is quantized, how it is rounded, where the MSBs come from, and what repairs bring back."""

from collections.abc import Iterable, Mapping
from textwrap import wrap

import plotly.graph_objects as go

from fewbits.experiment import Scheme, Study
from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View
from fewbits.statistics import NO_DATA

ROUNDINGS = ("floor", "nearest")
KINDS = ("kernels", "kernels, inputs", "kernels, inputs, outputs")


def accuracy_by_scheme(
    study: Study,
    bits: Iterable[tuple],
    rules: Mapping[str, dict],
    printed: Mapping[tuple, float],
    label: str,
    network: str,
) -> Explorer:
    """Return an explorer of the accuracy that bits, rounding and MSB rules leave of a network.

    Args:
        study: The answers of the schemes.
        bits: Of kernel, input and output, None for float. Widths that quantize the same kinds are shown together.
        rules: What the reader chooses -> the fields of a Scheme.
        printed: Bits -> share that a thesis prints, shown beside.
        label: The number of the figure.
        network: What was run on what, for the caption.
    """
    groups: dict[str, list[tuple]] = {}
    for three in bits:
        groups.setdefault(KINDS[sum(b is not None for b in three) - 1], []).append(three)

    def view(quantized: str, rounding: str, MSB: str) -> View:
        chosen = groups[quantized]
        names = ["-".join("f" if b is None else str(b) for b in three) for three in chosen]
        found = [study.get(Scheme(bits=three, rounding=rounding, **rules[MSB])) for three in chosen]
        shares = [answers and answers.share for answers in found]
        error = {
            "array": [share and round(share.high - share.value, 4) for share in shares],
            "arrayminus": [share and round(share.value - share.low, 4) for share in shares],
        }
        colour = plots.ORANGE if rounding == "floor" else plots.BLUE
        traces = [
            {"x": names, "y": [printed.get(three) for three in chosen]},
            {
                "x": names,
                "y": [share and share.value for share in shares],
                "error_y": error,
                "marker": {"color": colour},
            },
        ]
        readings = {name: NO_DATA if answers is None else str(answers) for name, answers in zip(names, found)}
        return View(traces, readings)

    error = {"type": "data", "symmetric": False, "thickness": 1}
    figure = plots.figure(
        go.Bar(name="thesis, in print", marker={"color": plots.GREY}),
        go.Bar(name="ours", error_y=error),
        x="bits of kernel, input and output (f: float)",
        y="top-1 accuracy",
        barmode="group",
        xaxis={"type": "category"},
        yaxis={"range": [0, 0.65], "tickformat": ".0%"},
    )
    return Explorer(
        {"quantized": tuple(groups), "rounding": ROUNDINGS, "MSB": tuple(rules)},
        {"quantized": next(iter(groups)), "rounding": "floor", "MSB": next(iter(rules))},
        view,
        figure,
        label,
        f"{network}; 95 % intervals. Grey: as printed in the thesis, rounded down, with its own MSBs and weights.",
        "Bars of the accuracy at each width, beside grey ones of the thesis: rounded down they fall at 8-bit kernels.",
    )


def accuracy_by_repair(
    study: Study, ways: Mapping[str, Mapping[tuple, Scheme]], label: str, network: str, height: int = 620
) -> Explorer:
    """Return an explorer of the accuracy that ways of quantizing a network leave, at the bits that the reader chooses.

    Args:
        study: The answers of the schemes, those of float among them.
        ways: Name -> bits of kernel, input and output -> scheme. All have the same bits.
        label: The number of the figure.
        network: What was run on what, for the caption.
        height: Of the figure, in pixels.
    """
    names = list(ways)[::-1]  # Plotly draws from below
    places = ["<br>".join(wrap(name, 24)) for name in names]  # a phone has room for points beside them
    widths = {plots.text(three): three for three in next(iter(ways.values()))}

    def view(bits: str) -> View:
        found = {name: study.get(ways[name][widths[bits]]) for name in names}
        shares = [answers and answers.share for answers in found.values()]
        error = {
            "array": [share and round(share.high - share.value, 4) for share in shares],
            "arrayminus": [share and round(share.value - share.low, 4) for share in shares],
        }
        trace = {"x": [share and share.value for share in shares], "y": places, "error_x": error}
        readings = {name: NO_DATA if found[name] is None else str(found[name]) for name in ways}
        return View([trace], readings)

    figure = plots.figure(
        go.Scatter(mode="markers", name="ours", error_x={"type": "data", "symmetric": False, "thickness": 1}),
        x="top-1 accuracy",
        y="",
        xaxis={"range": [-0.02, 0.65], "tickformat": ".0%"},
        yaxis={"type": "category", "categoryorder": "array", "categoryarray": places},
        height=height,
    )
    figure.add_vline(study.float.share.value, line={"color": plots.GREY, "dash": "dot"})
    return Explorer(
        {"bits": tuple(widths)},
        {"bits": next(iter(widths))},
        view,
        figure,
        label,
        f"{network}; 95 % intervals. The dotted line is float.",
        "Points of the accuracy of each way: close to float at 8 bits, far apart at fewer.",
    )
