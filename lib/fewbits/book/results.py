"""The key results a notebook records, and the baselines they are compared with.

A recorded result can be quoted in prose with MyST's `{glue:text}` role, and `make test` fails when it moves.
"""

import json
import math
from pathlib import Path

from fewbits.errors import InputError
from fewbits.io.files import write_aside

_PREFIX = "application/papermill.record/"


def record(within: float | None = None, **results) -> None:
    """Record named key results of the notebook: integers, strings and booleans exactly, floats with a band.

    within: how far a float may move from its baseline before tests fail. Raises InputError on a float without a
    band, on NaN, and on other types.
    """
    for name, value in results.items():
        value = getattr(value, "item", lambda v=value: v)()
        if not isinstance(value, (int, float, str)):
            raise InputError(f"result {name} must be a number or a string, not {type(value).__name__}")
        if isinstance(value, float):
            if within is None or within < 0:
                raise InputError(f"result {name} is a float; say how far it may move with within=...")
            if not math.isfinite(value):
                raise InputError(f"result {name} is {value}; only finite results can be compared")
        _glue(name, value, fewbits={"value": value, "within": within if isinstance(value, float) else None})


def quote(**results) -> None:
    """Make named results quotable in prose without comparing them: for what chance may change, such as a winner."""
    for name, value in results.items():
        _glue(name, value)


def _glue(name, value, **metadata):
    from IPython.display import display

    metadata["scrapbook"] = {"name": name, "mime_prefix": _PREFIX}
    display({f"{_PREFIX}text/plain": repr(value)}, metadata=metadata, raw=True)


def recorded(notebook) -> dict[str, dict]:
    """Return the results of an executed notebook: name -> {value, within}."""
    results = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            result = output.get("metadata", {}).get("fewbits")
            if result is not None:
                results[output.metadata["scrapbook"]["name"]] = dict(result)
    return results


def differences(results: dict[str, dict], baseline: dict[str, dict]) -> list[str]:
    """Return one sentence for each result that is missing, new, or outside its baseline."""
    found = [f"{name} is in the baseline but was not recorded" for name in baseline.keys() - results.keys()]
    found += [f"{name} was recorded but has no baseline" for name in results.keys() - baseline.keys()]
    for name in results.keys() & baseline.keys():
        value, want = results[name]["value"], baseline[name]["value"]
        band = baseline[name]["within"]
        if results[name]["within"] != band:
            found.append(f"{name} has a band of {results[name]['within']}; its baseline has {band}")
        elif band is None and (type(value) is not type(want) or value != want):
            found.append(f"{name} is {value!r}; its baseline is {want!r}")
        elif band is not None and abs(value - want) > band:
            found.append(f"{name} is {value:.6g}; its baseline is {want:.6g} within {band:g}")
    return sorted(found)


def read_baseline(path: Path, profile: str) -> dict[str, dict]:
    """Return the baseline of one notebook in one profile; empty where there is none."""
    return json.loads(path.read_text())["results"].get(profile, {}) if path.exists() else {}


def write_baseline(path: Path, profile: str, results: dict[str, dict], reason: str) -> None:
    """Store `results` as the baseline of `profile`, with the reason of the change; other profiles stay."""
    if not reason.strip():
        raise InputError("a baseline changes only with a reason; say it with REASON='...'")
    content = json.loads(path.read_text()) if path.exists() else {"results": {}}
    content = {"reason": reason, "results": {**content["results"], profile: dict(sorted(results.items()))}}
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_aside(path) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")
