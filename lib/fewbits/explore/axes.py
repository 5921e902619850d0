"""Logarithmic axes whose ticks are plain numbers: 10, 20, 50, 100."""

from collections.abc import Iterable
from math import ceil, floor, log10
from numbers import Real
from typing import Any

BEYOND = 3  # decades with ticks on either side of the values, because a control can lead there


def log_axis(values: Iterable[Any], **axis: Any) -> dict[str, Any]:
    """Return a logarithmic axis of Plotly's for some values.

    Plotly by itself labels the ticks between powers of ten with their first digit alone: 1, 2, 5, 10, 2, 5.

    Args:
        values: What is drawn along the axis; only positive numbers can be.
        **axis: More of Plotly's axis; with `tickvals` or `dtick`, the ticks are those.

    Example:
        >>> log_axis([0.2, 3])["tickvals"][9:15]
        [0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
    """
    axis = {"type": "log", **axis}
    drawn = [float(value) for value in values if isinstance(value, Real) and float(value) > 0]
    if not drawn or "tickvals" in axis or "dtick" in axis:
        return axis
    low, high = min(drawn), max(drawn)
    decades = range(floor(log10(low)) - BEYOND, ceil(log10(high)) + BEYOND)
    ticks = [float(f"{digit}e{decade}") for decade in decades for digit in _digits(log10(high / low))]
    return {"tickvals": ticks, "tickformat": "~s" if high >= 10_000 else ",~r", **axis}


def _digits(decades: float) -> tuple[float, ...]:
    """Return the first digits of the ticks between two powers of ten."""
    if decades < 1:
        return 1, 1.5, 2, 3, 4, 5, 7
    return (1, 2, 5) if decades < 3 else (1,)
