"""Checkpoints of long runs: an .npz file of a JSON header and of variables.

Variables are numbered, because their names in Keras depend on what was built before.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fewbits.backend import ops
from fewbits.errors import InputError
from fewbits.io.files import read_arrays, write_aside


def save(path: Path, header: dict[str, Any], variables: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: The file to write or replace.
        header: Plain data, as JSON knows it.
        variables: Name -> variable of Keras.

    Raises:
        InputError: when the file cannot be written; the one before it stays whole.
    """
    arrays = {name: ops.convert_to_numpy(variable) for name, variable in variables.items()}
    try:
        with write_aside(path) as file:
            np.savez(file, header=np.array(json.dumps(header)), **arrays)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error.strerror or error}); the checkpoint before it, if any, is whole"
        ) from error


def read_header(path: Path, kind: str) -> dict[str, Any]:
    """Return the header of a checkpoint.

    Args:
        path: The checkpoint.
        kind: The kind that it must be of, such as `loop.KIND`.

    Returns:
        The header, with `kind` and `made_with`.

    Raises:
        InputError: when the file is missing, damaged, or not of this kind.
    """
    text = str(read_arrays(path, ("header",))["header"])
    try:
        header = json.loads(text)
        if header["kind"] != kind or not isinstance(header["made_with"], dict):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise not_this_kind(path) from None
    return header


def not_this_kind(path: Path) -> InputError:
    """Return the error for a file that is not a checkpoint of the kind asked for."""
    return InputError(f"{path} is not a checkpoint of this version of fewbits")


def resumed(path: Path, resume: bool, kind: str, made_with: dict[str, Any], run: str) -> dict[str, Any] | None:
    """Return the header of the checkpoint to continue from; None if there is none yet.

    Args:
        path: Where the checkpoint is, or will be.
        resume: Whether the caller asked to continue from it.
        kind: The kind that it must be of.
        made_with: Name -> value of all that must be the same for the run to be continued.
        run: What the checkpoint is of, in a word for error messages.

    Returns:
        The header, as from `read_header`, or None.

    Raises:
        InputError: when the folder is missing; the checkpoint exists and `resume` is not set; `read_header` refuses
            it; or it was made with something else, which the message names.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written; there is no folder {path.parent}")
    if not path.exists():
        return None
    if not resume:
        raise InputError(f"{path} is the checkpoint of an earlier {run}; resume it, or delete the file")
    header = read_header(path, kind)
    for what, value in made_with.items():
        if header["made_with"].get(what) != value:
            raise InputError(f"{path} belongs to a {run} with another {what}; resume with the same, or delete it")
    return header


def restore(path: Path, variables: dict[str, Any], owner: str) -> None:
    """Assign the values in a checkpoint to variables, to all or to none.

    Args:
        path: The checkpoint.
        variables: Name -> variable of Keras.
        owner: Whose variables they are, for error messages.

    Raises:
        InputError: when a value is missing, or has another shape or type than its variable.
    """
    arrays = read_arrays(path, tuple(variables))
    for name, variable in variables.items():
        found, needed = (f"{a.dtype} {a.shape}" for a in (arrays[name], ops.convert_to_numpy(variable)))
        if found != needed:
            raise InputError(f"{path} holds {name} as {found}, and {owner} needs {needed}")
    for name, variable in variables.items():
        variable.assign(arrays[name])
