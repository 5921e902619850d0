"""Solutions of lab 5."""

import numpy as np


def decibels(values, quantized):
    """Return the SQNR in dB."""
    return 10 * np.log10(np.sum(values**2) / np.sum((quantized - values) ** 2))


def length(values, bits):
    """Return the largest fractional length that clips nothing."""
    largest, found = np.abs(values).max(), 60
    while (2 ** (bits - 1) - 1) * 2.0**-found <= largest:
        found -= 1
    return found


def added_noise(sqnrs):
    """Return the predicted SQNR in dB of parts in dB."""
    return -10 * np.log10(sum(10 ** (-sqnr / 10) for sqnr in sqnrs))


def part_of_the_mean(errors):
    """Return the share of the errors' power that is in their mean."""
    return np.mean(errors) ** 2 / np.mean(errors**2)
