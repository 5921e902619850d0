"""A network as a project in Verilog: the engine, a testbench, and its layers as memory files."""

import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from fewbits.deploy.c import identifier
from fewbits.deploy.hardware.design import EngineDesign
from fewbits.deploy.hardware.job import EngineJob, design_for, ideal_cycles, plan_jobs
from fewbits.deploy.hardware.register_map import REGISTERS
from fewbits.deploy.hardware.stream_items import port_bits
from fewbits.deploy.hardware.tensors import compute_tensors
from fewbits.deploy.hardware.verilog import engine_verilog, testbench_verilog, write_codes, write_job
from fewbits.deploy.integer import IntegerNetwork
from fewbits.io.files import folder_aside

PORTS = (
    ("address", "in", "address of a register"),
    ("write", "in", "whether the register is written"),
    ("write_data", "in", "what is written to it"),
    ("read_data", "out", "what it holds"),
    ("pixels", "in, a stream", "a pixel"),
    ("weights", "in, a stream", "weights of a row of the window"),
    ("filters", "in, a stream", "bias and shift of each filter"),
    ("codes", "out, a stream", "a code of each filter"),
)


def write_verilog(
    network: IntegerNetwork, images: Sequence[np.ndarray], folder: Path | str, words: int = 1
) -> EngineDesign:
    """Write an engine for a network, and the network's layers as jobs for it.

    Args:
        network: The integer network.
        images: Pixels of the example, integers (height, width, channels), one image per input.
        folder: The folder to write, whole or not at all; it must not exist yet, or be empty.
        words: How many words of weights the engine multiplies each pixel by in a cycle.

    Returns:
        The engine.

    Raises:
        InputError: when Amaranth is not installed; naming the layer, when no engine computes it; when `folder` is not
            empty or cannot be created.
    """
    design = design_for(network, words)
    jobs = plan_jobs(network, design)
    verilog = engine_verilog(design)
    made = compute_tensors(network, images, {}, lambda job, codes: codes)
    with folder_aside(folder) as aside:
        (aside / "engine.v").write_text(verilog)
        (aside / "testbench.sv").write_text(testbench_verilog(design))
        (aside / "Makefile").write_text(_template("engine.make"))
        folders = {number: f"{n:02d}-{identifier(job.layer)}" for n, (number, job) in enumerate(jobs.items(), 1)}
        (aside / "README.md").write_text(_readme(network, design, jobs, folders))
        for number, job in jobs.items():
            place = aside / "layers" / folders[number]
            place.mkdir(parents=True)
            write_job(job, design, place, made[job.reads])
            write_codes(job, design, place, made[number])
    return design


def _template(name: str) -> str:
    return resources.files("fewbits.deploy").joinpath("templates", name).read_text()


def _readme(network: IntegerNetwork, design: EngineDesign, jobs: dict[int, EngineJob], folders: dict[int, str]) -> str:
    bits = {"write": 1, "write_data": 32, "read_data": 32} | port_bits(design)
    computed = {job.layer for job in jobs.values()}
    rest = dict.fromkeys(operation.layer for operation in network.operations if operation.layer not in computed)
    fields = {
        "name": network.name,
        **vars(design),
        "multipliers": design.window**2 * design.words,
        "at_once": ", ".join(f"{many} with weights of {bits} bits" for bits, many in design.weight_widths.items()),
        "ports": _rows((f"`{name}`", way, bits[name], carries) for name, way, carries in PORTS),
        "registers": _rows((n, f"`{r.name}`", r.bits, r.meaning) for n, r in enumerate(REGISTERS)),
        "layers": _rows(
            (f"`{folders[n]}`", *job.planes.shape, f"{ideal_cycles(job):,}", f"{job.macs:,}") for n, job in jobs.items()
        ),
        "rest": ", ".join(f"`{layer}`" for layer in rest) or "nothing but the rounding of layers' inputs",
    }
    return re.sub("@([a-z_]+)@", lambda match: str(fields[match[1]]), _template("engine.md"))


def _rows(rows: Iterable[tuple[object, ...]]) -> str:
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
