"""The figure that steps through a layer of integers: its numbers are those of the integer network."""

import re

import numpy as np
import pytest

from fewbits import FixedPoint
from fewbits.backend import keras
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError
from fewbits.explore.integer_steps import IntegerSteps
from fewbits.names import INTEGER_ROUNDINGS
from fewbits.quantization.conversion import quantize_model

layers = keras.layers


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            layers.Input((6, 7, 1)),
            layers.Conv2D(3, 3, strides=(1, 2), padding="same", activation="relu", name="first"),
            layers.Conv2D(2, 2, name="second"),
        ]
    )
    model.get_layer("first").bias.assign([0.1, -0.2, 0.05])
    formats = FixedPoint(0, 5), FixedPoint(0, 6), FixedPoint(0, 4)
    return lower(quantize_model(model, formats, rounding="nearest"), levels=64)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).integers(0, 64, (6, 7, 1))


@pytest.fixture(scope="module")
def steps(network, image):
    return IntegerSteps(network, "first", image, "9.9", "One layer.", "Codes of a layer.")


def test_the_codes_are_those_of_the_network(network, image, steps):
    codes = network.trace(image[np.newaxis])["first"][0]
    found = [[[steps.steps(r, c, f, "nearest")["code"] for f in range(3)] for c in range(4)] for r in range(6)]
    np.testing.assert_array_equal(found, codes)
    assert len(np.unique(codes)) > 4


def test_layers_that_cannot_be_shown_are_refused(network, image):
    for layer, says in (("second", "reads 3 channels"), ("none", "is no convolution with an output format")):
        with pytest.raises(InputError, match=f"layer {layer} {says}"):
            IntegerSteps(network, layer, image, "9.9", "One layer.", "Codes of a layer.")


ROWS = "rows => rows.map(row => [...row.querySelectorAll('td')].map(cell => cell.textContent))"


def shown(page):
    rows = page.locator(".output tbody tr").evaluate_all(ROWS)
    return [[int(cell.replace("\u2212", "-")) for cell in row] for row in rows]


def test_the_page_shows_the_codes_of_every_filter_and_rounding(page, steps):
    for filter in range(3):
        page.locator("[name=filter]").fill(str(filter))
        for rounding in INTEGER_ROUNDINGS:
            page.select_option("[name=rounding]", rounding)
            expected = [[steps.steps(r, c, filter, rounding)["code"] for c in range(4)] for r in range(6)]
            assert shown(page) == expected, (filter, rounding)


def test_arrow_keys_and_buttons_go_from_place_to_place_and_the_words_say_what_happens(page, steps):
    page.locator(".output td[aria-selected=true]").focus()
    for key in ["ArrowUp"] * 6 + ["ArrowLeft"] * 4 + ["ArrowDown"] * 4 + ["ArrowRight"] * 3:
        page.keyboard.press(key)
    page.locator("[name=back]").click()
    found = steps.steps(4, 2, 0, "nearest")
    words = page.locator(".summary").text_content().replace("\u2212", "-")
    assert words.startswith("Row 5, column 3, filter 1: ")
    total, code = map(int, re.search(r"the sum (-?\d+) becomes the code (-?\d+)", words).groups())
    assert (total, code) == (found["sum"], found["code"])
    bits = page.locator(".sum code").text_content()
    assert int(bits, 2) - (int(bits[0]) << len(bits)) == total
    assert int(page.locator(".clip code").text_content(), 2) == code
    dropped = page.locator(".shift s").text_content()
    assert bits.endswith(dropped) and len(dropped) == steps._shifts[0]


def test_nothing_is_wider_than_a_phone(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
