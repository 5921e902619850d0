"""Time a training step and an inference of SqueezeNet in 8 bits (kernels, inputs and outputs), relative to float.

With TF_NUM_INTRAOP_THREADS=1 and TF_NUM_INTEROP_THREADS=1 processor time counts, which other programs disturb less.
"""

import os
import time

import numpy as np
import peers
import timing

from fewbits import FixedPoint, zoo
from fewbits.backend import keras
from fewbits.quantization.conversion import quantize_model

FORMATS = FixedPoint(0, 8), FixedPoint(3, 8), FixedPoint(3, 8)  # kernel, input, output
UNSIGNED = FixedPoint(0, 8), FixedPoint(2, 8, signed=False), FixedPoint(2, 8, signed=False)  # to the same limits
BATCH = 128
ROUNDS = 30
REPEATS = 2  # steps per round
FIRST = "first training", "first inference", "partial batch"
FLOAT, XLA, FEWBITS = "float (Keras Conv2D)", "float, jit_compile=True", "fewbits"
VARIANTS = {
    FEWBITS: (FORMATS, "fixed"),
    "fewbits, unsigned": (UNSIGNED, "fixed"),
    "fewbits, learned ranges": (UNSIGNED, "learned"),
    "fewbits, learned per filter": (UNSIGNED, "learned-per-filter"),
}
rng = np.random.default_rng(0)
IMAGES, LABELS = rng.random((BATCH, 32, 32, 3), np.float32), rng.integers(0, 10, BATCH)


def report(rounds=ROUNDS):
    networks = _networks()
    print(f"SqueezeNet for 32 x 32 x 3, batch {BATCH}; 8-bit kernel, input and output, rounded to nearest")
    alone = os.environ.get("TF_NUM_INTRAOP_THREADS") == os.environ.get("TF_NUM_INTEROP_THREADS") == "1"
    clock, threads = (time.process_time, "1 thread, processor time") if alone else (time.perf_counter, "all threads")
    print(f"TensorFlow {_tensorflow().__version__}, Keras {keras.__version__}, {threads}")
    if peers.found():
        print(peers.WHAT)
        _report_agreement(networks)
    first = _first_calls(networks, clock)
    steps = {
        "training": {name: lambda m=model: m.train_on_batch(IMAGES, LABELS) for name, model in networks.items()},
        "inference": {name: lambda m=model: m.predict_on_batch(IMAGES) for name, model in networks.items()},
    }
    print(f"\nratios to float: median (quartiles) of {rounds} rounds, interleaved in one process; first calls once")
    print(f"{'':28}{'training':>22}{'inference':>22}" + "".join(f"{what:>18}" for what in FIRST))
    times = {what: timing.interleaved(actions, rounds, REPEATS, clock) for what, actions in steps.items()}
    of_float = {what: timing.ratios(t, FLOAT) for what, t in times.items()}
    for name in networks:
        cells = ["{1:.2f} ({0:.2f}-{2:.2f})".format(*of_float[what][name]) for what in times]
        print(
            f"{name:28}"
            + "".join(f"{cell:>22}" for cell in cells)
            + "".join(f"{ratio:>18.1f}" for ratio in first[name])
        )
    medians = " and ".join(f"{np.median(t[FLOAT]):.0f} ms" for t in times.values())
    print(
        f"\n{FLOAT}: {medians}. Goals for fewbits: at most 1.20 and 1.10, and faster than both other libraries; "
        "first calls at most 2"
    )


def _networks():
    """Return name -> compiled model; all have the same weights."""
    keras.utils.set_random_seed(0)
    base = zoo.build("squeezenet_chernis_e2", (32, 32, 3), 10)
    networks = {FLOAT: base}
    for name, (formats, ranges) in VARIANTS.items():
        networks[name] = quantize_model(base, formats, rounding="nearest", ranges=ranges)
    known = peers.found()
    for name, build in known.items():
        networks[name] = build(base, FORMATS)
    if not known:
        print("without qkeras-v3 and hgq2, which are not installed: see tests/bench/peers.in")
    networks[XLA] = keras.models.clone_model(base)
    for name, model in networks.items():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, jit_compile=name == XLA)
    return networks


def _report_agreement(networks):
    """Print which share of the first convolution's outputs equals fewbits', bit for bit."""
    first = {
        name: keras.Model(model.inputs, model.get_layer("conv1").output)([IMAGES]).numpy()
        for name, model in networks.items()
        if name not in (FLOAT, XLA, *VARIANTS) or name == FEWBITS
    }
    for name, output in first.items():
        if name != FEWBITS:
            print(f"{name}: {np.mean(output == first[FEWBITS]):.4%} of conv1's outputs equal fewbits'")


def _first_calls(networks, clock):
    """Return name -> how many times as long as float's the first calls take, FIRST: tracing and compiling."""
    warm = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    warm.compile("sgd", "mse")
    warm.train_on_batch(np.zeros((2, 4)), np.zeros((2, 2)))
    warm.predict_on_batch(np.zeros((2, 4)))  # what TensorFlow does once in a process
    seconds = {}
    for name, model in networks.items():
        calls = (
            lambda m=model: m.train_on_batch(IMAGES, LABELS),
            lambda m=model: m.predict_on_batch(IMAGES),
            lambda m=model: m.predict_on_batch(IMAGES[: BATCH // 3]),
        )
        seconds[name] = np.array([timing.milliseconds(call, clock=clock) for call in calls])
        for call in calls:
            call()
    return {name: times / seconds[FLOAT] for name, times in seconds.items()}


def _tensorflow():
    import tensorflow

    return tensorflow
