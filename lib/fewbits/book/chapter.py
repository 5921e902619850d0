"""A chapter: one notebook as a percent script (the source) and its paired .ipynb without outputs."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat

from fewbits.errors import InputError

PROFILES = ("smoke", "quick", "full")


@dataclass(frozen=True)
class Chapter:
    """The notebook `name` ("01-fixed-point") of the book whose top folder is `root`."""

    root: Path
    name: str

    @property
    def script(self) -> Path:
        return self.root / "notebooks" / f"{self.name}.py"

    @property
    def pair(self) -> Path:
        return self.script.with_suffix(".ipynb")

    @property
    def baseline(self) -> Path:
        return self.root / "tests" / "baselines" / f"{self.name}.json"

    def executed(self, profile: str) -> Path:
        return self.root / "_build" / "executed" / profile / f"{self.name}.ipynb"

    def notebook(self):
        """Return the notebook that the script stands for, with stable cell ids and no outputs."""
        notebook = jupytext.read(self.script)
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"{self.name[:2]}-{number:03d}"
        notebook.metadata.pop("jupytext", None)  # notebooks/jupytext.toml says how the two are paired
        nbformat.validate(notebook)
        return notebook

    def in_pair(self) -> bool:
        """Return whether the .ipynb holds what the script says, and no outputs."""
        return self.pair.exists() and self.pair.read_text() == nbformat.writes(self.notebook()) + "\n"

    def write_pair(self) -> None:
        """Write the .ipynb from the script."""
        self.pair.write_text(nbformat.writes(self.notebook()) + "\n")

    def key(self, profile: str) -> str:
        """Return the hash of all that an execution depends on: script, library, lock file, data, profile."""
        return hash_files(
            [self.script, *library_files(self.root), *files_below(self.root / "data")], self.root, profile
        )


def chapters(root: Path, names: list[str] = ()) -> list[Chapter]:
    """Return the chapters below `root` in order: all, or those whose names begin with one of `names`."""
    every = [Chapter(root, path.stem) for path in sorted((root / "notebooks").glob("[0-9][0-9]-*.py"))]
    for name in names:
        if not any(c.name.startswith(name) for c in every):
            raise InputError(f"no chapter begins with {name!r}; there are {', '.join(c.name for c in every) or 'none'}")
    return [c for c in every if not names or c.name.startswith(tuple(names))]


def library_files(root: Path) -> list[Path]:
    """Return the library's sources and the lock file."""
    return [root / "requirements.lock", *files_below(root / "lib")]


def files_below(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the files below `folder` in a fixed order, caches left out."""
    files = (p for p in folder.rglob(pattern) if p.is_file())
    return sorted(p for p in files if "__pycache__" not in p.parts and ".ipynb_checkpoints" not in p.parts)


def hash_files(files: list[Path], root: Path, *words: str) -> str:
    """Return the SHA-256 of the names and contents of `files`, and of `words`."""
    digest = hashlib.sha256(repr(words).encode())
    for path in files:
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
