"""Each kind of layer as integers: the codes of the simulation at 8 and 4 bits, and bounds that hold everywhere."""

import numpy as np
import pytest

from fewbits import FixedPoint
from fewbits.backend import keras
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError
from fewbits.quantization.activations import QuantizedActivation, QuantizedLeakyReLU
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.layers import QuantizedConv2D
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
    rng = np.random.default_rng(5)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.6, variable.shape))
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
    "averages over borders": lambda: [conv(), layers.AveragePooling2D(3, 1, "same"), conv()],
    "averages of strides over borders": lambda: [conv(), layers.AveragePooling2D((5, 4), (2, 3), "same")],
    "averages over one border": lambda: [conv(), layers.AveragePooling2D((1, 2), 2, "same"), layers.ReLU(), conv(3, 1)],
    "sixths": lambda: [
        conv(),
        layers.Rescaling(1.0, 3.0),
        layers.ReLU(6.0),
        layers.Rescaling(1 / 6),
        layers.ReLU(),
        conv(),
    ],
    "thirds at the head": lambda: [conv(), layers.Rescaling(1 / 3)],
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
    "averages over borders": lambda: [layers.Conv1D(3, 2), layers.AveragePooling1D(3, 2, padding="same")],
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


TRANSPOSED = [
    {"kernel_size": size, "strides": strides, "padding": padding}
    for size in (1, 2, 3, 4, (5, 2))
    for strides in (1, 2, 3, (1, 2))
    for padding in ("same", "valid")
] + [
    {"kernel_size": 3, "strides": 2, "padding": padding, "output_padding": out}
    for padding in ("same", "valid")
    for out in (0, 1)
]
TRANSPOSED += [
    {"kernel_size": 3, "dilation_rate": 2},
    {"kernel_size": (2, 3), "dilation_rate": (3, 2), "padding": "same"},
    {"kernel_size": 5, "strides": 3, "padding": "same", "output_padding": 2},
]


@pytest.mark.parametrize("options", TRANSPOSED, ids=lambda options: "-".join(map(str, options.values())))
def test_a_transposed_convolution_has_the_borders_of_keras(options):
    model = quantized(layers.Conv2DTranspose(2, **options), shape=(3, 4, 2))
    network, pixels = lower(model), RNG.integers(0, 256, (3, 3, 4, 2))
    expected = model.predict(pixels / np.float32(256), verbose=0) / 2.0 ** network.tensors[-1].exponent
    assert np.array_equal(network.run(pixels), expected)


def test_a_network_has_several_inputs_and_outputs():
    image, sequence, vector = layers.Input((4, 5, 3)), layers.Input((6, 2)), layers.Input((3,))
    x = layers.Conv2D(3, 2, activation="relu", name="first")(image)
    gate = layers.Dense(3, activation="sigmoid")(vector)
    steps = layers.GlobalAveragePooling1D()(layers.Conv1D(3, 2)(sequence))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 3))(gate)])
    pooled = layers.GlobalMaxPooling2D()(x)
    logits = layers.Dense(4, activation="softmax", name="logits")(layers.Concatenate()([pooled, steps]))
    model = with_formats(
        keras.Model([image, sequence, vector], [logits, layers.Conv2D(2, 1)(x), layers.Dense(2)(vector)])
    )
    network = assert_identical(model)
    pixels = [RNG.integers(0, 256, (5, *shape)) for shape in ((4, 5, 3), (6, 2), (3,))]
    assert [codes.shape for codes in network.run(pixels)] == [(5, 4), (5, 3, 4, 2), (5, 2)]
    assert [output.layer for output in network.results][0] == "logits"
    with pytest.raises(InputError, match="has 3 inputs; give a list with an array for each"):
        network.run(pixels[0])
    with pytest.raises(InputError, match="equally many images, not 5, 5, 4"):
        network.run([*pixels[:2], pixels[2][:4]])


def test_what_is_returned_and_read_again_is_rounded():
    image = layers.Input((4, 4, 2))
    gate = layers.Dense(2, activation="sigmoid")(layers.GlobalAveragePooling2D()(layers.Conv2D(2, 2)(image)))
    x = layers.Multiply()([layers.Conv2D(2, 1)(image), layers.Reshape((1, 1, 2))(gate)])
    assert_identical(with_formats(keras.Model(image, [gate, layers.Conv2D(2, 1)(x)])))


def test_the_last_output_may_be_computed_first():
    image = layers.Input((4, 4, 2))
    x = layers.Conv2D(2, 2, name="first")(image)
    network = assert_identical(with_formats(keras.Model(image, [layers.Conv2D(3, 2, name="second")(x), x])))
    assert [codes.shape[1:] for codes in network.run(np.ones((2, 4, 4, 2), int))] == [(2, 2, 3), (3, 3, 2)]


def test_sums_on_the_way_to_a_small_sum_count():
    x = layers.Input((1, 1, 1))
    wide = [layers.Conv2D(1, 1, name=f"wide{n}")(x) for n in range(3)]
    model = keras.Model(x, layers.Add(name="sum")(wide))
    model = quantize_model(model, (FixedPoint(0, 8), FixedPoint(0, 8), FixedPoint(0, 24)))
    for layer in model.quantized_layers:
        layer.kernel.assign(np.full((1, 1, 1, 1), -1.0 if layer.name == "wide2" else 1.0))
        layer.set_formats(FixedPoint(0, 8), FixedPoint(0, 8), FixedPoint(0, 24))
    assert lower(model).beyond_float32 == ["sum"]


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu"])
def test_an_activation_at_the_head_stays_outside(name):
    model = quantized(conv(3, 2), conv(2, 1, activation=name))
    codes = lower(model).run(pixels := RNG.integers(0, 256, (4, 7, 6, 4)))
    values = keras.activations.get(name)(codes * np.float32(2**-5)).numpy()
    np.testing.assert_allclose(model.predict(pixels / np.float32(256), verbose=0), values, rtol=1e-6)


# What is refused


def of_quantized(*build, shape=(6, 6, 2)):
    """Return a quantized model of layers that round already."""
    x = image = layers.Input(shape)
    for part in build:
        x = part(x)
    return QuantizedModel(image, x)


FORMATS = FixedPoint(0, 8), FixedPoint(1, 8), FixedPoint(2, 8)
NONE = None, None, None
REFUSED = {
    "needs a table for tanh, of at most 256 codes; enable it and give it an input format of at most 8 bits": lambda: (
        of_quantized(QuantizedActivation("tanh", name="here", formats=(None, FixedPoint(0, 12), FixedPoint(0, 8))))
    ),
    "needs a table for silu, .* and an output format": lambda: of_quantized(
        QuantizedActivation("silu", name="here", formats=(None, FixedPoint(0, 8), None))
    ),
    "computes softmax of several values together": lambda: of_quantized(
        QuantizedActivation("softmax", name="here", formats=FORMATS)
    ),
    "has a slope without a format; use a QuantizedLeakyReLU .* such as 0.30": lambda: of_quantized(
        QuantizedLeakyReLU(0.3, name="here", formats=(None, *FORMATS[1:]))
    ),
    r"has the activation tanh, .* put QuantizedActivation\('tanh'\) with formats after it": lambda: of_quantized(
        QuantizedConv2D(2, 1, activation="tanh", name="here", formats=FORMATS),
        QuantizedActivation("linear", formats=FORMATS),
    ),
    "enlarges images by bilinear interpolation.*interpolation='nearest'": lambda: quantized(
        layers.UpSampling2D(2, interpolation="bilinear", name="here"), conv()
    ),
    "moves the channels, .* build the network with the channels last": lambda: quantized(
        layers.Permute((3, 1, 2), name="here"), conv()
    ),
    "adds 0.1, which float32 rounds .* such as 0.1": lambda: quantized(layers.Rescaling(0.5, 0.1, name="here"), conv()),
    r"scales by 0.3, which has more than 8 bits; use .* such as 0.300\d+, or .*fold_preprocessing": lambda: quantized(
        layers.Rescaling(0.3, name="here"), conv()
    ),
    "scales by numbers, which has more": lambda: quantized(layers.Rescaling([0.3, 0.1, 0.5, 1.0], name="here"), conv()),
    "averages 7 tensors": lambda: quantized(
        branches(layers.Average(name="here"), *(conv(2, 1) for _ in range(7))), conv(2, 1)
    ),
    "multiplies averages, which float32 has rounded; .*QuantizedActivation": lambda: of_quantized(
        branches(layers.Multiply(name="here"), layers.Identity(), layers.GlobalAveragePooling2D(keepdims=True))
    ),
    "is a BatchNormalization, .*fold_batch_normalization=True": lambda: quantized(
        conv(), layers.BatchNormalization(name="here")
    ),
    "is an? Normalization, .*fold_preprocessing=True": lambda: quantized(
        layers.Normalization(mean=0.5, variance=2.0, name="here"), conv()
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_integers_cannot_compute_is_refused_by_layer_with_a_way_out(message):
    with pytest.raises(InputError, match=f"^layer here {message}"):
        lower(REFUSED[message]())


def test_an_offset_far_above_the_grid_is_named_and_exact_in_float64():
    model = quantized(conv(), layers.Rescaling(1.0, 3.0, name="here"), conv())
    model.quantized_layers[0].set_formats(FixedPoint(0, 8), FixedPoint(1, 8), FixedPoint(-20, 8))
    assert "here" in assert_identical(model).beyond_float32
