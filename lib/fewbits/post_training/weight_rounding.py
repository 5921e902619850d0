"""A repair for kernels of few bits: rounding that takes the inputs, and earlier rounding errors, into account.

Weights are rounded one after the other, and those that are left compensate the error; here in fixed point, and with
kernels that are first fitted to the inputs that the quantized layers before deliver.

Sources: Frantar and Alistarh, 2022 (arXiv 2208.11580), and Frantar et al., 2022 (GPTQ, arXiv 2210.17323).
"""

from collections.abc import Callable, Sequence

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.inputs import Images, input_arrays
from fewbits.errors import InputError
from fewbits.post_training.copies import copied, enabled_layers
from fewbits.quantization.conversion import QuantizedModel, dequantize_model
from fewbits.quantization.fixedpoint import FixedPoint, quantize
from fewbits.quantization.layers import by_filter, kernel_formats

WINDOWS = 20_000  # per layer, drawn at random, to which its kernel is fitted
DAMPING = 0.01  # at least, of the mean power of the inputs: weights whose inputs are always zero stay as they are
BATCH = 32
OTHER_INPUTS = keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose


def refit_kernels(
    network: QuantizedModel, images: Images, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> QuantizedModel:
    """Return `network` with kernels on the grids of their formats, refitted to its own, quantized inputs on `images`.

    Layer by layer, least squares give the kernel whose products with the inputs that the quantized network delivers
    come nearest to those of the float network with its own inputs. Then its weights are rounded, those with the
    strongest inputs first, and each error is passed on to the weights not yet rounded, as far as their inputs
    correlate. Biases stay: an error of the mean depends on the image (see `correct_bias`). It needs no labels and no
    gradients. Price: none; the device sees another kernel in the same format.

    Args:
        network: The quantized network.
        images: As in `input_arrays`: (n, height, width, channels), or what else the network takes; some tens.
        seed: Draws WINDOWS windows per layer.
        progress: Called after each layer with the number of layers done and their total.

    Returns:
        A new network.

    Raises:
        InputError: on a depthwise, grouped or transposed convolution, whose filters or outputs do not see the same
            inputs; the message names the layer.
    """
    arrays = input_arrays(network, images)
    network, rng = copied(network), np.random.default_rng(seed)
    plain, chosen = dequantize_model(network), enabled_layers(network)
    for layer in chosen:
        if isinstance(layer, OTHER_INPUTS) or getattr(layer, "groups", 1) > 1:
            raise InputError(f"{layer.name} has filters that see different inputs; refitting takes plain convolutions")
    for done, layer in enumerate(chosen, 1):
        if layer.formats.kernel is not None:
            reached = _inputs(network, layer, arrays)
            if layer.formats.input is not None:
                reached = quantize(reached, layer.formats.input, layer.rounding).astype(np.float32)
            wanted = _inputs(plain, plain.get_layer(layer.name), arrays)
            places = rng.permutation(len(_windows(layer, reached[:1])) * len(reached))[:WINDOWS]
            kernel = by_filter(layer, layer.kernel)
            inputs, targets = (_windows(layer, x, places) for x in (reached, wanted))
            fitted = _refitted(kernel, inputs, targets, kernel_formats(layer))
            layer.kernel.assign(fitted.reshape(layer.kernel.shape).astype(np.float32))
        if progress:
            progress(done, len(chosen))
    return network


def _refitted(kernel: np.ndarray, reached: np.ndarray, wanted: np.ndarray, formats: Sequence[FixedPoint]) -> np.ndarray:
    """Return a kernel in `formats` whose products with `reached` are close to those of `kernel` with `wanted`.

    kernel: (weights, filters). reached, wanted: (windows, weights).
    """
    power = (reached.T @ reached).astype(np.float64) / len(reached)
    damping = max(DAMPING, len(kernel) / len(reached))  # few windows say little about many weights
    damped = power + damping * max(np.mean(np.diag(power)), np.finfo(np.float32).tiny) * np.eye(len(power))
    products = reached.T @ (wanted @ kernel) / len(reached)
    return _rounded_in_turn(np.linalg.solve(damped, products + (damped - power) @ kernel), damped, formats)


def _rounded_in_turn(kernel: np.ndarray, power: np.ndarray, formats: Sequence[FixedPoint]) -> np.ndarray:
    """Return `kernel` rounded to nearest, weight by weight, each error passed on to the weights that follow.

    power: (weights, weights), symmetric and positive: the second moments of the inputs. The weights that are left
    compensate an error best if they change by error / inverse[0, 0] * inverse[0], where inverse is that of their part
    of `power`; its Cholesky factor holds these rows for all parts at once.
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


def _inputs(model: keras.Model, layer: keras.Layer, arrays: list[np.ndarray]) -> np.ndarray:
    reader = keras.Model(model.inputs, layer.input)
    batches = ([array[i : i + BATCH] for array in arrays] for i in range(0, len(arrays[0]), BATCH))
    return np.concatenate([ops.convert_to_numpy(reader(batch, training=False)) for batch in batches])


def _windows(layer: keras.Layer, x: np.ndarray, places: slice | np.ndarray = slice(None)) -> np.ndarray:
    """Return the windows of `x` that the outputs of `layer` see, as (windows, weights); only those at `places`."""
    if isinstance(layer, keras.layers.Conv1D):
        x = _windows_of_sequences(layer, x)
    elif hasattr(layer, "kernel_size"):
        x = ops.image.extract_patches(x, layer.kernel_size, layer.strides, layer.dilation_rate, padding=layer.padding)
    x = ops.convert_to_numpy(x)
    return x.reshape(-1, x.shape[-1])[places]


def _windows_of_sequences(layer: keras.Layer, x: np.ndarray) -> np.ndarray:
    """Return the windows of sequences (n, length, channels) as (n, windows, weights)."""
    [size], [stride], [dilation] = layer.kernel_size, layer.strides, layer.dilation_rate
    reach, length = (size - 1) * dilation + 1, x.shape[1]
    before = after = 0
    if layer.padding == "causal":
        before = reach - 1
    elif layer.padding == "same":
        whole = max((-(-length // stride) - 1) * stride + reach - length, 0)
        before, after = whole // 2, whole - whole // 2
    x = np.pad(x, ((0, 0), (before, after), (0, 0)))
    starts = np.arange(0, x.shape[1] - reach + 1, stride)
    return x[:, starts[:, np.newaxis] + dilation * np.arange(size)].reshape(len(x), len(starts), -1)
