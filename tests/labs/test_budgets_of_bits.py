"""Lab 18: typical mistakes are told apart."""

from itertools import product

import numpy as np

from fewbits.labs import budgets_of_bits as lab
from helpers.labs import tell_apart


def test_mistakes_in_the_front():
    def front(beats, key=lambda cost, accuracy: cost):
        def unbeaten(points):
            names = [n for n, p in points.items() if not any(beats(*q, *p) for m, q in points.items() if m != n)]
            return sorted(names, key=lambda name: key(*points[name]))

        return unbeaten

    def right(c, a, cost, accuracy):
        return c <= cost and a >= accuracy and (c, a) != (cost, accuracy)

    def by_cost(c, a, cost, accuracy):
        return c < cost and a >= accuracy

    tell_apart(
        (lab.check_unbeaten, front(right, lambda cost, accuracy: -cost), "the cheapest comes first"),
        (lab.check_unbeaten, lambda points: sorted(points, key=lambda name: points[name][0]), "a beats it"),
        (lab.check_unbeaten, front(lambda c, a, cost, accuracy: c < cost and a > accuracy), "one of the two is enough"),
        (lab.check_unbeaten, front(by_cost), "and one reads better"),
        (lab.check_unbeaten, front(lambda c, a, cost, accuracy: c <= cost and a >= accuracy), "so both stay"),
    )


def test_mistakes_in_the_choice():
    def choice(chooses="validation", reports="test", cheapest=True, strict=False):
        def chosen(candidates, limit):
            within = [c for c in candidates if c["cost"] < limit or c["cost"] == limit and not strict]
            best = max(within, key=lambda c: (c[chooses], -c["cost"] if cheapest else 0))
            return best["name"], best[reports]

        return chosen

    def no_limit(candidates, limit):
        return "large", 0.95

    tell_apart(
        (lab.check_chosen, no_limit, "is no candidate"),
        (lab.check_chosen, choice(chooses="test"), "should not have chosen"),
        (lab.check_chosen, choice(strict=True), "is within it"),
        (lab.check_chosen, choice(cheapest=False), "the cheapest is chosen"),
        (lab.check_chosen, choice(reports="validation"), "What you report"),
    )


def test_mistakes_in_the_prediction():
    def parts(noise, bits):
        return [noise[name][n] for name, n in bits.items()]

    tell_apart(
        (
            lab.check_predicted_sqnr,
            lambda noise, bits, s: 20 * np.log10(s / sum(parts(noise, bits))),
            "ten times the logarithm",
        ),
        (
            lab.check_predicted_sqnr,
            lambda noise, bits, s: -10 * np.log10(sum(parts(noise, bits))),
            "The signal has a power",
        ),
        (
            lab.check_predicted_sqnr,
            lambda noise, bits, s: 10 * np.log10(s / np.mean(parts(noise, bits))),
            "no mean is taken",
        ),
        (
            lab.check_predicted_sqnr,
            lambda noise, bits, s: 10 * np.log10(s / sum(noise[name][next(reversed(bits.values()))] for name in bits)),
            "its own number of bits",
        ),
    )


def test_mistakes_in_the_best_bits():
    def best(size=lambda sizes, name: sizes[name], within=lambda spent, limit: spent <= limit):
        def best_bits(noise, sizes, limit):
            every = (dict(zip(noise, widths)) for widths in product(*noise.values()))
            fit = [b for b in every if within(sum(size(sizes, n) * b[n] for n in b), limit)]
            return min(fit, key=lambda b: sum(noise[n][b[n]] for n in b))

        return best_bits

    def step_by_step(noise, sizes, limit):
        widths = {name: sorted(of) for name, of in noise.items()}
        bits = {name: of[-1] for name, of in widths.items()}
        while sum(sizes[n] * bits[n] for n in bits) > limit:
            prices = {}
            for name, now in bits.items():
                if now > widths[name][0]:
                    lower = widths[name][widths[name].index(now) - 1]
                    prices[name] = (noise[name][lower] - noise[name][now]) / (sizes[name] * (now - lower)), lower
            cheapest = min(prices, key=prices.get)
            bits[cheapest] = prices[cheapest][1]
        return bits

    tell_apart(
        (lab.check_best_bits, lambda noise, sizes, limit: dict.fromkeys(noise, 2), "saved without need"),
        (
            lab.check_best_bits,
            best(within=lambda spent, limit: spent < limit or spent == limit == 160),
            "equal to the limit",
        ),
        (lab.check_best_bits, best(size=lambda sizes, name: 10), "pays more for each bit"),
        (lab.check_best_bits, step_by_step, "Step by step"),
    )
