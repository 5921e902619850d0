"""What a user can do wrong, said in one sentence."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """An argument, a file or data that cannot be used; the message names it and says what to do."""


def nearest(name, names: Iterable[str]) -> str:
    """Return ", perhaps 'NEAR'" where one of `names` is spelled like `name`, else nothing."""
    return "".join(f", perhaps {near!r}" for near in get_close_matches(str(name), names, n=1))
