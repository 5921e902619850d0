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
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from amaranth import __version__ as amaranth_version
from amaranth.hdl import Const, Value, signed, unsigned

from fewbits.deploy.hardware import (
    ENGINE_ROUNDINGS,
    ConvolutionEngine,
    EngineDesign,
    between,
    component_module,
    logic_module,
    rounded_shift,
    saturated,
    synthesize,
    wrapped,
    yosys_version,
)
from fewbits.io.files import write_aside

ANSWERS = Path(__file__).with_name("gates.json")
BITS = range(4, 17)


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


def synthesized(parts: list[Part]) -> Iterator[dict[str, int]]:
    """Yield what Yosys counts in each part."""
    for found in synthesize(logic_module(part.make, part.shapes) for part in parts):
        yield {name: n for name, n in found.items() if name != "memories"}


def engines() -> Iterator[dict[str, Any]]:
    """Yield what whole engines take in an iCE40: with words of each width, and with each rounding alone."""
    size = {"columns": 64, "places": 256, "sum_bits": 24}
    designs = [EngineDesign(word_bits=bits, **size) for bits in (4, 8, 16)]
    designs += [EngineDesign(word_bits=8, roundings=(rounding,), **size) for rounding in ENGINE_ROUNDINGS]
    modules = (component_module(ConvolutionEngine(design)) for design in designs)
    for design, found in zip(designs, synthesize(modules, ["ice40"]), strict=True):
        yield {"design": asdict(design)} | found


def versions() -> dict[str, str]:
    """Return the versions of the tools."""
    return {"yosys": yosys_version(), "amaranth": amaranth_version}


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
