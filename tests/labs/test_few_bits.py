"""Lab 10: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import few_bits as lab
from fewbits.quantization import FixedPoint, quantize
from helpers.labs import tell_apart


def test_mistakes_in_the_values():
    def library(rounding="nearest", overflow="saturate", signed=None):
        def values(x, msb, nbits, is_signed):
            return quantize(x, FixedPoint(msb, nbits, is_signed if signed is None else signed), rounding, overflow)

        return values

    def step_of_the_codes(x, msb, nbits, signed):
        return np.rint(x)

    def symmetric(x, msb, nbits, signed):
        fmt = FixedPoint(msb, nbits, signed)
        return np.maximum(quantize(x, fmt, "nearest"), -fmt.max_value if signed else 0)

    tell_apart(
        (lab.check_few_bit_values, step_of_the_codes, "values of the format already"),
        (lab.check_few_bit_values, library("floor"), "errs to one side"),
        (lab.check_few_bit_values, library("nearest-away"), "halfway between two codes"),
        (lab.check_few_bit_values, library(overflow="wrap"), "a highest code"),
        (lab.check_few_bit_values, symmetric, "one negative code more"),
        (lab.check_few_bit_values, library(signed=True), "no value is negative"),
    )


def test_mistakes_in_the_gradient():
    def derivative(gradient, x, msb, nbits, signed):
        return np.zeros_like(gradient)

    def identity(gradient, x, msb, nbits, signed):
        return gradient

    def upper_only(gradient, x, msb, nbits, signed):
        return np.where(x <= FixedPoint(msb, nbits, signed).max_value, gradient, 0)

    def always_signed(gradient, x, msb, nbits, signed):
        fmt = FixedPoint(msb, nbits)
        return np.where((x >= fmt.min_value) & (x <= fmt.max_value), gradient, 0)

    tell_apart(
        (lab.check_gradient_through, derivative, "inside the range"),
        (lab.check_gradient_through, identity, "does moving it change"),
        (lab.check_gradient_through, upper_only, "a lower end"),
        (lab.check_gradient_through, always_signed, "other limits"),
    )


def test_mistakes_in_the_step():
    tell_apart(
        (lab.check_train_step, lambda w, at, rounded, rate: rounded(w) - rate * at(rounded(w)), "never leave a code"),
        (lab.check_train_step, lambda w, at, rounded, rate: w - rate * at(w), "which computes"),
        (lab.check_train_step, lambda w, at, rounded, rate: w + rate * at(rounded(w)), "not up"),
        (lab.check_train_step, lambda w, at, rounded, rate: w - at(rounded(w)), "rate times the gradient"),
    )


def test_rounding_after_the_step_is_the_same_mistake():
    tell_apart((lab.check_train_step, lambda w, at, rounded, rate: rounded(w - rate * at(rounded(w))), "never leave"))


def test_mistakes_in_the_stages():
    def ways(by_level, by_bit):
        def stages(way, start, goal, levels):
            if way == "all at once":
                return [[goal] * levels]
            return by_level(start, goal, levels) if way == "level by level" else by_bit(start, goal, levels)

        return stages

    def right(start, goal, n):
        return [[goal] * (i + 1) + [start] * (n - i - 1) for i in range(n)]

    def from_the_end(start, goal, n):
        return [[start] * (n - i - 1) + [goal] * (i + 1) for i in range(n)]

    def with_start(start, goal, n):
        return [[bits] * n for bits in range(start, goal - 1, -1)]

    def at_least_one(start, goal, n):
        return [[bits] * n for bits in range(start - 1, goal - 1, -1)] or [[goal] * n]

    tell_apart(
        (lab.check_stages, lambda way, start, goal, levels: [[goal]], "All levels go"),
        (lab.check_stages, ways(from_the_end, with_start), "the first i levels"),
        (lab.check_stages, ways(right, with_start), "where the network is already"),
        (lab.check_stages, ways(right, at_least_one), "at the goal already"),
    )


def test_mistakes_in_the_mean_of_bits():
    def mean(sizes, bits, edge_bits, weighted=False, first_only=False):
        each = [edge_bits] + [bits] * (len(sizes) - 2) + [bits if first_only else edge_bits]
        return np.average(each, weights=sizes if weighted else None)

    tell_apart(
        (lab.check_bits_per_weight, lambda s, b, e: sum(s) * b, "have 2 bits here"),
        (lab.check_bits_per_weight, lambda s, b, e: mean(s, b, e, first_only=True), "Both edges"),
        (lab.check_bits_per_weight, mean, "not a mean over weights"),
    )
