"""Intervals, against scipy's."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm, ttest_1samp

from fewbits import InputError
from fewbits.statistics import mean_interval, wilson_interval


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 100), (100, 100), (553, 1000), (3, 7), (59, 10_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_interval_is_that_of_scipy(hits, n, confidence):
    theirs = binomtest(hits, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(hits, n, z=norm.ppf((1 + confidence) / 2)) == pytest.approx(tuple(theirs), abs=1e-12)


def test_ninety_five_percent_is_the_default():
    theirs = binomtest(553, 1000).proportion_ci(0.95, method="wilson")
    assert wilson_interval(553, 1000) == pytest.approx(tuple(theirs), abs=1e-5)


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (-1, 10), (11, 10), (0, -1)])
def test_a_share_lies_between_none_and_all(hits, n):
    with pytest.raises(InputError, match=f"a share needs 0 <= hits <= n and n >= 1, not {hits} of {n}"):
        wilson_interval(hits, n)


@pytest.mark.parametrize("n", [2, 3, 30])
def test_the_interval_of_a_mean_is_that_of_scipy(n):
    values = np.random.default_rng(n).normal(2, 3, n)
    theirs = ttest_1samp(values, 0).confidence_interval(0.95)
    mean, reach = mean_interval(values)
    assert (mean - reach, mean + reach) == pytest.approx(tuple(theirs))


def test_one_value_has_no_interval():
    with pytest.raises(InputError, match="at least two values, not 1"):
        mean_interval([0.5])
