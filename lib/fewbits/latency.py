"""How long a network takes for one image, on one thread of this machine."""

import time
from typing import NamedTuple

import numpy as np

from fewbits.backend import no_stderr
from fewbits.litert import interpreter

WARM_UP = 5  # images before the clock counts


class Latency(NamedTuple):
    """Milliseconds for one image: the median, and the quartiles around it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ms ({self.low:.3f} to {self.high:.3f})"


def measure(files: dict[str, bytes], rounds: int = 100) -> dict[str, Latency]:
    """Return name -> Latency of LiteRT files (see `litert.convert`), name -> content, for an image of noise.

    Each round runs every file once, in turn: what slows the machine for a while slows all of them.
    """
    running = {name: interpreter(content) for name, content in files.items()}
    for network in running.values():
        with no_stderr():  # TensorFlow tells which instructions it uses
            network.allocate_tensors()
        [image] = network.get_input_details()
        network.set_tensor(image["index"], np.random.default_rng(0).random(image["shape"], np.float32))
    seconds = {name: [] for name in files}
    for _ in range(WARM_UP + rounds):
        for name, network in running.items():
            start = time.perf_counter()
            network.invoke()
            seconds[name].append(time.perf_counter() - start)
    quartiles = {name: np.percentile(taken[WARM_UP:], (50, 25, 75)) * 1000 for name, taken in seconds.items()}
    return {name: Latency(*map(float, found)) for name, found in quartiles.items()}
