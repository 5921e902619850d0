"""`fewbits results`: the records of a store as a table."""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from fewbits.cli.parser import Commands, add_command
from fewbits.errors import InputError

ABOUT = """
One line per trial: what it was, the accuracy on the test images, how far that is under the float network it started
from, and how long it took. --group-by prints means over the trials that share some columns, with a 95 % interval
(Student's t), which needs at least two; so --group-by with all that varies but the seed gives intervals over seeds.

The columns that --where, --group-by and --sort name are the fields of a trial, as in the file of `fewbits sweep`, and
what was measured: top1, under_float, validation, top5, loss, parameters, seconds, date and more; --csv prints them all.
"""
EXAMPLES = """
  fewbits results results
  fewbits results results --where strategy=train --group-by network,bits
  fewbits results results --sort top1 --csv > results.csv
"""

HEADS = {"top1": "top-1 in %", "under_float": "points under float", "seconds": "seconds"}


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "results", run, "print the records of a store as a table", EXAMPLES, ABOUT)
    command.add_argument("store", type=Path, help="folder of the records, as `fewbits sweep --store` fills it")
    command.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only trials with this value; repeatable"
    )
    command.add_argument("--group-by", metavar="COLUMN,...", help="one line per group of trials that share these")
    command.add_argument("--sort", metavar="COLUMN", help="order the trials by this column (default: by date)")
    command.add_argument("--csv", action="store_true", help="print comma-separated values with all columns")


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    from fewbits.experiment import Store, trial_table

    if not options.store.is_dir():
        raise InputError(f"there is no folder {options.store}; name one that `fewbits sweep --store` has filled")
    found = trial_table.rows(Store(options.store).records())
    if not found:
        raise InputError(f"{options.store} holds no record; `fewbits sweep --store {options.store}` writes them")
    for condition in options.where:
        column, equals, value = condition.partition("=")
        if not equals:
            raise InputError(f"--where takes COLUMN=VALUE, such as strategy=train, not {condition!r}")
        found = trial_table.rows_with(found, column, value)
    if options.sort is not None:
        found = trial_table.ordered(found, options.sort)
    if options.group_by is not None:
        found = trial_table.grouped(found, options.group_by.split(","))
    (_print_csv if options.csv else _print_table)(found)


def _print_csv(found: list[dict[str, Any]]) -> None:
    from fewbits.experiment import trial_table

    lines = csv.writer(sys.stdout, lineterminator="\n")
    flat = [trial_table.flat(row) for row in found]
    lines.writerow(flat[0])
    lines.writerows([trial_table.as_text(value) for value in row.values()] for row in flat)


def _print_table(found: list[dict[str, Any]]) -> None:
    is_grouped = "n" in found[0]
    told = [name for name in found[0] if is_grouped or name in ("name", "key", *HEADS)]
    lines = [[HEADS.get(name, name) for name in told], *([_cell(name, row[name]) for name in told] for row in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(told, line, widths, strict=True)
        padded = [cell.rjust(width) if name in ("n", *HEADS) else cell.ljust(width) for name, cell, width in cells]
        print("  ".join(padded).rstrip())


def _cell(name: str, value: Any) -> str:
    from fewbits.experiment import trial_table
    from fewbits.statistics import Estimate

    if value is None or (isinstance(value, Estimate) and not value):
        return "-"
    if isinstance(value, Estimate):
        return value.written(".2%")
    if name in HEADS:
        return f"{value:,.0f}" if name == "seconds" else f"{100 * value:.2f}"
    return trial_table.as_text(value)
