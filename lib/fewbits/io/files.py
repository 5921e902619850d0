"""Reading arrays that others wrote, and writing files whole or not at all."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj, rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fewbits.errors import InputError

if TYPE_CHECKING:  # Keras loads slowly, and reading arrays does not need it
    from fewbits.backend import keras


def read_array(path: Path | str) -> np.ndarray:
    """Read the array of a .npy file, without unpickling.

    Args:
        path: The file.

    Raises:
        InputError: when the file is missing, damaged, empty or of another kind.
    """
    array = _load(path)
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an archive of arrays; a .npy file with one array is needed")
    if not array.size:
        raise InputError(f"{path} holds no values")
    return array


def array_names(path: Path | str) -> tuple[str, ...]:
    """Return the names of the arrays of an .npz file, in its order.

    Args:
        path: The file.

    Raises:
        InputError: when the file is missing, damaged or of another kind.
    """
    archive = _load(path)
    if isinstance(archive, np.ndarray):
        raise InputError(f"{path} is a single array; an .npz archive is needed")
    with archive:
        return tuple(archive.files)


def read_arrays(path: Path | str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read the named arrays of an .npz file, without unpickling.

    Args:
        path: The file.
        names: Of the arrays; others in the file are ignored.

    Returns:
        Name -> array.

    Raises:
        InputError: when the file is missing, damaged or of another kind, or has no array of a name.
    """
    archive = _load(path)
    if isinstance(archive, np.ndarray):
        raise InputError(f"{path} is a single array; an .npz archive is needed")
    with archive:
        missing = [n for n in names if n not in archive]
        if missing:
            more = len(archive.files) - 8
            held = f"{', '.join(archive.files[:8])}{f' and {more} more' if more > 0 else ''}" or "none"
            raise InputError(f"{path} has no array {missing[0]!r}; it holds {held}")
        return {n: _member(path, archive, n) for n in names}


def read_model(path: Path | str) -> "keras.Model":
    """Read the model of a .keras file in Keras' safe mode: no code in the file is run.

    Args:
        path: The file; it may hold a QuantizedModel.

    Returns:
        The model, not compiled.

    Raises:
        InputError: when the file is missing, damaged or of another kind, or holds code, or a class or a function that
            Keras does not know.
    """
    from fewbits.backend import keras

    path = Path(path)
    if path.suffix != ".keras":
        raise InputError(f"{path} is not a .keras file; save a model with `model.save('name.keras')`")
    with _naming(path), path.open("rb"):
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except (TypeError, ValueError) as error:
            raise _misread(path, str(error)) from None


load_model = read_model  # what Keras calls it


def write_model(model: "keras.Model", path: Path | str) -> None:
    """Write a model to a .keras file, whole or not at all, without its optimizer, whose state doubles the size.

    Args:
        model: Any model that Keras can save.
        path: The .keras file.

    Raises:
        InputError: when there is no folder for the file.
    """
    from fewbits.graph import give_weights

    plain = _uncompiled(model)
    give_weights(plain, model.get_weights())
    with TemporaryDirectory() as folder:
        temporary = Path(folder) / "model.keras"
        plain.save(temporary)
        with write_aside(path) as file, temporary.open("rb") as content:
            copyfileobj(content, file)


@contextmanager
def write_aside(path: Path | str) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends, and is removed when the block raises.

    Args:
        path: The file to write.

    Yields:
        The open file.

    Raises:
        InputError: when there is no folder for the file.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written; there is no folder {path.parent}")
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_whole(path: Path | str, content: bytes) -> None:
    """Write a file, whole or not at all.

    Args:
        path: The file.
        content: Its bytes.

    Raises:
        InputError: as `write_aside`.
    """
    with write_aside(path) as file:
        file.write(content)


def write_rows(path: Path | str, head: Mapping[str, Any], rows: Iterable[Any]) -> None:
    """Write results as JSON that a person can read and compare: a line per row, below a head.

    Args:
        path: The file, a JSON object of what `head` has and "rows".
        head: What the rows are of; a line per entry.
        rows: The rows.

    Raises:
        InputError: as `write_aside`.
    """
    lines = [f' "{key}": {json.dumps(value)}' for key, value in head.items()]
    lines.append(' "rows": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]")
    write_whole(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


@contextmanager
def folder_aside(path: Path | str) -> Iterator[Path]:
    """Make a folder that becomes `path` when the block ends, and is removed when the block raises.

    Args:
        path: The folder to write; it must not exist yet, or be empty.

    Yields:
        The folder to fill.

    Raises:
        InputError: when `path` is not empty or cannot be created.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists already; choose a new or an empty folder")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be created; there is no folder {path.parent}")
    place = path.absolute()
    aside = place.with_name(f".{place.name}.part")
    rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        yield aside
        aside.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be created ({error.strerror}); choose another") from None
    finally:
        rmtree(aside, ignore_errors=True)


def _load(path: Path | str) -> Any:
    with _naming(path):
        return np.load(path, allow_pickle=False)


def _member(path: Path | str, archive: Any, name: str) -> np.ndarray:
    with _naming(path):
        try:
            array = archive[name]
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            raise InputError(
                f"{path}: {name} holds Python objects, which are not read; save it as one array of numbers"
            ) from None
    if not isinstance(array, np.ndarray):  # NumPy returns the bytes of what is no array
        raise InputError(f"{path}: {name} is not an array; save it with np.savez")
    return array


def _uncompiled(model: "keras.Model") -> "keras.Model":
    """Return a model with the graph of `model`, not compiled."""
    from fewbits.graph import ends, like, rebuild

    try:
        return type(model).from_config(model.get_config())
    except (TypeError, ValueError):  # of a function or class that Keras does not find by its name
        return like(model, *ends(rebuild(model)))


def _misread(path: Path, said: str) -> InputError:
    """Return the error for what Keras has said, in paragraphs that quote the whole configuration."""
    unknown = re.search(r"Could not locate (class|function) '([^']+)'", said)
    if unknown:
        return InputError(
            f"{path} holds the {unknown[1]} {unknown[2]}, which Keras does not know; in Python, load it with "
            f"`keras.saving.load_model(path, custom_objects={{'{unknown[2]}': {unknown[2]}}})`"
        )
    if "safe_mode" in said or "identifier: {'value'" in said:
        return InputError(f"{path} holds code, a Lambda layer or a lambda; put a Keras layer or a named function there")
    reason = re.split(r"\n|{", said.split("Exception encountered: ")[-1])[0].strip()[:400]
    return InputError(f"{path} cannot be read ({reason}); it may be truncated or of another kind")


@contextmanager
def _naming(path: Path | str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except Exception as error:  # whatever damage raises: zipfile's, zlib's, tokenize's and NumPy's errors differ
        raise InputError(f"{path} cannot be read ({error}); it may be truncated or of another kind") from None
