"""Charts above each other: each panel holds its quantity, and the data table both."""

import pytest

from fewbits import explore
from fewbits.explore import plots


@pytest.fixture
def shown(monkeypatch):
    """Return the figures and data tables that are shown."""
    kept = []
    monkeypatch.setattr(plots, "show", lambda fig, label, caption, alt, table: kept.append((fig, table)))
    return kept


def test_each_panel_shows_its_quantity_of_every_series(shown):
    loss = {"a": {1: 0.9, 2: 0.5}, "b": {1: 0.8, 2: 0.4}}
    accuracy = {"a": {1: 0.25, 2: 0.5}, "b": {1: 0.3, 2: 0.75}}
    panels, axes = {"loss": loss, "accuracy": accuracy}, {"accuracy": explore.PERCENT}
    explore.stacked_lines(panels, "1", "c", "a", x="epoch", axes=axes, dashes=("dot", "solid"))
    [(figure, table)] = shown
    assert [(t.name, t.yaxis, t.y, t.showlegend) for t in figure.data] == [
        ("a", "y", (0.9, 0.5), True),
        ("b", "y", (0.8, 0.4), True),
        ("a", "y2", (0.25, 0.5), False),
        ("b", "y2", (0.3, 0.75), False),
    ]
    assert [t.line.dash for t in figure.data] == ["dot", "solid", "dot", "solid"]
    assert figure.data[0].line.color == figure.data[2].line.color != figure.data[1].line.color
    layout = figure.layout
    assert (layout.yaxis.title.text, layout.yaxis2.title.text) == ("loss", "accuracy")
    assert (layout.xaxis.title.text, layout.xaxis2.title.text) == (None, "epoch")
    assert (layout.yaxis.tickformat, layout.yaxis2.tickformat) == (None, ".0%")
    assert table.columns == ("", "epoch", "loss", "accuracy")
    assert table.rows == [
        ("a", 1, 0.9, "25.0%"),
        ("a", 2, 0.5, "50.0%"),
        ("b", 1, 0.8, "30.0%"),
        ("b", 2, 0.4, "75.0%"),
    ]


def test_the_x_axis_takes_what_stands_under_its_title(shown):
    series = {"a": {1: 0.9, 2: 0.5}}
    explore.stacked_lines({"loss": series, "gap": series}, "1", "c", "a", x="epoch", axes={"epoch": {"dtick": 1}})
    [(figure, _)] = shown
    assert figure.layout.xaxis.dtick == figure.layout.xaxis2.dtick == 1 and figure.layout.yaxis.dtick is None
    assert figure.layout.xaxis2.title.text == "epoch"
