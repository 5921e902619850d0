"""Batch normalization after surgery: its means and variances are of a network that is no longer there."""

from collections.abc import Iterable

from fewbits.backend import keras


def renew_statistics(model: keras.Model, batches: Iterable[tuple]) -> None:
    """Replace the moving mean and variance of each batch normalization by their means over `batches`, (images, labels).

    A training of few steps would not do it: with Keras' momentum, 0.99, 40 steps leave two thirds of the old ones.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    try:
        for seen, (images, _) in enumerate(batches if layers else ()):
            for layer in layers:
                layer.momentum = seen / (seen + 1)
            model(images, training=True)
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
