"""A small dense network in NumPy, which the labs train in a second to read the digits.

A network is a list of layers, each a kernel (inputs, units) and a bias (units,), float64. A ReLU follows every layer
but the last. A unit is what a filter is in a convolution: a 1x1 filter on a map of one pixel.
"""

from collections.abc import Callable

import numpy as np

from fewbits.errors import InputError

Layers = list[tuple[np.ndarray, np.ndarray]]


def flat_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the digits as vectors.

    Returns:
        `train`, `validation` (a fifth of the training images) and `test`: images (n, 64), float64 in [0, 1), multiples
        of 1/32, and labels (n,), int64.
    """
    from fewbits import data  # needs the extra `data`, which the checks do not

    digits = data.load("digits", validation=0.2)
    parts = {part: digits.arrays(part) for part in ("train", "validation", "test")}
    return {part: (images.reshape(len(images), -1).astype(float), labels) for part, (images, labels) in parts.items()}


def draw_layers(widths: tuple[int, ...], seed: int = 0) -> Layers:
    """Draw a network at random.

    Args:
        widths: The number of inputs, then the number of units of each layer.
        seed: Of the draw.

    Raises:
        InputError: when there is no layer.
    """
    if len(widths) < 2:
        raise InputError(f"widths must be the number of inputs and that of the units of each layer, not {widths}")
    rng = np.random.default_rng(seed)
    pairs = zip(widths, widths[1:])
    return [(rng.normal(0, np.sqrt(2 / n), (n, units)), np.zeros(units)) for n, units in pairs]


def layer_outputs(network: Layers, images: np.ndarray) -> list[np.ndarray]:
    """Compute what each layer answers.

    Args:
        network: The layers.
        images: (n, inputs).

    Returns:
        One array (n, units) per layer, after its ReLU; the last holds the logits.
    """
    outputs = []
    for number, (kernel, bias) in enumerate(network, 1):
        images = images @ kernel + bias
        if number < len(network):
            images = np.maximum(images, 0)
        outputs.append(images)
    return outputs


def output_gradients(network: Layers, images: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Compute the gradients of the loss of each image by what each layer answers.

    Args:
        network: The layers.
        images: (n, inputs).
        labels: (n,).

    Returns:
        One array (n, units) per layer, by its output after the ReLU.
    """
    outputs = layer_outputs(network, images)
    powers = np.exp(outputs[-1] - outputs[-1].max(1, keepdims=True))
    gradient = powers / powers.sum(1, keepdims=True)
    gradient[np.arange(len(labels)), labels] -= 1
    found = [gradient]
    for number in range(len(network) - 1, 0, -1):
        gradient = gradient @ network[number][0].T  # by the output of the layer before
        found.insert(0, gradient)
        gradient = gradient * (outputs[number - 1] > 0)
    return found


def layer_gradients(network: Layers, images: np.ndarray, labels: np.ndarray) -> Layers:
    """Compute the gradients of the mean loss by each kernel and bias.

    Args:
        network: The layers.
        images: (n, inputs).
        labels: (n,).

    Returns:
        The gradients, arranged as the network.
    """
    outputs = layer_outputs(network, images)
    found = []
    for number, gradient in enumerate(output_gradients(network, images, labels)):
        if number < len(network) - 1:
            gradient = gradient * (outputs[number] > 0)
        entered = outputs[number - 1] if number else images
        found.append((entered.T @ gradient / len(labels), gradient.mean(0)))
    return found


def train_layers(
    network: Layers,
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int = 30,
    rate: float = 0.2,
    seed: int = 0,
    gradients: Callable[[Layers, np.ndarray, np.ndarray], Layers] = layer_gradients,
) -> Layers:
    """Train a network by stochastic gradient descent with batches of 32 images.

    Args:
        network: Where training begins; it stays as it is.
        images: (n, inputs).
        labels: (n,).
        epochs: How often every image is seen.
        rate: The learning rate; it falls to zero in a straight line.
        seed: Of the order of the images.
        gradients: Takes network, images and labels, and returns the gradients.

    Returns:
        The trained network.
    """
    rng, size = np.random.default_rng(seed), 32
    steps = epochs * (len(labels) // size)
    batches = (
        batch
        for _ in range(epochs)
        for batch in rng.permutation(len(labels))[: steps // epochs * size].reshape(-1, size)
    )
    for step, batch in enumerate(batches):
        now = rate * (1 - step / steps)
        found = gradients(network, images[batch], labels[batch])
        network = [(k - now * dk, b - now * db) for (k, b), (dk, db) in zip(network, found)]
    return network


def share_read(network: Layers, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images that a network reads right, from 0 to 1.

    Args:
        network: The layers.
        images: (n, inputs).
        labels: (n,).
    """
    return float(np.mean(layer_outputs(network, images)[-1].argmax(1) == labels))
