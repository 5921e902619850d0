"""Inception v3: modules of parallel branches, each a short chain of convolutions; their outputs are concatenated.

A branch squeezes its input to few channels by 1x1 filters, then convolves. Two 3x3 filters replace a 5x5 one, and a
row of 1x7 with a column of 7x1 replaces a 7x7 one. Modules come in five kinds, from fine to coarse, two of which halve
the sides. Batch normalization without scale and a ReLU follow every convolution. The levels are conv1 to conv5 of the
stem, one per module, from mixed0 on, and fc.

Sources: Szegedy et al., 2016; numbers of filters and the names mixed0 to mixed10: keras.applications.InceptionV3.
"""

from fewbits.backend import keras

layers = keras.layers

_ROW3, _COLUMN3, _ROW7, _COLUMN7 = (1, 3), (3, 1), (1, 7), (7, 1)


# A module is its branches, a branch its convolutions: (filters, kernel), or two kernels side by side.


def _fine(pool):
    return {
        "1x1": [(64, 1)],
        "5x5": [(48, 1), (64, 5)],
        "3x3": [(64, 1), (96, 3), (96, 3)],
        "pool": [(pool, 1)],
    }


def _middle(squeeze):
    return {
        "1x1": [(192, 1)],
        "7x7": [(squeeze, 1), (squeeze, _ROW7), (192, _COLUMN7)],
        "7x7twice": [(squeeze, 1), *((squeeze, kernel) for kernel in (_COLUMN7, _ROW7, _COLUMN7)), (192, _ROW7)],
        "pool": [(192, 1)],
    }


_COARSE = {
    "1x1": [(320, 1)],
    "3x3": [(384, 1), (384, _ROW3, _COLUMN3)],
    "3x3twice": [(448, 1), (384, 3), (384, _ROW3, _COLUMN3)],
    "pool": [(192, 1)],
}

# Modules that halve: the last convolution of each branch has a stride of 2, and so has the pooling, of maxima.
_FINE_TO_MIDDLE = {"3x3": [(384, 3)], "3x3twice": [(64, 1), (96, 3), (96, 3)], "pool": []}
_MIDDLE_TO_COARSE = {
    "3x3": [(192, 1), (320, 3)],
    "7x7": [(192, 1), (192, _ROW7), (192, _COLUMN7), (192, 3)],
    "pool": [],
}
_HALVING = (_FINE_TO_MIDDLE, _MIDDLE_TO_COARSE)


def build_inception_v3(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build Inception v3: 23,851,784 parameters at 1000 classes.

    The modules are three fine ones, at 35 x 35 pixels, one that halves, four at 17 x 17, one that halves, and two at
    8 x 8. The auxiliary head that the authors add in training is left out.

    Args:
        input_shape: Height, width and channels of the images; at least 75 x 75 pixels, made for 299 x 299.
        classes: Number of classes.
    """
    x = image = layers.Input(input_shape, name="image")
    x = _convolve(x, "conv1", 32, 3, strides=2, padding="valid")
    x = _convolve(x, "conv2", 32, 3, padding="valid")
    x = _convolve(x, "conv3", 64, 3)
    x = layers.MaxPooling2D(3, strides=2, name="pool3")(x)
    x = _convolve(x, "conv4", 80, 1, padding="valid")
    x = _convolve(x, "conv5", 192, 3, padding="valid")
    x = layers.MaxPooling2D(3, strides=2, name="pool5")(x)
    fine, middle = map(_fine, (32, 64, 64)), map(_middle, (128, 160, 160, 192))
    modules = (*fine, _FINE_TO_MIDDLE, *middle, _MIDDLE_TO_COARSE, _COARSE, _COARSE)
    return _build("inception_v3", image, x, modules, classes)


def build_inception_cifar(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build a small Inception for images of 32 x 32: 592,022 parameters at 10 classes.

    Kept: one module of each of the five kinds, their branches, kernels and poolings, and the sides at which they work
    (32, 15 and 7 pixels; 35, 17 and 8 in Inception v3 at 299 x 299).
    Changed: a stem of one 3x3 convolution of 32 filters without stride or pooling, and a quarter of the filters.
    It needs 82.0 million MACs at 32 x 32 x 3.

    Args:
        input_shape: Height, width and channels of the images; at least 7 x 7 pixels.
        classes: Number of classes.
    """
    x = image = layers.Input(input_shape, name="image")
    x = _convolve(x, "conv1", 32, 3)
    modules = (_fine(32), _FINE_TO_MIDDLE, _middle(128), _MIDDLE_TO_COARSE, _COARSE)
    return _build("inception_cifar", image, x, modules, classes, divisor=4)


def _build(name, image, x, modules, classes, divisor=1):
    """Return the network of `modules` after the stem `x`, with the numbers of filters over `divisor`."""
    for number, branches in enumerate(modules):
        x = _module(x, f"mixed{number}", branches, divisor)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, name="fc")(x), name=name)


def _module(x, name, branches, divisor):
    halve = branches in _HALVING
    outputs = []
    for branch, convolutions in branches.items():
        y = _pool(x, f"{name}_pool", halve) if branch == "pool" else x
        for i, (filters, *kernels) in enumerate(convolutions, 1):
            options = {"strides": 2, "padding": "valid"} if halve and i == len(convolutions) else {}
            names = [f"{name}_{branch}_{i}{letter}" for letter in ("ab" if len(kernels) == 2 else [""])]
            parts = [_convolve(y, n, filters // divisor, kernel, **options) for n, kernel in zip(names, kernels)]
            y = parts[0] if len(parts) == 1 else layers.Concatenate(name=f"{name}_{branch}_{i}")(parts)
        outputs.append(y)
    return layers.Concatenate(name=f"{name}_concat")(outputs)


def _pool(x, name, halve):
    if halve:
        return layers.MaxPooling2D(3, strides=2, name=name)(x)
    return layers.AveragePooling2D(3, strides=1, padding="same", name=name)(x)


def _convolve(x, name, filters, kernel, padding="same", **options):
    x = layers.Conv2D(filters, kernel, padding=padding, use_bias=False, name=name, **options)(x)
    x = layers.BatchNormalization(scale=False, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
