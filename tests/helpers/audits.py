"""A small network with every kind of layer that an audit reads, and images for it."""

from functools import cache

import numpy as np

from fewbits import data
from fewbits.backend import keras
from fewbits.quantization.calibration import formats_for
from fewbits.quantization.conversion import quantize_model

L = keras.layers
LAYERS = ("first", "wide", "grouped", "dense")


@cache
def digits(n=24):
    """Return the first `n` training images of the digits, (n, 8, 8, 1) float32 from 0 to 1, multiples of 1/16."""
    whole = data.load("digits")
    return whole.scaled(whole.train)[:n].astype(np.float32)


@cache
def network(activation=None):
    """Return a network: strides, `same` and `valid`, batch normalization, ReLU, depthwise, grouped and dense."""
    keras.utils.set_random_seed(3)
    x = image = L.Input((8, 8, 1))
    x = L.Conv2D(6, 3, padding="same", name="first")(x)
    x = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(x))
    x = L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, name="wide")(x)
    x = L.Conv2D(8, 2, groups=4, padding="valid", activation="relu", name="grouped")(x)
    x = L.Dense(10, activation=activation, name="dense")(L.Flatten(name="flat")(x))
    model = keras.Model(image, x, name="small")
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name in LAYERS:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
    model.get_layer("norm").set_weights([rng.uniform(low, 1.5, 6) for low in (0.5, 0, 0, 0.5)])
    return model


def quantized(rounding, bits=6, model=None):
    """Return the network with formats and a rounding."""
    made = quantize_model(model or network(), fold_batch_normalization=True, rounding=rounding)
    made.set_formats(formats_for(made, digits(), bits, 99.9))
    return made
