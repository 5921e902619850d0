"""Networks in the layers that the library knows: the same outputs, and names and weights that users find again."""

import numpy as np
import pytest

from fewbits import quantize_model
from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.graph import Graph
from fewbits.quantization import canonical, dequantize_model
from fewbits.quantization.conversion import check_layers, refusals
from helpers.random_graphs import random_network, randomized

layers = keras.layers
IMAGES = np.random.default_rng(0).random((4, 8, 8, 3), dtype=np.float32)


def assert_same_outputs(model, other, images=IMAGES):
    expected = keras.tree.flatten(model(images, training=False))
    for mine, theirs in zip(keras.tree.flatten(other(images, training=False)), expected, strict=True):
        scale = np.abs(theirs).max() + 1e-6
        assert np.abs(np.asarray(mine) - np.asarray(theirs)).max() <= 1e-5 * scale


@pytest.mark.parametrize("seed", range(14))
def test_a_random_network_computes_the_same_quantized_without_formats(seed):
    model = random_network(seed)
    plain = canonical(model)
    assert_same_outputs(model, plain)
    assert all(isinstance(call.operation, keras.Layer) for call in Graph(plain).calls)
    assert not Graph(plain).nested
    for fold in (False, True):
        quantized = quantize_model(model, fold_batch_normalization=fold)
        assert_same_outputs(model, quantized)
        assert_same_outputs(model, dequantize_model(quantized))
        norms = [layer for layer in quantized.layers if isinstance(layer, layers.BatchNormalization)]
        assert not (fold and norms)


def test_a_network_of_known_layers_is_left_alone():
    image = layers.Input((8, 8, 3))
    model = keras.Model(image, layers.Add()([image, layers.Conv2D(3, 1)(image)]))
    assert canonical(model) is model


def test_nested_models_keep_names_unless_two_would_be_equal():
    def block(name):
        x = layers.Input((8, 8, 3))
        return keras.Model(x, layers.Conv2D(3, 1, name="conv")(layers.Conv2D(3, 1, name=f"{name}_only")(x)), name=name)

    image = layers.Input((8, 8, 3))
    outer = keras.Sequential([image, layers.Conv2D(3, 1, name="conv"), block("a"), block("b")], name="outer")
    plain = canonical(randomized(outer))
    assert [layer.name for layer in plain.layers[1:]] == ["conv", "a_only", "a_conv", "b_only", "b_conv"]
    assert plain.name == "outer"
    assert_same_outputs(outer, plain)


def test_lists_and_dictionaries_of_inputs_and_outputs_stay():
    one, two = layers.Input((8, 8, 3), name="one"), layers.Input((5,), name="two")
    outputs = {"maps": [layers.Conv2D(2, 1)(one) * 2], "vector": layers.Dense(2)(two)}
    model = randomized(keras.Model({"one": one, "two": two}, outputs))
    inputs = {"one": IMAGES, "two": IMAGES[:, 0, 0, :1] * np.ones(5, np.float32)}
    quantized = quantize_model(model)
    assert keras.tree.map_structure(np.shape, quantized(inputs)) == keras.tree.map_structure(np.shape, model(inputs))
    assert_same_outputs(model, quantized, inputs)


@pytest.mark.parametrize(
    "written, layer",
    [
        (lambda x: x - 1, layers.Rescaling),
        (lambda x: 1 - x, layers.Rescaling),
        (lambda x: 2 * x, layers.Rescaling),
        (lambda x: x / 4, layers.Rescaling),
        (lambda x: -x, layers.Rescaling),
        (lambda x: x * x, layers.Multiply),
        (lambda x: ops.maximum(x, 0.0), layers.ReLU),
        (lambda x: ops.clip(x, 0, 6), layers.ReLU),
        (lambda x: ops.mean(x, axis=(1, 2)), layers.GlobalAveragePooling2D),
        (lambda x: ops.max(x, axis=[1, 2], keepdims=True), layers.GlobalMaxPooling2D),
        (lambda x: ops.reshape(x, (-1, 192)), layers.Reshape),
        (lambda x: ops.transpose(x, (0, 2, 1, 3)), layers.Permute),
        (lambda x: ops.pad(x, ((0, 0), (1, 0), (2, 1), (0, 0))), layers.ZeroPadding2D),
        (lambda x: x[:, 1:-2, 3:], layers.Cropping2D),
        (lambda x: ops.concatenate([x, x], axis=1), layers.Concatenate),
        (lambda x: ops.leaky_relu(x, 0.3), layers.LeakyReLU),
        (lambda x: ops.softmax(x), layers.Softmax),
        (lambda x: ops.softmax(x, 1), layers.Softmax),
        (lambda x: ops.cast(x, "float32"), layers.Rescaling),
        (lambda x: x + np.array([0.5, 1.0, -2.0]), layers.Rescaling),
        (lambda x: ops.subtract(np.array([[0.5, 1.0, -2.0]]), x), layers.Rescaling),
        (lambda x: x / ops.convert_to_tensor([0.5, 1.0, -2.0]), layers.Rescaling),
        (lambda x: ops.average_pool(x, 2, 1, "same"), layers.AveragePooling2D),
        (lambda x: ops.max_pool(x, (2, 3)), layers.MaxPooling2D),
        (lambda x: ops.gelu(x, approximate=False), layers.Activation),
        (lambda x: ops.elu(x, 0.5), layers.ELU),
        (lambda x: ops.exp(x), layers.Activation),
        (lambda x: ops.expand_dims(x, 1), layers.Reshape),
        (lambda x: x[:, None, ..., None], layers.Reshape),
        (lambda x: ops.squeeze(x[:, 2:3], 1), (layers.Cropping2D, layers.Reshape)),
    ],
)
def test_an_operation_becomes_the_layer_that_computes_it(written, layer):
    image = layers.Input((8, 8, 3))
    model = keras.Model(image, written(image))
    made = canonical(model)
    assert [type(found) for found in made.layers[1:]] == (list(layer) if isinstance(layer, tuple) else [layer])
    assert_same_outputs(model, made, IMAGES - 0.5)


def test_an_operation_without_a_layer_is_refused_or_stays_in_float():
    image = layers.Input((8, 8, 3))
    model = randomized(keras.Model(image, ops.sin(layers.Conv2D(2, 1)(image))))
    with pytest.raises(InputError, match=r"layer sin(_\d+)? is a Sin, which cannot be quantized; unsupported='float'"):
        quantize_model(model)
    assert_same_outputs(model, quantize_model(model, unsupported="float"))


def test_numbers_that_widen_a_tensor_are_no_scales_of_its_channels():
    image = layers.Input((8, 8, 1))
    model = keras.Model(image, image * np.array([0.5, 1.0, -2.0]))
    assert canonical(model) is model


def test_what_selects_or_moves_values_needs_no_format():
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(6, 1)(image)
    first, second = ops.split(x, 2, axis=-1)
    model = randomized(keras.Model(image, first[..., ::-1] + ops.roll(second, 1, axis=1)))
    assert_same_outputs(model, quantize_model(model))


def test_an_operation_computes_in_the_type_in_which_it_was_built():
    image = layers.Input((8, 8, 3), dtype="float64")
    model = keras.Model(image, ops.tanh(layers.Conv2D(2, 1, dtype="float64")(image)) * 0.5)
    plain, x = canonical(randomized(model)), IMAGES.astype(np.float64)
    assert plain.layers[-1].compute_dtype == "float64"
    np.testing.assert_allclose(ops.convert_to_numpy(plain(x)), ops.convert_to_numpy(model(x)), rtol=1e-13)


def test_a_nested_model_may_take_its_inputs_by_name():
    inside, image = layers.Input((8, 8, 3)), layers.Input((8, 8, 3))
    inner = keras.Model(inside, layers.Conv2D(2, 1)(inside))
    model = randomized(keras.Model(image, inner(inputs=image)))
    assert_same_outputs(model, canonical(model))


def test_an_operation_that_mixes_images_is_refused():
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 1)(image)
    joined = ops.concatenate([x, x], axis=0)
    for mixed in (ops.reshape(x, (-1, 8, 4)), ops.expand_dims(x, 0), ops.transpose(x, (1, 0, 2, 3)), joined):
        with pytest.raises(InputError, match="gives the batch another shape; use a layer"):
            quantize_model(keras.Model(image, mixed))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends compile all names")
def test_names_that_tensorflow_cannot_compile_are_refused_until_they_are_changed():
    model = keras.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(2, 1, name="Faltung 1")], name="größe")
    with pytest.raises(InputError, match="^the network größe has a name that TensorFlow cannot compile; set its attri"):
        quantize_model(model)
    model.name = "net"
    with pytest.raises(InputError, match="^layer Faltung 1 has a name that TensorFlow cannot compile"):
        quantize_model(model)
    model.layers[0].name = "conv1"
    assert quantize_model(model).predict(IMAGES, verbose=0).shape == (4, 8, 8, 2)


def test_a_layer_used_twice_is_refused_or_becomes_two():
    image, conv = layers.Input((8, 8, 3)), layers.Conv2D(3, 3, padding="same", name="conv")
    model = randomized(keras.Model(image, conv(conv(image))))
    with pytest.raises(InputError, match="layer conv is used 2 times; duplicate_shared=True gives each use a layer"):
        quantize_model(model)
    two = quantize_model(model, duplicate_shared=True)
    assert [layer.name for layer in two.quantized_layers] == ["conv", "conv_2"]
    assert_same_outputs(model, two)


def test_all_refusals_come_at_once_each_with_its_layer_and_a_way_out():
    image = layers.Input((8, 8, 3))
    x = layers.LayerNormalization(name="norm")(layers.Conv2D(3, 1)(image))
    model = randomized(keras.Model(image, layers.UnitNormalization(name="unit")(x)))
    with pytest.raises(InputError) as caught:
        check_layers(model)
    for part in ("norm is a LayerNormalization", "BatchNormalization", "unit is a UnitNormalization", "unsupported="):
        assert part in str(caught.value)
    assert list(refusals(model)) == ["norm", "unit"]
    assert_same_outputs(model, quantize_model(model, unsupported="float"))


@pytest.mark.parametrize("shape", [(16, 3), (8, 8, 3)])
def test_separable_convolutions_become_two(shape):
    kind = layers.SeparableConv1D if len(shape) == 2 else layers.SeparableConv2D
    image = layers.Input(shape)
    model = randomized(
        keras.Model(image, kind(5, 3, strides=2, depth_multiplier=2, activation="tanh", name="s")(image))
    )
    images = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    quantized = quantize_model(model)
    assert [layer.name for layer in quantized.quantized_layers] == ["s_depthwise", "s"]
    assert_same_outputs(model, quantized, images)
