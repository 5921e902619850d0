"""Our solution of the capstone: two small convolutions, trained in float and then with kernels of 3 bits."""

from fewbits import Calibration, Recipe, Schedule, training
from fewbits.backend import keras


def compress(train, validation):
    """Return a network within the budgets."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    images = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(images)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(16, 3, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, layers.Dense(10)(x))
    train = tuple(array[:1088] for array in train)  # whole batches of 64
    rate = training.decaying_rate(0.01, "cosine", 30, 1088, 64)
    training.prepare(model, "adam", rate)
    training.train(model, train, epochs=30, batch_size=64, seed=1)
    outcome = training.progressive_quantization(
        model,
        train,
        Schedule((3, 8, 8), "all-at-once", epochs=20),
        validation=validation,
        calibration=Calibration("mse", per_channel=True),
        recipe=Recipe("adam", learning_rate=0.005, batch_size=64, seed=2, decay="cosine"),
    )
    return outcome.model
