"""The predicted shift of rounding down: values by hand, and what rounding then does."""

import numpy as np
import pytest

from fewbits import FixedPoint, quantize
from fewbits.backend import keras, ops
from fewbits.quantization import rounding_shifts

L = keras.layers
RNG = np.random.default_rng(0)
NEXT = L.Rescaling(2.0)  # something reads the layer, so that a shift of all filters counts
IMAGES = RNG.uniform(0, 1, (4, 9, 8, 2)).astype("float32")


def model(*layers, shape=(9, 8, 2)):
    keras.utils.set_random_seed(0)
    x = y = L.Input(shape)
    for layer in layers:
        y = layer(y)
    return keras.Model(x, y)


@pytest.mark.parametrize("relu", [None, "fused", "after"])
def test_sums_and_shift_are_those_of_the_windows(relu):
    conv = L.Conv2D(1, 2, kernel_initializer="ones", activation="relu" if relu == "fused" else None, name="conv")
    network = model(conv, *([L.ReLU()] * (relu == "after")), NEXT, shape=(2, 2, 1))
    conv.bias.assign([-8.0])
    images = np.array([1.0, 2.0, 3.0], "float32").reshape(3, 1, 1, 1) * np.ones((3, 2, 2, 1), "float32")
    [shift] = rounding_shifts(network, images, steps=(0.5, 2.0))
    assert shift.layer == "conv" and shift.steps == (0.5, 2.0)
    assert shift.window_sum == pytest.approx(8)  # 4, 8 and 12
    assert shift.window_deviation == pytest.approx(np.sqrt(32 / 3))
    if relu:  # outputs -4, 0 and 4 become 0, 0 and 4; shifted by 1, 2, 3 only the last changes
        wanted = np.sqrt(9 / 3) / np.std([0, 0, 4])
        assert shift.at(2.0) == pytest.approx(4 / np.sqrt(3) / np.std([0, 0, 4]))  # shifted by 4, 8, 12: to 0
    else:
        wanted = np.sqrt((1 + 4 + 9) / 3) / np.std([-4, 0, 4])
        assert shift.at(1.0) == pytest.approx(2 * wanted)
    assert shift.at(0.5) == pytest.approx(wanted)


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
    [shift] = rounding_shifts(model(layer, NEXT), IMAGES)
    network, fmt = model(layer), FixedPoint(2, 8)
    before = network.predict_on_batch(IMAGES)
    layer.kernel.assign(quantize(ops.convert_to_numpy(layer.kernel), fmt, "floor"))
    error = (network.predict_on_batch(IMAGES) - before).mean(-1)  # noise without a mean cancels over the filters
    measured = np.sqrt((error**2).mean() / before.reshape(-1, before.shape[-1]).var(0).mean())
    assert measured == pytest.approx(shift.at(fmt.step), rel=0.2)


@pytest.mark.parametrize("after", [[], [L.GlobalAveragePooling2D(), L.Softmax()], [L.ReLU()]])
def test_a_shift_that_all_classes_share_counts_only_before_an_activation(after):
    last = L.Conv2D(5, 3, name="last")
    [shift] = rounding_shifts(model(last, *after), IMAGES)
    assert shift.at(0.1) > 0.1 if any(isinstance(layer, L.ReLU) for layer in after) else shift.at(0.1) < 1e-4


def test_signed_inputs_shift_less():
    [unsigned] = rounding_shifts(model(L.Conv2D(8, 3, name="conv"), NEXT), IMAGES)
    [signed] = rounding_shifts(model(L.Conv2D(8, 3, name="conv"), NEXT), IMAGES - 0.5)
    assert abs(signed.window_sum) < unsigned.window_sum / 10 and signed.at(0.01) < unsigned.at(0.01) / 2


def test_a_layer_of_zeros_shifts_nothing_and_layers_without_a_kernel_have_no_entry():
    zeros = L.Conv2D(2, 1, name="b", kernel_initializer="zeros")
    shifts = rounding_shifts(model(L.Conv2D(3, 3, activation="relu", name="a"), L.ReLU(), zeros), IMAGES)
    assert [shift.layer for shift in shifts] == ["a", "b"]
    assert shifts[1].at(1) == 0 and shifts[0].at(1) > 0
