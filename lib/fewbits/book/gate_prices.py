"""What arithmetic costs in gates: `data/reference/gates.py` synthesized it, chapters show it."""

import json
from dataclasses import dataclass
from typing import Any

from fewbits.book import reference
from fewbits.errors import InputError


@dataclass(frozen=True)
class GatePrices:
    """Prices for codes of 4 to 16 bits.

    What is counted: `luts` are lookup tables of four inputs in an iCE40, `carries` the cells of its carry chains and
    `ice40_path` the longest path through both; `cells` are AND, OR, XOR, NOT and MUX, and `path` the longest path
    through these; `flip_flops` are the bits of the register that holds the result.

    Attributes:
        parts: Names of parts with what they cost, as in gates.json.
        engines: Whole engines: their `design`, with what they cost.
        made_with: A sentence that names the tools.
    """

    parts: tuple[dict[str, Any], ...]
    engines: tuple[dict[str, Any], ...]
    made_with: str

    def cost(self, bits: int, unit: str, what: str = "luts", **kind: str) -> int:
        """Return what a part costs.

        Args:
            bits: Bits of a code, from 4 to 16.
            unit: `multiply`, `accumulate`, `sum_pixels` or `round`.
            what: What is counted.
            **kind: What else names it: `pixels` (of products and sums of pixels) and `codes` (of roundings) are
                `signed` or `unsigned`, `overflow` (of sums) is one of OVERFLOWS, `rounding` one of ENGINE_ROUNDINGS,
                and `shift` is `layer` for a wired one, `filter` for a shifter.

        Raises:
            InputError: when this does not name one part.
        """
        named = {"bits": bits, "unit": unit, **kind}
        found = [part for part in self.parts if named.items() <= part.items()]
        if len(found) != 1:
            words = ", ".join(f"{name} {value}" for name, value in named.items())
            raise InputError(f"{len(found)} of the stored prices are of {words}; name one part")
        return found[0][what]

    def mac(self, bits: int, what: str = "luts") -> int:
        """Return what a product of signed codes costs, and the saturating sum that it is added to.

        Args:
            bits: As in `cost`.
            what: As in `cost`.
        """
        product = self.cost(bits, "multiply", what, pixels="signed")
        return product + self.cost(bits, "accumulate", what, overflow="saturate")

    def rounding(self, bits: int, rounding: str, shift: str = "layer", what: str = "luts") -> int:
        """Return what it costs to shift a sum, round it and clip it to signed codes.

        Args:
            bits: As in `cost`.
            rounding: As in `cost`.
            shift: As in `cost`.
            what: As in `cost`.
        """
        return self.cost(bits, "round", what, rounding=rounding, shift=shift, codes="signed")

    def above_floor(self, bits: int, rounding: str, shift: str = "layer", what: str = "luts") -> int:
        """Return what a rounding costs more than to round down.

        Args:
            bits: As in `cost`.
            rounding: As in `cost`.
            shift: As in `cost`.
            what: As in `cost`.
        """
        return self.rounding(bits, rounding, shift, what) - self.rounding(bits, "floor", shift, what)


def load_gate_prices() -> GatePrices:
    """Return the prices that are stored in `data/reference/gates.json`."""
    stored = json.loads((reference.FOLDER / "gates.json").read_text())
    run = stored["run"]
    made_with = f"{run['yosys']}, Amaranth {run['amaranth']}, {run['written']}."
    return GatePrices(tuple(stored["parts"]), tuple(stored["engines"]), made_with)
