"""Runs a chapter through papermill and refuses a result that only looks right."""

import os
import tempfile
import time
from pathlib import Path

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from fewbits.book.chapter import Chapter
from fewbits.book.results import PROFILE_VARIABLE, differences, read_baseline, recorded
from fewbits.errors import InputError

# What every notebook's kernel runs under. FEWBITS_BOOK makes figures live without a kernel. oneDNN sums in other orders
# on other processors, and is slower for networks as small as the book's.
KERNEL_ENVIRONMENT = {
    "FEWBITS_BOOK": "1",
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class ExecutionError(Exception):
    """A chapter failed; the message says where and how."""


def run(chapter: Chapter, profile: str, progress: bool = True) -> bool:
    """Execute `chapter` where its key has changed; return whether it ran.

    The executed notebook is written whole or not at all. Raises ExecutionError on an error in a cell or behind a
    widget, and on anything written to stderr; InputError where the notebook has no parameter `profile`.
    """
    key, target = chapter.key(profile), chapter.executed(profile)
    if target.exists() and nbformat.read(target, 4).metadata.get("fewbits", {}).get("key") == key:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        source, aside = Path(folder, "source.ipynb"), Path(folder, "executed.ipynb")
        nbformat.write(chapter.notebook(), source)
        parameters = {"profile": profile}
        check_parameters(source, parameters)
        notebook = _execute(chapter, source, aside, parameters, progress)
        problems = hidden_errors(notebook)
        if problems:
            raise ExecutionError(f"{chapter.name}: {problems[0]}")
        notebook.metadata["fewbits"] = {"key": key, "profile": profile, "seconds": round(time.monotonic() - began, 1)}
        notebook.metadata.pop("papermill", None)  # it holds this machine's paths
        nbformat.write(notebook, aside)
        aside.replace(target)
    return True


def check(chapter: Chapter, profile: str) -> list[str]:
    """Return how the results of the executed chapter differ from its baseline, a sentence each."""
    results = recorded(nbformat.read(chapter.executed(profile), 4))
    return differences(results, read_baseline(chapter.baseline, profile))


def hidden_errors(notebook) -> list[str]:
    """Return errors that papermill lets pass: warnings, text on stderr, and errors kept in a widget's output."""
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


def check_parameters(source: Path, parameters: dict) -> None:
    """Raise InputError on a parameter the notebook at `source` does not have; papermill only logs a line."""
    known = papermill.inspect_notebook(str(source))
    for name in parameters:
        if name not in known:
            raise InputError(f"the notebook has no parameter {name!r}; it has {', '.join(known) or 'none'}")


def _execute(chapter, source, aside, parameters, progress):
    environment = {**KERNEL_ENVIRONMENT, PROFILE_VARIABLE: parameters["profile"]}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        return papermill.execute_notebook(
            str(source),
            str(aside),
            parameters,
            kernel_name="python3",
            cwd=str(chapter.root),
            extra_arguments=["--log-level=ERROR"],
            progress_bar={"desc": chapter.name, "leave": False} if progress else False,
        )
    except PapermillExecutionError as error:
        said = " ".join(error.evalue.split())[:600]
        raise ExecutionError(f"{chapter.name}: cell {error.cell_index} raised {error.ename}: {said}") from None
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
