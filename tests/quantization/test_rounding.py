"""The rounding of quantized layers: NumPy's bits, the gradient of the plain operations, nothing traced anew."""

import numpy as np
import pytest

from fewbits import FixedPoint, quantize
from fewbits.backend import keras
from fewbits.names import LAYER_ROUNDINGS, ROUNDINGS
from fewbits.quantization.fixedpoint import is_clipped
from fewbits.quantization.layers import QuantizedConv2D
from fewbits.quantization.rounding import SCALARS, Rounder

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has passes of its own")

FORMATS = (tuple(FixedPoint(msb, 5) for msb in (-3, -2, 0, 1)), FixedPoint(0, 4), FixedPoint(1, 5))
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-2, 2, (8, 5, 5, 3)).astype("float32")
IMAGES.flat[:6] = [0, -0.0, -1e-30, 0.0625, -0.0625, 1]  # zeros, a tiny negative, ties
KERNEL = RNG.uniform(-0.7, 0.7, (1, 1, 3, 4)).astype("float32")
UNSIGNED = (FORMATS[0], FixedPoint(0, 4, signed=False), FixedPoint(0, 5, signed=False))
every_rounding = pytest.mark.parametrize("rounding", LAYER_ROUNDINGS)


def layer(formats=FORMATS, activation=None, **settings):
    new = QuantizedConv2D(4, 1, formats=formats, activation=activation, **settings)
    new.build((None, 5, 5, 3))
    new.kernel.assign(KERNEL)
    return new


def assert_same_bits(actual, expected):
    actual = np.asarray(actual) + np.float32(0)  # activations and sums may leave a negative zero
    assert np.array_equal(actual.view(np.int32), (np.asarray(expected) + np.float32(0)).view(np.int32))


def reference(x, rounding, enabled=True, formats=FORMATS):
    """Return the outputs without activation, from NumPy: a 1x1 convolution is a product of matrices."""
    if not enabled:
        return np.asarray(tf.nn.conv2d(x, KERNEL, 1, "VALID"))
    kernel = np.stack([quantize(KERNEL[..., i], fmt, rounding) for i, fmt in enumerate(formats[0])], -1)
    products = quantize(x, formats[1], rounding).astype(np.float64) @ kernel[0, 0].astype(np.float64)
    return quantize(products.astype(np.float32), formats[2], rounding)


@every_rounding
@pytest.mark.parametrize("enabled", [True, False], ids=["enabled", "disabled"])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("formats", [FORMATS, UNSIGNED], ids=["signed", "unsigned"])
@pytest.mark.parametrize("run", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_a_layer_with_formats_for_each_filter_gives_numpys_bits(rounding, enabled, activation, formats, run):
    y = run(layer(formats, rounding=rounding, enabled=enabled, activation=activation))(IMAGES)
    expected = reference(IMAGES, rounding, enabled, formats)
    assert_same_bits(y, np.maximum(expected, 0) if activation else expected)


@every_rounding
def test_one_trace_serves_every_rounding_and_switch(rounding):
    changing, traces = layer(rounding="floor", activation="relu"), []

    @tf.function
    def run(x):
        traces.append(1)
        return changing(x)

    run(IMAGES)
    for enabled in (True, False, True):
        changing.rounding, changing.enabled = rounding, enabled
        assert_same_bits(run(IMAGES), np.maximum(reference(IMAGES, rounding, enabled), 0))
    for number in range(100):
        signs = number % 2 == 0, number % 3 == 0
        formats = FORMATS[0], FixedPoint(1, 2 + number % 5, signs[0]), FixedPoint(0, 3 + number % 4, signs[1])
        changing.set_formats(*formats)
        assert changing.formats[:3] == formats
        assert_same_bits(run(IMAGES), np.maximum(reference(IMAGES, rounding, formats=formats), 0))
    assert len(traces) == 1


def test_a_layer_adds_few_nodes_to_a_graph_and_layers_share_what_these_call():
    """A first step would be slow if each layer and batch size were traced, optimized or compiled on its own."""

    def called(model, batch):
        graph = tf.function(model).get_concrete_function(tf.TensorSpec((batch, 5, 5, 3))).graph
        attributes = [
            op.node_def.attr for op in graph.get_operations() if op.type in ("StatelessCase", "PartitionedCall")
        ]
        assert len(graph.get_operations()) < 60
        return {f.name for a in attributes for f in [a["f"].func, *a["branches"].list.func]}

    assert called(layer(activation="relu"), 8) == called(layer(rounding="nearest", activation="relu"), 3)


@every_rounding
@pytest.mark.parametrize("gradient", ["clipped", "identity"])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_the_way_back_stops_where_numpy_says_clipped(rounding, gradient, activation, signed):
    fmt = FixedPoint(0, 4, signed)
    identity = layer((None, None, fmt), activation, rounding=rounding, gradient=gradient, use_bias=False)
    identity.kernel.assign(np.eye(3, 4, dtype="float32")[None, None])
    x = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = 3 * tf.reduce_sum(identity(x))
    kept = ~is_clipped(IMAGES, fmt, rounding) | (gradient == "identity")
    passed = kept & ((activation is None) | (quantize(IMAGES, fmt, rounding) > 0))
    assert np.array_equal(tape.gradient(y, x), 3.0 * passed)


@every_rounding
@pytest.mark.parametrize("nbits", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_values_and_gradient_hold_at_every_tie_and_end_and_right_beside_them(rounding, nbits, dtype, signed):
    fmt = FixedPoint(1, nbits, signed)
    quarters = (np.arange(-10 * 2**nbits, 10 * 2**nbits + 1) * (fmt.step / 4)).astype(dtype)
    x = np.concatenate([quarters, *(np.nextafter(quarters, np.array(end, dtype)) for end in (-99, 99))])
    x = tf.constant(x[np.abs(x) > 1e-30])  # next to 0 is a subnormal number
    scalars = dict.fromkeys(SCALARS, 0) | {"rounding": ROUNDINGS.index(rounding), "enabled": 1}
    scalars |= {f"{kind}_msb": fmt.msb for kind in ("input", "output")}
    scalars |= {f"{kind}_nbits": fmt.nbits if signed else -fmt.nbits for kind in ("kernel", "input", "output")}
    rounder = Rounder(list(scalars.values()), [fmt.msb])
    for kind, relu in (("kernel", False), ("input", False), ("output", True)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = rounder(x, kind, relu)
        expected = quantize(x, fmt, rounding)
        kept = ~is_clipped(x, fmt, rounding) & (not relu or expected > 0)
        assert np.array_equal(y, np.maximum(expected, 0) if relu else expected)
        assert np.array_equal(tape.gradient(y, x), kept.astype(dtype))


@every_rounding
def test_the_gradient_of_kernel_and_bias_is_the_straight_through_one(rounding):
    formats = (*FORMATS[:2], FixedPoint(6, 12))  # an output that never clips
    learning, x = layer(formats, rounding=rounding), tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(learning(x) * tf.range(4.0))
    kernel, bias = tape.gradient(y, [learning.kernel.value, learning.bias.value])
    kept = np.stack([~is_clipped(KERNEL[..., i], fmt, rounding) for i, fmt in enumerate(FORMATS[0])], -1)
    sums = quantize(IMAGES, FORMATS[1], rounding).sum((0, 1, 2))
    np.testing.assert_allclose(kernel, kept * sums[:, None] * np.arange(4), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(bias, IMAGES[..., 0].size * np.arange(4.0))


def test_half_precision_stays_half_precision():
    half = QuantizedConv2D(4, 1, formats=FORMATS, dtype="mixed_float16")
    assert half(IMAGES).dtype == tf.float16
