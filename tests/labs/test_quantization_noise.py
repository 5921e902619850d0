"""Lab 5: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import quantization_noise as lab
from helpers.labs import tell_apart


def test_mistakes_in_decibels():
    def power(x):
        return np.sum(x**2)

    check = lab.check_decibels

    def varying(v, q):
        with np.errstate(divide="ignore"):  # errors that do not vary
            return 10 * np.log10(power(v) / (np.var(q - v) * v.size))

    tell_apart(
        (check, lambda v, q: 20 * np.log10(power(v) / power(q - v)), "so its power is"),
        (check, lambda v, q: abs(10 * np.log10(power(v) / power(q - v))), "fewer than 0 dB"),
        (check, varying, "do not vary"),
        (check, lambda v, q: 10 * np.log10(power(v - v.mean() + 1e-9) / power(q - v)), "from their mean"),
        (check, lambda v, q: np.mean(10 * np.log10((v / (q - v)) ** 2)), "value by value"),
    )


def test_mistakes_in_the_length():
    def of(reach, largest_code):
        def length(values, bits):
            return next(fl for fl in range(60, -60, -1) if largest_code(bits) * 2.0**-fl > reach(values))

        return length

    def size(values):
        return np.abs(values).max()

    def highest(bits):
        return 2 ** (bits - 1) - 1

    def reaching(values, bits):
        return next(fl for fl in range(60, -60, -1) if highest(bits) * 2.0**-fl >= size(values))

    check = lab.check_length
    tell_apart(
        (check, of(size, lambda bits: 2**bits - 1), "Count up until"),
        (check, lambda v, bits: max(3, of(size, highest)(v, bits)), "may be small"),
        (check, lambda v, bits: max(0, of(size, highest)(v, bits)), "more than 1"),
        (check, of(size, lambda bits: 2 ** (bits - 1)), "not the amplitude"),
        (check, of(lambda values: values.max(), highest), "negative value"),
        (check, reaching, "strictly above"),
    )


def test_mistakes_in_the_rule():
    check = lab.check_added_noise
    tell_apart(
        (check, lambda s: 10 * np.log10(sum(10 ** (-x / 10) for x in s)), "One part alone"),
        (check, sum, "Two equal parts"),
        (check, lambda s: min(s) - 10 * np.log10(s.count(min(s))), "hardly matters"),
        (
            check,
            lambda s: -10 * np.log10(10 ** (-s[0] / 10) + (10 ** (-s[-1] / 10) if s[1:] else 0)),
            "not the decibels",
        ),
    )


def test_mistakes_in_the_part_of_the_mean():
    check = lab.check_part_of_the_mean
    tell_apart(
        (check, lambda e: np.var(e) / np.mean(e**2), "All errors are equal"),
        (check, lambda e: 1.0, "These errors cancel"),
        (check, lambda e: np.mean(e) / np.sqrt(np.mean(e**2)), "Power is the square"),
        (check, lambda e: np.mean(e) * abs(np.mean(e)) / np.mean(e**2), "never negative"),
    )
