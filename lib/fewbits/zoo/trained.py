"""The trained weights that come with the library, one .npz file per network, and the user's own beside them."""

import os
from pathlib import Path

from fewbits.errors import InputError

FOLDER = Path(__file__).with_name("weights")


def find_weights(name: str) -> Path:
    """Return the file of trained weights called `name`.

    Args:
        name: `squeezenet_digits`, for example: one of the library's, or else the stem of an .npz file in the folder
            `weights` of the folder that the environment variable FEWBITS_DATA names.

    Raises:
        InputError: there are no weights of this name; the message lists those that there are.
    """
    folders = [FOLDER] + [Path(data, "weights") for data in [os.environ.get("FEWBITS_DATA")] if data]
    paths = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.npz"))}
    if name not in paths:
        raise InputError(f"there are no weights {name!r}; there are {', '.join(sorted(paths)) or 'none'}")
    return paths[name]
