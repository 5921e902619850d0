"""The page that says what this build of the book is made of, and which reference results it lacks."""

from collections.abc import Sequence
from typing import Any

from fewbits.book import reference
from fewbits.book.chapter import Chapter
from fewbits.book.results import differences, read_baseline, recorded
from fewbits.errors import needs_extra
from fewbits.experiment import Store, estimate_seconds

with needs_extra("book", "Pages"):
    import nbformat

_PAGE = """# Status of this build

The build writes this page from the notebooks that it executed, with the profile *{profile}*. A result agrees if it
equals its stored baseline, or lies within its band.

| chapter | executed on | seconds | results that agree |
|---|---|---:|---:|
{rows}
| **all** | | **{seconds:.0f}** | **{agree} of {results}** |

The seconds are those of one chapter at a time or of several side by side, as the machine had room.

| package | version |
|---|---|
{versions}

## Reference results

{missing}
"""

_MISSING = """{n} of the trials that `data/reference/grids.toml` asks for have not been run. Tables and figures of the
chapters leave them out. `make reference DATA=folder` runs them. Minutes are estimated from the records of like trials.

| grid | trial | result | minutes |
|---|---|---|---:|
{rows}"""


def status_page(executed: Sequence[Chapter], profile: str) -> str:
    """Return the page as Markdown.

    Args:
        executed: The chapters; they have been executed.
        profile: "smoke", "quick" or "full": whose results the pages show.
    """
    notebooks = [nbformat.read(chapter.executed(profile), 4) for chapter in executed]
    runs = [notebook.metadata["fewbits"] for notebook in notebooks]
    counts = [agreement(chapter, notebook, profile) for chapter, notebook in zip(executed, notebooks)]
    rows = [
        f"| [](../notebooks/{chapter.name}) | {run['date']} | {run['seconds']:.0f} | {agree} of {results} |"
        for chapter, run, (agree, results) in zip(executed, runs, counts)
    ]
    return _PAGE.format(
        profile=profile,
        rows="\n".join(rows),
        seconds=sum(run["seconds"] for run in runs),
        agree=sum(agree for agree, _ in counts),
        results=sum(results for _, results in counts),
        versions="\n".join(f"| {name} | {', '.join(versions)} |" for name, versions in _versions(runs).items()),
        missing=_missing(),
    )


def _missing() -> str:
    trials = reference.missing()
    if not trials:
        return "Each trial that `data/reference/grids.toml` asks for has been run."
    records = Store(reference.FOLDER / "trials").records()
    rows = []
    for trial, grid in trials.items():
        seconds = estimate_seconds(trial, records)
        rows.append(f"| {grid} | {trial.name} | not run | {'-' if seconds is None else f'{seconds / 60:.0f}'} |")
    return _MISSING.format(n=len(trials), rows="\n".join(rows))


def agreement(chapter: Chapter, notebook: Any, profile: str) -> tuple[int, int]:
    """Count the results of a chapter that agree with its baseline.

    Args:
        chapter: The chapter.
        notebook: The executed notebook, as `nbformat.read` returns it.
        profile: "smoke", "quick" or "full".

    Returns:
        How many agree, and how many there are in the notebook and in the baseline together.
    """
    results, baseline = recorded(notebook), read_baseline(chapter.baseline, profile)
    every = len(results.keys() | baseline.keys())
    return every - len(differences(results, baseline)), every


def _versions(runs: Sequence[Any]) -> dict[str, list[str]]:
    """Return the versions of each package; of chapters executed with different ones, all of them."""
    names = dict.fromkeys(name for run in runs for name in run["versions"])
    return {name: sorted({run["versions"][name] for run in runs if name in run["versions"]}) for name in names}
