"""The page that lists every trial of the reference results with its provenance, from the records and grids.toml."""

from collections.abc import Sequence
from html import escape
from typing import Any

from fewbits.book import reference
from fewbits.experiment import Grid, Store, Trial
from fewbits.experiment.trial_table import Row, as_text, rows

OTHER = "start of others"
"""What stands for a grid at a trial that no grid asks for, because others start from it."""

_OWN_COLUMN = ("network", "data", "seed", "epochs", "images", "profile")
_FOUND = ("grid", "varied", "test", "under float")  # what a reader looks for, where it shows without scrolling
_HEADS = (*_FOUND, "network", "data", "seed", "epochs", "images", "seconds", "date", "code", "machine", "key")
_NUMBERS = ("seed", "epochs", "images", "test", "under float", "seconds")
_PAGE = """# Every trial

The reference results of this book are {n} trials. Each row is one trial: what was asked, what was measured on the test
images, how long it took since it was last resumed, when, with which code, and on what. [Status of this build](status)
lists the trials that have no record yet.
*Varied* names the fields in which the trials of its grid differ. The record of a trial is
`data/reference/trials/KEY.json`; `fewbits results data/reference/trials --csv` writes all fields of all records.

```{{raw}} html
<link rel="stylesheet" href="../_static/trials.css">
<div class="fewbits-trials" tabindex="0" role="region" aria-label="All trials, a table that scrolls">
<table><caption class="visually-hidden">Every trial of the reference results</caption>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table>
</div>
<script defer src="../_static/trials.js"></script>
```
"""


def trials_page() -> str:
    """Return the page as Markdown, with the table as HTML.

    Raises:
        InputError: when there are no reference results, as in an installed package, or a record is damaged.
    """
    grids = reference.grids()
    records = {record.trial.key: record for record in Store(reference.FOLDER / "trials").records()}
    measured = {row["key"]: row for row in rows(records.values())}
    of: dict[str, list[Grid]] = {key: [] for key in records}
    for grid in grids:
        for trial in grid.trials:
            if trial.key in of:
                of[trial.key].append(grid)
    lines = [_line(records[key].trial, asked_by, measured[key]) for key, asked_by in of.items()]
    heads = "".join(f'<th scope="col"{_class(name)}>{name}</th>' for name in _HEADS)
    return _PAGE.format(n=len(lines), heads=heads, rows="\n".join(lines))


def varied(trial: Trial, grid: Grid) -> str:
    """Return the fields in which the trials of a grid differ, with the values that one of them has.

    Args:
        trial: One of the trials.
        grid: Its grid.
    """
    names = [name for name in Trial.model_fields if name not in _OWN_COLUMN]
    names = [name for name in names if any(getattr(other, name) != getattr(trial, name) for other in grid.trials)]
    return ", ".join(f"{name} {_written(getattr(trial, name))}" for name in names)


def _written(value: Any) -> str:
    if isinstance(value, Trial):
        return value.name
    return "none" if value is None else as_text(value)


def _line(trial: Trial, grids: Sequence[Grid], row: Row) -> str:
    cells: dict[str, tuple[str, Any]] = {
        "grid": (", ".join(grid.name for grid in grids) or OTHER, None),
        "network": (trial.network, None),
        "data": (trial.data, None),
        "varied": (varied(trial, grids[0]) if grids else "", None),
        "seed": (str(trial.seed), trial.seed),
        "epochs": (str(trial.epochs), trial.epochs),
        "images": ("all", 10**9) if trial.images is None else (f"{trial.images:,}", trial.images),
        **_measured(row),
        "key": (trial.key, None),
    }
    return f"<tr>{''.join(_cell(name, *cells[name]) for name in _HEADS)}</tr>"


def _measured(row: Row) -> dict[str, tuple[str, Any]]:
    lost, seconds = row["under_float"], row["seconds"]
    return {
        "test": (f"{row['top1']:.2%}", row["top1"]),
        "under float": ("", "") if lost is None else (f"{lost:.2%}", lost),
        "seconds": ("", "") if seconds is None else (f"{seconds:,.0f}", seconds),
        "date": (row["date"] or "", None),
        "code": ((row["commit"] or "")[:7], None),
        "machine": (row["gpu"] or row["cpu"] or "", None),
    }


def _cell(name: str, text: str, value: Any) -> str:
    shown = f"<code>{escape(text)}</code>" if name in ("key", "code") and text else escape(text)
    sort = f' data-value="{value}"' if value is not None and str(value) != text else ""
    return f"<td{_class(name)}{sort}>{shown}</td>"


def _class(name: str) -> str:
    return ' class="number"' if name in _NUMBERS else ""
