"""Which rounding turns exact quotients into the codes that were computed.

A runtime adds up products of codes, and divides the sum, the accumulator, by the steps of an output step. The quotient
is known exactly; only its rounding is not. Each way of rounding is tried, and the one that explains the codes is named
if some codes contradict all other ways. Where none does, the ways that remain are named together.

Several arithmetics occur. Hardware shifts, which is exact. XNNPACK and ONNX Runtime multiply the sum by a factor in
float32. LiteRT's other kernels multiply by an integer of 31 bits and shift, and some round both results; those for
codes of 16 bits shorten the integer to 15 bits.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

EXACT, FLOAT32, ONCE, TWICE = "exact", "float32", "31-bit factor, rounded once", "31-bit factor, rounded twice"
SHORT = "15-bit factor, rounded once"
ARITHMETICS = (EXACT, FLOAT32, ONCE, TWICE, SHORT)
IN_WORDS = {TWICE: "nearest, rounded twice", SHORT: "nearest, 15-bit factor"}
"""Arithmetic that differs visibly from a rounding of the exact quotient -> what it is called."""
NEAREST = ("nearest", "nearest-up", "nearest-away")
NAMED = 0.99  # share of the codes that the named rounding must explain
CONTRADICTED = 0.9  # share of the decisive codes that it must explain if it does not explain all codes
FEWEST = 20  # decisive codes in that case


def _nearest_up(x: np.ndarray) -> np.ndarray:
    low = np.floor(x)
    return low + (x - low >= 0.5)


ROUND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "nearest": np.rint,
    "nearest-up": _nearest_up,
    "nearest-away": lambda x: np.sign(x) * _nearest_up(np.abs(x)),
    "floor": np.floor,
    "toward-zero": np.trunc,
    "ceiling": np.ceil,
}
"""Rounding -> its function of float64 numbers."""


class Way(NamedTuple):
    """One way of rounding.

    Attributes:
        rounding: One of ROUND.
        arithmetic: One of ARITHMETICS: how the quotient is computed.
    """

    rounding: str
    arithmetic: str = EXACT


class Naming(NamedTuple):
    """Which ways of rounding explain codes.

    Attributes:
        ways: The ways that remain, the simplest first; empty if none explains enough.
        best: The way that explains most.
        explained: The share of the judged codes that it explains.
        judged: How many codes were judged: those inside of the range of codes, where no clipping hides the rounding.
        decisive: How many codes tell the named rounding apart from the next best one.
        shares: For each rounding of ROUND, the share of the codes that it explains with the arithmetic that suits it
            best.
    """

    ways: tuple[Way, ...]
    best: Way
    explained: float
    judged: int
    decisive: int
    shares: dict[str, float]

    @property
    def roundings(self) -> tuple[str, ...]:
        """The roundings that remain, each once."""
        return tuple(dict.fromkeys(way.rounding for way in self.ways))

    @property
    def decided(self) -> bool:
        """Whether one rounding remains."""
        return len(self.roundings) == 1

    @property
    def name(self) -> str:
        """The rounding in words, or what is not decided."""
        if not self.judged:
            return "not decided"
        return in_words(self.ways) if self.ways else "none of these"


def in_words(ways: Sequence[Way]) -> str:
    """Return the roundings of ways that remain, in words.

    Example:
        >>> in_words([Way("nearest"), Way("nearest-up"), Way("nearest-up", ONCE)])
        'nearest, ties not decided'
        >>> in_words([Way("floor"), Way("toward-zero")])
        'floor or toward-zero'
    """
    found = dict.fromkeys(way.rounding for way in ways)
    arithmetics = {way.arithmetic for way in ways}
    if len(arithmetics) == 1 and arithmetics <= IN_WORDS.keys():
        return IN_WORDS[arithmetics.pop()]
    return "nearest, ties not decided" if len(found) > 1 and found.keys() <= set(NEAREST) else " or ".join(found)


def requantized(sums: np.ndarray, factors: np.ndarray, way: Way) -> np.ndarray:
    """Return accumulators times factors, rounded in one way and not clipped.

    Args:
        sums: Accumulators, integers in float64, (..., filters).
        factors: What each filter's accumulator is multiplied by, (filters,) float64.
        way: How.

    Returns:
        Codes, integers in float64.
    """
    if way.arithmetic == EXACT:
        return ROUND[way.rounding](sums * factors)
    if way.arithmetic == FLOAT32:
        return ROUND[way.rounding]((sums.astype(np.float32) * factors.astype(np.float32)).astype(np.float64))
    mantissas, exponents = np.frexp(factors)
    integers, shifts = np.rint(mantissas * 2**31).astype(np.int64), 31 - exponents.astype(np.int64)
    if way.arithmetic == SHORT:
        integers, shifts = np.minimum((integers + 2**15) >> 16, 2**15 - 1), shifts - 16
    products = np.rint(sums).astype(np.int64) * integers
    if way.arithmetic in (ONCE, SHORT):
        return _shifted_up(products, shifts).astype(np.float64)
    high = _shifted_up(products, np.minimum(shifts, 31))
    rest = np.maximum(shifts - 31, 0)
    return (np.sign(high) * _shifted_up(np.abs(high), rest)).astype(np.float64)


def _shifted_up(numbers: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return integers divided by 2**shifts, rounded to nearest, ties up."""
    return (numbers + np.where(shifts > 0, 1 << np.maximum(shifts - 1, 0), 0)) >> shifts


def output_ways(sums: np.ndarray, factors: np.ndarray) -> Iterator[Way]:
    """Yield the ways in which accumulators may have been rounded, those that a shift allows first.

    Args:
        sums: As in `requantized`.
        factors: As in `requantized`.

    Yields:
        Ways; those in float32 only where it is not exact.
    """
    yield from (Way(rounding) for rounding in ROUND)
    powers = (np.frexp(factors)[0] == 0.5).all()
    if not powers or np.abs(sums).max(initial=0) > 2**24:
        yield from (Way(rounding, FLOAT32) for rounding in ROUND)
    yield from (Way("nearest-up", ONCE), Way("nearest-away", TWICE), Way("nearest-up", SHORT))


def name_rounding(codes: np.ndarray, quotients: np.ndarray, ways: dict[Way, np.ndarray]) -> Naming:
    """Name the ways of rounding that explain codes.

    Args:
        codes: What was computed, integers in float64, without a zero point; NaN is not judged.
        quotients: The exact quotients, of the same shape.
        ways: Way -> what it makes of the quotients, not clipped; the simplest first.

    Returns:
        The ways. Codes whose quotient is not between the smallest and the largest code are not judged, because the
        runtime clips them.
    """
    low, high = np.nanmin(codes), np.nanmax(codes)
    inside = (quotients >= low) & (quotients <= high) & np.isfinite(codes)
    right = {way: (codes == np.clip(made, low, high))[inside] for way, made in ways.items()}
    judged = int(inside.sum())
    missed = {way: judged - int(hits.sum()) for way, hits in right.items()}
    best = min(missed, key=lambda way: missed[way])  # the first of those that miss least
    shares = {
        rounding: max(1 - missed[way] / judged for way in ways if way.rounding == rounding) if judged else 0.0
        for rounding in dict.fromkeys(way.rounding for way in ways)
    }
    if not judged or missed[best] > (1 - NAMED) * judged:
        return Naming((), best, shares[best.rounding], judged, 0, shares)
    apart = {way: right[best] != hits for way, hits in right.items()}
    remaining = tuple(way for way in ways if not _contradicted(right[best], apart[way], missed[best]))
    others = [way for way in ways if way.rounding != best.rounding]
    decisive = min((int(apart[way].sum()) for way in others), default=0)
    return Naming(remaining, best, shares[best.rounding], judged, decisive, shares)


def _contradicted(right: np.ndarray, apart: np.ndarray, missed: int) -> bool:
    """Return whether codes contradict a way: where it differs from the best one, this one is right."""
    n = int(apart.sum())
    if not missed:
        return n > 0
    return n >= FEWEST and int((right & apart).sum()) >= CONTRADICTED * n
