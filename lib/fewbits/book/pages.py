"""Renders the executed notebooks and the prose of `book/` as HTML that needs no kernel and no network."""

import shutil
import subprocess
import sys
import webbrowser
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from fewbits.book.chapter import Chapter, files_below, hash_files, library_files
from fewbits.book.coverage import coverage_page
from fewbits.book.execution import ExecutionError
from fewbits.book.lab_notebooks import find_labs
from fewbits.book.status import status_page
from fewbits.book.trials import trials_page
from fewbits.errors import needs_extra
from fewbits.io.files import write_aside

with needs_extra("book", "Pages"):
    import nbformat
    import yaml  # type: ignore[import-untyped]  # its types are a package of their own

WHOLE_BOOK = "few-bits.zip"
"""The zip file of all pages, which lies beside them."""

# A part of the book leaves out the slow page (it imports the whole library), and may refer to pages that it lacks.
_NOT_IN_A_PART = "book/api"
_MAY_MISS = ["myst.xref_missing", "ref.doc", "ref.ref", "ref.python"]


def render(root: Path, executed: Sequence[Chapter], profile: str, whole: bool = True) -> Path:
    """Build the pages if an input has changed.

    Args:
        root: The top folder of the book.
        executed: The chapters; they have been executed.
        profile: "smoke", "quick" or "full": whose results the pages show.
        whole: Whether these are all chapters. They are built in `_build/html`, a part of them in `_build/part/html`.

    Returns:
        The first page; of a part, the page of its first chapter.

    Raises:
        ExecutionError: when Sphinx warns.
    """
    build = root / "_build" if whole else root / "_build" / "part"
    html = build / "html"
    first = html / "index.html" if whole else html / "notebooks" / f"{executed[0].name}.html"
    sources = [root / "_config.yml", root / "_toc.yml", *library_files(root), *files_below(root / "book")]
    sources += files_below(root / "data")
    results = [*(c.executed(profile) for c in executed), *(c.baseline for c in executed if c.baseline.exists())]
    key = hash_files([*sources, *results, *(lab.pair for lab in find_labs(root))], root)
    stamp = build / "html.key"
    if html.exists() and stamp.exists() and stamp.read_text() == key:
        return first
    source, output = _fresh(build / "source"), _fresh(build / "pages")
    _copy_sources(root, source, executed, profile)
    if not whole:
        _keep_part(source, [chapter.name for chapter in executed])
    _run_sphinx(root, source, output, build / "pages.log")
    stamp.unlink(missing_ok=True)
    shutil.rmtree(html, ignore_errors=True)
    (output / "_build" / "html").replace(html)
    if whole:
        pack(html, html / WHOLE_BOOK)
    stamp.write_text(key)
    return first


def open_page(page: Path) -> bool:
    """Show a page in the reader's browser, if there is one and somebody is at the terminal.

    Args:
        page: The page's file.

    Returns:
        Whether a browser was opened.
    """
    return sys.stdout.isatty() and webbrowser.open(page.resolve().as_uri())


def pack(html: Path, target: Path) -> None:
    """Write the pages as a zip file with fixed dates, so that equal books give equal files.

    Args:
        html: The folder of the pages; a zip file of the whole book in it is left out.
        target: The zip file.
    """
    pages = [path for path in files_below(html) if path != html / WHOLE_BOOK]
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_aside(target) as file, ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for path in pages:
            info = ZipInfo(f"few-bits/{path.relative_to(html).as_posix()}", (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr = ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, path.read_bytes())


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _copy_sources(root: Path, source: Path, executed: Sequence[Chapter], profile: str) -> None:
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, source)
    shutil.copytree(root / "book", source / "book")
    vendor = source / "book" / "offline" / "vendor"
    vendor.mkdir()
    shutil.copy(str(files("plotly") / "package_data" / "plotly.min.js"), vendor)
    (source / "book" / "status.md").write_text(status_page(executed, profile), encoding="utf-8")
    (source / "book" / "trials.md").write_text(trials_page(), encoding="utf-8")
    (source / "book" / "coverage.md").write_text(coverage_page(), encoding="utf-8")
    downloads = source / "book" / "offline" / "downloads"
    downloads.mkdir()
    (source / "notebooks" / "labs").mkdir(parents=True)
    for lab in find_labs(root):  # book/labs.md hands them out
        shutil.copy(lab.pair, source / "notebooks" / "labs")
    for chapter in executed:
        shutil.copy(chapter.script, downloads)
        shutil.copy(chapter.pair, downloads)
        notebook = nbformat.read(chapter.executed(profile), 4)
        notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
        nbformat.write(notebook, source / "notebooks" / f"{chapter.name}.ipynb")


def _keep_part(source: Path, names: Sequence[str]) -> None:
    """Reduce the copied sources to the prose and the chapters `names`; the first of these is the first page."""
    contents = yaml.safe_load((source / "_toc.yml").read_text())
    contents["root"], *others = (f"notebooks/{name}" for name in names)
    for part in contents["parts"]:
        part["chapters"] = [
            page
            for page in part["chapters"]
            if page["file"] in others or not page["file"].startswith(("notebooks/", _NOT_IN_A_PART))
        ]
    contents["parts"] = [part for part in contents["parts"] if part["chapters"]]
    (source / "_toc.yml").write_text(yaml.safe_dump(contents, sort_keys=False))
    config: dict[str, Any] = yaml.safe_load((source / "_config.yml").read_text())
    settings = config["sphinx"]["config"]
    settings["suppress_warnings"] = [*settings.get("suppress_warnings", []), *_MAY_MISS]
    (source / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False))


def _run_sphinx(root: Path, source: Path, output: Path, log: Path) -> None:
    # -W on a fresh folder: on an old one, Sphinx forgets the warnings of pages it does not read again.
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(source)]
    options = ["--path-output", str(output), "-W", "-n", "--keep-going"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=root)
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "WARNING" in line or "ERROR" in line]
        raise ExecutionError("the pages could not be built; " + "\n  ".join(lines or [f"see {log.relative_to(root)}"]))
