"""What prunings lose on their way, from runs written by hand."""

import pytest

from fewbits.book import prunings, reference
from fewbits.statistics import Estimate


def cell(*runs):
    """Return a cell of prunings: a run has (filters of a, filters of b, MACs, hits of 100) after each step."""
    first, found = reference.cell("float").records[0], []
    for run in runs:
        steps = [
            {"filters": {"a": a, "b": b}, "macs": macs, "test": {"hits": hits, "n": 100}} for a, b, macs, hits in run
        ]
        found.append(first.model_copy(update={"results": first.results.model_copy(update={"pruning": steps})}))
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
    assert prunings.filters_lost_by_layer(both, 2) == {"a": 4, "b": 2}
    assert prunings.share_left(both, "macs", 1) == pytest.approx(0.625)
    assert prunings.share_left(both, "macs", 2) == pytest.approx(0.15)
    assert prunings.share_left(both, "macs", 0) == 1
