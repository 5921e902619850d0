"""The checks of lab 11: sides of maps, fields of view, idle weights, the cost of a fire module, dead classes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals


def check_map_side(function: Callable[..., Any]) -> None:
    """Check the side of the map after a window."""

    def case(side, window, stride, padding, hint):
        ends = {"valid": side - window + 1, "up": side - window + stride, "same": side}
        places = range(0, ends[padding], stride)
        return Case((side, window, stride, padding), equals(len(places)), hint)

    check_cases(
        function,
        [
            case(
                8,
                3,
                1,
                "valid",
                "Put the window at the left edge, and count how often it can move before it leaves the map.",
            ),
            case(33, 7, 2, "valid", "The window moves two pixels at a time here."),
            case(14, 3, 2, "valid", "A last step that the window cannot make in full is not made."),
            case(8, 3, 1, "same", "With `same` and steps of one pixel the map keeps its side."),
            case(
                13,
                3,
                2,
                "same",
                "With `same`, every second pixel has a window, the first one too. The side may be odd.",
            ),
            case(13, 3, 2, "up", "With `up`, no further step is made when the last window ends where the map ends."),
            case(6, 3, 2, "up", "With `up`, one more step is made if the last window leaves a pixel unseen."),
            case(6, 1, 3, "same", "The side with `same` depends on the stride alone."),
        ],
    )


def check_field_of_view(function: Callable[..., Any]) -> None:
    """Check how many pixels a value sees."""

    def case(layers, hint):
        return Case((layers,), equals(_pixels_seen(layers)), hint)

    check_cases(
        function,
        [
            case([(7, 2)], "One window sees as many pixels as it has."),
            case([(3, 1), (3, 1)], "Two windows of 3 overlap: draw the pixels below both."),
            case([(3, 2), (3, 1)], "After a stride of 2, neighbours are two pixels of the image apart."),
            case([(3, 1), (3, 2)], "The stride of a layer matters for the layers after it, not for its own window."),
            case([(7, 2), (3, 2), (3, 1), (3, 2), (1, 1), (3, 1)], "Strides multiply along the way."),
        ],
    )


def _pixels_seen(layers):
    """Return the pixels on which one value depends, followed back place by place."""
    places = {0}
    for window, stride in reversed(layers):
        places = {place * stride + i for place in places for i in range(window)}
    return max(places) - min(places) + 1


def check_idle_weights(function: Callable[..., Any]) -> None:
    """Check the number of weights that never meet a pixel."""

    def case(window, side, hint):
        reach = range(-(window // 2), window // 2 + 1)
        met = sum(any(0 <= place + offset < side for place in range(side)) for offset in reach)
        return Case((window, side), equals(window**2 - met**2), hint)

    check_cases(
        function,
        [
            case(3, 8, "On a map larger than the filter every weight meets pixels at some place."),
            case(3, 1, "On a single pixel only one weight of the filter lies over the map."),
            case(
                3,
                2,
                "The filter stands at more than one place. A weight may meet zeros at one, and a pixel at another.",
            ),
            case(5, 2, "Move the filter over all places of the map, and mark the weights that ever meet a pixel."),
            case(7, 3, "Rows and columns are alike: count one of them first."),
        ],
    )


def check_fire_cost(function: Callable[..., Any]) -> None:
    """Check parameters and MACs of a fire module."""

    def case(inputs, squeeze, expand, side, hint, part=slice(None)):
        kernels = [
            np.empty((1, 1, inputs, squeeze)),
            np.empty((1, 1, squeeze, expand)),
            np.empty((3, 3, squeeze, expand)),
        ]
        parameters = sum(kernel.size + kernel.shape[-1] for kernel in kernels)
        macs = sum(kernel.size * side * side for kernel in kernels)
        expected = (parameters, macs)
        return Case((inputs, squeeze, expand, side), lambda result: equals(expected[part])(tuple(result)[part]), hint)

    check_cases(
        function,
        [
            case(
                8,
                2,
                4,
                1,
                "Count the parameters layer by layer: the expand filters read the squeezed channels.",
                slice(1),
            ),
            case(8, 2, 4, 1, "MACs multiply; a bias is only added."),
            case(8, 2, 4, 5, "The weights do not depend on the pixels.", slice(1)),
            case(8, 2, 4, 5, "Every weight is used once at each pixel of the map."),
            case(96, 16, 64, 7, "Try other numbers of channels: inputs, squeeze and expand play different parts."),
        ],
    )


def check_dead_classes(function: Callable[..., Any]) -> None:
    """Check which classes are 0 for all images."""
    maps = np.full((3, 2, 2, 4), -1.0)
    maps[:, :, :, 1] = 1  # alive everywhere
    maps[1, 0, 1, 2] = 0.5  # alive at one place of one image, though its mean is below zero
    maps[:, :, :, 3] = 0  # a sum of zero passes nothing on

    def says(numbers):
        return lambda result: np.shape(result) == (4,) and all(bool(result[i]) == (i in (0, 3)) for i in numbers)

    def case(numbers, hint):
        return Case((maps,), says(numbers), hint)

    check_cases(
        function,
        [
            case([0], "Class 0 is below zero at all places of all images. Return one truth value per class."),
            case([1], "Class 1 is above zero in all images: it is not dead."),
            case(
                [2],
                "Class 2 is above zero at one place of an image. The ReLU comes before the mean; one image is enough.",
            ),
            case([3], "A sum of exactly zero leaves the logit at 0."),
        ],
    )
