"""What a user can do wrong, said in one sentence."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from numbers import Integral


class InputError(ValueError):
    """An argument, a file or data that cannot be used; the message names it and says what to do."""


def nearest(name, names: Iterable[str]) -> str:
    """Return ", perhaps 'NEAR'" where one of `names` is spelled like `name`, else nothing."""
    return "".join(f", perhaps {near!r}" for near in get_close_matches(str(name), names, n=1))


def check_name(kind: str, value: object, known: Collection[str]) -> None:
    """Raise InputError, naming what there is, where `value` is not one of `known`."""
    if value not in known:
        raise InputError(f"unknown {kind} {value!r}; it is one of {', '.join(known)}")


def check_integers(**values: tuple) -> None:
    """Raise InputError, naming it, where one of `values`, name -> (value, least), is no integer of at least that."""
    for name, (value, least) in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise InputError(f"{name} must be an integer of at least {least}, not {value!r}")


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Turn a failed import in the block into an InputError that says how to install what is missing.

    Args:
        extra: the group of optional dependencies in pyproject.toml that holds what the block imports.
        purpose: what needs it, in the plural, such as "ONNX files"; the message starts with it.

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
