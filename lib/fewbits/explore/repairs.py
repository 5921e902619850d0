"""An explorer of a study: what is quantized, how it is rounded, and where the MSBs come from."""

import plotly.graph_objects as go

from fewbits.experiment import Scheme, Study
from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View
from fewbits.statistics import wilson_interval

ROUNDINGS = ("floor", "nearest")
KINDS = ("kernels", "kernels, inputs", "kernels, inputs, outputs")


def accuracy_by_scheme(study: Study, bits, rules: dict[str, dict], printed: dict, label: str, network: str) -> Explorer:
    """Return an explorer of the accuracy that bits, rounding and MSB rules leave of a network.

    bits: of kernel, input and output; each setting is shown with others that quantize as much. rules: what the reader
    chooses -> the fields of a Scheme. printed: bits -> share in print, to stand beside. network: what was run on what.
    """
    groups = {}
    for three in bits:
        groups.setdefault(KINDS[sum(b is not None for b in three) - 1], []).append(three)

    def view(quantized, rounding, MSB):
        chosen = groups[quantized]
        names = ["-".join("f" if b is None else str(b) for b in three) for three in chosen]
        found = [study.get(Scheme(bits=three, rounding=rounding, **rules[MSB])) for three in chosen]
        ours = [None if answers is None else float(answers.top1.mean()) for answers in found]
        reach = [(0, 0) if a is None else wilson_interval(int(a.top1.sum()), len(a.top1)) for a in found]
        error = {
            "array": [round(high - (y or 0), 4) for y, (_, high) in zip(ours, reach)],
            "arrayminus": [round((y or 0) - low, 4) for y, (low, _) in zip(ours, reach)],
        }
        colour = plots.ORANGE if rounding == "floor" else plots.BLUE
        traces = [
            {"x": names, "y": [printed.get(three) for three in chosen]},
            {"x": names, "y": ours, "error_y": error, "marker": {"color": colour}},
        ]
        readings = {name: "not run" if answers is None else str(answers) for name, answers in zip(names, found)}
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
