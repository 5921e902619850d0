"""How long a network takes for one image, on one thread of this machine, whatever computes it."""

import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from fewbits.io.tflite import LiteRTRunner

WARM_UP = 5  # images before the clock counts


class Latency(NamedTuple):
    """Milliseconds for one image: the median, and the quartiles around it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ms ({self.low:.3f} to {self.high:.3f})"


class Runner(Protocol):
    """A network at work in some runtime."""

    image_shape: tuple[int, int, int]

    def run(self, image: np.ndarray) -> np.ndarray:
        """Return the outputs for one image, (height, width, channels), in float32; in bytes where it has `levels`."""


class KerasRunner:
    """A Keras model at work, traced once; on as many threads as its backend was told to use."""

    def __init__(self, model):
        import tensorflow as tf

        self.image_shape = tuple(model.input_shape[1:])
        image = tf.TensorSpec((1, *self.image_shape), tf.float32)
        self._function = tf.function(lambda x: model(x, training=False)).get_concrete_function(image)

    def run(self, image) -> np.ndarray:
        return self._function(np.asarray(image, np.float32)[np.newaxis]).numpy()[0]


def measure_latency(networks: Mapping[str, bytes | Runner], rounds: int = 100) -> dict[str, Latency]:
    """Return name -> Latency of networks, name -> content of a LiteRT file or what runs, for an image of noise.

    Each round runs every network once, in turn: what slows the machine for a while slows all of them.
    """
    running = {name: LiteRTRunner(net) if isinstance(net, bytes) else net for name, net in networks.items()}
    rng = np.random.default_rng(0)
    images = {name: _noise(network, rng) for name, network in running.items()}
    seconds = {name: [] for name in running}
    for _ in range(WARM_UP + rounds):
        for name, network in running.items():
            start = time.perf_counter()
            network.run(images[name])
            seconds[name].append(time.perf_counter() - start)
    quartiles = {name: np.percentile(taken[WARM_UP:], (50, 25, 75)) * 1000 for name, taken in seconds.items()}
    return {name: Latency(*map(float, found)) for name, found in quartiles.items()}


def _noise(network, rng):
    image = rng.random(network.image_shape, np.float32)
    return (image * network.levels).astype(np.uint8) if hasattr(network, "levels") else image
