"""`fewbits sweep`: the trials of a file."""

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewbits.cli.parser import Commands, add_command
from fewbits.errors import InputError

if TYPE_CHECKING:
    from fewbits.experiment import Grid, Record, Store, Trial, TrialOutcome

EXIT_FAILED = 1

ABOUT = """
The file, in TOML, describes trials as grids: all combinations of the values in `vary`, over `fixed`, over [common].

  [common]
  network = "lenet"
  data = "digits"
  start = { epochs = 10, learning_rate = 0.05 }   # the float network, trained first

  [[grid]]
  name = "lock or train"
  priority = true
  fixed = { epochs = 2 }                          # of each stage
  vary = { strategy = ["lock", "train"], bits = [[8, 8, 8], [4, 6, "float"]], seed = [1, 2, 3] }

`network` may also be the path of a .keras file, and `data` that of a folder of images or of an .npz file, as `fewbits
train --data` reads them. A trial then begins with the weights of the file, and needs no `start`:

  [common]
  network = "mine.keras"
  data = "photos"                                 # channel_order, mean_pixel and scale prepare its images

A trial is known by the content of its files, not by their paths. Each finished trial is kept in the store and never run
again. After Ctrl-C, a crash or a power cut, the same command goes on from the epoch it had reached.

--list estimates how long each missing trial will take, from the records in the store of trials with the same network,
data and strategy. With --minutes, those run that fit into the time: grids with priority first, then in the order of the
file. A trial that is running at the limit goes on with the next call.
"""
EXAMPLES = """
  fewbits sweep trials.toml --store results --list
  fewbits sweep trials.toml --store results --priority --processes 2 --skip-missing
  fewbits sweep trials.toml --store results --minutes 12
  fewbits sweep trials.toml --store results --scheduler tcp://10.0.0.1:8786
"""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "sweep", run, "run the trials of a file, each once", EXAMPLES, ABOUT)
    command.add_argument("file", type=Path, help="a TOML file with grids of trials")
    command.add_argument("--store", type=Path, required=True, help="folder of the records")
    command.add_argument("--grid", metavar="NAME", help="run this grid only")
    command.add_argument("--priority", action="store_true", help="run grids with `priority = true` only")
    command.add_argument("--processes", type=int, default=1, help="number of trials to run at a time (default 1)")
    command.add_argument(
        "--scheduler", metavar="ADDRESS", help="run them on this Dask cluster; its workers need fewbits and the data"
    )
    command.add_argument(
        "--skip-missing", action="store_true", help="skip trials whose data or weights are missing, and report them"
    )
    command.add_argument(
        "--minutes", type=float, metavar="N", help="run what fits into N minutes, by its estimated time"
    )
    command.add_argument(
        "--list", action="store_true", help="run nothing; print the trials, their stored results and their times"
    )


def run(options: argparse.Namespace) -> int:
    """Run the trials, and print a table of their results and times; return 1 if any failed."""
    began = time.monotonic()
    from fewbits import experiment

    if options.minutes is not None and not 0 < options.minutes < math.inf:
        raise InputError(f"--minutes must be a number above 0, not {options.minutes:g}")
    grids = _chosen(experiment.read_grid(options.file), options)
    if options.minutes is not None:
        grids.sort(key=lambda grid: not grid.priority)
    store = experiment.Store(options.store)
    trials = list({trial.key: trial for grid in grids for trial in grid.trials}.values())
    before = _kept(trials, store)
    print(f"{len(before):,} of {len(trials):,} trials are kept in {store.folder}", flush=True)
    if options.skip_missing:
        trials = _possible(trials, before)
    outcomes = [] if options.list else _outcomes(trials, store, options, began)
    kept, records = _kept(trials, store), store.records()
    left = {trial.key: experiment.estimate_seconds(trial, records) for trial in trials if trial.key not in kept}
    _print_table(grids, kept, left, hidden=() if options.minutes is None else before)
    _print_times(kept, left)
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        print(f"fewbits: {outcome.trial.name} ({outcome.trial.key}) failed: {outcome.error}", file=sys.stderr)
    return EXIT_FAILED if failed else 0


def _kept(trials: list["Trial"], store: "Store") -> dict[str, "Record"]:
    return {trial.key: record for trial in trials if (record := store.load(trial))}


def _outcomes(trials: list["Trial"], store: "Store", options: argparse.Namespace, began: float) -> list["TrialOutcome"]:
    """Run the trials; if there is a limit, those that fit into what is left of the minutes since `began`."""
    from fewbits import experiment
    from fewbits.cli.progress import TrialsBar

    how: dict[str, Any] = {"processes": options.processes, "scheduler": options.scheduler}
    how["progress"] = TrialsBar(sys.stdout)
    try:
        if options.minutes is None:
            return experiment.run_trials(trials, store, **how)
        return experiment.run_in_time(trials, store, 60 * options.minutes + began - time.monotonic(), **how)
    except KeyboardInterrupt:
        n = len(_kept(trials, store))
        told = f"{n:,} of {len(trials):,} trials are kept in {store.folder}; the same command goes on"
        raise KeyboardInterrupt(told) from None


def _chosen(grids: list["Grid"], options: argparse.Namespace) -> list["Grid"]:
    names = [grid.name for grid in grids]
    if options.grid is not None and options.grid not in names:
        raise InputError(f"{options.file} has no grid {options.grid!r}; it has {', '.join(names)}")
    chosen = [g for g in grids if options.grid in (None, g.name) and (g.priority or not options.priority)]
    if not chosen:
        raise InputError(f"{options.file} has no such grid with `priority = true`; leave out --priority")
    return chosen


def _possible(trials: list["Trial"], kept: dict[str, "Record"]) -> list["Trial"]:
    """Return the trials that are kept or can run on this machine; print how many cannot, and why."""
    from fewbits.experiment.trial import Checker

    check, possible = Checker(), []
    reasons: Counter[str] = Counter()
    for trial in trials:
        try:
            if trial.key not in kept:
                check(trial)
            possible.append(trial)
        except InputError as error:
            reasons[str(error)] += 1
    for reason, n in reasons.items():
        print(f"{n:,} left out: {reason}", flush=True)
    return possible


def _print_table(
    grids: list["Grid"], kept: dict[str, "Record"], left: dict[str, float | None], hidden: Collection[str]
) -> None:
    """Print a line for each trial.

    Args:
        grids: The grids.
        kept: Key -> record.
        left: Key -> estimated seconds of what has no record and can run; None if unknown.
        hidden: The keys of trials to leave out.
    """
    shown = {grid.name: [trial for trial in grid.trials if trial.key not in hidden] for grid in grids}
    width = max((len(trial.name) for trials in shown.values() for trial in trials), default=0)
    for name, trials in shown.items():
        if trials:
            print(f"\n{name:<{width}}  key               {'test':>8}  under float  {'time':>13}")
        for trial in trials:
            print(f"{trial.name:<{width}}  {trial.key}  {_cells(kept.get(trial.key), left.get(trial.key))}".rstrip())


def _cells(record: "Record | None", estimate: float | None) -> str:
    if record is None:
        return f"{'not run':>8}  {'':11}  " + ("" if estimate is None else f"{f'about {estimate:,.0f} s':>13}")
    lost, seconds = record.results.loss_of_accuracy, record.seconds
    cells = f"{record.results.accuracy:8.2%}", f"{'' if lost is None else f'{lost:.2%}':>11}"
    return "  ".join([*cells, "" if seconds is None else f"{f'{seconds:,.0f} s':>13}"])


def _print_times(kept: dict[str, "Record"], left: dict[str, float | None]) -> None:
    """Print how long what is kept took, and what is left will take."""
    from fewbits.cli.progress import duration

    spent = sum(record.seconds or 0 for record in kept.values())
    known = [seconds for seconds in left.values() if seconds is not None]
    print(f"\nfinished: {len(kept):,}, in {duration(spent)}")
    unknown = len(left) - len(known)
    if left:
        times = [f"about {duration(sum(known))}"] * bool(known) + [f"{unknown:,} of unknown time"] * bool(unknown)
        print(f"left: {len(left):,}, {' and '.join(times)}")
