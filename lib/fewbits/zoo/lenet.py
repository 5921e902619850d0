"""LeNet: two convolutions, each with its pooling, and two dense layers.

Source: vieito2017, 3.3.2, which gives a size of 5 MB on MNIST, but no widths. Chosen: Caffe's 20 and 50 filters of 5x5
and 500 units, with ReLU and padded convolutions, as early Keras tutorials had it: 1,256,080 parameters at 28 x 28 x 1
and 10 classes, 5.0 MB in float32. (The images of 16 x 16 that the text mentions would make it 1.7 MB.)
"""

from fewbits.backend import keras

layers = keras.layers


def build_lenet(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build LeNet.

    Args:
        input_shape: Height, width and channels of the images; at least 4 x 4 pixels.
        classes: Number of classes.
    """
    x = image = layers.Input(input_shape, name="image")
    x = layers.Conv2D(20, 5, padding="same", activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    x = layers.Conv2D(50, 5, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(500, activation="relu", name="dense3")(x)
    x = layers.Dense(classes, name="dense4")(x)
    return keras.Model(image, x, name="lenet")
