"""Each operation of integer networks computes what plain loops compute, and nothing but integers."""

from itertools import product

import numpy as np
import pytest

from fewbits.deploy import operations
from fewbits.deploy.operations import Tensor

RNG = np.random.default_rng(11)
CODES = RNG.integers(-50, 50, (2, 3, 4, 6))


def made(kind, codes, shape, *fields, inputs=(0,)):
    """Return what an operation of this kind makes of `codes`, after a check of type and shape."""
    output = kind("here", inputs, Tensor(shape, 0, -(2**40), 2**40), *fields).compute(*codes)
    assert output.dtype.kind == "i" and output.shape == (len(codes[0]), *shape)
    return output


def places(*shape):
    return product(*map(range, shape))


@pytest.mark.parametrize("partial_bits", [32, 40])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_filters_of_a_group_read_the_channels_of_that_group_alone(groups, partial_bits):
    kernel, bias = RNG.integers(-9, 9, (2, 3, 6 // groups, 6)), RNG.integers(-9, 9, 6)
    fields = kernel, bias, (1, 1), ((0, 0), (0, 0)), (1, 1), False, partial_bits, 0, groups
    output = made(operations.Convolve, [CODES], (2, 2, 6), *fields)
    for n, y, x, f in places(2, 2, 2, 6):
        group = f // (6 // groups)
        expected = bias[f]
        for row, column, c in places(2, 3, 6 // groups):
            expected += CODES[n, y + row, x + column, group * (6 // groups) + c] * kernel[row, column, c, f]
        assert output[n, y, x, f] == expected


def test_zeros_stand_between_spread_pixels():
    output = made(operations.Spread, [CODES], (7, 7, 6), (3, 2))
    for y, x in places(7, 7):
        expected = CODES[:, y // 3, x // 2] if y % 3 == x % 2 == 0 else 0
        assert np.array_equal(output[:, y, x], np.broadcast_to(expected, (2, 6)))


def test_each_pixel_is_repeated():
    output = made(operations.Repeat, [CODES], (6, 12, 6), (2, 3))
    assert all(np.array_equal(output[:, y, x], CODES[:, y // 2, x // 3]) for y, x in places(6, 12))


def test_rows_become_columns():
    output = made(operations.Transpose, [CODES], (4, 3, 6))
    assert all(np.array_equal(output[:, x, y], CODES[:, y, x]) for y, x in places(3, 4))


@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 1, 6), (3, 4, 1), (1, 1, 1), (3, 1, 6)])
def test_a_product_repeats_what_its_second_factor_has_once(shape):
    factors = RNG.integers(-(2**31), 2**31, (2, *shape))
    output = made(operations.Multiply, [CODES.astype(np.int32), factors], (3, 4, 6), inputs=(0, 1))
    for n, y, x, c in places(2, 3, 4, 6):
        place = (i if side > 1 else 0 for i, side in zip((y, x, c), shape))
        assert int(output[n, y, x, c]) == int(CODES[n, y, x, c]) * int(factors[n, *place])


@pytest.mark.parametrize(
    ("kind", "shifts", "join"),
    [
        (operations.Subtract, (2, 0), lambda a, b: a - b),
        (operations.Subtract, (0, 33), lambda a, b: a - b),
        (operations.Largest, (1, 0, 3), max),
        (operations.Smallest, (0, 2, 1), min),
    ],
)
def test_inputs_are_joined_on_the_finest_grid(kind, shifts, join):
    inputs = [RNG.integers(-50, 50, (2, 3, 4, 6)).astype(np.int32) for _ in shifts]
    output = made(kind, inputs, (3, 4, 6), shifts, inputs=tuple(range(len(shifts))))
    for place in places(*output.shape):
        assert output[place] == join(*(int(codes[place]) * 2**shift for codes, shift in zip(inputs, shifts)))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 6), (3, 4, 6)])
def test_negative_codes_are_multiplied_by_the_slope(shape):
    slope = RNG.integers(-9, 9, shape)
    output, slopes = made(operations.Leaky, [CODES], (3, 4, 6), slope, 3), np.broadcast_to(slope, (3, 4, 6))
    for n, *place in places(2, 3, 4, 6):
        code = CODES[n, *place]
        assert output[n, *place] == (code * 8 if code >= 0 else code * slopes[*place])


def test_a_table_holds_the_result_of_each_code():
    results = RNG.integers(-9, 9, 100)
    output = made(operations.LookUp, [CODES], (3, 4, 6), -50, results)
    assert all(output[place] == results[CODES[place] + 50] for place in places(*CODES.shape))
