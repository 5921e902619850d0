"""The page that says which tables and figures of the five works the book uses, and why it leaves out the others."""

import tomllib
from collections.abc import Sequence
from typing import Any

from fewbits.book import papers

_PAGE = """# Tables and figures of the five works

Every table and figure of the five works, with the chapters that compute with it or discuss it. *Used* does not mean
reproduced: [the papers against ours](../notebooks/90-paper-against-ours) sets our numbers beside the printed ones.

| work | tables used | figures used |
|---|---|---|
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
    counts = [
        f"| {{cite:t}}`{key}` | {_used(work['tables'])} | {_used(work['figures'])} |" for key, work in works.items()
    ]
    parts = []
    for key, work in works.items():
        lines = [f"## {key}\n", "| | shows | where, or why not |", "|---|---|---|"]
        lines += [_line("Table", entry) for entry in work["tables"]] + [_line("Figure", e) for e in work["figures"]]
        parts.append("\n".join(lines))
    return _PAGE.format(counts="\n".join(counts), works="\n\n".join(parts))


def _used(entries: Sequence[dict[str, Any]]) -> str:
    used = sum(len(expanded(entry["numbers"])) for entry in entries if "chapters" in entry)
    return f"{used} of {sum(len(expanded(entry['numbers'])) for entry in entries)}"


def _line(kind: str, entry: dict[str, Any]) -> str:
    numbers = ", ".join(number.replace("-", " to ") for number in entry["numbers"])
    where = ", ".join(f"[](../notebooks/{name})" for name in entry.get("chapters", ())) or f"not used: {entry['why']}"
    return f"| {kind} {numbers} | {entry['shows']} | {where} |"
