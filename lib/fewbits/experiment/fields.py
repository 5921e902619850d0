"""What specifications have in common: their fields, and the sentence that refuses one."""

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from fewbits.errors import InputError, nearest
from fewbits.names import RANGE_RULES
from fewbits.quantization.fixedpoint import MAX_NBITS_KERAS

FLOAT = "float"


def known(names):
    def check(value):
        if value not in names:
            raise ValueError(unknown(value, names))
        return value

    return AfterValidator(check)


def unknown(value, names):
    return f"{value!r} is unknown{nearest(value, names)}; it is one of {', '.join(names)}"


def checked_percentile(value):
    values = value if isinstance(value, list | tuple) else [value]
    if len(values) not in (1, 3) or not all(_is_percentile(v) for v in values):
        rules = " or ".join(RANGE_RULES)
        raise ValueError(f"must be above 0 and at most 100, or {rules}, once or three times, not {value!r}")
    values = tuple(v if v in RANGE_RULES else float(v) for v in values)
    return values[0] if len(set(values)) == 1 else values


def _is_percentile(value):
    return value in RANGE_RULES or isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 100


Bits = Annotated[int, Field(ge=1, le=MAX_NBITS_KERAS)]
BitsOrFloat = Annotated[Bits | None, BeforeValidator(lambda bits: None if bits == FLOAT else bits)]  # TOML has no null


@contextmanager
def naming(prefix: str) -> Iterator[None]:
    """Put `prefix` before what an InputError says."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{prefix}{error}") from None


@contextmanager
def one_sentence(*kinds):
    """Raise InputError for pydantic's ValidationError. kinds: models whose fields an unknown one may have meant."""
    try:
        yield
    except ValidationError as error:
        raise InputError(_sentence(error.errors(include_url=False)[0], kinds)) from None


BOUNDS = {"greater_than": "above", "greater_than_equal": "at least", "less_than": "below", "less_than_equal": "at most"}


def _sentence(error, kinds) -> str:
    """Return the first of pydantic's errors as a sentence that begins with the field."""
    field, kind = ".".join(map(str, error["loc"])), error["type"]
    context = error.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, InputError):  # of a trial, within a trial or as a whole
        return f"{field}.{cause}" if field else str(cause)
    if cause is not None:
        return f"{field} {cause}"
    if kind == "missing":
        return f"{field} is missing"
    if kind == "extra_forbidden":
        names = [name for kind in kinds for name in kind.model_fields]
        return f"{field} is no known field{nearest(field.split('.')[-1], names)}"
    if kind in BOUNDS:
        [limit] = context.values()
        return f"{field} must be {BOUNDS[kind]} {limit}, not {_shown(error['input'])}"
    must = error["msg"].partition(" should ")[2]
    return f"{field} must {must}" if ", not " in must else f"{field} must {must}, not {_shown(error['input'])}"


def _shown(value):
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to write out the largest
        return f"a number of {value.bit_length():,} bits"
    return reprlib.repr(value)
