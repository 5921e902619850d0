"""The predicted shift of rounding down: values by hand, and what rounding then does."""

import numpy as np
import pytest

from fewbits import FixedPoint, quantize
from fewbits.backend import keras, ops
from fewbits.quantization import rounding_shifts

L = keras.layers
RNG = np.random.default_rng(0)


def model(*layers, shape=(9, 8, 2)):
    keras.utils.set_random_seed(0)
    x = y = L.Input(shape)
    for layer in layers:
        y = layer(y)
    return keras.Model(x, y)


def test_sums_and_spread_are_those_of_the_windows():
    network = model(L.Conv2D(1, 2, kernel_initializer="ones", use_bias=False, name="conv"), shape=(2, 2, 1))
    images = np.array([1.0, 2.0, 3.0], "float32").reshape(3, 1, 1, 1) * np.ones((3, 2, 2, 1), "float32")
    [shift] = rounding_shifts(network, images)
    assert shift.layer == "conv"
    assert shift.window_sum == pytest.approx(8)  # 4, 8 and 12
    assert shift.window_deviation == pytest.approx(np.sqrt(32 / 3))
    assert shift.output_spread == pytest.approx(np.sqrt(32 / 3))
    assert shift.relative(0.5) == pytest.approx(2 / np.sqrt(32 / 3))


@pytest.mark.parametrize(
    "layer",
    [
        L.Conv2D(40, 3, padding="same", name="it"),
        L.Conv2D(40, 3, groups=2, strides=2, name="it"),
        L.DepthwiseConv2D(3, depth_multiplier=30, name="it"),
        L.Conv2DTranspose(40, 3, strides=2, name="it"),
        L.Dense(40, name="it"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_rounding_down_shifts_outputs_by_what_was_predicted(layer):
    network = model(layer)
    images = RNG.uniform(0, 1, (4, 9, 8, 2)).astype("float32")
    [shift] = rounding_shifts(network, images)
    fmt = FixedPoint(2, 8)
    before = network.predict_on_batch(images)
    kernel = ops.convert_to_numpy(layer.kernel)
    layer.kernel.assign(quantize(kernel, fmt, "floor"))
    error = network.predict_on_batch(images) - before
    measured = error.mean() / before.reshape(-1, before.shape[-1]).std(0).mean()
    assert measured == pytest.approx(-shift.relative(fmt.step), rel=0.2)


def test_signed_inputs_shift_little():
    images = RNG.uniform(0, 1, (4, 9, 8, 2)).astype("float32")
    [unsigned] = rounding_shifts(model(L.Conv2D(8, 3, name="conv")), images)
    [signed] = rounding_shifts(model(L.Conv2D(8, 3, name="conv")), images - 0.5)
    assert abs(signed.relative(1)) < unsigned.relative(1) / 10


def test_a_layer_of_zeros_shifts_nothing_and_layers_without_a_kernel_have_no_entry():
    network = model(
        L.Conv2D(3, 3, activation="relu", name="a"), L.ReLU(), L.Conv2D(2, 1, name="b", kernel_initializer="zeros")
    )
    shifts = rounding_shifts(network, RNG.uniform(0, 1, (2, 9, 8, 2)).astype("float32"))
    assert [shift.layer for shift in shifts] == ["a", "b"]
    assert shifts[1].output_spread == 0 and shifts[1].relative(1) == 0
