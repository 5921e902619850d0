"""Lab 6: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import half_step as lab
from helpers.labs import tell_apart


def test_mistakes_in_the_mean_shift():
    def errors(kernel, quantized, step):
        return ((quantized - kernel) / step).reshape(-1, kernel.shape[-1])

    check = lab.check_mean_shift
    tell_apart(
        (check, lambda *given: errors(*given).mean(), "One number per filter"),
        (check, lambda kernel, quantized, step: errors(kernel, quantized, 1).mean(0), "counts in steps"),
        (check, lambda *given: -errors(*given).mean(0), "mind the sign"),
        (check, lambda *given: np.abs(errors(*given)).mean(0), "cancel in a mean"),
    )


def test_mistakes_in_the_window_sums():
    def sums(x, size):
        return np.lib.stride_tricks.sliding_window_view(x, (size, size), (0, 1)).sum((2, 3, 4))

    check = lab.check_window_sums
    tell_apart(
        (check, lambda x, size: sums(x, size) / size**2, "One window covers"),
        (check, lambda x, size: sums(x, size)[::size, ::size], "Windows overlap"),
        (check, lambda x, size: sums(x[..., :1], size), "all channels"),
    )


def test_mistakes_in_the_middle_of_a_step():
    check = lab.check_mid_step
    tell_apart(
        (check, lambda y, s, q: y - q / 2 * s[..., None], "Each weight rises"),
        (check, lambda y, s, q: q / 2 * s[..., None] + 0 * y, "not replaced"),
        (check, lambda y, s, q: y + s[..., None] / 2, "not always 1"),
        (check, lambda y, s, q: y + q / 2 * s.mean(), "One sum per place"),
    )


def test_mistakes_in_the_comparison():
    def paired(one, other, ddof=1, root=np.sqrt):
        gains = one.astype(int) - other
        return gains.mean(), gains.std(ddof=ddof) / root(len(gains))

    def unpaired(one, other):
        spread = sum(np.var(a) / len(a) for a in (one, other))
        return paired(one, other)[0], np.sqrt(spread)

    check = lab.check_compare
    tell_apart(
        (check, lambda one, other: (np.mean(one ^ other), 0.0), "when `one` reads fewer"),
        (check, lambda one, other: paired(other, one), "First number: the share"),
        (check, unpaired, "no image differs"),
        (check, lambda one, other: paired(one, other, ddof=0), "with n - 1"),
        (check, lambda one, other: paired(one, other, root=lambda n: 2.0), "surer than one image"),
    )
