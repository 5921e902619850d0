"""Every network of the reference results on one data set: what it reaches, what it costs, and the command for it.

A pruning makes a network at each of its steps; each counts here as a network of its own. Costs are of the network as
it would be stored: batch normalization folded, weights at the bits of their kernels, biases at 32.
"""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fewbits import zoo
from fewbits.backend import keras
from fewbits.book import reference
from fewbits.book.reference import Cell
from fewbits.costs import energy
from fewbits.costs.complexity import cost_table
from fewbits.errors import InputError
from fewbits.experiment import Store, Trial
from fewbits.experiment.trial import PRUNE, SHARED, build_network
from fewbits.explore.plots import Table
from fewbits.pruning import removable

IMAGES = {"cifar10": ((32, 32, 3), 10), "digits": ((8, 8, 1), 10)}  # data -> shape and classes
FLOAT, SLIM, STATIC, TRAINED, PRUNED, BOTH = TECHNIQUES = (
    "float architectures",
    "width and resolution",
    "quantized, not trained",
    "trained with few bits",
    "pruned",
    "pruned and quantized",
)


class Layer(NamedTuple):
    """What a layer holds and does for one image; or what several layers of equal bits do together.

    The numbers are means if several seeds have pruned differently.

    Attributes:
        weights: How many weights its kernel has.
        biases: How many biases it has with batch normalization folded: one per filter.
        macs: How many MACs it takes.
        bits: Of its kernel and its input; None for float.
    """

    weights: float
    biases: float
    macs: float
    bits: tuple[int | None, int | None] = (None, None)


class Network(NamedTuple):
    """A network of the reference results.

    Attributes:
        trial: The trial that makes it.
        cell: Its test results, one per seed.
        training: In a few words, what it was trained with.
        layers: What it holds and does.
        filters: How many filters a pruned network has left; None if it was not pruned.
    """

    trial: Trial
    cell: Cell
    training: str
    layers: tuple[Layer, ...]
    filters: int | None = None

    @property
    def technique(self) -> str:
        """Which of TECHNIQUES made it."""
        trial = self.trial
        pruned = any(t.strategy == PRUNE for t in _line(trial))
        if trial.bits is not None:
            return BOTH if pruned else STATIC if trial.strategy == "static" else TRAINED
        if pruned:
            return PRUNED
        return FLOAT if trial.size is None and trial.width == 1 else SLIM

    @property
    def name(self) -> str:
        """What it is called: its architecture, and what was done to it."""
        trial = self.trial
        words = [trial.network]
        if trial.size is not None or trial.width != 1:
            words.append(f"width {trial.width:g}")
        words += [] if trial.size is None else [f"{trial.size} px"]
        if self.filters is not None:
            criterion = next(t.criterion for t in _line(trial) if t.strategy == PRUNE)
            words.append(f"pruned to {self.filters:,} filters ({criterion})")
        if trial.bits is not None:
            words += ["-".join("float" if b is None else str(b) for b in trial.bits), trial.strategy, *trial.settings]
        elif trial.transfer is not None:
            words.append("from random weights" if trial.transfer == 0 else "frozen" if trial.freeze else "trained on")
        return " ".join(words)

    @property
    def macs(self) -> float:
        """Its MACs for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def size(self) -> float:
        """Its bytes: weights at the bits of their kernels, or 32 for float, and biases at 32."""
        return sum(layer.weights * (layer.bits[0] or 32) / 8 + 4 * layer.biases for layer in self.layers)

    def energy(self, memory: str) -> float:
        """Return the picojoules of its MACs and of reading its weights once.

        Args:
            memory: What the weights are read from, as in `energy.reading`.
        """
        return sum(layer.macs * energy.mac(*layer.bits) for layer in self.layers) + energy.reading(self.size, memory)

    @property
    def command(self) -> str:
        """The shell command that makes it."""
        return command(self.trial)


def technique_table(networks: Sequence[Network]) -> Table:
    """Return a row per technique: how many networks it made, their accuracies, bytes and seeds.

    Args:
        networks: The networks; each technique has one at least.
    """
    rows = []
    for technique in TECHNIQUES:
        members = [network for network in networks if network.technique == technique]
        tops, sizes = [n.cell.estimate.mean for n in members], [n.size / 1e3 for n in members]
        spreads = f"{min(tops):.1%} to {max(tops):.1%}", f"{min(sizes):,.0f} to {max(sizes):,.0f} kB"
        seeds = sorted(Counter(len(n.cell.records) for n in members).items())
        seeds_in_words = ", ".join(f"{n} with {k} seed{'s' * (k > 1)}" for k, n in seeds)
        rows.append((technique, len(members), *spreads, seeds_in_words))
    made_with = reference.made_with(network.cell for network in networks)
    return Table(("technique", "networks", "top-1", "bytes", "seeds"), rows, f"Reference: {made_with}")


def reference_networks(data: str = "cifar10") -> list[Network]:
    """Return every network of the reference results on a data set.

    Cells that share their first trial count once, with the most seeds. So do steps of prunings that are the same
    network.

    Args:
        data: The name of the data set, "cifar10" or "digits".

    Raises:
        InputError: when no grid has networks on these data.
    """
    if data not in IMAGES:
        raise InputError(f"data must be one of {', '.join(IMAGES)}, not {data!r}")
    cells: dict[str, Cell] = {}
    for grid in reference.grids():
        for cell in reference.cells(grid.name):
            if cell.trial.data == data:
                cell = cell._replace(trial=cell.trial.model_copy(update={"integers": False}))  # the same network
                cells[cell.trial.key] = max(cells.get(cell.trial.key, cell), cell, key=lambda c: len(c.records))
    run = [cell for cell in cells.values() if cell.records and None not in _prunings(cell)]
    found: dict[Any, Network] = {}
    for cell in run:
        for key, network in _networks(cell, run):
            found[key] = max(found.get(key, network), network, key=lambda n: len(n.cell.records))
    return list(found.values())


def _networks(cell: Cell, run: list[Cell]) -> Iterator[tuple[Any, Network]]:
    """Yield the networks of a cell, each with a key that no other network has."""
    if cell.trial.strategy != PRUNE:
        before = _prunings(cell)
        if not before:
            yield cell.trial.key, Network(cell.trial, cell, _told(cell, run), _layers(cell.trial))
            return
        ends = [record.results.pruning[-1] for record in before]
        layers = _pruned(before[0].trial, ends, cell.trial.bits)
        yield cell.trial.key, Network(cell.trial, cell, _told(cell, run), layers, sum(ends[0]["filters"].values()))
        return
    trial, runs = cell.trial, [record.results.pruning or [] for record in cell.records]
    whole = len(removable(_built(trial.network, trial.data, trial.width, trial.size)))
    last = max(map(len, runs)) - 1
    for number in range(1, last + 1):
        steps = [steps[number] for steps in runs if len(steps) > number]
        gone = sum(runs[0][0]["filters"].values()) - sum(steps[0]["filters"].values())
        there = trial if number == last else trial.model_copy(update={"ratio": round(gone / whole, 4)})
        seen = _mean(sum(step.get("images", 0) for step in steps_of[: number + 1]) for steps_of in runs)
        told = f"{_start(trial, run)}, {seen:,.0f} images in {number} step{'s' if number > 1 else ''} of pruning"
        filters = sum(steps[0]["filters"].values())
        network = Network(there, cell.after_step(number), told, _pruned(trial, steps, None), filters)
        yield (trial.model_copy(update={"ratio": None}).key, filters), network


def _prunings(cell: Cell) -> list:
    """Return the record of the pruning that each network of a cell starts from; None if it is missing."""
    store = Store(reference.FOLDER / "trials")
    return [store.load(t) for r in cell.records for t in _line(r.trial)[1:] if t.strategy == PRUNE]


def _line(trial: Trial) -> list[Trial]:
    """Return a trial, what it starts from, what that starts from, and so on."""
    return [trial, *_line(trial.start)] if isinstance(trial.start, Trial) else [trial]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


# Training


def _told(cell: Cell, run: list[Cell]) -> str:
    """Return in a few words what the networks of a cell, which has been run, were trained with."""
    trial = cell.trial
    if trial.strategy == "static":
        own = "then not trained"
    else:
        epochs = sum(n for _, n in cell.records[0].results.stages) if trial.bits else trial.epochs
        images = "all images" if trial.images is None else f"{trial.images:,} images"
        own = f"{epochs} epoch{'s' if epochs != 1 else ''} of {images} at {trial.learning_rate:g}"
        own += ", statistics re-estimated" if trial.reestimate and not trial.bits else ""
    return ", ".join(filter(None, (_start(trial, run), own)))


def _start(trial: Trial, run: list[Cell]) -> str:
    """Return what was trained before a trial starts; for named weights, what the float trial of that network had."""
    if trial.start is None or trial.transfer == 0:
        return ""
    for cell in run:
        known = cell.trial
        if known == trial.start or (known.network == trial.start and known.strategy == "float" and not known.start):
            if known.strategy != PRUNE:
                return _told(cell, run)
            seen = _mean(sum(s.get("images", 0) for s in r.results.pruning or []) for r in cell.records)
            return f"{_start(known, run)}, {seen:,.0f} images in pruning"
    return f"from {trial.start.name if isinstance(trial.start, Trial) else trial.start}"


# Costs


@cache
def _built(network: str, data: str, width: float, size: int | None) -> keras.Model:
    (height, breadth, channels), classes = IMAGES[data]
    return build_network(network, (size or height, size or breadth, channels), classes, width)


@cache
def _macs(network: str, data: str, width: float, size: int | None) -> dict[str, float]:
    """Return layer -> its MACs for one image."""
    return {row.name: row.macs for row in cost_table(_built(network, data, width, size))}


def _layers(trial: Trial) -> tuple[Layer, ...]:
    shape = trial.network, trial.data, trial.width, trial.size
    model, macs = _built(*shape), _macs(*shape)
    levels = zoo.levels(model)
    edges = {*levels[0], *levels[-1]}
    found = []
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            least = trial.edge_bits or 0 if layer.name in edges else 0
            kernel, entering = (b and max(b, least) for b in (trial.bits or (None, None))[:2])
            weights = int(np.prod(layer.kernel.shape))
            found.append(Layer(weights, _filters(layer), macs[layer.name], (kernel, entering)))
    return tuple(found)


def _filters(layer: Any) -> int:
    return int(np.prod(layer.kernel.shape[-2:])) if "Depthwise" in type(layer).__name__ else layer.kernel.shape[-1]


def _pruned(trial: Trial, steps: list[dict], bits: tuple | None) -> tuple[Layer, ...]:
    """Return what a pruning left at these steps of its runs, all layers as one.

    A step counts all parameters: for each filter its bias, or else the four numbers of a batch normalization.
    """
    model = _built(trial.network, trial.data, trial.width, trial.size)
    other = {layer.name: 1 if layer.use_bias else 4 for layer in model.layers if hasattr(layer, "kernel")}
    weights = [s["parameters"] - sum(n * other[name] for name, n in s["filters"].items()) for s in steps]
    biases = [sum(s["filters"].values()) for s in steps]
    kernel, entering = (bits or (None, None))[:2]
    return (Layer(_mean(weights), _mean(biases), _mean(s["macs"] for s in steps), (kernel, entering)),)


# Commands


def command(trial: Trial) -> str:
    """Return the shell command that runs a trial and what it starts from; errors as in `toml`."""
    return f"echo {shlex.quote(toml(trial))} > network.toml && fewbits sweep network.toml --store results"


def toml(trial: Trial) -> str:
    """Return one line of TOML that `experiment.read_grid` reads as a grid with this trial alone.

    Raises:
        InputError: when the start of the trial has images of their own size and the trial has not, because TOML has no
            null.
    """
    return f"grid = [{_written({'name': trial.key, 'fixed': _fields(trial)})}]"


def _fields(trial: Trial) -> dict[str, Any]:
    fields = trial.model_dump(mode="json", exclude_defaults=True)
    if isinstance(trial.start, Trial):
        if trial.start.size is None and trial.size is not None:
            raise InputError(f"{trial.name} changes the size of images, and its start does not; it cannot be written")
        shared = {name: getattr(trial.start, name) for name in SHARED if getattr(trial.start, name) is not None}
        fields["start"] = shared | _fields(trial.start)
    return fields


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_written(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    return json.dumps("float" if value is None else value)  # numbers, words and truth are written as in JSON
