"""Count what two networks for digits take on emulated microcontrollers: python data/reference/devices.py CMSIS_NN.

CMSIS_NN is a checkout of https://github.com/ARM-software/CMSIS-NN, whose kernels run the same networks. It needs the
cross compilers and emulators of `fewbits.deploy.emulation`. The counts go to devices.json. LeNet's weights are drawn;
what it takes hardly depends on them.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from cmsis_nn import write_with_cmsis_nn

from fewbits import data, formats_for, quantize_model, zoo
from fewbits.backend import keras
from fewbits.deploy import DeviceRunner, lower, write_c
from fewbits.deploy.emulation import BOARDS
from fewbits.deploy.integer import IntegerNetwork
from fewbits.experiment import provenance
from fewbits.io.files import write_rows

NETWORKS = {"LeNet": ("lenet", None), "SqueezeNet": ("squeezenet_digits", "squeezenet_digits")}
OURS, UNPACKED, THEIRS = "ours", "ours, not packed", "CMSIS-NN"
OPTIMIZED = "-O2", "-Os"
IMAGES = 40
DIGITS = data.load("digits")
TARGET = Path(__file__).parent / "devices.json"


def digits_network(name: str, weights: str | None, bits: int) -> IntegerNetwork:
    """Return a network that rounds half up, as CMSIS-NN does."""
    keras.utils.set_random_seed(1)
    model = zoo.build(name, DIGITS.image_shape, 10, weights=weights)
    quantized = quantize_model(model, rounding="nearest-up", fold_batch_normalization=True)
    quantized.set_formats(formats_for(quantized, DIGITS.arrays("train", 64)[0], nbits=(bits,) * 3))
    return lower(quantized, levels=DIGITS.levels)


def measured(network: IntegerNetwork, device: str, optimized: str, kernels: str, write: Callable) -> dict:
    """Return what a network takes on a device, in the C that `write` writes."""
    runner = DeviceRunner(network, device, optimized, write=write)
    images = DIGITS.test.images[:IMAGES]
    found = runner.run(images)
    assert np.array_equal(found.codes[0], network.run(images).reshape(IMAGES, -1)), (network.name, device)
    return {
        "device": device,
        "kernels": kernels,
        "optimized": optimized,
        "flash": runner.flash_bytes,
        "ram": None if kernels == THEIRS else runner.ram_bytes,  # there, tensors do not share memory
        "stack": found.stack_bytes,
        "instructions": round(found.instructions.mean()),
    }


def version(*command: str) -> str:
    """Return the first line that a program prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def main(cmsis_nn: Path) -> None:
    """Measure both networks on all devices."""
    began, rows = time.monotonic(), []
    cmsis_nn = cmsis_nn.resolve()
    writers = {8: {OURS: write_c, THEIRS: partial(write_with_cmsis_nn, cmsis_nn=cmsis_nn)}}
    writers[4] = {OURS: write_c, UNPACKED: partial(write_c, packed=False)}
    for (title, build), bits in product(NETWORKS.items(), writers):
        network = digits_network(*build, bits)
        for device, optimized, (kernels, write) in product(BOARDS, OPTIMIZED, writers[bits].items()):
            if kernels == THEIRS and not device.startswith("cortex"):
                continue
            row = measured(network, device, optimized, kernels, write)
            rows.append({"network": title, "bits": bits, **row})
            print(rows[-1])
    programs = {f"{board.tools}gcc" for board in BOARDS.values()} | {board.emulator[0] for board in BOARDS.values()}
    tools = {name: version(name, "--version") for name in sorted(programs)}
    tools[THEIRS] = version("git", "-C", str(cmsis_nn), "rev-parse", "HEAD")
    run = provenance.describe(DIGITS.checksum, None, time.monotonic() - began)
    head = {"images": IMAGES, "run": run, "tools": tools}
    write_rows(TARGET, head, rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
