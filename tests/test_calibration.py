"""Limits, MSBs and formats, against values worked out by hand and the thesis' own table."""

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, quantize, quantize_model
from fewbits.backend import keras
from fewbits.calibration import (
    formats_for,
    msb_from_limits,
    msb_of_least_error,
    msb_table,
    observe,
    percentile_limits,
)
from fewbits.layers import Formats

L = keras.layers


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            L.Input((8, 8, 2)),
            L.Conv2D(3, 3, activation="relu", bias_initializer="random_normal", name="a"),
            L.Flatten(),
            L.Dense(4, name="b"),
        ]
    )


IMAGES = np.random.default_rng(1).uniform(0, 3, (7, 8, 8, 2)).astype("float32")


def test_limits_leave_equal_shares_outside():
    assert percentile_limits(np.arange(1001), 98) == (10, 990)
    assert percentile_limits(np.arange(1001), 100) == (0, 1000)


@pytest.mark.parametrize("percentile", [50, 95, 99.9])
def test_limits_hold_the_share_they_say(percentile):
    values = np.random.default_rng(0).normal(size=100_000)
    low, high = percentile_limits(values, percentile)
    assert np.mean((values >= low) & (values <= high)) == pytest.approx(percentile / 100, abs=1e-4)


# vieito2017, Tables 2, 4 and 7: limits, and the MSB it uses for them
@pytest.mark.parametrize(
    ("low", "high", "msb"),
    [
        (-0.7315, 0.6775, 0),
        (-0.4321, 0.4153, -1),
        (-0.2158, 0.2088, -2),
        (-0.1693, 0.1659, -2),
        (-1008, 571.9, 10),
        (-507, 377.8, 9),
        (-170, 184.5, 8),
        (-115.8, 127.3, 7),
    ],
)
def test_the_msb_is_that_of_the_thesis(low, high, msb):
    assert msb_from_limits(low, high) == msb


@pytest.mark.parametrize(("reach", "msb"), [(1.0, 0), (1.0001, 1), (0.5, -1), (0.0, -64), (1e-30, -64)])
def test_the_msb_is_the_smallest_that_reaches(reach, msb):
    assert msb_from_limits(-reach, 0) == msb_from_limits(0, reach) == msb


def test_observed_values_are_those_of_the_float_network(model):
    seen = dict(observe(model, IMAGES, batch_size=3))
    linear = keras.Sequential([L.Input((8, 8, 2)), L.Conv2D(3, 3)])
    linear.set_weights(model.layers[0].get_weights())
    before_relu = linear.predict(IMAGES, verbose=0)
    assert np.array_equal(seen["a"].input, IMAGES)
    assert np.allclose(seen["a"].output, before_relu, atol=1e-6)
    assert np.allclose(seen["b"].input, np.maximum(before_relu, 0).reshape(7, -1), atol=1e-6)
    assert np.allclose(seen["b"].output, model.predict(IMAGES, verbose=0), atol=1e-5)


def test_formats_reach_the_limits_of_every_layer(model):
    formats = formats_for(model, IMAGES, nbits=(8, 6, None), percentile=100)
    for name, values in observe(model, IMAGES):
        assert formats[name].kernel == FixedPoint(int(np.ceil(np.log2(np.abs(values.kernel).max()))), 8)
        assert formats[name].input == FixedPoint(int(np.ceil(np.log2(np.abs(values.input).max()))), 6)
        assert formats[name].output is None


def test_generic_formats_are_the_widest_of_all_layers(model):
    table = msb_table(model, IMAGES, (100, 100, 100))
    formats = formats_for(model, IMAGES, percentile=100, per_layer=False)
    assert len(set(formats.values())) == 1
    assert [f.msb for f in formats["a"][:3]] == [max(column) for column in zip(*table.values())]


def test_a_smaller_percentile_never_asks_for_a_larger_msb(model):
    tables = [msb_table(model, IMAGES, (p, p, p)) for p in (50, 95, 99.9, 100)]
    for smaller, larger in zip(tables, tables[1:]):
        assert all(a <= b for name in smaller for a, b in zip(smaller[name], larger[name]))


def test_formats_fit_a_quantized_model(model):
    formats = formats_for(model, IMAGES)
    quantized = quantize_model(model, formats)
    assert quantized.formats == formats
    quantized.set_formats((None, None, None))
    assert quantized.formats["a"] == Formats()
    assert formats_for(quantized, IMAGES) == formats


@pytest.mark.parametrize("percentile", [0, 101, -1, "high", True, (99, 99)])
def test_a_percentile_that_is_none_is_refused(model, percentile):
    with pytest.raises(InputError, match="percentile"):
        formats_for(model, IMAGES, percentile=percentile)


def test_values_must_be_finite_and_some(model):
    with pytest.raises(InputError, match="no values"):
        percentile_limits([], 99)
    with pytest.raises(InputError, match="NaN"):
        percentile_limits([np.nan], 99)
    with pytest.raises(InputError, match="at least one image"):
        formats_for(model, IMAGES[:0])
    with pytest.raises(InputError, match="images holds 1 value"):
        formats_for(model, np.where(IMAGES == IMAGES.max(), np.nan, IMAGES))


@pytest.mark.parametrize("rounding", ["floor", "nearest"])
@pytest.mark.parametrize("nbits", [2, 4, 8])
def test_no_other_msb_leaves_less_error(nbits, rounding):
    values = np.random.default_rng(0).standard_t(3, 20_000)
    best = msb_of_least_error(values, nbits, rounding)
    errors = {
        msb: np.mean((quantize(values, FixedPoint(msb, nbits), rounding) - values) ** 2) for msb in range(-20, 12)
    }
    assert errors[best] == min(errors.values())


def test_at_few_bits_the_msb_of_least_error_lies_below_that_of_the_maximum():
    values = np.random.default_rng(0).normal(0, 1, 100_000)
    assert msb_of_least_error(values, 3) < msb_from_limits(*percentile_limits(values, 100)) == 3


def test_least_error_of_nothing_but_zeros():
    assert msb_of_least_error(np.zeros(10), 4) == -64


def test_formats_of_least_error_depend_on_the_bits(model):
    few, many = (formats_for(model, IMAGES, (n, n, None), percentile="mse") for n in (2, 12))
    assert sum(f.kernel.msb + f.input.msb for f in few.values()) < sum(
        f.kernel.msb + f.input.msb for f in many.values()
    )
    assert few["a"].output is None
