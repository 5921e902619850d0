"""Checkpoints of long runs: an .npz of a JSON header and of variables by number, whose names depend on what was built
before."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fewbits.backend import ops
from fewbits.errors import InputError
from fewbits.io.files import read_arrays, write_aside


def save(path: Path, header: dict[str, Any], variables: dict) -> None:
    """Write `header`, plain data, and the values of `variables`, name -> variable, whole or not at all."""
    arrays = {name: ops.convert_to_numpy(variable) for name, variable in variables.items()}
    try:
        with write_aside(path) as file:
            np.savez(file, header=np.array(json.dumps(header)), **arrays)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error.strerror or error}); the checkpoint before it, if any, is whole"
        ) from error


def read_header(path: Path, kind: str) -> dict[str, Any]:
    """Return the header of a checkpoint of this `kind`; InputError where it is missing, damaged or something else."""
    text = str(read_arrays(path, ("header",))["header"])
    try:
        header = json.loads(text)
        if header["kind"] != kind or not isinstance(header["made_with"], dict):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise not_this_kind(path) from None
    return header


def not_this_kind(path: Path) -> InputError:
    return InputError(f"{path} is no checkpoint of this version of fewbits")


def resumed(path: Path, resume: bool, kind: str, made_with: dict[str, Any], run: str) -> dict[str, Any] | None:
    """Return the header of the checkpoint `path`, from which to go on; None where there is none yet.

    run: what it is of, in a word. Raises InputError without a folder for it, where it exists and nobody wants to
    `resume`, on what `read_header` refuses, and where it was made with something else, which is named.
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


def restore(path: Path, variables: dict, owner: str) -> None:
    """Give `variables`, name -> variable, their values; InputError, and none at all, where one does not fit `owner`."""
    arrays = read_arrays(path, tuple(variables))
    for name, variable in variables.items():
        found, needed = (f"{a.dtype} {a.shape}" for a in (arrays[name], ops.convert_to_numpy(variable)))
        if found != needed:
            raise InputError(f"{path} holds {name} as {found}, and {owner} needs {needed}")
    for name, variable in variables.items():
        variable.assign(arrays[name])
