"""Wrong formats and settings are refused in one short sentence that names the layer."""

import re

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, quantize_model
from fewbits.backend import keras

L = keras.layers
F = FixedPoint(0, 8)
WRONG = [
    (8, "formats must be .kernel, input, output., each a FixedPoint or None, not 8"),
    ("int8", "formats must be"),
    (F, "formats must be"),
    ({"kernel": F}, "formats must be"),
    ((F, F, F, F, F), "formats must be"),
    (np.zeros((4, 100)), "the kernel format must be a FixedPoint or None, not something of type ndarray"),
    ((8, 8, 8), "the kernel format must be a FixedPoint or None, not 8"),
    (((0, 8), (0, 8), (3, 8)), "the kernel format must be a FixedPoint or None, not .0, 8."),
    ((F, "8 bits", F), "the input format must be a FixedPoint or None, not '8 bits'"),
    ((F, F, np.zeros((3, 50))), "the output format must be a FixedPoint or None, not something of type ndarray"),
    ((F, F, FixedPoint(0, 25)), "the output format has more than 24 bits"),
    ((F, (F, F), F), "the input takes one format"),
    (((F, FixedPoint(0, 7)), F, F), "all filters must have equal bits"),
    (((F, F, F), F, F), "has 2 filters, not 3 kernel formats"),
    ((FixedPoint(0, 8, signed=False), F, F), "the kernel takes a signed format"),
    ((F, F, F, FixedPoint(0, 8, signed=False)), "the bias takes a signed format"),
    (([], F, F), "the kernel format must be a FixedPoint or None, not an empty sequence"),
]


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([L.Input((8, 8, 1)), L.Conv2D(2, 3, name="conv"), L.Dense(2, name="dense")])


@pytest.fixture(scope="module")
def quantized(model):
    return quantize_model(model)


def refused(model, *arguments, **settings):
    with pytest.raises(InputError) as raised:
        quantize_model(model, *arguments, **settings)
    assert "\n" not in str(raised.value) and "config" not in str(raised.value) and len(str(raised.value)) < 200
    return str(raised.value)


@pytest.mark.parametrize(("formats", "said"), WRONG)
def test_wrong_formats_are_refused_by_layer(model, quantized, formats, said):
    assert re.search(f"conv:? .*{said}", refused(model, {"conv": formats}))
    with pytest.raises(InputError, match=f"conv:? .*{said}"):
        quantized.set_formats({"conv": formats})
    assert not any(quantized.formats["conv"])


def test_formats_for_all_layers_name_the_first(model):
    assert refused(model, 8).startswith("layer conv: formats must be")


@pytest.mark.parametrize("setting", ["rounding", "gradient", "bias_order"])
def test_a_wrong_name_is_refused_with_those_there_are(model, setting):
    for wrong in ("nearst", None, 3):
        said = refused(model, **{setting: wrong})
        assert said.startswith(f"unknown {setting.replace('_', ' ')} {wrong!r}; it is one of ")


@pytest.mark.parametrize("levels", [3, ["conv", "dense"], [["conv"]], [["conv"], ["dens"]], [[1], [2]]])
def test_wrong_levels_are_refused(model, levels):
    assert refused(model, levels=levels).startswith("levels must ")
