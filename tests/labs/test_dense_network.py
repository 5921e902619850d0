"""The network of the labs: gradients are those of the loss, and it learns the digits."""

import numpy as np
import pytest

from fewbits.errors import InputError
from fewbits.labs.dense_network import (
    draw_layers,
    flat_digits,
    layer_gradients,
    layer_outputs,
    output_gradients,
    share_read,
    train_layers,
)


def loss(network, images, labels):
    logits = layer_outputs(network, images)[-1]
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]


def moved(network, number, part, place, by):
    layers = [[kernel.copy(), bias.copy()] for kernel, bias in network]
    layers[number][part][place] += by
    return [tuple(layer) for layer in layers]


@pytest.mark.parametrize(
    ("number", "part", "place"), [(0, 0, (3, 2)), (1, 0, (2, 1)), (1, 1, 3), (2, 0, (5, 0)), (2, 1, 1)]
)
def test_gradients_are_those_of_the_mean_loss(number, part, place):
    rng = np.random.default_rng(0)
    network, images, labels = draw_layers((5, 7, 6, 3), seed=1), rng.normal(size=(9, 5)), rng.integers(0, 3, 9)
    ends = [loss(moved(network, number, part, place, by), images, labels).mean() for by in (1e-6, -1e-6)]
    found = layer_gradients(network, images, labels)[number][part][place]
    assert found == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_gradients_by_outputs_are_those_of_each_loss():
    rng = np.random.default_rng(1)
    network, images, labels = draw_layers((4, 6, 3)), rng.normal(size=(5, 4)), rng.integers(0, 3, 5)
    hidden, (kernel, bias) = layer_outputs(network, images)[0], network[1]
    ends = []
    for by in (1e-6, -1e-6):
        hidden_moved = hidden.copy()
        hidden_moved[:, 2] += by
        ends.append(loss([(kernel, bias)], hidden_moved, labels))
    assert output_gradients(network, images, labels)[0][:, 2] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_it_learns_the_digits_and_leaves_its_start():
    digits, start = flat_digits(), draw_layers((64, 32, 10))
    before = start[0][0].copy()
    assert share_read(train_layers(start, *digits["train"], epochs=10), *digits["validation"]) > 0.85
    assert np.array_equal(start[0][0], before) and share_read(start, *digits["validation"]) < 0.4


def test_a_network_without_a_layer_is_refused():
    with pytest.raises(InputError, match="widths must be"):
        draw_layers((64,))
