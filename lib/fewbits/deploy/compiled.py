"""The C of an integer network, compiled on this machine and called from Python."""

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
    """Return the name of a C compiler on this machine; None if there is none."""
    return next((name for name in COMPILERS if shutil.which(name)), None)


class CRunner:
    """An integer network that runs as compiled C.

    Attributes:
        image_shape: (height, width, channels) of an image.
        levels: Pixels are below this number.
        memory: Bytes that the C takes, as `write_c` returns them.
        library: Content of the shared library.
    """

    def __init__(self, network: IntegerNetwork, *flags: str):
        """Write `network` as C and compile it.

        Args:
            network: An integer network.
            flags: Options of the compiler, by default -O3.

        Raises:
            InputError: when there is no C compiler, and as `write_c`.
        """
        name = find_compiler()
        if name is None:
            raise InputError(f"there is no C compiler; install one of {', '.join(COMPILERS)}")
        self.image_shape, self.levels = network.image.shape, network.image.high + min(network.mean) + 1
        with TemporaryDirectory() as folder:
            source = Path(folder, "network")
            self.memory = write_c(network, source)
            [path] = [path for path in source.glob("*.c") if path.name != "main.c"]
            library = path.with_suffix(".so")
            options = ["-std=c99", "-shared", "-fPIC", *(flags or ("-O3",))]
            subprocess.run([name, *options, path, "-o", library], check=True, capture_output=True)
            self.library = library.read_bytes()
            self._call = getattr(ctypes.CDLL(str(library)), f"{path.stem}_run")  # once loaded, the file is not needed
        self._codes = np.empty(network.tensors[-1].size, np.int32)

    def run(self, image: np.ndarray) -> np.ndarray:
        """Return the codes of the logits of one image.

        Args:
            image: Pixels (uint8), (height, width, channels).

        Returns:
            Codes (int32), flat.

        Raises:
            InputError: when `image` has another type or shape.
        """
        image = np.ascontiguousarray(image)
        if image.dtype != np.uint8 or image.shape != self.image_shape:
            raise InputError(f"an image must be uint8 {self.image_shape}, not {image.dtype} {image.shape}")
        self._call(*(array.ctypes.data_as(ctypes.c_void_p) for array in (image, self._codes)))
        return self._codes.copy()
