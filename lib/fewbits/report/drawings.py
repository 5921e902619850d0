"""Drawings of a report as inline SVG: their colours are those of the page, so they follow light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

MARKS = "circle", "square"  # series differ by mark and dash, not by colour alone
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 280, 66, 12, 18, 40


@dataclass(frozen=True)
class Series:
    """Points of one line.

    Attributes:
        name: What the legend says.
        values: One per place on the axis; None where there is none.
        intervals: The ends of each value's interval; empty for none.
    """

    name: str
    values: Sequence[float | None]
    intervals: Sequence[tuple[float, float]] = ()


def interval_chart(
    places: Sequence[str], series: Sequence[Series], label: str, level: tuple[str, float] | None = None
) -> str:
    """Return lines of shares with their intervals.

    Args:
        places: What stands on the horizontal axis.
        series: The lines, two at most.
        label: Text alternative.
        level: Name and value of a horizontal line.
    """
    chart = _Chart(len(places), 0.0, 1.0)
    parts = chart.grid([(value / 4, f"{25 * value} %") for value in range(5)])
    parts += [chart.below(i, place) for i, place in enumerate(places)]
    if level:
        y = chart.y(level[1])
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="note" x="{WIDTH - RIGHT}" y="{y - 4:.1f}" text-anchor="end">{escape(level[0])}</text>'
        )
    parts += [part for i, line in enumerate(series) for part in chart.line(i, line)]
    return _svg(parts, label)


def decibel_chart(series: Sequence[Series], label: str) -> str:
    """Return lines of decibels over the layers of a network, which are numbered from 1.

    Args:
        series: The lines, two at most.
        label: Text alternative.
    """
    found = [value for line in series for value in line.values if value is not None and isfinite(value)]
    low, high = min(0.0, *found), max(10.0, *found)
    chart, step = _Chart(len(series[0].values), low, high), 5 if high - low <= 30 else 10 if high - low <= 80 else 40
    first = int(low // step) * step
    parts = chart.grid([(y, f"{y} dB") for y in range(first, int(high) + 1, step) if y >= low])
    n = len(series[0].values)
    every = max(1, n // 12)
    parts += [chart.below(i, str(i + 1)) for i in range(0, n, every)]
    parts += [part for i, line in enumerate(series) for part in chart.line(i, line)]
    return _svg(parts, label)


def value_histogram(
    counts: Sequence[int], low: float, high: float, clip: tuple[float, float], middle: tuple[float, float], label: str
) -> str:
    """Return a small histogram with the range of its format.

    Args:
        counts: Of equal bins from `low` to `high`.
        low: The smallest value.
        high: The largest value.
        clip: The limits of the format: values beyond them are clipped.
        middle: The limits of the percentile that set it.
        label: Text alternative.
    """
    width, height, most = 200, 64, max(counts) or 1
    left, right = min(low, clip[0]), max(high, clip[1])
    across = (right - left) or 1.0

    def x(value: float) -> float:
        return (value - left) / across * width

    bar = max((high - low) / len(counts) / across * width, 0.5)
    starts = [x(low + i * (high - low) / len(counts)) for i in range(len(counts))]
    bins = [
        f"M{start:.1f} {height}v{-height * (count / most) ** 0.5:.1f}h{bar:.1f}V{height}z"
        for start, count in zip(starts, counts)
        if count
    ]
    band = (
        f'<rect class="band" x="{x(middle[0]):.1f}" y="0" width="{x(middle[1]) - x(middle[0]):.1f}" height="{height}"/>'
    )
    clips = "".join(f'<line class="clip" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="0" y2="{height}"/>' for at in clip)
    body = f'{band}<path class="bins" d="{"".join(bins)}"/>{clips}'
    return (
        f'<svg class="histogram" viewBox="-1 -1 {width + 2} {height + 2}" role="img" aria-label="{escape(label)}" '
        f'preserveAspectRatio="none">{body}</svg>'
    )


class _Chart:
    """Places along a horizontal axis and values along a vertical one."""

    def __init__(self, n: int, low: float, high: float):
        self.n, self.low, self.high = n, low, high

    def x(self, i: int) -> float:
        return LEFT + (i + 0.5) / self.n * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def grid(self, levels: Sequence[tuple[float, str]]) -> list[str]:
        return [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(at):.1f}" y2="{self.y(at):.1f}"/>'
            f'<text x="{LEFT - 6}" y="{self.y(at) + 4:.1f}" text-anchor="end">{escape(text)}</text>'
            for at, text in levels
        ]

    def below(self, i: int, text: str) -> str:
        return f'<text x="{self.x(i):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{escape(text)}</text>'

    def line(self, number: int, series: Series) -> list[str]:
        kind = f"s{number + 1}"
        shown = [(i, v) for i, v in enumerate(series.values) if v is not None and isfinite(v)]
        path = "L".join(f"{self.x(i):.1f} {self.y(v):.1f}" for i, v in shown)
        parts = [f'<path class="line {kind}" d="M{path}"/>'] if len(shown) > 1 else []
        parts += [
            f'<path class="bar {kind}" d="M{self.x(i):.1f} {self.y(low):.1f}V{self.y(high):.1f}"/>'
            for i, (low, high) in enumerate(series.intervals)
        ]
        return parts + [mark(kind, MARKS[number], self.x(i), self.y(v)) for i, v in shown]


def mark(kind: str, shape: str, x: float, y: float) -> str:
    """Return the mark of a point.

    Args:
        kind: Class of the series.
        shape: One of MARKS.
        x: Where it is.
        y: Where it is.
    """
    if shape == "circle":
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    return f'<rect class="{kind}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'


def _svg(parts: Sequence[str], label: str) -> str:
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg class="chart" {box} role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
