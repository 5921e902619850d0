"""A reconstructed start: what training with few bits begins with."""

import numpy as np
import pytest

from fewbits import Schedule, data, progressive_quantization, zoo
from fewbits.backend import keras, ops
from fewbits.post_training import reconstruct_blocks, reconstructed_start
from fewbits.quantization import Calibration
from fewbits.training import Recipe

DIGITS = data.load("digits", validation=0.25)
TRAIN, HELD_OUT = DIGITS.arrays("train", 192), DIGITS.arrays("validation", 128)


@pytest.fixture(scope="module")
def model():
    return zoo.build("squeezenet_digits", (8, 8, 1), 10, weights="squeezenet_digits")


def begun(model, start=None, **options):
    """Return the outcome of a short training to 3 bits, and its accuracy before the first step."""
    fields = {"bits": (3, 3, 3), "strategy": "all-at-once", "epochs": 1, "edge_bits": 8} | options
    outcome = progressive_quantization(
        model,
        TRAIN,
        Schedule(**fields),
        validation=HELD_OUT,
        calibration=Calibration("mse", per_channel=True),
        recipe=Recipe(learning_rate=1e-9, batch_size=64),
        on_stage=start,
    )
    return outcome, outcome.history[0]["val_accuracy_before"]


def test_a_reconstructed_start_reads_more_before_labels_train_it(model):
    told = []
    outcome, before = begun(model, reconstructed_start(TRAIN[0], 10, progress=lambda *now: told.append(now)))
    _, plain = begun(model)
    assert before > plain + 0.05
    assert outcome.history[-1]["val_accuracy"] == pytest.approx(before, abs=0.02)  # and training goes on from it
    assert told[-1][0] == told[-1][1] == 5


def test_it_is_what_block_reconstruction_makes_of_the_network(model):
    found = []

    def enter(stage, network):
        if stage is not None:
            wanted = reconstruct_blocks(network, TRAIN[0][:32], 2, 5)
            start(stage, network)
            pairs = zip(network.quantized_layers, wanted.quantized_layers, strict=True)
            found.extend((a.name, _weights(a), _weights(b)) for a, b in pairs)

    start = reconstructed_start(TRAIN[0][:32], 2, 5)
    begun(model, enter)
    assert len(found) > 5
    for name, one, other in found:
        assert all(map(np.array_equal, one, other)), name


def test_later_stages_begin_with_what_the_stage_before_has_trained(model):
    kernels, start = [], reconstructed_start(TRAIN[0][:32], 2)

    def enter(stage, network):
        before = _weights(network.quantized_layers[1])
        start(stage, network)
        kernels.append((before, _weights(network.quantized_layers[1])))

    begun(model, enter, strategy="gradual", bits=(7, 7, 7))
    (first, begins), *later = kernels
    assert not np.array_equal(first[0], begins[0])
    assert len(later) == 2 and all(np.array_equal(a[0], b[0]) for a, b in later)


def test_a_layer_without_a_bias_takes_the_kernel_alone():
    keras.utils.set_random_seed(3)
    images = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, use_bias=False, activation="relu")(images)
    outputs = keras.layers.Dense(10, activation="softmax", use_bias=False)(keras.layers.Flatten()(x))
    model = keras.Model(images, outputs)
    outcome, _ = begun(model, reconstructed_start(TRAIN[0][:32], 2))
    assert all(layer.bias is None for layer in outcome.model.quantized_layers)


def _weights(layer):
    return [ops.convert_to_numpy(weight) for weight in (layer.kernel, layer.bias)]
