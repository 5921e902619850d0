"""Solutions of lab 12."""

import numpy as np


def separable(image, filters, mixing):
    """Return the map: (height - window + 1, width - window + 1, outputs)."""
    window = len(filters)
    height, width = (side - window + 1 for side in image.shape[:2])
    filtered = sum(
        image[i : i + height, j : j + width] * filters[i, j] for i in range(window) for j in range(window)
    )
    return filtered @ mixing


def separable_cost(side, inputs, outputs, window):
    """Return the weights and the MACs."""
    weights = window**2 * inputs + inputs * outputs
    return weights, weights * side**2


def scaled_layers(layers, width, resolution):
    """Return the layers of the narrower network for smaller images."""
    scaled = [
        {
            "side": int(np.ceil(resolution * layer["side"])),
            "inputs": int(width * layer["inputs"]),
            "outputs": int(width * layer["outputs"]),
            "window": layer["window"],
        }
        for layer in layers
    ]
    scaled[0]["inputs"] = layers[0]["inputs"]
    return scaled


def equal_width(layers, resolution):
    """Return the width that costs as many MACs as `resolution`."""
    depthwise, pointwise = (
        sum(f(layer) * layer["inputs"] * layer["side"] ** 2 for layer in layers)
        for f in (lambda layer: layer["window"] ** 2, lambda layer: layer["outputs"])
    )
    goal = resolution**2 * (depthwise + pointwise)
    return (np.sqrt(depthwise**2 + 4 * pointwise * goal) - depthwise) / (2 * pointwise)
