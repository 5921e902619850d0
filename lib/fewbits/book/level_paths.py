"""The accuracy of a schedule level by level: how far it falls with each level, and what training wins back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fewbits import explore
from fewbits.book import reference
from fewbits.book.reference import Cell
from fewbits.statistics import Estimate, Share

_FLOAT = 0.5  # the place of the float network


class LevelPath(NamedTuple):
    """Validation accuracy while one level after the other is quantized.

    Attributes:
        levels: The names of the levels, in the order in which they are quantized.
        accuracies: Place -> accuracy. The float network is at 0.5; level n, from 1 on, is quantized at n and trained at
            n + 0.5. What nothing is left to train for has no accuracy after training.
    """

    levels: tuple[str, ...]
    accuracies: dict[float, Share | Estimate]

    @property
    def falls(self) -> dict[str, float]:
        """Level -> how far the accuracy falls when it is quantized."""
        at = self.accuracies
        return {level: float(at[n - 0.5]) - float(at[n]) for n, level in enumerate(self.levels, 1)}

    @property
    def rises(self) -> dict[str, float]:
        """Level -> how far the accuracy then rises by training, of those levels that are trained."""
        at = self.accuracies
        trained = ((n, level) for n, level in enumerate(self.levels, 1) if n + 0.5 in at)
        return {level: float(at[n + 0.5]) - float(at[n]) for n, level in trained}

    @property
    def deepest(self) -> tuple[str, float]:
        """The level whose quantization costs most, and how far the accuracy falls there."""
        return max(self.falls.items(), key=lambda fall: fall[1])

    @property
    def end(self) -> float:
        """The accuracy in the end."""
        return float([*self.accuracies.values()][-1])


def path_of(cell: Cell, start: Share) -> LevelPath:
    """Return the path of trials that quantize level by level: means over the seeds, with their 95 % intervals.

    Args:
        cell: The trials; at least one has been run. With a single one, intervals are those of its validation images.
        start: The validation accuracy of the float network.
    """
    levels = tuple(name for name, _ in cell.records[0].results.stages)
    found: dict[float, list[float]] = {}
    for record in cell.records:
        steps: dict[float, float] = {}
        for entry in record.results.history:
            if "val_accuracy_before" in entry:
                steps[entry["stage"]] = entry["val_accuracy_before"]
            steps[entry["stage"] + 0.5] = entry["val_accuracy"]
        if not record.results.stages[-1][1]:  # when the last level is locked, nothing is left to train
            steps[len(levels)] = record.results.validation.share.value
        for place, value in steps.items():
            found.setdefault(place, []).append(value)
    accuracies: dict[float, Share | Estimate] = {_FLOAT: start}
    return LevelPath(levels, accuracies | {n: _of_seeds(found[n], start.n) for n in sorted(found)})


def show_level_paths(
    cells: Mapping[str, Cell],
    start: Share,
    label: str,
    caption: str,
    alt: str,
    *,
    colours: Iterable[str],
    dashes: Iterable[str],
) -> None:
    """Show the paths of trials as lines over the levels, with two points for each level.

    Args:
        cells: Name -> trials of one network that quantize level by level.
        start: The validation accuracy of the float network.
        label: The number of the figure, such as "92.6".
        caption: What the figure shows; what the intervals are of is added to it.
        alt: A text alternative.
        colours: Of the lines, in their order.
        dashes: Of the lines, in their order.
    """
    paths = {name: path_of(cell, start) for name, cell in cells.items()}
    levels = next(iter(paths.values())).levels
    series = {name: path.accuracies for name, path in paths.items()}
    explore.lines(
        series,
        label,
        f"{caption} (reference; {reference.seeds_of(cells.values())}): means with 95 % intervals, of one seed that of "
        "its images.",
        alt,
        x="level",
        y="validation accuracy",
        yaxis=explore.ACCURACY,
        xaxis={
            "tickvals": [_FLOAT, *(n + 0.25 for n in range(1, len(levels) + 1))],
            "ticktext": ["float", *levels],
            "range": [0.3, len(levels) + 0.7],
        },
        height=460,
        colours=colours,
        dashes=dashes,
        table=reference.data_table("after", series, reference.made_with(cells.values()), _names(levels)),
    )


def _names(levels: Sequence[str]) -> dict[float, str]:
    """Return what each place is called."""
    names = {_FLOAT: "float"} | {n: f"{level}, quantized" for n, level in enumerate(levels, 1)}
    return names | {n + 0.5: f"{level}, trained" for n, level in enumerate(levels, 1)}


def _of_seeds(values: Sequence[float], images: int) -> Share | Estimate:
    return Estimate.of(values) if len(values) > 1 else Share(round(images * values[0]), images)
