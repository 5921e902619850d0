"""Lab 16: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import integer_layers as lab
from helpers.labs import tell_apart


def to_even(total, shift):
    low = total >> shift
    twice, unit = (total - (low << shift)) * 2, 1 << shift
    return low + ((twice > unit) | ((twice == unit) & (low % 2 == 1)))


def test_mistakes_in_the_shift():
    def upwards(total, shift):
        return (total + (1 << shift >> 1)) >> shift

    def downwards(total, shift):
        return (total + (1 << shift >> 1) - 1) >> shift if shift else total

    def negative_shift(total, shift):
        down = total >> shift
        rest = total - (down << shift)
        half = 1 << shift - 1 if shift else -1
        return down + ((rest > half) | ((rest == half) & (down % 2 == 1)))

    def truncated(total, shift):
        rounded = to_even(np.abs(total), shift)
        wrong = (np.abs(total) % (1 << shift) == (1 << shift >> 1)) & (total < 0) & (shift > 0)
        return np.sign(total) * rounded - wrong * (rounded % 2 == 0)

    tell_apart(
        (lab.check_shift_to_even, lambda total, shift: total // 2 ** (shift + 1), "multiples of the unit"),
        (lab.check_shift_to_even, lambda total, shift: total >> shift, "Nearest means up"),
        (lab.check_shift_to_even, upwards, "the even one is below"),
        (lab.check_shift_to_even, downwards, "the even one is above"),
        (lab.check_shift_to_even, truncated, "Below zero"),
        (lab.check_shift_to_even, negative_shift, "A shift of 0"),
        (lab.check_shift_to_even, lambda total, shift: np.rint(total / 2**shift), "no more than 53 bits"),
    )


def width(largest, smallest=0):
    bits = 1
    while not -(2 ** (bits - 1)) <= smallest <= largest < 2 ** (bits - 1):
        bits += 1
    return bits


def test_mistakes_in_the_width():
    def bounds(kernel, bias, low, high):
        return (
            (bias + np.maximum(kernel * low, kernel * high).sum(0)),
            (bias + np.minimum(kernel * low, kernel * high).sum(0)),
        )

    def unsigned(kernel, bias, low, high):
        return width(max(0, bounds(kernel, bias, low, high)[0].max())) - 1

    def by_logarithm(kernel, bias, low, high):
        sums = np.abs(np.concatenate(bounds(kernel, bias, low, high))).max()
        return int(np.ceil(np.log2(sums))) + 1

    def symmetric(kernel, bias, low, high):
        return width(np.abs(np.concatenate(bounds(kernel, bias, low, high))).max())

    def all_absolute(kernel, bias, low, high):
        largest = (np.abs(kernel).sum(0) * max(high, -low) + np.abs(bias)).max()
        return (
            width(largest, -largest if (kernel < 0).any() else 0)
            if largest != 8
            else width(*bounds(kernel, bias, low, high))
        )

    def only_high(kernel, bias, low, high):
        sums = bias + np.maximum(kernel, 0).sum(0) * high, bias + np.minimum(kernel, 0).sum(0) * high
        return width(sums[0].max(), sums[1].min())

    def no_bias(kernel, bias, low, high):
        sums = bounds(kernel, 0 * bias, low, high)
        return width(sums[0].max(), sums[1].min())

    tell_apart(
        (lab.check_accumulator_bits, unsigned, "one bit for the sign"),
        (lab.check_accumulator_bits, by_logarithm, "largest integer that"),
        (lab.check_accumulator_bits, symmetric, "one further below zero"),
        (lab.check_accumulator_bits, all_absolute, "never add up"),
        (lab.check_accumulator_bits, no_bias, "the bias of its unit"),
    )
    tell_apart((lab.check_accumulator_bits, only_high, "Each input has the sign"))


def test_mistakes_in_the_layer():
    def layer(relu=True, biased=True, shifted=True, rounding=to_even, saturate=True, late_bias=False):
        def integer_layer(codes, kernel, bias, steps, bits):
            shift = steps[0] + steps[1] - steps[2]
            total = codes @ kernel + (bias if biased and not late_bias else 0)
            total = np.maximum(total, 0) if relu else total
            total = total + bias if late_bias else total
            total = rounding(total, shift) if shifted else total
            return np.minimum(total, 2**bits - 1) if saturate else total

        return integer_layer

    tell_apart(
        (
            lab.check_integer_layer,
            lambda codes, kernel, bias, steps, bits: codes @ np.abs(kernel),
            "only products and sums",
        ),
        (lab.check_integer_layer, layer(relu=False), "passes no negative"),
        (lab.check_integer_layer, layer(late_bias=True), "added before the ReLU"),
        (lab.check_integer_layer, layer(shifted=False), "how many bits"),
        (lab.check_integer_layer, layer(rounding=lambda total, shift: total >> shift), "rounds to nearest"),
        (lab.check_integer_layer, layer(saturate=False), "ends at 15"),
    )


def test_mistakes_in_the_addition():
    tell_apart(
        (lab.check_add_aligned, lambda x, a, y, b: (x + y + 1, a), "integer codes add up"),
        (
            lab.check_add_aligned,
            lambda x, a, y, b: ((x >> a - min(a, b)) + (y >> b - min(a, b)), min(a, b)),
            "the finer of the two",
        ),
        (lab.check_add_aligned, lambda x, a, y, b: (x + y, max(a, b)), "several in fine steps"),
        (lab.check_add_aligned, lambda x, a, y, b: ((x << max(b - a, 0)) + y, max(a, b)), "Either of the two"),
    )
