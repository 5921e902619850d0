"""Sequential bias correction against plain NumPy and forward passes of Keras: each filter has its mean of float."""

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, quantize, quantize_model, zoo
from fewbits.backend import keras, ops
from fewbits.post_training import correct_bias, correct_bias_sequentially, round_kernels
from fewbits.quantization.layers import Formats

L = keras.layers
IMAGES = np.random.default_rng(1).uniform(0, 1, (70, 9, 9, 3)).astype("float32")  # three batches, the last not full
KERNELS = Formats(FixedPoint(0, 4))


def network(build, shape=(9, 9, 3)):
    keras.utils.set_random_seed(0)
    images = L.Input(shape)
    return keras.Model(images, build(images))


def chain(x):
    x = L.Conv2D(5, 3, activation="relu", name="conv", bias_initializer="ones")(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="depthwise", use_bias=False)(x)
    x = L.Conv2DTranspose(4, 3, activation="relu", name="transposed")(x)
    return L.Dense(4, name="dense")(L.Flatten()(x))


def branches(x):
    x = L.Conv2D(4, 1, activation="relu", name="squeeze")(x)
    x = L.Concatenate()(
        [L.Conv2D(3, 1, activation="relu", name="left")(x), L.Conv2D(5, 3, padding="same", name="right")(x)]
    )
    x = L.Add()([x, L.Conv2D(8, 1, name="beside")(x)])
    return L.Dense(3, activation="softmax", name="last")(L.GlobalAveragePooling2D()(L.ReLU()(x)))


def sequence(x):
    x = L.Reshape((27, 9))(x)
    x = L.Conv1D(6, 3, padding="causal", activation="relu", name="conv")(x)
    return L.Dense(3, name="dense")(L.DepthwiseConv1D(3, name="depthwise")(x))


def numbers(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def with_kernels_in_place(quantized, rounding="floor"):
    """Return a plain Keras model that computes with the rounded kernels and the biases of a quantized one."""
    fixed = round_kernels(quantized, rounding)
    fixed.set_level(0)
    return fixed


def means(model, images=IMAGES):
    """Return layer name -> the mean of each filter before its activation, by one forward pass of a plain network."""
    found = {}
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            inputs = keras.Model(model.inputs, layer.input).predict(images, verbose=0)
            activation, layer.activation = layer.activation, keras.activations.linear
            products = numbers(layer(inputs)).astype("float64")
            found[layer.name] = products.mean(tuple(range(products.ndim - 1)))
            layer.activation = activation
    return found


@pytest.mark.parametrize("build", [chain, branches, sequence])
def test_every_filter_has_its_float_mean_when_only_kernels_are_rounded(build):
    model = network(build)
    before = quantize_model(model, KERNELS)
    wanted, off = means(model), means(with_kernels_in_place(before))
    found = means(with_kernels_in_place(correct_bias_sequentially(before, IMAGES)))
    at_once = means(with_kernels_in_place(correct_bias(before, IMAGES)))
    assert found.keys() == wanted.keys() == {layer.name for layer in before.quantized_layers}
    for name, mean in wanted.items():
        assert np.abs(found[name] - mean).max() < 2e-5 < 1e-2 < np.abs(off[name] - mean).max(), name
    last = list(wanted)[-1]
    assert np.abs(at_once[last] - wanted[last]).max() > 1e-3  # what the layers before it still get wrong


def test_two_layers_by_hand():
    """Kernels of 0.75 are 0.5 on a grid of halves: by hand, with a ReLU between that sees other signs afterwards."""
    model = network(lambda x: L.Dense(1, name="b")(L.Dense(1, activation="relu", name="a")(x)), (1,))
    model.get_layer("a").set_weights([np.float32([[0.75]]), np.float32([0.5])])
    model.get_layer("b").set_weights([np.float32([[0.75]]), np.float32([0])])
    quantized = quantize_model(model, [FixedPoint(0, 2)])
    images = np.float32([[-2], [0], [4]])
    # a: float -1, 0.5, 3.5, mean 1; rounded -0.5, 0.5, 2.5, mean 5/6: its bias rises by 1/6.
    # b: float reads 0, 0.5, 3.5, mean 0.75 * 4/3 = 1; rounded reads 0, 2/3, 8/3, mean 0.5 * 10/9 = 5/9.
    after = correct_bias_sequentially(quantized, images)
    assert numbers(after.get_layer("a").bias) == pytest.approx(0.5 + 1 / 6)
    assert numbers(after.get_layer("b").bias) == pytest.approx(1 - 5 / 9)
    at_once = correct_bias(quantized, images)  # b sees the float inputs: 0.25 * 4/3
    assert numbers(at_once.get_layer("b").bias) == pytest.approx(1 / 3)


def test_inputs_and_outputs_are_rounded_too_when_the_mean_is_taken():
    inputs, output = FixedPoint(0, 4), FixedPoint(2, 4)
    model = network(chain)
    quantized = quantize_model(model, Formats(FixedPoint(0, 5), inputs, output))
    after = correct_bias_sequentially(quantized, IMAGES)
    kernel = quantize(numbers(model.get_layer("conv").kernel), FixedPoint(0, 5), "floor").astype("float64")
    windows = np.lib.stride_tricks.sliding_window_view(IMAGES.astype("float64"), (3, 3), axis=(1, 2)).mean((0, 1, 2))
    codes = quantize(IMAGES.astype("float64"), inputs, "floor")
    rounded = np.lib.stride_tricks.sliding_window_view(codes, (3, 3), axis=(1, 2)).mean((0, 1, 2))
    float_kernel = numbers(model.get_layer("conv").kernel).astype("float64")
    shift = np.einsum("cij,ijcf->f", windows, float_kernel) - np.einsum("cij,ijcf->f", rounded, kernel)
    assert np.allclose(numbers(after.get_layer("conv").bias), 1 + shift, atol=1e-5)
    # the next layer reads outputs of the corrected layer, rounded down by it and once more by itself
    read = keras.Model(after.inputs, after.get_layer("conv").output).predict(IMAGES, verbose=0)
    assert np.array_equal(read, quantize(read, output, "floor"))
    depthwise = model.get_layer("depthwise")
    reached = quantize(read, inputs, "floor")
    rounded = quantize(numbers(depthwise.kernel), FixedPoint(0, 5), "floor")
    found = numbers(ops.depthwise_conv(reached, rounded)).reshape(-1, 10).mean(0, dtype="float64")
    assert np.allclose(numbers(after.get_layer("depthwise").bias), means(model)["depthwise"] - found, atol=1e-5)


def test_it_takes_fewer_errors_along_than_the_correction_of_all_layers_at_once():
    model = zoo.build("squeezenet_digits", (8, 8, 1), 10, weights="squeezenet_digits")
    images = np.random.default_rng(0).uniform(0, 1, (40, 8, 8, 1)).astype("float32")
    quantized = quantize_model(model, Formats(FixedPoint(0, 5)))

    def off(network):
        return np.sqrt(np.mean((numbers(network(images)) - numbers(model(images))) ** 2))

    assert off(correct_bias_sequentially(quantized, images)) < off(correct_bias(quantized, images)) < off(quantized)


def test_a_layer_of_several_uses_is_corrected_for_each():
    def build(x):
        shared = L.Conv2D(3, 3, padding="same", activation="relu", name="shared")
        return L.Dense(2, name="dense")(L.GlobalAveragePooling2D()(shared(shared(x))))

    model = network(build)
    quantized = quantize_model(model, KERNELS, duplicate_shared=True)
    wanted = quantize_model(model, duplicate_shared=True)
    wanted.set_level(0)
    after = correct_bias_sequentially(quantized, IMAGES)
    found, wanted = means(with_kernels_in_place(after)), means(wanted)
    assert len(found) == 3 and found.keys() == wanted.keys()
    assert all(np.abs(found[name] - mean).max() < 1e-5 for name, mean in wanted.items())
    first, second = (numbers(layer.bias) for layer in after.quantized_layers[:2])
    assert not np.allclose(first, second, atol=1e-3)


def test_several_inputs_and_images_in_a_dictionary():
    keras.utils.set_random_seed(0)
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    model = keras.Model([a, b], L.Dense(2, name="last")(L.Add()([L.Dense(4, name="first")(a), b])))
    images = {"b": IMAGES[:, 0, 0:4, 0], "a": IMAGES[:, 1, 0:4, 1]}
    after = with_kernels_in_place(correct_bias_sequentially(quantize_model(model, KERNELS), images))
    off = numbers(after([images["a"], images["b"]])) - numbers(model([images["a"], images["b"]]))
    assert np.abs(off.mean(0)).max() < 1e-5 < np.abs(off).max()


def test_the_network_stays_and_so_do_layers_that_are_not_enabled():
    quantized = quantize_model(network(chain), (FixedPoint(0, 4), None, FixedPoint(3, 6)))
    quantized.set_level(2)
    quantized.get_layer("transposed").locked = True
    kept, done = [w.copy() for w in quantized.get_weights()], []
    after = correct_bias_sequentially(quantized, IMAGES, progress=lambda *counts: done.append(counts))
    assert all(map(np.array_equal, quantized.get_weights(), kept))
    assert done == [(1, 2), (2, 2)] and after.formats == quantized.formats
    assert [layer.enabled for layer in after.quantized_layers] == [True, True, False, False]
    assert after.get_layer("transposed").locked and not after.get_layer("conv").locked
    for name in ("transposed", "dense"):
        assert np.array_equal(*(numbers(q.get_layer(name).bias) for q in (quantized, after)))
    assert all(np.array_equal(*(numbers(q.get_layer(n).kernel) for q in (quantized, after))) for n in ("conv", "dense"))


def test_where_nothing_is_rounded_nothing_changes():
    quantized = quantize_model(network(branches))
    after = correct_bias_sequentially(quantized, IMAGES)
    for layer in quantized.quantized_layers:
        assert np.array_equal(numbers(layer.bias), numbers(after.get_layer(layer.name).bias))


def test_images_and_networks_that_do_not_fit_are_refused():
    quantized = quantize_model(network(chain), KERNELS)
    with pytest.raises(InputError, match="at least one image is needed"):
        correct_bias_sequentially(quantized, IMAGES[:0])
    with pytest.raises(InputError, match="use quantize_model first"):
        correct_bias_sequentially(network(chain), IMAGES)
