"""Which tensors hold the outputs of layers, clipped, and what is known of them then."""

from math import inf

import numpy as np
import pytest

from fewbits.backend import keras
from fewbits.quantization import FloatNetwork, clipped_outputs, layer_summaries, percentile_limits, streaming
from fewbits.quantization.observation import observe_ranges

L = keras.layers
IMAGES = np.random.default_rng(5).normal(0, 3, (20, 10, 10, 3)).astype(np.float32)
EXPECTED = {
    "a": [],
    "b": [("a", 0, inf)],
    "c": [("a", 0, inf), ("b", 0, 6)],
    "d": [("c", -inf, inf)],
    "e": [],
    "f": [("e", -inf, inf)],
    "g": [("elu", -inf, inf)],  # an activation with a format of its own
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(2)
    images = L.Input((10, 10, 3))
    a = L.Conv2D(4, 3, activation="relu", name="a")(images)
    b = L.ReLU(6.0)(L.Conv2D(6, 1, name="b")(a))
    c = L.Conv2D(5, 3, name="c")(L.Dropout(0.5)(L.Concatenate()([a, b])))
    d = L.MaxPooling2D()(L.Conv2D(5, 1, name="d")(c))
    f = L.Dense(7, name="f")(L.Flatten()(L.Conv2D(3, 1, name="e")(d)))
    return keras.Model(images, L.Dense(2, name="g")(L.ELU(name="elu")(f)))


def test_copies_joins_and_clips_are_known(model):
    network = FloatNetwork(model)
    found = {name: clipped_outputs(network, network.model.get_layer(name).input) for name in EXPECTED}
    assert {name: [(x.layer.name, x.low, x.high) for x in outputs] for name, outputs in found.items()} == EXPECTED


def test_what_is_not_counted_again_is_what_counting_would_find(model, monkeypatch):
    monkeypatch.setattr(streaming, "HELD", 0)
    monkeypatch.setattr(streaming, "BATCH", 6)
    found = {summary.layer.name: summary.input for summary in layer_summaries(model, IMAGES)}
    for layer, values in observe_ranges(model, IMAGES):
        kept, exact = found[layer.name], values.input
        assert kept._counts().sum() == kept.count == exact.size
        assert (kept.low, kept.high) == pytest.approx((exact.min(), exact.max()), rel=1e-5, abs=1e-6)
        kept._parts = [kept.sample[::2]]  # so that limits come from the counts
        for percentile in (50, 90, 98, 99.9):
            assert kept.percentile_limits(percentile) == pytest.approx(
                percentile_limits(exact, percentile), rel=0.01, abs=1e-6
            )
    assert [name for name, summary in found.items() if not summary._counted] == ["b", "c", "f"]


def test_rounded_values_are_counted_themselves():
    keras.utils.set_random_seed(2)
    images = L.Input((10, 10, 3))
    x = L.Conv2D(4, 3, activation="relu", name="a", dtype="mixed_bfloat16")(images)
    model = keras.Model(images, L.Conv2D(2, 3, name="b", dtype="float32")(x))
    network = FloatNetwork(model)
    assert clipped_outputs(network, network.model.get_layer("b").input) == []
