"""The number format and its arithmetic: a NumPy reference and the same operator in Keras ops.

A format has two integers. `msb` sets the amplitude A = 2**msb, `nbits` the number of codes; the step is
q = 2**(msb + 1 - nbits). A code k stands for the value k * q, with k from -2**(nbits-1) to 2**(nbits-1) - 1:
two's complement, `ap_fixed<nbits, msb + 1>` in the language of hardware synthesis.

    quantize(x) = q * clip(round(x / q), min_code, max_code)

Source: vieito2017, Equations 5-10 (amplitude, step, clip, floor). Its Code 6 clips to +A before it floors, which
gives one code too many; `rounding="thesis"` keeps that operator, every other rounding keeps to two's complement.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from fewbits.errors import InputError, check_integer, check_name, finite
from fewbits.names import GRADIENTS, OVERFLOWS, ROUNDINGS

MAX_NBITS = 32  # codes are exact in float64
MAX_NBITS_KERAS = 24  # codes are exact in float32
MAX_ABS_MSB = 64  # keeps every step and amplitude a normal float32


@dataclass(frozen=True)
class FixedPoint:
    """A signed fixed-point format of `nbits` bits whose amplitude is 2**msb.

    Unpacks as `msb, nbits`. Raises InputError when `msb` is not an integer in [-64, 64] or `nbits` not one in
    [1, 32].

    >>> FixedPoint(msb=0, nbits=8).step
    0.0078125
    """

    msb: int
    nbits: int

    def __post_init__(self):
        check_integer("msb", self.msb, -MAX_ABS_MSB, MAX_ABS_MSB)
        check_integer("nbits", self.nbits, 1, MAX_NBITS)
        object.__setattr__(self, "msb", int(self.msb))  # a numpy.uint8 would overflow in `step`
        object.__setattr__(self, "nbits", int(self.nbits))

    def __iter__(self) -> Iterator[int]:
        return iter((self.msb, self.nbits))

    def __str__(self) -> str:
        return f"ap_fixed<{self.nbits}, {self.msb + 1}>"

    @property
    def amplitude(self) -> float:
        """A = 2**msb (vieito2017, Equation 7)."""
        return 2.0**self.msb

    @property
    def step(self) -> float:
        """q = 2A / 2**nbits, the distance between neighbouring values (vieito2017, Equation 8)."""
        return 2.0 ** (self.msb + 1 - self.nbits)

    @property
    def min_code(self) -> int:
        return -(2 ** (self.nbits - 1))

    @property
    def max_code(self) -> int:
        return 2 ** (self.nbits - 1) - 1


def quantize(x, fmt: FixedPoint, rounding: str = "floor", overflow: str = "saturate", seed=None) -> np.ndarray:
    """Return `x` rounded to the values of `fmt`.

    x: array of any shape, finite. rounding: one of ROUNDINGS. overflow: `saturate` clips to the extreme codes,
    `wrap` drops the upper bits as two's complement hardware does. seed: for stochastic rounding, an integer or a
    numpy Generator. Returns float32 for float32 (or float16) input of at most 24 bits, else float64; exact in both.
    Raises InputError on NaN or infinity, and on an unknown name.
    """
    codes, _ = _numpy_codes(x, fmt, rounding, overflow, seed)
    narrow = np.asarray(x).dtype in (np.float16, np.float32) and fmt.nbits <= MAX_NBITS_KERAS
    return (codes * fmt.step).astype(np.float32 if narrow else np.float64)


def to_codes(x, fmt: FixedPoint, rounding: str = "floor", overflow: str = "saturate", seed=None) -> np.ndarray:
    """Return the integer codes (int64) of `x` in `fmt`; arguments and errors as in `quantize`.

    Codes fit `nbits` bits, but for the thesis' operator, which reaches max_code + 1.
    """
    codes, _ = _numpy_codes(x, fmt, rounding, overflow, seed)
    return codes.astype(np.int64)


def is_clipped(x, fmt: FixedPoint, rounding: str = "floor") -> np.ndarray:
    """Return where (bool) rounding `x` leaves the codes of `fmt`: there `quantclip` stops a `clipped` gradient."""
    _, kept = _numpy_codes(x, fmt, rounding, "saturate", seed=0)
    return ~kept


def from_codes(codes, fmt: FixedPoint) -> np.ndarray:
    """Return the values (float64) that integer `codes` stand for; InputError if one does not fit `fmt`."""
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


def quantclip(x, fmt, rounding="floor", gradient="clipped", overflow="saturate", seed=None):
    """Return the tensor `x` rounded to the values of `fmt`, with a straight-through gradient.

    x: float tensor. fmt: a FixedPoint of at most 24 bits, or a pair `(msb, nbits)` of integers, integer tensors
    or variables that broadcast against `x`: changing a variable never retraces. rounding and overflow as in `quantize`,
    with which it agrees bit for bit, in float64 where `x` is float64, else in float32 (subnormal numbers, below
    1.2e-38, may be taken as zero by the backend); rounding may also be a tensor, an index into ROUNDINGS. gradient:
    `clipped` passes the gradient where the value was not clipped and stops it elsewhere, `identity` passes it
    everywhere. seed: for stochastic rounding, an integer or a keras SeedGenerator.
    NaN propagates; infinity saturates, and wraps to NaN. Raises InputError on an unknown name or more than 24 bits.

    Source: vieito2017, Codes 6 and 7 (the operator and its gradient).
    """
    from fewbits.backend import keras, ops, random, tensor

    _check_names(rounding, overflow)
    check_name("gradient", gradient, GRADIENTS)
    msb, nbits = fmt
    if isinstance(msb, Integral) and isinstance(nbits, Integral):
        fmt = FixedPoint(msb, nbits)
    if isinstance(fmt, FixedPoint) and fmt.nbits > MAX_NBITS_KERAS:
        raise InputError(
            f"{fmt.nbits} bits are not exact in float32; use at most {MAX_NBITS_KERAS}, or fewbits.quantize"
        )
    half = exp2(nbits - 1)
    step, per_step = exp2(msb + 1 - nbits), exp2(nbits - 1 - msb)
    x = tensor(x)
    wide = "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"
    if wide == "float64":  # sums of products that float32 does not hold
        half, step, per_step = (ops.cast(number, wide) for number in (half, step, per_step))

    def draw(shape):
        return random.uniform(shape, dtype=wide, seed=seed)

    @ops.custom_gradient
    def forward(x):
        codes, kept = _codes(ops.cast(x, wide) * per_step, half, rounding, overflow, ops, draw)

        def backward(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            return upstream if gradient == "identity" else ops.where(kept, upstream, ops.zeros_like(upstream))

        codes = ops.where(codes == 0, 0.0, codes)  # no negative zero; compilers drop `+ 0.0`
        return ops.cast(codes * step, x.dtype), backward

    return forward(x)


def _codes(v, half, rounding, overflow, xp, draw):
    """Return the codes of `v` (values over the step) and where they were kept, that is not clipped or wrapped.

    The one definition of the arithmetic: `xp` is numpy or keras.ops. half: 2**(nbits-1). draw: shape -> uniform
    numbers in [0, 1).
    """
    if not isinstance(rounding, str):
        return _codes_at(v, half, rounding, xp)
    if rounding == "thesis":  # clips first, to +A, and floors then
        clipped = xp.clip(v, -half, half)
        return xp.floor(clipped), clipped == v
    codes = _rounded(v, rounding, xp, draw)
    if overflow == "wrap":
        turns = codes / (2 * half)  # exact, as is its rest: no sum here can lose a bit
        fitting = codes - 2 * half * _rounded(turns, "nearest-up", xp, draw)
    else:
        fitting = xp.clip(codes, -half, half - 1)
    return fitting, fitting == codes


def _rounded(v, rounding, xp, draw):
    """Return `v` rounded to integers. Sums v + 0.5 are avoided: they round before they can be floored."""
    if rounding == "nearest":
        return xp.round(v)  # half to even
    if rounding == "nearest-away":
        return xp.sign(v) * _rounded(xp.abs(v), "nearest-up", xp, draw)
    low = xp.floor(v)
    if rounding == "floor":
        return low
    rest = v - low
    up = rest >= 0.5 if rounding == "nearest-up" else draw(v.shape) < rest
    return xp.where(up, low + 1, low)


def _codes_at(v, half, rounding, xp):
    """Return what `_codes` does where `rounding` is a tensor, an index into ROUNDINGS; stochastic is not among them.

    All roundings stand side by side, so that a compiler makes one pass of them.
    """
    low = _rounded(v, "floor", xp, None)
    codes = low
    for name in ("nearest", "nearest-up", "nearest-away"):
        codes = xp.where(rounding == ROUNDINGS.index(name), _rounded(v, name, xp, None), codes)
    thesis = rounding == ROUNDINGS.index("thesis")
    fitting = xp.clip(codes, -half, xp.where(thesis, half, half - 1))
    return fitting, xp.where(thesis, xp.clip(v, -half, half) == v, fitting == codes)


def _numpy_codes(x, fmt, rounding, overflow, seed):
    """Return the codes of `x` as float64, and where they were kept."""
    _check_names(rounding, overflow)
    if not isinstance(fmt, FixedPoint):
        raise InputError(f"the format must be a FixedPoint(msb, nbits), not {fmt!r}")
    x = finite(x)
    draw = np.random.default_rng(seed).random
    codes, kept = _codes(x / fmt.step, 2.0 ** (fmt.nbits - 1), rounding, overflow, np, draw)
    return codes + 0.0, kept  # + 0.0: no negative zero


def exp2(k):
    """Return 2**k in float32, exactly: k goes into the exponent's bits. Backends' power functions may be one bit off.

    Below and above normal numbers, k is taken as -126 and 127.
    """
    from fewbits.backend import ops

    if isinstance(k, Integral):
        return 2.0**k
    return ops.view((ops.clip(ops.cast(k, "int32"), -126, 127) + 127) * 2**23, "float32")


def _check_names(rounding, overflow):
    check_name("overflow", overflow, OVERFLOWS)
    if not hasattr(rounding, "shape"):  # that is, no tensor
        check_name("rounding", rounding, ROUNDINGS)
    if overflow == "wrap" and (not isinstance(rounding, str) or rounding == "thesis"):
        raise InputError("the thesis' operator clips; use overflow='saturate', or name another rounding to wrap")
