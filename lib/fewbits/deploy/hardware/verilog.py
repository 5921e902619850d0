"""The engine as Verilog, and a testbench that runs a job on it from files."""

import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import numpy as np

from fewbits.deploy.hardware.design import EngineDesign
from fewbits.deploy.hardware.job import EngineJob
from fewbits.deploy.hardware.register_map import ADDRESSES, COUNTERS
from fewbits.deploy.hardware.stream_items import code_items, filter_items, port_bits, weight_items
from fewbits.errors import needs_extra

# Habits of generated code that Verilator's -Wall reports: parts of signals without a reader, operands of unequal width,
# cases that keep a value, several modules in a file, names that repeat.
WAIVED = "UNUSEDSIGNAL", "WIDTH", "CASEINCOMPLETE", "DECLFILENAME", "VARHIDDEN"

# Amaranth sets each word of a memory to 0, a line each: megabytes for a large plane. The engine writes a partial sum
# before it reads it, and masks pixels of no plane, so that its memories may hold anything.
_CLEARED = re.compile(r"^  initial begin\n(?:    \w+\[\d+\] = \d+'h0+;\n)+  end\n", re.M)


def engine_verilog(design: EngineDesign) -> str:
    """Return the Verilog of an engine; its top module is `engine`.

    Args:
        design: The engine.

    Raises:
        InputError: when Amaranth is not installed.
    """
    with needs_extra("hardware", "Engines in Verilog"):
        from amaranth.back.verilog import convert

        from fewbits.deploy.hardware.convolution_engine import ConvolutionEngine
    text = convert(ConvolutionEngine(design), name="engine", emit_src=False, strip_internal_attrs=True)
    waived = "".join(f"/* verilator lint_off {rule} */\n" for rule in WAIVED)
    return f"`timescale 1ns / 1ps\n{waived}{_CLEARED.sub('', text)}"


def testbench_verilog(design: EngineDesign) -> str:
    """Return the Verilog of a testbench for an engine; it runs the job of a folder that `write_job` wrote.

    Args:
        design: The engine.
    """
    text = resources.files("fewbits.deploy").joinpath("templates", "testbench.sv").read_text()
    numbers = port_bits(design) | {"code": design.code_bits, "filter_count": design.filters}
    numbers |= {"first_counter": ADDRESSES[COUNTERS[0]], "counters": len(COUNTERS)}
    return re.sub("@([a-z_]+)@", lambda match: str(numbers[match[1]]), text)


def write_job(job: EngineJob, design: EngineDesign, folder: Path, codes: np.ndarray) -> None:
    """Write what a job's streams carry, and the registers, as files of hexadecimal numbers.

    Args:
        job: The job.
        design: The engine.
        folder: A folder that exists.
        codes: Input codes, (height, width, channels).
    """
    mask = 2**design.pixel_bits - 1
    registers = [(ADDRESSES[name], value & 0xFFFFFFFF) for name, value in job.registers.items()]
    (folder / "registers.mem").write_text("".join(f"{address:x} {value:x}\n" for address, value in registers))
    for name, items in (
        ("pixels", (int(code) & mask for code in job.pixels(codes))),
        ("weights", weight_items(job, design)),
        ("filters", filter_items(job, design)),
    ):
        _write(folder / f"{name}.mem", items)


def write_codes(job: EngineJob, design: EngineDesign, folder: Path, codes: np.ndarray) -> None:
    """Write the output codes that a job should have, as `write_job`.

    Args:
        job: The job.
        design: The engine.
        folder: A folder that exists.
        codes: Output codes, (height, width, channels).
    """
    _write(folder / "codes.mem", code_items(job, design, codes))


def _write(path: Path, items: Iterable[int]) -> None:
    path.write_text("".join(f"{item:x}\n" for item in items))
