"""MobileNet v1: a convolution, thirteen depthwise separable blocks, and a dense layer.

A block filters each channel by itself, 3x3 pixels at a time (depthwise), then mixes the channels pixel by pixel (1x1,
pointwise): 1 / N + 1 / 9 of the parameters and MACs of a 3x3 convolution with N filters. Batch normalization and a
ReLU capped at 6 follow every convolution. The levels are conv0, block1 to block13 and fc.

Two numbers make it smaller. The width multiplies the number of filters of every layer, rounded down. The resolution is
the size of the images: it costs MACs and no parameters.

Sources: Howard et al., 2017, Table 1; chiang2017, 3.5 and 4.3.3, Equations 4.1 and 4.2. Borders are padded as in the
authors' TensorFlow code; keras.applications.MobileNet pads in the same way where the image's sides divide by 32.
"""

from math import inf
from numbers import Real

from fewbits.backend import keras
from fewbits.errors import InputError

layers = keras.layers

FILTERS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)  # of conv0 and the blocks at width 1
HALVING = (0, 2, 4, 6, 12)  # conv0 and the blocks whose first convolution has a stride of 2


def build_mobilenet_v1(
    input_shape: tuple[int, int, int], classes: int, width: float = 1, normalize: bool = True
) -> keras.Model:
    """Build MobileNet v1, made for 224 x 224, 192 x 192, 160 x 160 and 128 x 128 pixels.

    At widths 1, 0.75, 0.5 and 0.25 there are 4,253,864, 2,601,976, 1,342,536 and 475,544 parameters at 1000 classes,
    and 568.7, 325.4, 149.5 and 41.0 million MACs at 224 x 224.

    Args:
        input_shape: Height, width and channels of the images, of any size.
        classes: Number of classes.
        width: Multiplies the number of filters; at least 1/32.
        normalize: False leaves batch normalization out and gives every convolution a bias, as after folding; published
            LiteRT files need it.

    Raises:
        InputError: when `width` is not a number of at least 1/32.
    """
    return _build("mobilenet_v1", input_shape, classes, width, normalize)


def build_mobilenet_cifar(input_shape: tuple[int, int, int], classes: int, width: float = 1) -> keras.Model:
    """Build MobileNet v1 for images of 32 x 32, 24 x 24 and 16 x 16, the sizes of chiang2017.

    conv0 has no stride, and the means and variances of batch normalization follow ten times as fast (a momentum of
    0.9), for trainings of few steps; all else, and so every parameter, is MobileNet v1's. With a stride in conv0, an
    image of 32 x 32 would be a single pixel after block12; in block13 eight of the nine weights of a 3x3 filter would
    read a border of zeros. Here that happens at 16 x 16 only. At 100 classes and widths 1, 0.75, 0.5 and 0.25 there are
    3,331,364, 1,909,876, 880,836 and 244,244 parameters, and 46.4, 26.6, 12.2 and 3.4 million MACs at 32 x 32.

    Args:
        input_shape: Height, width and channels of the images, of any size.
        classes: Number of classes.
        width: As in `build_mobilenet_v1`.

    Raises:
        InputError: as `build_mobilenet_v1`.
    """
    return _build("mobilenet_cifar", input_shape, classes, width, halving=HALVING[1:], momentum=0.9)


def build_mobilenet_cifar_folded(input_shape: tuple[int, int, int], classes: int, width: float = 1) -> keras.Model:
    """Build the network of `build_mobilenet_cifar` without batch normalization, to start from published weights.

    Published weights have it folded into their biases and expect images from -1 to 1. The first layer scales images
    to that range from 0 to 255/256, the range of the other networks of this book.

    Args:
        input_shape: Height, width and channels of the images, of any size.
        classes: Number of classes.
        width: As in `build_mobilenet_v1`.

    Raises:
        InputError: as `build_mobilenet_v1`.
    """
    return _build("mobilenet_cifar_folded", input_shape, classes, width, False, HALVING[1:], scale=256 / 127.5)


def _build(
    name: str,
    input_shape: tuple[int, int, int],
    classes: int,
    width: float,
    normalize: bool = True,
    halving: tuple[int, ...] = HALVING,
    momentum: float = 0.99,
    scale: float | None = None,
) -> keras.Model:
    if not isinstance(width, Real) or isinstance(width, bool) or not 1 / 32 <= float(width) < inf:
        raise InputError(f"width must be a number of at least 1/32, which leaves conv0 one filter, not {width!r}")

    def convolve(x, name, kind, *size, **options):
        x = kind(*size, padding="same", use_bias=not normalize, name=name, **options)(x)
        x = layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(x) if normalize else x
        return layers.ReLU(6, name=f"{name}_relu")(x)

    x = image = layers.Input(input_shape, name="image")
    if scale:
        x = layers.Rescaling(scale, -1, name="scale")(x)
    for block, filters in enumerate(int(width * filters) for filters in FILTERS):
        strides = 2 if block in halving else 1
        if block == 0:
            x = convolve(x, "conv0", layers.Conv2D, filters, 3, strides=strides)
        else:
            x = convolve(x, f"block{block}_depthwise", layers.DepthwiseConv2D, 3, strides=strides)
            x = convolve(x, f"block{block}_pointwise", layers.Conv2D, filters, 1)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.001, name="drop")(x)
    return keras.Model(image, layers.Dense(classes, name="fc")(x), name=name)
