"""What logic costs: Yosys makes gates or lookup tables of it, and counts them."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from fewbits.errors import InputError, needs_extra

with needs_extra("hardware", "Engines in gates"):
    from amaranth.back import rtlil
    from amaranth.hdl import Elaboratable, Module, ShapeLike, Signal, Value

YOSYS = "yosys"
SYNTHESES = {
    "gates": "synth -flatten -top top; dfflegalize -cell $_DFF_P_ 01; abc -g AND,OR,XOR,MUX; opt_clean",
    "ice40": "synth_ice40 -top top",
}
LONGEST = {"gates": "ltp -noff", "ice40": "ltp w:* t:SB_LUT4 t:SB_CARRY"}  # between registers and memories


def logic_module(make: Callable[..., Value], shapes: Iterable[ShapeLike], *, held: bool = True) -> str:
    """Return the text of a module, for Yosys, with inputs in0, in1, ... and the output out.

    Args:
        make: Returns what is computed from the inputs.
        shapes: Shapes of the inputs.
        held: Whether a register holds the output.
    """
    m, inputs = Module(), [Signal(shape, name=f"in{i}") for i, shape in enumerate(shapes)]
    result = make(*inputs)
    output = Signal(Value.cast(result).shape(), name="out", reset_less=True)
    domain = m.d.sync if held else m.d.comb
    domain += output.eq(result)
    return rtlil.convert(m, ports=[*inputs, output], name="top")


def component_module(component: Elaboratable) -> str:
    """Return the text of a module, for Yosys, from a component.

    Args:
        component: For example a `ConvolutionEngine`.
    """
    return rtlil.convert(component, name="top")


def synthesize(modules: Iterable[str], kinds: Iterable[str] = tuple(SYNTHESES)) -> list[dict[str, int]]:
    """Return what Yosys counts in each module.

    Args:
        modules: Texts of modules.
        kinds: What to make of them: `gates`, `ice40` or both.

    Returns:
        For each module: `cells` (AND, OR, XOR, NOT and MUX), `flip_flops` and the longest `path` in gates; `luts` of
        four inputs, `carries`, `ice40_flip_flops`, `memories` and the longest `ice40_path` in an iCE40.

    Raises:
        InputError: when Yosys is not installed.
    """
    modules, kinds = list(modules), list(kinds)
    with TemporaryDirectory() as temporary:
        folder, steps = Path(temporary), []
        for n, text in enumerate(modules):
            (folder / f"{n}.il").write_text(text)
            for kind in kinds:
                said = f"tee -a {n}.{kind}"
                steps.append(
                    f"design -reset; read_rtlil {n}.il; {SYNTHESES[kind]}; {said} stat; {said} {LONGEST[kind]}"
                )
        run_yosys(folder, "; ".join(steps))
        found = [{kind: (folder / f"{n}.{kind}").read_text() for kind in kinds} for n in range(len(modules))]
    read = {"gates": _in_gates, "ice40": _in_ice40}
    return [{k: v for kind, said in each.items() for k, v in read[kind](said).items()} for each in found]


def lookup_tables(make: Callable[..., Value], *shapes: ShapeLike) -> int:
    """Return how many lookup tables of four inputs logic needs in an iCE40.

    Args:
        make: Returns what is computed from the inputs.
        *shapes: Shapes of the inputs.

    Raises:
        InputError: when Yosys is not installed.

    Example:
        >>> lookup_tables(lambda total: total >> 8, 24)
        0
    """
    return synthesize([logic_module(make, shapes)], ["ice40"])[0]["luts"]


def run_yosys(folder: Path, steps: str) -> None:
    """Run Yosys in a folder.

    Args:
        folder: Where the files are that the steps name.
        steps: Commands, with "; " between them.

    Raises:
        InputError: when Yosys is not installed.
    """
    if not shutil.which(YOSYS):
        raise InputError(f"there is no {YOSYS}; install it to count gates")
    (folder / "steps.ys").write_text(steps.replace("; ", "\n"))
    subprocess.run([YOSYS, "-q", "steps.ys"], cwd=folder, check=True, capture_output=True)  # it warns on stderr


def yosys_version() -> str:
    """Return the name and the version of Yosys."""
    return subprocess.run([YOSYS, "-V"], check=True, capture_output=True, text=True).stdout.split(" (")[0].strip()


def _in_gates(said: str) -> dict[str, int]:
    found = _cells(said)
    flip_flops = found.pop("$_DFF_P_", 0)
    return {"cells": sum(found.values()), "flip_flops": flip_flops, "path": _path(said)}


def _in_ice40(said: str) -> dict[str, int]:
    found = _cells(said)
    kinds = {"luts": "SB_LUT4", "carries": "SB_CARRY", "memories": "SB_RAM40_4K"}
    counts = {name: found.get(kind, 0) for name, kind in kinds.items()}
    flip_flops = sum(n for name, n in found.items() if name.startswith("SB_DFF"))
    return counts | {"ice40_flip_flops": flip_flops, "ice40_path": _path(said)}


def _cells(said: str) -> dict[str, int]:
    """Return kind of cell -> how many there are, from what `stat` says; versions order a line differently."""
    found = re.findall(r"^ +(?:(\S+) +(\d+)|(\d+) +(\S+))$", said, re.M)
    pairs = ((a or d, int(b or c)) for a, b, c, d in found)
    return {name: n for name, n in pairs if name.startswith(("$_", "SB_"))}


def _path(said: str) -> int:
    """Return the cells on the longest path, from what `ltp` says."""
    return int((re.search(r"length=(\d+)", said) or "00")[1])
