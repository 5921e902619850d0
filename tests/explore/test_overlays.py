"""The explorer of heat maps over scenes: that image, map and boxes lie upon each other."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fewbits import InputError
from fewbits.data import Box, draw_scenes
from fewbits.explore import overlay
from fewbits.inspection.localisation import pointing_game

CLASSES = ("background", "onion", "weed")
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 20, 40, 3)).astype(np.uint8)
SCENES = {
    "first": SimpleNamespace(image=PIXELS[0], boxes=(Box("onion", 30, 10, 40, 15), Box("weed", 20, 5, 40, 20))),
    "second": SimpleNamespace(image=PIXELS[1], boxes=(Box("weed", 0, 0, 9, 9), Box("weed", 10, 0, 19, 9))),
}


def maps():
    heat = np.full((2, 2, 4, 3), 0.1)
    heat[..., 0] = 0.8
    heat[0, 1, 3] = 0.05, 0.9, 0.05  # onion at the bottom right of the first
    heat[1, 0, 0] = 0.3, 0.1, 0.6  # weed at the top left of the second
    return heat


@pytest.fixture(scope="module")
def explorer():
    return overlay(SCENES, {"random": np.full((2, 1, 1, 3), 1 / 3), "taught": maps()}, CLASSES, "11.9", "scenes")


def test_each_scene_is_shown_with_its_own_map_boxes_and_highest_place(explorer):
    first, second, heat, onions, weeds, highest = explorer.view("first", "taught", "onion").traces
    assert (first, second) == ({"visible": True}, {"visible": False})
    assert np.array_equal(heat.pop("z"), maps()[0, ..., 1])
    assert heat == {"x0": 5, "dx": 10, "y0": 5, "dy": 10}  # the middles of cells of 10 x 10
    assert onions == {"x": [30, 40, 40, 30, 30, None], "y": [10, 10, 15, 15, 10, None]}
    assert weeds == {"x": [20, 40, 40, 20, 20, None], "y": [5, 5, 20, 20, 5, None]}
    assert highest == {"x": [35], "y": [15]}
    first, second, heat, onions, weeds, highest = explorer.view("second", "taught", "weed").traces
    assert (first, second) == ({"visible": False}, {"visible": True})
    assert heat["z"][0][0] == 0.6 and onions == {"x": [], "y": []} and len(weeds["x"]) == 12
    assert highest == {"x": [5], "y": [5]}


def test_readings_say_where_the_highest_place_is(explorer):
    assert explorer.view("first", "taught", "onion").readings == {
        "highest place": "90% onion",
        "in the box of": "weed",  # an onion ends above it
        "mostly this class": "1 of 8 places",
    }
    assert explorer.view("second", "taught", "weed").readings["in the box of"] == "weed"
    assert explorer.view("second", "taught", "background").readings["mostly this class"] == "7 of 8 places"
    coarse = explorer.view("second", "random", "onion")
    assert coarse.readings["in the box of"] == "none"
    assert {side: coarse.traces[2][side] for side in ("x0", "dx", "y0", "dy")} == {
        "x0": 20,
        "dx": 40,
        "y0": 10,
        "dy": 20,
    }


def test_readings_and_the_pointing_game_agree():
    scenes = {scene.name: scene for scene in draw_scenes(6, 64, seed=4)}
    heat = np.random.default_rng(1).random((6, 4, 4, 3))
    drawn = overlay(scenes, {"noise": heat}, CLASSES, "11.9", "scenes")
    pairs = {(name, box.name) for name, scene in scenes.items() for box in scene.boxes}
    hits = sum(seen in drawn.view(name, "noise", seen).readings["in the box of"] for name, seen in pairs)
    assert hits == pointing_game(heat, list(scenes.values()), CLASSES).hits > 0


def test_an_image_lies_in_its_pixels_and_is_the_scene(explorer):
    figure = explorer.figure
    for trace, image in zip(figure.data, PIXELS):
        assert (trace.type, trace.x0, trace.y0) == ("image", 0.5, 0.5)  # the first pixel from 0 to 1
        kind, content = trace.source.split(",")
        assert kind == "data:image/png;base64"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))), image)
    assert figure.layout.xaxis.range == (0, 40) and figure.layout.yaxis.range == (20, 0)  # the first row on top
    assert [trace.name for trace in figure.data[3:]] == ["box: onion", "box: weed", "highest"]


def test_a_page_holds_each_image_once_and_every_map(explorer):
    page = explorer.html()
    assert page.count("data:image/png;base64") == len(SCENES)
    assert len(explorer.states()) == 2 * 2 * 3 and "Figure 11.9" in page


def test_what_does_not_fit_is_refused():
    small = SimpleNamespace(image=np.zeros((4, 4, 3), np.uint8), boxes=())
    for scenes, heat, said in (
        ({}, maps(), "give at least one scene, and scenes of one size; there are 0 sizes"),
        (SCENES | {"small": small}, maps(), "of one size; there are 2 sizes"),
        (SCENES, maps()[:1], r"the maps of net must be \(2, h, w, 3\), scenes first and .*, not \(1, 2, 4, 3\)"),
        (SCENES, maps()[..., :2], r"not \(2, 2, 4, 2\)"),
        (SCENES, maps()[0], r"not \(2, 4, 3\)"),
    ):
        with pytest.raises(InputError, match=said):
            overlay(scenes, {"net": heat}, CLASSES, "11.9", "scenes")
