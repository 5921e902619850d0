"""What arithmetic costs in gates: python data/reference/gates.py writes gates.json, in about ten minutes.

Yosys (its program `yosys` must be installed) synthesizes parts of the hardware engine of `fewbits.deploy.hardware`, for
codes of 4 to 16 bits: to AND, OR, XOR, NOT and MUX, and to lookup tables of four inputs and carries of an iCE40. The
longest path is counted in cells. Sums have twice the bits of a code, and 8 more for a window and its planes.

    multiply    a product of two codes
    accumulate  a partial sum plus a product
    round       a sum, shifted and rounded, and clipped to codes

Whole engines are synthesized to an iCE40, whose memories hold line buffers and partial sums.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from amaranth import __version__ as amaranth_version
from amaranth.back import rtlil
from amaranth.hdl import Const, Module, Signal, Value, signed, unsigned

from fewbits.deploy.hardware import (
    ENGINE_ROUNDINGS,
    ConvolutionEngine,
    EngineDesign,
    between,
    rounded_shift,
    saturated,
    wrapped,
)
from fewbits.io.files import write_aside

ANSWERS = Path(__file__).with_name("gates.json")
BITS = range(4, 17)
SYNTHESES = {
    "gates": "synth -flatten -top top; abc -g AND,OR,XOR,MUX; opt_clean",
    "ice40": "synth_ice40 -top top",
}


class Unit(NamedTuple):
    """A part in gates: what it is called, and its inputs and output."""

    name: dict[str, Any]
    shapes: tuple[Any, ...]
    make: Callable[..., Value]


def units(bits: int) -> Iterator[Unit]:
    """Yield the parts for codes of `bits` bits."""
    sums = 2 * bits + 8
    for sign, pixel in (("signed", signed(bits)), ("unsigned", unsigned(bits))):
        yield Unit({"unit": "multiply", "pixels": sign}, (pixel, signed(bits)), lambda x, w: x * w)
    for overflow, fit in (("saturate", saturated), ("wrap", wrapped)):
        shapes = signed(sums), signed(2 * bits)
        yield Unit({"unit": "accumulate", "overflow": overflow}, shapes, lambda x, y, fit=fit: fit(x + y, sums))
    for rounding in ENGINE_ROUNDINGS:
        for shift in ("layer", "filter"):  # wired, or a shifter
            for sign in ("signed", "unsigned"):
                low = -(2 ** (bits - 1)) if sign == "signed" else 0
                name = {"unit": "round", "rounding": rounding, "shift": shift, "codes": sign}
                yield Unit(name, (signed(sums), 5), _rounder(rounding, shift, bits, low))


def _rounder(rounding: str, shift: str, bits: int, low: int) -> Callable[..., Value]:
    """Return what rounds a sum and clips it to the codes from `low` on."""
    index, limits = Const(0, 2), [Const(end, signed(bits + 1)) for end in (low, low + 2**bits - 1)]

    def make(x: Value, by: Value) -> Value:
        by = Const(bits, 5) if shift == "layer" else by
        return between(rounded_shift(x, by, index, (rounding,)), *limits)[:bits]

    return make


def synthesized(parts: list[Unit]) -> Iterator[dict[str, int]]:
    """Yield what Yosys counts in each part: cells and longest path in gates, lookup tables and carries in an iCE40."""
    with TemporaryDirectory() as temporary:
        folder, script = Path(temporary), []
        for n, part in enumerate(parts):
            m, inputs = Module(), [Signal(shape, name=f"in{i}") for i, shape in enumerate(part.shapes)]
            result = part.make(*inputs)
            output = Signal(Value.cast(result).shape(), name="out")
            m.d.comb += output.eq(result)
            (folder / f"{n}.il").write_text(rtlil.convert(m, ports=[*inputs, output], name="top"))
            for kind, steps in SYNTHESES.items():
                said = f"tee -a {n}.{kind}"
                script.append(f"design -reset; read_rtlil {n}.il; {steps}; {said} stat; {said} ltp -noff")
        (folder / "all.ys").write_text("\n".join(script).replace("; ", "\n"))
        subprocess.run(["yosys", "-q", "all.ys"], cwd=folder, check=True, capture_output=True)
        for n in range(len(parts)):
            gates, table = ((folder / f"{n}.{kind}").read_text() for kind in SYNTHESES)
            yield {
                "cells": int(re.search(r"Number of cells: +(\d+)", gates)[1]),
                "path": int(re.search(r"length=(\d+)", gates)[1]),
                "luts": int((re.search(r"SB_LUT4 +(\d+)", table) or "00")[1]),
                "carries": int((re.search(r"SB_CARRY +(\d+)", table) or "00")[1]),
                "ice40_path": int(re.search(r"length=(\d+)", table)[1]),
            }


def engines() -> Iterator[dict[str, Any]]:
    """Yield what whole engines take in an iCE40, for each width of their words of weights."""
    for bits in (4, 8, 16):
        design = EngineDesign(word_bits=bits, columns=64, places=256, sum_bits=24)
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / "engine.il").write_text(rtlil.convert(ConvolutionEngine(design), name="top"))
            (folder / "all.ys").write_text("read_rtlil engine.il\nsynth_ice40 -top top\ntee -o stat stat\n")
            subprocess.run(["yosys", "-q", "all.ys"], cwd=folder, check=True, capture_output=True)
            found = dict(re.findall(r"^ +(SB_\w+) +(\d+)$", (folder / "stat").read_text(), re.M))
        yield {
            "design": asdict(design),
            "luts": int(found["SB_LUT4"]),
            "carries": int(found["SB_CARRY"]),
            "flip_flops": sum(int(n) for name, n in found.items() if name.startswith("SB_DFF")),
            "memories": int(found.get("SB_RAM40_4K", 0)),
        }


def main() -> None:
    """Synthesize all parts, and write what they cost."""
    rows = []
    for bits in BITS:
        parts = list(units(bits))
        rows += [{"bits": bits} | part.name | found for part, found in zip(parts, synthesized(parts), strict=True)]
        print(f"{bits} bits: {len(parts)} parts", flush=True)
    yosys = subprocess.run(["yosys", "-V"], check=True, capture_output=True, text=True).stdout.split(" (")[0].strip()
    versions = {"yosys": yosys, "amaranth": amaranth_version}
    run = {"written": date.today().isoformat(), "command": "python data/reference/gates.py"} | versions
    answers = {"run": run, "engines": list(engines()), "parts": rows}
    with write_aside(ANSWERS) as file:
        file.write((json.dumps(answers, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
