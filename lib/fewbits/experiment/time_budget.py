"""A time budget: how long trials will take, told from the records of like ones, and which of them fit."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from fewbits.experiment.contents import content_of
from fewbits.experiment.fields import FLOAT
from fewbits.experiment.runner import TrialOutcome, TrialsProgress, missing_starts, run_trials
from fewbits.experiment.store import Record, Store
from fewbits.experiment.trial import PRUNE, Trial, pruning_before
from fewbits.training.schedules import Schedule

TRAINING_OVER_VALIDATION = 9  # images, in a data set that brings no validation part of its own
LEVELS = tuple("0123456789")  # of a network; only the ratio of two trials of the same network counts


def estimate_seconds(trial: Trial, records: Iterable[Record]) -> float | None:
    """Return how long a trial will take, counted from its first epoch.

    The time of each like trial is scaled by the work, which is the training images of all epochs, and once more all
    of them for reading the data and testing. The estimate is the median. Like trials have the same network, width,
    data, size and strategy, and are alike in frozen levels, pruned starts and integers.

    Args:
        trial: The trial.
        records: Those of other trials; one that was resumed does not count, since its time is that of a part.

    Returns:
        Seconds, or None if no record is one of a like trial.
    """
    kind, found = _kind(trial), []
    for record in records:
        if record.seconds is not None and not record.provenance.get("resumed") and _kind(record.trial) == kind:
            images = TRAINING_OVER_VALIDATION * record.results.validation.n
            found.append(record.seconds * _work(trial, images) / _work(record.trial, images))
    return median(found) if found else None


def estimate_with_starts(trial: Trial, store: Store, records: Sequence[Record]) -> float | None:
    """Return how long a trial will take with all that must run before it.

    Args:
        trial: The trial.
        store: Where the weights of its starts may be.
        records: As in `estimate_seconds`.

    Returns:
        Seconds, or None if one of the times is unknown.
    """
    parts = [estimate_seconds(each, records) for each in (trial, *missing_starts(trial, store))]
    known = [seconds for seconds in parts if seconds is not None]
    return sum(known) if len(known) == len(parts) else None


def choose_trials(
    trials: Iterable[Trial], seconds: float, estimate: Callable[[Trial], float | None], processes: int = 1
) -> list[Trial]:
    """Return the trials to run in so much time: in their order, each that still fits.

    Args:
        trials: What could be run, the most valuable first.
        seconds: How much time there is.
        estimate: Trial -> its seconds, None if unknown.
        processes: How many trials run at a time.

    Returns:
        The trials, in their order. If none fits whose time is known, the first of unknown time, one per process.
    """
    busy = [0.0] * processes
    chosen, unknown = [], []
    for trial in trials:
        needed = estimate(trial)
        free = min(range(processes), key=busy.__getitem__)
        if needed is None:
            unknown.append(trial)
        elif busy[free] + needed <= seconds:
            busy[free] += needed
            chosen.append(trial)
    return chosen or unknown[:processes]


def run_in_time(
    trials: Iterable[Trial],
    store: Store | Path | str,
    seconds: float,
    *,
    processes: int = 1,
    scheduler: str | None = None,
    progress: Callable[[TrialsProgress], None] | None = None,
) -> list[TrialOutcome]:
    """Run those of the trials without a record that fit into a given time, as `choose_trials` chooses them.

    Time that is left, because trials were faster than estimated, is given to further trials. At the limit all stops; a
    trial that is running then keeps its checkpoint, and goes on from it when it is run again.

    Args:
        trials: What could be run, the most valuable first.
        store: A Store, or its folder; its records give the estimates.
        seconds: How much time there is; none runs nothing.
        processes: As in `run_trials`.
        scheduler: As in `run_trials`; the trials are chosen as for a single process.
        progress: As in `run_trials`, of the trials that were chosen.

    Returns:
        The outcomes, in the order of `trials`; those that did not fit have neither record nor error.

    Raises:
        InputError: as `run_trials`.
    """
    end = time.monotonic() + seconds
    trials, store = list(trials), store if isinstance(store, Store) else Store(store)
    outcomes = {trial.key: TrialOutcome(trial, store.load(trial)) for trial in trials}
    options: dict[str, Any] = {"processes": processes, "scheduler": scheduler, "progress": progress}
    while (left := end - time.monotonic()) > 0:
        estimate = partial(estimate_with_starts, store=store, records=store.records())
        waiting = [outcome.trial for outcome in outcomes.values() if not (outcome.record or outcome.error)]
        chosen = choose_trials(waiting, left, estimate, processes)
        if not chosen:
            break
        outcomes |= {each.trial.key: each for each in run_trials(chosen, store, seconds=left, **options)}
    return [outcomes[trial.key] for trial in trials]


def _kind(trial: Trial) -> tuple:
    """Return what like trials have in common."""
    names = content_of(trial.network), content_of(trial.data)
    pruned = pruning_before(trial) is not None
    return *names, trial.width, trial.size, trial.strategy, trial.freeze, trial.integers, pruned


def _work(trial: Trial, images: int) -> float:
    """Return how many images a trial reads, if `images` are all that it could be trained with."""
    if trial.strategy == PRUNE:
        steps = (trial.ratio or 0) / trial.per_step  # per filter of the network, which is the same in like trials
        return steps * sum(trial.train_images) / 2
    epochs = trial.epochs
    if trial.strategy != FLOAT and trial.bits is not None:
        schedule = Schedule(trial.bits, trial.strategy, epochs, relax=trial.relax, edge_bits=trial.edge_bits)
        epochs = sum(stage.epochs for stage in schedule.stages(LEVELS))
    return max(epochs * (trial.images or images) + images, 1)
