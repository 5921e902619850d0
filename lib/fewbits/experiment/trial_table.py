"""Records as a table: one row per trial, with what was asked, what was measured, and what it cost; or one per group."""

from collections.abc import Iterable, Sequence
from typing import Any

from fewbits.errors import InputError
from fewbits.experiment.store import Record
from fewbits.experiment.trial import Trial
from fewbits.statistics import Estimate

ASKED = tuple(Trial.model_fields)
MEASURED = ("top1", "under_float", "validation", "top5", "loss", "parameters")
ORIGIN = ("seconds", "date", "threads", "cpu", "gpu", "commit", "key")
COLUMNS = ("name", *ASKED, *MEASURED, *ORIGIN)

Row = dict[str, Any]


def rows(records: Iterable[Record]) -> list[Row]:
    """Return one row per record, with the columns COLUMNS; what a trial does not have is None.

    Args:
        records: Such as `Store.records()`.

    Returns:
        Column -> value: the name and the fields of the Trial, bits as in "8-6-float" and a start by its name or key;
        shares from 0 to 1 (`top1`, `validation` and `top5` of images that are right; `under_float`, how far `top1` is
        under the float network that the trial started from), the mean cross-entropy on the test images in nats, the
        number of parameters, and the seconds since the trial was last resumed.
    """
    return [_asked(record.trial) | _measured(record) | _origin(record) for record in records]


def rows_with(table: Sequence[Row], column: str, value: str) -> list[Row]:
    """Return the rows with this value.

    Args:
        table: As `rows` returns it.
        column: One of COLUMNS.
        value: As `as_text` writes it.

    Raises:
        InputError: when there is no such column, or no such value in it; the message lists what there is.
    """
    _check(column)
    found = [row for row in table if as_text(row[column]) == value]
    if not found:
        known = sorted({as_text(row[column]) for row in table if row[column] is not None})
        there = f"it is one of {', '.join(known[:12])}" if known else f"none has a {column}"
        raise InputError(f"no trial has {column} = {value!r}; {there}")
    return found


def grouped(table: Sequence[Row], by: Sequence[str]) -> list[Row]:
    """Return one row per group of trials: its common values, how many trials there are, and means with intervals.

    Args:
        table: As `rows` returns it.
        by: Columns whose values the trials of a group share.

    Returns:
        Column -> value: those of `by`; `n`; `top1` and `under_float`, each an Estimate over the trials of the group, by
        Student's t distribution; and the mean `seconds`. Groups stand in the order of their first trials.

    Raises:
        InputError: when there is no such column.
    """
    for column in by:
        _check(column)
    groups: dict[tuple, list[Row]] = {}
    for row in table:
        groups.setdefault(tuple(row[column] for column in by), []).append(row)
    return [
        dict(zip(by, values, strict=True))
        | {
            "n": len(group),
            "top1": Estimate.of(row["top1"] for row in group),
            "under_float": Estimate.of(row["under_float"] for row in group if row["under_float"] is not None),
            "seconds": Estimate.of(row["seconds"] for row in group if row["seconds"] is not None).mean,
        }
        for values, group in groups.items()
    ]


def ordered(table: Sequence[Row], column: str) -> list[Row]:
    """Return the rows in ascending order of a column, those without a value last; equal ones keep their order.

    Args:
        table: As `rows` returns it.
        column: One of COLUMNS.

    Raises:
        InputError: when there is no such column.
    """
    _check(column)
    known = [row for row in table if row[column] is not None]
    is_number = all(isinstance(row[column], int | float) for row in known)
    known.sort(key=lambda row: row[column] if is_number else as_text(row[column]))
    return known + [row for row in table if row[column] is None]


def flat(row: Row) -> Row:
    """Return a row with each Estimate as two columns of numbers: its mean, and `..._half_width`, None with one trial.

    Args:
        row: As `rows` or `grouped` returns it.
    """
    found: Row = {}
    for name, value in row.items():
        if isinstance(value, Estimate):
            found[name] = value.mean if value else None
            found[f"{name}_half_width"] = value.half_width if value.n > 1 else None
        else:
            found[name] = value
    return found


def as_text(value: Any) -> str:
    """Return a value of a table or a field of a Trial as text: nothing for None, true and false as in TOML, 8-6-float.

    Args:
        value: Any value that `rows` returns, or a tuple.
    """
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "-".join("float" if each is None else str(each) for each in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(column: str) -> None:
    if column not in COLUMNS:
        raise InputError(f"there is no column {column!r}; the columns are {', '.join(COLUMNS)}")


def _asked(trial: Trial) -> Row:
    row = {name: getattr(trial, name) for name in ("name", *ASKED)}
    row = {name: as_text(value) if isinstance(value, tuple) else value for name, value in row.items()}
    if isinstance(trial.start, Trial):
        row["start"] = trial.start.key
    return row


def _measured(record: Record) -> Row:
    results = record.results
    test, validation = results.test, results.validation
    return {
        "top1": results.accuracy,
        "under_float": results.loss_of_accuracy,
        "validation": validation.hits / validation.n if validation.n else None,
        "top5": None if test.hits_top5 is None else test.hits_top5 / test.n,
        "loss": test.loss,
        "parameters": results.parameters,
    }


def _origin(record: Record) -> Row:
    origin = record.provenance
    hardware, commit = (part if isinstance(part := origin.get(name), dict) else {} for name in ("hardware", "commit"))
    return {
        "seconds": record.seconds,
        "date": origin.get("date"),
        "threads": hardware.get("threads"),
        "cpu": hardware.get("cpu"),
        "gpu": hardware.get("gpu"),
        "commit": commit.get("id"),
        "key": record.trial.key,
    }
