"""The checks of lab 15: packed bytes, noise on logits, equal noise, the lead of an answer, a paired comparison."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals


def check_chain_bytes(function: Callable[..., Any]) -> None:
    """Check the bytes of a chain of layers."""

    def case(units, bits, hint):
        kernels = [np.empty(shape) for shape in zip(units, units[1:])]
        size = sum(len(np.packbits(np.zeros(kernel.size * bits, bool))) + 4 * kernel.shape[1] for kernel in kernels)
        return Case((units, bits), equals(size), hint)

    check_cases(
        function,
        [
            case(
                (4, 2), 8, "A layer has a weight for each pair of an input and a unit, and a bias of 32 bits per unit."
            ),
            case((4, 2, 6), 8, "A layer reads the units of the layer before it."),
            case((64, 32, 10), 4, "Two weights of 4 bits share a byte; biases keep their 32 bits."),
            case((3, 3), 3, "Nine weights of 3 bits are 27 bits: how many bytes hold them?"),
            case((3, 3, 3), 3, "Each layer begins at a byte of its own: round up for each layer."),
        ],
    )


def _decibels(before, after):
    """Return the SQNR of logits, over the differences of all pairs of classes."""
    pairs = [(i, j) for i in range(before.shape[1]) for j in range(i)]
    gaps = [np.stack([logits[:, i] - logits[:, j] for i, j in pairs]) for logits in (before, after)]
    return 10 * np.log10(np.sum(gaps[0] ** 2) / np.sum((gaps[1] - gaps[0]) ** 2))


def check_logit_sqnr(function: Callable[..., Any]) -> None:
    """Check the SQNR of logits."""
    rng = np.random.default_rng(2)
    logits, noise = (scale * rng.normal(size=(20, 5)) for scale in (1, 0.1))
    logits, noise = (x - x.mean(1, keepdims=True) for x in (logits, noise))

    def case(before, after, hint):
        return Case((before, after), equals(_decibels(before, after)), hint)

    check_cases(
        function,
        [
            case(
                logits,
                logits + noise,
                "Power is the mean of squares, the noise is the difference, and decibels are tens of a logarithm.",
            ),
            case(logits, 1.5 * logits, "Signal over noise, and the signal is what was there before."),
            case(logits + 3, logits + 3 + noise, "What all classes have in common is no signal."),
            case(
                logits,
                logits + noise + rng.normal(size=(20, 1)),
                "What an image adds to all of its classes is no noise.",
            ),
        ],
    )


def check_add_noise(function: Callable[..., Any]) -> None:
    """Check that the noise has the strength that was asked for."""
    rng = np.random.default_rng(8)
    logits, noise = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    noise -= noise.mean(1, keepdims=True)

    def case(logits, noise, decibels, hint):
        def accepts(result):
            return np.shape(result) == logits.shape and abs(_decibels(logits, np.asarray(result)) - decibels) < 1e-6

        return Case((logits, noise, decibels), accepts, hint)

    def same_shape(logits, noise, hint):
        def accepts(result):
            added = np.asarray(result) - logits
            added = added - added.mean(1, keepdims=True)
            return float(np.corrcoef(added.ravel(), (noise - noise.mean(1, keepdims=True)).ravel())[0, 1]) > 1 - 1e-9

        return Case((logits, noise, 3.0), accepts, hint)

    now = float(_decibels(logits, logits + noise))
    check_cases(
        function,
        [
            case(logits, noise, now, "This noise has the right strength already."),
            case(
                logits,
                noise,
                now + 20,
                "Twenty decibels more are a hundred times less power of the noise, so how much less amplitude?",
            ),
            case(logits, 7 * noise, 5.0, "The noise that is given may have any strength: measure it."),
            case(
                logits + 5,
                noise + 2,
                5.0,
                "What all classes have in common counts neither in the signal nor in the noise.",
            ),
            same_shape(logits, noise, "The noise that is added should be the given draw, only weaker or stronger."),
        ],
    )


def check_median_lead(function: Callable[..., Any]) -> None:
    """Check the median lead of the highest logit."""
    rng = np.random.default_rng(6)
    logits = rng.normal(size=(7, 4))
    logits -= logits.mean(1, keepdims=True)

    def lead(logits):
        gaps = sorted(max(row) - sorted(row)[-2] for row in logits.tolist())
        return gaps[len(gaps) // 2] / np.std(logits - logits.mean(1, keepdims=True))

    def case(logits, hint):
        return Case((logits,), equals(lead(logits)), hint)

    check_cases(
        function,
        [
            case(
                np.array([[2.0, -2.0]]),
                "One image and two classes: the lead is their difference, over the root mean square.",
            ),
            case(np.array([[3.0, 1.0, -4.0]]), "The lead is over the second highest, whatever the others are."),
            case(logits, "Take the median over the images, and one root mean square of all."),
            case(10 * logits, "A network whose logits are all ten times as large has no more to spare."),
            case(logits + 3, "What all classes have in common gives no lead, and no size either."),
        ],
    )


def check_extra_loss(function: Callable[..., Any]) -> None:
    """Check the paired difference of two losses."""
    ones = np.ones(10, bool)
    rng = np.random.default_rng(9)
    four = tuple(rng.random((4, 50)) < np.array([[0.95], [0.8], [0.9], [0.6]]))

    def case(four, part, hint):
        extra = [int(c) - int(d) - (int(a) - int(b)) for a, b, c, d in zip(*four)]
        mean = sum(extra) / len(extra)
        half = 1.96 * (sum((x - mean) ** 2 for x in extra) / len(extra)) ** 0.5 / len(extra) ** 0.5
        expected = (mean, half)[part]
        return Case(four, lambda result: len(result) == 2 and equals(expected)(result[part]), hint)

    half = np.arange(10) < 5
    check_cases(
        function,
        [
            case(
                (ones, ones, ones, half),
                0,
                "The first loses nothing, the second half of its answers. NumPy does not subtract bools as numbers.",
            ),
            case((ones, half, ones, ones), 0, "If the first loses more, the result is negative."),
            case(
                (half, half, ones, half),
                0,
                "A network that was wrong before cannot lose that image: compare each network with itself.",
            ),
            case(
                (ones, half, ones, half),
                1,
                "Both lose the same images: image by image there is no difference, so no doubt either.",
            ),
            case(four, 1, "The half-width is that of a mean: it shrinks with the root of the number of images."),
        ],
    )
