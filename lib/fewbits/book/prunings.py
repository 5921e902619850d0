"""What the prunings of a reference cell lost on their way: accuracy at a share of filters, filters by layer, costs."""

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from fewbits.book.reference import Cell
from fewbits.experiment import Record
from fewbits.statistics import Estimate

_ROUNDING = 0.005  # a run that ends at 94.6 % counts as one that reaches 95 %


def change_at(cell: Cell, removed: float) -> Estimate | float | None:
    """Return how the test accuracy has changed where so many filters are gone.

    Between two steps, accuracy is taken to follow a straight line over the share of filters removed.

    Args:
        cell: Prunings that differ in their seed.
        removed: The share of all filters, from 0 to 1.

    Returns:
        The mean of the runs that came this far with its 95 % interval, the change itself if only one did, None if none
        did.
    """
    found = [change for record in cell.records if (change := _change(record, removed)) is not None]
    return Estimate.of(found) if len(found) > 1 else next(iter(found), None)


def filters_lost_by_layer(cell: Cell, step: int) -> dict[str, float]:
    """Return layer -> how many filters it has lost after a step, the mean of the runs that came so far.

    Args:
        cell: Prunings that differ in their seed; at least one came so far.
        step: The step; 0 is the whole network.
    """
    runs = filters_lost_by_run(cell, step)
    return {layer: float(np.mean([lost[layer] for lost in runs])) for layer in runs[0]}


def filters_lost_by_run(cell: Cell, step: int) -> list[dict[str, int]]:
    """Return layer -> how many filters it has lost after a step, of each run that came so far.

    Args:
        cell: Prunings that differ in their seed.
        step: The step; 0 is the whole network.
    """
    ends = [(run[0]["filters"], run[step]["filters"]) for run in _runs_to(cell, step)]
    return [{layer: n - left[layer] for layer, n in whole.items()} for whole, left in ends]


def share_left(cell: Cell, cost: str, step: int) -> float:
    """Return the share of a cost that is left after a step, the mean of the runs that came so far.

    Args:
        cell: Prunings that differ in their seed; at least one came so far.
        cost: What counts, an entry of `Cell.steps`: "macs" or "weight_bytes".
        step: The step; 0 is the whole network.
    """
    return float(np.mean([run[step][cost] / run[0][cost] for run in _runs_to(cell, step)]))


def top1_over_cost(cell: Cell, cost: str, places: Iterable[float]) -> dict[float, Estimate]:
    """Return the share of a cost that is left -> the mean test accuracy there with its 95 % interval.

    Places that fewer than two runs reach are left out.

    Args:
        cell: Prunings that differ in their seed.
        cost: What counts, as in `share_left`.
        places: The shares of the whole network's cost, from 0 to 1.
    """
    found = {left: cell.at_cost(cost, left) for left in places}
    return {left: Estimate.of(tops.values()) for left, tops in found.items() if len(tops) > 1}


def images_seen(cell: Cell, cost: str, left: float) -> int:
    """Return how many images trained the run that went furthest before less than so much of a cost was left.

    Args:
        cell: Prunings that differ in their seed.
        cost: What counts, as in `share_left`.
        left: The share of the whole network's cost, from 0 to 1.
    """
    steps = cell.steps
    return sum(step.get("images", 0) for step in steps if step[cost] > left * steps[0][cost])


def shares_of_groups(counts: Mapping[str, float], groups: Iterable[Collection[str]]) -> list[float]:
    """Return the share of the filters that each group of levels has, of those that all the groups have.

    Args:
        counts: Layer -> number of filters. A layer belongs to the level that its name begins with, up to the first `_`.
        groups: The names of the levels in each group.
    """
    sums = [sum(n for layer, n in counts.items() if layer.split("_")[0] in group) for group in groups]
    return [n / sum(sums) for n in sums]


def _runs_to(cell: Cell, step: int) -> list[list[dict]]:
    """Return the steps of each run that came to a step."""
    return [run for record in cell.records if len(run := record.results.pruning or []) > step]


def _change(record: Record, removed: float) -> float | None:
    steps = record.results.pruning or []
    gone = [1 - sum(step["filters"].values()) / sum(steps[0]["filters"].values()) for step in steps]
    tops = [step["test"]["hits"] / step["test"]["n"] for step in steps]
    return float(np.interp(removed, gone, tops)) - tops[0] if removed <= gone[-1] + _ROUNDING else None
