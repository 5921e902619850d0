"""The explorers of a network's layers: their bars and readings are what calibration and the network say."""

from dataclasses import replace

import numpy as np
import pytest

from fewbits import FixedPoint, explore, quantize_model
from fewbits.backend import keras
from fewbits.data.dataset import Dataset, Split
from fewbits.deploy.in_page import round_for_page
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


@pytest.fixture(scope="module")
def by_level(model):
    """The explorer of a network of two levels, with the kernels of a page, on images of noise."""
    round_for_page(model)
    split = Split(RNG.integers(0, 256, (40, 6, 6, 1)), RNG.integers(0, 3, 40))
    dataset = Dataset("noise", split, split, split, tuple("abc"), 256)
    tables = {f"{p} %": calibration.msb_table(model, dataset.arrays("train")[0], p) for p in (95, 100)}
    return explore.accuracy_by_level(model, [["a"], ["b"]], dataset, tables, "9.9"), dataset, tables


def test_the_network_explorer_shows_the_accuracy_after_each_level(model, by_level):
    explorer, dataset, tables = by_level
    own = {"a_bits": 3, "a_msb_shift": 1, "b_bits": 2, "b_msb_shift": -1}
    view = explorer.view(rule="95 %", rounding="nearest", **own)
    kernel, x, y = tables["95 %"]["a"]
    a = [FixedPoint(msb + 1, 3) for msb in (kernel, x, y)]
    kernel, x, y = tables["95 %"]["b"]
    b = [FixedPoint(msb - 1, 2) for msb in (kernel, x, y)]
    images, labels = dataset.arrays("validation")
    network = quantize_model(model, {"a": a, "b": b}, rounding="nearest")
    expected = []
    for level in range(3):
        network.set_level(level)
        expected.append(float((network.predict(images, verbose=0).argmax(-1) == labels).mean()))
    assert view.traces[0]["y"] == expected
    assert view.readings["accuracy"].startswith(f"{expected[2]:.1%} (")
    weights = {layer.name: int(np.prod(layer.kernel.shape)) for layer in network.quantized_layers}
    assert view.readings["weights"] == f"{-(-(3 * weights['a'] + 2 * weights['b']) // 8)} bytes"


def test_a_view_seen_again_is_the_same(by_level):
    explorer, *_ = by_level
    first = explorer.view(**explorer.start)
    explorer.view(**explorer.start | {"rule": "100 %", "b_bits": 2})
    assert explorer.view(**explorer.start) == first
    explorer.view(**explorer.start | {"a_bits": 2})
    assert explorer.view(**explorer.start) == first
