"""Time a pass of calibration beside a float pass; and the time and memory of 1,000 photographs.

Processor time counts: other programs disturb it less.
"""

import resource
import time

import numpy as np
import tensorflow as tf
import timing

from fewbits import quantize_model, zoo
from fewbits.backend import keras
from fewbits.quantization.float_network import FloatNetwork
from fewbits.quantization.layerwise import image_shapes
from fewbits.quantization.streaming import AT_ONCE, _Pass, _size, layer_summaries

NETWORKS = {
    "ResNet-50, folded": (keras.applications.ResNet50, True),
    "ResNet-50": (keras.applications.ResNet50, False),
    "MobileNet, folded": (keras.applications.MobileNet, True),
    "SqueezeNet v1.1": (lambda weights: zoo.build("squeezenet_v1_1", (224, 224, 3), 1000), False),
}
BATCH, BATCHES, ROUNDS = 32, 2, 5
PHOTOGRAPHS = 1_000


def photographs(n):
    """Yield n images of 224 x 224 pixels in batches; never all in memory."""
    for i in range(0, n, BATCH):
        yield np.random.default_rng(i).random((min(BATCH, n - i), 224, 224, 3), dtype=np.float32)


def network(kind, fold):
    """Return a network of random weights."""
    keras.utils.set_random_seed(0)
    model = kind(weights=None)
    return quantize_model(model, fold_batch_normalization=True) if fold else model


def compare(model):
    """Return the times of float passes and of calibration's, without the time to compile them."""
    images = list(photographs(BATCH * BATCHES))
    float_network = FloatNetwork(model)
    step = AT_ONCE // _size(float_network, image_shapes(float_network.model, [images[0]]))
    parts = [[x[i : i + step]] for x in images for i in range(0, len(x), step)]
    plain = tf.function(lambda x: float_network.model(x, training=False), autograph=False)
    observed = _Pass(float_network, [images[0]], PHOTOGRAPHS)
    actions = {"float": lambda: [plain(x) for x in images], "calibration": lambda: observed.run(parts, None)}
    for action in actions.values():
        action()
    return timing.interleaved(actions, ROUNDS, 1, time.process_time)


def report():
    for name, (kind, fold) in NETWORKS.items():
        times = compare(network(kind, fold))
        low, middle, high = timing.ratios(times, "float")["calibration"]
        a_second = 1000 * BATCH * BATCHES / np.median(times["calibration"])
        print(f"{name:<22}{a_second:8.1f} images/s    calibration / float {middle:.2f} ({low:.2f} to {high:.2f})")
    print("Goal: calibration takes at most 1.3 times as long as the float passes; 1,000 photographs within 4 GB")
    before = time.perf_counter()
    list(layer_summaries(network(*NETWORKS["ResNet-50"]), photographs(PHOTOGRAPHS), most=PHOTOGRAPHS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"ResNet-50, {PHOTOGRAPHS:,} photographs    {time.perf_counter() - before:.0f} s    peak {peak:.2f} GB")
