"""The checks of lab 14: the removal of filters, the Taylor criterion, scores across layers, the choice of what goes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals


def check_remove_filters_of(function: Callable[..., Any]) -> None:
    """Check the removal of filters whose maps are concatenated after others."""
    kernel = np.arange(3 * 3 * 2 * 4.0).reshape(3, 3, 2, 4)
    bias = np.arange(4.0)
    reader = np.arange(1 * 1 * 7 * 2.0).reshape(1, 1, 7, 2)  # 3 channels before, 4 of ours

    def case(gone, before, part, hint):
        stay = [i for i in range(4) if i not in gone]
        channels = [i for i in range(before + 4) if i - before not in gone]
        whole = reader[:, :, : before + 4]
        expected = (kernel[..., stay], bias[stay], whole[:, :, channels])[part]

        def accepts(result):
            return len(result) == 3 and equals(expected)(result[part])

        return Case((kernel, bias, whole, gone, before), accepts, hint)

    check_cases(
        function,
        [
            case([1], 0, 0, "A filter is one place of the last axis of the kernel; its inputs stay."),
            case([1], 0, 1, "A filter takes its bias along."),
            case(
                [1],
                0,
                2,
                "The reader has no such channel any more: which of its axes counts the channels that it reads?",
            ),
            case(
                [1],
                3,
                2,
                "The maps come after those of another layer: at which number does the reader see this filter?",
            ),
            case([0, 2], 3, 2, "When several go, the numbers in `gone` are those of the network as it was."),
        ],
    )


def check_taylor_scores(function: Callable[..., Any]) -> None:
    """Check the Taylor criterion."""
    rng = np.random.default_rng(7)

    def case(maps, gradients, hint):
        products = np.einsum("nyxf,nyxf->nf", maps, gradients)
        return Case((maps, gradients), equals(np.mean(np.abs(products), axis=0)), hint)

    one = np.array([[[[1.0, 2.0]]], [[[1.0, 2.0]]]])  # two images, one place, two filters
    pull = np.array([[[[3.0, 1.0]]], [[[1.0, 1.0]]]])
    spread = rng.normal(size=(1, 3, 3, 2))
    check_cases(
        function,
        [
            case(
                one, pull, "One place and two images: the importance is a mean over the images, one number per filter."
            ),
            case(one, -pull, "A filter whose removal raises the loss matters, too: importance has no sign."),
            case(
                one,
                pull * np.array([1.0, -1.0]).reshape(2, 1, 1, 1),
                "This filter changes two images in opposite ways. It does a lot, even if the mean change is small.",
            ),
            case(spread, 1 - spread, "Within an image, what a filter does at its places adds up, with its signs."),
            case(rng.normal(size=(4, 3, 2, 5)), rng.normal(size=(4, 3, 2, 5)), "Places add up, images are averaged."),
        ],
    )


def check_compared_scores(function: Callable[..., Any]) -> None:
    """Check the division of each layer by its norm."""

    def case(scores, hint):
        arrays = {name: np.array(layer) for name, layer in scores.items()}
        norms = {name: np.sqrt(np.sum(layer**2)) for name, layer in arrays.items()}
        return Case((arrays,), equals({name: arrays[name] / (norms[name] or 1) for name in arrays}), hint)

    check_cases(
        function,
        [
            case({"a": [3.0, 4.0]}, "This layer has the norm 5; neither its largest value nor its sum is that."),
            case(
                {"a": [3.0, 4.0], "b": [0.3, 0.4]},
                "Two layers that differ in scale alone should end up equal: each has its own norm.",
            ),
            case(
                {"a": [0.0, 0.0], "b": [1.0, 0.0]},
                "All filters of a dead layer have the importance 0, and 0 is what they should keep.",
            ),
        ],
    )


def check_choose_least(function: Callable[..., Any]) -> None:
    """Check which filters go."""
    scores = {"a": np.array([0.9, 0.1, 0.5]), "b": np.array([0.2, 0.3]), "c": np.array([0.8, 0.7, 0.6, 0.65])}

    def case(n, expected, hint):
        def accepts(result):
            return {name: list(numbers) for name, numbers in result.items()} == expected

        return Case((scores, n), accepts, hint)

    check_cases(
        function,
        [
            case(
                1,
                {"a": [1]},
                "The least important filter of all layers goes, and only layers that lose some are named.",
            ),
            case(2, {"a": [1], "b": [0]}, "The layers are ranked together, not one by one."),
            case(
                3,
                {"a": [1, 2], "b": [0]},
                "Layer b has one filter left: it should stay, and another filter should go instead.",
            ),
            case(5, {"a": [1, 2], "b": [0], "c": [2, 3]}, "The number that goes is n, whatever has to stay."),
            case(
                6,
                {"a": [1, 2], "b": [0], "c": [1, 2, 3]},
                "The numbers of a layer are sorted, not in the order of their importance.",
            ),
        ],
    )
