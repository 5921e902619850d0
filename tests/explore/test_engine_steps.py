"""The figure that steps through the hardware engine: it shows the trace, and the trace's codes follow from it."""

import re

import numpy as np
import pytest

from fewbits.explore.engine_steps import EngineSteps
from helpers.engine_layers import random_layer

pytest.importorskip("amaranth")

from fewbits.deploy.hardware import EngineDesign, plan_job, trace_job  # noqa: E402


@pytest.fixture(scope="module")
def layer():
    return random_layer((4, 5, 2), 2, rounding="nearest-up", seed=2)


@pytest.fixture(scope="module")
def steps(layer):
    convolve, source, rounded, codes = layer
    design = EngineDesign(sum_bits=convolve.partial_bits, columns=5, places=20)
    job = plan_job(convolve, source, design, rounded)
    return EngineSteps(design, job, trace_job(design, job, codes), codes, "9.9", "One filter.", "Windows and sums.")


def test_the_weights_are_those_of_the_first_filter(steps, layer):
    np.testing.assert_array_equal(steps.weights, layer[0].kernel[..., 0].transpose(2, 0, 1))


def text(page, selector):
    return page.locator(selector).text_content().replace("\u2212", "-")


def shown(page, name):
    """Return the numbers of a table, row by row; empty places are left out."""
    cells = [cell.replace("\u2212", "-") for cell in page.locator(f"table.{name} tbody td").all_text_contents()]
    return [int(cell) for cell in cells if cell != "\u00b7"]


def binary(bits):
    return int(bits, 2) - (int(bits[0]) << len(bits))


def test_every_window_and_sum_of_the_trace_is_in_the_page(page, steps):
    trace, (rows, columns) = steps.trace, steps.trace.windows.shape[2:4]
    for plane, row, column in ((0, 0, 0), (0, 3, 2), (1, 0, 0), (1, 2, 4)):
        place = row * columns + column
        page.locator("[name=step]").fill(str(plane * rows * columns + place))
        at = 0, plane, row, column
        assert shown(page, "window") == trace.windows[at].ravel().tolist()
        assert sum(shown(page, "products")) == trace.window_sums[(*at, 0)]
        assert binary(text(page, ".partial code")) == trace.partial_sums[(*at, 0)]
        assert text(page, ".join").endswith(f"= {trace.window_sums[(*at, 0)]}")
        assert shown(page, "output") == (trace.codes[0, ..., 0].ravel()[: place + 1].tolist() if plane else [])


def test_the_shown_bits_round_to_the_code_of_the_trace(page, steps):
    """The kept bits, plus the bit in the frame, are the code, unless it is clipped."""
    trace, added, compared = steps.trace, set(), 0
    first = trace.windows[0, 0, ..., 0, 0].size
    for place, code in enumerate(trace.codes[0, ..., 0].ravel().tolist()):
        page.locator("[name=step]").fill(str(first + place))
        half = text(page, ".shift mark")
        kept = text(page, ".shift code")[: -int(re.search(r"by (\d+) bits", text(page, ".shift"))[1])]
        rounded = binary(kept) + int(half)
        assert rounded == code or not -128 < rounded < 127
        added.add(half)
        compared += rounded == code
    assert added == {"0", "1"} and compared > 10


def test_it_starts_where_rounding_adds_and_moves_by_buttons_and_keys(page, steps):
    slider, words = page.locator("[name=step]"), []
    assert int(slider.input_value()) == steps.start and "1 is added" in text(page, ".round")
    for act in (page.locator("[name=next]").click, page.locator("[name=back]").click):
        act()
        words.append(text(page, ".summary"))
    slider.press("Home")
    page.locator("[name=back]").click()
    assert int(slider.input_value()) == steps.trace.windows[0, ..., 0, 0].size - 1  # around
    slider.press("ArrowRight")
    slider.press("ArrowLeft")
    assert len({*words, text(page, ".summary")}) == 3


def test_nothing_is_wider_than_a_phone(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
