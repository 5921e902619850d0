"""A remedy for kernels of few bits: round each weight knowing what the inputs are, and what was rounded before it.

Sources: Frantar and Alistarh, 2022 (arXiv 2208.11580), and Frantar et al., 2022 (GPTQ, arXiv 2210.17323): weights are
rounded one after the other, and those that are left make good for the error; here in fixed point, and with kernels
that are first fitted to the inputs that the quantized layers before deliver.
"""

from collections.abc import Callable

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.post_training.copies import copied, enabled_layers
from fewbits.quantization.conversion import QUANTIZED, QuantizedModel, dequantize_model
from fewbits.quantization.fixedpoint import quantize
from fewbits.quantization.layers import by_filter, kernel_formats

WINDOWS = 20_000  # of a layer that its kernel is fitted to, drawn at random
DAMPING = 0.01  # at least, of the mean power of the inputs: weights whose inputs are always zero stay as they are
BATCH = 32


def refit_kernels(
    network: QuantizedModel, images, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> QuantizedModel:
    """Return `network` with kernels on the grids of their formats that suit its own, quantized inputs on `images`.

    Layer after layer: least squares give the kernel whose products with the inputs that the quantized network delivers
    come nearest to those of the float network with its own; then its weights are rounded, those with the strongest
    inputs first, and each error is passed on to the weights not yet rounded, as far as their inputs go together.
    Biases stay: an error of the mean depends on the image (see `correct_bias`). No labels, no gradients.

    images: (n, height, width, channels), some tens. seed: draws WINDOWS windows a layer. progress: is told how many
    layers are done, of how many. Price: none; the device sees another kernel in the same format. Raises InputError,
    naming the layer, on a depthwise or grouped convolution, whose filters do not see the same inputs.
    """
    network, rng = copied(network), np.random.default_rng(seed)
    plain, chosen = dequantize_model(network), enabled_layers(network)
    for layer in chosen:
        if type(layer) is QUANTIZED[keras.layers.DepthwiseConv2D] or getattr(layer, "groups", 1) > 1:
            raise InputError(f"{layer.name} has filters that see different inputs; refitting takes plain convolutions")
    for done, layer in enumerate(chosen, 1):
        if layer.formats.kernel is not None:
            reached = _inputs(network, layer, images)
            if layer.formats.input is not None:
                reached = quantize(reached, layer.formats.input, layer.rounding).astype(np.float32)
            wanted = _inputs(plain, plain.get_layer(layer.name), images)
            places = rng.permutation(len(_windows(layer, reached[:1])) * len(images))[:WINDOWS]
            kernel = by_filter(layer, layer.kernel)
            fitted = _refitted(kernel, *(_windows(layer, x, places) for x in (reached, wanted)), kernel_formats(layer))
            layer.kernel.assign(fitted.reshape(layer.kernel.shape).astype(np.float32))
        if progress:
            progress(done, len(chosen))
    return network


def _refitted(kernel, reached, wanted, formats) -> np.ndarray:
    """Return a kernel in `formats` whose products with `reached` are near to those of `kernel` with `wanted`.

    kernel: (weights, filters). reached, wanted: (windows, weights).
    """
    power = (reached.T @ reached).astype(np.float64) / len(reached)
    damping = max(DAMPING, len(kernel) / len(reached))  # few windows say little about many weights
    damped = power + damping * max(np.mean(np.diag(power)), np.finfo(np.float32).tiny) * np.eye(len(power))
    products = reached.T @ (wanted @ kernel) / len(reached)
    return _rounded_in_turn(np.linalg.solve(damped, products + (damped - power) @ kernel), damped, formats)


def _rounded_in_turn(kernel, power, formats) -> np.ndarray:
    """Return `kernel` rounded to nearest, weight after weight, each error passed on to the weights that follow.

    power: (weights, weights), symmetric and positive: what the inputs have in common. The weights that are left make
    good for an error as well as they can if they change by error / inverse[0, 0] * inverse[0], where inverse is that of
    their part of `power`; its Cholesky factor holds these rows for all parts at once.
    """
    order = np.argsort(-np.diag(power), kind="stable")
    factor = np.linalg.cholesky(np.linalg.inv(power[np.ix_(order, order)])).T
    left, rounded = kernel[order], np.empty_like(kernel)
    step, least, most = (np.array([getattr(f, n) for f in formats]) for n in ("step", "min_code", "max_code"))
    for i, weight in enumerate(order):
        rounded[weight] = np.clip(np.round(left[i] / step), least, most) * step
        error = (left[i] - rounded[weight]) / factor[i, i]
        left[i + 1 :] -= np.outer(factor[i, i + 1 :], error)
    return rounded


def _inputs(model, layer, images) -> np.ndarray:
    reader = keras.Model(model.inputs[0], layer.input)
    batches = (images[i : i + BATCH] for i in range(0, len(images), BATCH))
    return np.concatenate([ops.convert_to_numpy(reader(batch, training=False)) for batch in batches])


def _windows(layer, x, places=slice(None)) -> np.ndarray:
    """Return the windows of `x` that each output of `layer` sees, as (windows, weights), those at `places`."""
    if hasattr(layer, "kernel_size"):
        x = ops.image.extract_patches(x, layer.kernel_size, layer.strides, layer.dilation_rate, padding=layer.padding)
    x = ops.convert_to_numpy(x)
    return x.reshape(-1, x.shape[-1])[places]
