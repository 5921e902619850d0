"""The page that says which tables and figures of the five works the book uses, and how far, and why not the others."""

import tomllib
from collections.abc import Sequence
from typing import Any

from fewbits.book import papers

EXTENTS = {
    "reproduced": "every row or curve has a number of ours for the same quantity, with the same architecture and task",
    "part": "ours covers some rows or curves only, or another network, or other data; the chapter says which",
    "discussed": "a chapter names it, and has no numbers of ours for it",
}
"""How far a chapter goes with a table or figure -> what that means."""

_SAID = {"reproduced": "reproduced", "part": "in part", "discussed": "discussed"}
_PAGE = """# Tables and figures of the five works

Every table and figure of the five works, with the chapters that compute with it or discuss it, and how far they go:

{extents}
- *not*: no chapter uses it, and the list says why.

Data, weights and budgets differ, so a number that is reproduced need not be equal.
[The papers against ours](../notebooks/90-paper-against-ours) sets our numbers beside the printed tables,
[the figures measured again](../notebooks/92-curves) our curves in place of theirs.

| work | | reproduced | in part | discussed | not |
|---|---|---:|---:|---:|---:|
{counts}

{works}
"""


def read_coverage() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return key of a work -> "tables" and "figures" -> entries, as data/papers/coverage.toml has them."""
    return tomllib.loads((papers.FOLDER / "coverage.toml").read_text(encoding="utf-8"))


def expanded(numbers: Sequence[str]) -> list[str]:
    """Return all numbers that an entry stands for.

    Args:
        numbers: Printed numbers, and ranges of them.

    Example:
        >>> expanded(["1", "4-6", "3.1-3.2"])
        ['1', '4', '5', '6', '3.1', '3.2']
    """
    found = []
    for text in numbers:
        first, _, last = text.partition("-")
        chapter, dot, low = first.rpartition(".")
        high = (last or first).rpartition(".")[2]
        found += [f"{chapter}{dot}{number}" for number in range(int(low), int(high) + 1)]
    return found


def coverage_page() -> str:
    """Return the page as Markdown."""
    works = read_coverage()
    parts = []
    for key, work in works.items():
        lines = [f"## {key}\n", "| | shows | how far | where, or why not |", "|---|---|---|---|"]
        lines += [_line("Table", entry) for entry in work["tables"]] + [_line("Figure", e) for e in work["figures"]]
        parts.append("\n".join(lines))
    return _PAGE.format(
        extents="\n".join(f"- *{_SAID[extent]}*: {meaning}." for extent, meaning in EXTENTS.items()),
        counts="\n".join(_counts(key, kind, work[kind]) for key, work in works.items() for kind in work if work[kind]),
        works="\n\n".join(parts),
    )


def _counts(key: str, kind: str, entries: Sequence[dict[str, Any]]) -> str:
    counts = dict.fromkeys([*EXTENTS, None], 0)
    for entry in entries:
        counts[entry.get("extent")] += len(expanded(entry["numbers"]))
    return f"| {{cite:t}}`{key}` | {kind} | " + " | ".join(map(str, counts.values())) + " |"


def _line(kind: str, entry: dict[str, Any]) -> str:
    numbers = ", ".join(number.replace("-", " to ") for number in entry["numbers"])
    where = ", ".join(f"[](../notebooks/{name})" for name in entry.get("chapters", ())) or entry["why"]
    extent = _SAID[entry["extent"]] if "extent" in entry else "not"
    return f"| {kind} {numbers} | {entry['shows']} | {extent} | {where} |"
