"""The operator in Keras, on TensorFlow and (in a second process) on JAX: NumPy's bits, and its gradient."""

import keras
import numpy as np
import pytest
from keras import ops

from fewbits import FixedPoint, dequantize_model, quantclip, quantize, quantize_model
from fewbits.quantization.fixedpoint import is_clipped
from helpers.jax_run import assert_file_holds_on_jax

BACKEND = keras.backend.backend()
OPERATORS = [
    *[(rounding, "saturate") for rounding in ("floor", "nearest", "nearest-up", "nearest-away", "thesis")],
    *[(rounding, "wrap") for rounding in ("floor", "nearest", "nearest-up", "nearest-away")],
]
# Such that x / step is never subnormal.
SIGNED = [FixedPoint(*f) for f in [(0, 1), (-4, 2), (8, 2), (0, 8), (3, 13), (-1, 16), (0, 24), (-40, 24), (20, 3)]]
FORMATS = [*SIGNED, *(FixedPoint(*fmt, signed=False) for fmt in SIGNED)]
both_ways = pytest.mark.parametrize("run", [lambda f: f, lambda f: compiled(f)], ids=["eager", "compiled"])
every_operator = pytest.mark.parametrize(("rounding", "overflow"), OPERATORS)


@pytest.fixture
def x_for(points):
    """Points for a format; always as many, as compilers look at shapes."""
    return lambda fmt: np.resize(points(fmt, 1000, np.float32), 1500)


@pytest.mark.skipif(BACKEND == "jax", reason="this is the run on JAX")
def test_all_of_this_file_holds_on_jax():
    assert_file_holds_on_jax(__file__)


def compiled(function):
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function)


def gradient_of(function, x):
    """Return the gradient of 3 * sum(function(x))."""
    if BACKEND == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: 3 * function(x).sum())(ops.convert_to_tensor(x)))
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = 3 * tf.reduce_sum(function(x))
    return tape.gradient(y, x).numpy()


def variables(msb, nbits, signed=1):
    """Return a format as three Keras variables."""
    return [keras.Variable(value, dtype="int32", trainable=False) for value in (msb, nbits, signed)]


def assert_same_bits(actual, expected):
    actual = ops.convert_to_numpy(actual)
    assert actual.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(actual.view(np.int32), expected.view(np.int32))


# Values


@every_operator
@both_ways
def test_keras_is_numpy_bit_for_bit(run, rounding, overflow, x_for):
    for fmt in FORMATS:
        x = x_for(fmt)
        y = run(lambda x: quantclip(x, fmt, rounding, overflow=overflow))(ops.convert_to_tensor(x))
        assert_same_bits(y, quantize(x, fmt, rounding, overflow))


@every_operator
@both_ways
def test_a_format_in_variables_gives_the_same_bits(run, rounding, overflow, x_for):
    numbers = variables(0, 8)
    if BACKEND == "jax":  # which captures variables as constants: they are passed as arguments
        operator = run(lambda x, *numbers: quantclip(x, numbers, rounding, overflow=overflow))
    else:
        operator = run(lambda x, *_: quantclip(x, numbers, rounding, overflow=overflow))
    for fmt in FORMATS:
        x = x_for(fmt)
        for variable, number in zip(numbers, (*fmt, fmt.signed)):
            variable.assign(number)
        y = operator(ops.convert_to_tensor(x), *(variable.value for variable in numbers))
        assert_same_bits(y, quantize(x, fmt, rounding, overflow))


@every_operator
@both_ways
def test_each_channel_may_have_its_own_msb(run, rounding, overflow, x_for):
    msbs = [-3, 0, 0, 5]
    fmt = variables(msbs, 6)[:2]
    x = np.stack([x_for(FixedPoint(0, 6))] * 4, axis=-1).reshape(-1, 1, 4)
    expected = [quantize(x[..., i], FixedPoint(msb, 6), rounding, overflow) for i, msb in enumerate(msbs)]
    y = run(lambda x: quantclip(x, fmt, rounding, overflow=overflow))(ops.convert_to_tensor(x))
    assert_same_bits(y, np.stack(expected, axis=-1))


def test_another_format_is_not_another_trace():
    traces = []
    numbers = variables(0, 8)

    @compiled
    def operator(x, *numbers):
        traces.append(x)
        return quantclip(x, numbers)

    for fmt in FORMATS:
        for variable, number in zip(numbers, (*fmt, fmt.signed)):
            variable.assign(number)
        operator(ops.ones(3), *(variable.value for variable in numbers))
    assert len(traces) == 1


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.function captures variables")
def test_assigning_a_captured_variable_takes_effect_without_a_trace():
    import tensorflow as tf

    traces = []
    msb, nbits, _ = variables(0, 8)

    @tf.function
    def operator(x):
        traces.append(x)
        return quantclip(x, (msb, nbits))

    assert operator(tf.ones(1)).numpy() == 127 / 128
    nbits.assign(2)
    assert operator(tf.ones(1)).numpy() == 1 / 2
    msb.assign(1)
    assert operator(tf.ones(1)).numpy() == 1
    assert len(traces) == 1


@pytest.mark.parametrize(("rounding", "overflow"), OPERATORS + [("stochastic", "saturate")])
def test_nan_stays_nan(rounding, overflow):
    y = quantclip(np.float32([np.nan, 0.5]), FixedPoint(0, 8), rounding, overflow=overflow, seed=0)
    assert np.isnan(ops.convert_to_numpy(y)).tolist() == [True, False]


@pytest.mark.parametrize("rounding", ["floor", "nearest", "nearest-up", "nearest-away", "stochastic"])
def test_infinities_saturate(rounding):
    y = quantclip(np.float32([np.inf, -np.inf]), FixedPoint(0, 8), rounding, seed=0)
    assert ops.convert_to_numpy(y).tolist() == [127 / 128, -1]


def test_infinities_reach_both_amplitudes_of_the_thesis():
    y = quantclip(np.float32([np.inf, -np.inf]), FixedPoint(0, 8), "thesis")
    assert ops.convert_to_numpy(y).tolist() == [1, -1]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_type_of_the_input_comes_back(dtype):
    x = ops.cast(ops.convert_to_tensor([0.3, -0.3, 2.0]), dtype)
    y = quantclip(x, FixedPoint(0, 4), "nearest")
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    assert ops.convert_to_numpy(ops.cast(y, "float32")).tolist() == [0.25, -0.25, 0.875]


# Stochastic rounding


def test_stochastic_takes_a_neighbour_and_is_right_on_average():
    n = 100_000
    y = ops.convert_to_numpy(quantclip(np.full(n, 0.3, np.float32), FixedPoint(0, 2), "stochastic", seed=0))
    assert set(np.unique(y)) == {0, 0.5}
    assert abs(y.mean() - 0.3) < 4 * 0.5 * np.sqrt(0.6 * 0.4 / n)


def test_stochastic_repeats_with_an_integer_and_moves_on_with_a_generator():
    def draw(seed):
        x = np.full(100, 0.3, np.float32)
        return ops.convert_to_numpy(quantclip(x, FixedPoint(0, 2), "stochastic", seed=seed)).tolist()

    assert draw(7) == draw(7) != draw(8)
    generator = keras.random.SeedGenerator(7)
    assert draw(generator) != draw(generator)


# Gradients

A, Q = 2.0, 0.25  # of FixedPoint(1, 4)


@pytest.mark.parametrize("as_variables", [False, True], ids=["FixedPoint", "variables"])
@pytest.mark.parametrize(
    ("rounding", "edge", "outwards", "kept_at_the_edge"),
    [
        ("floor", -A, -1, True),
        ("floor", A, 1, False),
        ("nearest", -A - Q / 2, -1, True),  # a tie: to the even code -8, which exists
        ("nearest", A - Q / 2, 1, False),  # a tie: to the even code 8, which does not
        ("nearest-up", -A - Q / 2, -1, True),
        ("nearest-up", A - Q / 2, 1, False),
        ("nearest-away", -A - Q / 2, -1, False),
        ("nearest-away", A - Q / 2, 1, False),
        ("thesis", -A, -1, True),
        ("thesis", A, 1, True),
    ],
)
def test_the_gradient_passes_where_the_rounded_code_exists(rounding, edge, outwards, kept_at_the_edge, as_variables):
    edge, away = np.float32(edge), np.float32(outwards * np.inf)
    x = np.array([0, np.nextafter(edge, -away), edge, np.nextafter(edge, away), 100 * edge])
    fmt = FixedPoint(1, 4)
    gradient = gradient_of(lambda x: quantclip(x, variables(*fmt) if as_variables else fmt, rounding), x)
    assert gradient.tolist() == [3, 3, 3 * kept_at_the_edge, 0, 0]
    assert np.array_equal(gradient == 0, is_clipped(x, fmt, rounding))


@every_operator
def test_the_gradient_of_any_operator_stops_where_numpy_says_clipped(rounding, overflow, x_for):
    for fmt in FORMATS:
        x = x_for(fmt)
        gradient = gradient_of(lambda x: quantclip(x, fmt, rounding, overflow=overflow), x)
        assert np.array_equal(gradient, np.where(is_clipped(x, fmt, rounding), 0, 3))


@every_operator
def test_the_identity_gradient_passes_everywhere(rounding, overflow, x_for):
    fmt = FixedPoint(1, 4)
    x = x_for(fmt)
    gradient = gradient_of(lambda x: quantclip(x, fmt, rounding, "identity", overflow), x)
    assert (gradient == 3).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_of_half_precision_are_half_precision(dtype):
    gradient = gradient_of(lambda x: quantclip(x, FixedPoint(0, 4)), ops.cast([0.3, 2.0], dtype))
    assert gradient.dtype.name == dtype
    assert gradient.tolist() == [3, 0]


def test_a_variable_can_be_quantized_as_it_is():
    variable = keras.Variable(np.array([0.3, 2.0], np.float32))
    assert_same_bits(
        quantclip(variable, FixedPoint(0, 4)), quantize(np.array([0.3, 2.0], np.float32), FixedPoint(0, 4))
    )


def test_networks_made_of_one_another_run_side_by_side():
    """On JAX, a network that predicts gives its arrays away, and must not share them with another."""
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    quantized = quantize_model(model)
    back, images = dequantize_model(quantized), np.ones((2, 8, 8, 3), np.float32)
    expected = model.predict_on_batch(images)
    for network in (quantized, back, model, quantized):
        np.testing.assert_allclose(network.predict_on_batch(images), expected, rtol=1e-5)
