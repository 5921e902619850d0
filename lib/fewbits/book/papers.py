"""The tables of the four theses and the report, as they are printed (transcribed in data/papers/KEY/table-NN.csv).

The folder data/papers belongs to the book's repository; an installed package does not have it.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from fewbits.errors import InputError

FOLDER = Path(__file__).parents[3] / "data" / "papers"

_SCHEDULES = {  # column of vieito2017's Tables 10 to 14 -> strategy and MSB
    "dynamic_accuracy": ("lock", "generic"),
    "generic_msb_accuracy": ("lock", "generic"),
    "custom_msb_accuracy": ("lock", "custom"),
    "lock_accuracy": ("lock", "custom"),
    "train_accuracy": ("train", "custom"),
    "accuracy": ("train", "custom"),
}


def table(key: str, number: int) -> list[dict]:
    """Return the rows of a thesis' table: column -> number, or word if the cell holds none.

    Args:
        key: The citation key of the thesis, such as "vieito2017".
        number: The number of its table; one that is numbered by chapter, such as 7.1, is 701.

    Raises:
        InputError: when the table is not transcribed, or there are no tables, as in an installed package.
    """
    path = FOLDER / key / f"table-{number:02d}.csv"
    if not FOLDER.exists():
        raise InputError(
            "the theses' tables belong to the book's repository, and an installed package does not have them; "
            "run the book from a checkout"
        )
    if not path.exists():
        known = sorted(p.relative_to(FOLDER).with_suffix("").as_posix() for p in FOLDER.glob("*/table-*.csv"))
        raise InputError(f"no table {number} of {key!r} is transcribed; there are {', '.join(known) or 'none'}")
    with path.open(newline="") as lines:
        return [{column: _value(word) for column, word in row.items()} for row in csv.DictReader(lines)]


def bits_of(row: Mapping) -> tuple[int, int, int]:
    """Return the bits of kernel, input and output in a row of vieito2017's tables."""
    return row["kernel_bits"], row["input_bits"], row["output_bits"]


def schedule_accuracies() -> dict[tuple[str, str, tuple[int, int, int], int], tuple[float, int]]:
    """Return the accuracies of vieito2017's schedules, level by level, from its Tables 10, 12, 13 and 14.

    Returns:
        (strategy, "lock" or "train"; MSB, "generic" or "custom"; bits of kernel, input and output; epochs per level)
        -> accuracy in percent, and the number of the last table that has it.

    Raises:
        InputError: as `table` does.
    """
    found = {}
    for number in (10, 12, 13, 14):
        for row in table("vieito2017", number):
            for column, (strategy, msb) in _SCHEDULES.items():
                if column in row:
                    found[strategy, msb, bits_of(row), row["epochs_per_layer"]] = row[column], number
    return found


def _value(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word
