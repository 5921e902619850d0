"""The network that several chapters train before they quantize it."""

import numpy as np

from fewbits import zoo
from fewbits.backend import keras
from fewbits.training.loop import train
from fewbits.training.recipe import prepare


def train_small_squeezenet(images: np.ndarray, labels: np.ndarray, *, epochs: int, batch_size: int = 32) -> keras.Model:
    """Build the SqueezeNet for digits and train it with Adam at a learning rate of 0.001 and seed 1.

    Args:
        images: (n, 8, 8, 1), from 0 to 1.
        labels: (n,) int, from 0 to 9.
        epochs: How often it sees all images.
        batch_size: Images per step.

    Returns:
        The trained network, which returns logits.
    """
    model = zoo.build("squeezenet_digits", images.shape[1:], 10)
    prepare(model, "adam", learning_rate=0.001)
    train(model, (images, labels), epochs=epochs, batch_size=batch_size, seed=1)
    return model
