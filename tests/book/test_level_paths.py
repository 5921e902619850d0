"""The path of accuracy level by level: places, falls, rises and intervals, from a schedule written by hand."""

import pytest

from fewbits.book import level_paths, reference
from fewbits.book.level_paths import LevelPath, path_of, show_level_paths
from fewbits.explore import plots
from fewbits.statistics import Estimate, Share

START = Share(900, 1000)
TRAINED = [  # two epochs for each level; only the first knows what quantization has left
    {"stage": 1, "val_accuracy_before": 0.7, "val_accuracy": 0.75},
    {"stage": 1, "val_accuracy": 0.8},
    {"stage": 2, "val_accuracy_before": 0.5, "val_accuracy": 0.55},
    {"stage": 2, "val_accuracy": 0.6},
]


def cell(*runs):
    """Return a cell with a record per run: (history, stages, right of 1,000 validation images)."""
    first, found = reference.cell("float").records[0], []
    for history, stages, hits in runs:
        validation = first.results.validation.model_copy(update={"hits": hits, "n": 1000})
        results = first.results.model_copy(update={"history": history, "stages": stages, "validation": validation})
        found.append(first.model_copy(update={"results": results}))
    return reference.Cell(None, found)


def test_a_level_is_quantized_at_n_and_trained_half_a_place_later():
    path = path_of(cell((TRAINED, [("a", 2), ("b", 2)], 600)), START)
    assert path.levels == ("a", "b")
    assert path.accuracies == {
        0.5: START, 1: Share(700, 1000), 1.5: Share(800, 1000), 2: Share(500, 1000), 2.5: Share(600, 1000)
    }  # fmt: skip
    assert path.falls == pytest.approx({"a": 0.2, "b": 0.3}) and path.rises == pytest.approx({"a": 0.1, "b": 0.1})
    assert path.deepest == ("b", pytest.approx(0.3)) and path.end == 0.6


def test_the_last_level_that_is_locked_ends_where_the_trial_ends():
    path = path_of(cell((TRAINED[:2], [("a", 2), ("b", 0)], 440)), START)
    assert [*path.accuracies] == [0.5, 1, 1.5, 2] and path.end == 0.44
    assert path.falls["b"] == pytest.approx(0.36) and path.rises == pytest.approx({"a": 0.1})


def test_several_seeds_have_the_interval_of_their_mean():
    lower = [{key: value if key == "stage" else value - 0.02 for key, value in entry.items()} for entry in TRAINED]
    stages = [("a", 2), ("b", 2)]
    path = path_of(cell((TRAINED, stages, 600), (lower, stages, 580)), START)
    assert path.accuracies[2] == Estimate.of([0.5, 0.48]) and path.accuracies[0.5] == START
    assert path.end == pytest.approx(0.59)


def test_the_deepest_fall_is_that_of_a_level_not_of_the_end():
    path = LevelPath(("a", "b"), {0.5: Share(9, 10), 1: Share(1, 10), 1.5: Share(6, 10), 2: Share(5, 10)})
    assert path.deepest == ("a", pytest.approx(0.8))


def test_paths_are_shown_with_their_places_named(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "show", lambda *args: shown.append(args))
    monkeypatch.setattr(level_paths.reference, "made_with", lambda cells: f"{len(list(cells))} cell.")
    one = cell((TRAINED, [("a", 2), ("b", 2)], 600))
    show_level_paths({"lock": one}, START, "9", "Paths", "Lines.", colours=("red",), dashes=("dot",))
    [(figure, label, caption, alt, table)] = shown
    assert (label, alt) == ("9", "Lines.") and caption.startswith("Paths (reference; 1 seed): ")
    assert list(figure.data[0].x) == [0.5, 1, 1.5, 2, 2.5] and figure.data[0].line.color == "red"
    assert list(figure.layout.xaxis.ticktext) == ["float", "a", "b"]
    assert [row[0] for row in table.rows] == ["float", "a, quantized", "a, trained", "b, quantized", "b, trained"]
    assert table.note == "Reference: 1 cell."
