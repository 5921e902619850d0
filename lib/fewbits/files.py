"""Reading arrays that others wrote, and writing files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fewbits.errors import InputError


def read_array(path: Path) -> np.ndarray:
    """Return the array of a .npy file, without unpickling; InputError, naming the file, where that cannot be done."""
    array = _load(path)
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an archive of arrays; a .npy file with one array is needed")
    if not array.size:
        raise InputError(f"{path} holds no values")
    return array


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the named arrays of an .npz file, without unpickling; InputError as in `read_array`."""
    archive = _load(path)
    if isinstance(archive, np.ndarray):
        raise InputError(f"{path} is a single array; an .npz archive is needed")
    with archive:
        missing = [n for n in names if n not in archive]
        if missing:
            raise InputError(f"{path} has no array {missing[0]!r}; it holds {', '.join(archive.files) or 'none'}")
        with _naming(path):
            return {n: archive[n] for n in names}


@contextmanager
def write_aside(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` that takes its place when the block ends well, and is removed when it does not."""
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written; there is no folder {path.parent}")
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _load(path: Path):
    with _naming(path):
        return np.load(path, allow_pickle=False)


@contextmanager
def _naming(path: Path):
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except Exception as error:  # whatever damage raises: zipfile's, zlib's, tokenize's and NumPy's errors differ
        raise InputError(f"{path} cannot be read ({error}); it may be truncated or of another kind") from None
