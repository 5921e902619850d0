"""BasicNet: two convolutions, a pooling and two dense layers.

Source: vieito2017, 3.3.2, which gives these five layers and a size of 17 MB on CIFAR-10, but no widths. Chosen: the
layout of the early Keras tutorials on CIFAR-10 (32 and 32 filters of 3x3, 512 units), whose 4,210,090 parameters at
32 x 32 x 3 and 10 classes are 16.8 MB in float32; nearly all of them are the first dense layer's.
"""

from fewbits.backend import keras

layers = keras.layers


def build_basicnet(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build BasicNet.

    Args:
        input_shape: Height, width and channels of the images; at least 2 x 2 pixels.
        classes: Number of classes.
    """
    x = image = layers.Input(input_shape, name="image")
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="conv1")(x)
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(512, activation="relu", name="dense3")(x)
    x = layers.Dense(classes, name="dense4")(x)
    return keras.Model(image, x, name="basicnet")
