"""The networks of chapters 13 and 19: from the same few images of plants, with levels that are taken or drawn."""

import numpy as np

from fewbits import data, zoo
from fewbits.backend import keras
from fewbits.data.augmentation import shift_and_flip
from fewbits.training import decaying_rate, prepare, train
from fewbits.training.transfer import take_levels

SOURCE = "squeezenet_cifar"


def train_on_plants(crops: data.Dataset, levels: int, *, images: int = 96, epochs: int = 8) -> keras.Model:
    """Train a SqueezeNet on the first training crops of each class, with Adam at 0.003 and a cosine schedule, seed 1.

    Args:
        crops: The data set `crops`.
        levels: How many of its levels begin with the weights for CIFAR-10; the others are drawn.
        images: How many images it learns from, a third of each class.
        epochs: How often it sees them.

    Returns:
        The trained network, which returns the logits of `crops.classes`.
    """
    labels = crops.train.labels
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == c)[: images // 3] for c in range(len(crops.classes))]))
    keras.utils.set_random_seed(1)
    model = zoo.build(SOURCE, (32, 32, 3), len(crops.classes))
    take_levels(model, SOURCE, levels)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # at 0.99 a training so short would be tested with means that it began with
    prepare(model, "adam", learning_rate=decaying_rate(0.003, "cosine", epochs, len(chosen), 16))
    few = crops.scaled(crops.train)[chosen], labels[chosen]
    train(model, few, epochs=epochs, batch_size=16, seed=1, augment=shift_and_flip)
    return model
