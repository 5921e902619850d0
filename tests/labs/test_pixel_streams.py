"""Lab 17: typical mistakes are told apart."""

from collections import deque

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fewbits.labs import pixel_streams as lab
from helpers.labs import tell_apart


def test_mistakes_in_the_slices():
    def unsigned(weights, bits):
        return np.array([weights >> 4 * n & 15 for n in range(bits // 4)])

    def highest_first(weights, bits):
        last = bits // 4 - 1
        return np.array([weights >> 4 * n if n == last else weights >> 4 * n & 15 for n in range(last + 1)])[::-1]

    def signed(weights, bits):
        low = ((weights & 15) ^ 8) - 8
        return np.array([low] if bits == 4 else [np.where(weights > 15, weights & 15, low), weights >> 4])

    def towards_zero(weights, bits):
        if bits == 4:
            return weights[None]
        return np.array([np.fmod(weights, 16), np.trunc(weights / 16)]).astype(int)

    def two(weights, bits):
        return weights[None] if bits == 4 else np.array([weights & 15, weights >> 4])

    tell_apart(
        (lab.check_slices, lambda weights, bits: weights, "Four bits are one slice"),
        (lab.check_slices, unsigned, "The last slice has the sign"),
        (lab.check_slices, highest_first, "The lowest slice comes first"),
        (lab.check_slices, signed, "A lower slice has no sign"),
        (lab.check_slices, towards_zero, "Below zero the sixteens"),
        (lab.check_slices, two, "has four slices"),
    )


def test_mistakes_in_the_windows():
    def windows(where=lambda n, width: n % width >= 2, turned=False, keep=None):
        def made(pixels, width):
            kept = deque(maxlen=2 * width + 3)
            for n, pixel in enumerate(pixels):
                kept.append(pixel)
                if len(kept) == kept.maxlen and where(n, width):
                    window = np.array([[kept[r * width + c] for c in range(3)] for r in range(3)])
                    yield window.T if turned else window

        return made

    def once(pixels, width):
        yield from list(windows()(pixels, width))[:1]

    def first_column(pixels, width):
        yield from windows(lambda n, width: n % width == 2)(pixels, width)

    def late(pixels, width):
        plane = np.array(list(pixels)).reshape(-1, width)
        yield from sliding_window_view(plane, (3, 3)).reshape(-1, 3, 3)

    tell_apart(
        (lab.check_windows, windows(turned=True), "the first row on top"),
        (lab.check_windows, once, "keep the last rows"),
        (lab.check_windows, first_column, "moves by one column"),
        (
            lab.check_windows,
            windows(lambda n, width: width == 3 and n % 3 == 2 or width > 3),
            "three pixels of the new row",
        ),
        (lab.check_windows, late, "before you read another"),
    )


def test_mistakes_in_the_cycles():
    def cycles(square=False, planes_read=True, again=True, full=True, side_counts=True, stride_reads=True):
        def made(height, width, planes, filters, side, stride, at_once):
            runs = (-(-filters // at_once) if full else filters / at_once) if again else 1
            pixels = height**2 if square else height * width
            total = runs * (planes if planes_read else 1) * pixels / (1 if stride_reads else stride**2)
            places = (height // stride) * (width // stride)
            products = places * planes * filters * (side**2 if side_counts else 9)
            return total, products / (9 * at_once * total)

        return made

    tell_apart(
        (lab.check_cycles, lambda *a: (9 * a[0] * a[1], 1.0), "One plane, one filter"),
        (lab.check_cycles, cycles(square=True), "height times width"),
        (lab.check_cycles, cycles(planes_read=False), "Each plane is read"),
        (lab.check_cycles, cycles(again=False), "each run reads all planes again"),
        (lab.check_cycles, cycles(full=False), "not full"),
        (lab.check_cycles, cycles(side_counts=False), "one multiplier in nine"),
        (lab.check_cycles, cycles(stride_reads=False), "reads all pixels"),
    )


def test_mistakes_in_the_layer():
    def layer(flat=False, last=False, biases=1, half=True, clip=True, total_only=False):
        def made(planes, weights, bias, shift, limits):
            if biases == 0:
                bias = bias * len(planes)
            part = slice(-1, None) if last else slice(None)
            windows = sliding_window_view(planes[part], (3, 3), (1, 2))
            sums = (windows * weights[part, None, None]).sum((0, 3, 4)) + bias
            codes = sums + ((1 << shift >> 1) if half else 0) >> shift
            codes = np.clip(codes, *limits) if clip else codes
            return codes.ravel() if flat and codes.size > 1 else codes

        return made

    tell_apart(
        (lab.check_engine_layer, lambda *a: np.array([[0]]), "nine products"),
        (lab.check_engine_layer, layer(flat=True), "in the shape of the places"),
        (lab.check_engine_layer, layer(last=True), "added to those that wait"),
        (lab.check_engine_layer, layer(biases=0), "once per plane"),
        (lab.check_engine_layer, layer(half=False), "rounds half up"),
        (lab.check_engine_layer, layer(clip=False), "between the limits"),
    )
