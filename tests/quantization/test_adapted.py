"""Models that Keras has quantized or adapted: the float kernels are those that the layers multiply by."""

import numpy as np
import pytest

from fewbits import InputError, quantize_model
from fewbits.backend import keras, ops
from fewbits.quantization.adapted import float_kernel, float_model, is_adapted
from fewbits.quantization.layers import effective_weights

L = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, 6, 6, 2), np.float32)


def network():
    """Return a convolution, a nested dense layer and a dense layer with fresh weights."""
    keras.utils.set_random_seed(1)
    image, features = L.Input((6, 6, 2)), L.Input((48,))
    nested = keras.Model(features, L.Dense(9, activation="relu", name="inner")(features), name="nested")
    x = L.Flatten()(L.Conv2D(3, 3, activation="relu", name="conv")(image))
    return keras.Model(image, L.Dense(5, name="dense")(nested(x)))


def all_layers(model):
    return {layer.name: layer for layer in model._flatten_layers() if hasattr(layer, "kernel")}


def multiplied_by(layer):
    """Return the kernel of a dense layer as its outputs show it: what unit vectors become, less the bias."""
    activation, layer.activation = layer.activation, None
    units = layer(np.eye(layer.input_spec.axes[-1], dtype=np.float32))
    layer.activation = activation
    return ops.convert_to_numpy(units) - ops.convert_to_numpy(layer.bias)


pytestmark = pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")


@pytest.mark.parametrize("block", [-1, 16])
def test_an_int4_kernel_is_unpacked_and_scaled(block):
    layer = L.Dense(5)
    layer.build((None, 48))
    layer.quantize("int4", config=keras.quantizers.Int4QuantizationConfig(block_size=block, activation_quantizer=None))
    before = layer(np.eye(48, dtype=np.float32))
    np.testing.assert_allclose(float_kernel(layer), ops.convert_to_numpy(before), atol=1e-6)


def test_an_int8_model_becomes_the_float_model_of_its_kernels():
    model = network()
    expected = model(IMAGES)
    model.quantize("int8")
    plain = float_model(model)
    for name, layer in all_layers(model).items():
        assert is_adapted(layer) == (name != "conv")
        if name != "conv":  # what unit vectors become; the layer rounds them to 127 / 127
            np.testing.assert_allclose(float_kernel(layer), multiplied_by(layer), atol=1e-6)
    assert not any(map(is_adapted, plain._flatten_layers()))
    assert {layer.compute_dtype for layer in plain._flatten_layers()} == {"float32"}
    assert all_layers(plain)["dense"].kernel.dtype == "float32" and all_layers(plain).keys() == all_layers(model).keys()
    np.testing.assert_allclose(plain(IMAGES), expected, atol=0.02)
    np.testing.assert_array_equal(all_layers(plain)["conv"].kernel, all_layers(model)["conv"].kernel)
    quantized = quantize_model(model)  # without formats, it computes in float
    np.testing.assert_allclose(quantized(IMAGES), plain(IMAGES), rtol=1e-5, atol=1e-6)
    dense = all_layers(model)["dense"]
    np.testing.assert_array_equal(effective_weights(dense)[0], all_layers(plain)["dense"].kernel)


def test_float8_and_lora_keep_the_kernel_and_what_was_added():
    model = network()
    model.quantize("float8")
    expected = float_model(model)(IMAGES)
    np.testing.assert_allclose(expected, network()(IMAGES), atol=1e-6)
    model = network()
    for layer in all_layers(model).values():
        layer.enable_lora(2, lora_alpha=3)
        layer.lora_kernel_b.assign(RNG.normal(size=layer.lora_kernel_b.shape))
    plain = float_model(model)
    assert not any(map(is_adapted, plain._flatten_layers()))
    np.testing.assert_allclose(plain(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-4)
    assert not np.allclose(plain(IMAGES), network()(IMAGES), atol=0.1)


def test_lora_on_int8_adds_to_the_dequantized_kernel():
    layer = L.Dense(3)
    layer.build((None, 8))
    layer.quantize("int8")
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(RNG.normal(size=layer.lora_kernel_b.shape))
    np.testing.assert_allclose(float_kernel(layer), multiplied_by(layer), atol=1e-5)


def test_a_plain_model_is_returned_as_it_is_and_another_kind_is_refused():
    model = network()
    assert float_model(model) is model
    layer = model.get_layer("dense")
    np.testing.assert_array_equal(float_kernel(layer), layer.kernel)
    layer._dtype_policy = keras.dtype_policies.GPTQDTypePolicy("gptq/4/16", "float32")
    with pytest.raises(InputError, match="layer dense was quantized by Keras .gptq."):
        float_model(model)
