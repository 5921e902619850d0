"""Refitted kernels against definitions: what each weight is rounded to, and what the rest makes good of its error."""

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, quantize, quantize_model
from fewbits.backend import keras, ops
from fewbits.post_training import refit_kernels, round_kernels, weight_rounding
from fewbits.quantization.calibration import formats_for
from fewbits.quantization.conversion import dequantize_model
from fewbits.quantization.layers import Formats

L = keras.layers
F4 = FixedPoint(0, 4)


def photos(seed, n=24, side=8, channels=3):
    """Return smooth positive images, whose neighbouring pixels go together as those of photographs do."""
    rough = np.random.default_rng(seed).uniform(0, 1, (n, side // 2, side // 2, channels)) ** 2
    return rough.repeat(2, 1).repeat(2, 2).astype("float32") + 0.1


def network(stack, formats=None, seed=0):
    """Return what `stack` builds, a list of layers, quantized; layers draw their weights' seed when they are made."""
    keras.utils.set_random_seed(seed)
    x = images = L.Input((8, 8, 3))
    for layer in stack():
        x = layer(x)
    return quantize_model(keras.Model(images, x), formats or Formats(F4), rounding="nearest")


def numbers(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def windows_by_hand(x, size, strides=(1, 1), dilation=(1, 1), padding="valid"):
    """Return (windows, height * width * channels) of `x`, by slices only."""
    height, width = ((k - 1) * d + 1 for k, d in zip(size, dilation))
    if padding == "same":
        whole = [(-(-n // s) - 1) * s + reach - n for n, s, reach in zip(x.shape[1:3], strides, (height, width))]
        sides = [(max(w, 0) // 2, max(w, 0) - max(w, 0) // 2) for w in whole]
        x = np.pad(x, [(0, 0), *sides, (0, 0)])
    found = []
    for image in x:
        for i in range(0, image.shape[0] - height + 1, strides[0]):
            for j in range(0, image.shape[1] - width + 1, strides[1]):
                found.append(image[i : i + height : dilation[0], j : j + width : dilation[1]].ravel())
    return np.array(found)


# Windows


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("size", "strides", "dilation"),
    [((3, 3), (1, 1), (1, 1)), ((1, 1), (2, 2), (1, 1)), ((2, 3), (2, 1), (1, 1)), ((3, 3), (2, 2), (1, 1))]
    + [((3, 2), (1, 1), (2, 2)), ((2, 3), (1, 1), (1, 2))],
)
def test_windows_are_those_of_slices_and_give_the_layers_products(size, strides, dilation, padding):
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype("float32")
    layer = L.Conv2D(4, size, strides, padding, dilation_rate=dilation, use_bias=False)
    products = numbers(layer(x))
    found = weight_rounding._windows(layer, x)
    assert np.array_equal(found, windows_by_hand(x, size, strides, dilation, padding))
    assert np.allclose(found @ numbers(layer.kernel).reshape(-1, 4), products.reshape(-1, 4), atol=1e-5)
    assert np.array_equal(weight_rounding._windows(layer, x, np.array([5, 0])), found[[5, 0]])


def test_windows_of_a_dense_layer_are_its_inputs():
    x = np.random.default_rng(0).normal(size=(5, 7)).astype("float32")
    layer = L.Dense(3)
    layer(x)
    assert np.array_equal(weight_rounding._windows(layer, x), x)
    x = x.reshape(5, 1, 1, 7).repeat(2, 1)
    assert np.array_equal(weight_rounding._windows(layer, x), x.reshape(10, 7))


# Rounding in turn


def rounded_in_turn(kernel, power, formats):
    columns = zip(weight_rounding._compensated(kernel, power, formats).T, formats)
    return np.stack([quantize(column, fmt, "nearest") for column, fmt in columns], -1)


def in_turn_by_definition(kernel, power, formats):
    """Round the weights, strongest inputs first; after each, solve for the weights left that make good for it best.

    Least in e of (w + e)' P (w + e), w the error so far, e a change of the weights left: P_ll e_l = -P_lr w_r.
    """
    order = list(np.argsort(-np.diag(power), kind="stable"))
    result = np.empty_like(kernel)
    for column, fmt in enumerate(formats):
        wanted, now = kernel[:, column], kernel[:, column].copy()
        for i, weight in enumerate(order):
            code = np.clip(np.round(now[weight] / fmt.step), fmt.min_code, fmt.max_code)
            now[weight] = code * fmt.step
            done, left = order[: i + 1], order[i + 1 :]
            error = now[done] - wanted[done]
            now[left] = wanted[left] - np.linalg.solve(power[np.ix_(left, left)], power[np.ix_(left, done)] @ error)
        result[:, column] = now
    return result


@pytest.mark.parametrize("seed", range(12))
def test_each_weight_is_rounded_as_the_definition_has_it(seed):
    rng = np.random.default_rng(seed)
    weights, filters = rng.integers(1, 12), rng.integers(1, 5)
    inputs = rng.normal(size=(50, weights)) @ rng.normal(size=(weights, weights)) + 1
    power = inputs.T @ inputs / 50 + 0.01 * np.eye(weights)
    kernel = rng.normal(0, 0.6, (weights, filters))
    formats = [FixedPoint(int(msb), 5) for msb in rng.integers(-1, 2, filters)]
    assert np.array_equal(rounded_in_turn(kernel, power, formats), in_turn_by_definition(kernel, power, formats))


def test_inputs_that_do_not_go_together_leave_rounding_to_nearest():
    kernel = np.random.default_rng(0).normal(0, 0.5, (9, 4))
    rounded = rounded_in_turn(kernel, np.diag(np.arange(1.0, 10)), [F4] * 4)
    assert np.array_equal(rounded, quantize(kernel, F4, "nearest"))


# Fitting


def test_with_inputs_in_float_there_is_nothing_to_fit_before_rounding():
    rng = np.random.default_rng(0)
    images = (rng.normal(1, 0.3, (80, 3, 3, 3)) * np.arange(1, 28).reshape(3, 3, 3)).astype("float32")  # in clear order
    keras.utils.set_random_seed(0)
    x = L.Input((3, 3, 3))
    before = quantize_model(keras.Model(x, L.Conv2D(4, 3, name="a")(x)), Formats(F4), rounding="nearest")
    x = windows_by_hand(images, (3, 3)).astype(np.float64)
    power = x.T @ x / 80
    damped = power + 27 / 80 * np.mean(np.diag(power)) * np.eye(27)
    kernel = numbers(before.get_layer("a").kernel).reshape(27, 4).astype(np.float64)
    found = numbers(refit_kernels(before, images).get_layer("a").kernel).reshape(27, 4)
    assert np.array_equal(found, in_turn_by_definition(kernel, damped, [F4] * 4))


def test_the_kernel_that_is_rounded_is_the_damped_least_squares_one():
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(200, 6))
    reached = np.round(wanted * 2) / 2
    kernel = rng.normal(0, 0.3, (6, 3))
    fine = FixedPoint(2, 24)
    fitted = weight_rounding._refitted(kernel, reached, wanted, [fine] * 3)
    damping = max(0.01, 6 / 200) * np.mean(reached**2)
    # least of |reached w - wanted kernel|^2 / 200 + damping |w - kernel|^2, stacked for lstsq
    rows = np.vstack([reached / np.sqrt(200), np.sqrt(damping) * np.eye(6)])
    sides = np.vstack([wanted @ kernel / np.sqrt(200), np.sqrt(damping) * kernel])
    assert np.allclose(fitted, np.linalg.lstsq(rows, sides, rcond=None)[0], atol=2 * fine.step, rtol=0)


def stack():
    return [L.Conv2D(6, 3, activation="relu", name="a"), L.MaxPooling2D(), L.Flatten(), L.Dense(4, name="b")]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_products_come_nearer_to_float_than_with_kernels_rounded_to_nearest(seed, per_channel):
    images = photos(seed)
    before = network(stack, seed=seed)
    plain = dequantize_model(before)
    formats = formats_for(plain, images, (4, 6, 6), "mse", per_channel=per_channel)
    before.set_formats(formats)
    kept = before.get_weights()
    refitted, rounded = refit_kernels(before, images), round_kernels(before)
    assert all(map(np.array_equal, before.get_weights(), kept)) and refitted.formats == before.formats
    wanted = numbers(plain(images))
    errors = [np.square(numbers(model(images)) - wanted).sum() for model in (refitted, rounded)]
    assert errors[0] < errors[1]
    for name, fmt in formats.items():
        kernel = numbers(refitted.get_layer(name).kernel)
        columns = kernel.reshape(-1, kernel.shape[-1]).T
        each = fmt.kernel if isinstance(fmt.kernel, tuple) else [fmt.kernel] * len(columns)
        for column, one in zip(columns, each, strict=True):
            assert np.array_equal(quantize(column, one, "floor"), column)


@pytest.mark.parametrize(
    "stack",
    [
        lambda: [L.Conv2D(4, 3, strides=2, padding="same")],
        lambda: [L.Conv2D(4, (2, 3), strides=(1, 2))],
        lambda: [L.Conv2D(4, 3, dilation_rate=2, padding="same")],
        lambda: [L.Conv2D(4, 2, dilation_rate=(2, 1))],
        lambda: [L.AveragePooling2D(2), L.Flatten(), L.Dense(4)],
    ],
)
def test_the_squared_error_of_one_layer_is_below_that_of_rounding_to_nearest(stack):
    images = photos(5, n=40)
    before = network(stack)
    wanted = numbers(dequantize_model(before)(images))
    errors = [np.square(numbers(m(images)) - wanted).sum() for m in (refit_kernels(before, images), before)]
    assert errors[0] < errors[1]


# What it leaves, and what it refuses


def test_a_channel_that_is_always_zero_has_its_weights_rounded_to_nearest():
    images = photos(0)
    images[..., 1] = 0
    before = network(lambda: [L.Conv2D(4, 3, name="a")])
    kernel, refitted = (numbers(n.get_layer("a").kernel) for n in (before, refit_kernels(before, images)))
    assert np.array_equal(refitted[:, :, 1], quantize(kernel[:, :, 1], F4, "nearest"))
    assert not np.array_equal(refitted, quantize(kernel, F4, "nearest"))
    dark = numbers(refit_kernels(before, np.zeros_like(images)).get_layer("a").kernel)
    assert np.array_equal(dark, quantize(kernel, F4, "nearest"))


def test_biases_layers_in_float_and_layers_that_are_off_stay():
    images = photos(0)
    before = network(
        lambda: [*stack(), L.Dense(3, name="c")], formats={"a": Formats(None, F4), "b": Formats(F4), "c": Formats(F4)}
    )
    before.get_layer("b").enabled = False
    after = refit_kernels(before, images)
    for name in "ab":
        assert all(map(np.array_equal, after.get_layer(name).get_weights(), before.get_layer(name).get_weights()))
    assert not np.array_equal(numbers(after.get_layer("c").kernel), numbers(before.get_layer("c").kernel))
    assert np.array_equal(numbers(after.get_layer("c").bias), numbers(before.get_layer("c").bias))


def test_a_seed_draws_the_windows_and_each_layer_is_told(monkeypatch):
    monkeypatch.setattr(weight_rounding, "WINDOWS", 60)
    images, before, told = photos(0), network(stack), []
    first, again, other = (
        refit_kernels(before, images, seed, lambda *now: told.append(now)).get_weights() for seed in (1, 1, 2)
    )
    assert all(map(np.array_equal, first, again)) and not all(map(np.array_equal, first, other))
    assert told == [(1, 2), (2, 2)] * 3


# Filters that see different inputs


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="own"),
        lambda: L.DepthwiseConv2D((2, 3), 2, dilation_rate=1, name="own"),
        lambda: L.Conv2D(6, 3, groups=3, padding="same", name="own"),
    ],
)
def test_each_group_is_refitted_as_the_convolution_of_its_channels_alone(layer, monkeypatch):
    monkeypatch.setattr(weight_rounding, "WINDOWS", 10**6)  # all, in an order that does not matter
    images = photos(4, channels=6)
    keras.utils.set_random_seed(0)
    x = L.Input((8, 8, 6))
    before = quantize_model(keras.Model(x, layer()(x)), Formats(F4, FixedPoint(0, 6)), rounding="nearest")
    own = before.get_layer("own")
    found = numbers(refit_kernels(before, images).get_layer("own").kernel)
    groups = 6 if isinstance(own, L.DepthwiseConv2D) else 3
    each = 6 // groups  # channels of a group
    for g in range(groups):
        channels = slice(g * each, (g + 1) * each)
        filters = channels if groups < 6 else slice(None)
        kernel = numbers(own.kernel)[:, :, channels] if groups == 6 else numbers(own.kernel)[..., filters]
        y = L.Input((8, 8, each))
        size = {"strides": own.strides, "padding": own.padding, "use_bias": False, "name": "alone"}
        alone = keras.Model(y, L.Conv2D(kernel.shape[-1], own.kernel_size, **size)(y))
        alone.get_layer("alone").kernel.assign(kernel)
        alone = quantize_model(alone, Formats(F4, FixedPoint(0, 6)), rounding="nearest")
        alone = refit_kernels(alone, images[..., channels])
        expected = numbers(alone.get_layer("alone").kernel)
        assert np.array_equal(found[:, :, channels] if groups == 6 else found[..., filters], expected), g


def test_a_depthwise_convolution_of_sequences_comes_nearer_to_float():
    images = photos(3, n=60, side=16, channels=6).mean(1)  # smooth along the sequence
    keras.utils.set_random_seed(0)
    x = L.Input((16, 6))
    model = keras.Model(x, L.DepthwiseConv1D(5, padding="same", name="own")(x))
    before = quantize_model(model, Formats(F4), rounding="nearest")
    wanted = numbers(model(images))
    errors = [np.square(numbers(m(images)) - wanted).sum() for m in (refit_kernels(before, images), before)]
    assert errors[0] < errors[1]


def test_transposed_convolutions_are_refused_by_name():
    with pytest.raises(InputError, match="odd is a transposed convolution"):
        refit_kernels(network(lambda: [L.Conv2DTranspose(4, 3, name="odd")]), photos(0))
