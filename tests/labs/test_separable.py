"""Lab 12: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import separable as lab
from helpers.labs import tell_apart


def filtered(image, filters):
    windows = np.lib.stride_tricks.sliding_window_view(image, filters.shape[:2], (0, 1))
    return np.einsum("yxcij,ijc->yxc", windows, filters)


def test_mistakes_in_the_convolution():
    def same_padding(image, filters, mixing):
        around = len(filters) // 2
        return filtered(np.pad(image, ((around, around), (around, around), (0, 0))), filters) @ mixing

    def flipped(image, filters, mixing):
        return filtered(image, filters[::-1, ::-1]) @ mixing

    def square(image, filters, mixing):
        side = image.shape[0] - len(filters) + 1
        return (
            filtered(image, filters)[:, :side] @ mixing
            if image.shape[0] == image.shape[1]
            else filtered(image, filters).transpose(1, 0, 2) @ mixing
        )

    def full(image, filters, mixing):
        return (filtered(image, filters).sum(-1, keepdims=True) * np.ones(image.shape[2])) @ mixing

    def unmixed(image, filters, mixing):
        return filtered(image, filters)

    tell_apart(
        (lab.check_separable, lambda image, filters, mixing: 2 * image, "leave the image"),
        (lab.check_separable, same_padding, "One place is left"),
        (lab.check_separable, flipped, "neither flipped"),
        (lab.check_separable, square, "Height and width differ"),
        (lab.check_separable, full, "does not mix them"),
        (lab.check_separable, unmixed, "mixes the channels"),
    )


def test_mistakes_in_the_cost():
    def cost(side, inputs, outputs, window, full=False, pixels=None):
        weights = window**2 * inputs * (outputs if full else 1) + (0 if full else inputs * outputs)
        return weights, weights * (side**2 if pixels is None else pixels)

    tell_apart(
        (lab.check_separable_cost, lambda side, inputs, outputs, window: (9, 9), "one filter per input channel"),
        (
            lab.check_separable_cost,
            lambda side, inputs, outputs, window: 2 * (window**2 * inputs + inputs,),
            "knows nothing of the outputs",
        ),
        (
            lab.check_separable_cost,
            lambda side, inputs, outputs, window: 2 * (cost(side, inputs, outputs, window)[1],),
            "do not depend on the pixels",
        ),
        (
            lab.check_separable_cost,
            lambda side, inputs, outputs, window: cost(side, inputs, outputs, window, pixels=side),
            "two sides",
        ),
        (
            lab.check_separable_cost,
            lambda side, inputs, outputs, window: cost(side, inputs, outputs, 3),
            "another window",
        ),
    )


def test_mistakes_in_scaled_layers():
    def scaled(layers, width, resolution, whole=int, first=True, side=np.ceil, windows=1.0):
        found = [
            {
                "side": int(side(resolution * layer["side"])),
                "inputs": int(width * layer["inputs"]),
                "outputs": whole(width * layer["outputs"]),
                "window": int(windows * layer["window"]),
            }
            for layer in layers
        ]
        if first:
            found[0]["inputs"] = layers[0]["inputs"]
        return found

    def narrow(width=True, **options):
        return lambda layers, w, r: scaled(layers, w if width else 1, r, **options)

    tell_apart(
        (lab.check_scaled_layers, lambda layers, width, resolution: layers[:1], "leave everything"),
        (lab.check_scaled_layers, narrow(width=False), "multiplies the filters"),
        (lab.check_scaled_layers, narrow(whole=lambda n: int(np.ceil(n))), "rounded down"),
        (lab.check_scaled_layers, narrow(first=False), "the first one reads the image"),
        (lab.check_scaled_layers, narrow(side=np.floor), "rounded up"),
    )


def test_mistakes_in_the_equal_width():
    def single(layer, resolution):
        square, outputs = layer["window"] ** 2, layer["outputs"]
        goal = resolution**2 * (square + outputs)
        return (np.sqrt(square**2 + 4 * outputs * goal) - square) / (2 * outputs)

    tell_apart(
        (lab.check_equal_width, lambda layers, resolution: 0.5, "the width is 1"),
        (lab.check_equal_width, lambda layers, resolution: resolution, "not quite the resolution"),
        (
            lab.check_equal_width,
            lambda layers, resolution: np.mean([single(layer, resolution) for layer in layers]),
            "A mean of the widths",
        ),
    )
