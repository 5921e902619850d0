"""A chapter: one notebook as a percent script (the source) and its paired .ipynb without outputs."""

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewbits.errors import InputError, needs_extra

with needs_extra("book", "Chapters"):
    import jupytext
    import nbformat

FOLDED = frozenset({"hide-input", "hide-cell", "remove-cell"})
"""The tags of cells whose code a page folds or leaves out; JupyterLab folds them too."""


@dataclass(frozen=True)
class Chapter:
    """A notebook of the book.

    Attributes:
        root: The top folder of the book.
        name: The notebook's name, for example "01-fixed-point".
    """

    root: Path
    name: str

    @property
    def script(self) -> Path:
        """The percent script: the source."""
        return self.root / "notebooks" / f"{self.name}.py"

    @property
    def pair(self) -> Path:
        """The .ipynb without outputs."""
        return self.script.with_suffix(".ipynb")

    @property
    def baseline(self) -> Path:
        """The file of the baselines of all profiles."""
        return self.root / "tests" / "baselines" / f"{self.name}.json"

    def executed(self, profile: str) -> Path:
        """Return where the executed notebook is kept.

        Args:
            profile: "smoke", "quick" or "full".
        """
        return self.root / "_build" / "executed" / profile / f"{self.name}.ipynb"

    def notebook(self) -> Any:
        """Return the notebook of the script, with stable cell ids and no outputs."""
        notebook = jupytext.read(self.script)
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"{self.name[:2]}-{number:03d}"
        notebook.metadata.pop("jupytext", None)  # notebooks/jupytext.toml says how the two are paired
        nbformat.validate(notebook)
        return notebook

    def in_pair(self) -> bool:
        """Return whether the .ipynb holds what the script holds, and no outputs."""
        return self.pair.exists() and self.pair.read_text() == self._pair_text()

    def write_pair(self) -> None:
        """Write the .ipynb from the script."""
        self.pair.write_text(self._pair_text())

    def _pair_text(self) -> str:
        """Return the .ipynb as JupyterLab saves it, so that opening and saving it there changes nothing."""
        notebook = self.notebook()
        for cell in notebook.cells:
            if FOLDED & set(cell.metadata.get("tags", ())):
                cell.metadata["jupyter"] = {"source_hidden": True}
        pairing = tomllib.loads((self.root / "notebooks" / "jupytext.toml").read_text())
        notebook.metadata["jupytext"] = {name: rule for name, rule in pairing.items() if name.endswith("_filter")}
        return nbformat.writes(notebook) + "\n"

    def key(self, profile: str) -> str:
        """Return the hash of all that an execution depends on: script, library, lock file, data and profile.

        Args:
            profile: "smoke", "quick" or "full".
        """
        return hash_files(
            [self.script, *library_files(self.root), *files_below(self.root / "data")], self.root, profile
        )


def chapters(root: Path, names: Sequence[str] = ()) -> list[Chapter]:
    """Find the chapters of a book.

    Args:
        root: The top folder of the book.
        names: The beginnings of chapter names, for example "01"; default all chapters.

    Returns:
        The chapters in order.

    Raises:
        InputError: when no chapter begins with one of `names`.
    """
    every = [Chapter(root, path.stem) for path in sorted((root / "notebooks").glob("[0-9][0-9]-*.py"))]
    for name in names:
        if not any(c.name.startswith(name) for c in every):
            raise InputError(f"no chapter begins with {name!r}; there are {', '.join(c.name for c in every) or 'none'}")
    return [c for c in every if not names or c.name.startswith(tuple(names))]


def drop_kernel_version(model: dict[str, Any], **_: Any) -> None:
    """Let JupyterLab save a notebook without the version of its kernel: the file changes only if its cells do.

    Args:
        model: What the contents manager is about to save.
        **_: Where it is saved, and by which manager.
    """
    if model["type"] == "notebook":
        model["content"]["metadata"].pop("language_info", None)


def library_files(root: Path) -> list[Path]:
    """Return the library's sources and the lock file."""
    return [root / "requirements.lock", *files_below(root / "lib")]


def files_below(folder: Path, pattern: str = "*") -> list[Path]:
    """Find files, caches left out.

    Args:
        folder: Where to look, sub-folders included.
        pattern: Which files, for example "*.py".

    Returns:
        The files in a fixed order.
    """
    files = (p for p in folder.rglob(pattern) if p.is_file())
    return sorted(p for p in files if "__pycache__" not in p.parts and ".ipynb_checkpoints" not in p.parts)


def hash_files(files: list[Path], root: Path, *words: str) -> str:
    """Return the SHA-256 of the names and contents of files, and of some words.

    Args:
        files: The files.
        root: The folder that their names are relative to.
        *words: What the hash depends on besides.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(repr(words).encode())
    for path in files:
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
