"""The C of an integer network, compiled on this machine and called from Python."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fewbits.deploy.c import c_sources, write_c
from fewbits.deploy.cmsis_nn import find_cmsis_nn
from fewbits.deploy.integer import IntegerNetwork
from fewbits.errors import InputError

COMPILERS = ("cc", "gcc", "clang")
FLOAT = "_f16", "_f32", "_flt"  # ends of the names of what is not for integers, in CMSIS-NN


def find_compiler() -> str | None:
    """Return the name of a C compiler on this machine; None if there is none."""
    return next((name for name in COMPILERS if shutil.which(name)), None)


class CRunner:
    """An integer network that runs as compiled C.

    Attributes:
        image_shape: (height, width, channels) of an image; of the first input, if there are several.
        levels: Pixels are below this number.
        memory: Bytes that the C takes, as `write_c` returns them.
    """

    def __init__(self, network: IntegerNetwork, *flags: str, packed: bool = True, kernels: str = "own"):
        """Write `network` as C and compile it.

        Args:
            network: An integer network.
            flags: Options of the compiler, by default -O3.
            packed: As in `write_c`.
            kernels: As in `write_c`. CMSIS-NN is compiled, too; the environment variable CMSIS_NN names its folder.

        Raises:
            InputError: when there is no C compiler or no CMSIS-NN, and as `write_c`.
        """
        name = find_compiler()
        if name is None:
            raise InputError(f"there is no C compiler; install one of {', '.join(COMPILERS)}")
        self.image_shape, self.levels = network.image.shape, network.image.high + min(network.mean) + 1
        with TemporaryDirectory() as folder:
            source = Path(folder, "network")
            self.memory = write_c(network, source, packed, kernels=kernels)
            [path] = c_sources(source)
            library = path.with_suffix(".so")
            options = ["-std=c99", "-shared", "-fPIC", *(flags or ("-O3",))]
            options += _cmsis_nn() if kernels == "cmsis-nn" else []
            subprocess.run([name, *options, path, "-o", library], check=True, capture_output=True)
            self._call = getattr(ctypes.CDLL(str(library)), f"{path.stem}_run")  # once loaded, the file is not needed
        self._shapes = [network.tensors[i].shape for i in network.inputs]
        self._sizes = [network.tensors[output.tensor].size for output in network.results]

    def run(self, *images: np.ndarray) -> np.ndarray:
        """Return the codes of the first output for one image per input.

        Args:
            images: Pixels (uint8), (height, width, channels); a sequence and a vector may leave out the axes of one row
                and one column.

        Returns:
            Codes (int32), flat.

        Raises:
            InputError: when an image has another type or shape, or when there are more or fewer than inputs.
        """
        return self.run_all(*images)[0]

    def run_all(self, *images: np.ndarray) -> list[np.ndarray]:
        """Return the codes of every output for one image per input.

        Args:
            images: As in `run`.

        Returns:
            Codes (int32), flat, of each output.

        Raises:
            InputError: as `run`.
        """
        if len(images) != len(self._shapes):
            raise InputError(f"the network has {len(self._shapes)} inputs, not {len(images)}")
        pixels = [np.ascontiguousarray(image) for image in images]
        for image, shape in zip(pixels, self._shapes):
            if image.dtype != np.uint8 or (1,) * (3 - image.ndim) + image.shape != shape:
                raise InputError(f"an image must be uint8 {shape}, not {image.dtype} {image.shape}")
        codes = [np.empty(size, np.int32) for size in self._sizes]
        self._call(*(array.ctypes.data_as(ctypes.c_void_p) for array in (*pixels, *codes)))
        return codes


def _cmsis_nn():
    """Return the options that compile CMSIS-NN as well."""
    folder = find_cmsis_nn()
    if folder is None:
        raise InputError(
            "the environment variable CMSIS_NN does not name a folder of CMSIS-NN, with Include and Source"
        )
    sources = [path for path in sorted(folder.glob("Source/*/*.c")) if not path.stem.endswith(FLOAT)]
    return ["-DCMSIS_NN_USE_SINGLE_ROUNDING", "-isystem", folder / "Include", *sources]
