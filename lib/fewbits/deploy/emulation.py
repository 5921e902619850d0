"""The C of an integer network on an emulated microcontroller: its codes, and the memory and instructions that it takes.

A cross compiler makes the firmware, and QEMU runs it with one step of its clock per instruction, so that the count of
instructions is exact. It does not know the cycles that an instruction takes. On Debian:

    apt-get install gcc-arm-none-eabi qemu-system-arm gcc-riscv64-unknown-elf qemu-system-misc
"""

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from fewbits.deploy.c import TEMPLATES, c_sources, identifier, write_c
from fewbits.deploy.integer import IntegerNetwork
from fewbits.errors import InputError, check_name
from fewbits.names import DEVICES

HARNESS = TEMPLATES / "device"
STACK_BYTES = 2**16
# There is no library, but the compiler may know what its functions do.
COMPILED = "-std=c99 -ffreestanding -fbuiltin -ffunction-sections -fdata-sections".split()


class Board(NamedTuple):
    """A core, the compiler for it, and the emulator that executes its code.

    Attributes:
        tools: What the names of the compiler and of its companions begin with.
        flags: Options of the compiler that name the core.
        emulator: QEMU, the board, and what it counts with.
        ticks: Ticks of the board's counter for each instruction.
        header: The template with what the board does in its own way.
        code: Address of code and constants.
        data: Address of memory.
        packages: Debian's packages of the compiler and of the emulator.
    """

    tools: str
    flags: tuple[str, ...]
    emulator: tuple[str, ...]
    ticks: float
    header: str
    code: int
    data: int
    packages: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        """The programs among compiler and emulator that this machine lacks."""
        return [name for name in (f"{self.tools}gcc", self.emulator[0]) if not shutil.which(name)]


def _cortex(core: str, board: str) -> Board:
    """Return a Cortex-M. Its board counts 40 ns, and an instruction takes 2**8 ns."""
    flags = (f"-mcpu={core}", "-mthumb", "-mfloat-abi=soft")
    emulator = ("qemu-system-arm", "-machine", board, "-icount", "shift=8")
    packages = ("gcc-arm-none-eabi", "qemu-system-arm")
    return Board("arm-none-eabi-", flags, emulator, 2**8 / 40, "board_arm.h", 0, 0x20000000, packages)


BOARDS = {
    # No board of QEMU with a Cortex-M0 has the memory; a Cortex-M3 executes all of its instructions.
    "cortex-m0plus": _cortex("cortex-m0plus", "mps2-an385"),
    "cortex-m4": _cortex("cortex-m4", "mps2-an386"),
    "cortex-m7": _cortex("cortex-m7", "mps2-an500"),
    "rv32imc": Board(
        "riscv64-unknown-elf-",
        ("-march=rv32imc_zicsr", "-mabi=ilp32"),
        ("qemu-system-riscv32", "-machine", "virt", "-cpu", "rv32,g=off,a=off,f=off,d=off", "-bios", "none")
        + ("-icount", "shift=0"),
        1,
        "board_riscv.h",
        0x80000000,
        0x81000000,
        ("gcc-riscv64-unknown-elf", "qemu-system-misc"),
    ),
}


class DeviceRun(NamedTuple):
    """What a network did on a device.

    Attributes:
        codes: Codes (int32), (n, size), of each output.
        instructions: Instructions that each image took (int64), (n,).
        stack_bytes: The deepest use of the stack.
    """

    codes: list[np.ndarray]
    instructions: np.ndarray
    stack_bytes: int


class DeviceRunner:
    """An integer network that runs as compiled C on an emulated device.

    Attributes:
        flash_bytes: Code and constants of the network, with what it calls of the compiler's library.
        ram_bytes: Its memory, without the stack.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        device: str,
        *flags: str,
        write: Callable[[IntegerNetwork, Path], Any] = write_c,
    ):
        """Write `network` as C, and make firmware of it.

        Args:
            network: An integer network.
            device: One of DEVICES.
            flags: Options of the compiler, by default -O2.
            write: Writes the C into a folder: `write_c`, or what writes the same header and other sources.

        Raises:
            InputError: when the device is unknown, when the compiler or the emulator is not installed, when the C
                does not compile or fit in the memory of the board, and as `write`.
        """
        check_name("device", device, DEVICES)
        self._board = BOARDS[device]
        if self._board.missing:
            raise InputError(
                f"{device} needs {' and '.join(self._board.missing)}; "
                f"on Debian: apt-get install {' '.join(self._board.packages)}"
            )
        self._shapes = [network.tensors[i].shape for i in network.inputs]
        self._sizes = [network.tensors[output.tensor].size for output in network.results]
        with TemporaryDirectory() as folder:
            self._firmware, sizes = self._made(network, Path(folder), flags or ("-O2",), write)
        self.flash_bytes = sizes[".text"] + sizes[".rodata"] + sizes[".data"]
        self.ram_bytes = sizes[".data"] + sizes[".bss"]

    def run(self, *images: np.ndarray) -> DeviceRun:
        """Run the network on some images.

        Args:
            images: Pixels (uint8), (n, height, width, channels); an array for each input.

        Returns:
            The codes, and what they took.

        Raises:
            InputError: when images have another type or shape, or when there are more or fewer arrays than inputs.
        """
        shapes = [(len(images[0]), *shape) for shape in self._shapes]
        if [x.shape for x in images] != shapes or any(x.dtype != np.uint8 for x in images):
            given = ", ".join(f"{x.dtype} {x.shape}" for x in images)
            raise InputError(f"images must be uint8 {', '.join(map(str, shapes))}, not {given}")
        pixels = np.concatenate([x.reshape(len(x), -1) for x in images], axis=1)
        with TemporaryDirectory() as folder:
            Path(folder, "firmware").write_bytes(self._firmware)
            Path(folder, "images").write_bytes(pixels.tobytes())
            options = "-kernel firmware -display none -monitor none -serial none -semihosting-config".split()
            _call(Path(folder), *self._board.emulator, *options, "enable=on,target=native")
            record = [("ticks", "<u4"), ("stack", "<u4"), ("codes", "<i4", sum(self._sizes))]
            found = np.fromfile(Path(folder, "found"), record)
        codes = np.split(found["codes"], np.cumsum(self._sizes)[:-1], axis=1)
        instructions = np.rint(found["ticks"] / self._board.ticks).astype(np.int64)
        return DeviceRun(codes, instructions, int(found["stack"].max()))

    def _made(
        self,
        network: IntegerNetwork,
        folder: Path,
        flags: Sequence[str],
        write: Callable[[IntegerNetwork, Path], Any],
    ) -> tuple[bytes, Counter[str]]:
        """Return the firmware, and the bytes of each of its sections."""
        write(network, folder / "network")
        sources = [path.name for path in c_sources(folder / "network")]
        compiler = [f"{self._board.tools}gcc", *self._board.flags]
        _call(folder / "network", *compiler, *COMPILED, *flags, "-I.", "-c", *sources)
        self._fill(folder, identifier(network.name))
        options = ["-O1", "-fno-tree-loop-distribute-patterns", "-Inetwork", "-c", "main.c", "memory.c"]
        _call(folder, *compiler, *COMPILED, *options)
        objects = ["main.o", "memory.o", *(f"network/{Path(name).stem}.o" for name in sources)]
        linked = ["-nostdlib", "-T", "link.ld", "-Wl,--gc-sections", *objects, "-lgcc", "-o", "firmware"]
        _call(folder, *compiler, *linked)
        lines = _call(folder, f"{self._board.tools}size", "-A", "-d", "firmware").splitlines()
        rows = [line.split() for line in lines if line.startswith(".")]
        return (folder / "firmware").read_bytes(), Counter({name: int(size) for name, size, _ in rows})

    def _fill(self, folder: Path, name: str) -> None:
        """Write what runs the network, filled in for it."""
        board, sizes = self._board, [int(np.prod(shape)) for shape in self._shapes]
        places = [f"images + {start}" for start in np.cumsum([0, *sizes[:-1]])]
        places += [f"found.codes + {start}" for start in np.cumsum([0, *self._sizes[:-1]])]
        fields = {"name": name, "arguments": ", ".join(places), "image_bytes": sum(sizes), "codes": sum(self._sizes)}
        fields |= {"code": hex(board.code), "data": hex(board.data), "stack": STACK_BYTES}
        for file in ("main.c", "memory.c", "link.ld"):
            (folder / file).write_text(Template((HARNESS / file).read_text()).substitute(fields))
        (folder / "board.h").write_text((HARNESS / board.header).read_text())


def _call(folder: Path, *command: Any) -> str:
    """Run a program in a folder; return what it prints."""
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout
