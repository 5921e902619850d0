"""Each kind of layer as integers: the codes of the simulation at 8 and 4 bits, and bounds that hold everywhere."""

import numpy as np
import pytest

from fewbits import FixedPoint
from fewbits.backend import keras
from fewbits.quantization.conversion import quantize_model
from helpers.graphs import assert_identical, branches

layers = keras.layers
RNG = np.random.default_rng(19)


def quantized(*build, shape=(7, 6, 4), bits=8, rounding="nearest", **options):
    """Return a quantized model of the layers `build` with drawn weights, and formats in all layers that round."""
    x = image = layers.Input(shape)
    for part in build:
        x = part(x)
    return with_formats(keras.Model(image, x), bits, rounding, **options)


def with_formats(model, bits=8, rounding="nearest", **options):
    for variable in model.trainable_variables:
        variable.assign(RNG.normal(0, 0.4, variable.shape))
    formats = FixedPoint(0, bits), FixedPoint(1, bits), FixedPoint(2, bits)
    return quantize_model(model, formats, rounding=rounding, **options)


def squeeze_and_excite(gate):
    def block(x):
        y = layers.GlobalAveragePooling2D(keepdims=True)(x)
        y = layers.Conv2D(x.shape[-1], 1, activation=gate)(layers.Conv2D(2, 1, activation="relu")(y))
        return layers.Multiply()([x, y])

    return block


def conv(filters=3, kernel=2, **options):
    return layers.Conv2D(filters, kernel, **options)


IMAGES = {
    "groups": lambda: [conv(4, 3, groups=2, padding="same"), conv(8, 1, groups=4)],
    "transposed": lambda: [layers.Conv2DTranspose(3, 3, strides=2, padding="same"), conv()],
    "transposed valid": lambda: [layers.Conv2DTranspose(3, (2, 4)), conv()],
    "nearest pixels": lambda: [conv(), layers.UpSampling2D((2, 3)), conv()],
    "rows as columns": lambda: [conv(), layers.Permute((2, 1, 3)), conv(3, (1, 3))],
    "a squeezed axis": lambda: [conv(1), layers.Permute((1, 3, 2)), layers.Flatten(), layers.Dense(3)],
    "rows joined": lambda: [branches(layers.Concatenate(1), conv(3, (2, 1)), conv(3, 1)), conv()],
    "columns joined": lambda: [branches(layers.Concatenate(2), conv(3, 1), conv(3, 1), conv(3, (1, 2)))],
    "difference": lambda: [branches(layers.Subtract(), conv(4, 1), layers.Identity()), conv()],
    "maximum": lambda: [branches(layers.Maximum(), conv(4, 1), layers.Identity(), conv(4, 1)), conv()],
    "minimum": lambda: [branches(layers.Minimum(), conv(4, 1), layers.Identity())],
    "average of two": lambda: [branches(layers.Average(), conv(4, 1), layers.Identity()), conv()],
    "average of three": lambda: [branches(layers.Average(), conv(4, 1), conv(4, 1), conv(4, 1))],
    "sum of three": lambda: [branches(layers.Add(), conv(4, 1), layers.Identity(), conv(4, 1))],
    "product": lambda: [branches(layers.Multiply(), conv(4, 1), layers.Identity(), conv(4, 1)), conv()],
    "squeeze and excite": lambda: [conv(), squeeze_and_excite("sigmoid"), conv()],
    "hard squeeze and excite": lambda: [conv(), squeeze_and_excite("hard_sigmoid"), conv()],
    "one map for all channels": lambda: [branches(layers.Multiply(), conv(1, 1), layers.Identity()), conv()],
    "rows repeated": lambda: [branches(layers.Add(), conv(4, 1), layers.GlobalMaxPooling2D(keepdims=True)), conv()],
    "leaky": lambda: [conv(), layers.LeakyReLU(0.3), conv()],
    "leaky as a ReLU": lambda: [conv(), layers.ReLU(negative_slope=0.2), conv()],
    "leaky with a limit": lambda: [conv(), layers.ReLU(1.0, negative_slope=0.25), conv()],
    "slopes of places": lambda: [conv(), layers.PReLU(), conv()],
    "slopes of channels": lambda: [conv(), layers.PReLU(shared_axes=[1, 2]), conv()],
    "hard sigmoid": lambda: [conv(), layers.Activation("hard_sigmoid"), conv()],
    "hard swish": lambda: [conv(activation="hard_swish"), conv()],
    "averages of hard swish": lambda: [conv(activation="hard_silu"), layers.GlobalAveragePooling2D(), layers.Dense(3)],
    "sigmoid": lambda: [conv(activation="sigmoid"), conv()],
    "tanh": lambda: [conv(), layers.Activation("tanh"), conv()],
    "silu": lambda: [conv(activation="silu"), conv()],
    "gelu": lambda: [conv(activation="gelu"), conv()],
    "elu": lambda: [conv(), layers.ELU(), conv()],
    "a ReLU as activation": lambda: [conv(activation=layers.ReLU(1.5)), conv()],
    "half and a shift": lambda: [layers.Rescaling(0.5, -0.25), conv(), layers.Rescaling(2.0, 1.5), conv()],
    "a negative scale": lambda: [conv(), layers.Rescaling(-0.75, 1.0), conv()],
    "a shift per channel": lambda: [layers.Rescaling(1.0, [0.5, -0.25, 0.0, 1.0]), conv()],
    "sigmoid at the head": lambda: [conv(), layers.Flatten(), layers.Dense(2, activation="sigmoid")],
    "sigmoid after the head": lambda: [conv(), layers.Activation("sigmoid")],
}
IMAGES["an average in between"] = lambda: [
    branches(
        layers.Add(), lambda x: layers.AveragePooling2D(3)(conv(4, 1)(x)), lambda x: conv(4, 1, strides=3)(x[:, :6])
    ),
    conv(3, 1),
]
SEQUENCES = {
    "same": lambda: [layers.Conv1D(3, 4, strides=2, padding="same", activation="relu"), layers.Conv1D(2, 3)],
    "causal": lambda: [layers.Conv1D(3, 3, padding="causal", dilation_rate=2), layers.Conv1D(2, 3, padding="causal")],
    "groups": lambda: [layers.Conv1D(4, 3, groups=2), layers.Conv1D(2, 1)],
    "depthwise": lambda: [layers.DepthwiseConv1D(3, padding="same", depth_multiplier=2), layers.Conv1D(2, 1)],
    "separable": lambda: [layers.SeparableConv1D(3, 3, padding="same"), layers.Conv1D(2, 1)],
    "maxima": lambda: [
        layers.Conv1D(3, 2),
        layers.MaxPooling1D(3, 2, padding="same"),
        layers.Flatten(),
        layers.Dense(3),
    ],
    "averages": lambda: [layers.Conv1D(3, 2), layers.AveragePooling1D(3), layers.Conv1D(2, 2)],
    "borders": lambda: [
        layers.ZeroPadding1D((1, 2)),
        layers.Conv1D(3, 2),
        layers.Cropping1D((2, 1)),
        layers.Conv1D(2, 2),
    ],
    "global maximum": lambda: [layers.Conv1D(3, 2), layers.GlobalMaxPooling1D(), layers.Dense(3)],
    "global average": lambda: [layers.Conv1D(3, 2), layers.GlobalAveragePooling1D(), layers.Dense(3)],
    "nearest steps": lambda: [layers.Conv1D(3, 2), layers.UpSampling1D(3), layers.Conv1D(2, 2)],
    "joined in time": lambda: [
        branches(layers.Concatenate(1), layers.Conv1D(3, 2), layers.Conv1D(3, 1)),
        layers.Dense(2),
    ],
    "slopes": lambda: [layers.Conv1D(3, 2), layers.PReLU(), layers.Dense(2)],
    "an image": lambda: [layers.Conv1D(3, 2), layers.Reshape((4, 2, 3)), conv(2, 2)],
}
VECTORS = {
    "dense": lambda: [layers.Dense(5, activation="relu"), layers.Dense(3)],
    "repeated": lambda: [layers.Dense(5), layers.RepeatVector(3), layers.Conv1D(2, 2)],
    "swish": lambda: [layers.Dense(5, activation="swish"), layers.Dense(3, activation="softmax")],
}
KINDS = [
    (shape, name) for shape, kinds in (((7, 6, 4), IMAGES), ((9, 4), SEQUENCES), ((6,), VECTORS)) for name in kinds
]


@pytest.mark.parametrize(("shape", "name"), KINDS, ids=[f"{len(shape)}-{name}" for shape, name in KINDS])
@pytest.mark.parametrize(("bits", "rounding"), [(8, "nearest"), (4, "floor")])
def test_a_layer_computes_the_codes_of_the_simulation(shape, name, bits, rounding):
    build = (VECTORS, SEQUENCES, IMAGES)[len(shape) - 1][name]
    network = assert_identical(quantized(*build(), shape=shape, bits=bits, rounding=rounding))
    assert not network.beyond_float32
