"""Charts from named values: error bars are the intervals of the values, and the data table holds the same numbers."""

import re

import numpy as np
import pytest

from fewbits import explore
from fewbits.explore import plots
from fewbits.statistics import Estimate, Share, wilson_interval


class Measured:
    """Something with a share, as a Score has."""

    share = Share(30, 40)


@pytest.fixture
def shown(monkeypatch):
    """Return the figures that are shown: dictionaries with figure, label, caption, alt and table."""
    kept = []
    names = ("figure", "label", "caption", "alt", "table")
    monkeypatch.setattr(plots, "show", lambda *args: kept.append(dict(zip(names, args))))
    return kept


def test_a_share_has_the_error_bars_of_its_wilson_interval(shown):
    explore.lines({"ours": {8: Share(90, 100), 4: Share(30, 100)}}, "1", "c", "a", x="bits")
    [trace] = shown[0]["figure"].data
    assert (list(trace.x), list(trace.y)) == ([8, 4], [0.9, 0.3])
    for value, above, below, hits in zip(trace.y, trace.error_y.array, trace.error_y.arrayminus, (90, 30)):
        assert (value - below, value + above) == pytest.approx(wilson_interval(hits, 100))
    assert shown[0]["figure"].layout.yaxis.range == (0, 1.02)
    assert shown[0]["table"].columns == ("bits", "ours")
    assert shown[0]["table"].rows == [(8, Share(90, 100)), (4, Share(30, 100))]


@pytest.mark.parametrize("chart", [explore.lines, explore.bars])
def test_what_has_no_value_leaves_a_gap(shown, chart):
    values = {"a": 0.5, "b": None, "c": Estimate.of([0.1, 0.2]), "d": Estimate.of([]), "e": Estimate.of([0.7])}
    chart({"ours": values}, "1", "c", "a", x="way")
    [trace] = shown[0]["figure"].data
    assert list(trace.x) == list("abcde")
    assert trace.y[0] == 0.5 and trace.y[1] is None and trace.y[3] is None and trace.y[4] == 0.7
    assert trace.error_y.array[0] is None and trace.error_y.array[4] is None
    assert trace.error_y.array[2] == pytest.approx(values["c"].half_width)
    html = shown[0]["table"].html()
    assert "<td>b</td><td>-</td>" in html and "<td>d</td><td>no data</td>" in html
    assert "<td>a</td><td>50.0%</td>" in html  # the axis is in percent, so the table is, too


def test_a_place_that_one_series_lacks_is_empty_in_the_table(shown):
    explore.bars({"one": {"x": 1.0}, "two": {"x": 2.0, "y": 3.0}}, "1", "c", "a", x="where", y="how much")
    assert shown[0]["table"].rows == [("x", 1.0, 2.0), ("y", "", 3.0)]
    assert [list(trace.x) for trace in shown[0]["figure"].data] == [["x"], ["x", "y"]]


def test_a_measurement_is_shown_by_its_share(shown):
    explore.bars({"ours": {(8, 6, 6): Measured()}}, "1", "c", "a", x="bits")
    [trace] = shown[0]["figure"].data
    assert trace.x == ("8\N{NON-BREAKING HYPHEN}6\N{NON-BREAKING HYPHEN}6",) and trace.y == (0.75,)
    assert str(Share(30, 40)) in shown[0]["table"].html()


def test_a_level_is_a_line_across_and_a_column(shown):
    explore.lines({"ours": {2: 0.1, 3: 0.5, 4: 0.4}}, "1", "c", "a", x="bits", levels={"float": Share(9, 10)})
    ours, level = shown[0]["figure"].data
    assert (level.x, level.y, level.name) == ((2, 4), (0.9, 0.9), "float")
    assert shown[0]["table"].columns == ("bits", "ours", "float")
    assert all(row[2] == Share(9, 10) for row in shown[0]["table"].rows)


def test_the_layout_given_comes_before_the_defaults(shown):
    explore.lines(
        {"ours": {8: Share(1, 2)}}, "1", "c", "a", x="bits", xaxis={"type": "category"}, yaxis={"range": [0, 0.6]}
    )
    layout = shown[0]["figure"].layout
    assert layout.yaxis.range == (0, 0.6) and layout.yaxis.tickformat == ".0%" and layout.xaxis.type == "category"


def test_more_lines_than_colours_differ_in_their_dashes(shown):
    explore.lines({str(i): {1: i} for i in range(7)}, "1", "c", "a", x="x", y="y")
    looks = [(trace.line.color, trace.line.dash) for trace in shown[0]["figure"].data]
    assert len(set(looks)) == 7 and looks[5] == (plots.COLOURS[0], "dot")


def test_points_with_one_number_missing_are_left_out_of_the_figure_only(shown):
    series = {"ours": {"small": (1e3, Share(5, 10)), "large": (1e4, None)}, "theirs": {}}
    explore.scatter(series, "1", "c", "a", x="MACs")
    ours, theirs = shown[0]["figure"].data
    assert (ours.x, ours.y, ours.text) == ((1e3,), (0.5,), ("small",)) and not theirs.x
    assert shown[0]["table"].rows == [("ours", "small", 1e3, Share(5, 10)), ("ours", "large", 1e4, None)]


def test_points_may_share_a_place(shown):
    explore.scatter({"ours": {"a": (1, 2.0), "b": (1, 3.0)}}, "1", "c", "a", x="x", y="y")
    assert (shown[0]["figure"].data[0].x, shown[0]["figure"].data[0].y) == ((1, 1), (2.0, 3.0))


def test_each_series_of_points_can_have_its_own_mode(shown):
    series = {name: {"a": (1, 2.0)} for name in ("ours", "theirs", "others")}
    explore.scatter(series, "1", "c", "a", x="x", mode=("markers", "lines+markers+text"))
    assert [trace.mode for trace in shown[0]["figure"].data] == ["markers", "lines+markers+text", "markers"]


def test_a_histogram_counts_every_value_and_marks_the_ranges(shown):
    values = np.random.default_rng(1).normal(size=(20, 50))
    explore.histogram(values, {"most": (-1.5, 1.25)}, "1", "c", "a", bins=30)
    bars, marks = shown[0]["figure"].data
    assert sum(bars.y) == 1000 and len(bars.y) == 30
    assert {x for x in marks.x if x is not None} == {-1.5, 1.25}
    assert shown[0]["table"].rows == [("most", -1.5, 1.25)]


def test_a_table_displays_itself_with_its_note(monkeypatch):
    table = explore.Table(("bits", "top-1"), [((8, None, None), Share(1, 2)), (4, None)], note="Ours: 2 <images>.")
    html = table._repr_html_()
    assert "<td>8\N{NON-BREAKING HYPHEN}f\N{NON-BREAKING HYPHEN}f</td>" in html and "<td>-</td>" in html
    assert html.endswith("</table><p><em>Ours: 2 &lt;images&gt;.</em></p>")
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    table.show()
    assert shown[0].data == html
    assert re.fullmatch("<Table of 2 rows: bits, top-1>", repr(table))


def test_a_curve_of_many_points_can_be_drawn_without_markers(shown):
    curve = {x / 100: x for x in range(200)}
    explore.lines({"curve": curve}, "1", "c", "a", x="x", y="y", mode="lines")
    explore.lines({"curve": curve}, "2", "c", "a", x="x", y="y")
    assert [figure["figure"].data[0].mode for figure in shown] == ["lines", "lines+markers"]


def adjusted(kind, measured="accuracy"):
    share, plain = {"a": Share(30, 40), "b": None}, {"a": 0.123456, "b": 2.0}
    values = {"accuracy": ({"ours": share, "theirs": plain}, {"first": "75 %"}, {"yaxis": {"range": [0, 1]}})}
    values["noise"] = ({"ours": plain, "theirs": plain}, {"first": "0.12"})
    chart = getattr(explore, f"adjustable_{kind}")
    controls = {"measured": tuple(values)}
    return chart(lambda measured: values[measured], controls, {"measured": measured}, "1", "c", "a", x="way", y="top-1")


@pytest.mark.parametrize("kind", ["lines", "bars"])
def test_a_setting_of_an_adjustable_chart_shows_its_values_and_readings(kind):
    explorer = adjusted(kind)
    assert [trace.name for trace in explorer.figure.data] == ["ours", "theirs"]
    view = explorer.view(measured="accuracy")
    ours, theirs = view.traces
    assert ours["x"] == ["a", "b"] and ours["y"] == [0.75, None] and theirs["y"] == [0.1235, 2.0]
    low, high = wilson_interval(30, 40)
    assert ours["error_y"]["visible"] and 0.75 + ours["error_y"]["array"][0] == pytest.approx(high)
    assert 0.75 - ours["error_y"]["arrayminus"][0] == pytest.approx(low)
    assert view.readings == {"first": "75 %"} and view.layout == {"yaxis": {"range": [0, 1]}}
    assert "Figure 1." in explorer.html()


def test_error_bars_go_where_the_values_of_a_setting_have_no_intervals():
    noise = adjusted("lines").view(measured="noise")
    assert [trace["error_y"] for trace in noise.traces] == [{"visible": False}] * 2 and noise.layout == {}


def test_the_first_setting_of_an_adjustable_chart_is_drawn_before_anyone_adjusts_it():
    for kind in ("lines", "bars"):
        figure = adjusted(kind, "noise").figure
        assert [list(trace.y) for trace in figure.data] == [[0.1235, 2.0]] * 2
    assert adjusted("bars").figure.layout.barmode == "group" and adjusted("lines").figure.data[0].mode == "lines"
