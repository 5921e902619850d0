"""Solutions of lab 18."""

from itertools import product

import numpy as np


def unbeaten(points):
    """Return the names on the front, from the cheapest."""

    def beaten(cost, accuracy):
        return any(
            c <= cost and a >= accuracy and (c < cost or a > accuracy) for c, a in points.values()
        )

    front = [name for name, point in points.items() if not beaten(*point)]
    return sorted(front, key=lambda name: points[name][0])


def chosen(candidates, limit):
    """Return the name of the best within the limit, and its accuracy."""
    within = [each for each in candidates if each["cost"] <= limit]
    best = max(within, key=lambda each: (each["validation"], -each["cost"]))
    return best["name"], best["test"]


def predicted_sqnr(noise, bits, signal):
    """Return the predicted SQNR in decibels."""
    return 10 * np.log10(signal / sum(noise[name][n] for name, n in bits.items()))


def best_bits(noise, sizes, limit):
    """Return tensor -> bits with the least noise within the limit."""
    names = list(noise)
    every = (dict(zip(names, widths)) for widths in product(*(noise[name] for name in names)))
    within = (bits for bits in every if sum(sizes[name] * bits[name] for name in names) <= limit)
    return min(within, key=lambda bits: sum(noise[name][bits[name]] for name in names))
