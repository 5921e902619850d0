"""Folding of batch normalization by calls: where scale and shift go, and that outputs stay."""

import numpy as np
import pytest

from fewbits import FixedPoint, quantize_model
from fewbits.backend import keras
from fewbits.quantization import foldings
from helpers.random_graphs import randomized

layers = keras.layers
IMAGES = np.random.default_rng(0).random((4, 12, 12, 3), dtype=np.float32)


def network(*steps):
    x = image = layers.Input((12, 12, 3))
    for step in steps:
        x = step(x)
    return randomized(keras.Model(image, x))


def norm(**settings):
    return layers.BatchNormalization(name="norm", **settings)


def assert_folded(model, way, into):
    [folding] = foldings(model)
    assert (folding.way, folding.layer) == (way, into)
    assert bool(folding.reason) == (way != "before")
    quantized = quantize_model(model, fold_batch_normalization=True)
    gap = np.abs(model.predict(IMAGES, verbose=0) - quantized.predict(IMAGES, verbose=0)).max()
    assert gap <= 1e-5 * np.abs(model.predict(IMAGES, verbose=0)).max()
    return quantized


@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "kind",
    [layers.Conv2D, layers.Conv2DTranspose, lambda n, k, **s: layers.DepthwiseConv2D(k, depth_multiplier=2, **s)],
)
def test_into_the_layer_before(kind, bias, settings):
    quantized = assert_folded(network(kind(5, 3, use_bias=bias, name="conv"), norm(**settings)), "before", "conv")
    assert len(quantized.layers) == 2


def test_a_relu_used_elsewhere_as_well_is_taken_out_only_where_it_follows_the_normalization():
    relu, image = layers.ReLU(name="relu"), layers.Input((12, 12, 3))
    x = relu(layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same")(image)))
    model = randomized(keras.Model(image, relu(layers.Add()([x, layers.Conv2D(3, 1)(image)]))))
    quantized = quantize_model(model, fold_batch_normalization=True)
    assert [type(layer).__name__ for layer in quantized.layers].count("ReLU") == 1
    np.testing.assert_allclose(quantized(IMAGES), model(IMAGES), atol=1e-4)


@pytest.mark.parametrize(
    "reader",
    [
        layers.Conv2D(4, 3, name="conv"),
        layers.Conv2D(4, 1, padding="same", name="conv"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="conv"),
        layers.Dense(4, name="conv"),
    ],
)
def test_into_the_layer_after(reader):
    reader = type(reader).from_config(reader.get_config())
    assert_folded(network(layers.ReLU(), norm(), reader), "after", "conv")


@pytest.mark.parametrize("after", [layers.Conv2D(4, 3, padding="same"), layers.ReLU(), layers.Conv2D(6, 3, groups=3)])
def test_into_a_layer_of_its_own_that_is_quantized_like_others(after):
    after = type(after).from_config(after.get_config())
    quantized = assert_folded(network(layers.ReLU(), norm(), after), "own", "norm")
    own = quantized.get_layer("norm")
    assert own in quantized.quantized_layers
    quantized.set_formats({"norm": (FixedPoint(1, 8), FixedPoint(1, 8), None)})
    assert own.formats.kernel == FixedPoint(1, 8)


def test_one_layer_takes_one_normalization_on_either_side():
    image = layers.Input((12, 12, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, name="conv")(layers.BatchNormalization()(image)))
    model = randomized(keras.Model(image, x))
    assert [(f.way, f.layer) for f in foldings(model)] == [("after", "conv"), ("before", "conv")]
    quantized = quantize_model(model, fold_batch_normalization=True)
    np.testing.assert_allclose(quantized(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_folded_stays_and_says_why():
    image, shared = layers.Input((12, 12, 3)), norm()
    model = randomized(keras.Model(image, layers.Conv2D(3, 1)(shared(shared(image)))))
    assert {(f.way, f.reason) for f in foldings(model)} == {("kept", "it is used 2 times")}
    rows = network(norm(axis=1), layers.Conv2D(3, 1))
    assert [(f.way, f.reason) for f in foldings(rows)] == [("kept", "it works along axis 1, not along channels")]
