"""Networks that hold each layer that exports support, with weights that keep values alive."""

import numpy as np

from fewbits.backend import keras

L = keras.layers


def shaken(model, seed=0):
    """Give `model` weights at random that keep its values alive, in every variable."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for v in layer.weights:
            if v.name in ("moving_variance", "gamma"):
                v.assign(rng.uniform(0.5, 1.5, v.shape))
            elif v.name != "kernel":
                v.assign(rng.normal(0, 0.2, v.shape))
    return model


def several(model, n=3):
    """Return images for each input of `model`."""
    rng = np.random.default_rng(1)
    return [rng.normal(0, 1, (n, *x.shape[1:])).astype(np.float32) for x in model.inputs]


def every_layer():
    image, steps, vector = L.Input((11, 9, 3)), L.Input((8, 6)), L.Input((6,))
    x = L.Rescaling(0.5, offset=-0.25)(image)
    x = L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 0.5])(x)
    x = L.ZeroPadding2D(((1, 2), (0, 3)))(x)
    x = L.Conv2D(6, 3, padding="same", strides=2, groups=3, activation="relu6")(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="tanh")(x)
    x = L.BatchNormalization()(x)
    x = L.ReLU(negative_slope=0.1)(x)
    y = L.Conv2D(12, 3, dilation_rate=2, padding="same")(x)
    x = L.Concatenate()([x, y, x])
    x = L.Concatenate(axis=1)([x, x])
    x = L.MaxPooling2D(3, strides=2, padding="same")(x)
    x = L.AveragePooling2D(2, strides=1, padding="same")(x)
    x = L.Cropping2D(((1, 0), (0, 1)))(x)
    x = L.Dense(10, activation="sigmoid")(x)
    x = L.Add()([x, x, x])
    x = L.Activation("elu")(x)
    spread = L.Softmax()(x)
    a = L.GlobalAveragePooling2D()(L.Identity()(x))
    b = L.GlobalMaxPooling2D(keepdims=True)(spread)
    c = L.Flatten()(L.Reshape((5, -1))(L.Dropout(0.5)(x)))
    x = L.Concatenate()([a, L.Reshape((10,))(b), c])
    x = L.Reshape((2, -1, 5))(x)
    y = L.ZeroPadding1D((1, 2))(L.RepeatVector(6)(vector))
    y = L.Subtract()([L.Average()([L.Cropping1D((0, 1))(y), steps]), L.UpSampling1D(4)(L.RepeatVector(2)(vector))])
    y = L.Minimum()([L.Maximum()([L.PReLU()(y), L.LeakyReLU(0.3)(steps)]), L.Multiply()([steps, L.ELU(0.5)(y)])])
    y = L.DepthwiseConv1D(3, depth_multiplier=2, padding="same")(L.Conv1D(6, 3, dilation_rate=2, padding="causal")(y))
    y = L.AveragePooling1D(2)(L.MaxPooling1D(3, strides=1)(L.Permute((2, 1))(y)))
    y = L.Concatenate()([L.GlobalAveragePooling1D()(y), L.GlobalMaxPooling1D()(y)])
    z = L.Conv2DTranspose(4, (3, 2), strides=2, padding="same")(x)
    z = L.Concatenate()([L.UpSampling2D((2, 1))(z), L.UpSampling2D((2, 1), interpolation="bilinear")(z)])
    ends = [L.Conv2D(4, (2, 1), name="last")(x), y, L.Permute((2, 3, 1))(z)]
    return shaken(keras.Model([image, steps, vector], ends, name="every"))


def layers_with_options():
    """Return layers for images (7, 6, 4), with the options that ONNX has other words for."""
    transposed = [
        L.Conv2DTranspose(3, size, strides=strides, padding=padding)
        for size, strides in ((1, 2), (2, 2), (3, 2), (4, 2), (4, 3), (2, 3), ((3, 2), (1, 3)))
        for padding in ("same", "valid")
    ]
    relus = [(0.5, 0.0, None), (0.5, 0.1, 1.0), (0.0, 0.1, 0.7), (0.0, 0.0, 0.5)]
    return [
        *transposed,
        L.Conv2DTranspose(3, (3, 4), strides=(2, 3), output_padding=(1, 2)),
        L.Conv2DTranspose(3, (3, 4), strides=(2, 3), padding="same", output_padding=(1, 2)),
        L.Conv2DTranspose(3, 3, dilation_rate=2, padding="same"),
        *(L.ReLU(threshold=t, negative_slope=slope, max_value=most) for t, slope, most in relus),
        L.PReLU(shared_axes=[1, 2]),
        L.Softmax(axis=1),
        L.BatchNormalization(axis=2),
        L.Normalization(mean=0.3, variance=2.0, axis=None, invert=True),
        L.Rescaling(0.5, offset=[0.1, 0.2, 0.3, 0.4]),
    ]
