"""How fast the engine in gates computes: python data/reference/engine_speed.py writes engine_speed.json.

Verilator compiles the engine; it takes some minutes. All streams are fast enough to never wait. Codes are compared
with those of the integer network. The engine has words of 16 bits, as that of PULP.

    LeNet, SqueezeNet of the digits   a word; weights of 16, 8 and 4 bits
    SqueezeNet v1.1, 224 x 224        eight words; weights of 8 bits, drawn

Of layers with the same shape and formats, the first one is simulated. A run computes as many filters as fit. Of a layer
that takes more than a million cycles, only the first runs are simulated; each further run adds a cycle per pixel.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from amaranth import __version__ as amaranth_version

from fewbits import data, formats_for, quantize_model, zoo
from fewbits.backend import keras
from fewbits.deploy import lower
from fewbits.deploy.hardware import (
    VERILATOR,
    EngineDesign,
    EngineJob,
    EngineRunner,
    compute_tensors,
    design_for,
    ideal_cycles,
    peak_macs,
    plan_jobs,
)
from fewbits.deploy.integer import IntegerNetwork
from fewbits.experiment import provenance
from fewbits.io.files import write_aside

ANSWERS = Path(__file__).with_name("engine_speed.json")
MOST_CYCLES = 1_000_000  # that a layer is simulated for
DIGITS = data.load("digits")


def digits_networks(name: str, weights: str | None) -> dict[int, IntegerNetwork]:
    """Return a network for digits by the bits of its weights; weights that are not stored are drawn."""
    keras.utils.set_random_seed(1)
    model = zoo.build(name, DIGITS.image_shape, 10, weights=weights)
    quantized, networks = quantize_model(model, rounding="nearest"), {}
    for bits in (16, 8, 4):
        quantized.set_formats(formats_for(quantized, DIGITS.arrays("train", 64)[0], (bits, 8, 8)))
        networks[bits] = lower(quantized, levels=DIGITS.levels)
    return networks


def photograph_networks() -> dict[int, IntegerNetwork]:
    """Return SqueezeNet v1.1 for photographs; the formats are those of noise."""
    keras.utils.set_random_seed(1)
    quantized = quantize_model(zoo.build("squeezenet_v1_1", (224, 224, 3), 1000), rounding="nearest")
    noise = np.random.default_rng(1).random((2, 224, 224, 3), np.float32)
    quantized.set_formats(formats_for(quantized, noise, (8, 8, 8)))
    return {8: lower(quantized, levels=256)}


def common_design(networks: dict[int, IntegerNetwork], words: int) -> EngineDesign:
    """Return an engine with words of 16 bits for all networks, which differ only in their formats."""
    designs = [design_for(network, words) for network in networks.values()]
    return replace(designs[0], word_bits=16, sum_bits=max(design.sum_bits for design in designs))


def simulated(job: EngineJob, runner: EngineRunner, codes: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Return the cycles of a job, what they waited for, and how many of its codes differ from those expected."""
    of_run = ideal_cycles(job) // len(job.slots)
    runs = min(len(job.slots), max(1, MOST_CYCLES // of_run))
    windows = len(job.weights) // len(job.slots)  # rows of weights of a run
    parts = {name: getattr(job, name)[:runs] for name in ("planes", "slots", "filters")}
    part = replace(job, **parts, weights=job.weights[: runs * windows], registers=job.registers | {"runs": runs})
    found = runner.run_job(part, codes)
    taken = np.unique(part.slots[part.slots >= 0])
    counters = dict(runner.counters[job.layer])
    return {
        "cycles": counters.pop("cycles") + (len(job.slots) - runs) * of_run,
        "waits": counters,
        "simulated_runs": runs,
        "codes": found[..., taken].size,
        "different": int((found != expected)[..., taken].sum()),
    }


def layers(network: IntegerNetwork, runner: EngineRunner, design: EngineDesign, image: np.ndarray) -> Iterator[dict]:
    """Yield what each layer takes; a layer of the same shape as an earlier one takes the same."""
    jobs = plan_jobs(network, design)
    made = compute_tensors(network, [image], {}, lambda job, codes: codes)
    kernels = {operation.layer: operation for operation in network.convolutions}
    like: dict[tuple, dict] = {}
    for number, job in jobs.items():
        operation = kernels[job.layer]
        settings = [value for name, value in job.registers.items() if name not in ("low", "high")]
        shape = job.input.shape, job.output.shape, operation.kernel.shape, *settings
        if shape in like:
            row = like[shape] | {"simulated_runs": 0, "codes": 0, "different": 0}
        else:
            row = like[shape] = simulated(job, runner, made[job.reads], made[number])
            print(f"{network.name} {job.layer}: {row}", flush=True)
        yield {
            "layer": job.layer,
            "kernel": operation.kernel.shape[:2],
            "stride": operation.strides[0],
            "input": job.input.shape,
            "output": job.output.shape,
            "weight_bits": 4 << job.registers["slices"],
            "runs": len(job.slots),
            "passes": job.planes.size,
            "macs": job.macs,
            "peak_macs": peak_macs(job, design),
            "ideal_cycles": ideal_cycles(job),
        } | row


def as_lines(network: dict[str, Any]) -> str:
    """Return a network in JSON, a line for each layer."""
    head = [f'  "{key}": {json.dumps(value)}' for key, value in network.items() if key != "layers"]
    rows = ",\n".join(f"   {json.dumps(row)}" for row in network["layers"])
    return "  {\n" + ",\n".join([*head, f'  "layers": [\n{rows}\n  ]']) + "\n  }"


def main() -> None:
    """Simulate all networks, and write what they take."""
    began = time.monotonic()
    lenet, squeezenet = digits_networks("lenet", None), digits_networks("squeezenet_digits", "squeezenet_digits")
    noise = np.random.default_rng(2).integers(0, 256, (224, 224, 3))
    found = []
    for name, networks, words, image in (
        ("LeNet, digits", lenet, 1, DIGITS.test.images[0]),
        ("SqueezeNet, digits", squeezenet, 1, DIGITS.test.images[0]),
        ("SqueezeNet v1.1", photograph_networks(), 8, noise),
    ):
        design = common_design(networks, words)
        runner = EngineRunner(next(iter(networks.values())), design)
        for bits, network in networks.items():
            rows = list(layers(network, runner, design, image))
            found.append({"network": name, "bits": bits, "design": asdict(design), "layers": rows})
    said = subprocess.run([VERILATOR, "--version"], check=True, capture_output=True, text=True).stdout
    run = provenance.describe(DIGITS.checksum, None, time.monotonic() - began)
    tools = {"verilator": re.match(r"Verilator ([\d.]+)", said)[1], "amaranth": amaranth_version}
    head = {"command": "python data/reference/engine_speed.py", "run": run, "tools": tools}
    lines = [f' "{key}": {json.dumps(value)}' for key, value in head.items()]
    lines.append(' "networks": [\n' + ",\n".join(map(as_lines, found)) + "\n ]")
    with write_aside(ANSWERS) as file:
        file.write(("{\n" + ",\n".join(lines) + "\n}\n").encode())


if __name__ == "__main__":
    main()
