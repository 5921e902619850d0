"""Solutions of lab 7."""

from itertools import product

import numpy as np


def folded_bias(bias, kernel, rounded, x):
    """Return the bias that takes back the mean shift."""
    return bias - x.mean(0) @ (rounded - kernel)


def biases_in_order(layers, rounded, x):
    """Return a list of biases, one per layer."""
    wanted, got, biases = x, x, []
    for (kernel, bias), other in zip(layers, rounded):
        sums = wanted @ kernel + bias
        biases.append(sums.mean(0) - (got @ other).mean(0))
        wanted = np.maximum(sums, 0)
        got = np.maximum(got @ other + biases[-1], 0)
    return biases


def equalize(first, bias, second):
    """Return (first, bias, second) with equal ranges per channel."""
    into, out = np.abs(first).max(0), np.abs(second).max(1)
    scale = np.sqrt(into / out)
    return first / scale, bias / scale, second * scale[:, np.newaxis]


def best_codes(weights, x, step):
    """Return the integer codes with the least squared output error."""
    low = np.floor(weights / step).astype(int)
    ways = [low + up for up in product((0, 1), repeat=len(weights))]
    return min(ways, key=lambda codes: np.sum((x @ (codes * step - weights)) ** 2))
