"""Preprocessing that is folded into the first layer: the outputs stay, and what is left only adds."""

import numpy as np
import pytest

from fewbits import quantize_model
from fewbits.backend import keras
from fewbits.quantization import fold_preprocessing
from fewbits.quantization.preprocessing import foldable_preprocessing
from helpers.random_graphs import randomized

L = keras.layers
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3)).astype(np.float32)
CHANNELS = [1 / 50, 1 / 60, 1 / 70], [-2.0, -1.0, -1.5]


def adapted():
    layer = L.Normalization()
    layer.adapt(PIXELS / 255)
    return layer


CASES = {  # steps -> the offsets of the Rescaling layers that are left
    "valid": ([L.Rescaling(1 / 127.5, -1), L.Conv2D(4, 3)], []),
    "same": ([L.Rescaling(1 / 127.5, -1), L.Conv2D(4, 3, padding="same", use_bias=False)], [-127.5]),
    "augmented": ([L.Rescaling(1 / 128, -1), L.RandomFlip(), L.Conv2D(4, 3, padding="same")], [-128.0]),
    "no offset": ([L.Rescaling(1 / 255), L.Conv2D(4, 3, padding="same", use_bias=False)], []),
    "channels": ([L.Rescaling(*CHANNELS), L.Conv2D(4, 1)], []),
    "depthwise": ([L.Rescaling(*CHANNELS), L.DepthwiseConv2D(3, depth_multiplier=2)], []),
    "normalization": ([L.Rescaling(1 / 255), adapted(), L.Conv2D(4, 3)], []),
    "given": ([L.Normalization(mean=[1.0, 2, 3], variance=[4.0, 9, 16]), L.Conv2D(4, 3, use_bias=False)], []),
    "padded after": ([L.Rescaling(0.5, 3), L.ZeroPadding2D(1), L.Conv2D(4, 3)], [6.0]),
    "padded before": ([L.ZeroPadding2D(1), L.Rescaling(1 / 50, -1), L.Conv2D(4, 3)], []),
    "around a padding": (
        [L.Rescaling(1 / 8, 3), L.ZeroPadding2D(1), L.Rescaling(1 / 50, -1), L.Conv2D(4, 3, padding="same")],
        [3, -50.0],
    ),
    "grouped": ([L.Rescaling(1 / 50, -1), L.Conv2D(6, 3, groups=3)], [-50.0]),
    "grouped channels": ([L.Rescaling(*CHANNELS), L.Conv2D(6, 3, groups=3)], [CHANNELS[1]]),
    "only an offset": ([L.Rescaling(1.0, -7), L.Conv2D(4, 3, padding="same")], [-7]),
    "transposed": ([L.Rescaling(1 / 50, -1), L.Conv2DTranspose(4, 3)], [-1]),
    "zero": ([L.Rescaling(0.0, -1), L.Conv2D(4, 3)], [-1]),
    "dense": ([L.Rescaling(0.25, -1), L.Dense(4)], []),
    "inverse": ([L.Normalization(mean=1.0, variance=4.0, invert=True), L.Conv2D(4, 3)], []),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_stay_and_what_is_left_only_adds(case):
    steps, left = CASES[case]
    x = image = L.Input((12, 12, 3))
    for step in steps:
        x = step.__class__.from_config(step.get_config())(x) if not step.weights else step(x)
    model = randomized(keras.Model(image, x))
    folded = fold_preprocessing(model)
    rescaling = [layer for layer in folded.layers if isinstance(layer, L.Rescaling)]
    np.testing.assert_allclose([layer.offset for layer in rescaling], left, rtol=1e-6)
    quantized = quantize_model(model, fold_preprocessing=True)
    for other in (folded, quantized):
        a, b = (network.predict(PIXELS, verbose=0) for network in (model, other))
        assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max()
    assert foldable_preprocessing(folded) == []
    assert fold_preprocessing(folded) is folded


@pytest.mark.parametrize("case", sorted(set(CASES) - {"transposed", "zero", "grouped channels"}))
def test_kernels_that_are_to_train_keep_their_size(case):
    x = image = L.Input((12, 12, 3))
    for step in CASES[case][0]:
        x = step.__class__.from_config(step.get_config())(x) if not step.weights else step(x)
    model = randomized(keras.Model(image, x))
    folded = fold_preprocessing(model, keep_size=True)
    a, b = (network.predict(PIXELS, verbose=0) for network in (model, folded))
    assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max()
    before, after = (np.linalg.norm(network.layers[-1].kernel) for network in (model, folded))
    assert 0.5 < after / before < 2
    scales = [layer.scale for layer in folded.layers if isinstance(layer, L.Rescaling)]
    assert np.all(np.frexp(scales)[0] == 0.5)


def test_preprocessing_that_others_read_stays():
    image = L.Input((12, 12, 3))
    x = L.Rescaling(1 / 255)(image)
    model = keras.Model(image, L.Add()([L.Conv2D(3, 1)(x), x]))
    assert fold_preprocessing(model) is model
