"""Random networks of layers, operations, shared layers and nested models, with random weights.

KINDS holds the pieces. Each maps a tensor to one with the same height and width (or length), whatever its channels.
"""

import numpy as np

from fewbits.backend import keras, ops

layers = keras.layers


def randomized(model, seed=0):
    """Give all weights random values; variances stay positive."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        values = rng.normal(0, 0.5, variable.shape)
        variable.assign(np.abs(values) + 0.5 if "variance" in variable.path else values)
    return model


def of_rank(x, name, *args, **options):
    """Return the layer of Keras called `name` for images or, with three axes, for sequences."""
    return getattr(layers, f"{name}{len(x.shape) - 2}D")(*args, **options)


def conv(x, filters=4, size=3, **options):
    return of_rank(x, "Conv", filters, size, padding="same", **options)(x)


def normalized(x):
    return layers.BatchNormalization()(x)


def two(join):
    """Return what joins two convolutions of a tensor."""
    return lambda x: join()([conv(x), conv(x, size=1, activation="relu")])


def transposed(x):
    kind = {3: layers.Conv1DTranspose, 4: layers.Conv2DTranspose}[len(x.shape)]
    return kind(4, 3, strides=2, padding="same")(of_rank(x, "MaxPooling")(x))


def averaged(x):
    sides = [(1, 0)] * (len(x.shape) - 2)
    padded = of_rank(x, "ZeroPadding", sides if len(sides) > 1 else sides[0])(x)
    return of_rank(x, "AveragePooling", 2, strides=1)(padded)


def nested(x):
    inner = layers.Input(x.shape[1:])
    [outputs] = keras.Model(inner, [layers.ReLU()(normalized(conv(inner)))])(x)
    return outputs


def gated(x):
    squeezed = of_rank(x, "GlobalAveragePooling", keepdims=True)(x)
    return layers.Multiply()([x, layers.Activation("sigmoid")(conv(squeezed, x.shape[-1], 1))])


def prelu(x):
    return layers.PReLU(shared_axes=list(range(1, len(x.shape) - 1)))(x)


def permuted(x):
    return layers.Permute((2, 1, 3))(x) if len(x.shape) == 4 and x.shape[1] == x.shape[2] else x


def sliced(x):
    padded = of_rank(x, "ZeroPadding", 1)(x)
    return padded[:, 1:-1, 1:-1] if len(x.shape) == 4 else layers.Cropping1D(1)(padded)


def reshaped(x):
    return layers.Reshape(x.shape[1:])(layers.Flatten()(x))


def twice(layer):
    """Return what uses one layer at two places."""

    def used(x):
        one = layer()
        return one(normalized(conv(one(x))))

    return used


def activated(name):
    return lambda x: layers.Activation(name)(x)


KINDS = {
    "convolution": conv,
    "convolution, batch normalization": lambda x: normalized(conv(x)),
    "convolution, batch normalization, ReLU": lambda x: layers.ReLU()(normalized(conv(x, use_bias=False))),
    "dilated convolution": lambda x: conv(x, dilation_rate=2),
    "grouped convolution": lambda x: conv(conv(x, 4), 6, groups=2),
    "depthwise": lambda x: normalized(of_rank(x, "DepthwiseConv", 3, padding="same", depth_multiplier=2)(x)),
    "separable": lambda x: of_rank(x, "SeparableConv", 4, 3, padding="same", activation="relu")(x),
    "transposed": lambda x: normalized(transposed(x)),
    "batch normalization": normalized,
    "batch normalization, ReLU, convolution": lambda x: conv(layers.ReLU()(normalized(x))),
    "batch normalization before a convolution": lambda x: conv(normalized(layers.ReLU()(x)), size=1),
    "padded after batch normalization": lambda x: of_rank(x, "Conv", 4, 3)(of_rank(x, "ZeroPadding", 1)(normalized(x))),
    "max-pooling": lambda x: of_rank(x, "MaxPooling", 3, strides=1, padding="same")(x),
    "average pooling": averaged,
    "up-sampling": lambda x: of_rank(x, "UpSampling")(of_rank(x, "MaxPooling")(x)),
    "Add": two(layers.Add),
    "Subtract": two(layers.Subtract),
    "Multiply": two(layers.Multiply),
    "Average": two(layers.Average),
    "Maximum": two(layers.Maximum),
    "Minimum": two(layers.Minimum),
    "Concatenate": two(layers.Concatenate),
    "residual": lambda x: layers.ReLU()(normalized(conv(x, x.shape[-1])) + x),
    "shared activation": twice(layers.ReLU),
    "squeeze and excite": gated,
    "mask": lambda x: x * conv(x, 1, 1, activation="sigmoid"),
    "nested model": nested,
    "relu6": activated("relu6"),
    "LeakyReLU": lambda x: layers.LeakyReLU(0.25)(x),
    "PReLU": prelu,
    "hard_sigmoid": activated("hard_sigmoid"),
    "hard_silu": lambda x: conv(x, activation="hard_silu"),
    "sigmoid": activated("sigmoid"),
    "tanh": activated("tanh"),
    "silu": lambda x: ops.silu(x),
    "gelu": activated("gelu"),
    "number": lambda x: ops.relu(x * 0.5 + 1),
    "negative": lambda x: 1 - x / 2,
    "Permute": permuted,
    "slice": sliced,
    "Reshape": reshaped,
    "Dropout and augmentation": lambda x: layers.Dropout(0.1)(layers.RandomFlip()(x) if len(x.shape) == 4 else x),
}


def random_network(seed, kinds=None, *, steps=7, shape=(8, 8, 3), outputs=1):
    """Return a network of random pieces; as many seeds, one after the other, as it takes hold each kind once.

    Args:
        seed: Pieces, their order and the weights follow from it.
        kinds: Names in KINDS to draw from; all by default.
        steps: How many pieces the network has.
        shape: Of the input: an image or a sequence.
        outputs: How many outputs it has; the last is a vector of three numbers, the others are maps.
    """
    kinds = list(kinds or KINDS)
    networks = -(-len(kinds) // steps)
    order = np.random.default_rng(seed // networks).permutation(len(kinds))
    x = image = layers.Input(shape)
    x, maps = conv(x), []
    for i, kind in enumerate(order[seed % networks :: networks]):
        x = KINDS[kinds[kind]](x)
        if i < outputs - 1:
            maps.append(conv(x, 2, 1))
    vector = layers.Dense(3)(of_rank(x, "GlobalAveragePooling")(x))
    return randomized(keras.Model(image, [*maps, vector] if maps else vector, name=f"random{seed}"), seed)
