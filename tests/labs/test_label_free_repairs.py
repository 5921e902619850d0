"""Lab 7: typical mistakes are told apart."""

from itertools import product

import numpy as np

from fewbits.labs import label_free_repairs as lab
from helpers.labs import tell_apart


def test_mistakes_in_the_folded_bias():
    def shift(kernel, rounded, x):
        return x.mean(0) @ (rounded - kernel)

    check = lab.check_folded_bias
    tell_apart(
        (check, lambda b, k, r, x: -shift(k, r, x), "Nothing was rounded"),
        (check, lambda b, k, r, x: b + shift(k, r, x), "rise or fall"),
        (check, lambda b, k, r, x: b - (r - k).sum(0), "where the input is larger"),
        (check, lambda b, k, r, x: b - x.mean() * (r - k).mean(0), "means per input"),
    )


def test_mistakes_in_the_order():
    def biases(layers, rounded, x, relu=True, in_order=True, after=False, chained=True):
        wanted, got, found = x, x, []
        for (kernel, bias), other in zip(layers, rounded):
            sums, others = wanted @ kernel + bias, got @ other
            if after:
                found.append(bias + np.maximum(sums, 0).mean(0) - np.maximum(others + bias, 0).mean(0))
            else:
                found.append((sums - others).mean(0))
            wanted, got = (
                (np.maximum(sums, 0), np.maximum(others + found[-1], 0)) if relu else (sums, others + found[-1])
            )
            got = got if in_order else wanted
            wanted, got = (wanted, got) if chained else (x, x)
        return found

    def added(layers, rounded, x):
        return [bias + (x @ (k - r)).mean(0) if len(layers) == 1 else bias for (k, bias), r in zip(layers, rounded)]

    check = lab.check_biases_in_order
    check(biases)
    tell_apart(
        (check, lambda *given: [b - layer[1] for b, layer in zip(biases(*given), given[0])], "it is the old bias"),
        (check, lambda *given: biases(*given, after=True), "before the ReLU"),
        (check, added, "Two layers"),
        (check, lambda *given: biases(*given, relu=False), "After each layer"),
        (check, lambda *given: biases(*given, in_order=False), "the repaired first one"),
    )


def test_mistakes_in_equal_channels():
    def scaled(power=0.5, with_bias=True, back=True, transposed=False):
        def equalize(first, bias, second):
            s = (np.abs(first).max(0) / np.abs(second).max(1)) ** power
            new = second * s[:, None] if back else second / s[:, None]
            return (first / s).T if transposed else first / s, bias / s if with_bias else bias, new

        return equalize

    check = lab.check_equalize
    tell_apart(
        (check, scaled(transposed=True), "the shapes they had"),
        (check, scaled(back=False), "must give back"),
        (check, scaled(with_bias=False), "on the whole sum"),
        (check, scaled(power=1), "as large as"),
    )


def test_mistakes_in_the_best_codes():
    def of_least(error, low=np.floor):
        def best_codes(weights, x, step):
            ways = [low(weights / step) + up for up in product((0, 1), repeat=len(weights))]
            return min(ways, key=lambda codes: error(x @ (codes * step - weights))).astype(int)

        return best_codes

    right = of_least(lambda e: np.sum(e**2))
    check = lab.check_best_codes
    check(right)
    tell_apart(
        (check, lambda w, x, q: right(w, x, q) * q, "Another step"),
        (check, lambda w, x, q: np.round(w / q), "rise together"),
        (check, of_least(lambda e: abs(e.mean())), "count as squares"),
    )
    tell_apart((check, lambda w, x, q: np.floor(w / q), "each weight for itself"))
