"""How long a network takes for one image on one thread of this machine, in any runtime."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from fewbits.backend import keras, ops
from fewbits.io.tflite import LiteRTRunner

WARM_UP = 5  # rounds that are not timed


class Latency(NamedTuple):
    """The time that one image takes.

    Attributes:
        median: Milliseconds.
        low: The lower quartile, in milliseconds.
        high: The upper quartile, in milliseconds.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ms ({self.low:.3f} to {self.high:.3f})"


class Runner(Protocol):
    """A network that runs in some runtime.

    A runner that takes bytes has an attribute `levels`: the number of values that a pixel can have.
    """

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of an image, or (steps, channels) of a sequence."""

    def run(self, image: np.ndarray) -> np.ndarray:
        """Return the outputs for one image.

        Args:
            image: Of `image_shape`, float32, or uint8 if the runner has `levels`.

        Returns:
            The outputs, without the batch.
        """


class KerasRunner:
    """A Keras model that is traced once and runs on the threads that its backend is set to use.

    Attributes:
        image_shape: (height, width, channels) of an image, or (steps, channels) of a sequence.
    """

    image_shape: tuple[int, ...]

    def __init__(self, model: keras.Model):
        """Trace `model`, which takes images of one size."""
        self.image_shape = tuple(model.input_shape[1:])
        self._function: Any = model.predict_on_batch
        if keras.backend.backend() != "tensorflow":
            return
        import tensorflow as tf

        image = tf.TensorSpec((1, *self.image_shape), tf.float32)
        self._function = tf.function(lambda x: model(x, training=False)).get_concrete_function(image)

    def run(self, image: np.ndarray) -> np.ndarray:
        """Return the outputs for one image, as `Runner.run` describes."""
        return ops.convert_to_numpy(self._function(np.asarray(image, np.float32)[np.newaxis]))[0]


def measure_latency(networks: Mapping[Any, bytes | Runner], rounds: int = 100) -> dict[Any, Latency]:
    """Return how long networks take for an image of noise.

    Each round runs every network once, in turn, so whatever slows the machine for a while slows all of them.

    Args:
        networks: Name -> content of a LiteRT file, or a runner.
        rounds: How often each network is timed.

    Returns:
        Name -> latency.
    """
    running: dict[Any, Runner] = {
        name: LiteRTRunner(net) if isinstance(net, bytes) else net for name, net in networks.items()
    }
    rng = np.random.default_rng(0)
    images = {name: _noise(network, rng) for name, network in running.items()}
    seconds: dict[Any, list[float]] = {name: [] for name in running}
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
