"""The checks of lab 7: a folded bias, biases corrected in order, equal channels, and the best way to round a filter."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from fewbits.labs.checking import Case, check_cases, equals


def check_folded_bias(folded_bias: Callable[..., Any]) -> None:
    """Check `folded_bias(bias, kernel, rounded, x)`: the bias less the mean shift of the outputs.

    Args:
        folded_bias: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """
    rng = np.random.default_rng(13)

    def case(bias, kernel, rounded, x, hint):
        expected = bias + (x @ (kernel - rounded)).mean(0)
        return Case((bias, kernel, rounded, x), equals(expected, 1e-9), hint)

    one = np.ones((1, 1))
    zero = np.zeros(1)
    uneven = np.array([[1.0, 0.0], [3.0, 0.0]])
    kernel, x = rng.normal(0, 0.3, (6, 4)), np.abs(rng.normal(0, 1, (50, 6)))
    check_cases(
        folded_bias,
        [
            case(zero + 3, one, one, one, "Nothing was rounded: the bias stays as it is."),
            case(zero, one, 0 * one, one, "The rounded weight is too small here. Must the bias rise or fall?"),
            case(zero, one, 0 * one, 4 * one, "The same error of a weight does more where the input is larger."),
            case(
                zero, np.ones((2, 1)), np.zeros((2, 1)), uneven, "Each weight has its own input: take means per input."
            ),
            case(rng.normal(0, 1, 4), kernel, np.floor(4 * kernel) / 4, x, "A layer of 6 inputs and 4 outputs."),
        ],
    )


def check_biases_in_order(biases_in_order: Callable[..., Any]) -> None:
    """Check `biases_in_order(layers, rounded, x)`: biases that make the mean sums of each layer right again.

    Args:
        biases_in_order: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """
    rng = np.random.default_rng(14)

    def corrected(layers, rounded, x):
        wanted, got, biases = x, x, []
        for (kernel, bias), other in zip(layers, rounded):
            sums, with_other = wanted @ kernel + bias, got @ other
            biases.append((sums - with_other).mean(0))
            wanted, got = np.maximum(sums, 0), np.maximum(with_other + biases[-1], 0)
        return tuple(biases)

    def case(layers, rounded, x, hint):
        return Case((layers, rounded, x), equals(corrected(layers, rounded, x), 1e-9), hint)

    x = np.abs(rng.normal(0, 1, (40, 5)))
    first, second = (rng.normal(0, 0.5, (5, 6)), rng.normal(0, 0.3, 6)), (rng.normal(0, 0.5, (6, 3)), np.zeros(3))
    down = [np.floor(4 * kernel) / 4 for kernel, _ in (first, second)]
    positive = [(np.abs(kernel), np.abs(bias) + 1) for kernel, bias in (first, second)]
    third = (rng.normal(0, 0.6, (3, 2)), np.full(2, 0.5))
    check_cases(
        biases_in_order,
        [
            case([first], [first[0]], x, "A list with one bias per layer. Nothing was rounded: it is the old bias."),
            case([first], down[:1], x, "One layer: its mean sums, before the ReLU, must be those of the float layer."),
            case(
                positive,
                [np.floor(4 * k) / 4 for k, _ in positive],
                x,
                "Two layers: the second reads the outputs of the first.",
            ),
            case([first, second], [first[0], down[1]], x, "After each layer is a ReLU, which changes the mean."),
            case(
                [first, second],
                down,
                x,
                "The second layer reads what the repaired first one delivers.",
            ),
            case([first, second, third], [*down, np.floor(4 * third[0]) / 4], x, "Three layers, each with a ReLU."),
        ],
    )


def check_equalize(equalize: Callable[..., Any]) -> None:
    """Check `equalize(first, bias, second)`: two layers around a ReLU whose channels have equal ranges.

    Args:
        equalize: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """
    rng = np.random.default_rng(15)
    first, bias, second = rng.normal(0, 1, (4, 3)), rng.normal(0, 1, 3), rng.normal(0, 1, (3, 5))
    first, second = first * [1, 10, 0.1], second * [[2], [0.5], [1]]
    x = np.abs(rng.normal(0, 1, (30, 4)))

    def outputs(first, bias, second):
        return np.maximum(x @ first + bias, 0) @ second

    def shapes(result):
        return len(result) == 3 and [np.shape(a) for a in result] == [(4, 3), (3,), (3, 5)]

    def same_without_bias(result):
        return np.allclose(outputs(result[0], 0, result[2]), outputs(first, 0, second))

    def same(result):
        return np.allclose(outputs(*result), outputs(first, bias, second))

    def equal(result):
        return np.allclose(np.abs(result[0]).max(0), np.abs(result[2]).max(1))

    given = first, bias, second
    check_cases(
        equalize,
        [
            Case(given, shapes, "Return the first kernel, its bias and the second kernel, with the shapes they had."),
            Case(
                given, same_without_bias, "What one layer is divided by, the other must give back, channel by channel."
            ),
            Case(given, same, "A ReLU lets a positive factor through, but the factor is on the whole sum."),
            Case(given, equal, "The largest weight into a channel must be as large as the largest one out of it."),
        ],
    )


def check_best_codes(best_codes: Callable[..., Any]) -> None:
    """Check `best_codes(weights, x, step)`: the codes, each rounded down or up, with the least squared output error.

    Args:
        best_codes: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """
    rng = np.random.default_rng(16)

    def case(weights, x, step, hint):
        weights = np.array(weights)
        low = np.floor(weights / step)

        def error(ups):
            return np.sum((x @ ((low + ups) * step - weights)) ** 2)

        best = low + min(product((0, 1), repeat=len(weights)), key=error)
        return Case((weights, x, step), equals(best.astype(int)), hint)

    alike = np.tile(np.abs(rng.normal(0, 1, (40, 1))), 2) + rng.normal(0, 0.01, (40, 2))
    opposed = np.concatenate([np.eye(2), -np.eye(2)[:, ::-1]])
    mixed = rng.normal(0, 1, (60, 5)) @ rng.normal(0, 1, (5, 5)) + 1
    check_cases(
        best_codes,
        [
            case([0.3, 0.8], np.eye(2), 1.0, "Independent inputs: each weight for itself. A code counts in steps."),
            case([-0.9], np.eye(1), 0.25, "Another step, and a weight below zero."),
            case([0.4, 0.4], alike, 1.0, "Inputs that rise together add up both errors. Try all ways, up and down."),
            case(
                [0.125, 0.75],
                opposed,
                1.0,
                "Errors of outputs count as squares: an error does not cancel in another image.",
            ),
            case(rng.normal(0, 1, 5), mixed, 0.5, "Five weights have 32 ways."),
        ],
    )
