"""`fewbits sweep`: the trials of a file."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from fewbits.cli.parser import Commands, add_command
from fewbits.errors import InputError

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
"""
EXAMPLES = """
  fewbits sweep trials.toml --store results --list
  fewbits sweep trials.toml --store results --priority --processes 2 --skip-missing
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
    command.add_argument("--list", action="store_true", help="run nothing; print the trials and their stored results")


def run(options: argparse.Namespace) -> int:
    """Run the trials, and print a table of their results; return 1 if any failed."""
    from fewbits import experiment
    from fewbits.cli.progress import TrialsBar

    grids = _chosen(experiment.read_grid(options.file), options)
    store = experiment.Store(options.store)
    trials = list({trial.key: trial for grid in grids for trial in grid.trials}.values())
    kept = {trial.key: record for trial in trials if (record := store.load(trial))}
    print(f"{len(kept):,} of {len(trials):,} trials are kept in {store.folder}", flush=True)
    failed = []
    if options.skip_missing:
        trials = _possible(trials, kept)
    if not options.list:
        try:
            outcomes = experiment.run_trials(
                trials,
                store,
                processes=options.processes,
                scheduler=options.scheduler,
                progress=TrialsBar(sys.stdout),
            )
        except KeyboardInterrupt:
            n = sum(store.load(trial) is not None for trial in trials)
            told = f"{n:,} of {len(trials):,} trials are kept in {store.folder}; the same command goes on"
            raise KeyboardInterrupt(told) from None
        kept = {outcome.trial.key: outcome.record for outcome in outcomes if outcome.record}
        failed = [outcome for outcome in outcomes if outcome.error]
    _print_table(grids, kept)
    for outcome in failed:
        print(f"fewbits: {outcome.trial.name} ({outcome.trial.key}) failed: {outcome.error}", file=sys.stderr)
    return EXIT_FAILED if failed else 0


def _chosen(grids: list, options: argparse.Namespace) -> list:
    names = [grid.name for grid in grids]
    if options.grid is not None and options.grid not in names:
        raise InputError(f"{options.file} has no grid {options.grid!r}; it has {', '.join(names)}")
    chosen = [g for g in grids if options.grid in (None, g.name) and (g.priority or not options.priority)]
    if not chosen:
        raise InputError(f"{options.file} has no such grid with `priority = true`; leave out --priority")
    return chosen


def _possible(trials: list, kept: dict) -> list:
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


def _print_table(grids: list, kept: dict) -> None:
    width = max(len(trial.name) for grid in grids for trial in grid.trials)
    for grid in grids:
        print(f"\n{grid.name:<{width}}  key               {'test':>8}  under float")
        for trial in grid.trials:
            record = kept.get(trial.key)
            if record is None:
                cells = " not run"
            else:
                lost = record.results.loss_of_accuracy
                cells = f"{record.results.accuracy:8.2%}" + ("" if lost is None else f"  {lost:11.2%}")
            print(f"{trial.name:<{width}}  {trial.key}  {cells}")
