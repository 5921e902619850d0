"""A network whose convolutions run on the engine, as Verilator compiles it; a processor does the rest."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fewbits.deploy.hardware.design import EngineDesign
from fewbits.deploy.hardware.job import EngineJob, plan_jobs
from fewbits.deploy.hardware.register_map import COUNTERS
from fewbits.deploy.hardware.stream_items import codes_of_items
from fewbits.deploy.hardware.tensors import compute_tensors
from fewbits.deploy.hardware.verilog import engine_verilog, testbench_verilog, write_job
from fewbits.deploy.integer import IntegerNetwork
from fewbits.errors import InputError

VERILATOR = "verilator"
_RANDOM_MEMORIES = "+verilator+rand+reset+2"  # when a program starts, as in a device


class EngineRunner:
    """An integer network on a simulated engine.

    Attributes:
        image_shape: (height, width, channels) of an image; of the first input, if there are several.
        jobs: Index of the tensor that a job makes -> the job.
        counters: The engine's counters by layer and name, of the last image.
        codes: How many codes the engine has computed so far.
    """

    def __init__(self, network: IntegerNetwork, design: EngineDesign, stall: int = 0):
        """Compile the engine.

        Args:
            network: The integer network.
            design: The engine.
            stall: How often each stream waits, in percent of cycles.

        Raises:
            InputError: when Verilator or Amaranth is not installed; naming the layer, as `plan_jobs`.
        """
        self.image_shape, self.jobs = network.image.shape, plan_jobs(network, design)
        self.counters: dict[str, dict[str, int]] = {}
        self.codes = 0
        self._network, self._design, self._stall = network, design, stall
        if not shutil.which(VERILATOR):
            raise InputError(f"there is no {VERILATOR}; install it to simulate the engine")
        self._folder = TemporaryDirectory()
        folder = Path(self._folder.name)
        (folder / "engine.v").write_text(engine_verilog(design))
        (folder / "testbench.sv").write_text(testbench_verilog(design))
        _run(VERILATOR, "--binary", "-O3", "--top-module", "testbench", "engine.v", "testbench.sv", folder=folder)

    def run(self, *images: np.ndarray) -> np.ndarray:
        """Return the codes of the first output for one image per input, as `run_all`."""
        return self.run_all(*images)[0]

    def run_all(self, *images: np.ndarray) -> list[np.ndarray]:
        """Return the codes of every output for one image per input.

        Args:
            images: Pixels, integers (height, width, channels).

        Returns:
            Codes (int64), flat, of each output.
        """
        made = compute_tensors(self._network, images, self.jobs, self.run_job)
        return [made[output.tensor].ravel() for output in self._network.results]

    def run_job(self, job: EngineJob, codes: np.ndarray) -> np.ndarray:
        """Return the output codes of a job, (height, width, channels), and keep its counters.

        Args:
            job: A job for the engine.
            codes: Input codes, (height, width, channels).
        """
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_job(job, self._design, folder, codes)
            program = Path(self._folder.name, "obj_dir", "Vtestbench")
            options = f"+job={folder}", f"+codes={folder}/out", f"+stall={self._stall}", _RANDOM_MEMORIES
            said = _run(program, *options, folder=folder)
            numbers = map(int, said.split("counters")[1].split("\n")[0].split())
            self.counters[job.layer] = dict(zip(COUNTERS, numbers, strict=True))
            items = [int(line, 16) for line in (folder / "out").read_text().split()]
        found = job.codes(codes_of_items(items, job, self._design))
        self.codes += found.size
        return found


def _run(*command: object, folder: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()
        raise InputError(f"{command[0]} stops ({(reason or ['it gives no reason'])[0][:200]}); install a newer one")
    return done.stdout
