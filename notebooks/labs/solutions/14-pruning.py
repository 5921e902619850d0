"""Solutions of lab 14."""

import numpy as np


def remove_filters_of(kernel, bias, reader, gone, before):
    """Return the three arrays without the filters of `gone`."""
    channels = [before + number for number in gone]
    return np.delete(kernel, gone, axis=3), np.delete(bias, gone), np.delete(reader, channels, axis=2)


def taylor_scores(maps, gradients):
    """Return the importance of each filter: (filters,)."""
    return np.abs((maps * gradients).sum(axis=(1, 2))).mean(axis=0)


def compared_scores(scores):
    """Return the scores, each layer divided by its norm."""
    return {name: score / (np.linalg.norm(score) or 1) for name, score in scores.items()}


def choose_least(scores, n):
    """Return the filters that go, as lists by layer."""
    every = sorted((score, name, i) for name, layer in scores.items() for i, score in enumerate(layer))
    gone = {name: [] for name in scores}
    for _, name, i in every:
        if n and len(gone[name]) < len(scores[name]) - 1:
            gone[name].append(i)
            n -= 1
    return {name: sorted(numbers) for name, numbers in gone.items() if numbers}
