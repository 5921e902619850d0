"""Files and folders that a trial names: a trial is known by their content, wherever they are.

A trial keeps `PATH#DIGEST`, with a digest of what the path held when the trial was made.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from hashlib import file_digest, sha256
from pathlib import Path

from fewbits.errors import InputError

MARK, DIGITS = "#", 32


def marked(path: str) -> str:
    """Return a path with the digest of its content.

    Args:
        path: A file or a folder; a path that is marked already stays as it is.

    Raises:
        InputError: when there is no such file or folder, or it cannot be read.
    """
    if is_marked(path):
        return path
    return f"{path}{MARK}{_digest(Path(path))}"


def is_marked(value: str) -> bool:
    """Return whether a value is a path with the digest of its content."""
    path, _, digest = value.rpartition(MARK)
    return bool(path) and len(digest) == DIGITS and set(digest) <= set("0123456789abcdef")


def content_of(value: str) -> str:
    """Return a value without its path if it is marked: what decides the key of a trial."""
    return value[-DIGITS - len(MARK) :] if is_marked(value) else value


def named_path(value: str) -> Path:
    """Return the path of a marked value, whatever is there now."""
    return Path(value[: -DIGITS - len(MARK)])


def unchanged_path(value: str) -> Path:
    """Return the path of a marked value.

    Raises:
        InputError: when it holds something else than when the trial was made, or nothing.
    """
    path = named_path(value)
    if marked(str(path)) != value:
        raise InputError(f"{path} has changed since the trial was made; run the sweep again, with what it holds now")
    return path


def _digest(path: Path) -> str:
    try:
        found = tuple(_listing(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    if not found:
        raise InputError(f"{path} holds no files")
    return _digest_of(path, found)


Entry = tuple[str, int, int]  # a path below the folder, its size, and when it was changed, in nanoseconds


@lru_cache(maxsize=256)
def _digest_of(path: Path, listing: tuple[Entry, ...]) -> str:
    """Return the digest of the files in `listing`, which are read again only if it has changed."""
    digest = sha256()
    for name, *_ in listing:
        file = path / name if name else path
        digest.update(name.encode(errors="surrogateescape") + b"\0")
        if file.is_symlink():
            digest.update(str(file.readlink()).encode(errors="surrogateescape"))
            continue
        with file.open("rb") as content:
            digest.update(file_digest(content, "sha256").digest())
    return digest.hexdigest()[:DIGITS]


def _listing(path: Path) -> Iterator[Entry]:
    """Yield the file itself, or the files of a folder in order, hidden ones left out; links are not followed."""
    if path.is_file():
        status = path.stat()
        yield "", status.st_size, status.st_mtime_ns
        return
    path.stat()  # raises if there is nothing
    for folder, inner, files in os.walk(path):
        inner[:] = sorted(name for name in inner if name[0] != ".")
        for file in sorted(name for name in files if name[0] != "."):
            whole = Path(folder, file)
            if whole.is_file() or whole.is_symlink():
                status = whole.lstat()
                yield whole.relative_to(path).as_posix(), status.st_size, status.st_mtime_ns
