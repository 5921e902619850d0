"""ResNet: blocks whose output is added to their input, so that a block learns what to change in it.

A convolution, residual blocks, the mean of all pixels and a dense layer; batch normalization follows every convolution.
The levels are conv0, one per block, from block1 on, and fc.

Sources: He et al., 2016, 3.3 and Table 1 (ResNet-50), 4.2 (for CIFAR-10). chiang2017, 4.3.3.3, compares MobileNet with
"ResNet" without its depth, and says that MobileNet's file is more than 6 times smaller. At 100 classes ResNet-50 has
7.1 times as many parameters, which fits, as do deeper ones; ResNet-18, with 3.4 times as many, does not.
"""

from fewbits.backend import keras
from fewbits.errors import check_integers

layers = keras.layers


def build_resnet50(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build ResNet-50, made for 224 x 224 pixels: 25,636,712 parameters at 1000 classes.

    Sixteen blocks in four stages. Each squeezes its channels by 1x1 filters, convolves 3x3, and expands them by 1x1
    to four times as many. The first block of a stage has a convolution of 1x1 in its shortcut too. As in
    keras.applications.ResNet50, strides are in the first convolution of a block, and convolutions have a bias.

    Args:
        input_shape: Height, width and channels of the images, of any size.
        classes: Number of classes.
    """
    x = image = layers.Input(input_shape, name="image")
    x = layers.ZeroPadding2D(3, name="conv0_pad")(x)
    x = _convolve(x, "conv0", 64, 7, strides=2)
    x = layers.ZeroPadding2D(1, name="pool0_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool0")(x)
    block = 0
    for filters, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(blocks):
            block += 1
            x = _bottleneck(x, f"block{block}", filters, strides=2 if i == 0 and filters > 64 else 1, project=i == 0)
    return _classified(image, x, classes, "resnet50")


def build_resnet_cifar(input_shape: tuple[int, int, int], classes: int, blocks: int = 3) -> keras.Model:
    """Build the ResNet for CIFAR-10 of 6 * `blocks` + 2 layers: ResNet-20 by default.

    At 32 x 32 x 3, 10 classes and 3 blocks in each of three stages it has 271,098 parameters, 269,722 of them trained
    (the rest are means and variances), and 40.6 million MACs. Each block has two 3x3 convolutions without bias, of 16,
    32 and 64 filters in the three stages. No shortcut has parameters: when a stage halves the sides and doubles the
    channels, it takes every second pixel and adds channels of zeros.

    Args:
        input_shape: Height, width and channels of the images, of any size.
        classes: Number of classes.
        blocks: Number of blocks per stage; 5, 7, 9 and 18 give ResNet-32, 44, 56 and 110.

    Raises:
        InputError: when `blocks` is not an integer of at least 1.
    """
    check_integers(blocks=(blocks, 1))
    x = image = layers.Input(input_shape, name="image")
    x = _convolve(x, "conv0", 16, 3, padding="same", use_bias=False)
    block = 0
    for filters in (16, 32, 64):
        for i in range(blocks):
            block += 1
            x = _basic(x, f"block{block}", filters, halve=i == 0 and filters > 16)
    return _classified(image, x, classes, "resnet_cifar")


def _bottleneck(x, name, filters, strides, project):
    shortcut = _convolve(x, f"{name}_shortcut", 4 * filters, 1, strides=strides, relu=False) if project else x
    x = _convolve(x, f"{name}_conv1", filters, 1, strides=strides)
    x = _convolve(x, f"{name}_conv2", filters, 3, padding="same")
    x = _convolve(x, f"{name}_conv3", 4 * filters, 1, relu=False)
    return _add(shortcut, x, name)


def _basic(x, name, filters, halve):
    shortcut = _halve(x, name) if halve else x
    x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)  # not "same": windows are centred on the shortcut's pixels
    x = _convolve(x, f"{name}_conv1", filters, 3, strides=2 if halve else 1, use_bias=False)
    x = _convolve(x, f"{name}_conv2", filters, 3, padding="same", use_bias=False, relu=False)
    return _add(shortcut, x, name)


def _halve(x, name):
    """Return every second pixel of `x`, and after its channels the same number of channels of zeros."""
    x = layers.MaxPooling2D(1, strides=2, name=f"{name}_every_second")(x)
    height, width, channels = x.shape[1:]
    x = layers.Reshape((height * width, channels, 1), name=f"{name}_channels")(x)  # where zeros can be put
    x = layers.ZeroPadding2D(((0, 0), (0, channels)), name=f"{name}_zeros")(x)
    return layers.Reshape((height, width, 2 * channels), name=f"{name}_shortcut")(x)


def _convolve(x, name, filters, kernel, relu=True, **options):
    x = layers.Conv2D(filters, kernel, kernel_initializer="he_normal", name=name, **options)(x)
    x = layers.BatchNormalization(epsilon=1.001e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _add(shortcut, x, name):
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _classified(image, x, classes, name):
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, name="fc")(x), name=name)
