"""The explorer of criteria: ranks, readings and medians are those of the numbers it is given."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from fewbits import explore

CHANGE = np.random.default_rng(3).permutation(np.linspace(0.1, 4, 40))


@pytest.fixture(scope="module")
def explorer():
    guesses = {"perfect": CHANGE**2, "backwards": -CHANGE, "random": np.random.default_rng(4).normal(size=40)}
    return explore.change_by_rank(guesses, CHANGE, [f"f{i}" for i in range(40)], "12.9", "Filters.", start="perfect")


def test_a_perfect_criterion_ranks_by_the_change(explorer):
    points, medians = explorer.view("perfect").traces
    assert [y for _, y in sorted(zip(points["x"], points["y"]))] == sorted(points["y"])
    assert points["text"][7] == "f7" and points["y"][7] == pytest.approx(CHANGE[7])
    assert medians["y"] == pytest.approx([np.median(part) for part in np.array_split(np.sort(CHANGE), 10)])
    assert medians["x"][0] == 1.5


@pytest.mark.parametrize(("criterion", "share", "worst"), [("perfect", "100%", 0.4), ("backwards", "0%", 4.0)])
def test_the_least_important_tenth_is_compared_with_the_true_one(explorer, criterion, share, worst):
    readings = explorer.view(criterion).readings
    assert readings["of its least important tenth"] == f"{share} are in the true one"
    assert readings["most harm that this tenth does, one by one"] == f"{worst:.4f}"


def test_the_rank_correlation_is_that_of_scipy(explorer):
    random = np.random.default_rng(4).normal(size=40)
    assert explorer.view("random").readings["rank correlation"] == f"{spearmanr(random, CHANGE).statistic:+.2f}"
