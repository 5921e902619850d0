"""Solutions of lab 15."""

import numpy as np


def chain_bytes(units, bits):
    """Return the bytes of all weights and biases."""
    return sum(-(-n * m * bits // 8) + 4 * m for n, m in zip(units, units[1:]))


def logit_sqnr(before, after):
    """Return the SQNR of `after` in decibels."""
    before, after = (logits - logits.mean(axis=1, keepdims=True) for logits in (before, after))
    return 10 * np.log10(np.mean(before**2) / np.mean((after - before) ** 2))


def add_noise(logits, noise, decibels):
    """Return the logits with noise of the given strength."""
    now = logit_sqnr(logits, logits + noise)
    return logits + noise * 10 ** ((now - decibels) / 20)


def median_lead(logits):
    """Return the median lead of the highest logit."""
    second, first = np.sort(logits, axis=1)[:, -2:].T
    centred = logits - logits.mean(axis=1, keepdims=True)
    return np.median(first - second) / np.sqrt(np.mean(centred**2))


def extra_loss(first, first_after, second, second_after):
    """Return how much more the second loses, and the half-width."""
    first, first_after, second, second_after = (
        np.asarray(answers, int) for answers in (first, first_after, second, second_after)
    )
    extra = (second - second_after) - (first - first_after)
    return extra.mean(), 1.96 * extra.std() / np.sqrt(len(extra))
