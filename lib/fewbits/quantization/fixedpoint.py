"""The number format and its arithmetic: a NumPy reference and the same operator in Keras ops.

A format has two integers and a flag. The most significant bit weighs 2**msb, `nbits` is the number of bits, and the
step is q = 2**(msb + 1 - nbits). A code k stands for the value k * q.

- `signed`: the most significant bit is the sign and weighs -2**msb. Codes go from -2**(nbits-1) to 2**(nbits-1) - 1:
  two's complement, `ap_fixed<nbits, msb + 1>` in the language of hardware synthesis.
- unsigned: all bits weigh what they weigh in a signed format, the first one 2**msb. Codes go from 0 to 2**nbits - 1:
  `ap_ufixed<nbits, msb + 1>`. Of two formats with equal msb and nbits the steps are equal; the unsigned one reaches
  twice as far.

    quantize(x) = q * clip(round(x / q), min_code, max_code)

Source: vieito2017, Equations 5-10 (amplitude, step, clip, floor). Its Code 6 clips to +A before it floors, which
gives one code too many; `rounding="thesis"` keeps that operator, every other rounding keeps to two's complement.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from fewbits.errors import InputError, check_integer, check_name, finite
from fewbits.names import GRADIENTS, OVERFLOWS, ROUNDINGS

MAX_NBITS = 32  # codes are exact in float64
MAX_NBITS_KERAS = 24  # codes are exact in float32
MAX_ABS_MSB = 64  # keeps every step and amplitude a normal float32

Seed = int | np.random.Generator | None


@dataclass(frozen=True)
class FixedPoint:
    """A fixed-point format of `nbits` bits, of which the most significant weighs 2**msb, in magnitude.

    Unpacks as `msb, nbits`.

    Attributes:
        msb: An integer from -64 to 64.
        nbits: An integer from 1 to 32, the sign included.
        signed: Whether the most significant bit is a sign; an unsigned format has no values below zero.

    Raises:
        InputError: when one of the first two is not an integer in its range, or `signed` is neither true nor false.

    Example:
        >>> fmt = FixedPoint(msb=0, nbits=8)
        >>> fmt.step, fmt.min_code, fmt.max_code
        (0.0078125, -128, 127)
        >>> print(fmt)
        ap_fixed<8, 1>
        >>> unsigned = FixedPoint(msb=0, nbits=8, signed=False)
        >>> unsigned.step, unsigned.min_code, unsigned.max_code
        (0.0078125, 0, 255)
        >>> print(unsigned)
        ap_ufixed<8, 1>
    """

    msb: int
    nbits: int
    signed: bool = True

    def __post_init__(self) -> None:
        check_integer("msb", self.msb, -MAX_ABS_MSB, MAX_ABS_MSB)
        check_integer("nbits", self.nbits, 1, MAX_NBITS)
        object.__setattr__(self, "msb", int(self.msb))  # a numpy.uint8 would overflow in `step`
        object.__setattr__(self, "nbits", int(self.nbits))
        if not isinstance(self.signed, bool | np.bool_):
            raise InputError(f"signed must be True or False, not {self.signed!r}")
        object.__setattr__(self, "signed", bool(self.signed))

    def __iter__(self) -> Iterator[int]:
        return iter((self.msb, self.nbits))

    def __str__(self) -> str:
        return f"ap_{'' if self.signed else 'u'}fixed<{self.nbits}, {self.msb + 1}>"

    def __repr__(self) -> str:
        return f"FixedPoint(msb={self.msb}, nbits={self.nbits}{'' if self.signed else ', signed=False'})"

    @property
    def amplitude(self) -> float:
        """Where the codes end: A = 2**msb (vieito2017, Equation 7); twice that if the format is unsigned."""
        return 2.0 ** (self.msb + (not self.signed))

    @property
    def step(self) -> float:
        """The step 2**(msb + 1 - nbits), the distance between neighboring values (vieito2017, Equation 8)."""
        return 2.0 ** (self.msb + 1 - self.nbits)

    @property
    def min_code(self) -> int:
        """The smallest code, -2**(nbits - 1); 0 if the format is unsigned."""
        return -(2 ** (self.nbits - 1)) if self.signed else 0

    @property
    def max_code(self) -> int:
        """The largest code, 2**(nbits - 1) - 1; 2**nbits - 1 if the format is unsigned."""
        return self.min_code + 2**self.nbits - 1

    @property
    def min_value(self) -> float:
        """The smallest value."""
        return self.min_code * self.step

    @property
    def max_value(self) -> float:
        """The largest value, one step below the amplitude."""
        return self.max_code * self.step


def quantize(
    x: Any, fmt: FixedPoint, rounding: str = "floor", overflow: str = "saturate", seed: Seed = None
) -> np.ndarray:
    """Round `x` to the values of `fmt`.

    Args:
        x: An array of any shape, finite.
        fmt: The format.
        rounding: One of ROUNDINGS.
        overflow: `saturate` clips to the extreme codes; `wrap` drops the upper bits as two's complement hardware does.
        seed: An integer or a NumPy Generator, for stochastic rounding.

    Returns:
        An array of the shape of `x`, exact: float32 for float32 or float16 input and at most 24 bits, else float64.

    Raises:
        InputError: on NaN or infinity, on an unknown name, and on a format that is not a FixedPoint.

    Example:
        >>> quantize([0.3, -0.3, 1.5], FixedPoint(msb=0, nbits=3), "nearest")
        array([ 0.25, -0.25,  0.75])
    """
    codes, _ = _numpy_codes(x, fmt, rounding, overflow, seed)
    narrow = np.asarray(x).dtype in (np.float16, np.float32) and fmt.nbits <= MAX_NBITS_KERAS
    return (codes * fmt.step).astype(np.float32 if narrow else np.float64)


def to_codes(
    x: Any,
    fmt: FixedPoint,
    rounding: str = "floor",
    overflow: str = "saturate",
    seed: Seed = None,
    strict: bool = False,
) -> np.ndarray:
    """Return the integer codes of `x` in `fmt`.

    Args:
        x: As in `quantize`.
        fmt: As in `quantize`.
        rounding: As in `quantize`.
        overflow: As in `quantize`.
        seed: As in `quantize`.
        strict: Refuse a value that `fmt` does not hold, rather than clip or wrap it.

    Returns:
        An int64 array of the shape of `x`. Codes fit `nbits` bits, except that the thesis' operator reaches
        max_code + 1.

    Raises:
        InputError: as `quantize`, and with `strict` on a value whose code does not fit.

    Example:
        >>> to_codes([0.3, -0.3, 1.5], FixedPoint(msb=0, nbits=3))
        array([ 1, -2,  3])
    """
    codes, kept = _numpy_codes(x, fmt, rounding, overflow, seed)
    if strict and not kept.all():
        value = np.asarray(x)[~kept].flat[0]
        advice = "a signed format" if value < 0 and not fmt.signed else "a larger msb, or strict=False to clip it"
        raise InputError(f"{value:g} does not fit {fmt} ({fmt.min_value:g} to {fmt.max_value:g}); take {advice}")
    return codes.astype(np.int64)


def is_clipped(x: Any, fmt: FixedPoint, rounding: str = "floor") -> np.ndarray:
    """Return where rounding `x` leaves the codes of `fmt`; there `quantclip` stops a `clipped` gradient.

    Args:
        x: As in `quantize`.
        fmt: As in `quantize`.
        rounding: As in `quantize`.

    Returns:
        A bool array of the shape of `x`.

    Raises:
        InputError: as `quantize`.
    """
    _, kept = _numpy_codes(x, fmt, rounding, "saturate", seed=0)
    return ~kept


def from_codes(codes: Any, fmt: FixedPoint) -> np.ndarray:
    """Return the values that integer codes stand for.

    Args:
        codes: An array of integers, any shape.
        fmt: The format of the codes.

    Returns:
        A float64 array of the same shape.

    Raises:
        InputError: when codes are not integers, or one does not fit `fmt`.

    Example:
        >>> from_codes([1, -2, 3], FixedPoint(msb=0, nbits=3))
        array([ 0.25, -0.5 ,  0.75])
    """
    codes = np.asarray(codes)
    if not np.issubdtype(codes.dtype, np.integer):
        raise InputError(f"codes must be integers, not {codes.dtype}; use to_codes to make them from values")
    outside = codes[(codes < fmt.min_code) | (codes > fmt.max_code)]
    if outside.size:
        raise InputError(
            f"code {outside.flat[0]} does not fit {fmt.nbits} bits ({fmt.min_code} to {fmt.max_code}); "
            "use a wider format or saturate first"
        )
    return codes * fmt.step


def quantclip(
    x: Any,
    fmt: Any,
    rounding: str = "floor",
    gradient: str = "clipped",
    overflow: str = "saturate",
    seed: Any = None,
) -> Any:
    """Round the tensor `x` to the values of `fmt`, with a straight-through gradient.

    It agrees with `quantize` bit for bit, in float64 where `x` is float64, otherwise in float32 (the backend may take
    subnormal numbers, below 1.2e-38, as zero). NaN propagates; infinity saturates, and wraps to NaN.

    Args:
        x: A float tensor.
        fmt: A FixedPoint of at most 24 bits, or `(msb, nbits)` or `(msb, nbits, signed)` of integers, integer tensors
            or variables that broadcast against `x`; changing a variable never retraces.
        rounding: As in `quantize`.
        gradient: `clipped` passes the gradient where the value was not clipped and stops it elsewhere; `identity`
            passes it everywhere.
        overflow: As in `quantize`.
        seed: An integer or a keras SeedGenerator, for stochastic rounding.

    Returns:
        A tensor of the shape and dtype of `x`.

    Raises:
        InputError: on an unknown name, and on more than 24 bits.

    Source:
        vieito2017, Codes 6 and 7 (the operator and its gradient).
    """
    from fewbits.backend import keras, ops, random, tensor

    _check_names(rounding, overflow)
    check_name("gradient", gradient, GRADIENTS)
    if not isinstance(fmt, FixedPoint):
        fmt = FixedPoint(*fmt) if all(isinstance(number, Integral | np.bool_) for number in fmt) else (*fmt, True)[:3]
    msb, nbits, signed = (fmt.msb, fmt.nbits, fmt.signed) if isinstance(fmt, FixedPoint) else fmt
    if isinstance(fmt, FixedPoint) and fmt.nbits > MAX_NBITS_KERAS:
        raise InputError(
            f"{fmt.nbits} bits are not exact in float32; use at most {MAX_NBITS_KERAS}, or fewbits.quantize"
        )
    low, count = -exp2(nbits - 1) * ops.cast(signed, "float32"), exp2(nbits)
    step, per_step = exp2(msb + 1 - nbits), exp2(nbits - 1 - msb)
    x = tensor(x)
    wide = "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"
    if wide == "float64":  # sums of products that float32 does not hold
        low, count, step, per_step = (ops.cast(number, wide) for number in (low, count, step, per_step))

    def draw(shape):
        return random.uniform(shape, dtype=wide, seed=seed)

    @ops.custom_gradient
    def forward(x):
        codes, kept = _codes(ops.cast(x, wide) * per_step, low, count, rounding, overflow, ops, draw)

        def backward(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            return upstream if gradient == "identity" else ops.where(kept, upstream, ops.zeros_like(upstream))

        codes = ops.where(codes == 0, 0.0, codes)  # no negative zero; compilers drop `+ 0.0`
        return ops.cast(codes * step, x.dtype), backward

    return forward(x)


def _codes(v, low, count, rounding, overflow, xp, draw):
    """Return the codes of `v` (values over the step), and where they were neither clipped nor wrapped.

    This is the one definition of the arithmetic: `xp` is numpy or keras.ops. low: the smallest code. count: how many
    codes there are. draw: shape -> uniform numbers in [0, 1).
    """
    if rounding == "thesis":  # clips first, to +A, then floors
        clipped = xp.clip(v, low, low + count)
        return xp.floor(clipped), clipped == v
    codes, high = _rounded(v, rounding, xp, draw), low + (count - 1)
    if overflow == "wrap":  # exact, as quotients and products with a power of two are: no sum here can lose a bit
        rest = codes - count * xp.floor(codes / count)
        fitting = xp.where(rest > high, rest - count, rest)
    else:
        fitting = xp.clip(codes, low, high)
    return fitting, fitting == codes


def _rounded(v, rounding, xp, draw):
    """Return `v` rounded to integers. The sum v + 0.5 is avoided: it would round before it can be floored."""
    if rounding == "nearest":
        return xp.round(v)  # half to even
    if rounding == "ceiling":
        return xp.ceil(v)
    if rounding == "toward-zero":
        return xp.trunc(v)
    if rounding == "nearest-away":
        return xp.sign(v) * _rounded(xp.abs(v), "nearest-up", xp, draw)
    low = xp.floor(v)
    if rounding == "floor":
        return low
    rest = v - low
    up = rest >= 0.5 if rounding == "nearest-up" else draw(v.shape) < rest
    return xp.where(up, low + 1, low)


def _numpy_codes(x, fmt, rounding, overflow, seed):
    """Return the codes of `x` as float64, and where they were neither clipped nor wrapped."""
    _check_names(rounding, overflow)
    if not isinstance(fmt, FixedPoint):
        raise InputError(f"the format must be a FixedPoint(msb, nbits), not {fmt!r}")
    x = finite(x)
    draw = np.random.default_rng(seed).random
    codes, kept = _codes(x / fmt.step, fmt.min_code, 2.0**fmt.nbits, rounding, overflow, np, draw)
    return codes + 0.0, kept  # + 0.0: no negative zero


def exp2(k: Any) -> Any:
    """Return 2**k exactly, by writing k into the bits of the exponent: power functions of backends may be one bit off.

    Args:
        k: An integer, or an integer tensor; k below -126 or above 127 is clipped to the range of normal numbers.

    Returns:
        A number, or a float32 tensor.
    """
    from fewbits.backend import float_of_bits, ops

    if isinstance(k, Integral):
        return 2.0**k
    return float_of_bits((ops.clip(ops.cast(k, "int32"), -126, 127) + 127) * 2**23)


def _check_names(rounding, overflow):
    check_name("overflow", overflow, OVERFLOWS)
    check_name("rounding", rounding, ROUNDINGS)
    if overflow == "wrap" and rounding == "thesis":
        raise InputError("the thesis' operator clips; use overflow='saturate', or name another rounding to wrap")
