"""What the C of a network takes on a microcontroller, as the compiler for it says."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from fewbits.deploy.c import c_sources

CORE = "Cortex-M4"
TOOLS = "arm-none-eabi-"
FLAGS = "-std=c99 -mcpu=cortex-m4 -Os -ffreestanding -ffunction-sections -fdata-sections".split()  # as the Makefile


class Footprint(NamedTuple):
    """Bytes that a network takes on CORE, without what else is in the firmware.

    Attributes:
        flash_bytes: Code and constants.
        ram_bytes: Memory, without the stack.
    """

    flash_bytes: int
    ram_bytes: int


def measure_footprint(folder: Path) -> Footprint | None:
    """Compile a network for CORE and return its size.

    Args:
        folder: What `write_c` wrote.

    Returns:
        Its size; None if the compiler, TOOLS with gcc, is not installed.
    """
    if not shutil.which(f"{TOOLS}gcc"):
        return None
    [source] = c_sources(folder)
    with TemporaryDirectory() as aside:
        compiled = Path(aside, "network.o")
        subprocess.run([f"{TOOLS}gcc", *FLAGS, "-c", source, "-o", compiled], check=True, capture_output=True)
        said = subprocess.run([f"{TOOLS}size", compiled], check=True, capture_output=True, text=True).stdout
    text, data, bss = map(int, said.splitlines()[1].split()[:3])
    return Footprint(text + data, data + bss)
