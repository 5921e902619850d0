"""Arithmetic at the end of a sum: shift with rounding, and saturation. Both are logic without registers."""

from fewbits.deploy.hardware.design import ENGINE_ROUNDINGS
from fewbits.errors import needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.hdl import Cat, Const, Mux, Value


def rounded_shift(value: Value, shift: Value, rounding: Value, roundings: tuple[str, ...]) -> Value:
    """Return value / 2**shift, rounded to an integer.

    The shift alone rounds down. The other roundings look at the bits that it drops, of which the first is worth a
    half, and add 1 if

        nearest-up:    half
        nearest:       half and (any further bit or the result is odd)
        nearest-away:  half and (any further bit or the value is not negative)

    Args:
        value: A signed value.
        shift: Unsigned.
        rounding: Index of the rounding in ENGINE_ROUNDINGS.
        roundings: Names of the roundings to build.

    Returns:
        A signed value, as wide as `value` plus one bit.
    """
    value = value.as_signed()
    floor = value >> shift
    half = (Cat(Const(0, 1), value).as_signed() >> shift)[0]
    below_half = (((Const(1, 1) << shift) - 1) >> 1)[: len(value)]
    above_half = (value & below_half).any()
    conditions = {
        "nearest-up": half,
        "nearest": half & (above_half | floor[0]),
        "nearest-away": half & (above_half | ~value[-1]),
    }
    up: Value = Const(0, 1)
    for name, condition in conditions.items():
        if name in roundings:
            up = up | ((rounding == ENGINE_ROUNDINGS.index(name)) & condition if len(roundings) > 1 else condition)
    return (floor + up)[: len(value) + 1].as_signed()


def between(value: Value, low: Value, high: Value) -> Value:
    """Return min(max(value, low), high); a ReLU is a `low` of 0.

    Args:
        value: A signed value.
        low: A signed value.
        high: A signed value, not below `low`.

    Returns:
        A signed value.
    """
    return Mux(value < low, low, Mux(value > high, high, value))


def saturated(value: Value, bits: int) -> Value:
    """Return the nearest integer that two's complement of `bits` bits holds.

    Args:
        value: A signed value.
        bits: Number of bits of the result.

    Returns:
        A signed value of `bits` bits.
    """
    if len(value) <= bits:
        return value
    above, sign = value[bits - 1 :], value[-1]  # all equal if the value fits
    extreme = Cat((~sign).replicate(bits - 1), sign)
    return Mux(above.all() | ~above.any(), value[:bits], extreme).as_signed()


def wrapped(value: Value, bits: int) -> Value:
    """Return the lower `bits` bits, as two's complement.

    Args:
        value: A signed value.
        bits: Number of bits of the result.

    Returns:
        A signed value of `bits` bits.
    """
    return value[:bits].as_signed()
