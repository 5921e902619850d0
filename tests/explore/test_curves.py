"""The figures of schedules: their points, tables and readings are those of the history and of the kernels kept."""

import numpy as np
import pytest

from fewbits import InputError, explore, quantize
from fewbits.backend import keras, ops
from fewbits.explore import plots
from fewbits.explore.curves import MEASURES, MOST_SQNR
from fewbits.quantization.sqnr import measured_sqnr
from fewbits.statistics import wilson_interval
from fewbits.training.loop import TrainingProgress
from fewbits.training.progressive import progressive_quantization
from fewbits.training.recipe import Recipe
from fewbits.training.schedules import Schedule, ScheduleOutcome, level_names

L = keras.layers
RNG = np.random.default_rng(0)
DATA = RNG.random((24, 6, 6, 1), np.float32), RNG.integers(0, 3, 24)
MOVED, SQNR = MEASURES[::-1]
IMAGES = 200  # on which the accuracies below are said to be measured
TRAINED_A = [
    {"epoch": 1, "stage": 1, "val_accuracy_before": 0.3, "val_accuracy": 0.5},
    {"epoch": 2, "stage": 1, "val_accuracy": 0.6},
]
LOCKED = ScheduleOutcome(None, Schedule((6, 6, 6), "lock", epochs=2).stages(["a", "b"]), TRAINED_A, 0.4)
STATIC = ScheduleOutcome(None, Schedule((6, 6, 6), "static").stages(["a", "b"]), [], 0.35)


@pytest.fixture
def shown(monkeypatch):
    """Return the list of what is handed to `plots.show`."""
    calls = []
    monkeypatch.setattr(plots, "show", lambda *arguments: calls.append(arguments))
    return calls


def drawn(shown, outcomes, start=0.9):
    """Return the figure, the rows of the table and the text alternative of a training curve."""
    explore.training_curve(outcomes, IMAGES, "9.9", "Two.", start)
    figure, label, caption, alt, table = shown[-1]
    assert label == "9.9" and caption.startswith("Two. A cross is")
    return figure, [dict(zip(table.columns, row, strict=True)) for row in table.rows], alt


def points(trace):
    return list(zip(trace.x, trace.y))


def marks(figure):
    """Return the epoch and words of each line that marks a level."""
    lines, words = figure.layout.shapes, figure.layout.annotations
    return [(line.x0, word.text) for line, word in zip(lines, words, strict=True)]


# The curve


def test_a_curve_goes_through_every_epoch_and_falls_where_a_stage_begins(shown):
    line, crosses = drawn(shown, {"lock": LOCKED})[0].data
    assert points(line) == [(0, 0.9), (0, 0.3), (1, 0.5), (2, 0.6), (2, 0.4)]
    assert points(crosses) == [(0, 0.3), (2, 0.4)]
    assert (line.mode, crosses.mode, crosses.marker.symbol) == ("lines", "markers", "x")
    assert list(crosses.hovertext) == ["a quantized", "b quantized"]


def test_without_the_float_accuracy_a_curve_starts_where_it_is_quantized(shown):
    assert points(drawn(shown, {"lock": LOCKED}, None)[0].data[0])[0] == (0, 0.3)


def test_the_table_is_the_history_with_its_intervals(shown):
    _, rows, alt = drawn(shown, {"lock": LOCKED, "static": STATIC})
    assert [tuple(row.values())[:4] for row in rows] == [
        ("lock", "float", 0, 0.9),
        ("lock", "a quantized", 0, 0.3),
        ("lock", "a trained", 1, 0.5),
        ("lock", "a trained", 2, 0.6),
        ("lock", "b quantized", 2, 0.4),
        ("static", "float", 0, 0.9),
        ("static", "all quantized", 0, 0.35),
    ]
    for row in rows:
        assert (row["95 % low"], row["95 % high"]) == wilson_interval(round(row["accuracy"] * IMAGES), IMAGES)
    assert "lock, static" in alt


def test_a_curve_of_no_epochs_is_one_cross(shown):
    line, cross = drawn(shown, {"static": STATIC}, None)[0].data
    assert points(line) == points(cross) == [(0, 0.35)]


def test_schedules_are_told_apart_by_colour_and_dashes(shown):
    lines = drawn(shown, {"lock": LOCKED, "static": STATIC})[0].data[::2]
    assert [line.name for line in lines] == ["lock", "static"]
    assert len({line.line.color for line in lines}) == len({line.line.dash for line in lines}) == 2


def test_levels_are_marked_once_where_all_schedules_quantize_them(shown):
    shorter = ScheduleOutcome(None, LOCKED.stages[:1], TRAINED_A, 0.6)
    assert marks(drawn(shown, {"short": shorter, "lock": LOCKED})[0]) == [(0, "a"), (2, "b")]


def test_levels_are_not_marked_where_schedules_differ(shown):
    other = ScheduleOutcome(None, Schedule((6, 6, 6), "lock", epochs=2).stages(["b", "a"]), TRAINED_A, 0.4)
    assert marks(drawn(shown, {"lock": LOCKED, "other": other})[0]) == []


# While it runs


@pytest.fixture
def displayed(monkeypatch):
    seen = []
    monkeypatch.setattr("IPython.display.display", seen.append)
    monkeypatch.delenv("FEWBITS_BOOK", raising=False)
    return seen


def replay(progress, history, steps=3):
    """Tell `progress` of two steps and the end of each epoch in `history`."""
    for entry in history:
        results = {name: value for name, value in entry.items() if name != "epoch"}
        for step in range(1, steps + 1):
            told = results if step == steps else {"loss": 1.0}
            progress(TrainingProgress(entry["epoch"], len(history), step, steps, told, 0.0))


def test_a_live_curve_grows_with_every_epoch_into_that_of_the_history(displayed, shown):
    live = explore.LiveCurve(start=0.9)
    progress = live.follow("train")
    assert displayed == [live.figure] and not live.figure.data[0].x
    replay(progress, TRAINED_A[:1])
    assert points(live.figure.data[0]) == [(0, 0.9), (0, 0.3), (1, 0.5)]
    replay(progress, TRAINED_A[1:])
    finished = drawn(shown, {"train": ScheduleOutcome(None, LOCKED.stages[:1], TRAINED_A, 0.6)})[0]
    assert [points(trace) for trace in live.figure.data] == [points(trace) for trace in finished.data]
    assert list(live.figure.data[1].hovertext) == ["stage 1 quantized"]


def test_a_live_curve_has_a_line_for_each_schedule_in_one_figure(displayed):
    live = explore.LiveCurve()
    replay(live.follow("one"), TRAINED_A)
    replay(live.follow("two"), TRAINED_A[:1])
    assert len(displayed) == 1
    assert [trace.name for trace in live.figure.data] == ["one", "one", "two", "two"]
    assert points(live.figure.data[2]) == [(0, 0.3), (1, 0.5)]


def test_a_schedule_that_is_run_again_takes_its_own_line_again(displayed):
    live = explore.LiveCurve()
    for name in ("one", "two"):
        replay(live.follow(name), TRAINED_A)
    replay(live.follow("one"), TRAINED_A[:1])
    assert [len(trace.x) for trace in live.figure.data] == [2, 1, 3, 1]


def test_where_the_book_is_built_a_live_curve_shows_nothing(displayed, monkeypatch):
    monkeypatch.setenv("FEWBITS_BOOK", "1")
    live = explore.LiveCurve()
    replay(live.follow("train"), TRAINED_A)
    assert displayed == [] and live.figure is None


# The kernels by stage


class Spy:
    """Watches the Snapshots of a schedule with its own eyes: kernels as bytes, and what the stages say of layers."""

    def __init__(self):
        self.shots, self.kernels, self.layers, self.formats = explore.Snapshots(), [], [], None

    def __call__(self, stage, network):
        self.shots(stage, network)
        self.kernels.append({q.name: ops.convert_to_numpy(q.kernel).tobytes() for q in network.quantized_layers})
        if stage:
            bits = {name: stage.bits.get(name, (None,))[0] for name in level_names(network)}
            self.layers.append({name: (n, "floor", name in stage.locked) for name, n in bits.items()})
        self.formats = {name: formats.kernel for name, formats in network.formats.items()}


@pytest.fixture(scope="module")
def spies():
    """Return name -> ScheduleOutcome and Spy of schedules of two levels: three stages, and one without an epoch."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([L.Input((6, 6, 1)), L.Conv2D(3, 3, name="a"), L.Flatten(), L.Dense(3, name="b")])
    options = {"validation": DATA, "rounding": "floor", "recipe": Recipe(learning_rate=0.1, batch_size=12)}
    found, network = {}, None
    for name, strategy, bits, relax in (("lock", "lock", (4, 6, 6), True), ("static", "static", (24, 24, 24), False)):
        spy = Spy()
        schedule = Schedule(bits, strategy, epochs=2, relax=relax)
        outcome = progressive_quantization(model, DATA, schedule, on_stage=spy, reuse=network, **options)
        found[name], network = (outcome, spy), outcome.model
    return found


@pytest.fixture(scope="module")
def explorer(spies):
    return explore.kernels_by_stage(
        {name: (outcome, spy.shots) for name, (outcome, spy) in spies.items()}, IMAGES, "9.9"
    )


def test_snapshots_are_copies_of_the_kernels_at_every_stage(spies):
    for outcome, spy in spies.values():
        assert [{name: k.tobytes() for name, k in shot.items()} for shot in spy.shots.kernels] == spy.kernels
        assert len(spy.kernels) == len(outcome.stages) + 1
    kernels = spies["lock"][1].kernels
    assert [a["b"] == b["b"] for a, b in zip(kernels, kernels[1:])] == [False, True, False]  # b locked in stage 2


def test_snapshots_know_formats_rounding_and_locks_of_every_stage(spies):
    for outcome, spy in spies.values():
        told = [
            {name: (fmt and fmt.nbits, rounding, locked) for name, (fmt, rounding, locked) in layers.items()}
            for layers in spy.shots.layers
        ]
        assert told == spy.layers and len(told) == len(outcome.stages)
        assert {name: fmt for name, (fmt, *_) in spy.shots.layers[-1].items()} == spy.formats


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("schedule", ["lock", "static"])
def test_the_bars_are_computed_from_the_snapshots(spies, explorer, schedule, stage):
    outcome, spy = spies[schedule]
    stage_shown = min(stage, len(outcome.stages))
    kernels, first = spy.shots.kernels[stage_shown], spy.shots.kernels[0]
    moved = {
        name: 100 * np.sqrt(((w - first[name]) ** 2).sum() / (first[name] ** 2).sum()) for name, w in kernels.items()
    }
    sqnr = dict.fromkeys(kernels, 0.0)
    for name, (fmt, rounding, _) in (spy.shots.layers[stage_shown - 1] if stage_shown else {}).items():
        if fmt:
            sqnr[name] = min(measured_sqnr(kernels[name], quantize(kernels[name], fmt, rounding)), MOST_SQNR)
    for measured, expected in ((MOVED, moved), (SQNR, sqnr)):
        bars = explorer.view(schedule=schedule, stage=stage, measured=measured).traces[0]
        assert bars["x"] == ["a", "b"]
        assert bars["y"] == pytest.approx(list(expected.values()), rel=1e-4)


def test_the_bars_of_24_bits_stop_at_the_most_that_is_drawn(explorer):
    assert explorer.view(schedule="static", stage=1, measured=SQNR).traces[0]["y"] == [MOST_SQNR] * 2


def told(accuracy):
    low, high = wilson_interval(round(accuracy * IMAGES), IMAGES)
    return f"{accuracy:.1%} ({low:.1%} to {high:.1%})"


def test_the_readings_are_those_of_the_stage(spies, explorer):
    first, last = (spies["lock"][0].history[i::2] for i in (0, 1))  # two epochs a stage
    accuracies = [
        {"quantized": told(one["val_accuracy_before"]), "trained": told(two["val_accuracy"])}
        for one, two in zip(first, last, strict=True)
    ]
    accuracies = [{}, accuracies[0], {}, accuracies[1]]  # where all is locked there is no epoch: the next stage begins
    names = ["none: float", "a", "b", "relax"]
    for stage, (name, quantized, locked) in enumerate(zip(names, "0122", "0120")):
        assert explorer.view(schedule="lock", stage=stage, measured=MOVED).readings == {
            "stage": name,
            **accuracies[stage],
            "quantized layers": quantized,
            "locked layers": locked,
        }


def test_a_schedule_without_epochs_says_what_quantization_has_left(spies, explorer):
    view = explorer.view(schedule="static", stage=1, measured=MOVED)
    assert view.readings["quantized"] == told(spies["static"][0].val_accuracy)
    assert "trained" not in view.readings and view.traces[0]["y"] == [0, 0]


def test_a_shorter_schedule_stays_at_its_last_stage(explorer):
    last, beyond = (explorer.view(schedule="static", stage=stage, measured=SQNR) for stage in (1, 3))
    assert beyond == last and beyond.readings["stage"] == "all"


def test_colours_say_float_quantized_and_locked(explorer):
    def colours(stage):
        return explorer.view(schedule="lock", stage=stage, measured=MOVED).traces[0]["marker"]["color"]

    grey, blue, orange = plots.GREY, plots.BLUE, plots.ORANGE
    assert [colours(stage) for stage in range(4)] == [[grey, grey], [orange, grey], [orange, orange], [blue, blue]]


def test_the_axis_holds_the_bars_of_all_settings_and_does_not_move(explorer):
    for measured in MEASURES:
        settings = [(schedule, stage) for schedule in ("lock", "static") for stage in range(4)]
        views = [explorer.view(schedule=schedule, stage=stage, measured=measured) for schedule, stage in settings]
        axis = views[0].layout["yaxis"]
        assert all(view.layout["yaxis"] == axis for view in views)
        assert axis["title"]["text"] == measured
        assert axis["range"] == [0, pytest.approx(1.05 * max(max(view.traces[0]["y"]) for view in views))]


def test_an_explorer_starts_at_the_end_of_the_longest_schedule(explorer):
    assert explorer.start == {"schedule": "lock", "stage": 3, "measured": MOVED}
    assert explorer.controls["stage"] == (0, 1, 2, 3)


def test_of_static_schedules_alone_nothing_has_moved(spies):
    outcome, spy = spies["static"]
    alone = explore.kernels_by_stage({"static": (outcome, spy.shots)}, IMAGES, "9.9")
    assert alone.start["stage"] == 1
    assert alone.view(**alone.start).layout["yaxis"]["range"] == [0, 1]


def test_snapshots_that_lack_a_stage_are_refused(spies):
    outcome, spy = spies["lock"]
    resumed = explore.Snapshots()
    resumed.kernels, resumed.layers = spy.shots.kernels[1:], spy.shots.layers[1:]
    with pytest.raises(InputError, match="resumed has 3 stages, and its snapshots 2; run it without resume"):
        explore.kernels_by_stage({"resumed": (outcome, resumed)}, IMAGES, "9.9")
