"""The C of a network of integers, compiled on this machine and called from Python."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fewbits.deploy.c import write_c
from fewbits.deploy.integer import IntegerNetwork
from fewbits.errors import InputError

COMPILERS = ("cc", "gcc", "clang")


def find_compiler() -> str | None:
    """Return the C compiler of this machine, None if there is none."""
    return next((name for name in COMPILERS if shutil.which(name)), None)


class CRunner:
    """The C of `network`, compiled with `flags`: `run` maps one image, of pixels below `levels`, to its codes.

    memory: as `write_c` returns it. library: the content of the shared library. Raises InputError where there is no C
    compiler, and as `write_c`.
    """

    def __init__(self, network: IntegerNetwork, *flags: str):
        if find_compiler() is None:
            raise InputError(f"there is no C compiler; install one of {', '.join(COMPILERS)}")
        self.image_shape, self.levels = network.image.shape, network.image.high + min(network.mean) + 1
        with TemporaryDirectory() as folder:
            source = Path(folder, "network")
            self.memory = write_c(network, source)
            [path] = [path for path in source.glob("*.c") if path.name != "main.c"]
            library = path.with_suffix(".so")
            options = ["-std=c99", "-shared", "-fPIC", *(flags or ("-O3",))]
            subprocess.run([find_compiler(), *options, path, "-o", library], check=True, capture_output=True)
            self.library = library.read_bytes()
            self._call = getattr(ctypes.CDLL(str(library)), f"{path.stem}_run")  # loaded: the file may go
        self._codes = np.empty(network.tensors[-1].size, np.int32)

    def run(self, image) -> np.ndarray:
        """Return the codes (int32, flat) of the logits of `image`, uint8 (height, width, channels)."""
        image = np.ascontiguousarray(image)
        if image.dtype != np.uint8 or image.shape != self.image_shape:
            raise InputError(f"an image must be uint8 {self.image_shape}, not {image.dtype} {image.shape}")
        self._call(*(array.ctypes.data_as(ctypes.c_void_p) for array in (image, self._codes)))
        return self._codes.copy()
