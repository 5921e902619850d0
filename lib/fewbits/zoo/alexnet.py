"""AlexNet: five convolutions, poolings after levels 1, 2 and 5, and three dense layers, which hold most weights.

Sources: Krizhevsky et al., 2012 (the layout, two groups, dropout); backstrom2018, 2.1.6 and Table 1; Caffe's
bvlc_alexnet and bvlc_reference_caffenet (images of 227 x 227). The local response normalization after
conv1 and conv2 is left out: it has no weights to quantize, and later networks do without it. ReLU follows every level
but the last.
"""

from fewbits.backend import keras
from fewbits.errors import InputError

layers = keras.layers

GROUPS = (1, 2)


def build_alexnet(input_shape: tuple[int, int, int], classes: int, groups: int = 2) -> keras.Model:
    """Build AlexNet: 60,965,224 parameters at 227 x 227 x 3 and 1000 classes.

    Args:
        input_shape: Height, width and channels of the images; at least 67 x 67 pixels.
        classes: Number of classes.
        groups: With 2, each filter of conv2, conv4 and conv5 reads one half of the channels, as on the two graphics
            cards of 2012; with 1 it reads all, which takes 62,378,344 parameters.

    Raises:
        InputError: when `groups` is another number.
    """
    if groups not in GROUPS:
        raise InputError(f"groups must be 1 or 2, not {groups!r}")
    x = image = layers.Input(input_shape, name="image")
    x = _convolve(x, "conv1", 96, 11, strides=4, padding="valid")
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    x = _convolve(x, "conv2", 256, 5, groups=groups)
    x = layers.MaxPooling2D(3, strides=2, name="pool2")(x)
    x = _convolve(x, "conv3", 384, 3)
    x = _convolve(x, "conv4", 384, 3, groups=groups)
    x = _convolve(x, "conv5", 256, 3, groups=groups)
    x = layers.MaxPooling2D(3, strides=2, name="pool5")(x)
    x = _classify(x, classes, units=4096)
    return keras.Model(image, x, name="alexnet")


def build_alexnet_small(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build AlexNet for small images: 3/16 of its filters, 3/32 of its units, filters of 3x3.

    Poolings are of 2x2, without overlap, and no convolution has a stride. At 10 classes it has 564,370 parameters at
    32 x 32 x 3, 79 % of them dense, and 9.9 million MACs; at 8 x 8 x 1 it has 287,566, 59 % dense, and 0.7 million.

    Args:
        input_shape: Height, width and channels of the images, of 8 x 8 to 32 x 32 pixels.
        classes: Number of classes.
    """
    x = image = layers.Input(input_shape, name="image")
    x = _convolve(x, "conv1", 18, 3)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    x = _convolve(x, "conv2", 48, 3)
    x = layers.MaxPooling2D(2, name="pool2")(x)
    x = _convolve(x, "conv3", 72, 3)
    x = _convolve(x, "conv4", 72, 3)
    x = _convolve(x, "conv5", 48, 3)
    x = layers.MaxPooling2D(2, name="pool5")(x)
    x = _classify(x, classes, units=384)
    return keras.Model(image, x, name="alexnet_small")


# He's initial weights: Keras' default ones fade after so many ReLUs.


def _convolve(x, name, filters, kernel, padding="same", **options):
    options |= {"padding": padding, "kernel_initializer": "he_normal"}
    return layers.Conv2D(filters, kernel, activation="relu", name=name, **options)(x)


def _classify(x, classes, units):
    x = layers.Flatten(name="flatten")(x)
    for name in ("6", "7"):
        x = layers.Dense(units, activation="relu", kernel_initializer="he_normal", name=f"fc{name}")(x)
        x = layers.Dropout(0.5, name=f"drop{name}")(x)
    return layers.Dense(classes, kernel_initializer="he_normal", name="fc8")(x)
