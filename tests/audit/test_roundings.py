"""Naming a rounding from codes and quotients: what decides, what does not, and what no rounding explains."""

from fractions import Fraction

import numpy as np
import pytest

from fewbits.audit.roundings import EXACT, FLOAT32, ONCE, TWICE, Way, in_words, name_rounding, output_ways, requantized

RNG = np.random.default_rng(0)
ORACLES = {
    "floor": lambda x: x.__floor__(),
    "ceiling": lambda x: x.__ceil__(),
    "toward-zero": lambda x: x.__trunc__(),
    "nearest": round,  # Python's, half to even
    "nearest-up": lambda x: (x + Fraction(1, 2)).__floor__(),
    "nearest-away": lambda x: int(np.sign(x)) * (abs(x) + Fraction(1, 2)).__floor__(),
}


def name(codes, sums, factors):
    ways = {way: requantized(sums, factors, way) for way in output_ways(sums, factors)}
    return name_rounding(np.asarray(codes, np.float64), sums * factors, ways)


@pytest.mark.parametrize("rounding", ORACLES)
@pytest.mark.parametrize("factor", [2.0**-5, 0.0217])
def test_each_rounding_is_named_and_explains_every_code(rounding, factor):
    sums = np.arange(-3000.0, 3001)[:, None]
    exact = [Fraction(int(s)) * Fraction(factor) for s in sums.ravel()]
    found = name(np.array([[ORACLES[rounding](x)] for x in exact]), sums, np.array([factor]))
    assert found.explained == 1
    if factor == 2.0**-5:  # there are ties
        assert found.name == rounding and found.decided and found.decisive > 0
    elif "nearest" in rounding:
        assert found.name == "nearest, ties not decided" and not found.decided and found.decisive == 0
    else:
        assert found.name == rounding


def twice(sum_, multiplier, shift):
    """The two roundings of a fixed-point multiplication, with Python's integers."""
    high = (Fraction(sum_ * multiplier, 2**31) + Fraction(1, 2)).__floor__()
    rest = Fraction(abs(high), 2**shift)
    return (1 if high >= 0 else -1) * (rest + Fraction(1, 2)).__floor__()


def test_a_multiplication_that_is_rounded_twice_is_told_from_one_that_is_rounded_once():
    multiplier, shift = 1518500250, 5  # 0.7071 / 32
    factor = np.array([multiplier / 2.0**31 / 2**shift])
    sums = np.arange(-5000.0, 5001)[:, None]
    double = name([[twice(int(s), multiplier, shift)] for s in sums.ravel()], sums, factor)
    assert double.name == "nearest, rounded twice" and double.ways == (Way("nearest-away", TWICE),)
    single = name([[(int(s) * multiplier + 2**35) >> 36] for s in sums.ravel()], sums, factor)
    assert single.name == "nearest, ties not decided" and Way("nearest-up", ONCE) in single.ways


def test_a_factor_that_is_cut_to_15_bits_is_named():
    reduced, factor = 23170, np.array([1518500250 / 2.0**31 / 2**5])  # 0.7071 / 32
    sums = np.arange(-600_000.0, 600_001, 37)[:, None]
    found = name([[(int(s) * reduced + 2**19) >> 20] for s in sums.ravel()], sums, factor)
    assert found.name == "nearest, 15-bit factor" and found.explained == 1


def test_float32_is_named_where_it_differs_from_exact_quotients():
    factor = np.float32(0.0037)
    sums = np.rint(RNG.uniform(-(2**26), 2**26, 4000))[:, None]
    codes = np.rint(sums.astype(np.float32) * factor).astype(np.float64)
    found = name(codes, sums, np.array([factor], np.float64))
    assert found.best == Way("nearest", FLOAT32) and found.explained == 1
    assert {way.arithmetic for way in found.ways} == {FLOAT32}
    assert EXACT not in {way.arithmetic for way in found.ways}


def test_without_negative_quotients_floor_and_toward_zero_stay_together():
    sums = np.arange(-100.0, 401)[:, None]
    codes = np.maximum(np.floor(sums / 8), 0)  # a ReLU
    found = name(codes, sums, np.array([1 / 8]))
    assert found.name == "floor or toward-zero" and found.roundings == ("floor", "toward-zero")
    assert not found.decided and found.decisive == 0


def test_clipped_codes_and_nan_are_not_judged():
    sums = np.arange(-400.0, 401)[:, None]
    codes = np.clip(np.floor(sums / 8), -10, 10)
    codes[390:400] = np.nan
    found = name(codes, sums, np.array([1 / 8]))
    assert found.judged == 161 - 10 and found.name == "floor" and found.explained == 1


def test_what_no_rounding_explains_gets_no_name():
    sums = np.arange(-400.0, 401)[:, None]
    codes = np.floor(sums / 8) + RNG.integers(-2, 3, sums.shape)
    found = name(codes, sums, np.array([1 / 8]))
    assert found.name == "none of these" and not found.ways and found.explained < 0.5


def test_a_few_wrong_codes_do_not_hide_a_rounding_that_thousands_decide():
    sums = np.arange(-4000.0, 4001)[:, None]
    codes = np.floor(sums / 8)
    codes[::400] += 1
    found = name(codes, sums, np.array([1 / 8]))
    assert found.name == "floor" and 0.99 < found.explained < 1


def test_constant_codes_decide_nothing():
    found = name(np.zeros((5, 1)), np.full((5, 1), 80.0), np.array([1 / 8]))
    assert found.name == "not decided" and found.judged == 0 and not found.ways


def test_words():
    assert in_words([Way("nearest"), Way("nearest-up"), Way("nearest-away", TWICE)]) == "nearest, ties not decided"
    assert in_words([Way("nearest-away", TWICE)]) == "nearest, rounded twice"
