"""The explorers: what a slider shows is what the library computes."""

import json
import re
from html import escape
from pathlib import Path

import numpy as np
import pytest

from fewbits import FixedPoint, explore, quantize
from fewbits.backend import keras
from fewbits.data.dataset import Dataset, Split
from fewbits.deploy.in_page import round_for_page
from fewbits.errors import InputError
from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, PageView, View


@pytest.fixture(scope="module")
def network():
    """An untrained classifier of 8 x 8 images, with the kernels of a page, and a data set to measure it on."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    parts = [layers.Conv2D(4, 3, name="conv"), layers.Flatten(), layers.Dense(10, name="dense")]
    model = keras.Sequential([layers.Input((8, 8, 1)), *parts])
    round_for_page(model)
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (320, 8, 8, 1)), rng.integers(0, 10, 320))
    return model, Dataset("noise", split, split, split, tuple("0123456789"), 256)


@pytest.fixture(scope="module")
def weights(network):
    return explore.kernel_histogram(*network, "9.9", bits=(2, 6), msbs=(-1, 0))


def data_in(html):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.S)[1])


@pytest.mark.parametrize("chosen", ["all", "dense"])
def test_the_accuracy_shown_is_that_of_the_network_with_quantized_kernels(network, weights, chosen):
    model, dataset = network
    images, labels = dataset.arrays("validation")
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    for layer in twin.layers:
        if layer.name in ("conv", "dense") and chosen in ("all", layer.name):
            layer.kernel.assign(quantize(layer.kernel.numpy(), FixedPoint(-1, 2), "nearest"))
    expected = (twin.predict(images, verbose=0).argmax(-1) == labels).mean()
    shown = weights.view(kernel=chosen, bits=2, msb=-1, rounding="nearest").readings["accuracy"]
    assert shown.startswith(f"{expected:.1%} (")


def test_exploring_leaves_the_network_as_it_was(network):
    model = network[0]
    before = [w.copy() for w in model.get_weights()]
    explore.kernel_histogram(*network, "9.9").view(kernel="all", bits=1, msb=3, rounding="floor")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))


def test_the_histogram_holds_every_weight_when_none_lies_outside(weights, network):
    counts = weights.view(kernel="all", bits=8, msb=0, rounding="nearest").traces[0]["y"]
    assert sum(counts) == sum(w.size for w in network[0].get_weights() if w.ndim > 1)


def test_the_page_holds_the_view_of_every_setting_in_order():
    def view(bits, rounding):
        return View([{"y": [bits]}], {"bits": f"{bits}, {rounding}"})

    controls = {"bits": (2, 6, 8), "rounding": ("floor", "nearest")}
    explorer = Explorer(controls, {"bits": 6, "rounding": "floor"}, view, plots.figure(x="", y=""), "1", "c", "a")
    data = data_in(explorer.html())
    assert data["controls"] == [[2, 6, 8], ["floor", "nearest"]]
    expected = [f"{bits}, {rounding}" for bits in (2, 6, 8) for rounding in ("floor", "nearest")]
    assert [state["readings"]["bits"] for state in data["states"]] == expected
    assert 'aria-live="polite"><dl><div><dt>bits</dt><dd>6, floor</dd>' in explorer.html()


def test_the_table_lists_every_value_of_each_control_or_the_settings_that_are_named():
    def view(bits, rounding):
        return View([], {"sum": f"{bits} {rounding}"})

    controls = {"bits": (2, 6, 8), "rounding": ("floor", "nearest")}
    named = PageView("none", (), listed=[{"bits": 8, "rounding": "nearest"}])
    for page, expected in ((None, ["2 floor", "6 floor", "6 nearest", "8 floor"]), (named, ["8 nearest"])):
        start = {"bits": 6, "rounding": "floor"}
        html = Explorer(controls, start, view, plots.figure(x="", y=""), "1", "c", "a", page).html()
        assert re.findall(r"<td>(\d \w+)</td></tr>", html) == expected


def test_moving_a_live_control_shows_the_view_of_its_new_value():
    explorer = explore.staircase("9.9")
    bits, msb, rounding = (widget := explorer.widget()).children[0].children
    bits.value, msb.value, rounding.value = 2, 1, "nearest"
    view = explorer.view(bits=2, msb=1, rounding="nearest")
    figure, readings = widget.children[1:3]
    assert list(figure.data[0].y) == view.traces[0]["y"]
    assert all(escape(value) in readings.value for value in view.readings.values())


def test_an_error_in_a_view_is_not_swallowed():
    broken = explore.Explorer({"x": (1, 2)}, {"x": 1}, lambda x: 1 / (x - 2), plots.figure(x="", y=""), "1", "c", "a")
    with pytest.raises(ZeroDivisionError):
        broken.html()


def test_the_staircase_counts_levels():
    explorer = explore.staircase("9.9")
    assert explorer.view(bits=3, msb=0, rounding="floor").readings["levels"] == "8"
    assert explorer.view(bits=3, msb=0, rounding="thesis").readings["levels"] == "9"


def test_the_staircase_without_a_sign_begins_at_0():
    explorer = explore.staircase("9.9", codes=("signed", "unsigned"))
    assert list(explorer.controls) == ["bits", "msb", "rounding", "codes"] and explorer.start["codes"] == "signed"
    view = explorer.view(bits=3, msb=0, rounding="floor", codes="unsigned")
    assert view.readings["format"] == "ap_ufixed<3, 1>" and view.readings["values"] == "0 to 1.75"
    assert (min(view.traces[0]["y"]), max(view.traces[0]["y"])) == (0, 1.75)
    assert "codes" not in explore.staircase("9.9", codes=("unsigned",)).controls


def test_a_start_outside_the_controls_is_refused():
    with pytest.raises(InputError, match="bits starts at 9"):
        explore.Explorer({"bits": (1, 2)}, {"bits": 9}, lambda bits: None, plots.figure(x="", y=""), "1", "c", "a")


def test_data_in_a_page_cannot_end_their_script_element():
    assert "</script>" not in plots.as_script('{"x": "</script><script>alert(1)</script>"}')[:-9]


def test_a_figure_has_caption_alternative_and_table(monkeypatch):
    shown = []
    monkeypatch.setenv("FEWBITS_BOOK", "1")
    monkeypatch.setattr("IPython.display.display", shown.append)
    plots.show(plots.figure(x="x", y="y"), "1.1", "What & why.", 'A "line".', plots.Table(("a",), [(1234,), (0.5,)]))
    html = shown[0].data
    assert "<b>Figure 1.1.</b> What &amp; why." in html and 'aria-label="A &quot;line&quot;."' in html
    assert "<td>1,234</td>" in html and "<td>0.5</td>" in html


def test_controls_are_named_in_words():
    words = Explorer(
        {"weight_bits": (1, 2), "msb": (0, 1)},
        {"weight_bits": 1, "msb": 0},
        lambda **_: View([], {}),
        plots.figure(x="x", y="y"),
        "9.9",
        "caption",
        "alternative",
    ).html()
    assert "<span>weight bits</span>" in words and "<span>MSB</span>" in words
    assert 'id="figure-9-9"' in words


def test_no_figure_has_a_button_that_sends_it_away():
    live = Explorer(
        {"bits": (1, 2)}, {"bits": 1}, lambda **_: View([], {}), plots.figure(x="x", y="y"), "9.9", "c", "a"
    )
    figure = live.widget().children[1]
    assert figure._config["modeBarButtons"] == [["zoom2d", "pan2d", "resetScale2d", "toImage"]]
    script = (Path(__file__).parents[2] / "book" / "offline" / "fewbits.js").read_text()
    assert json.dumps(plots.CONFIG["modeBarButtons"]) in script
