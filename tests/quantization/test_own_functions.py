"""A network with a loss, a metric and functions of one's own goes through all that makes a network of a network."""

import numpy as np
import pytest

from fewbits import FixedPoint, dequantize_model, quantize_model
from fewbits.backend import keras, ops
from fewbits.deploy.frozen import freeze
from fewbits.deploy.identity import simulation
from fewbits.post_training.copies import copied
from fewbits.pruning import remove_filters

L = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(4, 6, 6, 1)).astype("float32")


def gelu(x):
    """An activation with a name that Keras gives to another."""
    return ops.abs(x)


def small(shape, dtype=None):
    return 0.1 * ops.ones(shape, dtype)


class Weak(keras.regularizers.Regularizer):
    def __init__(self, strength):
        self.strength = strength

    def __call__(self, x):
        return self.strength * ops.sum(x)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    image = L.Input((6, 6, 1))
    x = L.Conv2D(3, 3, activation=gelu, kernel_regularizer=Weak(2.0), name="conv")(image)
    x = L.Conv2D(2, 1, bias_initializer=small, activation=lambda x: -x, name="other")(x)
    x = L.Activation(gelu, name="abs")(x)
    made = keras.Model(image, L.Dense(2, name="dense")(L.Flatten()(x)), name="own")
    made.compile("adam", lambda y, p: ops.mean((y - p) ** 2), [lambda y, p: ops.max(p)])
    return made


def test_every_copy_computes_what_the_network_does(model):
    quantized = quantize_model(model)
    for made in (quantized, dequantize_model(quantized), copied(quantized), freeze(model), freeze(quantized)):
        np.testing.assert_allclose(made(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(simulation(quantized)(IMAGES.astype(float)), model(IMAGES), rtol=1e-5, atol=1e-6)
    assert quantized.get_layer("conv").kernel_regularizer.strength == 2
    quantized.set_formats((FixedPoint(0, 2), None, None))
    assert not np.allclose(quantized(IMAGES), model(IMAGES), atol=1e-3)


def test_a_filter_is_removed_from_it(model):
    smaller = remove_filters(model, {"conv": [1]})
    dense, other = (smaller.get_layer(name).get_weights() for name in ("dense", "other"))
    assert other[0].shape == (1, 1, 2, 2) and smaller.get_layer("conv").activation is gelu
    np.testing.assert_array_equal(dense[0], model.get_layer("dense").get_weights()[0])
