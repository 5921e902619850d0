"""The explorer of mixed precision: its bars and readings are those of the integer program."""

import numpy as np
import pytest

from fewbits import InputError, explore, quantize_model
from fewbits.backend import keras
from fewbits.search import Budget, LogitNoise, allocate_bits, cost_model, stored_tensors

L = keras.layers


@pytest.fixture(scope="module")
def noise():
    image = L.Input((6, 6, 1))
    x = L.Flatten()(L.Conv2D(3, 3, activation="relu", name="a")(image))
    network, rng = quantize_model(keras.Model(image, L.Dense(4, name="b")(x))), np.random.default_rng(0)
    tensors = stored_tensors(network)
    of = {t.name: {n: float(rng.uniform(0.2, 5) * 4.0**-n) for n in (2, 4, 8)} for t in tensors}
    return LogitNoise(network, tensors, 1.0, of, {}, None)


def test_bars_and_readings_are_those_of_the_program(noise):
    explorer = explore.bits_within_budget(noise, "17.9", ("bytes", "bitops"), (100, 80, 60, 1))
    assert explorer.controls == {"limit": ("bytes", "bitops"), "share": (100, 80, 60)}
    for cost in ("bytes", "bitops"):
        bits = allocate_bits(noise, [Budget(cost, 0.6, 8)])
        view = explorer.view(cost, 60)
        kernels, activations = view.traces
        assert dict(zip(kernels["x"] + activations["x"], kernels["y"] + activations["y"])) == bits
        assert kernels["x"] == ["a kernel", "b kernel"]
        spent = cost_model(noise.network, noise.tensors, cost).of(bits)
        assert view.readings[cost].startswith(f"{spent:,.0f} ")
        assert view.readings["predicted SQNR of the logits"] == f"{noise.predicted_sqnr(bits):.1f} dB"


def test_shares_that_cannot_be_met_are_refused(noise):
    with pytest.raises(InputError, match="none of the shares; give some above 2 %"):
        explore.bits_within_budget(noise, "17.9", ("bytes",), (2, 1))
