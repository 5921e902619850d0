"""Lab 11: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import small_images as lab
from helpers.labs import tell_apart


def test_mistakes_in_the_side_of_a_map():
    def side_by(valid, same, up):
        def map_side(side, window, stride, padding):
            return {"valid": valid, "same": same, "up": up}[padding](side, window, stride)

        return map_side

    def right(side, window, stride):
        return (side - window) // stride + 1

    def ceil(side, window, stride):
        return -(-side // stride)

    tell_apart(
        (lab.check_map_side, side_by(lambda s, w, d: (s - w) // d, ceil, right), "before it leaves the map"),
        (lab.check_map_side, side_by(lambda s, w, d: s - w + 1, ceil, right), "two pixels at a time"),
        (lab.check_map_side, side_by(lambda s, w, d: -((w - s) // d) + 1, ceil, right), "cannot make in full"),
        (lab.check_map_side, side_by(right, right, right), "keeps its side"),
        (lab.check_map_side, side_by(right, lambda s, w, d: s // d, right), "The side may be odd"),
        (lab.check_map_side, side_by(right, ceil, ceil), "no further step"),
        (lab.check_map_side, side_by(right, ceil, right), "leaves a pixel unseen"),
    )


def test_mistakes_in_the_field_of_view():
    def product(layers):
        return int(np.prod([window for window, _ in layers]))

    def sum_of_windows(layers):
        return 1 + sum(window - 1 for window, _ in layers)

    def own_stride(layers):
        view, jump = 1, 1
        for window, stride in layers:
            jump *= stride
            view += (window - 1) * jump
        return view

    def last_stride(layers):
        view, jump = 1, 1
        for window, stride in layers:
            view += (window - 1) * jump
            jump = stride
        return view

    def one_less(layers):
        return sum_of_windows(layers) - 1

    tell_apart(
        (lab.check_field_of_view, one_less, "as many pixels as it has"),
        (lab.check_field_of_view, product, "Two windows of 3"),
        (lab.check_field_of_view, sum_of_windows, "two pixels of the image apart"),
        (lab.check_field_of_view, last_stride, "multiply along the way"),
    )
    tell_apart((lab.check_field_of_view, own_stride, "as many pixels as it has"))


def test_mistakes_in_idle_weights():
    tell_apart(
        (lab.check_idle_weights, lambda window, side: window**2 - 1, "larger than the filter"),
        (lab.check_idle_weights, lambda window, side: 0, "On a single pixel"),
        (lab.check_idle_weights, lambda window, side: max(0, window**2 - side**2), "more than one place"),
        (lab.check_idle_weights, lambda window, side: 8 if side == 1 else 0, "mark the weights"),
    )


def test_mistakes_in_the_cost_of_a_fire_module():
    def cost(inputs, squeeze, expand, side, reads=None, biases=True, pixels=None, twice=1):
        weights = inputs * squeeze + 10 * (squeeze if reads is None else inputs) * expand
        added = squeeze + 2 * expand if biases else 0
        return (weights + added) * twice, weights * (side**2 if pixels is None else pixels(side))

    def with_biases(*given):
        parameters, _ = cost(*given)
        return parameters, parameters * given[-1] ** 2

    def by_pixels(*given):
        parameters, macs = cost(*given)
        return parameters * given[-1] ** 2, macs

    def wrong_reader(*given):
        return cost(*given, reads="inputs")

    def one_side(*given):
        return cost(*given, pixels=lambda side: side)

    tell_apart(
        (lab.check_fire_cost, lambda a, b, c, d: wrong_reader(a, b, c, d), "read the squeezed channels"),
        (lab.check_fire_cost, lambda a, b, c, d: with_biases(a, b, c, d), "a bias is only added"),
        (lab.check_fire_cost, lambda a, b, c, d: by_pixels(a, b, c, d), "do not depend on the pixels"),
        (lab.check_fire_cost, lambda a, b, c, d: one_side(a, b, c, d), "at each pixel of the map"),
    )


def test_mistakes_in_dead_classes():
    tell_apart(
        (lab.check_dead_classes, lambda maps: np.zeros(4, bool), "Class 0"),
        (lab.check_dead_classes, lambda maps: np.ones(4, bool), "Class 1"),
        (lab.check_dead_classes, lambda maps: maps.mean((0, 1, 2)) <= 0, "before the mean"),
        (lab.check_dead_classes, lambda maps: maps.max((0, 1, 2)) < 0, "exactly zero"),
    )
