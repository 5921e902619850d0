"""Explorers of what accuracy costs: the line of the best against its definition, and cells without data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits import InputError
from fewbits.explore import Point, accuracy_over_cost, choose_network, pareto_front, surface, table_of_fronts

numbers = st.integers(1, 5)
points = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=12).map(
    lambda rows: [Point(f"p{i}", f"g{g}", a / 5, 0.0, {"MACs": c}) for i, (g, a, c) in enumerate(rows)]
)


def beats(p, q):
    """Say whether `p` costs no more than `q`, is at least as accurate, and is not its equal."""
    a, b = (p.costs["MACs"], -p.accuracy), (q.costs["MACs"], -q.accuracy)
    return a != b and all(x <= y for x, y in zip(a, b))


@given(points)
def test_the_front_has_all_that_no_other_beats_one_of_equals_and_no_others(points):
    found = pareto_front(points, "MACs")
    unbeaten = [p for p in points if not any(beats(q, p) for q in points)]
    assert {(p.costs["MACs"], p.accuracy) for p in found} == {(p.costs["MACs"], p.accuracy) for p in unbeaten}
    assert len({(p.costs["MACs"], p.accuracy) for p in found}) == len(found)
    assert [p.costs["MACs"] for p in found] == sorted(p.costs["MACs"] for p in found)


SMALL = Point("small", "ours", 0.5, 0.01, {"MACs": 1.0, "bytes": 9.0})
LARGE = Point("large", "ours", 0.6, 0.01, {"MACs": 8.0})
OTHER = Point("other", "theirs", 0.4, 0.0, {"MACs": 2.0, "bytes": 1.0})


def test_a_figure_has_the_line_and_the_points_of_each_group_with_the_cost_chosen():
    explorer = accuracy_over_cost([SMALL, LARGE, OTHER], {"MACs": "millions", "bytes": "MB"}, "10.9", "networks")
    line, ours, theirs = explorer.view("MACs").traces
    assert (line["x"], line["y"]) == ([1.0, 8.0], [0.5, 0.6])
    assert (ours["x"], ours["text"], ours["error_y"]) == ([1.0, 8.0], ["small", "large"], {"array": [0.01, 0.01]})
    assert theirs["y"] == [0.4]
    assert explorer.view("MACs").readings == {
        "no other is better": "small (50.0%, 1 millions); large (60.0%, 8 millions)"
    }
    for cost, unit in (("MACs", "millions"), ("bytes", "MB")):  # the page takes a view's axis as a whole
        axis = explorer.view(cost).layout["xaxis"]
        assert (axis["type"], axis["title"]) == ("log", {"text": f"{cost} ({unit})"})
        assert {1, 2, 5} < set(axis["tickvals"])
    line, ours, _ = explorer.view("bytes").traces
    assert (line["x"], ours["text"]) == ([1.0, 9.0], ["small"])  # the cost of `large` is not known
    assert "Figure 10.9" in explorer.html()


def test_a_cost_that_no_network_has_shows_none():
    view = accuracy_over_cost([SMALL], {"joules": "J"}, "10.9", "networks").view("joules")
    assert view.readings == {"no other is better": "not known"} and view.traces[1]["x"] == []


def test_no_networks_are_refused():
    with pytest.raises(InputError, match="give at least one"):
        accuracy_over_cost([], {"MACs": "millions"}, "10.9", "networks")


def test_a_surface_has_a_row_and_a_column_each_and_says_what_is_not_run():
    accuracy = {(1.0, 32): 0.6, (1.0, 16): None, (0.5, 32): 0.5, (0.5, 16): 0.25}
    macs = dict.fromkeys(accuracy, 3.0)
    formats = {"accuracy": "{:.1%}", "MACs": "{:.1f} M"}
    explorer = surface({"accuracy": accuracy, "MACs": macs}, ("width", "size"), formats, "10.8", "networks")
    [trace] = explorer.view("accuracy").traces
    assert trace["z"] == [[0.6, None], [0.5, 0.25]]
    assert trace["text"] == [["60.0%", ""], ["50.0%", "25.0%"]]
    assert explorer.view("accuracy").readings["width 1, size 16"] == "no data"
    assert set(explorer.view("MACs").readings.values()) == {"3.0 M"}
    assert "Figure 10.8" in explorer.html()


def choice(points, **costs):
    return choose_network(points, [OTHER._replace(group="a thesis", accuracy=0.99)], costs, "15.9", "networks")


A = SMALL._replace(training="1 epoch", command="make small")
B = LARGE._replace(group="pruned", training="9 epochs", command="make large")


def test_the_chosen_network_is_on_the_line_and_tells_its_training_and_command():
    explorer = choice([A, B], MACs="millions", bytes="kB")
    assert explorer.controls == {"cost": ("MACs", "bytes"), "place": (1, 2), "technique": ("all", "ours", "pruned")}
    readings = [explorer.view("MACs", place, "all").readings for place in (1, 2)]
    assert [r["network"] for r in readings] == ["small", "large"]
    assert [r["command"] for r in readings] == ["make small", "make large"]
    assert [r["trained with"] for r in readings] == ["1 epoch", "9 epochs"]
    assert [r["accuracy"] for r in readings] == ["50.0% ± 1.0", "60.0% ± 1.0"]
    assert [r["bytes"] for r in readings] == ["9 kB", "not measured"]
    assert explorer.view("MACs", 2, "all").traces[1] == {"x": [8.0], "y": [0.6]}
    keys = {tuple(view.readings) for view in explorer.states()}
    assert len(keys) == 1


def test_others_points_are_shown_and_never_on_the_line():
    explorer = choice([A, B], MACs="millions")
    line, _, ours, pruned, theirs = explorer.view("MACs", 1, "all").traces
    assert line["y"] == [0.5, 0.6] and theirs["x"] == [2.0]
    assert [trace["visible"] for trace in (ours, pruned, theirs)] == [True] * 3


def test_a_technique_alone_has_a_line_of_its_own_and_the_rest_hidden():
    best = A._replace(name="best", accuracy=0.9)
    line, chosen, ours, pruned, theirs = choice([best, B], MACs="millions").view("MACs", 2, "pruned").traces
    assert line == {"x": [8.0], "y": [0.6]} and chosen == line  # behind the last stands the last
    assert [trace["visible"] for trace in (ours, pruned, theirs)] == [False, True, False]


def test_a_point_without_the_cost_keeps_its_place_and_is_not_drawn():
    view = choice([A, B], bytes="kB").view("bytes", 1, "all")
    assert [trace["x"] for trace in view.traces[2:4]] == [[9.0], [None]]
    alone = choice([A, B], bytes="kB").view("bytes", 1, "pruned")
    assert alone.readings["network"] == "none" and alone.readings["place on the line"] == "0 of 0"


def test_the_figure_tells_training_where_it_points():
    figure = choice([A, B], MACs="millions").figure
    assert figure.data[2].text == ("small, 1 epoch",) and figure.data[4].marker.symbol.endswith("open")
    colours = [trace.marker.color for trace in figure.data[2:]]
    assert colours[2] not in colours[:2] and len(set(colours)) == 3


def test_nothing_to_choose_from_is_refused():
    with pytest.raises(InputError, match="give at least one"):
        choice([], MACs="millions")


def test_the_table_of_fronts_stars_the_costs_on_whose_front_a_network_is():
    small = Point("small", "a", 0.5, 0.01, {"MACs": 1.0, "bytes": 9000.0}, "4 epochs")
    tiny = Point("tiny", "a", 0.4, 0.02, {"MACs": 2.0, "bytes": 1.0})
    large = Point("large", "b", 0.6, 0.0, {"MACs": 8.0, "bytes": 9500.0})
    fronts = {cost: pareto_front([small, large, tiny], cost) for cost in ("MACs", "bytes")}
    table = table_of_fronts(fronts, {"MACs": "millions", "bytes": "MB"})
    assert table.columns == ("network", "trained with", "top-1", "MACs, millions", "bytes, MB")
    assert table.rows == [
        ("tiny", "", "40.0% ± 2.0", "2", "1 *"),
        ("small", "4 epochs", "50.0% ± 1.0", "1 *", "9,000 *"),
        ("large", "", "60.0% ± 0.0", "8 *", "9,500 *"),
    ]
    assert [row[0] for row in table_of_fronts({"MACs": fronts["MACs"]}, {"MACs": "M"}).rows] == ["small", "large"]
