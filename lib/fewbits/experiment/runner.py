"""Many trials: in an order in which each finds its start, with every record stored as soon as it is there."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from fewbits.errors import InputError, check_integers
from fewbits.experiment.fields import naming
from fewbits.experiment.store import Record, Store
from fewbits.experiment.trial import Checker, Trial
from fewbits.experiment.workers import Task, open_workers
from fewbits.training.interruption import time_limit
from fewbits.zoo.trained import find_weights


class TrialOutcome(NamedTuple):
    """What became of a trial.

    Attributes:
        trial: The trial.
        record: Its record; None if it failed, or had no time.
        error: Why it failed, in one sentence; None if it did not.
    """

    trial: Trial
    record: Record | None
    error: str | None = None


class TrialsProgress(NamedTuple):
    """How far a run is, as `run_trials` reports it after each trial.

    Attributes:
        outcome: Of the trial that was just finished.
        done: How many trials are finished, those found in the store included.
        total: How many there are.
        seconds_left: An estimate for the rest.
    """

    outcome: TrialOutcome
    done: int
    total: int
    seconds_left: float


def run_trials(
    trials: Iterable[Trial],
    store: Store | Path | str,
    *,
    processes: int = 1,
    scheduler: str | None = None,
    seconds: float | None = None,
    progress: Callable[[TrialsProgress], None] | None = None,
) -> list[TrialOutcome]:
    """Run the trials that have no record in `store` yet, and those that they start from.

    Each record is stored as it arrives. Stopped at any moment, even killed, the same call goes on from the epoch it had
    reached (on a cluster that does not see the store: from the last finished trial). A trial that fails does not stop
    the others. Results are the same to the bit for any number of processes if the number of threads is the same: fix it
    with the environment variable TF_NUM_INTRAOP_THREADS.

    Args:
        trials: What to run; equal trials run once.
        store: A Store, or its folder.
        processes: 1 for this process. More are started with Dask, each with its share of TensorFlow's threads; a script
            that asks for them needs `if __name__ == "__main__":`.
        scheduler: The address of a Dask cluster instead. Its workers need fewbits and the data, but not the store.
        seconds: When to stop, as Ctrl-C would; None to run them all.
        progress: Called after each trial.

    Returns:
        The outcomes, in the order of `trials`; those that had no time have neither record nor error.

    Raises:
        InputError: before anything runs, when a trial cannot be run, a record is damaged, or a scheduler does not
            answer.
    """
    trials = list(trials)
    check_integers(processes=(processes, 1))
    if scheduler is not None and processes != 1:
        raise InputError("give processes or a scheduler, not both; a cluster has its own processes")
    store = store if isinstance(store, Store) else Store(store)
    outcomes = {trial.key: TrialOutcome(trial, record) for trial in trials if (record := store.load(trial))}
    left = _left_to_run(trials, outcomes, store)
    clock = _Clock(progress, len(outcomes), len(outcomes) + len(left))

    def finish(outcome: TrialOutcome) -> None:
        outcomes[outcome.trial.key] = outcome
        clock.finished(outcome)

    with time_limit(seconds) as is_over, open_workers(processes, scheduler) if left else nullcontext(None) as run:
        for wave in _waves(left):
            ready = []
            for trial in wave:
                start = outcomes.get(trial.start.key) if isinstance(trial.start, Trial) else None
                if start and start.error:
                    finish(TrialOutcome(trial, None, f"its start, {start.trial.name}, failed: {start.error}"))
                else:
                    ready.append(trial)
            for trial, result in run(_task(trial, store) for trial in ready if not is_over()) if run and ready else ():
                if isinstance(result, str):
                    if is_over():  # the limit made TensorFlow fail
                        continue
                    finish(TrialOutcome(trial, None, result))
                else:
                    store.save(*result)
                    finish(TrialOutcome(trial, result[0]))
    return [outcomes.get(trial.key, TrialOutcome(trial, None)) for trial in trials]


def _left_to_run(trials: list[Trial], outcomes: dict[str, TrialOutcome], store: Store) -> dict[str, Trial]:
    """Return key -> trial, for those without an outcome and the starts that they need; each is checked first."""
    left, check = {}, Checker()
    for number, trial in enumerate(trials, 1):
        if trial.key not in outcomes:
            with naming(f"trial {number}: "):
                check(trial)
            left[trial.key] = trial
    for trial in list(left.values()):
        left |= {start.key: start for start in missing_starts(trial, store)}
    return left


def missing_starts(trial: Trial, store: Store) -> Iterator[Trial]:
    """Yield the trial that `trial` starts from, the one that it starts from, and so on, up to weights in the store.

    Args:
        trial: A trial.
        store: Where the weights may be.
    """
    while isinstance(trial.start, Trial) and not store.weights(trial.start).exists():
        trial = trial.start
        yield trial


def _waves(left: dict[str, Trial]) -> list[list[Trial]]:
    """Return the trials of `left`, key -> trial, in waves: each trial runs after the trial it starts from."""

    def wave_of(trial: Trial) -> int:
        start = left.get(trial.start.key) if isinstance(trial.start, Trial) else None
        return 0 if start is None else 1 + wave_of(start)

    waves: dict[int, list[Trial]] = {}
    for trial in left.values():
        waves.setdefault(wave_of(trial), []).append(trial)
    return [waves[i] for i in sorted(waves)]


def _task(trial: Trial, store: Store) -> Task:
    """Return all that a worker needs to run `trial`, wherever it is."""
    start = None
    if trial.start is not None:
        path = store.weights(trial.start) if isinstance(trial.start, Trial) else find_weights(trial.start)
        start = path.read_bytes()
    return trial, start, store.checkpoint(trial).absolute()


class _Clock:
    """Reports how far a run is, and estimates how long it will still take."""

    def __init__(self, progress: Callable[[TrialsProgress], None] | None, stored: int, total: int):
        self.progress, self.stored, self.done, self.total = progress, stored, stored, total
        self.start = time.monotonic()

    def finished(self, outcome: TrialOutcome) -> None:
        self.done += 1
        if self.progress:
            seconds = (time.monotonic() - self.start) / (self.done - self.stored) * (self.total - self.done)
            self.progress(TrialsProgress(outcome, self.done, self.total, seconds))
