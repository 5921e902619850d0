"""Runs a chapter through papermill and refuses a result that only looks right."""

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fewbits.book.chapter import Chapter
from fewbits.book.results import PROFILE_VARIABLE, differences, read_baseline, recorded
from fewbits.errors import InputError, needs_extra

with needs_extra("book", "Chapters"):
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

# The environment of every notebook's kernel. FEWBITS_BOOK makes figures live without a kernel. oneDNN sums in a
# different order on each kind of processor, and is slower for networks as small as the book's. TensorFlow's sums also
# depend on its number of threads: with two of them, results are the same however many cores or kernels there are.
KERNEL_ENVIRONMENT = {
    "FEWBITS_BOOK": "1",
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_NUM_INTRAOP_THREADS": "2",
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

# What the results can depend on; TensorFlow has either of two names.
PACKAGES = ("fewbits", "tensorflow", "tensorflow-cpu", "keras", "numpy", "scipy", "onnxruntime", "ai-edge-litert")


class ExecutionError(Exception):
    """A chapter failed; the message says where and how."""


def run(chapter: Chapter, profile: str) -> bool:
    """Execute a chapter if it has changed since it was last executed.

    The executed notebook is written whole or not at all.

    Args:
        chapter: The chapter.
        profile: "smoke", "quick" or "full".

    Returns:
        Whether it was executed.

    Raises:
        ExecutionError: when a cell or a widget's callback raises, or anything is written to stderr.
        InputError: when the notebook has no parameter `profile`.
    """
    if is_current(chapter, profile):
        return False
    key, target = chapter.key(profile), chapter.executed(profile)
    target.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        source, aside = Path(folder, "source.ipynb"), Path(folder, "executed.ipynb")
        nbformat.write(chapter.notebook(), source)
        parameters = {"profile": profile}
        check_parameters(source, parameters)
        notebook = _execute(chapter, source, aside, parameters)
        problems = hidden_errors(notebook)
        if problems:
            raise ExecutionError(f"{chapter.name}: {problems[0]}")
        notebook.metadata["fewbits"] = {
            "key": key,
            "profile": profile,
            "seconds": round(time.monotonic() - began, 1),
            "date": datetime.now(UTC).date().isoformat(),
            "versions": versions(),
        }
        notebook.metadata.pop("papermill", None)  # it holds this machine's paths
        nbformat.write(notebook, aside)
        aside.replace(target)
    return True


def is_current(chapter: Chapter, profile: str) -> bool:
    """Say whether a chapter has not changed since it was last executed: its script, the library, the data.

    Args:
        chapter: The chapter.
        profile: "smoke", "quick" or "full".

    Returns:
        Whether it need not be executed again.
    """
    return _last_run(chapter, profile).get("key") == chapter.key(profile)


def last_seconds(chapter: Chapter, profile: str) -> float | None:
    """Return how long the last successful execution of a chapter took.

    Args:
        chapter: The chapter.
        profile: "smoke", "quick" or "full".

    Returns:
        The time in seconds; None if there was none.
    """
    return _last_run(chapter, profile).get("seconds")


def _last_run(chapter: Chapter, profile: str) -> dict[str, Any]:
    target = chapter.executed(profile)
    return nbformat.read(target, 4).metadata.get("fewbits", {}) if target.exists() else {}


def check(chapter: Chapter, profile: str) -> list[str]:
    """Compare the results of an executed chapter with its baseline.

    Args:
        chapter: The chapter; it has been executed.
        profile: "smoke" or "quick".

    Returns:
        One sentence per difference.
    """
    results = recorded(nbformat.read(chapter.executed(profile), 4))
    return differences(results, read_baseline(chapter.baseline, profile))


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that results can depend on: name -> version."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def hidden_errors(notebook: Any) -> list[str]:
    """Find what papermill lets pass: warnings, text on stderr, and errors kept in a widget's output.

    Args:
        notebook: The executed notebook, as `nbformat.read` returns it.

    Returns:
        One sentence per error.
    """
    found = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and (output.name == "stderr" or "WARNING" in output.text):
                found.append(f"cell {number} wrote: {output.text.strip()[:300]}")
            if output.output_type == "error":
                found.append(f"cell {number} raised {output.ename}: {output.evalue}")
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    for widget in widgets.values():
        for output in widget.get("state", {}).get("outputs", ()):
            if output.get("output_type") == "error":
                found.append(f"a widget's callback raised {output['ename']}: {output['evalue']}")
    return found


def check_parameters(source: Path, parameters: dict[str, str]) -> None:
    """Check that a notebook has all parameters it is given; papermill only logs a line if it does not.

    Args:
        source: The notebook's file.
        parameters: Name -> value.

    Raises:
        InputError: when the notebook lacks one of them.
    """
    known = papermill.inspect_notebook(str(source))
    for name in parameters:
        if name not in known:
            raise InputError(f"the notebook has no parameter {name!r}; it has {', '.join(known) or 'none'}")


def _execute(chapter: Chapter, source: Path, aside: Path, parameters: dict[str, str]) -> Any:
    environment = {**KERNEL_ENVIRONMENT, PROFILE_VARIABLE: parameters["profile"]}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with _connection() as config:
            return papermill.execute_notebook(
                str(source),
                str(aside),
                parameters,
                kernel_name="python3",
                cwd=str(chapter.root),
                extra_arguments=["--log-level=ERROR"],
                progress_bar=False,
                config=config,
            )
    except PapermillExecutionError as error:
        said = " ".join(error.evalue.split())[:600]
        raise ExecutionError(f"{chapter.name}: cell {error.cell_index} raised {error.ename}: {said}") from None
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@contextmanager
def _connection() -> Iterator[Config]:
    """Yield how to reach a kernel: by sockets in a folder of its own, because two kernels may take the same port."""
    if os.name != "posix":
        yield Config()
        return
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the path of a socket must be short
        yield Config(KernelManager={"transport": "ipc", "connection_file": f"{folder}/kernel.json"})
