"""Learned ranges in schedules: they go on from stage to stage, and resume to the same bits."""

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np

from fewbits import Schedule, progressive_quantization
from fewbits.backend import keras, ops
from fewbits.training.loop import read_history
from fewbits.training.recipe import Recipe

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 1, (64, 6, 6, 1)).astype("float32")
LABELS = (IMAGES[:, :3].mean((1, 2, 3)) > IMAGES[:, 3:].mean((1, 2, 3))).astype(int)
RECIPE = Recipe(learning_rate=0.2, batch_size=16, seed=3)


def network(seed=11):
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(x)
    return keras.Model(image, layers.Dense(2, name="last")(layers.Flatten()(x)))


def go(schedule=None, **options):
    schedule = schedule or Schedule(bits=(3, 3, 3), strategy="all-at-once", epochs=4)
    given = {"validation": (IMAGES, LABELS), "recipe": RECIPE, "ranges": "learned-per-filter", **options}
    return progressive_quantization(network(), (IMAGES, LABELS), schedule, **given)


def state(model):
    """Return the bytes of every variable of model and optimizer."""
    return [ops.convert_to_numpy(v).tobytes() for v in (*model.variables, *model.optimizer.variables)]


def ranges(network):
    """Return all learned numbers of a network."""
    return [ops.convert_to_numpy(v) for layer in network.rounding_layers for v in layer.ranges.variables]


def child(checkpoint, epoch, step):
    """Train in a process that dies a moment after a step."""
    die = partial(os.kill, os.getpid(), signal.SIGKILL)

    def watch(now):
        if [str(now.epoch), str(now.step)] == [epoch, step]:
            threading.Timer(0.01, die).start()

    go(checkpoint=Path(checkpoint), resume=True, progress=watch)


def test_killed_it_resumes_to_the_same_bits_of_ranges_and_weights(tmp_path):
    checkpoint = tmp_path / "run.npz"
    process = subprocess.run([sys.executable, __file__, str(checkpoint), "3", "2"], capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert len(read_history(checkpoint)) in (2, 3)
    whole, again = go(), go(checkpoint=checkpoint, resume=True)
    assert again.history == whole.history and state(again.model) == state(whole.model)
    assert all((numbers % 1 != 0.5).any() for numbers in ranges(whole.model))


def test_a_stage_with_the_same_bits_goes_on_from_the_ranges_of_the_one_before():
    seen = {}

    def watch(stage, network):
        name = None if stage is None else len(seen)
        seen[name] = [numbers.copy() for numbers in ranges(network)]

    order = Schedule(bits=(3, 3, 3), strategy="train", epochs=2)
    outcome = go(order, on_stage=watch)
    first = list(outcome.model.formats).index("first")
    assert first == 0
    begun, later = seen[0][0], seen[1][0]  # of the kernel of the first layer, when the first two stages begin
    assert np.all(begun % 1 == 0.5) and not np.array_equal(begun, later) and np.any(later % 1 != 0.5)


def test_locked_layers_keep_their_ranges_in_a_schedule():
    seen = []
    go(Schedule(bits=(3, 3, 3), strategy="lock", epochs=2), on_stage=lambda stage, of: seen.append(ranges(of)))
    per_layer = len(seen[0]) // 2
    after, end = seen[1][:per_layer], seen[-1][:per_layer]
    assert all(np.array_equal(a, b) for a, b in zip(after, end))


if __name__ == "__main__":
    child(*sys.argv[1:])
