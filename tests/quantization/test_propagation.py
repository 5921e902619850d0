"""Errors followed through a network, against the same network in plain NumPy, and Equation 8 part by part."""

from math import inf, log10

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, explore, quantize, quantize_model
from fewbits.backend import keras, ops
from fewbits.names import LAYER_ROUNDINGS
from fewbits.quantization.dynamic_fixed_point import dynamic_formats
from fewbits.quantization.layers import FLOAT, Formats
from fewbits.quantization.propagation import PropagatedError, Propagation
from fewbits.quantization.sqnr import measured_sqnr, predicted_sqnr

L = keras.layers
RNG = np.random.default_rng(3)


def dyadic(*shape, low=-32, high=32):
    """Return numbers of a few bits, whose sums and products float32 holds exactly."""
    return RNG.integers(low, high, shape) / 64


IMAGES = dyadic(6, 5, 5, 2, low=0, high=64)
CONV, CONV_BIAS = dyadic(2, 2, 2, 4), dyadic(4)
DENSE, DENSE_BIAS = dyadic(64, 5), dyadic(5)
LAST, LAST_BIAS = dyadic(5, 3), dyadic(3)


@pytest.fixture(scope="module")
def chain():
    model = keras.Sequential(
        [
            L.Input((5, 5, 2)),
            L.Conv2D(4, 2, activation="relu", name="conv"),
            L.Dropout(0.5),
            L.Flatten(),
            L.Dense(5, activation="relu", name="dense"),
            L.Dense(3, name="last"),
        ]
    )
    model.set_weights([CONV, CONV_BIAS, DENSE, DENSE_BIAS, LAST, LAST_BIAS])
    return model


def convolve(x, kernel):
    y = np.zeros((*x.shape[:1], 4, 4, 4))
    for i in range(2):
        for j in range(2):
            y += x[:, i : i + 4, j : j + 4] @ kernel[i, j]
    return y


def steps(images):
    """Yield name, product, kernel, bias, activation and the way to the next layer, of the chain."""
    yield "conv", convolve, CONV, CONV_BIAS, lambda x: np.maximum(x, 0)
    yield "dense", lambda x, k: x.reshape(len(x), -1) @ k, DENSE, DENSE_BIAS, lambda x: np.maximum(x, 0)
    yield "last", np.matmul, LAST, LAST_BIAS, lambda x: x


def sqnr(x, y):
    noise = np.sum((np.asarray(x) - y) ** 2)
    return 10 * log10(np.sum(np.square(x)) / noise) if noise else inf


def followed_by_hand(formats, rounding):
    """Return name -> (float output, quantized output, predicted SQNR), each rounding where its layer has it."""
    x = quantized_x = alone = IMAGES  # alone: float, but for the roundings since the last product
    noise, found = 0.0, {}  # noise over signal

    def rounded(values, fmt):
        return values if fmt is None else quantize(values, fmt, rounding)

    for name, product, kernel, bias, activation in steps(IMAGES):
        fmt = formats[name]
        grid = fmt.input.step * fmt.kernel.step if fmt.input and fmt.kernel else None
        sums = product(rounded(quantized_x, fmt.input), rounded(kernel, fmt.kernel))
        on_grid = bias if grid is None else np.round(bias / grid) * grid
        quantized_x = activation(rounded(sums + on_grid, fmt.output))
        noise += 10 ** (-sqnr(x, rounded(alone, fmt.input)) / 10) + 10 ** (
            -sqnr(kernel, rounded(kernel, fmt.kernel)) / 10
        )
        sums = product(x, kernel) + bias
        x, alone = activation(sums), activation(rounded(sums, fmt.output))
        all_noise = noise + 10 ** (-sqnr(x, alone) / 10)
        found[name] = x, quantized_x, -10 * log10(all_noise) if all_noise else inf
    return found


THREE = Formats(FixedPoint(-1, 4), FixedPoint(0, 5), FixedPoint(2, 6))
KINDS = [THREE, Formats(kernel=THREE.kernel), Formats(input=THREE.input), Formats(output=THREE.output)]


@pytest.mark.parametrize("rounding", LAYER_ROUNDINGS)
@pytest.mark.parametrize("fmt", KINDS, ids=["all", "kernel", "input", "output"])
def test_it_is_what_numpy_finds(chain, fmt, rounding):
    formats = {"conv": fmt, "dense": fmt, "last": fmt._replace(input=fmt.input and FixedPoint(2, 6))}
    errors = Propagation(quantize_model(chain, formats, rounding=rounding), IMAGES).errors()
    by_hand = followed_by_hand(formats, rounding)
    assert list(errors) == ["conv", "dense", "last"]
    for name, (exact, quantized, predicted) in by_hand.items():
        error = (quantized - exact).reshape(-1, exact.shape[-1])
        found = errors[name]
        assert found.signal == pytest.approx(np.mean(exact**2), rel=1e-6)
        assert found.bias == pytest.approx(np.mean(np.mean(error, axis=0) ** 2), rel=1e-5)
        assert found.variance == pytest.approx(np.mean(np.var(error, axis=0)), rel=1e-5)
        assert found.sqnr == pytest.approx(sqnr(exact, quantized), abs=1e-5)
        assert found.predicted == pytest.approx(predicted, abs=1e-5)


def test_bias_and_variance_are_all_of_the_error(chain):
    network = quantize_model(chain, dynamic_formats(chain, IMAGES, convolutions=4, dense=4, activations=4))
    error = Propagation(network, IMAGES).errors()["last"]
    exact, quantized = (m.predict_on_batch(IMAGES.astype("float32")) for m in (chain, network))
    assert error.bias + error.variance == pytest.approx(np.mean((quantized - exact) ** 2), rel=1e-5)
    assert error.sqnr == pytest.approx(measured_sqnr(exact, quantized), abs=1e-4)
    assert 0 < error.bias and 0 < error.variance


def test_the_split_by_hand():
    error = PropagatedError(signal=100, bias=9, variance=1, predicted=3)
    assert (error.sqnr, error.variance_sqnr) == (10, 20) and error.bias_sqnr == pytest.approx(10 * log10(100 / 9))
    assert PropagatedError(1, 0, 0, inf).sqnr == inf
    assert PropagatedError(0, 1, 0, inf).sqnr == -inf


# Formats that change


def test_without_formats_nothing_is_lost(chain):
    for error in Propagation(quantize_model(chain), IMAGES).errors().values():
        assert (error.bias, error.variance, error.sqnr, error.predicted) == (0, 0, inf, inf)


def test_formats_levels_and_roundings_are_those_of_now(chain):
    network = quantize_model(chain, dict.fromkeys(("conv", "dense", "last"), THREE), rounding="nearest")
    followed = Propagation(network, IMAGES)
    first = followed.errors()
    network.set_level(0)
    assert all(error.sqnr == error.predicted == inf for error in followed.errors().values())
    network.set_level(1)
    partly = followed.errors()
    assert partly["conv"] == first["conv"]
    assert partly["conv"].sqnr < inf and first["last"].predicted < partly["last"].predicted < inf
    network.set_level(3)
    network.set_rounding("floor")
    assert followed.errors()["last"].sqnr < first["last"].sqnr
    network.set_rounding("nearest")
    assert followed.errors() == first
    network.set_formats(FLOAT)
    assert followed.errors()["last"].sqnr == inf


def test_images_of_any_number_are_the_same_as_in_one_batch(chain):
    images = np.concatenate([IMAGES] * 8)  # more than `observe` takes at once
    network = quantize_model(chain, {"conv": THREE})
    whole, part = (Propagation(network, x).errors()["last"] for x in (images, IMAGES))
    assert whole.sqnr == pytest.approx(part.sqnr, abs=1e-6)
    assert whole.predicted == pytest.approx(part.predicted, abs=1e-6)


# Parts


def kernel_sqnr(layer, fmt, rounding="floor"):
    kernel = ops.convert_to_numpy(layer.kernel)
    return measured_sqnr(kernel, quantize(kernel, fmt, rounding))


@pytest.fixture(scope="module")
def branches():
    keras.utils.set_random_seed(0)
    x = image = L.Input((6, 6, 2))
    x = L.Conv2D(3, 1, activation="relu", name="squeeze")(x)
    x = L.Concatenate(name="join")([L.Conv2D(n, n, padding="same", name=f"expand{n}")(x) for n in (1, 3)])
    y = L.MaxPooling2D(name="pool")(L.ReLU(name="relu")(x))
    y = L.Conv2D(4, 1, name="left")(y)
    z = L.Conv2D(4, 2, strides=2, name="right")(x)
    x = L.Dense(3, name="last")(L.Flatten()(L.Add(name="sum")([y, z])))
    return keras.Model(image, x)


PHOTOS = np.random.default_rng(0).random((7, 6, 6, 2), np.float32)


def power(model, name):
    return float(np.square(ops.convert_to_numpy(keras.Model(model.input, model.get_layer(name).output)(PHOTOS))).sum())


def predicted(model, formats):
    network = quantize_model(model, formats)
    return {name: error.predicted for name, error in Propagation(network, PHOTOS).errors().items()}


def test_a_part_on_several_paths_counts_once(branches):
    fmt = FixedPoint(0, 4)
    found = predicted(branches, {"squeeze": Formats(kernel=fmt)})
    alone = kernel_sqnr(branches.get_layer("squeeze"), fmt)
    for name in ("squeeze", "expand1", "expand3", "left", "right", "last"):
        assert found[name] == pytest.approx(alone, abs=1e-4)


def test_the_noise_of_a_branch_counts_by_its_share_of_the_power(branches):
    fmt = FixedPoint(0, 4)
    found = predicted(branches, {"expand3": Formats(kernel=fmt)})
    alone = kernel_sqnr(branches.get_layer("expand3"), fmt)
    share = power(branches, "expand3") / power(branches, "join")
    assert 0.1 < share < 0.9
    assert found["expand3"] == pytest.approx(alone, abs=1e-4) and found["expand1"] == inf
    assert found["left"] == found["right"] == pytest.approx(alone - 10 * log10(share), abs=1e-4)
    found = predicted(branches, {"left": Formats(kernel=fmt)})
    left, right = power(branches, "left"), power(branches, "right")
    alone = kernel_sqnr(branches.get_layer("left"), fmt)
    assert found["last"] == pytest.approx(alone - 10 * log10(left / (left + right)), abs=1e-4)


def test_two_quantizers_of_one_format_on_a_wire_count_once(branches):
    """A ReLU and max-pooling in between change nothing: both keep codes codes."""
    fmt = FixedPoint(1, 4)
    writers = {name: Formats(output=fmt) for name in ("expand1", "expand3")}
    assert predicted(branches, writers | {"left": Formats(input=fmt)})["left"] == predicted(branches, writers)["left"]


def test_a_depthwise_convolution_with_a_format_a_filter_and_a_late_bias():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            L.Input((6, 6, 2)),
            L.DepthwiseConv2D(3, depth_multiplier=2, bias_initializer="random_normal", name="a"),
            L.BatchNormalization(),
            L.Conv2D(3, 1, use_bias=False, activation="relu", name="b"),
        ]
    )
    kernels = tuple(FixedPoint(msb, 5) for msb in (0, -1, 1, 0))
    formats = {"a": Formats(kernels, None, FixedPoint(1, 5)), "b": Formats(None, None, FixedPoint(1, 5))}
    network = quantize_model(model, formats, rounding="nearest", bias_order="output")
    errors = Propagation(network, PHOTOS).errors()
    kernel = ops.convert_to_numpy(model.get_layer("a").kernel).reshape(-1, 4)
    rounded = np.stack([quantize(kernel[:, i], fmt, "nearest") for i, fmt in enumerate(kernels)], 1)
    bias = ops.convert_to_numpy(model.get_layer("a").bias)
    exact = keras.Model(model.inputs[0], model.layers[0].output)(PHOTOS).numpy()
    late = quantize(exact - bias, FixedPoint(1, 5), "nearest") + bias
    parts = measured_sqnr(kernel, rounded), measured_sqnr(exact, late)
    assert errors["a"].predicted == pytest.approx(predicted_sqnr(*parts), abs=1e-3)
    assert errors["b"].predicted < errors["a"].predicted < inf
    one, other = (m.predict_on_batch(PHOTOS) for m in (model, network))
    assert errors["b"].sqnr == pytest.approx(measured_sqnr(one, other), abs=1e-4)


def test_a_branch_that_says_nothing_adds_nothing():
    x = image = L.Input((4, 4, 1))
    dead = L.Conv2D(2, 1, activation="relu", bias_initializer=keras.initializers.Constant(-100), name="dead")(x)
    alive = L.Conv2D(2, 1, activation="relu", kernel_initializer="ones", name="alive")(x)
    model = keras.Model(image, L.Dense(2, name="last")(L.Flatten()(L.Concatenate()([dead, alive]))))
    network = quantize_model(model, {"dead": Formats(kernel=FixedPoint(0, 3))})
    errors = Propagation(network, PHOTOS[:, :4, :4, :1]).errors()
    assert errors["dead"].sqnr == errors["last"].sqnr == errors["last"].predicted == inf


def test_the_rule_holds_for_nearest_and_fails_for_floor(chain):
    network = quantize_model(chain, dynamic_formats(chain, IMAGES, convolutions=9, dense=9, activations=9))
    followed, off = Propagation(network, IMAGES), {}
    for rounding in ("nearest", "floor"):
        network.set_rounding(rounding)
        error = followed.errors()["last"]
        off[rounding] = error.sqnr - error.predicted
    assert abs(off["nearest"]) < 1 and off["floor"] < -2


@pytest.mark.parametrize("images", [IMAGES[:0], IMAGES * np.nan])
def test_images_are_needed(chain, images):
    with pytest.raises(InputError, match="at least one image|NaN"):
        Propagation(quantize_model(chain), images)


def test_a_float_network_is_refused(chain):
    with pytest.raises(InputError, match="a QuantizedModel, not a Sequential; quantize_model makes one"):
        Propagation(chain, IMAGES)


# The figure


def test_the_explorer_shows_what_the_network_has_and_what_the_rule_says(chain):
    network = quantize_model(chain)
    tables = {b: dynamic_formats(chain, IMAGES, convolutions=b, dense=b, activations=b) for b in (3, 8)}
    followed = Propagation(network, IMAGES)
    explorer = explore.propagated_sqnr(followed, tables, "9.9")
    first = explorer.view(quantized="kernels", bits=3, rounding="floor")
    explorer.view(quantized="activations", bits=8, rounding="nearest")
    assert explorer.view(quantized="kernels", bits=3, rounding="floor") == first
    network.set_rounding("floor")
    network.set_formats({name: Formats(fmt.kernel) for name, fmt in tables[3].items()})
    errors = followed.errors()
    for trace, kind in zip(first.traces, ("sqnr", "predicted", "bias_sqnr", "variance_sqnr"), strict=True):
        assert trace["y"] == [round(getattr(error, kind), 2) for error in errors.values()]
    last = errors["last"]
    assert first.readings["last layer"] == f"{last.sqnr:.1f} dB, predicted {last.predicted:.1f} dB"
    assert first.readings["bias part of the last layer's error"] == f"{last.bias / (last.bias + last.variance):.0%}"
    away = [e.sqnr - e.predicted for e in errors.values()]
    assert first.readings["measured minus predicted"].startswith(f"{np.mean(away):+.1f} dB on average")
    with pytest.raises(InputError, match="at least one number of bits"):
        explore.propagated_sqnr(followed, {}, "9.9")


def test_the_explorer_shows_no_error_as_no_error(chain):
    explorer = explore.propagated_sqnr(Propagation(quantize_model(chain), IMAGES), {8: {"last": FLOAT}}, "9.9")
    view = explorer.view(quantized="all", bits=8, rounding="nearest")
    assert all(y is None for trace in view.traces for y in trace["y"])
    assert set(view.readings.values()) == {"no error", "no error, predicted no error"}
