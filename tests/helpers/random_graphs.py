"""Random networks of layers, operations, shared layers and nested models, with random weights."""

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


def random_network(seed, steps=6, shape=(8, 8, 3)):
    """Return a network whose graph and weights follow from `seed`."""
    rng = np.random.default_rng(seed)
    image = layers.Input(shape)
    shared_relu = layers.ReLU(name="shared_relu")

    def conv(x, filters=4):
        return layers.Conv2D(filters, int(rng.choice([1, 3])), padding=str(rng.choice(["same"])))(x)

    def nested(x):
        inner = layers.Input(x.shape[1:])
        y = shared_relu(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inner)))
        [outputs] = keras.Model(inner, [y])(x)
        return outputs

    def gate(x):
        squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
        return layers.Multiply()([x, layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(squeezed)])

    choices = [
        conv,
        nested,
        gate,
        shared_relu,
        lambda x: layers.BatchNormalization()(conv(x)),
        lambda x: shared_relu(layers.BatchNormalization()(conv(x))),
        lambda x: layers.BatchNormalization()(conv(x)) + conv(x),
        lambda x: conv(shared_relu(layers.BatchNormalization()(x))),
        lambda x: layers.Conv2D(4, 3)(layers.ZeroPadding2D(1)(layers.BatchNormalization()(x))),
        lambda x: layers.Conv2D(4, 1)(layers.BatchNormalization()(x)),
        lambda x: layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)),
        lambda x: layers.SeparableConv2D(4, 3, padding="same", activation="relu")(x),
        lambda x: layers.BatchNormalization()(layers.Conv2DTranspose(4, 3, padding="same")(x)),
        lambda x: ops.relu(x * 0.5 + 1),
        lambda x: ops.concatenate([x, conv(x)], axis=-1),
        lambda x: layers.LeakyReLU()(layers.PReLU(shared_axes=[1, 2])(x)),
        lambda x: layers.UpSampling2D()(layers.MaxPooling2D()(x)),
        lambda x: layers.ZeroPadding2D(1)(x)[:, 1:-1, 1:-1],
        lambda x: layers.SpatialDropout2D(0.1)(layers.RandomFlip()(x)),
        lambda x: 1 - ops.silu(x) / 2,
    ]
    x = conv(image)
    for _ in range(steps):
        x = choices[rng.integers(len(choices))](x)
    logits = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    return randomized(keras.Model(image, logits, name=f"random{seed}"), seed)
