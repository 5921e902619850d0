"""The tables of the five theses, as they are printed (transcribed in data/papers/KEY/table-NN.csv)."""

import csv
from pathlib import Path

from fewbits.errors import InputError

FOLDER = Path(__file__).parents[3] / "data" / "papers"


def table(key: str, number: int) -> list[dict]:
    """Return the rows of a thesis' table: column -> number, or word where it is none. InputError if there is none."""
    path = FOLDER / key / f"table-{number:02d}.csv"
    if not path.exists():
        known = sorted(p.relative_to(FOLDER).with_suffix("").as_posix() for p in FOLDER.glob("*/table-*.csv"))
        raise InputError(f"no table {number} of {key!r} is transcribed; there are {', '.join(known) or 'none'}")
    with path.open(newline="") as lines:
        return [{column: _value(word) for column, word in row.items()} for row in csv.DictReader(lines)]


def _value(word: str):
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word
