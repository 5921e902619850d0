"""Shares and means with their intervals; these are compared with scipy's."""

from math import inf

import numpy as np
import pytest
from scipy.stats import binomtest, norm, ttest_1samp, ttest_ind
from scipy.stats import t as student

from fewbits import InputError
from fewbits.statistics import (
    Estimate,
    SeedSpread,
    Share,
    mean_and_deviation,
    mean_interval,
    paired,
    paired_difference,
    verdict,
    wilson_interval,
)


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


@pytest.mark.parametrize("n", [2, 5])
def test_a_printed_deviation_gives_the_interval_of_the_values(n):
    values = np.random.default_rng(n).normal(0.5, 0.1, n)
    found, known = Estimate.of_deviation(float(values.mean()), float(values.std(ddof=1)), n), Estimate.of(values)
    assert (found.mean, found.half_width, found.n) == pytest.approx((known.mean, known.half_width, n))
    assert mean_and_deviation(values) == Estimate(float(values.mean()), float(values.std(ddof=1)), n)


def test_one_value_has_no_deviation():
    assert mean_and_deviation([0.7]) == Estimate.of([0.7]) and not mean_and_deviation([])


def test_one_value_has_no_interval():
    with pytest.raises(InputError, match="at least two values, not 1"):
        mean_interval([0.5])


# Shares


def test_a_share_is_written_with_its_interval():
    low, high = wilson_interval(299, 360)
    share = Share(299, 360)
    assert (share.low, share.high) == (low, high) and share.half_width == (high - low) / 2
    assert float(share) == share.value == 299 / 360 and f"{share:.2%}" == "83.06%"
    assert str(share) == f"{share}" == f"83.1% ({low:.1%} to {high:.1%})"


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (-1, 10), (11, 10)])
def test_a_share_that_cannot_be_is_refused(hits, n):
    with pytest.raises(InputError, match=f"not {hits} of {n}"):
        Share(hits, n)


def test_shares_of_the_same_images_are_compared_image_by_image():
    first, second = np.arange(100) < 80, np.arange(100) % 97 < 77
    found = Share.of(first) - Share.of(second)
    assert (found.mean, found.half_width) == paired_difference(first, second) and found.n == 100
    assert found.half_width < (Share(80, 100) - Share(80, 100)).half_width / 2


def test_other_shares_are_compared_as_independent():
    first, second = Share(80, 100), Share(60, 200)
    found = first - second
    assert found.mean == pytest.approx(0.5) and found.n == 100
    assert found.half_width == pytest.approx((first.half_width**2 + second.half_width**2) ** 0.5)
    assert (Share.of([True, False]) - Share(1, 2)).half_width == (Share(1, 2) - Share(1, 2)).half_width


def test_answers_to_different_images_are_refused():
    with pytest.raises(InputError, match="answers to the same images are needed, not 2 and 3"):
        Share.of([True, False]) - Share.of([True, False, True])


def test_equal_counts_are_equal_shares():
    assert Share.of([True, False]) == Share(1, 2) != Share(2, 4)


# Estimates


@pytest.mark.parametrize("n", [2, 3, 30])
def test_the_estimate_of_values_is_their_mean_with_its_interval(n):
    values = np.random.default_rng(n).normal(2, 3, n)
    theirs = ttest_1samp(values, 0).confidence_interval(0.95)
    found = Estimate.of(iter(values))
    assert (found.low, found.high) == pytest.approx(tuple(theirs)) and found.n == n
    assert float(found) == found.mean == pytest.approx(values.mean())


def test_one_seed_has_no_interval_and_decides_nothing():
    found = Estimate.of([0.98])
    assert found == Estimate(0.98, inf, 1) and found
    assert found.points == "+98.0 points (1 run)" and found.percent == str(found) == "98.0 (1 run)"
    assert verdict(found) == verdict(Estimate.of([-0.98])) == "not decided"


def test_what_is_not_run_says_so_and_so_does_what_is_computed_from_it():
    none, some = Estimate.of([]), Estimate(0.5, 0.1, 3)
    for found in (none, none - some, some - none, paired({1: 0.5}, {2: 0.5})):
        assert not found and found.percent == found.points == found.written(".3f", " nats") == "no data"
        assert verdict(some, found) == "no data"


def test_the_difference_of_estimates_has_both_errors():
    found = Estimate(0.8, 0.03, 5) - Estimate(0.5, 0.04, 3)
    assert (found.mean, found.half_width, found.n) == pytest.approx((0.3, 0.05, 3))


@pytest.mark.parametrize(
    ("form", "unit", "said"),
    [
        (".1%", "", "1.2 ± 0.4"),
        ("+.2%", " points", "+1.23 ± 0.40 points"),
        ("+.3f", " nats", "+0.012 ± 0.004 nats"),
    ],
)
def test_an_estimate_is_written_as_asked(form, unit, said):
    assert Estimate(0.0123, 0.004, 3).written(form, unit) == said


def test_estimates_have_a_text_for_means_and_one_for_differences():
    assert Estimate(0.7554, 0.0084, 3).percent == "75.5 ± 0.8"
    assert Estimate(0.0123, 0.004, 3).points == "+1.2 ± 0.4 points"


def test_pairs_of_equal_keys_are_compared():
    found = paired({1: 0.9, 2: 0.8, 3: 0.1}, {1: 0.8, 2: 0.6})
    assert (found.mean, found.half_width) == pytest.approx((0.15, 0.05 * 12.706), rel=1e-3)  # Student's t, one degree
    assert found.n == 2


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([(0.2, 0.1), (0.3, 0.2)], "confirmed"),
        ([(0.2, 0.1), (0.1, 0.2)], "not decided"),
        ([(0.2, 0.1), (-0.3, 0.2)], "refuted"),
        ([(0.1, 0.1)], "not decided"),
    ],
)
def test_a_claim_is_confirmed_where_every_interval_is_above_zero(found, said):
    assert verdict(*(Estimate(mean, half_width, 3) for mean, half_width in found)) == said


# Spreads


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 5), (30, 2)])
def test_the_spread_of_two_groups_gives_their_difference_as_scipy_does(n, m):
    rng = np.random.default_rng(n)
    one, other = rng.normal(2, 3, n), rng.normal(1, 3, m)
    theirs = ttest_ind(one, other).confidence_interval(0.95)
    found = SeedSpread.of([one, other]).difference(one, other)
    assert (found.low, found.high) == pytest.approx(tuple(theirs)) and found.n == min(n, m)


def test_a_single_seed_takes_the_spread_of_others():
    """By hand: squares 2 and 6 with 1 and 2 degrees of freedom, so the variance is 8 / 3; t(3) is 3.182."""
    spread = SeedSpread.of([[1, 3], [2, 2, 5], [7], []])
    assert spread == SeedSpread(pytest.approx((8 / 3) ** 0.5), 3)
    found = spread.difference([7], [4, 6])
    assert (found.mean, found.half_width) == (2, pytest.approx(3.182 * (8 / 3 * 1.5) ** 0.5, rel=1e-3))
    assert found.n == 1 and not spread.difference([], [1])


def test_a_contrast_weights_each_error_once():
    """By hand: weights 1, 1 and -2 with 1, 4 and 2 seeds have the variance 1 + 1/4 + 4/2 = 3.25 of one seed."""
    spread = SeedSpread(0.02, 8)
    found = spread.contrast((1, [0.5]), (1, [0.6, 0.6, 0.7, 0.7]), (-2, [0.4, 0.6]))
    assert found.mean == pytest.approx(0.5 + 0.65 - 2 * 0.5) and found.n == 1
    assert found.half_width == pytest.approx(student.ppf(0.975, 8) * 0.02 * 3.25**0.5)
    assert not spread.contrast((1, [0.5]), (-1, []))


def test_an_estimate_is_divided_with_its_interval():
    assert Estimate(0.6, 0.3, 4) / 3 == Estimate(pytest.approx(0.2), pytest.approx(0.1), 4)


def test_single_seeds_alone_have_no_spread():
    with pytest.raises(InputError, match="at least two values; none has them"):
        SeedSpread.of([[1], [2], []])
