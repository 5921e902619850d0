"""Our own results on real data: what data/reference/grids.toml asks for, and what of it has been run.

`make reference` runs it; each record holds its provenance. Tables leave out rows without a record, and the page on the
status of the build lists what is missing. The folder data/reference belongs to the book's repository; an installed
package does not have it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fewbits.errors import InputError
from fewbits.experiment import Grid, Record, Store, Study, Tally, Trial, read_grid
from fewbits.explore.plots import Table
from fewbits.quantization.range_rules import msb_from_limits
from fewbits.quantization.rounding_shift import RoundingShift
from fewbits.statistics import NO_DATA, Estimate, mean_and_deviation, mean_interval, paired
from fewbits.training.schedules import ScheduleOutcome, Stage

FOLDER = Path(__file__).parents[3] / "data" / "reference"
TRAINING_IMAGES = {"cifar10": 50_000, "cifar100": 50_000}
"""Data of the trials -> how many images are not for tests; a part of them validates."""


class Cell(NamedTuple):
    """Trials that differ only in their seed or fold.

    `a - b` is by how much cell a is more accurate than b.

    Attributes:
        trial: The first of the trials.
        records: The records of those that have been run, one per seed or fold.
    """

    trial: Trial
    records: list[Record]

    @property
    def accuracies(self) -> list[float]:
        """Top-1 on the test images, one per seed or fold."""
        return [record.results.accuracy for record in self.records]

    @property
    def by_seed(self) -> dict[tuple[int, ...], float]:
        """The same by what chance has decided; the keys are as `drawn` returns them."""
        return {drawn(record.trial): record.results.accuracy for record in self.records}

    @property
    def estimate(self) -> Estimate:
        """Top-1 with its 95 % interval.

        With several seeds or folds the interval covers what differs between them. With one it is that of its test
        images, and says nothing about other seeds.
        """
        if len(self.records) != 1:
            return Estimate.of(self.accuracies)
        [share] = [record.results.share() for record in self.records]
        return Estimate(share.value, share.half_width, 1)

    @property
    def lost_by_seed(self) -> dict[tuple[int, ...], float]:
        """How far top-1 is under that of the float network the trials start from, by what chance has decided."""
        found = {drawn(record.trial): record.results.loss_of_accuracy for record in self.records}
        return {key: lost for key, lost in found.items() if lost is not None}  # a float trial has no start

    @property
    def lost(self) -> Estimate:
        """How far top-1 is under that of the float network the trials start from, over the seeds or folds.

        With a single seed the interval is that of its test images, as in `estimate`.
        """
        if len(self.records) != 1:
            return Estimate.of(self.lost_by_seed.values())
        [lost] = [record.results.lost for record in self.records]
        return lost

    def paired(self, other: "Cell") -> Estimate:
        """Return by how much this cell is more accurate than `other`, from the seeds and folds that both have."""
        return paired(self.by_seed, other.by_seed)

    def __sub__(self, other: "Cell") -> Estimate:
        """Return by how much this cell is more accurate than `other`.

        Pairs of equal seeds and folds are compared where there are two or more. Two single seeds are compared image by
        image if the answers of both to the same test images are known. Otherwise both intervals count as independent,
        which for single seeds are those of the test images.
        """
        found = self.paired(other)
        if found.n > 1:
            return found
        if len(self.records) == len(other.records) == 1 and _same_images(self.records[0], other.records[0]):
            gap = self.records[0].results.share() - other.records[0].results.share()
            return Estimate(gap.mean, gap.half_width, 1)
        return self.estimate - other.estimate

    @property
    def images_per_epoch(self) -> int:
        """How many images an epoch of the training has; without a limit, all that neither validate nor test."""
        return self.trial.images or TRAINING_IMAGES[self.trial.data] - self.records[0].results.validation.n

    @property
    def images_seen(self) -> int:
        """How many images one of its trainings has seen in all its epochs; 0 without training or a record."""
        epochs = len(self.records[0].results.history) if self.records else 0
        return epochs and epochs * self.images_per_epoch

    def with_deviation(self, folds: int = 5) -> str:
        """Return the mean accuracy in percent with its standard deviation, as theses write results of folds.

        Args:
            folds: How many there are; if some have no record, the text says how many have.
        """
        n = len(self.records)
        return mean_and_deviation(self.accuracies).percent + (f" ({n} folds)" if 1 < n < folds else "")

    def by_epoch(self, quantity: str) -> dict[int, float]:
        """Return epoch, from 1 on -> a quantity of the training, the mean of the seeds or folds.

        Args:
            quantity: An entry of the history, such as "loss" or "val_accuracy".
        """
        paths = [[entry[quantity] for entry in record.results.history] for record in self.records]
        return dict(enumerate(np.mean(paths, 0).tolist(), 1))

    def by_layer(self, quantity: str) -> dict[str, float]:
        """Return layer -> a quantity of the trained kernels, the mean of the seeds or folds; empty if none was run.

        Args:
            quantity: "moved" or "spread", as in `experiment.Results`.
        """
        found = [getattr(record.results, quantity) for record in self.records]
        return {layer: float(np.mean([of[layer] for of in found])) for layer in (found[0] if found else ())}

    def at_end(self, quantity: str) -> float:
        """Return a quantity of the training after its last epoch, as `by_epoch` does."""
        return [*self.by_epoch(quantity).values()][-1]

    @property
    def steps(self) -> list[dict]:
        """The steps of one of its prunings, the first that went furthest, as `fewbits.pruning.prune` returns them."""
        return max((record.results.pruning or [] for record in self.records), key=len, default=[])

    def filters_lost(self, number: int) -> dict[str, int]:
        """Return layer -> how many filters it has lost up to a step of `steps`."""
        whole, then = (self.steps[step]["filters"] for step in (0, number))
        return {name: n - then[name] for name, n in whole.items()}

    @property
    def by_ratio(self) -> dict[float, "Cell"]:
        """The share of filters removed -> the cell after that step of its prunings."""
        whole, *_ = kept = [sum(step["filters"].values()) for step in self.steps]
        return {1 - n / whole: self.after_step(step) for step, n in enumerate(kept)}

    def at_cost(self, cost: str, left: float) -> dict[tuple[int, ...], float]:
        """Return the top-1 of its prunings where so much of a cost is left, by what chance has decided.

        Between two steps, accuracy is taken to follow a straight line over the cost. Runs that ended before are left
        out.

        Args:
            cost: What counts, an entry of `steps`: "macs" or "weight_bytes".
            left: The share of the whole network's cost, from 0 to 1.
        """
        found = {}
        for record in self.records:
            steps = (record.results.pruning or [])[::-1]  # the smallest network first
            shares = [step[cost] / steps[-1][cost] for step in steps]
            if shares and shares[0] <= left <= 1:
                tests = [Tally(**step["test"]) for step in steps]
                found[drawn(record.trial)] = float(np.interp(left, shares, [test.hits / test.n for test in tests]))
        return found

    def after_step(self, number: int) -> "Cell":
        """Return the cell as it was after a step of its prunings, without those that ended before.

        Args:
            number: The step. Step 0 is the network that all of them start from, so it has one test.
        """
        found = []
        for record in self.records:
            for step in (record.results.pruning or [])[number : number + 1]:
                results = record.results.model_copy(update=_after(step, record.results.validation.n))
                found.append(record.model_copy(update={"results": results}))
        return Cell(self.trial, found if number else found[:1])

    def __str__(self) -> str:
        """The mean accuracy over the seeds or folds with its 95 % interval, or "no data"."""
        if not self.records:
            return NO_DATA
        what = "fold" if any(record.trial.fold for record in self.records) else "seed"
        if len(self.records) == 1:
            return f"{self.accuracies[0]:.1%} (1 {what})"
        mean, half_width = mean_interval(self.accuracies)
        return f"{mean:.1%} ± {100 * half_width:.1f} ({len(self.records)} {what}s)"


class OtherTool(NamedTuple):
    """What a tool that is not ours loses, measured outside the book.

    Attributes:
        name: The tool with its version.
        under_float: Bits of kernels, inputs and outputs -> how far the top-1 is under float.
        minutes: How long it took.
        made_with: A sentence that says who measured, and how.
    """

    name: str
    under_float: dict[int, Estimate]
    minutes: float
    made_with: str


class DeviceCosts(NamedTuple):
    """What a network takes on an emulated microcontroller.

    Attributes:
        network: What the chapters call it.
        bits: Of kernels, inputs and outputs.
        device: One of `names.DEVICES`.
        kernels: "ours", "ours, not packed" (with 4 bits, of which two share a byte otherwise), or "CMSIS-NN".
        optimized: Option of the compiler, such as "-O2".
        flash: Bytes of code and constants.
        ram: Bytes of memory without the stack; None for CMSIS-NN, where tensors do not share memory.
        stack: Bytes of the deepest stack.
        instructions: Instructions of one image.
    """

    network: str
    bits: int
    device: str
    kernels: str
    optimized: str
    flash: int
    ram: int | None
    stack: int
    instructions: int


class Ranges(NamedTuple):
    """Where the values of a network lie, its batch normalization folded.

    Attributes:
        images: How many training images were shown.
        percentiles: The percentiles that have limits.
        together: "kernel", "bias" or "output" -> percentile -> lower and upper limit of all layers' values.
        layers: Layer -> the same, of its values.
        histograms: "kernel" or "output" -> the middle of each bin -> how many values of all layers are in it.
        made_with: A sentence that names data, images, hardware, versions and code.
    """

    images: int
    percentiles: tuple[float, ...]
    together: dict[str, dict[float, tuple[float, float]]]
    layers: dict[str, dict[str, dict[float, tuple[float, float]]]]
    histograms: dict[str, dict[float, int]]
    made_with: str

    def by_level(self, kind: str, percentile: float) -> dict[str, tuple[float, float]]:
        """Return level -> lower and upper limit that hold those of all its layers.

        Args:
            kind: "kernel", "bias" or "output".
            percentile: One of `percentiles`.
        """
        found: dict[str, tuple[float, float]] = {}
        for layer, limits in self.layers.items():
            level, (low, high) = layer.split("_")[0], limits[kind][percentile]
            lowest, highest = found.get(level, (low, high))
            found[level] = min(low, lowest), max(high, highest)
        return found

    def reach(self, kind: str) -> dict[str, dict[str, float]]:
        """Return each percentile in words -> layer -> the magnitude that holds it.

        Args:
            kind: "kernel", "bias" or "output".
        """
        return {
            f"{p:g} %": {layer: max(map(abs, limits[kind][p])) for layer, limits in self.layers.items()}
            for p in self.percentiles
        }

    def msbs(self, kind: str) -> dict[str, tuple[int, ...]]:
        """Return level -> the MSBs that hold it, one per percentile.

        Args:
            kind: "kernel", "bias" or "output".
        """
        found = [self.by_level(kind, p) for p in self.percentiles]
        return {level: tuple(msb_from_limits(*limits[level]) for limits in found) for level in found[0]}


def grids() -> list[Grid]:
    """Return all grids that `make reference` runs.

    Raises:
        InputError: when there are no reference results, as in an installed package.
    """
    path = _folder() / "grids.toml"
    return list(_read_grids(path, path.stat().st_mtime_ns))


@cache  # a chapter asks for dozens of cells, and each time for all grids
def _read_grids(path: Path, changed: int) -> tuple[Grid, ...]:
    """Return the grids of a file as it is since it was changed, in nanoseconds."""
    return tuple(read_grid(path))


def _folder() -> Path:
    if not FOLDER.exists():
        raise InputError(
            "the reference results belong to the book's repository, and an installed package does not have them; "
            "run the book from a checkout"
        )
    return FOLDER


def cells(*names: str) -> list[Cell]:
    """Return the cells of one grid or several, in order.

    Raises:
        InputError: when no grid has this name; the message lists those that there are.
    """
    known = {grid.name: grid for grid in grids()}
    for name in names:
        if name not in known:
            raise InputError(f"there is no reference grid {name!r}; there are {', '.join(known)}")
    return [cell for name in names for cell in _cells(known[name])]


def missing() -> dict[Trial, str]:
    """Return each trial that a grid asks for and that has no record, and the name of its first grid.

    Raises:
        InputError: as `grids` does.
    """
    first = {trial: grid.name for grid in reversed(grids()) for trial in grid.trials}
    asked = (trial for grid in grids() for trial in grid.trials)
    return {trial: first[trial] for trial in Store(_folder() / "trials").missing(asked)}


def _cells(grid: Grid) -> Iterable[Cell]:
    store, found = Store(_folder() / "trials"), dict[Trial, Cell]()
    for trial in grid.trials:
        cell = found.setdefault(_without_seed(trial), Cell(trial, []))
        record = store.load(trial)
        if record is not None:
            cell.records.append(record)
    return found.values()


def _without_seed(trial: Trial) -> Trial:
    """Return what a trial, and what it starts from, have in common with those of other seeds and folds."""
    alike: dict[str, Any] = {"seed": 0, "fold": 0}
    if isinstance(trial.start, Trial):
        alike["start"] = _without_seed(trial.start)
    return trial.model_copy(update=alike)


def cell(name: str, **fields: Any) -> Cell:
    """Return the one cell of a grid whose trials have these values.

    Args:
        name: The name of the grid.
        **fields: Fields of a trial and their values, such as `bits=(8, 8, 8)`.

    Raises:
        InputError: when no cell, or more than one, has these values.
    """
    found = [cell for cell in cells(name) if all(getattr(cell.trial, k) == value for k, value in fields.items())]
    if len(found) != 1:
        raise InputError(f"{len(found)} cells of the reference grid {name!r} have {fields}; one is needed")
    return found[0]


def drawn(trial: Trial) -> tuple[int, ...]:
    """Return what chance has decided: the seed and the fold of a trial, and of what it starts from.

    A trial that is quantized without training draws nothing, and has only those of its start.
    """
    before = drawn(trial.start) if isinstance(trial.start, Trial) else ()
    return before if before and trial.strategy == "static" else (trial.seed, trial.fold, *before)


def _after(step: dict, images: int) -> dict[str, Any]:
    """Return the results after a step of a pruning; answers are known after the last step only.

    Args:
        step: As `steps` has it.
        images: How many validation images there are.
    """
    hits = round(step["val_accuracy"] * images)
    validation = Tally(hits=hits, n=images, loss=step["val_loss"], hits_top5=None)
    return {"test": Tally(**step["test"]), "validation": validation, "answers": None}


def _same_images(one: Record, other: Record) -> bool:
    """Return whether two trials have answered the same test images; images of another size are smaller copies."""
    same = (one.trial.data, one.trial.fold) == (other.trial.data, other.trial.fold)
    return same and (one.trial.size != other.trial.size or one.provenance["data"] == other.provenance["data"])


def load_study(name: str) -> Study:
    """Return our study of schemes without training, an empty one if it has not been run; errors as in `grids`."""
    return Study.load(_folder() / "studies" / f"{name}.json")


def load_tool(name: str) -> OtherTool:
    """Return what another tool loses, from tools.json.

    Args:
        name: Its name there, such as `model-compression-toolkit`.
    """
    found = json.loads((_folder() / "tools.json").read_text())[name]
    lost = {
        int(bits): Estimate(mean / 100, reach / 100, found["photographs"])
        for bits, (mean, reach) in found["under_float"].items()
    }
    made_with = f"{found['source']}; {found['calibration_images']} calibration images, about {found['seconds']} s."
    return OtherTool(found["name"], lost, found["seconds"] / 60, made_with)


def load_shifts(network: str) -> list[RoundingShift]:
    """Return what rounding down would shift in a network of `data/reference/rounding.py`; errors as in `grids`.

    Args:
        network: Its name there. One that has not been measured has no shifts.
    """
    path = _folder() / "shifts.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    lists = ("steps", "relative")
    return [RoundingShift(**s | {name: tuple(s[name]) for name in lists}) for s in known.get(network, ())]


def load_ranges() -> Ranges:
    """Return where the values of the SqueezeNet for CIFAR-10 lie, from ranges.json; errors as in `grids`."""
    found = json.loads((_folder() / "ranges.json").read_text())
    percentiles = tuple(found["percentiles"])

    def by_kind(limits: dict[str, list]) -> dict[str, dict[float, tuple[float, float]]]:
        return {kind: dict(zip(percentiles, map(tuple, ends))) for kind, ends in limits.items()}

    histograms = {}
    for kind, bars in found["histograms"].items():
        low, high = bars["ends"]
        edges = np.linspace(low, high, len(bars["counts"]) + 1)
        histograms[kind] = dict(zip(((edges[1:] + edges[:-1]) / 2).tolist(), bars["counts"]))
    layers = {layer: by_kind(limits) for layer, limits in found["layers"].items()}
    hardware, versions, commit = (found["run"][name] for name in ("hardware", "versions", "commit"))
    made_with = (
        f"cifar10, {found['images']} training images; {hardware['gpu'] or hardware['cpu']}, {hardware['cores']} cores; "
        f"Keras {versions['keras']}; code {commit['id'][:7]}."
    )
    return Ranges(found["images"], percentiles, by_kind(found["all"]), layers, histograms, made_with)


def load_devices() -> tuple[list[DeviceCosts], str]:
    """Return what networks take on microcontrollers, from devices.json, and a sentence that says how it was counted."""
    found = json.loads((_folder() / "devices.json").read_text())
    tools, commit = found["tools"], found["run"]["commit"]
    versions = [tools[name] for name in ("arm-none-eabi-gcc", "riscv64-unknown-elf-gcc", "qemu-system-arm")]
    made_with = (
        f"Means of {found['images']} digits; {'; '.join(versions)}; CMSIS-NN {tools['CMSIS-NN'][:7]}; "
        f"code {commit['id'][:7]}."
    )
    return [DeviceCosts(**row) for row in found["rows"]], made_with


def outcome(record: Record) -> ScheduleOutcome:
    """Return what the schedule of a record left, except its network, for `explore.training_curve`."""
    stages = [Stage(name, {}, frozenset(), epochs) for name, epochs in record.results.stages]
    validation = record.results.validation
    return ScheduleOutcome(None, stages, record.results.history, validation.hits / validation.n)


def results_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, also: Iterable[Cell] = (), note: str = ""
) -> Table:
    """Return a table that says below it where its reference results come from.

    A row with a cell of a grid that has no record is left out, and the note says how many are.

    Args:
        columns: The column heads.
        rows: The rows; their cells of grids are written as a mean with its interval.
        also: More cells that the numbers come from, if a row holds only text made from them.
        note: What stands before the provenance, for example what the intervals are of.
    """
    asked = [tuple(row) for row in rows]
    found = [row for row in asked if all(value.records for value in row if isinstance(value, Cell))]
    cells = [value for row in found for value in row if isinstance(value, Cell)]
    missing = len(asked) - len(found)
    notes = [note] if note else []
    if missing:
        notes.append(f"{missing} row{'s have' if missing > 1 else ' has'} no record yet.")
    if any(cell.records for cell in (*cells, *also)):
        notes.append(f"Reference: {made_with([*cells, *also])}")
    return Table(tuple(columns), found, " ".join(notes))


def training_panels(
    trainings: Mapping[str, Cell | Sequence[Cell]], quantities: Mapping[str, str]
) -> dict[str, dict[str, dict[int, float]]]:
    """Return the panels of `explore.stacked_lines`: title -> name -> epoch -> a quantity, the mean of the seeds.

    Args:
        trainings: Name -> cell, or cells that were trained one after the other, whose epochs are counted on.
        quantities: Title -> an entry of the history, such as "loss" or "val_accuracy".
    """

    def curve(stages: Cell | Sequence[Cell], quantity: str) -> dict[int, float]:
        found = [stages] if isinstance(stages, Cell) else stages
        return dict(enumerate((value for cell in found for value in cell.by_epoch(quantity).values()), 1))

    return {
        title: {name: curve(of, quantity) for name, of in trainings.items()} for title, quantity in quantities.items()
    }


def data_table(
    x: str, series: Mapping[str, Mapping[Any, Any]], made_with: str, names: Mapping[Any, str] | None = None
) -> Table:
    """Return the data of a figure of reference results: a row per place, a column per series, and where they come from.

    Args:
        x: What the places are, the head of their column.
        series: Name -> place -> value. Places that are numbers are sorted, words stand in the order in which they come.
            Numbers between 0 and 1 are shares, in percent.
        made_with: Where the results come from, as `made_with` or a `Study` says it.
        names: Place -> what its row is called; by default the place itself.
    """
    places = list(dict.fromkeys(place for found in series.values() for place in found))
    if not any(isinstance(place, str) for place in places):
        places.sort()
    names = names or {}
    rows = [(names.get(p, p), *(_written(found.get(p)) for found in series.values())) for p in places]
    return Table((x, *series), rows, f"Reference: {made_with}")


def _written(value: Any) -> str:
    return "-" if value is None else f"{value:.1%}" if isinstance(value, float) else str(value)


def seeds_of(cells: Iterable[Cell]) -> str:
    """Return in words how many seeds cells have, as in `1 or 3 seeds`.

    Args:
        cells: The cells, at least one.
    """
    counts = sorted({len(cell.records) for cell in cells})
    return f"{' or '.join(map(str, counts))} seed{'s' if counts[-1] > 1 else ''}"


def made_with(results: Iterable[Cell | Record]) -> str:
    """Return a sentence with images, seeds, hardware, versions, code and time.

    Args:
        results: Cells, or records of trials.
    """
    found = [record for one in results for record in (one.records if isinstance(one, Cell) else [one])]
    records = list({record.trial.key: record for record in found}.values())  # a base of several rows counts once
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
