"""MSBs that are trained: their gradient, what they set, and that plain networks do not change."""

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, quantize, quantize_model
from fewbits.backend import gradients, keras, ops
from fewbits.quantization.conversion import with_ranges
from fewbits.quantization.fixedpoint import is_clipped
from fewbits.quantization.layers import QuantizedConv2D, QuantizedDepthwiseConv2D
from fewbits.quantization.learned_ranges import IMAGES, MIDDLE
from fewbits.quantization.rounding import SCALARS, Rounder
from helpers.jax_run import assert_file_holds_on_jax

BACKEND = keras.backend.backend()
layers = keras.layers
K, WIDE, UNSIGNED = FixedPoint(0, 4), FixedPoint(1, 5), FixedPoint(0, 5, signed=False)
RNG = np.random.default_rng(0)
X = RNG.uniform(-2, 2, (8, 8, 8, 3)).astype("float32")
Y = RNG.integers(0, 2, 8)
SHIFT_FREE = 40_001  # points of a normal distribution, evenly spaced in probability


@pytest.mark.skipif(BACKEND == "jax", reason="this is the run on JAX")
def test_all_of_this_file_holds_on_jax():
    assert_file_holds_on_jax(__file__)


def rounder(fmt, msb, kind="output", gradient="clipped", rounding="nearest"):
    """Return a Rounder for one format whose range is the tensor `msb`."""
    number = {"floor": 0, "nearest": 1}[rounding]
    nbits = fmt.nbits if fmt.signed else -fmt.nbits
    scalars = dict.fromkeys(SCALARS, 0) | {"rounding": number, "enabled": 1, f"{kind}_nbits": nbits}
    zero = ops.zeros((), "float32")
    activations = ops.stack(
        [zero, zero] if kind == "kernel" else [msb if kind == k else zero for k in ("input", "output")]
    )
    kernel = msb if kind == "kernel" else ops.zeros((1,), "float32")
    return Rounder(list(scalars.values()), kernel, gradient, activation_msbs=activations)


def slope(loss, fmt, x, msb, kind="output", **settings):
    """Return the gradient of `loss` of the rounded `x` by the trained number."""

    def of(arguments):
        relu = settings.get("relu", False)
        rounded = rounder(fmt, arguments["msb"], kind, settings.get("gradient", "clipped"))
        return loss(rounded(ops.convert_to_tensor(x), kind, relu))

    return ops.convert_to_numpy(gradients(of, {"msb": ops.convert_to_tensor(np.float32(msb))})["msb"])


# The gradient


@pytest.mark.parametrize("fmt", [K, WIDE, UNSIGNED, FixedPoint(-2, 2)], ids=str)
@pytest.mark.parametrize("gradient", ["clipped", "identity"])
def test_the_gradient_is_the_error_of_each_value_and_the_end_for_clipped_ones(fmt, gradient):
    x = X[:IMAGES]
    weights = RNG.normal(size=x.shape).astype("float32")
    actual = slope(lambda y: ops.sum(y * weights), fmt, x, fmt.msb - 0.3, gradient=gradient)
    q, kept = quantize(x, fmt, "nearest"), ~is_clipped(x, fmt, "nearest") | (gradient == "identity")
    np.testing.assert_allclose(actual, np.log(2) * np.sum(weights * (q - kept * x)), rtol=1e-4)


@pytest.mark.parametrize("fmt", [K, UNSIGNED], ids=str)
def test_for_codes_that_do_not_change_it_is_the_exact_derivative_of_clipped_values(fmt):
    beyond = np.full((4, 3), 1.5 * fmt.max_value, np.float32)
    loss = lambda y: ops.sum(ops.square(y - 1))  # noqa: E731
    a, b = (np.sum((fmt.max_value * 2.0**h - 1) ** 2) * 12 for h in (-1e-4, 1e-4))
    assert slope(loss, fmt, beyond, fmt.msb) == pytest.approx((b - a) / 2e-4, rel=1e-3)


def normal_points():
    """Return points that stand for a standard normal distribution, whose density varies little within a step."""
    from statistics import NormalDist

    probabilities = (np.arange(SHIFT_FREE) + 0.5) / SHIFT_FREE
    return np.array([NormalDist().inv_cdf(p) for p in probabilities]).astype("float32")[None]


CLIPPING = [FixedPoint(1, 4), FixedPoint(0, 5), FixedPoint(0, 4, signed=False)]
REACHING = [FixedPoint(2, 4), FixedPoint(2, 5)]


@pytest.mark.parametrize(("fmt", "factor"), [*((f, 1.0) for f in CLIPPING + REACHING), *((f, 0.8) for f in REACHING)])
def test_it_is_the_finite_difference_of_the_expected_loss(fmt, factor):
    """Of the expected squared distance of the rounded from `factor` times the input, by a step that is free to vary.

    With another factor than 1 a loss jumps where codes change; there, the formats are such that nothing is clipped.
    """
    x = normal_points().astype(np.float64)

    def loss(msb):
        step = 2.0 ** (msb + 1 - fmt.nbits)
        return np.mean((step * np.clip(np.rint(x / step), fmt.min_code, fmt.max_code) - factor * x) ** 2)

    width = 0.1  # over which the loss is averaged: what jumps in a sum over points is smooth in an integral
    expected = (loss(fmt.msb + width) - loss(fmt.msb - width)) / (2 * width)
    target = ops.convert_to_tensor((factor * x).astype("float32"))
    actual = slope(lambda y: ops.mean(ops.square(y - target)), fmt, x.astype("float32"), fmt.msb)
    assert actual == pytest.approx(expected, rel=0.08)


def test_a_filter_gets_the_gradient_of_its_own_weights():
    kernel = RNG.uniform(-2, 2, (3, 3, 2, 4)).astype("float32")
    weights = RNG.normal(size=kernel.shape).astype("float32")
    msbs = np.array([-0.5, 0.5, -1.2, 1.0])
    actual = slope(lambda y: ops.sum(y * weights), K, kernel, msbs, kind="kernel")
    formats = [FixedPoint(int(np.ceil(msb)), 4) for msb in msbs]
    q = np.stack([quantize(kernel[..., i], fmt, "nearest") for i, fmt in enumerate(formats)], -1)
    kept = np.stack([~is_clipped(kernel[..., i], fmt, "nearest") for i, fmt in enumerate(formats)], -1)
    np.testing.assert_allclose(actual, np.log(2) * np.sum(weights * (q - kept * kernel), (0, 1, 2)), rtol=1e-4)


def test_of_a_large_batch_the_first_images_stand_for_all():
    x = np.repeat(X[:1], 3 * IMAGES, 0)
    loss = lambda y: ops.sum(ops.square(y))  # noqa: E731
    assert slope(loss, K, x, -0.4) == pytest.approx(3 * slope(loss, K, x[:IMAGES], -0.4), rel=1e-4)


def test_what_is_left_in_float_has_no_gradient_for_a_range():
    zero = ops.zeros((), "float32")
    assert slope(lambda y: ops.sum(ops.square(y)), K, X, zero, kind="input") != 0
    scalars = list((dict.fromkeys(SCALARS, 0) | {"output_nbits": 4}).values())  # not enabled

    def loss(of):
        return ops.sum(Rounder(scalars, of["m"][:1], activation_msbs=of["m"])(ops.convert_to_tensor(X), "output"))

    assert not ops.convert_to_numpy(gradients(loss, {"m": ops.zeros((2,), "float32")})["m"]).any()


# Networks


def network(ranges="learned", formats=(K, WIDE, UNSIGNED), seed=0, compiled=True, **settings):
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(x)
    left, right = (layers.Conv2D(3, 1, activation="relu", name=name)(x) for name in ("left", "right"))
    x = layers.Concatenate(name="both")([left, right])
    x = layers.DepthwiseConv2D(3, name="deep")(x)
    x = layers.Dense(2, name="last")(layers.Flatten(name="flat")(x))
    model = quantize_model(keras.Model(image, x), formats, rounding="nearest", ranges=ranges, **settings)
    if compiled:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.5, momentum=0.9), loss, jit_compile=BACKEND == "jax")
    return model


def numbers(layer):
    return [ops.convert_to_numpy(v).copy() for v in layer.ranges.variables]


def test_plain_networks_have_no_new_variable_and_no_new_setting():
    plain, learning = network("fixed"), network()
    assert not any("range" in v.path for v in plain.variables)
    assert all("ranges" not in layer.get_config() for layer in plain.rounding_layers)
    assert len(learning.trainable_variables) == len(plain.trainable_variables) + 2 * len(plain.rounding_layers)
    assert len(learning.non_trainable_variables) == len(plain.non_trainable_variables)
    assert np.array_equal(plain.predict(X, verbose=0), learning.predict(X, verbose=0))


@pytest.mark.parametrize(("ranges", "count"), [("learned", 1), ("learned-per-filter", 4)])
def test_ranges_learn_and_the_network_computes_in_the_formats_that_it_names(ranges, count):
    model = network(ranges)
    assert numbers(model.get_layer("first"))[0].shape == (count,)
    model.fit(X, Y, epochs=30, verbose=0)
    moved = [not np.allclose(n % 1, MIDDLE) for layer in model.rounding_layers for n in numbers(layer)]
    assert all(moved)
    named = model.formats
    assert any(fmt != network("fixed", compiled=False).formats[name] for name, fmt in named.items())
    frozen = with_ranges(model, "fixed")
    assert frozen.formats == named and frozen.get_layer("first").ranges is None
    assert np.array_equal(model.predict(X, verbose=0), frozen.predict(X, verbose=0))


def test_an_input_reaches_as_far_as_the_outputs_that_feed_it():
    model = network(compiled=False)
    left, right, deep = (model.get_layer(name) for name in ("left", "right", "deep"))
    left.set_formats(K, WIDE, FixedPoint(2, 5, signed=False))
    right.set_formats(K, WIDE, FixedPoint(-1, 5, signed=False))
    deep.set_formats(K, FixedPoint(0, 5), None)
    assert deep.formats.input == FixedPoint(3, 5)
    deep.set_formats(K, FixedPoint(0, 5, signed=False), None)
    assert deep.formats.input == FixedPoint(2, 5, signed=False)
    deep.locked = True
    left.set_formats(K, WIDE, FixedPoint(-3, 5, signed=False))
    assert deep.formats.input == FixedPoint(2, 5, signed=False)
    left.enabled, deep.locked = False, False
    assert deep.formats.input == FixedPoint(2, 5, signed=False)


def test_a_range_that_has_the_msb_already_keeps_its_number():
    layer = network(compiled=False).get_layer("first")
    layer.ranges.activation_ranges.assign([0.9, -0.1])
    layer.set_formats(K, WIDE, UNSIGNED)
    np.testing.assert_allclose(numbers(layer)[1], [0.9, -0.1])
    layer.set_formats(K, FixedPoint(3, 5), UNSIGNED)
    np.testing.assert_allclose(numbers(layer)[1], [3 - MIDDLE, -0.1])


def test_a_locked_layer_keeps_its_ranges():
    model = network()
    model.fit(X, Y, epochs=2, verbose=0)
    model.get_layer("left").locked = True
    before = {layer.name: numbers(layer) for layer in model.rounding_layers}
    model.fit(X, Y, epochs=3, verbose=0)
    for name, old in before.items():
        same = [np.array_equal(a, b) for a, b in zip(old, numbers(model.get_layer(name)))]
        assert all(same) if name == "left" else not all(same)


def test_ranges_are_saved_with_their_formats(tmp_path):
    model = network("learned-per-filter")
    model.fit(X, Y, epochs=20, verbose=0)
    model.get_layer("left").locked = True
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.formats == model.formats
    for layer in model.rounding_layers:
        for a, b in zip(numbers(layer), numbers(again.get_layer(layer.name))):
            assert np.array_equal(a, b)
    assert np.array_equal(model.predict(X, verbose=0), again.predict(X, verbose=0))
    before = numbers(again.get_layer("left"))
    again.fit(X, Y, epochs=2, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, numbers(again.get_layer("left"))))


def test_bits_and_signs_change_without_a_new_trace():
    model, traces = network(), []
    call = model.call
    model.call = lambda *args, **kwargs: (traces.append(1), call(*args, **kwargs))[1]
    model.fit(X, Y, verbose=0)
    before = len(traces)
    for i in range(20):
        fmt = FixedPoint(i % 3, 2 + i % 5, signed=i % 2 == 0)
        model.set_formats((FixedPoint(-(i % 3), 2 + i % 4), fmt, fmt))
        model.fit(X, Y, verbose=0)
    assert len(traces) == before


def test_an_unknown_way_is_refused_and_kernels_of_one_range_take_the_widest_of_formats():
    with pytest.raises(InputError, match="fixed, learned, learned-per-filter"):
        QuantizedConv2D(2, 3, ranges="learnt")
    layer = QuantizedDepthwiseConv2D(3, formats=([FixedPoint(i, 4) for i in (-2, 1, 0)], None, None), ranges="learned")
    layer.build((None, 8, 8, 3))
    assert layer.formats.kernel == FixedPoint(1, 4)
