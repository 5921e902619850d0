"""An adapted Normalization keeps its mean and variance wherever a network is rewritten."""

import numpy as np
import pytest

from fewbits import dequantize_model, quantize_model
from fewbits.backend import keras
from fewbits.io.files import read_model, write_model
from fewbits.pruning import remove_filters
from fewbits.quantization import canonical, placed

L = keras.layers
IMAGES = np.random.default_rng(0).uniform(0, 255, (32, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    """Return a nested network with a Normalization and an activation that becomes a layer."""
    keras.utils.set_random_seed(0)
    normalization = L.Normalization()
    normalization.adapt(IMAGES)
    steps = [normalization, L.Conv2D(4, 3, activation="silu", name="conv"), L.Flatten(), L.Dense(2)]
    inner = keras.Sequential([keras.Input((8, 8, 3)), *steps])
    image = keras.Input((8, 8, 3))
    return keras.Model(image, inner(image))


@pytest.mark.parametrize(
    "rewrite",
    [
        canonical,
        lambda model: placed(canonical(model)),
        quantize_model,
        lambda model: quantize_model(model, fold_preprocessing=True),
        lambda model: dequantize_model(quantize_model(model)),
        lambda model: remove_filters(canonical(model), {"conv": []}),
    ],
)
def test_outputs_stay(network, rewrite):
    a, b = (model.predict(IMAGES, verbose=0) for model in (network, rewrite(network)))
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * np.abs(a).max())


def test_a_file_holds_them(network, tmp_path):
    network.compile("sgd", "mse")
    write_model(network, tmp_path / "network.keras")
    a, b = (model.predict(IMAGES, verbose=0) for model in (network, read_model(tmp_path / "network.keras")))
    np.testing.assert_array_equal(a, b)
