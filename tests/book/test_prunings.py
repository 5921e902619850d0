"""What prunings lose on their way, from runs written by hand."""

import pytest

from fewbits.book import prunings, reference
from fewbits.statistics import Estimate


def cell(*runs):
    """Return a cell of prunings: a run has (filters of a, filters of b, MACs, hits of 100) after each step."""
    first, found = reference.cell("float").records[0], []
    for seed, run in enumerate(runs, 1):
        tests = [{"hits": hits, "n": 100, "loss": 1, "hits_top5": None} for *_, hits in run]
        steps = [{"filters": {"a": a, "b": b}, "macs": m, "test": t} for (a, b, m, _), t in zip(run, tests)]
        results = first.results.model_copy(update={"pruning": steps})
        trial = first.trial.model_copy(update={"seed": seed})
        found.append(first.model_copy(update={"trial": trial, "results": results}))
    return reference.Cell(None, found)


LONG = (6, 4, 200, 90), (4, 4, 100, 80), (2, 2, 30, 60)
SHORT = (6, 4, 200, 90), (5, 3, 150, 70)


def test_the_change_lies_on_a_straight_line_between_two_steps():
    """By hand: 30 % gone is a quarter of the way from 20 % gone (80 hits) to 60 % (60 hits), so 75 hits of 100."""
    assert prunings.change_at(cell(LONG), 0.3) == pytest.approx(-0.15)
    assert prunings.change_at(cell(LONG), 0) == 0
    assert prunings.change_at(cell(LONG), 0.6) == pytest.approx(-0.3)


def test_runs_that_ended_before_do_not_count():
    both = cell(LONG, SHORT)
    found, by_hand = prunings.change_at(both, 0.2), Estimate.of([-0.1, -0.2])
    assert (found.mean, found.half_width, found.n) == pytest.approx((by_hand.mean, by_hand.half_width, 2))
    assert prunings.change_at(both, 0.5) == pytest.approx(prunings.change_at(cell(LONG), 0.5))
    assert prunings.change_at(both, 0.7) is None and prunings.change_at(reference.Cell(None, []), 0.1) is None


def test_filters_and_costs_are_means_of_the_runs_that_came_so_far():
    both = cell(LONG, SHORT)
    assert prunings.filters_lost_by_layer(both, 1) == {"a": 1.5, "b": 0.5}
    assert prunings.filters_lost_by_run(both, 1) == [{"a": 2, "b": 0}, {"a": 1, "b": 1}]
    assert prunings.filters_lost_by_layer(both, 2) == {"a": 4, "b": 2}
    assert prunings.share_left(both, "macs", 1) == pytest.approx(0.625)
    assert prunings.share_left(both, "macs", 2) == pytest.approx(0.15)
    assert prunings.share_left(both, "macs", 0) == 1


def test_accuracy_over_cost_needs_two_runs():
    """By hand: at half of 200 MACs the long run has 80 hits; the short one ends at 150."""
    both = cell(LONG, SHORT)
    found = prunings.top1_over_cost(both, "macs", (1, 0.75, 0.5))
    assert list(found) == [1, 0.75] and found[1].mean == pytest.approx(0.9)
    assert found[0.75].mean == pytest.approx((0.85 + 0.7) / 2)
    assert prunings.top1_over_cost(cell(LONG), "macs", (0.5,)) == {}


def test_images_are_counted_up_to_the_step_that_falls_below_a_cost():
    one = cell(LONG)
    for step, images in zip(one.steps, (0, 10, 20)):
        step["images"] = images
    assert prunings.images_seen(one, "macs", 0.5) == 0
    assert prunings.images_seen(one, "macs", 0.4) == 10
    assert prunings.images_seen(one, "macs", 0.1) == 30


def test_filters_are_divided_among_groups_of_levels():
    counts = {"conv1": 10, "fire2_squeeze": 5, "fire2_expand": 15, "fire3_squeeze": 20, "conv10": 100}
    assert prunings.shares_of_groups(counts, [["conv1"], ["fire2", "fire3"]]) == [0.2, 0.8]
