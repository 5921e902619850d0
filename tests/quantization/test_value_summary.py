"""What is kept of values that come in batches, against NumPy on all of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbits import InputError
from fewbits.quantization import value_summary
from fewbits.quantization.octave_histogram import ZERO, OctaveHistogram, bins, clipped, quantiles, without
from fewbits.quantization.range_rules import SAMPLED, evenly_spaced, msb_from_limits, percentile_limits
from fewbits.quantization.value_summary import ValueSummary

PERCENTILES = (50, 90, 95, 98, 99.9, 99.99, 100)
RNG = np.random.default_rng(0)
DRAWN = {
    "normal": RNG.normal(2, 3, (12, 40, 40, 24)),
    "after a ReLU": np.maximum(RNG.normal(0, 1, (12, 40, 40, 24)), 0),
    "after a ReLU6": np.clip(RNG.normal(0, 8, (12, 40, 40, 24)), 0, 6),
    "heavy tails": RNG.standard_t(3, (12, 40, 40, 24)),
    "many octaves": RNG.lognormal(0, 4, (12, 40, 40, 24)) * RNG.choice([-1, 1], 24),
    "channels that differ": RNG.normal(0, 1, (12, 40, 40, 24)) * 2.0 ** -np.arange(24),
}


def summary_of(values, batch=4, **options):
    summary = ValueSummary(**options)
    for i in range(0, len(values), batch):
        summary.add(values[i : i + batch])
    return summary


# Percentiles


@pytest.mark.parametrize("small", [value_summary.SMALL, 1 << 30])
@pytest.mark.parametrize("name", DRAWN)
def test_limits_are_within_one_percent_of_numpys_and_give_the_same_msb(name, small, monkeypatch):
    monkeypatch.setattr(value_summary, "SMALL", small)
    values = DRAWN[name].astype(np.float32)
    summary = summary_of(values)
    assert len(summary.sample) < summary.count == values.size
    for percentile in PERCENTILES:
        exact, found = percentile_limits(values, percentile), summary.percentile_limits(percentile)
        assert found == pytest.approx(exact, rel=0.01, abs=1e-9)
        assert msb_from_limits(*found) == msb_from_limits(*exact)
        assert summary.upper_limit(percentile) == pytest.approx(max(exact[1], 0), rel=0.01)


@pytest.mark.parametrize("name", DRAWN)
def test_how_many_values_lie_beyond_a_power_of_two_is_counted_of_all(name, monkeypatch):
    monkeypatch.setattr(value_summary, "SHOULDER", 1 / 8)
    values = DRAWN[name].astype(np.float32)
    summary = summary_of(values)
    counts, powers = summary._counts(), summary._beyond_power
    assert (powers or name == "after a ReLU6") and counts.sum() == pytest.approx(values.size, abs=1e-3)
    for power in powers:
        [bin_] = bins(np.array([power], np.float32))
        found = counts[bin_ + 1 :] if power > 0 else counts[:bin_]
        assert found.sum() == pytest.approx((values > power if power > 0 else values < power).sum(), abs=1e-3)


def test_counts_of_clipped_numbers_are_those_of_numbers_that_were_clipped():
    numbers = DRAWN["heavy tails"].ravel().astype(np.float32)
    for low, high in ((0, 6), (-2, np.inf), (-np.inf, np.inf), (0.5, 0.5)):
        histogram, of_clipped = OctaveHistogram(), OctaveHistogram()
        histogram.add(numbers)
        of_clipped.add(np.clip(numbers, np.float32(low), np.float32(high)))
        assert np.array_equal(clipped(histogram.counts, low, high), of_clipped.counts)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(-60, 60),
    st.floats(0.1, 8),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.sampled_from(PERCENTILES),
)
def test_counts_tell_the_msb_of_any_values(seed, exponent, octaves, zeros, percentile):
    """All values are counted here; NumPy's limits and ours reach the same power of two."""
    rng = np.random.default_rng(seed)
    magnitudes = np.exp2(rng.uniform(exponent - octaves, exponent, (4, 1000)))
    values = (magnitudes * rng.choice([-1, 1], (4, 1000)) * (rng.random((4, 1000)) >= zeros)).astype(np.float32)
    histogram = OctaveHistogram()
    for row in values:
        histogram.add(row)
    rest = (100 - percentile) / 200
    found, exact = quantiles(histogram.counts, (rest, 1 - rest)), np.quantile(values.astype(float), (rest, 1 - rest))
    in_order = np.sort(values, axis=None)
    ends = [in_order[[int(np.floor(q * 3999)), int(np.ceil(q * 3999))]] for q in (rest, 1 - rest)]
    for one, limit, neighbours in zip(found, exact, ends):
        if np.sign(neighbours).prod() > 0 and len({np.ceil(np.log2(abs(x))) for x in neighbours}) == 1:
            assert one == pytest.approx(limit, rel=1 / 128)
            assert msb_from_limits(one, one) == msb_from_limits(limit, limit)


def test_no_bin_holds_numbers_on_both_sides_of_a_power_of_two():
    powers = np.exp2(np.arange(-100, 100, dtype=float)).astype(np.float32)
    above = np.nextafter(powers, np.float32(np.inf))
    for numbers in (powers, above, -powers, -above):
        for x in numbers:
            histogram = OctaveHistogram()
            histogram.add(np.array([x, x]))
            [found] = quantiles(histogram.counts, (0.5,))
            assert msb_from_limits(found, found) == msb_from_limits(x, x) and found == pytest.approx(x, rel=1 / 128)
    histogram = OctaveHistogram()
    histogram.add(np.array([0.0, -0.0, 2.0**-64, -(2.0**-64), 2.0**-63, 1.0], np.float32))
    assert histogram.counts[ZERO] == 2 and without(histogram.counts, 2.0**-64).sum() == 2 and len(histogram) == 6


def test_few_values_are_all_kept_and_their_limits_are_exact():
    values = RNG.normal(size=(50, 30)).astype(np.float32)
    for summary in (ValueSummary.of(values), summary_of(values)):
        assert np.array_equal(summary.sample, values.ravel())
        assert [summary.percentile_limits(p) for p in PERCENTILES] == [
            percentile_limits(values, p) for p in PERCENTILES
        ]
    with pytest.raises(InputError, match="percentile must be above 0"):
        summary.percentile_limits(0)


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_a_percentile_that_leaves_only_zeros_is_taken_of_the_rest(limit, monkeypatch):
    monkeypatch.setattr(value_summary, "SMALL", limit)
    values = np.zeros((8, 400, 400), np.float32)
    values[3, :10, :10] = RNG.uniform(3, 5, (10, 10))
    values[5, 0, 0] = -20
    summary = summary_of(values, stride=13)
    exact = percentile_limits(values[values != 0], 90)
    assert summary.percentile_limits(90) == pytest.approx(exact, rel=0.01)
    assert summary.upper_limit(90) == pytest.approx(percentile_limits(values[values > 0], 90)[1], rel=0.01)
    assert (summary.low, summary.high) == (-20, values.max())


# What is exact


@pytest.mark.parametrize("name", DRAWN)
def test_ends_are_exact_wherever_they_lie(name):
    values = DRAWN[name].astype(np.float32)
    values[7, 20, 20, 5], values[11, 39, 39, 23] = values.min() - 1, values.max() + 1
    summary = summary_of(values)
    assert (summary.low, summary.high) == (values.min(), values.max())


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (11, 39, 39, 23), (6, 13, 7, 9)])
def test_what_is_not_finite_is_seen_anywhere(wrong, place):
    values = DRAWN["normal"].astype(np.float32)
    values[place] = wrong
    summary = summary_of(values)
    assert not np.isfinite([summary.low, summary.high]).all()


def test_the_sample_is_that_of_all_values():
    values = RNG.normal(size=(12, 40, 40, 24)).astype(np.float32)
    stride = values.size // SAMPLED
    for batch in (1, 5, 12):
        assert np.array_equal(summary_of(values, batch, stride=stride).sample, evenly_spaced(values))


def test_images_that_are_all_the_same_are_told_from_others():
    same = np.repeat(RNG.normal(size=(1, 9, 9)), 12, 0).astype(np.float32)
    other = same.copy()
    other[-1, 8, 8] += 1
    assert summary_of(same).is_constant and ValueSummary.of(same).is_constant
    assert not summary_of(other).is_constant and not ValueSummary.of(other).is_constant
    assert not summary_of(same[:1]).is_constant


def test_what_is_kept_does_not_grow_with_the_values():
    def kept(summary):
        parts = [summary._beyond, summary._between]
        arrays = [summary.sample, summary._first, *(x for p in parts for x in (p._counts, *p._waiting))]
        return sum(x.nbytes for x in arrays)

    sizes, summary = [], ValueSummary()
    values = RNG.normal(size=(4, 60, 60, 24)).astype(np.float32)
    for _ in range(40):
        summary.add(values * RNG.uniform(0.5, 2))
        sizes.append(kept(summary))
    limit = 2 * 8 * (2 * ZERO + 1) + 4 * (3 * SAMPLED + values.size) + 2 * 4 * (1 << 19)
    assert summary.count == 40 * values.size > 10 * SAMPLED and max(sizes) < limit
