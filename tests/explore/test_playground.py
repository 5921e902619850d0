"""The playground of the front page, as a reader's browser sees it: by mouse, finger and keyboard, from a file."""

import re

import numpy as np
import pytest

from fewbits import data, deploy, explore, zoo
from fewbits.explore.playground import PRESETS, Playground
from helpers.pages import silent_pages

COUNTED = "!document.querySelector('.accuracy.counting') && document.querySelector('b.quantized').textContent"
NAME = "squeezenet_digits"


@pytest.fixture(scope="module")
def playground():
    digits = data.load("digits")
    network = zoo.build(NAME, digits.image_shape, 10, weights=NAME)
    return Playground(network, digits, "0.1", "What it shows.", "Bars <of> shares.", count=60, samples=4)


@pytest.fixture(scope="module")
def html(playground):
    return playground.html()


@pytest.fixture(scope="module")
def address(html, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "playground.html"
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    file.write_text(f"{head}<title>page</title><body>{html}</body></html>", encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def visit(chromium, address):
    """Open the page; at the end nothing may be wrong in the console, nor be asked of another host."""
    with silent_pages(chromium) as (new_page, trouble):

        def open_page(**options):
            page = new_page(**options)
            page.on("request", lambda r: None if r.url.startswith((address, "data:")) else trouble.append(r.url))
            page.goto(address)
            if options.get("java_script_enabled", True):
                page.wait_for_function(COUNTED)
            return page

        yield open_page


def counted(page):
    """Return how many digits the page says are read, once it has counted."""
    page.wait_for_function(COUNTED)
    return int(re.search(r"test digits it reads (\d+)", page.inner_text(".summary"))[1])


def test_each_preset_reads_as_many_digits_as_the_integer_network(visit, playground):
    page = visit()
    expected = playground.accuracies
    assert len({share.hits for share in expected.values()}) > 3  # else equality proves nothing
    assert f"in float {expected['float'].hits}." in page.inner_text(".summary")
    for name in PRESETS:
        page.get_by_role("button", name=name, exact=True).click()
        assert counted(page) == expected[name].hits, name
        assert page.locator(".presets [aria-pressed=true]").inner_text() == name


def test_the_count_is_that_of_other_formats_too(visit, playground):
    page = visit()
    page.select_option("[name=rounding]", "nearest-away")
    page.locator("[name=shift]").fill("-1")
    page.locator("[name=weights]").fill("6")
    page.locator("[name=unsigned]").check()
    formats = playground.formats(explore.playground.Preset(6, 8, -1, "nearest-away", unsigned=True))
    quantized = playground._quantized
    quantized.set_formats(formats)
    quantized.set_rounding("nearest-away")
    test = playground.dataset.test.take(60)
    answers = deploy.lower(quantized, levels=32).run(test.images).argmax(1)
    page.wait_for_timeout(300)  # the count waits for the reader
    assert counted(page) == (answers == test.labels).sum()


def test_one_layer_is_changed_alone_and_shown(visit):
    page = visit()
    page.get_by_role("button", name="fire3_squeeze1x1").click()
    assert page.locator("[name=layer]").input_value() == "fire3_squeeze1x1"
    assert page.inner_text(".weights .head") == "Weights of fire3_squeeze1x1"
    before = page.locator(".layers li .note").all_inner_texts()
    page.locator("[name=weights]").fill("2")
    after = page.locator(".layers li .note").all_inner_texts()
    names = page.locator(".layers li button").all_inner_texts()
    changed = [name for name, a, b in zip(names, before, after) if a != b]
    assert changed == names[names.index("fire3_squeeze1x1") :]
    assert page.inner_text(".weights .words").startswith(("3 different values", "4 different values"))
    page.select_option("[name=layer]", "conv1")
    assert page.locator("[name=weights]").input_value() == "8"


RED = """canvas => {
  const small = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
  const context = small.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(canvas, 0, 0, 8, 8);
  return [...context.getImageData(0, 0, 8, 8).data].filter((_, i) => i % 4 === 0);
}"""


def pixels(page):
    """Return the grey levels of the network's input, as it is shown: (8, 8), 0 white to 255 black."""
    return 255 - np.array(page.locator(".input").evaluate(RED)).reshape(8, 8)


def is_a_one(image):
    """Return whether a vertical stroke fills the middle of the image, from top to bottom, and nothing else."""
    return (image[:, 3:5] > 100).all() and (image[:, [0, 1, 6, 7]] == 0).all()


def test_a_stroke_by_mouse_becomes_an_image_that_fills_the_grid(visit):
    page = visit()
    box = page.locator(".pad").bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 40, box["y"] + 120, steps=3)
    page.mouse.up()
    assert is_a_one(pixels(page))
    assert page.locator(".samples [aria-pressed=true]").count() == 0
    page.mouse.move(box["x"] + 90, box["y"] + 60)  # without a button, nothing is drawn
    assert is_a_one(pixels(page))
    page.get_by_role("button", name="Clear").click()
    assert not pixels(page).any()


def test_a_stroke_by_keyboard_becomes_the_same_image(visit):
    page = visit()
    page.locator(".pad").focus()
    page.keyboard.press("ArrowUp")  # moves the pen only
    assert not is_a_one(pixels(page))
    page.keyboard.press("Space")
    for _ in range(10):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    assert is_a_one(pixels(page))
    page.keyboard.press("Delete")
    assert not pixels(page).any()


def test_presets_digits_and_sliders_are_reached_by_keyboard(visit):
    page = visit()
    page.get_by_role("button", name="4 bits").focus()
    page.keyboard.press("Enter")
    assert page.locator("[name=activations] + output").inner_text() == "4"
    page.locator("[name=activations]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("[name=activations] + output").inner_text() == "5"
    page.locator(".samples button").nth(1).focus()
    page.keyboard.press("Space")
    assert page.locator(".samples [aria-pressed=true]").get_attribute("aria-label").startswith("test digit 2, a ")
    page.get_by_role("button", name="Reset").press("Enter")
    assert page.locator("[name=activations]").input_value() == "8"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_draws_by_finger_and_shows_all(visit, scheme):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme=scheme)
    page.evaluate("scheme => (document.documentElement.dataset.theme = scheme)", scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".pad").tap(position={"x": 50, "y": 50})
    assert pixels(page)[3:5, 3:5].all() and not pixels(page)[0].any()  # a dot in the middle
    page.get_by_role("button", name="5 bits", exact=True).tap()
    assert page.locator("[name=weights]").input_value() == "5"
    for control in page.locator("form label").all():
        assert control.bounding_box()["height"] >= 44


def test_the_probabilities_of_the_page_are_those_of_the_network(visit, playground):
    page = visit()
    image = playground.dataset.scaled(playground.dataset.test.take(1))
    logits = playground.network.predict(image, verbose=0)[0].astype(float)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    shown = page.locator("td.float").all_inner_texts()
    for share, text in zip(shares, shown):
        assert text == f"{share:.0%}".replace("%", "\xa0%") if 0.005 < share < 0.995 else text[0] in "<>"


def test_without_javascript_a_chart_and_a_table_remain(visit, playground):
    page = visit(java_script_enabled=False)
    assert not page.locator(".live").is_visible()
    assert page.locator("noscript svg").get_attribute("aria-label") == "Bars <of> shares."
    assert page.locator("noscript rect").count() == len(playground.accuracies)
    page.locator("summary").click()
    assert page.locator("details tbody tr").count() == len(PRESETS) + 1


def test_the_scripts_and_data_are_light(html):
    assert len(html.encode()) <= 400_000
