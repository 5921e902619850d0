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
