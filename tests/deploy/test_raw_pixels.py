"""Networks that take pixels as they are, because they scale them themselves: integers begin with the pixels."""

import numpy as np
import pytest

from fewbits import InputError, formats_for, quantize_model
from fewbits.backend import keras
from fewbits.deploy import compare_layers, lower, to_pixels

L = keras.layers
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 10, 10, 3))


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    steps = [L.Rescaling(1 / 127.5, -1), L.Conv2D(4, 3, padding="same", activation="relu"), L.Flatten(), L.Dense(3)]
    model = keras.Sequential([keras.Input((10, 10, 3)), *steps])
    quantized = quantize_model(model, fold_preprocessing=True, rounding="nearest")
    quantized.set_formats(formats_for(quantized, PIXELS, 8, range_rule=100))
    return quantized


def test_integers_are_the_simulation_of_the_pixels_themselves(network):
    integers = lower(network, divisor=1)
    layers = compare_layers(network, integers, PIXELS)
    assert [layer.different for layer in layers.values()] == [0, 0]
    np.testing.assert_array_equal(to_pixels(integers, PIXELS.astype(np.float32)), PIXELS)


def test_an_offset_that_no_bias_takes_is_one_that_integers_add():
    """Means of channels, which are what they are, before a convolution that pads with zeros."""
    keras.utils.set_random_seed(0)
    norm = L.Normalization(mean=[123.68, 116.779, 103.939], variance=[3400.0, 3300.0, 3600.0])
    steps = [norm, L.Conv2D(4, 3, padding="same", activation="relu"), L.Flatten(), L.Dense(3)]
    model = keras.Sequential([keras.Input((10, 10, 3)), *steps])
    quantized = quantize_model(model, fold_preprocessing=True, rounding="nearest")
    expected = model(PIXELS)
    np.testing.assert_allclose(quantized(PIXELS), expected, atol=1e-5 * np.abs(expected).max())
    quantized.set_formats(formats_for(quantized, PIXELS))
    assert not any(layer.different for layer in compare_layers(quantized, lower(quantized, divisor=1), PIXELS).values())


@pytest.mark.parametrize("images", [PIXELS / 256, PIXELS + 1.0, PIXELS - 1.0])
def test_images_of_another_scale_are_refused(network, images):
    with pytest.raises(InputError, match=r"not \(pixel - mean\) / 1 for pixels of 256 levels"):
        to_pixels(lower(network, divisor=1), images)


@pytest.mark.parametrize("divisor", [0, -2, 3, 255, 1.0, True])
def test_other_divisors_are_refused(network, divisor):
    with pytest.raises(InputError, match="the divisor of the pixels must be a power of two, such as 1 or 256, not"):
        lower(network, divisor=divisor)


@pytest.mark.parametrize("fold", [False, True])
def test_a_network_whose_input_holds_bytes_takes_the_pixels_themselves(fold):
    keras.utils.set_random_seed(0)
    steps = [L.Rescaling(1 / 128, -1), L.Conv2D(4, 3, padding="same", activation="relu"), L.Flatten(), L.Dense(3)]
    model = keras.Sequential([keras.Input((10, 10, 3), dtype="uint8"), *steps])
    quantized = quantize_model(model, fold_preprocessing=fold, rounding="nearest")
    np.testing.assert_allclose(quantized(PIXELS), model(PIXELS), atol=1e-5)
    quantized.set_formats(formats_for(quantized, PIXELS, 8, range_rule=100))
    integers = lower(quantized)
    assert [layer.different for layer in compare_layers(quantized, integers, PIXELS).values()] == [0, 0]
    np.testing.assert_array_equal(to_pixels(integers, PIXELS.astype(np.float32)), PIXELS)
