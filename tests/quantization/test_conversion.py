"""Conversion of whole models: the same weights, the same graph, levels, and refusals by name."""

from functools import partial

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, quantize, quantize_model, zoo
from fewbits.backend import keras, ops
from fewbits.data import PixelCodes
from fewbits.graph import rebuild
from fewbits.post_training.copies import copied
from fewbits.pruning import remove_filters
from fewbits.quantization.conversion import dequantize_model, with_ranges
from fewbits.quantization.layers import FLOAT, Formats

L = keras.layers
FORMATS = Formats(FixedPoint(0, 8), FixedPoint(1, 8), FixedPoint(2, 8))
IMAGES = np.random.default_rng(0).random((3, 10, 10, 3), np.float32)


def branching(norm=False):
    """Return a model with two branches, concatenation, addition, and (norm) batch normalization after linear layers."""
    keras.utils.set_random_seed(0)

    def convolve(x, name, **settings):
        x = L.Conv2D(4, 3, padding="same", use_bias=not norm, bias_initializer="random_normal", name=name, **settings)(
            x
        )
        return L.BatchNormalization(name=f"{name}_norm")(x) if norm else x

    x = inputs = L.Input((10, 10, 3), name="image")
    a, b = L.ReLU()(convolve(x, "a")), L.ReLU()(convolve(x, "b"))
    x = L.MaxPooling2D()(L.Concatenate()([a, b]))
    x = L.Add()([L.DepthwiseConv2D(3, padding="same", name="c")(x), x])
    x = L.Dense(5, name="d")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x, name="branching")
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.set_weights([np.random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


@pytest.mark.parametrize("copy", [with_ranges, copied, rebuild, partial(remove_filters, filters={})])
def test_copies_of_a_quantized_network_keep_its_pixels(copy):
    model = quantize_model(branching())
    model.pixels = PixelCodes(256, 1)
    assert copy(model).pixels == PixelCodes(256, 1)


def predict(model):
    return model.predict(IMAGES, verbose=0)


def test_with_no_level_on_it_is_exactly_the_float_model():
    model = branching()
    quantized = quantize_model(model, FORMATS)
    quantized.set_level(0)
    assert np.array_equal(predict(quantized), predict(model))


def test_the_original_is_untouched():
    model = branching()
    before = predict(model)
    quantized = quantize_model(model, FORMATS)
    quantized.get_layer("a").kernel.assign(quantized.get_layer("a").kernel * 0)
    assert np.array_equal(predict(model), before)


def test_on_model_weights_equal_weights_quantized_off_the_model():
    model = branching()
    quantized = quantize_model(model, (FORMATS.kernel, None, None), rounding="nearest")
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(quantize(ops.convert_to_numpy(layer.kernel), FORMATS.kernel, "nearest"))
    assert np.array_equal(predict(quantized), predict(model))


def test_a_level_switches_on_the_first_layers_and_no_others():
    quantized = quantize_model(branching(), FORMATS, levels=[["a", "b"], ["c"], ["d"]])
    for n in (2, 0, 3):
        quantized.set_level(n)
        on = {layer.name: layer.enabled for layer in quantized.quantized_layers}
        assert on == {"a": n >= 1, "b": n >= 1, "c": n >= 2, "d": n >= 3}


def test_squeezenet_has_the_ten_levels_of_the_thesis():
    model = zoo.build("squeezenet_v1_1", (32, 32, 3), 10)
    levels = zoo.levels(model)
    assert [names[0].split("_")[0] for names in levels] == ["conv1", *(f"fire{i}" for i in range(2, 10)), "conv10"]
    assert levels[1] == ["fire2_squeeze1x1", "fire2_expand1x1", "fire2_expand3x3"]
    assert quantize_model(model, levels=levels).levels == 10


def test_formats_can_be_given_for_some_layers_by_name():
    quantized = quantize_model(branching(), {"c": FORMATS})
    assert quantized.formats["c"] == FORMATS and quantized.formats["a"] == FLOAT


def test_folding_keeps_the_function_and_leaves_no_normalization():
    model = branching(norm=True)
    folded = quantize_model(model, fold_batch_normalization=True)
    assert not any(isinstance(layer, L.BatchNormalization) for layer in folded.layers)
    assert np.allclose(predict(folded), predict(model), atol=1e-5)


@pytest.mark.parametrize("settings", [{"scale": False}, {"center": False}, {"scale": False, "center": False}])
def test_folding_knows_normalization_without_scale_or_shift(settings):
    x = inputs = L.Input((10, 10, 3))
    x = L.DepthwiseConv2D(3, depth_multiplier=2)(x)
    model = keras.Model(inputs, L.BatchNormalization(**settings)(x))
    model.layers[-1].set_weights([np.random.uniform(0.5, 1.5, w.shape) for w in model.layers[-1].get_weights()])
    assert np.allclose(predict(quantize_model(model, fold_batch_normalization=True)), predict(model), atol=1e-5)


@pytest.mark.parametrize(("relu", "moves"), [(L.ReLU(), True), (L.Activation("relu"), True), (L.ReLU(6), False)])
def test_a_relu_behind_what_is_folded_moves_into_the_layer(relu, moves):
    model = keras.Sequential([L.Input((10, 10, 3)), L.Conv2D(3, 3), L.BatchNormalization(), relu, L.Flatten()])
    folded = quantize_model(model, fold_batch_normalization=True)
    assert [type(layer) for layer in folded.layers[2:]] == ([L.Flatten] if moves else [type(relu), L.Flatten])
    assert np.allclose(predict(folded), predict(model), atol=1e-5)


def test_a_relu_that_is_not_the_only_reader_stays():
    x = L.Input((10, 10, 3))
    normal = L.BatchNormalization()(L.Conv2D(3, 3)(x))
    model = keras.Model(x, L.Add()([normal, L.ReLU()(normal)]))
    folded = quantize_model(model, fold_batch_normalization=True)
    assert any(isinstance(layer, L.ReLU) for layer in folded.layers)
    assert np.allclose(predict(folded), predict(model), atol=1e-5)


def test_normalization_without_folding_stays_float():
    model = branching(norm=True)
    quantized = quantize_model(model, FORMATS)
    quantized.set_level(0)
    assert np.array_equal(predict(quantized), predict(model))


def test_back_again_gives_plain_layers_with_the_same_weights():
    model = branching()
    plain = dequantize_model(quantize_model(model, FORMATS))
    assert [type(a) for a in plain.layers] == [type(b) for b in model.layers]
    assert np.array_equal(predict(plain), predict(model))


def test_a_quantized_model_can_be_converted_again_with_other_formats():
    first = quantize_model(branching(), FORMATS)
    again = quantize_model(first, (FixedPoint(0, 2), None, None))
    assert again.formats["a"].kernel == FixedPoint(0, 2) and first.formats["a"] == FORMATS


def test_a_saved_model_keeps_levels_and_outputs(tmp_path):
    quantized = quantize_model(branching(), FORMATS, levels=[["a", "b"], ["c", "d"]])
    quantized.set_level(1)
    quantized.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.levels == 2 and again.formats == quantized.formats
    assert np.array_equal(predict(again), predict(quantized))


def refused(said, *layers, **settings):
    model = keras.Sequential([L.Input((10, 10, 3)), *layers], name="net")
    with pytest.raises(InputError, match=said):
        quantize_model(model, **settings)


def test_a_layer_of_another_kind_is_refused_by_name():
    refused("layer up is a Conv1DTranspose", L.Reshape((100, 3)), L.Conv1DTranspose(2, 3, name="up"))


def test_a_subclass_is_refused_since_it_may_compute_otherwise():
    class Mine(L.Conv2D):
        pass

    refused("layer mine is a Mine", Mine(2, 3, name="mine"))


def test_a_model_with_nothing_to_quantize_is_refused():
    refused("net has no convolution", L.Flatten())


def test_an_unknown_layer_name_is_refused_with_the_nearest():
    refused("no layer conv_1 to quantize, perhaps 'conv1'", L.Conv2D(2, 3, name="conv1"), formats={"conv_1": FORMATS})


@pytest.mark.parametrize("levels", [[["a"]], [["a", "b"], ["a"]], [["a", "b", "x"]]])
def test_levels_that_miss_repeat_or_invent_a_layer_are_refused(levels):
    refused("levels must name each layer", L.Conv2D(2, 3, name="a"), L.Conv2D(2, 3, name="b"), levels=levels)


FOLD = {"fold_batch_normalization": True}


def test_a_layer_read_by_others_is_not_folded():
    x = inputs = L.Input((10, 10, 3))
    x = L.Conv2D(3, 3, padding="same", name="x")(x)
    model = keras.Model(inputs, L.Add()([L.BatchNormalization(name="n")(x), x]))
    quantized = quantize_model(model, **FOLD)
    assert np.array_equal(quantized.get_layer("x").kernel, model.get_layer("x").kernel)
    assert [layer.name for layer in quantized.quantized_layers] == ["x", "n"]


def test_a_layer_used_twice_is_refused():
    x = inputs = L.Input((10, 10, 3))
    shared = L.Conv2D(3, 3, padding="same", name="shared")
    with pytest.raises(InputError, match="shared is used 2 times"):
        quantize_model(keras.Model(inputs, shared(shared(x))))


def test_a_model_without_a_graph_is_refused():
    with pytest.raises(InputError, match="no graph"):
        quantize_model(keras.Sequential([L.Dense(2)], name="net"))


@pytest.mark.parametrize("level", [-1, 5, 1.0, True])
def test_a_level_that_does_not_exist_is_refused(level):
    with pytest.raises(InputError, match="from 0 to 4"):
        quantize_model(branching()).set_level(level)


def test_a_sequential_model_read_from_a_file_is_converted(tmp_path):
    model = keras.Sequential([L.Input((8, 8, 2)), L.Conv2D(3, 3), L.BatchNormalization(), L.Flatten(), L.Dense(2)])
    model.save(tmp_path / "model.keras")
    read = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype("float32")
    quantized = quantize_model(read, fold_batch_normalization=True)
    np.testing.assert_allclose(quantized.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
