"""The options for the pixels that an integer network takes, and what else tells them: the network and the data."""

import argparse
from typing import TYPE_CHECKING, Any

from fewbits.cli.images import Part
from fewbits.errors import InputError

if TYPE_CHECKING:
    from fewbits.data import PixelCodes

NAMES = ("levels", "mean", "divisor")
NEEDED = ("levels", "divisor")


def add_pixels(command: argparse.ArgumentParser, where: str) -> None:
    """Add the options of `told_pixels`.

    Args:
        command: The parser of a command.
        where: What they are for, as the help begins.
    """
    command.add_argument(
        "--levels",
        type=int,
        help=f"for {where}: number of values of a pixel, a power of two; needed only if neither the saved network nor "
        "--data tells it, and refused if they tell another",
    )
    command.add_argument("--mean", type=int, help=f"for {where}: the network takes pixels less this; as --levels")
    command.add_argument(
        "--divisor",
        type=int,
        help=f"for {where}: the network takes pixels divided by this, a power of two, 1 if it scales them itself (then "
        "--data needs --scale 1); as --levels",
    )


def told_pixels(options: argparse.Namespace, model: Any, part: Part | None) -> "PixelCodes":
    """Return the pixels that a network takes: what its options, its file and its data tell, which must be the same.

    Args:
        options: As `add_pixels` declares them.
        model: The network.
        part: The images of --data, if there are any.

    Raises:
        InputError: when they tell different things, or nothing.
    """
    from fewbits.data import PixelCodes

    told = _agreed(options, model, part)
    missing = [name for name in NEEDED if name not in told]
    if missing:
        raise InputError(
            f"nothing tells the {' and the '.join(missing)} of the pixels that {model.name} takes; add --data, or "
            "--levels and --divisor: --levels 256 --divisor 256 for bytes divided by 256, --divisor 1 for bytes as "
            "they are"
        )
    return PixelCodes(**told)


def known_pixels(options: argparse.Namespace, model: Any, part: Part | None) -> "PixelCodes | None":
    """Return the pixels whose values a network takes, for a file that begins with floats and so needs not know them.

    Args:
        options: As in `told_pixels`.
        model: The network.
        part: As in `told_pixels`.

    Returns:
        What the network and the data tell; None if they do not, or integers cannot prepare the pixels.

    Raises:
        InputError: when they tell different things.
    """
    from fewbits.data import PixelCodes

    told = _agreed(options, model, part if part and known_codes(part) else None)
    return PixelCodes(**told) if told.keys() >= {*NEEDED} else None


def known_codes(part: Part) -> "PixelCodes | None":
    """Return the pixels that a network takes which was quantized with `part`; None if integers cannot prepare them."""
    try:
        return part.codes
    except InputError:
        return None


def _agreed(options: argparse.Namespace, model: Any, part: Part | None) -> dict[str, Any]:
    """Return name -> value of what is told of pixels; InputError when it differs."""
    told: dict[str, tuple[str, Any]] = {}
    for source, known in _sources(options, model, part):
        for name, value in known.items():
            other, first = told.setdefault(name, (source, value))
            if value != first:
                raise InputError(
                    f"pixels have {_said(name, first)} by {other} and {_said(name, value)} by {source}; leave out what "
                    "is wrong, or quantize the network again with the pixels that it will get"
                )
    return {name: value for name, (_, value) in told.items()}


def _sources(options: argparse.Namespace, model: Any, part: Part | None) -> list[tuple[str, dict[str, Any]]]:
    """Return what tells of pixels, and what it tells."""
    from dataclasses import asdict

    from fewbits.graph import takes_integers

    given = [(f"--{name}", {name: getattr(options, name)}) for name in NAMES if getattr(options, name) is not None]
    own = {"divisor": 1} if any(map(takes_integers, model.inputs)) else {}
    if all(str(x.dtype) == "uint8" for x in model.inputs):
        own["levels"] = 256
    saved, stored = getattr(model, "pixels", None), part.codes if part else None
    found = [*given, (f"the network {model.name}", asdict(saved) if saved else own)]
    return [*found, (str(options.data), asdict(stored))] if stored else found


def _said(name: str, value: Any) -> str:
    return f"{value} levels" if name == "levels" else f"the {name} {value}"
