"""Lab 8: typical mistakes are told apart."""

import math

import numpy as np

from fewbits.labs import affine_codes as lab
from helpers.labs import tell_apart


def test_mistakes_in_the_span():
    def of(low, high, steps, whole=round, with_zero=True):
        low, high = (min(low, 0.0), max(high, 0.0)) if with_zero else (low, high)
        scale = (high - low) / steps
        return scale, whole(-low / scale)

    check = lab.check_span
    tell_apart(
        (check, lambda low, high, n: of(low, high, 2**n), "fifteen steps"),
        (check, lambda low, high, n: of(low, high, 2**n - 1, lambda z: -round(z)), "code 0 stands for"),
        (check, lambda low, high, n: of(low, high, 2**n - 1, float), "it is an integer"),
        (check, lambda low, high, n: of(low, high, 2**n - 1, with_zero=False), "lie above it"),
        (check, lambda low, high, n: of(min(low, 0.0), high, 2**n - 1, with_zero=False), "lie below it"),
    )


def test_mistakes_in_the_codes():
    def codes(x, scale, zero, low, high, rounding=np.round):
        return np.clip(rounding(x / scale) + zero, low, high).astype(int)

    check = lab.check_affine_encode
    tell_apart(
        (check, lambda x, s, z, n: s * codes(x, s, z, 0, 2**n - 1), "code of 0 is"),
        (check, lambda x, s, z, n: codes(x, s, 0, 0, 2**n - 1), "moves all codes"),
        (check, lambda x, s, z, n: codes(x, s, z, 0, 2**n - 1, np.floor), "nearest one"),
        (check, lambda x, s, z, n: codes(x, s, z, -(2 ** (n - 1)), 2**n - 1), "end at 0"),
        (check, lambda x, s, z, n: codes(x, s, z, 0, 2**n), "The largest of"),
        (
            check,
            lambda x, s, z, n: (
                codes(np.clip(x, -s * z, 2), s, z, 0, 2**n - 1) if n == 4 else codes(x, s, z, 0, 2**n - 1)
            ),
            "not the values",
        ),
    )


def test_mistakes_in_the_product():
    def product(kx, kw, zx, zw, kernel=1, inputs=1, both=1, dtype=np.int64):
        kx, kw = kx.astype(dtype), kw.astype(dtype)
        corrected = kx @ kw - kernel * zx * kw.sum(0) - inputs * zw * kx.sum(1, keepdims=True)
        return corrected + both * len(kw) * zx * zw

    check = lab.check_product_of_codes
    tell_apart(
        (check, lambda kx, kw, zx, zw: (kx - zx).T @ (kx - zx), "Without zero points"),
        (check, lambda *given: product(*given, kernel=-1), "one sum per filter"),
        (check, lambda *given: product(*given, inputs=0), "one sum per image"),
        (check, lambda kx, *given: product(kx, *given, both=1 / kx.shape[1]), "once for each"),
        (check, lambda kx, kw, zx, zw: product(kx, kw, zx, zw, dtype=kx.dtype), "more bits"),
    )


def test_mistakes_in_the_multiplier():
    def of(bits=31, whole=round, sign=1, carry=True):
        def multiplier(factor):
            fraction, exponent = math.frexp(factor)
            m, shift = whole(fraction * 2**bits), bits - exponent
            return (m // 2, sign * (shift - 1)) if carry and m == 2**bits else (m, sign * shift)

        return multiplier

    def fixed_shift(factor):
        return round(factor * 2**32), 32

    check = lab.check_multiplier
    tell_apart(
        (check, lambda factor: (factor * 2**31, 31), "Return two integers"),
        (check, of(sign=-1), "is it the factor"),
        (check, of(bits=16), "all of 31 bits"),
        (check, of(whole=lambda v: int(v) - 1), "not the one below"),
        (check, fixed_shift, "too"),
        (check, of(carry=False), "one bit too many"),
    )
