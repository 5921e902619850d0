"""Proofs for all inputs: the engine's arithmetic, in its widest form, is what the number format defines.

Yosys turns a circuit and what must hold into Boolean equations, and shows that no input breaks them. The definitions
say where a result lies, not how to compute it.
"""

import shutil
import subprocess

import pytest

pytest.importorskip("amaranth")

from amaranth.back import rtlil  # noqa: E402
from amaranth.hdl import Const, Module, Signal, Value, signed, unsigned  # noqa: E402

from fewbits.deploy.hardware import ENGINE_ROUNDINGS, SHIFT_BITS, rounded_shift, saturated, wrapped  # noqa: E402

pytestmark = pytest.mark.skipif(not shutil.which("yosys"), reason="Yosys is not installed")
SUM_BITS = 48  # the most that an engine may have


def holds_always(shapes, claim, folder):
    """Return whether `claim`, a bit made of signals of `shapes`, is 1 for all their values."""
    m, inputs, holds = Module(), [Signal(shape, name=f"in{n}") for n, shape in enumerate(shapes)], Signal(name="holds")
    m.d.comb += holds.eq(claim(*inputs))
    (folder / "claim.il").write_text(rtlil.convert(m, ports=[*inputs, holds], name="top"))
    steps = "read_rtlil claim.il; flatten; opt; sat -verify -prove holds 1 top"
    done = subprocess.run(["yosys", "-p", steps], cwd=folder, capture_output=True, text=True)
    said = done.stdout + done.stderr
    proven, refuted = (f"proof {words}" in said for words in ("finished - no model found: SUCCESS!", "did fail!"))
    assert proven != refuted, said
    return proven


def is_rounded(value: Value, shift: Value, result: Value, rounding: str) -> Value:
    """Return whether an integer is value / 2**shift, rounded: by how far it may be off, in units of 1 / 2**shift."""
    step = Const(1, 1) << shift
    error = (result << shift) - value
    if rounding == "floor":
        return (error <= 0) & (-error < step)
    above, below = 2 * error == step, 2 * error == -step  # ties
    refused = {
        "nearest-up": below,
        "nearest": (above | below) & result[0],
        "nearest-away": (above & (value < 0)) | (below & (value >= 0)),
    }[rounding]
    return (2 * error <= step) & (-2 * error <= step) & ~refused


def rounds(built: str, defined: str, bits: int, shift_bits: int, folder) -> bool:
    index = Const(ENGINE_ROUNDINGS.index(built), 2)
    shapes = signed(bits), unsigned(shift_bits)
    return holds_always(
        shapes, lambda x, s: is_rounded(x, s, rounded_shift(x, s, index, ENGINE_ROUNDINGS), defined), folder
    )


@pytest.mark.parametrize("rounding", ENGINE_ROUNDINGS)
def test_every_sum_and_every_shift_round_as_defined(rounding, tmp_path):
    assert rounds(rounding, rounding, SUM_BITS, SHIFT_BITS, tmp_path)


def test_roundings_are_told_apart(tmp_path):
    pairs = [(built, defined) for built in ENGINE_ROUNDINGS for defined in ENGINE_ROUNDINGS if built != defined]
    assert not any(rounds(*pair, 8, 3, tmp_path) for pair in pairs)


@pytest.mark.parametrize("bits", [8, 16, SUM_BITS])
def test_every_sum_saturates_at_the_ends_or_wraps_by_whole_turns(bits, tmp_path):
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1

    def nearest(x: Value) -> Value:
        y = saturated(x, bits)
        return ((x == y) & (x >= low) & (x <= high)) | ((x > high) & (y == high)) | ((x < low) & (y == low))

    def whole_turns(x: Value) -> Value:
        return ((x - wrapped(x, bits)) & ((1 << bits) - 1)) == 0

    shapes = (signed(SUM_BITS + 8),)
    assert holds_always(shapes, nearest, tmp_path) and holds_always(shapes, whole_turns, tmp_path)
    assert not holds_always(shapes, lambda x: saturated(x, bits) == wrapped(x, bits), tmp_path)
