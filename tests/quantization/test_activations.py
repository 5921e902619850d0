"""Activations that round, and where quantizers are placed, against NumPy and the float network."""

import warnings

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, QuantizedActivation, dequantize_model, formats_for, quantize, quantize_model
from fewbits.backend import keras, ops
from fewbits.quantization import QuantizedLeakyReLU, QuantizedPReLU, msb_table, quantization_errors
from fewbits.training.schedules import level_names

L = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(16, 10, 10, 3)).astype(np.float32)
READ, RETURNED = FixedPoint(2, 6), FixedPoint(1, 5)
NUMPY = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "linear": lambda x: x,
}


def network(*steps, head="linear"):
    """Return a network of a convolution, `steps` and a dense layer."""
    keras.utils.set_random_seed(0)
    x = image = L.Input((10, 10, 3))
    x = L.Conv2D(4, 3, name="conv")(x)
    for step in steps:
        x = step(x)
    x = L.Dense(3, name="head", activation=head)(L.GlobalMaxPooling2D(name="max")(x))
    return keras.Model(image, x)


def gap(first, second):
    a, b = (model.predict(IMAGES, verbose=0) for model in (first, second))
    return np.abs(a - b).max() / np.abs(a).max()


@pytest.mark.parametrize("rounding", ["floor", "nearest"])
@pytest.mark.parametrize("name", NUMPY)
def test_an_activation_is_the_function_between_two_roundings(name, rounding):
    layer = QuantizedActivation(name, formats=(None, READ, RETURNED), rounding=rounding)
    x = RNG.normal(size=1000).astype(np.float32) * 3
    got = ops.convert_to_numpy(layer(x[:, None]))[:, 0]
    exact = NUMPY[name](quantize(x, READ, rounding).astype(float))
    clear = np.abs((exact / RETURNED.step * 2) % 1 - 0.5) < 0.499  # float32 may round what lies at a tie either way
    assert clear.mean() > 0.3 or name == "linear"
    np.testing.assert_array_equal(got[clear], quantize(exact, RETURNED, rounding)[clear])
    layer.enabled = False
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x[:, None]))[:, 0], NUMPY[name](x.astype(float)), 1e-4, 1e-6)


@pytest.mark.parametrize("name", ["hard_sigmoid", "hard_silu"])
def test_hard_functions_are_exact_sixths(name):
    """All codes, and outputs so fine that only exact sixths round right, against integers."""
    read, returned = FixedPoint(3, 9), FixedPoint(3, 14)
    codes = np.arange(read.min_code, read.max_code + 1)
    gate = np.clip(codes + round(3 / read.step), 0, round(6 / read.step))
    product = gate if name == "hard_sigmoid" else codes * gate
    unit = read.step if name == "hard_sigmoid" else read.step**2
    expected = product * round(unit / returned.step * 2**20) // (6 * 2**20)
    layer = QuantizedActivation(name, formats=(None, read, returned))
    got = ops.convert_to_numpy(layer((codes * read.step).astype(np.float32)[:, None]))[:, 0] / returned.step
    np.testing.assert_array_equal(got, np.clip(expected, returned.min_code, returned.max_code))


def test_a_slope_is_rounded_like_a_kernel():
    x = RNG.normal(size=(50, 4, 3)).astype(np.float32)
    leaky = QuantizedLeakyReLU(0.3, formats=(FixedPoint(-1, 4), READ, None))
    below = np.where(x < 0, quantize(x, READ) * quantize(0.3, FixedPoint(-1, 4)), quantize(x, READ))
    np.testing.assert_array_equal(ops.convert_to_numpy(leaky(x)), below)
    assert leaky.rounded_slope() == 0.25
    own = QuantizedPReLU("random_uniform", shared_axes=[1], formats=(FixedPoint(-4, 8), None, None))
    own(x)
    slopes = quantize(ops.convert_to_numpy(own.alpha), FixedPoint(-4, 8))
    np.testing.assert_array_equal(own.rounded_slope(), slopes)
    np.testing.assert_allclose(ops.convert_to_numpy(own(x)), np.where(x < 0, x * slopes, x), rtol=1e-6)


def test_every_activation_of_a_network_becomes_a_quantizer():
    shared = L.Activation("tanh", name="tanh")
    model = network(
        L.PReLU(name="prelu"), L.Conv2D(4, 1, name="gelu", activation="gelu"), shared, L.Conv2D(4, 1, name="c2"),
        shared, L.ReLU(negative_slope=0.1, name="leaky"), L.ELU(name="elu"), L.Activation("relu"), head="sigmoid",
    )  # fmt: skip
    quantized = quantize_model(model)
    names = [layer.name for layer in quantized.rounding_layers if layer not in quantized.quantized_layers]
    assert names == ["prelu", "gelu_activation", "tanh", "tanh_2", "leaky", "elu"]
    assert quantized.get_layer("head").activation is keras.activations.sigmoid
    assert gap(model, quantized) < 1e-6
    assert gap(model, dequantize_model(quantized)) < 1e-6


@pytest.mark.parametrize(
    "join",
    [
        lambda x: L.Add()([x, L.AveragePooling2D(2, 1, padding="same", name="off")(x)]),
        lambda x: L.Concatenate()([L.AveragePooling2D(2, name="off")(x), L.MaxPooling2D(2)(x)]),
        lambda x: L.Add()([L.Multiply(name="off")([x, x]), x]),
        lambda x: L.AveragePooling2D(2)(L.AveragePooling2D(2, name="off")(x)),
        lambda x: L.Maximum()([L.Average(name="off")([x, L.ReLU()(x)]), x]),
    ],
)
def test_averages_and_products_get_a_quantizer_where_what_reads_them_has_none(join):
    quantized = quantize_model(network(join))
    assert [layer.name for layer in quantized.rounding_layers] == ["conv", "off_quantizer", "head"]


def test_averages_that_are_rounded_anyway_get_none():
    keras.utils.set_random_seed(0)
    x = image = L.Input((8, 8, 3))
    x = L.Conv2D(4, 3, name="conv")(x)
    gate = L.Conv2D(4, 1, name="gate", activation="hard_sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Multiply(name="scale")([x, gate])
    x = L.Conv2D(4, 1, name="last")(L.Dropout(0.5)(x))
    model = keras.Model(image, L.GlobalAveragePooling2D()(x))
    names = [layer.name for layer in quantize_model(model).rounding_layers]
    assert names == ["conv", "gate", "gate_activation", "last"]


def test_calibration_gives_activations_formats():
    model = network(L.LeakyReLU(0.2, name="leaky"), L.Conv2D(4, 1, name="c2", activation="sigmoid"))
    formats = formats_for(model, IMAGES, (6, 7, 8), range_rule=100)
    assert formats["leaky"].kernel == FixedPoint(-2, 6)
    assert formats["c2_activation"].kernel is None
    assert formats["c2_activation"].output == FixedPoint(-1, 8, signed=False)  # a sigmoid stays between 0 and 1
    quantized = quantize_model(model, formats, rounding="nearest")
    assert quantized.formats == formats
    assert formats_for(quantized, IMAGES, (6, 7, 8), range_rule=100) == formats
    assert gap(model, quantized) < 0.1
    assert msb_table(model, IMAGES)["c2_activation"][0] is None
    shared = formats_for(model, IMAGES, per_layer=False)
    assert len({fmt.input for fmt in shared.values()}) == 1
    assert shared["c2_activation"].kernel is None
    errors = quantization_errors(model, IMAGES, formats)
    assert errors["c2_activation"][0] is None
    assert errors["c2_activation"][2].sqnr > 30


def test_an_activation_that_sees_only_zeros_gets_the_range_that_can_reach_it():
    model = network(L.ReLU(), L.Activation("tanh", name="tanh"))
    model.get_layer("conv").bias.assign([-100.0] * 4)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        formats = formats_for(model, IMAGES, signed=True)
    assert formats["tanh"].input.msb > -10
    assert formats["tanh"].output.msb == 0


def test_activations_belong_to_the_level_before_them():
    model = network(L.LeakyReLU(name="leaky"), L.Conv2D(4, 1, name="c2", activation="tanh"))
    quantized = quantize_model(model, (FixedPoint(0, 4),) * 3, levels=[["conv"], ["c2", "head"]])
    assert {layer.name: layer.level for layer in quantized.rounding_layers} == {
        "conv": 1, "leaky": 1, "c2": 2, "c2_activation": 2, "head": 2,
    }  # fmt: skip
    quantized.set_level(1)
    assert quantized.get_layer("leaky").enabled
    assert not quantized.get_layer("c2_activation").enabled
    assert [[layer.name for layer in level] for level in level_names(quantized).values()] == [
        ["conv", "leaky"], ["c2", "c2_activation", "head"],
    ]  # fmt: skip


def test_a_locked_slope_stays_while_the_rest_trains():
    model = network(L.PReLU(name="prelu", shared_axes=[1, 2]))
    quantized = quantize_model(model, (FixedPoint(0, 8), FixedPoint(3, 8), FixedPoint(3, 8)))
    quantized.get_layer("conv").bias.assign([-3.0] * 4)  # the largest values are below zero
    prelu = quantized.get_layer("prelu")
    prelu.locked = True
    before = [ops.convert_to_numpy(prelu.alpha), ops.convert_to_numpy(quantized.get_layer("conv").kernel)]
    quantized.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    quantized.fit(IMAGES, np.arange(16) % 3, verbose=0)
    np.testing.assert_array_equal(before[0], ops.convert_to_numpy(prelu.alpha))
    assert np.abs(before[1] - ops.convert_to_numpy(quantized.get_layer("conv").kernel)).max() > 0
    prelu.locked = False
    quantized.fit(IMAGES, np.arange(16) % 3, verbose=0)
    assert np.abs(before[0] - ops.convert_to_numpy(prelu.alpha)).max() > 0


def test_a_saved_network_computes_the_same(tmp_path):
    model = network(L.PReLU(name="prelu"), L.LeakyReLU(0.1), L.Activation("silu"))
    quantized = quantize_model(model, formats_for(model, IMAGES, 5))
    quantized.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.formats == quantized.formats
    np.testing.assert_array_equal(loaded.predict(IMAGES, verbose=0), quantized.predict(IMAGES, verbose=0))


def test_formats_of_an_activation_are_checked():
    quantized = quantize_model(network(L.Activation("tanh", name="tanh")))
    quantized.set_formats({"tanh": (FixedPoint(0, 8), READ, None)})
    assert quantized.formats["tanh"] == (None, READ, None, None)
    with pytest.raises(InputError, match="layer tanh: the output format must be a FixedPoint or None, not 8"):
        quantized.set_formats({"tanh": (None, READ, 8)})
