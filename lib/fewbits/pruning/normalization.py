"""Batch normalization after surgery: its means and variances belong to a network that no longer exists."""

from collections.abc import Iterable
from typing import Any

from fewbits.backend import keras
from fewbits.training.batches import as_input


def renew_statistics(model: keras.Model, batches: Iterable[tuple[Any, Any]]) -> None:
    """Replace the moving mean and variance of each batch normalization by their means over some batches.

    A short training would not do it: with Keras' momentum of 0.99, 40 steps leave two thirds of the old values.

    Args:
        model: The network to change.
        batches: Pairs of images and labels; the labels do not count.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    try:
        for seen, (images, _) in enumerate(batches if layers else ()):
            for layer in layers:
                layer.momentum = seen / (seen + 1)
            model(as_input(model, images), training=True)
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
