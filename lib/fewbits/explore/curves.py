"""How schedules went: the accuracy over their epochs, while they run and afterwards, and the kernels by stage."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fewbits.backend import ops
from fewbits.errors import InputError
from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View
from fewbits.explore.histograms import short
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.sqnr import quantization_error
from fewbits.statistics import Share
from fewbits.training.loop import TrainingProgress
from fewbits.training.schedules import ScheduleOutcome, Stage

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MEASURES = ("SQNR in dB", "moved, in %")
PathPoint = tuple[float, float, str, bool]  # epochs done, accuracy, what it is, whether a stage begins there
MOST_SQNR = 60  # dB; few bits give less, and a layer whose values all fit has infinite


def training_curve(
    outcomes: dict[str, ScheduleOutcome], images: int, label: str, caption: str, start: float | None = None
) -> None:
    """Show the validation accuracy of schedules over their epochs.

    A cross marks where a stage begins: what its quantization has left before anything is trained.

    Args:
        outcomes: Name -> outcome of the schedule.
        images: How many validation images the accuracies are measured on.
        label: The number of the figure.
        caption: What the figure shows.
        start: The accuracy of the float network.
    """
    paths = {name: _path(outcome.history, start, outcome) for name, outcome in outcomes.items()}
    figure = _figure()
    for number, (name, path) in enumerate(paths.items()):
        figure.add_traces(_traces(name, number, path))
    _name_levels(figure, paths.values())
    plots.show(
        figure,
        label,
        f"{caption} A cross is the accuracy where a stage begins: quantized, and not trained yet.",
        f"Validation accuracy over epochs, one line each for {', '.join(outcomes)}; it falls where a stage begins.",
        plots.Table(
            ("schedule", "stage", "after epoch", "accuracy", "95 % low", "95 % high"),
            [
                (name, what, int(epoch), accuracy, _share(accuracy, images).low, _share(accuracy, images).high)
                for name, path in paths.items()
                for epoch, accuracy, what, _ in path
            ],
        ),
    )


class LiveCurve:
    """The figure of `training_curve`, growing while schedules run in JupyterLab; nothing while the book is built.

    Attributes:
        start: The accuracy of the float network.
        histories: Name of a schedule -> its epochs so far.
        figure: The live figure; None before the first schedule.
    """

    def __init__(self, start: float | None = None):
        self.start = start
        self.histories: dict[str, list[dict]] = {}
        self.figure: Any = None

    def follow(self, name: str) -> Callable[[TrainingProgress], None]:
        """Return the `progress` of a schedule that draws it; the first call shows the figure."""
        self.histories[name] = []

        def progress(step: TrainingProgress) -> None:
            if step.step == step.steps:
                self.histories[name].append({"epoch": step.epoch, **step.results})
                if self.figure is not None:
                    self._draw(name)

        if not plots.in_book():
            self._begin(name)
        return progress

    def _begin(self, name: str) -> None:
        from IPython.display import display

        shown = self.figure is not None
        self.figure = self.figure if shown else plots.widget(_figure())
        if list(self.histories).index(name) * 2 == len(self.figure.data):
            self.figure.add_traces(_traces(name, len(self.figure.data) // 2, []))
        if not shown:
            display(self.figure)

    def _draw(self, name: str) -> None:
        first = 2 * list(self.histories).index(name)
        path = _path(self.histories[name], self.start)
        with self.figure.batch_update():
            for trace, new in zip(self.figure.data[first : first + 2], _traces(name, first // 2, path)):
                trace.update({"x": new.x, "y": new.y, "hovertext": new.hovertext})


def _path(
    history: Iterable[dict], start: float | None = None, outcome: ScheduleOutcome | None = None
) -> list[PathPoint]:
    """Return the points of a schedule: epochs done, accuracy, what it is, and whether a stage begins there."""
    history = list(history)
    points: list[PathPoint] = [] if start is None else [(0, start, "float", False)]
    for entry in history:
        stage = f"stage {entry['stage']}" if outcome is None else outcome.stages[entry["stage"] - 1].name
        if "val_accuracy_before" in entry:
            points.append((entry["epoch"] - 1, entry["val_accuracy_before"], f"{stage} quantized", True))
        points.append((entry["epoch"], entry["val_accuracy"], f"{stage} trained", False))
    if outcome is not None and not outcome.stages[-1].epochs:
        points.append((len(history), outcome.val_accuracy, f"{outcome.stages[-1].name} quantized", True))
    return points


def _figure() -> go.Figure:
    return plots.figure(
        x="epochs", y="validation accuracy", yaxis={"tickformat": ".0%", "range": [0, 1.02]}, height=420
    )


def _traces(name: str, number: int, path: list[PathPoint]) -> list[go.Scatter]:
    line = {"color": plots.COLOURS[number % len(plots.COLOURS)], "dash": DASHES[number % len(DASHES)], "width": 2}
    begins = [point for point in path if point[3]]
    marker = {"symbol": "x", "size": 9, "color": line["color"]}

    def trace(points: list[PathPoint], **options: Any) -> go.Scatter:
        x, y, texts, _ = zip(*points) if points else [()] * 4
        return go.Scatter(x=x, y=y, hovertext=texts, name=name, legendgroup=name, **options)

    return [trace(path, mode="lines", line=line), trace(begins, mode="markers", marker=marker, showlegend=False)]


def _name_levels(figure: go.Figure, paths: Iterable[list[PathPoint]]) -> None:
    """Write what is quantized where, if all schedules agree on it."""
    marks = [{(epoch, what.removesuffix(" quantized")) for epoch, _, what, begins in path if begins} for path in paths]
    longest = max(marks, key=len, default=set())
    if not all(mark <= longest for mark in marks):
        return
    for epoch, name in sorted(longest):
        figure.add_vline(
            epoch,
            line={"color": plots.GREY, "dash": "dot", "width": 1},
            annotation={"text": name, "textangle": -90, "font": {"size": 11}, "yanchor": "bottom", "y": 0.02},
            annotation_position="bottom right",
        )


class Snapshots:
    """Keeps kernels, formats and locks of every stage of a schedule; to be passed as its `on_stage`.

    Attributes:
        kernels: Layer name -> kernel, before the first stage and after each.
        layers: Layer name -> (kernel format, rounding, locked), of each stage.
    """

    def __init__(self) -> None:
        self.kernels: list[dict[str, np.ndarray]] = []
        self.layers: list[dict[str, tuple]] = []

    def __call__(self, stage: Stage | None, network: QuantizedModel) -> None:
        """Keep what a stage has set, and the kernels that the stage before it left; None marks the end."""
        layers = network.quantized_layers
        self.kernels.append({layer.name: ops.convert_to_numpy(layer.kernel).copy() for layer in layers})
        if stage is not None:
            self.layers.append({layer.name: (layer.formats.kernel, layer.rounding, layer.locked) for layer in layers})


def kernels_by_stage(runs: dict[str, tuple[ScheduleOutcome, Snapshots]], images: int, label: str) -> Explorer:
    """Return an explorer of finished schedules: what their stages have done to the kernels, layer by layer.

    A schedule that is shorter than the longest stays at its last stage.

    Args:
        runs: Name -> outcome, and the Snapshots that were the `on_stage` of the schedule.
        images: How many validation images the accuracies are measured on.
        label: The number of the figure.

    Raises:
        InputError: when Snapshots lack stages, because a resumed training found these finished.
    """
    for name, (outcome, kept) in runs.items():
        if len(kept.layers) != len(outcome.stages):
            raise InputError(
                f"{name} has {len(outcome.stages)} stages, and its snapshots {len(kept.layers)}; run it without resume"
            )
    heights = {
        (name, stage): _heights(kept, stage)
        for name, (outcome, kept) in runs.items()
        for stage in range(len(outcome.stages) + 1)
    }
    top = [max(max(bars[i]) for bars in heights.values()) for i in range(len(MEASURES))]

    def view(schedule: str, stage: int, measured: str) -> View:
        outcome, kept = runs[schedule]
        stage, i = min(stage, len(outcome.stages)), MEASURES.index(measured)
        layers = kept.layers[stage - 1] if stage else dict.fromkeys(kept.kernels[0], (None, None, False))
        readings = {
            "stage": outcome.stages[stage - 1].name if stage else "none: float",
            **_accuracies(outcome, stage, images),
            "quantized layers": str(sum(fmt is not None for fmt, *_ in layers.values())),
            "locked layers": str(sum(locked for *_, locked in layers.values())),
        }
        marker = {"color": [_colour(fmt, locked) for fmt, _, locked in layers.values()]}
        bars = {"x": list(layers), "y": heights[schedule, stage][i], "marker": marker}
        return View([bars], readings, {"yaxis": {"title": {"text": measured}, "range": [0, 1.05 * top[i] or 1]}})

    last = max(stage for _, stage in heights)
    return Explorer(
        {"schedule": tuple(runs), "stage": tuple(range(last + 1)), "measured": MEASURES},
        {"schedule": max(runs, key=lambda name: len(runs[name][0].stages)), "stage": last, "measured": MEASURES[-1]},
        view,
        plots.figure(go.Bar(), x="layer", y="", showlegend=False, height=420),
        label,
        "The kernels after each stage. Grey layers are float, blue ones quantized, orange ones quantized and locked. "
        "Moved: the distance from the float network's kernel, in % of its norm. SQNR: of the quantized kernel.",
        "Bars, one per layer: how far training has moved its kernel, or the signal-to-quantization-noise ratio.",
    )


def _heights(kept: Snapshots, stage: int) -> tuple[list[float], list[float]]:
    """Return the heights of the bars of all layers after a stage, by each of MEASURES."""
    kernels, before = kept.kernels[stage], kept.kernels[0]
    layers = kept.layers[stage - 1] if stage else {}
    formats = {name: (fmt, rounding) for name, (fmt, rounding, _) in layers.items() if fmt is not None}
    sqnr = [quantization_error(w, *formats[name]).sqnr if name in formats else 0.0 for name, w in kernels.items()]
    norms = {name: np.linalg.norm(w) or 1.0 for name, w in before.items()}
    moved = [100 * np.linalg.norm(w - before[name]) / norms[name] for name, w in kernels.items()]
    return short(np.clip(sqnr, 0, MOST_SQNR)), short(moved)


def _accuracies(outcome: ScheduleOutcome, stage: int, images: int) -> dict[str, str]:
    entries = [entry for entry in outcome.history if entry["stage"] == stage]
    found = {}
    if entries:
        found = {"quantized": entries[0]["val_accuracy_before"], "trained": entries[-1]["val_accuracy"]}
    elif stage == len(outcome.stages):
        found = {"quantized": outcome.val_accuracy}
    shares = {name: (accuracy, _share(accuracy, images)) for name, accuracy in found.items()}
    return {name: f"{accuracy:.1%} ({share.low:.1%} to {share.high:.1%})" for name, (accuracy, share) in shares.items()}


def _share(accuracy: float, images: int) -> Share:
    return Share(round(accuracy * images), images)


def _colour(fmt: object, locked: bool) -> str:
    return plots.GREY if fmt is None else plots.ORANGE if locked else plots.BLUE
