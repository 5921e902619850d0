"""A million points and more against each of three independent implementations of fixed point: no mismatch."""

import apytypes
import numpy as np
import pytest
from fxpmath import Fxp
from qonnx.custom_op.general.intquant import int_quant

from fewbits import FixedPoint, quantize

WIDTHS = [(msb, nbits) for nbits in range(2, 17) for msb in range(-4, 9)]
POINTS = 6400  # a format; distinct ones


def with_apytypes(x, fmt, rounding, overflow):
    modes = {"floor": "TRN", "nearest": "RND_CONV", "nearest-up": "RND", "nearest-away": "RND_INF"}
    exact = apytypes.APyFixedArray.from_array(x, int_bits=24, frac_bits=160)
    assert np.array_equal(exact.to_numpy(), x)
    # In two steps: apytypes 0.5 does not wrap when it narrows more than 64 bits to fewer.
    mode = getattr(apytypes.QuantizationMode, modes[rounding])
    rounded = exact.cast(int_bits=24, frac_bits=fmt.nbits - fmt.msb - 1, quantization=mode)
    limit = {"saturate": apytypes.OverflowMode.SAT, "wrap": apytypes.OverflowMode.WRAP}[overflow]
    if fmt.signed:
        return rounded.cast(int_bits=fmt.msb + 1, bits=fmt.nbits, overflow=limit).to_numpy()
    if overflow == "wrap":  # apytypes has no unsigned array: the bits are read without their sign
        return np.array(rounded.cast(int_bits=fmt.msb + 1, bits=fmt.nbits, overflow=limit).to_bits()) * fmt.step
    return np.maximum(rounded.cast(int_bits=fmt.msb + 2, bits=fmt.nbits + 1, overflow=limit).to_numpy(), 0)


def with_fxpmath(x, fmt, rounding, overflow):
    # Without nearest_away: fxpmath 0.4 takes -0.49999999999999994 to -1, as -0.49999999999999994 + 1 rounds to 0.5.
    modes = {"floor": "floor", "nearest": "around", "nearest-up": "nearest_posinf"}
    size = {"signed": fmt.signed, "n_word": fmt.nbits, "n_frac": fmt.nbits - fmt.msb - 1}
    return Fxp(x, **size, rounding=modes[rounding], overflow=overflow).get_val()


def with_qonnx(x, fmt, rounding, overflow):
    modes = {"floor": "FLOOR", "nearest": "ROUND"}
    scale, zero, bits = np.array([fmt.step, 0, fmt.nbits])
    return int_quant(x, scale, zero, bits, signed=fmt.signed, narrow=False, rounding_mode=modes[rounding])


CASES = [
    (oracle, rounding, overflow)
    for oracle, roundings, overflows in [
        (with_apytypes, ("floor", "nearest", "nearest-up", "nearest-away"), ("saturate", "wrap")),
        (with_fxpmath, ("floor", "nearest", "nearest-up"), ("saturate", "wrap")),
        (with_qonnx, ("floor", "nearest"), ("saturate",)),
    ]
    for rounding in roundings
    for overflow in overflows
]


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize(("oracle", "rounding", "overflow"), CASES)
def test_no_point_of_a_million_differs(oracle, rounding, overflow, signed, points):
    compared = 0
    for msb, nbits in WIDTHS:
        fmt = FixedPoint(msb, nbits, signed)
        x = points(fmt, POINTS)
        ours, theirs = quantize(x, fmt, rounding, overflow), oracle(x, fmt, rounding, overflow)
        wrong = ours != theirs
        assert not wrong.any(), f"{fmt}: {x[wrong][0]!r} is {ours[wrong][0]} here, {theirs[wrong][0]} there"
        compared += len(x)
    assert compared >= 1_000_000
