"""The checks of lab 17: weights in slices, windows of a stream, and the cycles and codes of a layer."""

from collections.abc import Callable
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fewbits.labs.checking import Case, check_cases, equals


def check_slices(function: Callable[..., Any]) -> None:
    """Check how weights are cut into slices of four bits."""

    def case(weights, bits, hint):
        expected = [[_digit(weight, n, bits) for weight in weights] for n in range(bits // 4)]
        return Case((np.array(weights), bits), equals(np.array(expected)), hint)

    check_cases(
        function,
        [
            case([0, 3, 7], 4, "Four bits are one slice: the weight itself, in an array of shape (1, weights)."),
            case([-1, -8], 4, "The last slice has the sign: four bits of two's complement go from -8 to 7."),
            case([16, 35, 127], 8, "The lowest slice comes first; the next one counts sixteens."),
            case([15, 12, 31], 8, "A lower slice has no sign: its four bits go from 0 to 15."),
            case(
                [-1, -16, -100], 8, "Below zero the sixteens are rounded down, so that the lower slice stays positive."
            ),
            case([-30000, 21845], 16, "A weight of 16 bits has four slices."),
        ],
    )


def _digit(weight, n, bits):
    """Return the slice n of a weight, by division without a shift."""
    digit = floor(Fraction(weight, 16**n)) % 16
    return digit - 16 if n == bits // 4 - 1 and digit > 7 else digit


class _Pixels:
    """A stream that counts the pixels it has given."""

    def __init__(self, pixels):
        self.pixels, self.given = pixels, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.given == len(self.pixels):
            raise StopIteration
        self.given += 1
        return self.pixels[self.given - 1]


def check_windows(function: Callable[..., Any]) -> None:
    """Check the windows that a stream of pixels completes, and when each of them comes."""

    def windows_of(pixels, width):
        """Return each window, and how many pixels it took; None from a function without an answer."""
        stream, found = _Pixels(pixels), []
        windows = function(iter(stream), width)
        if windows is None:
            return None
        for window in windows:
            found.append((np.array(window), stream.given))
            if len(found) > len(pixels):
                break
        return found

    windows_of.__name__ = function.__name__

    def case(rows, columns, accepts, hint):
        plane = np.random.default_rng(17).integers(0, 256, (rows, columns))
        expected = sliding_window_view(plane, (3, 3)).reshape(-1, 3, 3)
        read = [(r + 2) * columns + c + 3 for r in range(rows - 2) for c in range(columns - 2)]
        return Case((plane.ravel().tolist(), columns), lambda found: accepts(found, expected, read), hint)

    def right(found, expected, read):
        return len(found) == len(expected) and all(np.array_equal(a, b) for (a, _), b in zip(found, expected))

    def in_time(found, expected, read):
        return [given for _, given in found] == read

    check_cases(
        windows_of,
        [
            case(3, 3, right, "Nine pixels are one window, with the first row on top."),
            case(5, 3, right, "When the next row is there, the window moves down by one: keep the last rows."),
            case(
                3, 6, right, "Within a row the window moves by one column with each pixel, in the order of the pixels."
            ),
            case(
                4,
                5,
                right,
                "At the start of a row the window has left the last one: it needs three pixels of the new row.",
            ),
            case(5, 4, in_time, "A window is complete when its last pixel arrives: yield it before you read another."),
        ],
    )


def check_cycles(function: Callable[..., Any]) -> None:
    """Check the cycles of a layer, and the share of the multipliers in use."""

    def case(height, width, planes, filters, side, stride, at_once, hint):
        runs = -(-filters // at_once)
        cycles = runs * planes * height * width
        products = (height // stride) * (width // stride) * planes * filters * side**2
        expected = cycles, products / (9 * at_once * cycles)
        return Case((height, width, planes, filters, side, stride, at_once), equals(expected), hint)

    check_cases(
        function,
        [
            case(8, 8, 1, 1, 3, 1, 1, "One plane, one filter: a cycle per pixel, and every multiplier works in each."),
            case(6, 10, 1, 1, 3, 1, 1, "A plane has height times width pixels."),
            case(8, 8, 5, 1, 3, 1, 1, "Each plane is read, and each has products of its own."),
            case(
                8, 8, 2, 8, 3, 1, 4, "The engine makes `at_once` filters in a run, and each run reads all planes again."
            ),
            case(8, 8, 2, 9, 3, 1, 4, "A run that is not full takes as many cycles as a full one."),
            case(8, 8, 2, 4, 1, 1, 4, "A kernel of 1x1 uses one multiplier in nine, in as many cycles."),
            case(8, 8, 2, 4, 3, 2, 4, "A stride leaves out places, and reads all pixels."),
        ],
    )


def check_engine_layer(function: Callable[..., Any]) -> None:
    """Check the codes of a layer, for one filter."""

    def case(planes, height, width, bias, shift, limits, hint, extreme=False):
        rng = np.random.default_rng(17)
        pixels = rng.integers(0, 16, (planes, height, width)) * (16 if extreme else 1)
        weights = rng.integers(-8, 8, (planes, 3, 3))
        sums = (sliding_window_view(pixels, (3, 3), (1, 2)) * weights[:, None, None]).sum((0, 3, 4)) + bias
        codes = [[floor(Fraction(int(s), 2**shift) + Fraction(1, 2)) for s in row] for row in sums]
        return Case((pixels, weights, bias, shift, limits), equals(np.clip(codes, *limits)), hint)

    wide = -(10**6), 10**6
    check_cases(
        function,
        [
            case(1, 3, 3, 0, 0, wide, "One window: nine products, one sum, in an array of shape (1, 1)."),
            case(
                1,
                5,
                6,
                0,
                0,
                wide,
                "A code per place, in the shape of the places: two rows and columns fewer than pixels.",
            ),
            case(3, 5, 4, 0, 0, wide, "The sums of the next plane are added to those that wait, place by place."),
            case(2, 5, 4, -37, 0, wide, "The bias is added once, not once per plane."),
            case(
                2,
                6,
                6,
                5,
                4,
                wide,
                "The shift comes after the last plane, and rounds half up: half a step goes in before it.",
            ),
            case(
                2,
                6,
                6,
                0,
                2,
                (0, 15),
                "A code stays between the limits, of which the lower one is the ReLU.",
                extreme=True,
            ),
        ],
    )
