"""InputError, which says in one sentence what a user did wrong, and the checks of arguments that raise it."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from numbers import Integral
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class InputError(ValueError):
    """An argument, a file or data that cannot be used; the message names it and says what to do."""


class CalibrationWarning(UserWarning):
    """Calibration images from which not all formats follow; the message names the layers and says what to do."""


def nearest(name: object, names: Iterable[str]) -> str:
    """Return a hint for a message: ", perhaps 'NEAR'" if one of `names` is spelled like `name`, otherwise nothing.

    Args:
        name: What was given.
        names: What it could have been.

    Example:
        >>> nearest("conv", ["conv1", "dense"])
        ", perhaps 'conv1'"
    """
    return "".join(f", perhaps {near!r}" for near in get_close_matches(str(name), names, n=1))


def check_name(kind: str, value: object, known: Collection[str]) -> None:
    """Check that an option has one of its names.

    Args:
        kind: What the option is called in the message.
        value: The name that was given.
        known: The names there are.

    Raises:
        InputError: when `value` is not one of `known`; the message lists them.
    """
    if value not in known:
        raise InputError(f"unknown {kind} {value!r}; it is one of {', '.join(known)}")


def check_integer(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Check that an argument is an integer in a range; a bool is not one.

    Args:
        name: What the argument is called in the message.
        value: The argument.
        least: The smallest integer allowed.
        most: The largest one; None for no limit.

    Raises:
        InputError: when `value` is not an integer from `least` to `most`.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or most is not None and value > most:
        allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} must be an integer {allowed}, not {value!r}")


def check_integers(**values: tuple[object, int]) -> None:
    """Check several arguments as `check_integer` does, each given as name=(value, least).

    Raises:
        InputError: when a value is not an integer of at least its `least`; the message names it.
    """
    for name, (value, least) in values.items():
        check_integer(name, value, least)


def finite(x: Any, name: str = "x") -> "np.ndarray":
    """Return `x` as an array of finite float64 numbers.

    Args:
        x: An array, or what NumPy makes one of, of real numbers.
        name: What it is called in the message.

    Raises:
        InputError: when `x` does not hold real numbers, or holds NaN or infinity; the message names the first place.
    """
    import numpy as np  # here, so that the command line starts quickly

    try:
        x = np.asarray(x)
        if x.dtype.kind in "cmMSU":  # complex, dates, text: NumPy would convert them
            raise TypeError
        x = x.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise InputError(f"{name} must hold real numbers") from None
    bad = ~np.isfinite(x)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{name} holds {bad.sum()} value(s) that are NaN or infinite, the first at index {where}; clean it first"
        )
    return x


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Turn a failed import in the block into an InputError that says how to install what is missing.

    Args:
        extra: The group of optional dependencies in pyproject.toml that holds what the block imports.
        purpose: What needs it, in the plural, such as "ONNX files"; the message starts with it.

    Raises:
        InputError: when an import in the block fails.

    Example:
        >>> with needs_extra("export", "ONNX files"):
        ...     import onnx
    """
    try:
        yield
    except ImportError as error:
        line = f"`pip install '.[{extra}]'`"
        raise InputError(
            f"{purpose} need the package {error.name or error}; install it with {line} in a checkout of Few Bits"
        ) from None
