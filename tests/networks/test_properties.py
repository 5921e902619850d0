"""Properties that hold for every network, on random graphs of images and sequences."""

import numpy as np
import pytest

from fewbits import quantize_model
from fewbits.backend import keras, ops
from fewbits.deploy import compare_layers, lower
from fewbits.pruning import remove_filters
from fewbits.quantization import calibration
from helpers.random_graphs import KINDS, random_network
from helpers.zeroed import drawn, zeroed

SEEDS, STEPS = 12, 7
IMAGE, SEQUENCE = (8, 8, 3), (12, 3)
SEQUENCE_KINDS = tuple(kind for kind in KINDS if kind != "transposed")  # Conv1DTranspose cannot be quantized
DRAWN = {"images": (tuple(KINDS), IMAGE), "sequences": (SEQUENCE_KINDS, SEQUENCE)}


def random_of(what, seed):
    kinds, shape = DRAWN[what]
    return random_network(seed, kinds, steps=STEPS, shape=shape, outputs=1 + seed % 3)


def inputs(model, n=4):
    return np.random.default_rng(1).random((n, *model.input_shape[1:]), np.float32)


def outputs(model, x):
    return [ops.convert_to_numpy(y) for y in keras.tree.flatten(model(x, training=False))]


def assert_alike(found, expected, gap=1e-5):
    for mine, theirs in zip(found, expected, strict=True):
        assert np.ptp(theirs) > 0
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=gap * np.abs(theirs).max())


@pytest.mark.parametrize("of", DRAWN)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_network_quantized_without_formats_computes_the_same(seed, of):
    model = random_of(of, seed)
    expected = outputs(model, inputs(model))
    for fold in (False, True):
        quantized = quantize_model(model, fold_batch_normalization=fold)
        assert_alike(outputs(quantized, inputs(model)), expected)


@pytest.mark.parametrize("of", DRAWN)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_pruned_network_computes_as_if_what_is_removed_was_zero(seed, of):
    model = random_of(of, seed)
    gone = drawn(model, 0.4, seed)
    smaller = remove_filters(model, gone)
    assert gone and smaller.count_params() < model.count_params()
    assert_alike(outputs(smaller, inputs(model)), zeroed(model, gone, inputs(model)))


@pytest.mark.parametrize("of", DRAWN)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_integers_compute_the_codes_of_the_simulation(seed, of):
    model = random_of(of, seed)
    quantized = quantize_model(model, rounding=("nearest", "floor")[seed % 2], fold_batch_normalization=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (4, *DRAWN[of][1]))
    quantized.set_formats(calibration.formats_for(quantized, (pixels / 256).astype(np.float32), (6, 8, 7)))
    agreements = compare_layers(quantized, lower(quantized), pixels)
    assert {name: found.different for name, found in agreements.items()} == dict.fromkeys(agreements, 0)


def test_the_seeds_above_draw_every_kind_twice():
    assert SEEDS * STEPS >= 2 * len(KINDS)
