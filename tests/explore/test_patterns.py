"""The explorer of prunings: its bars add up to the network, its readings are those of the step."""

import pytest

from fewbits import InputError
from fewbits.explore import filters_by_step, plots, pruning_curve


def step(number, a, b, removed=None, **told):
    cost = {"filters": {"a": a, "b": b, "out": 2}, "weight_bytes": 10 * (a + b), "macs": 100 * a}
    return {"step": number, **cost, "val_accuracy": 0.9, **told} | ({} if removed is None else {"removed": removed})


LONG = [
    step(0, 6, 4),
    step(1, 4, 4, {"a": [0, 5]}, val_accuracy_before=0.5),
    step(2, 3, 3, {"a": [1], "b": [2]}, val_accuracy_before=0.4),
]
SHORT = [step(0, 6, 4), step(1, 6, 2, {"a": [], "b": [0, 1]}, val_accuracy_before=0.2)]


@pytest.fixture
def explorer():
    return filters_by_step({"long": LONG, "short": SHORT}, "12.9", "A pruning.")


def test_bars_are_what_is_kept_what_goes_and_what_has_gone(explorer):
    kept, now, before = explorer.view(criterion="long", step=2).traces
    assert kept["x"] == ["a", "b"]  # `out` loses nothing, ever
    assert (kept["y"], now["y"], before["y"]) == ([3, 3], [1, 1], [2, 0])
    kept, now, before = explorer.view(criterion="long", step=0).traces
    assert (kept["y"], now["y"], before["y"]) == ([6, 4], [0, 0], [0, 0])


def test_every_state_adds_up_to_the_network(explorer):
    for view in explorer.states():
        assert [sum(bars) for bars in zip(*(trace["y"] for trace in view.traces))] == [6, 4]


def test_readings_are_those_of_the_step(explorer):
    assert explorer.view(criterion="long", step=1).readings == {
        "removed in this step": "2",
        "filters left": "10 of 12",
        "bytes": "80 (80%)",
        "MACs": "400 (67%)",
        "validation accuracy, removed": "50.0%",
        "trained": "90.0%",
    }


def test_a_short_run_stays_at_its_last_step(explorer):
    assert explorer.view(criterion="short", step=2) == explorer.view(criterion="short", step=1)


@pytest.mark.parametrize("runs", [{}, {"nothing": LONG[:1]}])
def test_without_a_step_there_is_nothing_to_show(runs):
    with pytest.raises(InputError, match="there is no step to show"):
        filters_by_step(runs, "12.9", "A pruning.")


def test_the_curve_falls_at_each_removal_and_rises_with_training(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "show", lambda *args: shown.append(args))
    loss = {"val_loss": 0.4, "val_loss_before": 1.5}
    steps = [LONG[0], *({**each, **loss} for each in LONG[1:])]
    pruning_curve({"combined": steps, "random": steps[:2]}, "12.9", "Prunings.")
    [(figure, label, caption, alt, table)] = shown
    assert list(figure.data[0].x) == [0, 1, 1, 2, 2] and list(figure.data[0].y) == [0.9, 0.5, 0.9, 0.4, 0.9]
    assert list(figure.data[1].x) == [0, 1, 1] and "combined, random" in alt
    assert table.rows[1] == ("combined", 2, 8, "40.0%", "90.0%", 1.5, 0.4) and len(table.rows) == 3
