"""Real networks with random weights, each at its smallest sensible input.

Kernels are drawn with the variance that keeps the signal of a ReLU network (He), biases and slopes at random. Batch
normalizations get the statistics of the images, each off by a random factor, and random scales and shifts: otherwise
the outputs would hardly depend on the image, and equality would prove little.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fewbits.backend import keras, ops
from fewbits.pruning import renew_statistics

layers = keras.layers


@dataclass(frozen=True)
class Network:
    """A network and what it takes.

    Attributes:
        build: Makes the model.
        side: Height and width of the images where the model leaves them open.
        pixels: The largest value of an image.
    """

    build: Callable[[], keras.Model]
    side: int = 0
    pixels: float = 1.0

    def model(self):
        """Return the model with random weights, the same ones each time."""
        keras.utils.set_random_seed(0)
        model = self.build()
        _draw(model)
        renew_statistics(model, [(self.images(model, 16), None)])
        _disturb(model)
        return model

    def images(self, model, n=4):
        """Return `n` images that differ in their mean, in large patterns and in noise."""
        rng = np.random.default_rng(1)
        *sides, channels = (self.side if side is None else side for side in model.inputs[0].shape[1:])
        waves = rng.uniform(0, 0.4, (n, channels, len(sides), 2))
        images = np.full((n, *sides, channels), 0.5)
        for axis, side in enumerate(sides):
            place = np.arange(side).reshape((-1, *[1] * (len(sides) - axis)))
            turns, shift = (waves[:, :, axis, i].reshape((n, *[1] * len(sides), channels)) for i in (0, 1))
            images += 0.2 * np.sin(2 * np.pi * (turns * place / 4 + shift * 8))
        images += rng.uniform(-0.2, 0.2, (n, *[1] * len(sides), channels)) + rng.normal(0, 0.1, images.shape)
        return (self.pixels * images.clip(0, 1)).astype(np.float32)


def _draw(model):
    rng = np.random.default_rng(2)
    for variable in model.weights:
        shape = tuple(variable.shape)
        fan_in = np.prod(shape[:-2] if variable.name == "depthwise_kernel" else shape[:-1])
        draw = {
            "kernel": lambda: rng.normal(0, np.sqrt(2 / fan_in), shape),
            "bias": lambda: rng.normal(0, 0.1, shape),
            "alpha": lambda: rng.uniform(0.05, 0.4, shape),
            "gamma": lambda: rng.uniform(0.5, 1.5, shape),
            "beta": lambda: rng.normal(0, 0.3, shape),
        }.get(variable.name.removeprefix("depthwise_").removeprefix("pointwise_"))
        if draw:
            variable.assign(draw())


def _disturb(model):
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            mean, variance = map(ops.convert_to_numpy, (layer.moving_mean, layer.moving_variance))
            layer.moving_mean.assign(mean + rng.normal(0, 0.2, mean.shape) * np.sqrt(variance))
            layer.moving_variance.assign(variance * rng.uniform(0.7, 1.4, variance.shape))


def application(name, side, **options):
    kind = getattr(keras.applications, name)
    return lambda: kind(weights=None, input_shape=(side, side, 3), classes=10, **options)


def cifar_network():
    """The convolutional network of the Keras documentation for CIFAR-10, with augmentation and scaling inside."""
    return keras.Sequential(
        [
            layers.Input((32, 32, 3)),
            keras.Sequential(
                [layers.Input((32, 32, 3)), layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomZoom(0.1)],
                name="augmentation",
            ),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ],
        name="cifar",
    )


def unet(filters, side, up):
    """A U-Net of three levels; `up` makes the layer that doubles the sides, from a number of filters."""

    def block(x, n):
        for _ in range(2):
            x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(n, 3, padding="same", use_bias=False)(x)))
        return x

    image = x = layers.Input((side, side, 3))
    levels = []
    for n in (filters, 2 * filters):
        levels.append(block(x, n))
        x = layers.MaxPooling2D()(levels[-1])
    x = block(x, 4 * filters)
    for n, level in zip((2 * filters, filters), reversed(levels)):
        x = block(layers.Concatenate()([level, up(n)(x)]), n)
    return keras.Model(image, layers.Conv2D(3, 1, activation="softmax")(x), name="unet")


def transposed(n):
    return layers.Conv2DTranspose(n, 2, strides=2, padding="same", activation="relu")


def upsampled(n):
    return lambda x: layers.Conv2D(n, 2, padding="same", activation="relu")(layers.UpSampling2D()(x))


def ds_cnn():
    """A network of depthwise separable convolutions for keyword spotting: 49 frames of 10 coefficients, 12 words."""
    image = layers.Input((49, 10, 1))
    x = layers.Conv2D(64, (10, 4), strides=2, padding="same")(image)
    x = layers.Dropout(0.2)(layers.ReLU()(layers.BatchNormalization()(x)))
    for _ in range(4):
        x = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(64, 1)(x)))
    x = layers.AveragePooling2D((25, 5))(layers.Dropout(0.4)(x))
    return keras.Model(image, layers.Dense(12, activation="softmax")(layers.Flatten()(x)), name="ds_cnn")


def raw_audio():
    """A network of 1-D convolutions on the samples of a sound."""
    sound = x = layers.Input((2000, 1))
    for n, size, stride in ((16, 40, 4), (16, 3, 1), (32, 3, 1)):
        x = layers.Conv1D(n, size, strides=stride, padding="same", use_bias=False)(x)
        x = layers.MaxPooling1D(4)(layers.Activation("relu")(layers.BatchNormalization()(x)))
    x = layers.SeparableConv1D(32, 3, activation="relu")(x)
    return keras.Model(sound, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)), name="raw_audio")


def mtcnn_stage(side, convolutions, units, outputs, name):
    """A stage of the face detector MTCNN as the PyPI package `mtcnn` builds it, with random weights.

    Args:
        side: Of the images; None for any.
        convolutions: Filters, size, and size and padding of the pooling after it, or None, of each convolution.
        units: Of the dense layer; 0 for none, and outputs that are maps.
        outputs: How many numbers each further output has; the first output is a softmax of two classes.
        name: Of the model.
    """

    def prelu(x):
        return layers.PReLU(shared_axes=[1, 2])(x) if len(x.shape) == 4 else layers.PReLU()(x)

    image = x = layers.Input((side, side, 3))
    for n, size, pooling in convolutions:
        x = prelu(layers.Conv2D(n, size)(x))
        if pooling:
            x = layers.MaxPooling2D(pooling[0], strides=2, padding=pooling[1])(x)
    if units:
        x = prelu(layers.Dense(units)(layers.Flatten()(x)))
    head = layers.Dense if units else lambda n: layers.Conv2D(n, 1)
    face = layers.Softmax(axis=-1)(head(2)(x))
    return keras.Model(image, [*(head(n)(x) for n in outputs), face], name=name)


def p_net():
    return mtcnn_stage(None, [(10, 3, (2, "same")), (16, 3, None), (32, 3, None)], 0, (4,), "p_net")


def r_net():
    return mtcnn_stage(24, [(28, 3, (3, "same")), (48, 3, (3, "valid")), (64, 2, None)], 128, (4,), "r_net")


def o_net():
    parts = [(32, 3, (3, "same")), (64, 3, (3, "valid")), (64, 3, (2, "same")), (128, 2, None)]
    return mtcnn_stage(48, parts, 256, (4, 10), "o_net")


QUICK = {
    "DS-CNN": Network(ds_cnn),
    "CIFAR": Network(cifar_network, pixels=255),
    "audio": Network(raw_audio),
    "U-Net, transposed": Network(lambda: unet(8, 32, transposed)),
    "P-Net": Network(p_net, side=12),
}
LARGE = {
    "MobileNet": Network(application("MobileNet", 32)),
    "MobileNetV2": Network(application("MobileNetV2", 32)),
    "MobileNetV3Small": Network(application("MobileNetV3Small", 32), pixels=255),
    "EfficientNetB0": Network(application("EfficientNetB0", 32), pixels=255),
    "ResNet50": Network(application("ResNet50", 32)),
    "ResNet50V2": Network(application("ResNet50V2", 32)),
    "DenseNet121": Network(application("DenseNet121", 32)),
    "NASNetMobile": Network(application("NASNetMobile", 32)),
    "Xception": Network(application("Xception", 71)),
    "InceptionV3": Network(application("InceptionV3", 75)),
    "VGG16": Network(application("VGG16", 32)),
    "U-Net, upsampled": Network(lambda: unet(32, 64, upsampled)),
    "R-Net": Network(r_net),
    "O-Net": Network(o_net),
}
NETWORKS = QUICK | LARGE
