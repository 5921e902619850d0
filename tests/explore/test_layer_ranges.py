"""The explorers of a network's layers: their bars and readings are what calibration and the network say."""

from dataclasses import replace

import numpy as np
import pytest

from fewbits import FixedPoint, explore, quantize_model
from fewbits.backend import keras
from fewbits.quantization import calibration, observation, range_rules
from fewbits.quantization.sqnr import quantization_error

L = keras.layers
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.random((30, 6, 6, 1), np.float32), RNG.integers(0, 3, 30)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    layers = [L.Conv2D(3, 3, activation="relu", name="a"), L.Flatten(), L.Dense(3, name="b")]
    return keras.Sequential([L.Input((6, 6, 1)), *layers])


def test_ranges_show_the_sqnr_of_each_layer_and_the_worst(model):
    observed = dict(observation.observe(model, IMAGES))
    view = explore.sqnr_by_percentile(observed, "9.9").view(values="input", percentile=95, bits=5, rounding="floor")
    expected = []
    for values in observed.values():
        msb = range_rules.msb_from_limits(*range_rules.percentile_limits(values.input, 95))
        expected.append(quantization_error(values.input, FixedPoint(msb, 5), "floor"))
    assert view.traces[0]["y"] == [round(e.sqnr, 2) for e in expected]
    assert view.readings["most clipped"] == f"{max(e.clipped for e in expected):.2%}"
    assert view.readings["worst layer"].startswith("ab"[int(np.argmin([e.sqnr for e in expected]))])


def test_ranges_of_values_that_are_never_negative_may_be_unsigned(model):
    observed = dict(observation.observe(model, IMAGES))
    observed["b"] = replace(observed["b"], input=observed["b"].input - 0.1)  # the other layer's are never negative
    explorer = explore.sqnr_by_percentile(observed, "9.9", codes=("signed", "unsigned"))
    assert explorer.start["codes"] == "signed"
    setting = {"values": "input", "percentile": 100, "bits": 4, "rounding": "nearest"}
    view = explorer.view(**setting, codes="unsigned")
    assert ["unsigned" in text for text in view.traces[0]["hovertext"]] == [True, False]
    expected = []
    for values, text in zip(observed.values(), view.traces[0]["hovertext"], strict=True):
        signed = bool(values.input.min() < 0)
        fmt = FixedPoint(range_rules.msb_from_limits(0, np.abs(values.input).max(), signed), 4, signed)
        expected.append(quantization_error(values.input, fmt, "nearest").sqnr)
        assert text == f"MSB {fmt.msb}{'' if signed else ', unsigned'}"
    assert view.traces[0]["y"] == [round(sqnr, 2) for sqnr in expected]
    kernels = [explorer.view(**setting | {"values": "kernel"}, codes=codes) for codes in ("signed", "unsigned")]
    assert kernels[0] == kernels[1]


def test_the_network_explorer_shows_the_accuracy_after_each_level(model):
    network = quantize_model(model)
    tables = {"95 %": calibration.msb_table(model, IMAGES, 95)}
    explorer = explore.accuracy_by_level(network, IMAGES, LABELS, tables, "9.9")
    view = explorer.view(rule="95 %", bits=3, rounding="nearest", levels=1)
    network.set_formats(calibration.formats_from_msbs(tables["95 %"], 3))
    network.set_rounding("nearest")
    expected = []
    for level in range(3):
        network.set_level(level)
        expected.append(round(float((network.predict(IMAGES, verbose=0).argmax(-1) == LABELS).mean()), 4))
    assert view.traces[0]["y"] == expected
    assert view.readings["accuracy"].startswith(f"{expected[1]:.1%} (")


def test_a_view_seen_again_is_the_same(model):
    network = quantize_model(model)
    explorer = explore.accuracy_by_level(
        network, IMAGES, LABELS, {"max": calibration.msb_table(model, IMAGES, 100)}, "9.9"
    )
    setting = {"rule": "max", "bits": 2, "rounding": "floor", "levels": 2}
    first = explorer.view(**setting)
    explorer.view(**{**setting, "bits": 8})
    assert explorer.view(**setting) == first
