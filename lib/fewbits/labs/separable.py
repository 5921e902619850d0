"""The checks of lab 12: a depthwise separable convolution, its cost, and the two levers, width and resolution."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals

_LAYERS = (
    {"side": 9, "inputs": 3, "outputs": 10, "window": 3},
    {"side": 5, "inputs": 10, "outputs": 24, "window": 5},
)


def check_separable(function: Callable[..., Any]) -> None:
    """Check a depthwise separable convolution."""
    rng = np.random.default_rng(3)

    def case(image, filters, mixing, hint):
        windows = np.lib.stride_tricks.sliding_window_view(image, filters.shape[:2], (0, 1))  # (y, x, inputs, i, j)
        return Case((image, filters, mixing), equals(np.einsum("yxcij,ijc,cn->yxn", windows, filters, mixing)), hint)

    one = rng.normal(size=(3, 3, 1))
    even = one + one.transpose(1, 0, 2)
    check_cases(
        function,
        [
            case(
                rng.normal(size=(4, 4, 1)),
                np.ones((1, 1, 1)),
                np.eye(1),
                "This filter and this mixing leave the image as it is.",
            ),
            case(
                one,
                even + even[::-1, ::-1],
                np.eye(1),
                "One place is left: the sum of the products of image and filter.",
            ),
            case(
                one,
                np.arange(9.0).reshape(3, 3, 1),
                np.eye(1),
                "The filter lies over the image as it is, neither flipped nor transposed.",
            ),
            case(
                rng.normal(size=(5, 4, 1)),
                rng.normal(size=(3, 3, 1)),
                np.eye(1),
                "Height and width differ here; each loses a window less one.",
            ),
            case(
                rng.normal(size=(4, 4, 2)),
                rng.normal(size=(2, 2, 2)),
                np.eye(2),
                "Each channel has a filter of its own; the first half does not mix them.",
            ),
            case(
                rng.normal(size=(4, 4, 2)),
                rng.normal(size=(2, 2, 2)),
                rng.normal(size=(2, 5)),
                "The second half mixes the channels at each pixel.",
            ),
        ],
    )


def _counted(side, inputs, outputs, window):
    """Return the weights and MACs, counted from arrays of the shapes."""
    weights = np.empty((window, window, inputs)).size + np.empty((inputs, outputs)).size
    return weights, weights * np.empty((side, side)).size


def check_separable_cost(function: Callable[..., Any]) -> None:
    """Check the weights and MACs of a separable convolution."""

    def case(arguments, part, hint):
        expected = _counted(*arguments)[part]
        return Case(arguments, lambda result: len(result) == 2 and equals(expected)(result[part]), hint)

    check_cases(
        function,
        [
            case(
                (1, 4, 1, 3),
                0,
                "The depthwise half has one filter per input channel. Return two numbers, weights first.",
            ),
            case((1, 4, 6, 3), 0, "The depthwise half knows nothing of the outputs; the second half is a matrix."),
            case((7, 4, 6, 3), 0, "The weights do not depend on the pixels."),
            case((7, 4, 6, 3), 1, "Each weight is used once at each pixel of a map with two sides."),
            case((5, 8, 3, 5), 1, "Try another window than 3."),
        ],
    )


def check_scaled_layers(function: Callable[..., Any]) -> None:
    """Check the layers of a narrower network for smaller images."""

    def case(width, resolution, key, expected, hint):
        def accepts(result):
            return len(result) == len(expected) and equals(tuple(expected))(tuple(layer[key] for layer in result))

        return Case((list(_LAYERS), width, resolution), accepts, hint)

    check_cases(
        function,
        [
            case(1, 1, "outputs", [10, 24], "Width 1 and resolution 1 leave everything as it is."),
            case(0.5, 1, "outputs", [5, 12], "The width multiplies the filters of each layer."),
            case(0.25, 1, "outputs", [2, 6], "Channels are whole numbers, rounded down."),
            case(
                0.5,
                1,
                "inputs",
                [3, 5],
                "A layer reads what the layer before writes, and the first one reads the image.",
            ),
            case(1, 0.5, "side", [5, 3], "The resolution multiplies the sides, rounded up."),
            case(0.5, 0.5, "window", [3, 5], "Neither lever changes the windows."),
        ],
    )


def check_equal_width(function: Callable[..., Any]) -> None:
    """Check the width that leaves as many MACs as a resolution."""

    def macs(layers, width):
        return sum(
            layer["side"] ** 2 * width * layer["inputs"] * (layer["window"] ** 2 + width * layer["outputs"])
            for layer in layers
        )

    def case(layers, resolution, hint):
        def accepts(result):
            return bool(np.isclose(macs(layers, float(result)), resolution**2 * macs(layers, 1), rtol=1e-6))

        return Case((list(layers), resolution), accepts, hint)

    check_cases(
        function,
        [
            case(_LAYERS, 1, "At full resolution the width is 1."),
            case(
                [_LAYERS[0] | {"outputs": 1000}],
                0.5,
                "Mixing falls with the square of the width, filters only with the width: not quite the resolution.",
            ),
            case(_LAYERS[:1], 0.5, "With few outputs the depthwise half matters more. Solve the quadratic equation."),
            case(
                _LAYERS,
                0.25,
                "Add up the MACs of all layers first. A mean of the widths of single layers is something else.",
            ),
        ],
    )
