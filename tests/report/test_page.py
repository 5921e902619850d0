"""The page holds the numbers of the JSON, asks nothing of any host, and escapes every name."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from fewbits.backend import keras
from fewbits.report import ImageSource, advise, as_json, examine, report_page
from fewbits.report.drawings import Series, decibel_chart, interval_chart, value_histogram
from helpers.colours import colour_images, colour_network

HOSTILE = "<script>alert('&')<b>\""
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The tables of a page by caption, its tags and its text; tags must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tags, self.attributes, self.open, self.words = {}, [], [], [], []
        self.caption, self.row = "", None
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.row = []
        elif tag in ("td", "th") and self.row is not None:
            self.row.append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "tr":
            self.tables.setdefault(self.caption, []).append(self.row)

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] == "caption":
            self.caption = data
        elif self.open and self.open[-1] in ("td", "th"):
            self.row[-1] += data

    def table(self, start):
        """Return the rows of the table whose caption starts so, without the head."""
        [rows] = [rows for caption, rows in self.tables.items() if caption.startswith(start)]
        return rows[1:]


@pytest.fixture(scope="module")
def found():
    parts = [
        ImageSource((images / 256, labels), "images") for images, labels in (colour_images(18, 1), colour_images(60, 2))
    ]
    found = examine(colour_network(), *parts, quick=True)
    return replace(found, network=replace(found.network, name=HOSTILE))  # TensorFlow runs no model of that name


@pytest.fixture(scope="module")
def text(found):
    return report_page(found, advise(found))


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_page_asks_nothing_of_any_host(text, page):
    assert not re.search(r"https?:|//|url\(|@import", text.replace("<!DOCTYPE", ""))
    assert not {"script", "link", "img", "iframe"} & {*page.tags}
    assert not [name for name, _ in page.attributes if name in ("src", "style") or name.startswith("on")]
    assert len(text) < 2_000_000 and "prefers-color-scheme: dark" in text and "@media print" in text


def test_the_numbers_are_those_of_the_json(found, page):
    plain = json.loads(as_json(found))
    rows = page.table("Accuracy with the MSBs")
    assert len(rows) == len(plain["widths"]) == 10
    for row, width in zip(rows, plain["widths"]):
        accuracy, change = width["accuracy"], width["under_float"]
        assert row[0] == str(width["bits"]) and row[1] == width["rounding"]
        assert row[2] == f"{accuracy['value']:.1%} ({accuracy['low']:.1%} to {accuracy['high']:.1%})"
        assert row[3].startswith(f"{100 * change['value']:+.1f} points ({100 * change['low']:+.1f} to")
    for row, values in zip(page.table("MSB by range rule"), plain["values"], strict=True):
        assert row[:2] == [values["layer"], values["kind"]]
        signed = {True: "yes", False: "no"}[values["signed"]]
        assert row[2:-2] == [signed, *(str(msb) for msb in values["msbs"].values())]
    for row, sqnr in zip(page.table("SQNR of outputs"), plain["propagated"], strict=True):
        assert row[2:] == [f"{sqnr['measured']:.1f} dB", f"{sqnr['predicted']:.1f} dB"]
    for row, memory in zip(page.table("Bytes."), plain["memory"], strict=True):
        assert row[1] == f"{memory['packed_bytes']:,}"
    costs = [
        [f"{each[key]:,}" for key in ("parameters", "macs", "activations", "weight_bytes")] for each in plain["layers"]
    ]
    assert [row[3:] for row in page.table("Costs per image")[:-1]] == costs


def test_the_json_has_a_version_and_no_number_that_json_lacks(found):
    plain = json.loads(as_json(found, advise(found)), parse_constant=pytest.fail)
    assert plain["version"] == 1 and plain["network"]["name"] == HOSTILE and "advice" in plain
    assert {*plain} == {*vars(found), "advice"}
    lost = replace(found, propagated=[replace(found.propagated[0], measured=float("inf"))])
    assert json.loads(as_json(lost))["propagated"][0]["measured"] is None


def test_names_are_text(found, page, text):
    assert HOSTILE in "".join(page.words) and "<script" not in text
    rows = [replace(each, name=HOSTILE, kind=HOSTILE, quantization=HOSTILE) for each in found.layers]
    values = [replace(each, layer=HOSTILE) for each in found.values]
    reasons = dict.fromkeys(("accuracy", "costs", "devices", "exports", "dead", "values", "quantization"), HOSTILE)
    preparations = [replace(each, name=HOSTILE, options=HOSTILE) for each in found.preparations]
    hostile = replace(found, layers=rows, values=values, reasons=reasons, preparations=preparations)
    other = report_page(hostile, [replace(each, what=HOSTILE, command=HOSTILE) for each in advise(found)])
    assert "<script" not in other and "<b>" not in other
    assert HOSTILE in "".join(Page(other).words)


def test_tables_have_heads_and_drawings_have_texts(text, page):
    assert text.count("<table>") == text.count("<caption>") == text.count('role="region" tabindex="0"')
    assert text.count('<svg class="chart"') == text.count(
        '<svg class="chart" viewBox="0 0 640 280" role="img" aria-label="'
    )
    assert 'scope="col"' in text and 'scope="row"' in text and '<html lang="en">' in text
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))


def test_a_report_without_images_is_a_page():
    found = examine(keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3)]), quick=True)
    words = " ".join(Page(report_page(found, advise(found))).words)
    assert "No images were given" in words and "nan" not in words and "None" not in words


def test_marks_stand_at_their_values():
    lines = [Series("a", [0.0, 1.0], [(0.0, 0.5), (0.5, 1.0)]), Series("b", [0.5, None])]
    drawing = interval_chart(["x", "<y>"], lines, "<label>", ("float", 0.5))
    ys = [float(y) for y in re.findall(r'cy="([\d.]+)"', drawing)]
    assert ys == [240.0, 18.0] and "&lt;y&gt;" in drawing and "&lt;label&gt;" in drawing
    assert float(re.search(r'class="level".*?y1="([\d.]+)"', drawing)[1]) == 129.0
    assert len(re.findall("<rect", drawing)) == 1  # nothing where there is no value
    assert "NaN" not in decibel_chart([Series("a", [None, 12.0, None])], "x")


def test_a_histogram_shows_its_range():
    drawing = value_histogram([1, 0, 4], -1.0, 2.0, (-4.0, 4.0), (-0.5, 1.5), "values")
    clips = [float(x) for x in re.findall(r'class="clip" x1="([\d.]+)"', drawing)]
    assert clips == [0.0, 200.0] and drawing.count("M") == 2
    assert "nan" not in value_histogram([5], 0.0, 0.0, (-(2.0**-64), 2.0**-64), (0.0, 0.0), "zeros")


def test_a_format_without_a_sign_begins_at_0(found):
    [values] = [each for each in found.values if each.kind == "input"][:1]
    unsigned = replace(values, low=0.0, high=3.0, msbs=dict.fromkeys(values.msbs, 0), signed=False)
    drawn = [report_page(replace(found, values=[each]), []) for each in (unsigned, replace(unsigned, signed=True))]
    assert "0 to 3, format 0 to 2," in drawn[0] and "0 to 3, format ±1," in drawn[1]
    clips = [[float(x) for x in re.findall(r'class="clip" x1="([\d.]+)"', text)] for text in drawn]
    assert clips == [[0.0, pytest.approx(200 * 2 / 3, abs=0.1)], [0.0, 100.0]]
