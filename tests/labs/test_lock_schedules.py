"""Lab 9: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import lock_schedules as lab
from fewbits.quantization import FixedPoint, is_clipped, quantize
from helpers.labs import tell_apart


def test_mistakes_in_the_stages():
    def stages(levels, strategy, only=False, late=0, last=False, train_locks=False, twice=False):
        found = []
        for n in range(len(levels)):
            quantized = levels[n : n + 1] if only else levels[: n + 1]
            locked = levels[n : n + 1] if last else levels[: n + 1 - late]
            locks = strategy == "lock" or train_locks
            found.append(([] if locks and twice else quantized, locked if locks else []))
        return found

    check = lab.check_stages
    check(stages)
    tell_apart(
        (check, lambda levels, s: [(levels, [])] * (len(levels) + 1), "One level has one stage"),
        (check, lambda levels, s: stages(levels, s, only=True), "those before it stay"),
        (check, lambda levels, s: stages(levels, s, train_locks=True), "none is locked"),
        (check, lambda levels, s: stages(levels, s, twice=True), "are quantized, too"),
        (check, lambda levels, s: stages(levels, s, late=1), "not in the next one"),
    )
    tell_apart((check, lambda levels, s: stages(levels, s, last=True), "in the stage that quantizes"))


def test_mistakes_in_the_gradient():
    def where(kept):
        return lambda w, upstream, msb, nbits: np.where(kept(w, FixedPoint(msb, nbits)), upstream, 0)

    check = lab.check_straight_through
    tell_apart(
        (check, where(lambda w, fmt: w != w), "what comes in goes out"),
        (check, lambda w, upstream, msb, nbits: upstream, "Far above"),
        (check, where(lambda w, fmt: w < fmt.max_value), "Far below"),
        (check, where(lambda w, fmt: abs(w) <= fmt.amplitude), "Which code would"),
        (check, where(lambda w, fmt: (w >= fmt.min_value) & (w <= fmt.max_value)), "rounds to the last mark"),
        (check, where(lambda w, fmt: (w >= fmt.min_value) & ~is_clipped(w, fmt, "nearest-up")), "to the lowest mark"),
    )


def test_mistakes_in_the_step():
    def free(w, v, g, rate):
        new = 0.9 * v - rate * g
        return w + new, new

    def gradient_only(w, v, g, locked, rate):
        return free(w, v, np.where(locked, 0, g), rate)

    def no_lock(w, v, g, locked, rate):
        return free(w, v, g, rate)

    def no_momentum(w, v, g, locked, rate):
        return np.where(locked, w, w - rate * g), -rate * g

    def old_velocity(w, v, g, locked, rate):
        new = 0.9 * v - rate * g
        return np.where(locked, w, w + (v if np.all(v) and np.all(g) else new)), new

    def all_locked(w, v, g, locked, rate):
        return (w, v) if locked.any() else free(w, v, g, rate)

    check = lab.check_step_with_locks
    tell_apart(
        (check, lambda w, v, g, locked, rate: free(w, v, -g, rate), "against its gradient"),
        (check, no_momentum, "nine tenths"),
        (check, old_velocity, "not the old one"),
        (check, no_lock, "does not follow its gradient"),
        (check, gradient_only, "old velocity either"),
        (check, all_locked, "the other is not"),
    )


def test_mistakes_in_the_quantized_gradient():
    def gradient(w, x, y, msb, nbits, few=True, mean=True, mask=True, two=2):
        fmt = FixedPoint(msb, nbits)
        off = x @ (quantize(w, fmt, "nearest-up") if few else w) - y
        found = two * x.T @ off / (len(y) if mean else 1)
        return np.where(is_clipped(w, fmt, "nearest-up"), 0, found) if mask else found

    check = lab.check_quantized_gradient
    tell_apart(
        (check, lambda *given: gradient(*given, two=1), "the slope of"),
        (check, lambda *given: gradient(*given, mean=False), "the loss is a mean"),
        (check, lambda *given: gradient(*given, few=False), "as the device will"),
        (check, lambda *given: gradient(*given, mask=False), "has no gradient"),
    )
