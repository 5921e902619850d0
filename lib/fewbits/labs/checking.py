"""Trying a reader's function on hidden cases.

Each case carries a hint. Cases are ordered from the plain to the special, so that the first one that fails says which
idea is missing. A hint never holds the right code, and the right result is not shown.
"""

import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewbits.errors import InputError


class WrongAnswer(InputError):
    """A reader's function that fails a check; the message names the input, the result and a hint."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]  # IPython shows this in place of the lines of the library


class GapOpen(WrongAnswer):
    """A gap that is not filled yet.

    Attributes:
        gap: The name of the function.
    """

    def __init__(self, gap: str, result: str):
        super().__init__(
            f"{gap} is not done yet: {result} returns nothing; replace the dots by your code, and return a result"
        )
        self.gap = gap


@dataclass(frozen=True)
class Case:
    """A hidden case.

    Attributes:
        arguments: What the function is called with.
        accepts: Takes the result and returns whether it is right: `equals(...)` or a property.
        hint: One or two sentences about the idea that a wrong result misses.
    """

    arguments: tuple[Any, ...]
    accepts: Callable[[Any], bool]
    hint: str


def check_cases(function: Callable[..., Any], cases: Iterable[Case]) -> None:
    """Try a function on cases in order, and print that it passed.

    Args:
        function: What the reader wrote.
        cases: The cases; each gets arguments of its own, which the function may change.

    Raises:
        GapOpen: when the function returns nothing.
        WrongAnswer: when it stops with an error, or when a case does not accept its result.

    Example:
        >>> check_cases(abs, [Case((-2,), equals(2), "A distance is never negative.")])
        passed: abs
    """
    for case in cases:
        called = f"{function.__name__}({_named(function, case.arguments)})"
        try:
            result = function(*deepcopy(case.arguments))
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1].line
            where = f" at `{line}`" if line else ""
            raise WrongAnswer(f"{called} stops with {type(error).__name__}: {error}{where}") from error
        if result is None:
            raise GapOpen(function.__name__, called)
        if not _accepted(case, result):
            raise WrongAnswer(f"{called} returns {shown(result)}. {case.hint}")
    print(f"passed: {function.__name__}")


def _accepted(case, result):
    """Return whether a case accepts a result; one of another kind, such as a number for a pair, is wrong."""
    try:
        return case.accepts(result)
    except (TypeError, ValueError, LookupError, AttributeError):
        return False


def equals(expected: Any, tolerance: float = 1e-9) -> Callable[[Any], bool]:
    """Return what accepts a result that equals the expected one.

    Args:
        expected: A number, text, an array, or a tuple or mapping of these.
        tolerance: How far a float may be off, relative to the larger of 1 and the expected value. Integers must be
            exact.

    Returns:
        A function of a result.

    Example:
        >>> equals(np.array([1, 2]))([1.0, 2.0]), equals(3)(4)
        (True, False)
    """

    def accepts(result: Any) -> bool:
        if isinstance(expected, Mapping):
            alike = isinstance(result, Mapping) and result.keys() == expected.keys()
            return alike and all(equals(value, tolerance)(result[key]) for key, value in expected.items())
        if isinstance(expected, tuple):
            alike = isinstance(result, tuple | list) and len(result) == len(expected)
            return alike and all(equals(value, tolerance)(part) for part, value in zip(result, expected))
        if isinstance(expected, str):
            return isinstance(result, str) and result == expected
        return _near(result, np.asarray(expected), tolerance)

    return accepts


def _near(result, expected, tolerance):
    """Return whether `result` holds the numbers of the array `expected`."""
    try:
        result = np.asarray(result)
    except ValueError:  # lists of different lengths
        return False
    if result.dtype.kind not in "biuf" or result.shape != expected.shape:
        return False
    if expected.dtype.kind in "biu":
        return np.array_equal(result, expected)
    return np.allclose(result, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def shown(value: Any) -> str:
    """Return a short text of an argument or a result.

    Args:
        value: A number, an array, a function, or anything with a short `repr`.

    Example:
        >>> shown(np.zeros((3, 3, 16))), shown([0.25, 1.0]), shown(np.float64(0.5))
        ('an array of shape (3, 3, 16)', '[0.25, 1.0]', '0.5')
    """
    if isinstance(value, np.generic):
        return shown(value.item())
    if isinstance(value, tuple | list):
        texts = ", ".join(map(shown, value))
        text = f"({texts})" if isinstance(value, tuple) else f"[{texts}]"
        return text if len(text) <= 120 else f"{text[:117]}..."
    if isinstance(value, np.ndarray):
        small = value.size <= 12
        return np.array2string(value, precision=5, separator=", ") if small else f"an array of shape {value.shape}"
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, float):
        return f"{value:.7g}" if value % 1 else repr(value)
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _named(function, arguments):
    """Return the arguments of a call as text, with their names where the function takes them."""
    try:
        names = list(inspect.signature(function).bind(*arguments).arguments)
    except TypeError:
        raise WrongAnswer(
            f"{function.__name__} must take {len(arguments)} argument(s), as in the lab; keep its first line as it was"
        ) from None
    except ValueError:  # a function written in C
        return ", ".join(map(shown, arguments))
    return ", ".join(f"{name}={shown(value)}" for name, value in zip(names, arguments))
