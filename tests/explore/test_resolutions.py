"""The explorer of parameters, MACs and activations: bars that add up to what the library counts."""

import json
import re

import pytest

from fewbits import explore, zoo
from fewbits.backend import keras
from fewbits.costs import complexity
from fewbits.errors import InputError

layers = keras.layers
NETWORKS = {
    "v1.1": lambda side: zoo.build("squeezenet_v1_1", (side, side, 3), 10),
    "e4": lambda side: zoo.build("squeezenet_chernis_e4", (side, side, 3), 10),
}


@pytest.fixture(scope="module")
def explorer():
    return explore.costs_by_level(NETWORKS, "9.9", sides=(40, 64, 96))


def bars(explorer, **setting):
    trace = explorer.view(**setting).traces[0]
    return dict(zip(trace["x"], trace["y"], strict=True))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("quantity", explore.QUANTITIES)
def test_bars_add_up_to_the_total_of_the_network(explorer, network, quantity):
    sums = complexity.totals(NETWORKS[network](40))
    heights = bars(explorer, network=network, side=40, quantity=quantity)
    assert sum(heights.values()) == getattr(sums, quantity.lower()) > 0


@pytest.mark.parametrize("network", NETWORKS)
def test_squeezenet_has_ten_levels(explorer, network):
    heights = bars(explorer, network=network, side=64, quantity="parameters")
    assert list(heights) == ["conv1", *(f"fire{i}" for i in range(2, 10)), "conv10"]


def test_a_level_holds_its_layers_and_the_pooling_behind_it(explorer):
    rows = {row.name: row for row in complexity.cost_table(NETWORKS["v1.1"](64))}
    fire3 = [rows[f"fire3_{part}"] for part in ("squeeze1x1", "expand1x1", "expand3x3", "concat")]
    at = {"network": "v1.1", "side": 64}
    assert bars(explorer, **at, quantity="MACs")["fire3"] == sum(row.macs for row in fire3)
    assert bars(explorer, **at, quantity="activations")["fire3"] == sum(
        row.activations for row in (*fire3, rows["pool3"])
    )


def test_padding_before_the_first_level_belongs_to_it(explorer):
    rows = complexity.cost_table(NETWORKS["e4"](64))
    assert rows[0].name == "conv1_pad"
    heights = bars(explorer, network="e4", side=64, quantity="activations")
    assert heights["conv1"] == rows[0].activations + rows[1].activations


def test_readings_are_the_totals_of_the_library(explorer):
    sums = complexity.totals(NETWORKS["v1.1"](96))
    view = explorer.view(network="v1.1", side=96, quantity="parameters")
    fire9 = (512 * 64 + 64) + (64 * 256 + 256) + (9 * 64 * 256 + 256)
    assert view.readings == {
        "largest share": f"fire9: {fire9 / sums.parameters:.1%}",
        "parameters": f"{sums.parameters:,}",
        "at 32 bits": f"{4 * sums.parameters / 1e6:.2f} MB",
        "MACs": f"{sums.macs / 1e6:,.2f} million",
        "activations": f"{sums.activations:,}",
        "peak of activations at 32 bits": f"{4 * sums.peak_activations / 1e6:.2f} MB",
    }


def test_the_page_starts_with_the_middle_side_and_stays_small(explorer):
    html = explorer.html()
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.S)[1])
    assert explorer.start == {"network": "v1.1", "side": 64, "quantity": "parameters"}
    assert len(data["states"]) == 2 * 3 * 3
    assert len(html) / len(data["states"]) < 300_000 / 135  # the book's has 135 states


def test_moving_a_live_control_shows_the_bars_of_its_new_value():
    explorer = explore.costs_by_level(NETWORKS, "9.9", sides=(40, 64))
    network, side, quantity = (widget := explorer.widget()).children[0].children
    network.value, side.value, quantity.value = "e4", 40, "MACs"
    view = explorer.view(network="e4", side=40, quantity="MACs")
    figure, readings = widget.children[1:3]
    assert list(figure.data[0].y) == view.traces[0]["y"] and list(figure.data[0].x) == view.traces[0]["x"]
    assert figure.layout.yaxis.title.text == "MACs"
    assert all(value in readings.value for value in view.readings.values())


def test_a_network_of_ones_own_is_shown_by_its_layers():
    def build(side):
        image = layers.Input((side, side, 1))
        x = layers.Conv2D(2, 3, name="first")(image)
        x = layers.Flatten(name="flat")(x)
        return keras.Model(image, layers.Dense(3, name="second")(x))

    explorer = explore.costs_by_level({"mine": build}, "9.9", sides=(8, 16))
    assert bars(explorer, network="mine", side=8, quantity="MACs") == {"first": 36 * 18, "second": 72 * 3}


def test_a_side_that_a_network_cannot_take_is_refused_at_once():
    with pytest.raises(InputError, match="needs images of at least"):
        explore.costs_by_level(NETWORKS, "9.9", sides=(4, 64))
