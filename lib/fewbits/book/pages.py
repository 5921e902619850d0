"""Renders the executed notebooks and the prose of `book/` as HTML that needs no kernel and no network."""

import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import nbformat

from fewbits.book.chapter import Chapter, files_below, hash_files, library_files
from fewbits.book.execution import ExecutionError
from fewbits.io.files import write_aside


def render(root: Path, executed: list[Chapter], profile: str) -> bool:
    """Build `_build/html` where an input has changed; return whether it did. Raises ExecutionError on a warning."""
    build, html = root / "_build", root / "_build" / "html"
    sources = [root / "_config.yml", root / "_toc.yml", *library_files(root), *files_below(root / "book")]
    key = hash_files([*sources, *(c.executed(profile) for c in executed)], root)
    stamp = build / "html.key"
    if html.exists() and stamp.exists() and stamp.read_text() == key:
        return False
    source, output = _fresh(build / "source"), _fresh(build / "pages")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, source)
    shutil.copytree(root / "book", source / "book")
    vendor = source / "book" / "offline" / "vendor"
    vendor.mkdir()
    shutil.copy(str(files("plotly") / "package_data" / "plotly.min.js"), vendor)
    (source / "notebooks").mkdir()
    for chapter in executed:
        notebook = nbformat.read(chapter.executed(profile), 4)
        notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
        nbformat.write(notebook, source / "notebooks" / f"{chapter.name}.ipynb")
    _sphinx(root, source, output, build / "pages.log")
    stamp.unlink(missing_ok=True)
    shutil.rmtree(html, ignore_errors=True)
    (output / "_build" / "html").replace(html)
    stamp.write_text(key)
    return True


def pack(root: Path, target: Path) -> None:
    """Write `_build/html` as a zip file with fixed dates, so that equal books give equal files."""
    html = root / "_build" / "html"
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_aside(target) as file, ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for path in files_below(html):
            info = ZipInfo(f"few-bits/{path.relative_to(html).as_posix()}", (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr = ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, path.read_bytes())


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _sphinx(root, source, output, log):
    # -W on a fresh folder: on an old one, Sphinx forgets the warnings of pages it does not read again.
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(source)]
    options = ["--path-output", str(output), "-W", "-n", "--keep-going"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=root)
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "WARNING" in line or "ERROR" in line]
        raise ExecutionError("the pages could not be built; " + "\n  ".join(lines or [f"see {log.relative_to(root)}"]))
