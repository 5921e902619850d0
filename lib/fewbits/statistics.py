"""How sure a measured share or mean is."""

from math import sqrt

from fewbits.errors import InputError


def wilson_interval(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a share of `hits` out of `n`; z = 1.96 gives 95 % confidence.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    if n < 1 or not 0 <= hits <= n:
        raise InputError(f"a share needs 0 <= hits <= n and n >= 1, not {hits} of {n}")
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def mean_interval(values, confidence: float = 0.95) -> tuple[float, float]:
    """Return the mean of `values` and half the width of its confidence interval, by Student's t distribution.

    values: at least two, one a seed. The interval covers what differs between them, not what they have in common, such
    as the test images. Source: Student, The probable error of a mean, 1908.
    """
    from scipy.stats import t

    n = len(values)
    if n < 2:
        raise InputError(f"an interval needs at least two values, not {n}")
    middle = sum(values) / n
    deviation = sqrt(sum((value - middle) ** 2 for value in values) / (n - 1))
    return middle, float(t.ppf((1 + confidence) / 2, n - 1)) * deviation / sqrt(n)


def paired_difference(first, second, z: float = 1.96) -> tuple[float, float]:
    """Return the share of hits of `first` less that of `second`, and half the width of its confidence interval.

    first, second: (n,) bool, answers to the same n images. What both get right, or wrong, tells nothing, so that the
    interval is far narrower than those of the two shares. z = 1.96 gives 95 % confidence. Source: McNemar, Note on the
    sampling error of the difference between correlated proportions or percentages, 1947.
    """
    n = len(first)
    if n < 1 or len(second) != n:
        raise InputError(f"answers to the same images are needed, not {n} and {len(second)}")
    gained = sum(bool(a) and not b for a, b in zip(first, second))
    lost = sum(bool(b) and not a for a, b in zip(first, second))
    difference = (gained - lost) / n
    return difference, z * sqrt(max(0.0, (gained + lost) / n - difference**2) / n)
