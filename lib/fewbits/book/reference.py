"""Our own results on real data: what data/reference/grids.toml asks for, and what of it has been run.

`make reference` runs it; each record holds its provenance. What is not run is said to be not run.
"""

from collections.abc import Iterable
from math import hypot, inf, isfinite
from pathlib import Path
from typing import NamedTuple

from fewbits.errors import InputError
from fewbits.experiment import Grid, Record, Store, Study, Tally, Trial, read_grid
from fewbits.statistics import mean_interval, wilson_interval
from fewbits.training.schedules import Outcome, Stage

FOLDER = Path(__file__).parents[3] / "data" / "reference"
NOT_RUN = "not run"


class Cell(NamedTuple):
    """Trials that differ in their seed or fold only: the first of them, and the records of those that have been run."""

    trial: Trial
    records: list[Record]

    @property
    def accuracies(self) -> list[float]:
        """Top-1 on the test images, one a seed or fold."""
        return [record.results.accuracy for record in self.records]

    @property
    def drawn_accuracies(self) -> dict[tuple, float]:
        """The same, each with what chance has decided, `drawn`."""
        return {drawn(record.trial): record.results.accuracy for record in self.records}

    @property
    def measured(self) -> tuple[float, float] | None:
        """Top-1 and half of its 95 % interval; None if not run.

        Over the seeds or folds where there are several, else over the test images, without the luck of the seed.
        """
        if len(self.records) > 1:
            return mean_interval(self.accuracies)
        for record in self.records:
            low, high = wilson_interval(record.results.test.hits, record.results.test.n)
            return record.results.accuracy, (high - low) / 2

    def behind_step(self, number: int) -> "Cell":
        """Return the same cell with the tests behind this step of its prunings, and without those that ended before.

        Behind step 0 are the weights that all of them start from: one test.
        """
        found = []
        for record in self.records:
            for step in record.results.pruning[number : number + 1]:
                results = record.results.model_copy(update={"test": Tally(**step["test"])})
                found.append(record.model_copy(update={"results": results}))
        return Cell(self.trial, found if number else found[:1])

    def __str__(self) -> str:
        """The mean accuracy over the seeds, or folds, with its 95 % interval, or that the cell is not run."""
        if not self.records:
            return NOT_RUN
        what = "fold" if any(record.trial.fold for record in self.records) else "seed"
        if len(self.records) == 1:
            return f"{self.accuracies[0]:.1%} (1 {what})"
        mean, reach = mean_interval(self.accuracies)
        return f"{mean:.1%} ± {100 * reach:.1f} ({len(self.records)} {what}s)"


def grids() -> list[Grid]:
    """Return all grids that `make reference` runs."""
    return read_grid(FOLDER / "grids.toml")


def cells(name: str) -> list[Cell]:
    """Return the cells of the grid called `name`, in order; InputError, naming those there are, if there is none."""
    known = {grid.name: grid for grid in grids()}
    if name not in known:
        raise InputError(f"there is no reference grid {name!r}; there are {', '.join(known)}")
    store, found = Store(FOLDER / "trials"), {}
    for trial in known[name].trials:
        cell = found.setdefault(_without_seed(trial), Cell(trial, []))
        record = store.load(trial)
        if record is not None:
            cell.records.append(record)
    return list(found.values())


def _without_seed(trial: Trial) -> Trial:
    """Return what `trial`, and what it starts from, share with those of other seeds and folds."""
    alike = {"seed": 0, "fold": 0}
    if isinstance(trial.start, Trial):
        alike["start"] = _without_seed(trial.start)
    return trial.model_copy(update=alike)


def cell(name: str, **fields) -> Cell:
    """Return the cell of the grid called `name` whose trials have these values; InputError where not just one has."""
    found = [cell for cell in cells(name) if all(getattr(cell.trial, k) == value for k, value in fields.items())]
    if len(found) != 1:
        raise InputError(f"{len(found)} cells of the reference grid {name!r} have {fields}; one is needed")
    return found[0]


def drawn(trial: Trial) -> tuple[int, ...]:
    """Return the seed and the fold of `trial` and of what it starts from: what chance has decided.

    One that is quantized without training draws nothing, and has those of its start alone.
    """
    before = drawn(trial.start) if isinstance(trial.start, Trial) else ()
    return before if before and trial.strategy == "static" else (trial.seed, trial.fold, *before)


def over_seeds(values) -> tuple[float, float] | None:
    """Return the mean of `values`, one a seed, and half of its 95 % interval; None where there are none.

    It is infinite where there is one: a seed does not tell how far another would be from it.
    """
    values = list(values)
    return mean_interval(values) if len(values) > 1 else (values[0], inf) if values else None


def paired(highs: dict, lows: dict) -> tuple[float, float] | None:
    """Return `over_seeds` of how much the values of `highs` are above those of `lows` with the same key."""
    return over_seeds(value - lows[which] for which, value in highs.items() if which in lows)


def difference(high: Cell, low: Cell) -> tuple[float, float] | None:
    """Return by how much `high` is above `low`, mean and half of its 95 % interval.

    Compared is what has the same seeds and folds; None where that is one at most.
    """
    found = paired(high.drawn_accuracies, low.drawn_accuracies)
    return found if found and isfinite(found[1]) else None


def gap(high: Cell, low: Cell) -> tuple[float, float] | None:
    """Return `difference` or, where one seed or fold at most is in both, the same as far as the test images tell.

    Half of the interval is then the root of the sum of the squares of both. None if not run.
    """
    found = difference(high, low)
    if found or not (high.records and low.records):
        return found
    (a, reach), (b, other) = high.measured, low.measured
    return a - b, hypot(reach, other)


def percent(found: tuple[float, float] | None) -> str:
    """Return a share and half of its interval, as `Cell.measured` or `over_seeds` returns them, in percent."""
    return _text(found, "{:.1f}")


def points(found: tuple[float, float] | None) -> str:
    """Return a difference, as `difference` or `paired` returns it, as text: points of accuracy and their interval."""
    return _text(found, "{:+.1f}", " points")


def _text(found, form, unit="") -> str:
    if found is None:
        return NOT_RUN
    mean, reach = (100 * x for x in found)
    return form.format(mean) + (f" ± {reach:.1f}{unit}" if isfinite(reach) else f"{unit} (1 run)")


def verdict(*found: tuple[float, float] | None) -> str:
    """Say whether all differences are above 0: `confirmed`, `refuted` where one is surely below, or `not decided`."""
    if None in found:
        return NOT_RUN
    if all(mean > reach for mean, reach in found):
        return "confirmed"
    return "refuted" if any(-mean > reach for mean, reach in found) else "not decided"


def study(name: str) -> Study:
    """Return our study `name` of schemes without training, an empty one where it has not been run."""
    return Study.load(FOLDER / "studies" / f"{name}.json")


def outcome(record: Record) -> Outcome:
    """Return what the schedule of `record` left, but for its network: for `explore.training_curve`."""
    stages = [Stage(name, {}, frozenset(), epochs) for name, epochs in record.results.stages]
    validation = record.results.validation
    return Outcome(None, stages, record.results.history, validation.hits / validation.n)


def made_with(records: Iterable[Record]) -> str:
    """Return one sentence: images, seeds, hardware, versions, code and time of `records`."""
    records = list(records)
    if not records:
        return "Not run yet."
    first = records[0]
    images = {record.trial.images for record in records}
    trained = ", ".join(
        "all training images" if n is None else f"{n:,} training images" for n in sorted(images, key=str)
    )
    seeds = sorted({drawn(record.trial)[0] for record in records})
    hardware, versions = first.provenance["hardware"], first.provenance["versions"]
    commits = sorted({(r.provenance["commit"] or {}).get("id", "unknown")[:7] for r in records})
    backend = next(name for name in ("tensorflow", "jax", "torch") if name in versions)
    seconds = sum(record.provenance["seconds"] for record in records)
    data = " and ".join(dict.fromkeys(record.trial.data for record in records))
    return (
        f"{data}, {trained}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}; "
        f"{hardware['gpu'] or hardware['cpu']}, {hardware['cores']} cores; Keras {versions['keras']} on {backend} "
        f"{versions[backend]}; code {', '.join(commits)}; {seconds / 60:.0f} min."
    )
