"""Fields that trials and schemes share, and the sentence that refuses a wrong one."""

import reprlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from fewbits.errors import InputError, nearest
from fewbits.names import RANGE_RULES
from fewbits.quantization.fixedpoint import MAX_NBITS_KERAS

FLOAT = "float"


def known(names: Collection[str]) -> AfterValidator:
    """Return a validator that refuses values other than `names`."""

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(unknown(value, names))
        return value

    return AfterValidator(check)


def unknown(value: object, names: Collection[str]) -> str:
    """Return the end of a sentence that refuses a value.

    Args:
        value: What was given.
        names: What there is.
    """
    return f"{value!r} is unknown{nearest(value, names)}; it is one of {', '.join(names)}"


def checked_percentile(value: object) -> float | str | tuple[float | str, ...]:
    """Return range rules as a trial keeps them: one if all are equal, else a tuple of three.

    Args:
        value: A percentile above 0 and at most 100 or one of RANGE_RULES, or one or three of them in a list.

    Raises:
        ValueError: when it is something else.
    """
    values: Any = value if isinstance(value, list | tuple) else [value]
    if len(values) not in (1, 3) or not all(_is_percentile(v) for v in values):
        names = " or ".join(RANGE_RULES)
        raise ValueError(f"must be above 0 and at most 100, or {names}, once or three times, not {value!r}")
    rules = tuple(v if v in RANGE_RULES else float(v) for v in values)
    return rules[0] if len(set(rules)) == 1 else rules


def _is_percentile(value: Any) -> bool:
    return value in RANGE_RULES or isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 100


Bits = Annotated[int, Field(ge=1, le=MAX_NBITS_KERAS)]
BitsOrFloat = Annotated[Bits | None, BeforeValidator(lambda bits: None if bits == FLOAT else bits)]  # TOML has no null


@contextmanager
def naming(prefix: str) -> Iterator[None]:
    """Put `prefix` before the message of an InputError that the block raises."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{prefix}{error}") from None


@contextmanager
def one_sentence(*kinds: type[BaseModel]) -> Iterator[None]:
    """Turn pydantic's ValidationError into an InputError.

    Args:
        kinds: The models whose fields are suggested for a field that is misspelled.

    Raises:
        InputError: when the block raises ValidationError; the message names the field.
    """
    try:
        yield
    except ValidationError as error:
        raise InputError(_sentence(dict(error.errors(include_url=False)[0]), kinds)) from None


BOUNDS = {"greater_than": "above", "greater_than_equal": "at least", "less_than": "below", "less_than_equal": "at most"}


def _sentence(error: dict[str, Any], kinds: tuple[type[BaseModel], ...]) -> str:
    """Return one of pydantic's errors as a sentence that begins with the field."""
    field, kind = ".".join(map(str, error["loc"])), error["type"]
    context = error.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, InputError):  # from a trial, or from one that is the start of another
        return f"{field}.{cause}" if field else str(cause)
    if cause is not None:
        return f"{field} {cause}"
    if kind == "missing":
        return f"{field} is missing"
    if kind == "extra_forbidden":
        names = [name for kind in kinds for name in kind.model_fields]
        return f"{field} is not a known field{nearest(field.split('.')[-1], names)}"
    if kind in BOUNDS:
        [limit] = context.values()
        return f"{field} must be {BOUNDS[kind]} {limit}, not {_shown(error['input'])}"
    must = error["msg"].partition(" should ")[2]
    return f"{field} must {must}" if ", not " in must else f"{field} must {must}, not {_shown(error['input'])}"


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to write out very large ones
        return f"a number of {value.bit_length():,} bits"
    return reprlib.repr(value)
