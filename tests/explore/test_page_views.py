"""Explorers whose views a page computes itself: in Chromium, they show what Python shows for the same setting."""

import itertools
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from fewbits import FixedPoint, data, deploy, explore, quantize, quantize_model, zoo
from fewbits.backend import keras
from fewbits.quantization import msb_from_limits, msb_table, observe, percentile_limits
from helpers.pages import silent_pages

OFFLINE = Path(__file__).parents[2] / "book" / "offline"
HEAD = (
    '<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8"><title>page</title>'
    '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="fewbits.css">'
    '<script src="fewbits.js" defer></script><body>'
)
DRAWN = "document.querySelector('.main-svg') && !document.querySelector('.counting')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    for name in ("fewbits.js", "fewbits.css"):
        shutil.copy(OFFLINE / name, folder)
    (folder / "vendor").mkdir()
    shutil.copy(str(files("plotly") / "package_data" / "plotly.min.js"), folder / "vendor")
    return folder


@pytest.fixture
def visit(chromium, folder):
    """Open an explorer in a page; at the end nothing may be wrong in the console."""
    with silent_pages(chromium) as (new_page, _):

        def open_page(explorer, **options):
            (folder / "page.html").write_text(f"{HEAD}{explorer.html()}</body></html>", encoding="utf-8")
            page = new_page(**options)
            page.goto((folder / "page.html").as_uri())
            if options.get("java_script_enabled", True):
                page.wait_for_function(DRAWN)
            return page

        yield open_page


def choose(page, explorer, setting):
    """Bring the controls to a setting, and wait until the page has counted."""
    for name, value in setting.items():
        control = page.locator(f"[name='{name}']")
        if control.get_attribute("type") == "range":
            control.fill(str(list(explorer.controls[name]).index(value)))
        else:
            control.select_option(str(value))
    page.wait_for_function(DRAWN)


def readings(page):
    rows = page.locator(".fewbits-readings dl > div").all_inner_texts()
    return dict(row.split("\n") for row in rows)


def drawn(page, count):
    """Return the heights of the first traces."""
    return page.evaluate(
        "count => document.querySelector('.fewbits-plot').data.slice(0, count).map((trace) => [...trace.y])", count
    )


def assert_shown(page, explorer, setting, rtol=1e-7):
    view = explorer.view(**setting)
    choose(page, explorer, setting)
    assert readings(page) == view.readings
    for shown, trace in zip(drawn(page, len(view.traces)), view.traces):
        np.testing.assert_allclose(*(np.array(y, float) for y in (shown, trace["y"])), rtol, atol=1e-5)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", validation=0.25)


@pytest.fixture(scope="module")
def kernels(digits):
    """A small network, trained a little, under its explorer."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    parts = [layers.Conv2D(8, 3, activation="relu", name="conv"), layers.MaxPooling2D(), layers.Flatten()]
    model = keras.Sequential([layers.Input(digits.image_shape), *parts, layers.Dense(10, "softmax", name="dense")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*digits.arrays("train"), epochs=5, verbose=0)
    return explore.kernel_histogram(model, digits, "9.9")


def test_kernels_and_what_the_network_reads_with_them_are_those_of_python(visit, kernels):
    page = visit(kernels)
    found = set()
    for setting in (("all", 3, -1, "nearest"), ("conv", 4, -3, "floor"), ("dense", 2, -2, "nearest-away")):
        assert_shown(page, kernels, dict(zip(kernels.controls, setting)))
        found.add(readings(page)["accuracy"])
    assert len(found) == 3  # else equality proves nothing


def test_the_kernels_answer_to_the_keyboard_and_fit_a_phone(visit, kernels):
    page = visit(kernels, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("[name=bits]").focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function(DRAWN)
    assert readings(page) == kernels.view(**kernels.start | {"bits": kernels.start["bits"] - 4}).readings
    assert page.locator("[name=bits]").get_attribute("aria-valuetext") == str(kernels.start["bits"] - 4)


def test_without_javascript_the_readings_and_a_table_remain(visit, kernels):
    page = visit(kernels, java_script_enabled=False)
    assert readings(page) == kernels.view(**kernels.start).readings
    page.locator("summary").click()
    assert page.locator("details tbody tr").count() == sum(map(len, kernels.controls.values())) - 3


def test_the_staircase_of_the_page_is_that_of_python(visit):
    explorer = explore.staircase("9.9", codes=("signed", "unsigned"))
    page = visit(explorer)
    settings = [dict(zip(explorer.controls, s)) for s in itertools.product(*explorer.controls.values())][::7]
    found = page.evaluate(
        """([data, settings]) => {
          const views = FewBits.views.staircase(data);
          return settings.map((setting) => views(setting).next().value);
        }""",
        [explorer.page.data, settings],
    )
    for setting, shown in zip(settings, found):
        view = explorer.view(**setting)
        assert shown["readings"] == view.readings, setting
        for own, trace in zip(view.traces, shown["traces"]):
            np.testing.assert_allclose(trace["y"], own["y"], atol=1e-5)
    assert_shown(page, explorer, {"bits": 2, "msb": 1, "rounding": "thesis", "codes": "signed"})


@pytest.fixture(scope="module")
def squeezenet(digits):
    model = zoo.build("squeezenet_digits", digits.image_shape, 10, weights="squeezenet_digits")
    deploy.round_for_page(model)
    return model


def few(digits, count):
    """Return the data set with fewer images, so that a test takes less time."""
    return replace(digits, validation=digits.validation.take(count))


def of_levels(bits, shifts):
    names = ("conv1", "fire2", "fire3", "fire4", "conv10")
    return {f"{n}_bits": b for n, b in zip(names, bits)} | {f"{n}_msb_shift": s for n, s in zip(names, shifts)}


def test_the_levels_of_the_page_read_as_many_digits_as_those_of_python(visit, squeezenet, digits):
    tables = {f"{p} %": msb_table(squeezenet, digits.arrays("train", 32)[0], p) for p in (95, 100)}
    explorer = explore.accuracy_by_level(squeezenet, zoo.levels(squeezenet), few(digits, 40), tables, "9.9")
    page = visit(explorer)
    found = set()
    for rule, rounding, bits, shifts in (
        ("100 %", "floor", (8, 6, 5, 6, 8), (0, 0, 0, 0, 0)),
        ("95 %", "nearest", (6, 5, 4, 5, 6), (0, 0, 1, 0, 0)),
        ("95 %", "nearest-up", (4, 4, 3, 4, 4), (0, 0, 0, 1, -1)),
    ):
        assert_shown(page, explorer, {"rule": rule, "rounding": rounding} | of_levels(bits, shifts))
        found.add(readings(page)["accuracy"])
        integers = quantize_model(squeezenet, rounding=rounding)
        for names, nbits, shift in zip(zoo.levels(squeezenet), bits, shifts):
            for name in names:
                formats = (FixedPoint(msb + shift, nbits) for msb in tables[rule][name])
                integers.get_layer(name).set_formats(*formats)
        images, labels = digits.validation.images[:40], digits.validation.labels[:40]
        right = (deploy.lower(integers, levels=digits.levels).run(images).argmax(1) == labels).mean()
        assert readings(page)["accuracy"].startswith(f"{right:.1%} (")
    assert len(found) == 3


def test_a_change_while_the_page_counts_wins(visit, squeezenet, digits):
    tables = {"95 %": msb_table(squeezenet, digits.arrays("train", 32)[0], 95)}
    explorer = explore.accuracy_by_level(squeezenet, zoo.levels(squeezenet), few(digits, 30), tables, "9.9")
    page = visit(explorer)
    for bits in (9, 3, 4, 7, 5):
        page.locator("[name=fire2_bits]").fill(str(bits - 2))
        page.wait_for_timeout(170)  # some counts have begun
    page.wait_for_function(DRAWN)
    assert readings(page) == explorer.view(**explorer.start | {"fire2_bits": 5}).readings
    assert_shown(page, explorer, explorer.start | {"fire2_bits": 5, "conv10_bits": 2})  # what came before is known


def test_errors_of_layers_and_logits_are_those_of_python(visit, squeezenet, digits):
    levels, part = zoo.levels(squeezenet), digits.test.take(40)
    explorer = explore.error_by_rounding(squeezenet, levels, digits, "9.9", count=40)
    page = visit(explorer)
    found = set()
    for bits, *roundings in (
        (5, "floor", "floor", "floor", "floor", "floor"),
        (5, "nearest", "floor", "nearest", "nearest-up", "floor"),
        (3, "nearest", "nearest", "nearest-away", "nearest", "nearest"),
    ):
        setting = {"bits": bits, "msb": 0, **dict(zip(("conv1", "fire2", "fire3", "fire4", "conv10"), roundings))}
        assert_shown(page, explorer, setting, rtol=1e-3)
        found.add(readings(page)["accuracy"])
    assert len(found) == 3
    last_down = explorer.view(**explorer.start | dict.fromkeys(("conv1", "fire2", "fire3", "fire4"), "nearest"))
    assert last_down.traces[0]["y"][0] == explorer.view(**setting | {"bits": 5}).traces[0]["y"][0]
    kernels = {layer.name: layer.kernel.numpy() for layer in squeezenet.layers if hasattr(layer, "kernel")}
    twin = zoo.build("squeezenet_digits", digits.image_shape, 10, weights="squeezenet_digits")
    for name, kernel in kernels.items():
        rounding = "floor" if name == "conv10" else "nearest"
        twin.get_layer(name).kernel.assign(quantize(kernel, FixedPoint(0, 5), rounding))
    images = digits.scaled(part)
    error = (twin.predict(images, verbose=0) - squeezenet.predict(images, verbose=0)).mean()
    assert last_down.readings["mean error of the logits"] == f"{error:+.2f}"


def test_a_percentile_gives_the_format_and_the_accuracy_of_python(visit, squeezenet, digits):
    explorer = explore.accuracy_by_percentile(squeezenet, few(digits, 40), "9.9")
    page = visit(explorer)
    found = set()
    for setting in (
        ("fire3_squeeze1x1", "all layers", 70, 4, "nearest"),
        ("conv1", "this layer", 99.9, 3, "floor"),
        ("conv10", "all layers", 95, 3, "floor"),
    ):
        assert_shown(page, explorer, dict(zip(explorer.controls, setting)))
        found.add(readings(page)["accuracy"])
    assert len(found) == 3
    values = dict(observe(squeezenet, digits.arrays("train", 32)[0]))["conv10"].input
    assert readings(page)["MSB"] == str(msb_from_limits(*percentile_limits(values, 95)))
    assert sum(drawn(page, 1)[0]) == values.size


def test_a_page_shows_the_start_without_counting_and_counts_it_when_asked_again(visit, kernels):
    page = visit(kernels)
    start = kernels.view(**kernels.start)
    assert readings(page) == start.readings
    np.testing.assert_array_equal(drawn(page, 1)[0], start.traces[0]["y"])
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_timeout(100)
    assert page.locator(".counting").count() == 0
    choose(page, kernels, {"bits": 1})
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.wait_for_timeout(100)
    assert page.locator(".counting").count() == 0  # the count is known
    assert readings(page) == kernels.view(**kernels.start | {"bits": 1}).readings != start.readings
    assert_shown(page, kernels, kernels.start)
