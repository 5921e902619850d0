"""The key results that a notebook records, and the baselines that they are compared with.

Prose can quote a recorded result with MyST's `{glue:text}` role, and `make test` fails when the result moves.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from fewbits.errors import InputError
from fewbits.io.files import write_aside
from fewbits.statistics import Estimate, Share

PROFILE_VARIABLE = "FEWBITS_PROFILE"
"""The environment variable that tells a kernel which profile it runs; "quick" where it is not set."""

_PREFIX = "application/papermill.record/"


class Result(TypedDict):
    """One recorded result: its value, and how far it may move (None: not at all)."""

    value: int | float | str
    within: float | None


def record(within: float | Mapping[str, float] | None = None, **results: Any) -> None:
    """Record named key results of the notebook.

    Integers, strings and booleans are compared with their baseline exactly, floats within a band.

    Args:
        within: How far a float may move from its baseline before tests fail. A mapping gives one band per profile,
            as in `{"smoke": 0.6, "quick": 0.05}`; a profile that it does not name uses the band of "quick".
        **results: The results by name: numbers, strings, NumPy scalars, a Share or an Estimate. A mapping records each
            of its values: `rank={"weights-l1": 0.4}` as `rank_weights_l1`, `trained={(4, 4, 4): share}` as
            `trained_444`.

    Raises:
        InputError: when a float has no band, is not finite, or a result is of another type.
    """
    band = _active_band(within) if isinstance(within, Mapping) else within
    for name, value in _named(results):
        if not isinstance(value, (int, float, str)):
            raise InputError(f"result {name} must be a number or a string, not {type(value).__name__}")
        if isinstance(value, float):
            if band is None or band < 0:
                raise InputError(f"result {name} is a float; say how far it may move with within=...")
            if not math.isfinite(value):
                raise InputError(f"result {name} is {value}; only finite results can be compared")
        _glue(name, value, fewbits={"value": value, "within": band if isinstance(value, float) else None})


def _active_band(bands: Mapping[str, float]) -> float:
    profile = os.environ.get(PROFILE_VARIABLE, "quick")
    for name in (profile, "quick"):
        if name in bands:
            return bands[name]
    raise InputError(f"no band for the profile {profile}; add it, or one for quick, to within={dict(bands)}")


def quote(**results: Any) -> None:
    """Make named results quotable in prose without comparing them.

    Args:
        **results: Results that chance may change, such as the name of a winner; mappings as in `record`.
    """
    for name, value in _named(results):
        _glue(name, value)


def _named(results: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield names and plain values; those of a mapping one by one, each named after the mapping and its key."""
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield from _named({f"{name}_{_word(key)}": part for key, part in value.items()})
        elif isinstance(value, Share | Estimate):
            yield name, float(value)
        else:
            yield name, getattr(value, "item", lambda v=value: v)()


def _word(key: Any) -> str:
    if isinstance(key, tuple):  # bits, such as 844, or words
        key = ("" if all(isinstance(part, int) for part in key) else "_").join(map(str, key))
    return re.sub(r"\W+", "_", str(key))


def _glue(name: str, value: Any, **metadata: Any) -> None:
    from IPython.display import display

    metadata["scrapbook"] = {"name": name, "mime_prefix": _PREFIX}
    display({f"{_PREFIX}text/plain": repr(value)}, metadata=metadata, raw=True)


def recorded(notebook: Any) -> dict[str, Result]:
    """Return the results of an executed notebook.

    Args:
        notebook: The notebook with its outputs, as `nbformat.read` returns it.

    Returns:
        Name -> result, in the order of recording.
    """
    results: dict[str, Result] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            result = output.get("metadata", {}).get("fewbits")
            if result is not None:
                name = output.metadata["scrapbook"]["name"]
                results[name] = Result(value=result["value"], within=result["within"])
    return results


def differences(results: Mapping[str, Result], baseline: Mapping[str, Result]) -> list[str]:
    """Compare results with their baseline.

    Args:
        results: The results of a run, by name.
        baseline: What they should be, by name.

    Returns:
        One sentence for each result that is missing, new, or outside its baseline; sorted.
    """
    found = [f"{name} is in the baseline but was not recorded" for name in baseline.keys() - results.keys()]
    found += [f"{name} was recorded but has no baseline" for name in results.keys() - baseline.keys()]
    for name in results.keys() & baseline.keys():
        value, want = results[name]["value"], baseline[name]["value"]
        band = baseline[name]["within"]
        if results[name]["within"] != band:
            found.append(f"{name} has a band of {results[name]['within']}; its baseline has {band}")
        elif band is None:
            if type(value) is not type(want) or value != want:
                found.append(f"{name} is {value!r}; its baseline is {want!r}")
        elif abs(float(value) - float(want)) > band:
            found.append(f"{name} is {value:.6g}; its baseline is {want:.6g} within {band:g}")
    return sorted(found)


def read_baseline(path: Path, profile: str) -> dict[str, Result]:
    """Return the baseline of one notebook in one profile.

    Args:
        path: The file of the notebook's baselines.
        profile: "smoke" or "quick".

    Returns:
        Name -> result; empty where there is no baseline.
    """
    return json.loads(path.read_text())["results"].get(profile, {}) if path.exists() else {}


def write_baseline(path: Path, profile: str, results: Mapping[str, Result], reason: str) -> None:
    """Store results as the baseline of a profile; other profiles stay.

    Args:
        path: The file of the notebook's baselines.
        profile: "smoke" or "quick".
        results: The results by name.
        reason: Why the results may change.

    Raises:
        InputError: when the reason is blank.
    """
    if not reason.strip():
        raise InputError("a baseline changes only with a reason; say it with REASON='...'")
    content = json.loads(path.read_text()) if path.exists() else {"results": {}}
    content = {"reason": reason, "results": {**content["results"], profile: dict(sorted(results.items()))}}
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_aside(path) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")
