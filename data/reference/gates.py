"""What arithmetic costs in gates: python data/reference/gates.py writes gates.json, in about a quarter of an hour.

Yosys (its program `yosys` must be installed) synthesizes parts of the hardware engine of `fewbits.deploy.hardware`, for
codes of 4 to 16 bits: to AND, OR, XOR, NOT and MUX, and to lookup tables of four inputs and carries of an iCE40. A
register holds each result, as between the stages of the engine. The longest path is counted in cells, from input to
register. Sums have twice the bits of a code, and 8 more for a window and its planes.

    multiply    a product of two codes
    accumulate  a partial sum plus a product
    sum_pixels  a sum of the pixels of a window plus a pixel; its 8 more bits hold 256 of them
    round       a sum, shifted and rounded, and clipped to codes

A shift per layer is wired, one per filter has a shifter. Whole engines are synthesized to an iCE40, whose memories hold
line buffers and partial sums: one with all roundings for each width of a word of weights, and one for each rounding.
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
    "gates": "synth -flatten -top top; dfflegalize -cell $_DFF_P_ 01; abc -g AND,OR,XOR,MUX; opt_clean",
    "ice40": "synth_ice40 -top top",
}
LONGEST = {"gates": "ltp -noff", "ice40": "ltp w:* t:SB_LUT4 t:SB_CARRY"}  # between registers and memories


class Part(NamedTuple):
    """A part in gates: what it is called, its inputs, and what it makes of them."""

    name: dict[str, Any]
    shapes: tuple[Any, ...]
    make: Callable[..., Value]


def parts_for(bits: int) -> Iterator[Part]:
    """Yield the parts for codes of `bits` bits."""
    sums = 2 * bits + 8
    for sign, pixel in (("signed", signed(bits)), ("unsigned", unsigned(bits))):
        yield Part({"unit": "multiply", "pixels": sign}, (pixel, signed(bits)), lambda x, w: x * w)
        window = signed(bits + 8), pixel
        yield Part({"unit": "sum_pixels", "pixels": sign}, window, lambda x, y: wrapped(x + y, bits + 8))
    for overflow, fit in (("saturate", saturated), ("wrap", wrapped)):
        shapes = signed(sums), signed(2 * bits)
        yield Part({"unit": "accumulate", "overflow": overflow}, shapes, lambda x, y, fit=fit: fit(x + y, sums))
    for rounding in ENGINE_ROUNDINGS:
        for shift in ("layer", "filter"):
            for sign in ("signed", "unsigned"):
                low = -(2 ** (bits - 1)) if sign == "signed" else 0
                name = {"unit": "round", "rounding": rounding, "shift": shift, "codes": sign}
                yield Part(name, (signed(sums), 5), _rounder(rounding, shift, bits, low))


def _rounder(rounding: str, shift: str, bits: int, low: int) -> Callable[..., Value]:
    """Return what rounds a sum and clips it to the codes from `low` on."""
    index, limits = Const(0, 2), [Const(end, signed(bits + 1)) for end in (low, low + 2**bits - 1)]

    def make(x: Value, by: Value) -> Value:
        by = Const(bits, 5) if shift == "layer" else by
        return between(rounded_shift(x, by, index, (rounding,)), *limits)[:bits]

    return make


def part_for(bits: int, **name: str) -> Part:
    """Return the part for codes of `bits` bits that is called `name`."""
    return next(part for part in parts_for(bits) if part.name == name)


def module(part: Part, *, held: bool = True) -> str:
    """Return the text of a module, for Yosys, with inputs in0, in1, ... and the output out.

    Args:
        part: What it computes.
        held: Whether a register holds the output.
    """
    m, inputs = Module(), [Signal(shape, name=f"in{i}") for i, shape in enumerate(part.shapes)]
    result = part.make(*inputs)
    output = Signal(Value.cast(result).shape(), name="out", reset_less=True)
    domain = m.d.sync if held else m.d.comb
    domain += output.eq(result)
    return rtlil.convert(m, ports=[*inputs, output], name="top")


def synthesized(parts: list[Part]) -> Iterator[dict[str, int]]:
    """Yield what Yosys counts in each part: cells and longest path in gates, lookup tables and carries in an iCE40."""
    with TemporaryDirectory() as temporary:
        folder, script = Path(temporary), []
        for n, part in enumerate(parts):
            (folder / f"{n}.il").write_text(module(part))
            for kind in SYNTHESES:
                script.append(f"design -reset; read_rtlil {n}.il; {counted(kind, f'{n}.{kind}')}")
        run_yosys(folder, "; ".join(script))
        for n in range(len(parts)):
            gates, table = ((folder / f"{n}.{kind}").read_text() for kind in SYNTHESES)
            found = cells(gates)
            flip_flops = found.pop("$_DFF_P_")
            yield {"cells": sum(found.values()), "flip_flops": flip_flops, "path": path(gates)} | in_ice40(table)


def engines() -> Iterator[dict[str, Any]]:
    """Yield what whole engines take in an iCE40: with words of each width, and with each rounding alone."""
    size = {"columns": 64, "places": 256, "sum_bits": 24}
    designs = [EngineDesign(word_bits=bits, **size) for bits in (4, 8, 16)]
    designs += [EngineDesign(word_bits=8, roundings=(rounding,), **size) for rounding in ENGINE_ROUNDINGS]
    for design in designs:
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / "engine.il").write_text(rtlil.convert(ConvolutionEngine(design), name="top"))
            run_yosys(folder, f"read_rtlil engine.il; {counted('ice40', 'said')}")
            said = (folder / "said").read_text()
        yield {"design": asdict(design)} | in_ice40(said) | {"memories": cells(said).get("SB_RAM40_4K", 0)}


def counted(kind: str, said: str) -> str:
    """Return the commands of Yosys that synthesize, and write to the file `said` what they found."""
    return f"{SYNTHESES[kind]}; tee -a {said} stat; tee -a {said} {LONGEST[kind]}"


def run_yosys(folder: Path, steps: str) -> None:
    """Run Yosys in a folder.

    Args:
        folder: Where the files are that the steps name.
        steps: Commands, with "; " between them.
    """
    (folder / "steps.ys").write_text(steps.replace("; ", "\n"))
    subprocess.run(["yosys", "-q", "steps.ys"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def cells(said: str) -> dict[str, int]:
    """Return kind of cell -> how many there are, from what `stat` says."""
    return {name: int(n) for name, n in re.findall(r"^ +(\S+) +(\d+)$", said, re.M) if name.startswith(("$_", "SB_"))}


def path(said: str) -> int:
    """Return the cells on the longest path, from what `ltp` says."""
    return int(re.search(r"length=(\d+)", said)[1])


def in_ice40(said: str) -> dict[str, int]:
    """Return what an iCE40 needs, from what `stat` and `ltp` say."""
    found = cells(said)
    flip_flops = sum(n for name, n in found.items() if name.startswith("SB_DFF"))
    kinds = {"luts": "SB_LUT4", "carries": "SB_CARRY"}
    counts = {name: found.get(kind, 0) for name, kind in kinds.items()}
    return counts | {"ice40_flip_flops": flip_flops, "ice40_path": path(said)}


def versions() -> dict[str, str]:
    """Return the versions of the tools."""
    said = subprocess.run(["yosys", "-V"], check=True, capture_output=True, text=True).stdout
    return {"yosys": said.split(" (")[0].strip(), "amaranth": amaranth_version}


def main() -> None:
    """Synthesize all parts, and write what they cost."""
    whole, rows = list(engines()), []
    print(f"{len(whole)} engines", flush=True)
    for bits in BITS:
        parts = list(parts_for(bits))
        rows += [{"bits": bits} | part.name | found for part, found in zip(parts, synthesized(parts), strict=True)]
        print(f"{bits} bits: {len(parts)} parts", flush=True)
    run = {"written": date.today().isoformat(), "command": "python data/reference/gates.py"} | versions()
    answers = {"run": run, "engines": whole, "parts": rows}
    with write_aside(ANSWERS) as file:
        file.write((json.dumps(answers, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
