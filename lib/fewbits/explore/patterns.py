"""Prunings step by step: which layers lose how many filters, and what happens to the accuracy."""

from itertools import cycle

import plotly.graph_objects as go

from fewbits.errors import InputError
from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View


def pruning_curve(runs: dict[str, list[dict]], label: str, caption: str) -> None:
    """Show the validation accuracy of prunings after each removal and after the training that follows it.

    Args:
        runs: Name -> the steps of a pruning, as `fewbits.pruning.prune` returns them.
        label: The number of the figure.
        caption: What the figure shows.
    """
    traces, rows = [], []
    for (name, (whole, *steps)), colour, dash in zip(runs.items(), cycle(plots.COLOURS), cycle(plots.DASHES)):
        x, y = [0], [whole["val_accuracy"]]
        for step in steps:
            before, after = step["val_accuracy_before"], step["val_accuracy"]
            x += 2 * [step["step"]]
            y += [before, after]
            losses = step["val_loss_before"], step["val_loss"]
            rows.append((name, step["step"], sum(step["filters"].values()), f"{before:.1%}", f"{after:.1%}", *losses))
        line = {"color": colour, "dash": dash}
        traces.append(go.Scatter(x=x, y=y, name=name, mode="lines+markers", line=line))
    plots.show(
        plots.figure(*traces, x="step", y="validation accuracy", xaxis={"dtick": 1}, yaxis=plots.ACCURACY),
        label,
        caption,
        f"Saw-toothed lines over the steps, one each for {', '.join(runs)}: accuracy falls when filters go and rises "
        "when what is left is trained.",
        plots.Table(("criterion", "step", "filters", "removed", "trained", "loss removed", "loss trained"), rows),
    )


def filters_by_step(runs: dict[str, list[dict]], label: str, caption: str) -> Explorer:
    """Return an explorer of the filters that each layer keeps, has lost before a step, and loses in it.

    Layers that lose nothing in any run are left out. A run that is shorter than the longest stays at its last step.

    Args:
        runs: Name -> the steps of a pruning, as `fewbits.pruning.prune` returns them; all of one network.
        label: The number of the figure.
        caption: What the figure shows.

    Raises:
        InputError: when no run has a step.
    """
    last = max((len(steps) - 1 for steps in runs.values()), default=0)
    if not last:
        raise InputError("there is no step to show; give at least one pruning that removed something")
    losing = {name for steps in runs.values() for step in steps[1:] for name, gone in step["removed"].items() if gone}
    whole = next(iter(runs.values()))[0]["filters"]
    names = [name for name in whole if name in losing]

    def view(criterion: str, step: int) -> View:
        steps = runs[criterion][: step + 1]
        now = steps[-1]
        kept = [now["filters"][name] for name in names]
        lost = [len(now.get("removed", {}).get(name, [])) for name in names]
        before = [whole[name] - k - n for name, k, n in zip(names, kept, lost)]
        readings = {
            "removed in this step": f"{sum(lost):,}",
            "filters left": f"{sum(now['filters'].values()):,} of {sum(whole.values()):,}",
            "bytes": f"{now['weight_bytes']:,} ({now['weight_bytes'] / steps[0]['weight_bytes']:.0%})",
            "MACs": f"{now['macs']:,} ({now['macs'] / steps[0]['macs']:.0%})",
            "validation accuracy, removed": f"{now.get('val_accuracy_before', now['val_accuracy']):.1%}",
            "trained": f"{now['val_accuracy']:.1%}",
        }
        return View([{"x": names, "y": y} for y in (kept, lost, before)], readings)

    return Explorer(
        {"criterion": tuple(runs), "step": tuple(range(last + 1))},
        {"criterion": next(iter(runs)), "step": last},
        view,
        plots.figure(
            go.Bar(name="kept", marker={"color": plots.BLUE}),
            go.Bar(name="removed in this step", marker={"color": plots.ORANGE, "pattern": {"shape": "/"}}),
            go.Bar(name="removed before", marker={"color": plots.GREY, "opacity": 0.4}),
            x="layer",
            y="filters",
            barmode="stack",
            xaxis={"autotickangles": [0, -45, -90]},
            height=440,
        ),
        label,
        caption,
        "Stacked bars, one per layer: filters that are kept, removed in this step, and removed before.",
    )
