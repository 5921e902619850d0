"""Small quantized graphs, and the book's networks for digits, that several tests lower and export."""

import numpy as np

from fewbits import FixedPoint, data, zoo
from fewbits.backend import keras
from fewbits.deploy.identity import compare_layers
from fewbits.deploy.lowering import lower
from fewbits.io import weights
from fewbits.pruning import renew_statistics
from fewbits.quantization.conversion import quantize_model
from fewbits.zoo.trained import find_weights

layers = keras.layers
DIGITS = data.load("digits")
PIXELS = DIGITS.test.images


def trained(name):
    model = zoo.build(name, (8, 8, 1), 10)
    if name == "squeezenet_digits":
        weights.load_weights(model, find_weights(name))
    if name == "mobilenet_cifar":  # else its signal fades from block to block
        renew_statistics(model, [(DIGITS.scaled(DIGITS.train.take(256)), None)])
    return model


FORMAT = {"kernel": FixedPoint(0, 6), "input": FixedPoint(1, 7), "output": FixedPoint(2, 6)}


def graph(*build, shape=(7, 6, 3), rounding="nearest", fmt=FORMAT, **options):
    """Return a quantized model of the layers `build`, whose kernels and biases are drawn: each time the same."""
    rng = np.random.default_rng(7)
    x = image = layers.Input(shape)
    for part in build:
        x = part(x)
    model = keras.Model(image, x)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.4, variable.shape))
    quantized = quantize_model(model, rounding=rounding, **options)
    for layer in quantized.quantized_layers:
        layer.set_formats(**fmt)
    return quantized


def assert_identical(model, pixels=None, **options):
    """Return the integer network of `model` after a check that it computes the same codes, within its bounds."""
    network = lower(model, **options)
    rng = np.random.default_rng(7)
    drawn = [rng.integers(0, options.get("levels", 256), (20, *x.shape[1:])) for x in model.inputs]
    pixels = (drawn if len(drawn) > 1 else drawn[0]) if pixels is None else pixels
    found = compare_layers(model, network, pixels)
    assert found and all(agreement.different == 0 for agreement in found.values()), found
    tensors = network.tensors
    for codes in network._batches(pixels, set(range(len(tensors)))):
        for i, tensor in enumerate(tensors):
            assert codes[i].shape[1:] == tensor.shape
            assert tensor.low <= codes[i].min() and codes[i].max() <= tensor.high
    outputs = network.run(pixels)
    assert all(len(np.unique(codes)) > 1 for codes in (outputs if network.earlier else [outputs]))
    return network


def per_filter(layer, n):
    return tuple(FixedPoint(msb % 3 - 2, 6) for msb in range(n))


def branches(join, *parts):
    return lambda x: join([part(x) for part in parts])


def flattened_twice(x):
    flat = layers.Flatten()
    return layers.Concatenate()([flat(x), flat(layers.MaxPooling2D(2)(x))])


GRAPHS = [  # functions, for a layer is used once
    lambda: [layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"), layers.Conv2D(3, 1)],
    lambda: [layers.Conv2D(4, (3, 2), dilation_rate=(2, 1)), layers.Conv2D(3, 2, strides=(1, 2), padding="same")],
    lambda: [layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), layers.ReLU(1), layers.Conv2D(3, 1)],
    lambda: [layers.ZeroPadding2D(((1, 0), (0, 2))), layers.Conv2D(4, 3), layers.Cropping2D(1), layers.Conv2D(2, 1)],
    lambda: [layers.Conv2D(4, 3, activation="relu6"), layers.AveragePooling2D((2, 3)), layers.Conv2D(3, 1)],
    lambda: [layers.Conv2D(4, 2), layers.MaxPooling2D(3, strides=2, padding="same"), layers.Flatten(), layers.Dense(5)],
    lambda: [layers.Conv2D(4, 2), layers.GlobalMaxPooling2D(), layers.Dense(5, activation="softmax")],
    lambda: [layers.Conv2D(4, 2), layers.GlobalAveragePooling2D(), layers.Dense(5), layers.Softmax()],
    lambda: [layers.Conv2D(4, 2), layers.Reshape((5, 6, 4)), layers.Dense(3), layers.Dropout(0.5), layers.Conv2D(2, 2)],
    lambda: [layers.Rescaling(0.5), layers.Conv2D(4, 2), layers.Activation("relu"), layers.GlobalAveragePooling2D()],
    lambda: [branches(layers.Concatenate(), layers.Conv2D(2, 1), layers.MaxPooling2D(1)), layers.Conv2D(3, 1)],
    lambda: [branches(layers.Add(), layers.Conv2D(3, 1), layers.Identity()), layers.Conv2D(3, 1)],
    lambda: [layers.Conv2D(4, 1), layers.ZeroPadding2D(1), layers.MaxPooling2D(2), layers.Conv2D(3, 1)],
    lambda: [layers.Conv2D(4, 1), layers.ZeroPadding2D(2), layers.GlobalMaxPooling2D(), layers.Dense(3)],
    lambda: [layers.Conv2D(4, 1), layers.ReLU(np.inf), flattened_twice, layers.Dense(3)],
    lambda: [branches(layers.Add(name="constants"), layers.Conv2D(3, 1), layers.Identity()), layers.Conv2D(3, 1)],
]
