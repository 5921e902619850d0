"""A repair for kernels of few bits: rounding that takes the inputs, and earlier rounding errors, into account.

Weights are rounded one after the other, and those that are left compensate the error; here in fixed point, and with
kernels that are first fitted to the inputs that the quantized layers before deliver.

Sources: Frantar and Alistarh, 2022 (arXiv 2208.11580), and Frantar et al., 2022 (GPTQ, arXiv 2210.17323).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.inputs import Images, input_arrays
from fewbits.errors import InputError
from fewbits.post_training.copies import copied, enabled_layers
from fewbits.quantization.conversion import QuantizedModel, dequantize_model
from fewbits.quantization.fixedpoint import FixedPoint, quantize
from fewbits.quantization.layers import DEPTHWISE, TRANSPOSED, by_filter, from_filters, kernel_formats
from fewbits.quantization.layerwise import LayerwiseRun

WINDOWS = 20_000  # per layer, drawn at random, to which its kernel is fitted
DAMPING = 0.01  # at least, of the mean power of the inputs: weights whose inputs are always zero stay as they are
BATCH = 32
SEQUENCES = keras.layers.Conv1D, keras.layers.DepthwiseConv1D


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
        InputError: on a transposed convolution, whose outputs do not see the same inputs; the message names it.
    """
    arrays = input_arrays(network, images)
    network, rng = copied(network), np.random.default_rng(seed)
    plain, chosen = dequantize_model(network), enabled_layers(network)
    for layer in chosen:
        if not can_be_refitted(layer):
            raise InputError(f"{layer.name} is a transposed convolution; refitting takes convolutions and dense layers")
    batches = [[array[i : i + BATCH] for array in arrays] for i in range(0, len(arrays[0]), BATCH)]
    reached, wanted = LayerwiseRun(network, batches), LayerwiseRun(plain, batches)
    for done, layer in enumerate(chosen, 1):
        if layer.formats.kernel is not None:
            [call], [twin] = reached.graph.calls_of(layer), wanted.graph.calls_of(plain.get_layer(layer.name))
            fitted = refitted(layer, reached.read(call.inputs[0]), wanted.read(twin.inputs[0]), rng)
            layer.kernel.assign(on_grid(layer, fitted))
        if progress:
            progress(done, len(chosen))
    return network


def can_be_refitted(layer: keras.Layer) -> bool:
    """Return whether `refitted` knows the windows that `layer` sees: it does not for transposed convolutions."""
    return not isinstance(layer, TRANSPOSED)


def refitted(layer: Any, reached: Sequence[Any], wanted: Sequence[Any], rng: np.random.Generator) -> np.ndarray:
    """Return a kernel that, rounded to nearest, makes of `reached` about what the kernel of `layer` makes of `wanted`.

    Args:
        layer: A quantized layer, whose kernel has formats.
        reached: The inputs that it has, in batches, before it quantizes them.
        wanted: The inputs that it would have in float, in the same batches.
        rng: Draws WINDOWS windows.

    Returns:
        An array in the shape of the kernel, float64: what each weight is when its turn to be rounded comes.
    """
    fmt, kernel, formats = layer.formats.input, by_filter(layer, layer.kernel), kernel_formats(layer)
    reached = [ops.convert_to_numpy(x) for x in reached]
    if fmt is not None:
        reached = [quantize(x, fmt, layer.rounding).astype(np.float32) for x in reached]
    places = rng.permutation(sum(_number_of_windows(layer, x) for x in reached))[:WINDOWS]
    inputs, targets = _drawn(layer, reached, places), _drawn(layer, wanted, places)
    found = np.empty(kernel.shape)
    for own, filters in _groups(layer, inputs.shape[1], kernel.shape[1]):
        found[:, filters] = _refitted(kernel[:, filters], inputs[:, own], targets[:, own], formats[filters])
    return from_filters(layer, found)


def on_grid(layer: Any, kernel: np.ndarray) -> np.ndarray:
    """Return a kernel rounded to nearest in the formats of its filters, float32.

    Args:
        layer: A quantized layer.
        kernel: A kernel in the shape of its own.
    """
    columns = zip(by_filter(layer, kernel).T, kernel_formats(layer))
    return from_filters(layer, np.stack([quantize(w, f, "nearest") for w, f in columns], -1)).astype(np.float32)


def _groups(layer: Any, width: int, filters: int) -> list[tuple[Any, slice]]:
    """Return, for filters that see the same channels, their columns in a window of `width` numbers, and these filters.

    In a depthwise convolution each channel has filters of its own.
    """
    channels = layer.input.shape[-1]
    groups = channels if isinstance(layer, DEPTHWISE) else getattr(layer, "groups", 1)
    if groups == 1:
        return [(slice(None), slice(None))]
    columns = np.arange(width).reshape(-1, groups, channels // groups)
    each = filters // groups
    return [(columns[:, g].ravel(), slice(g * each, (g + 1) * each)) for g in range(groups)]


def _refitted(kernel: np.ndarray, reached: np.ndarray, wanted: np.ndarray, formats: Sequence[FixedPoint]) -> np.ndarray:
    """Return a kernel that, in `formats`, has about the products with `reached` that `kernel` has with `wanted`.

    kernel: (weights, filters). reached, wanted: (windows, weights).
    """
    power = (reached.T @ reached).astype(np.float64) / len(reached)
    damping = max(DAMPING, len(kernel) / len(reached))  # few windows say little about many weights
    damped = power + damping * max(np.mean(np.diag(power)), np.finfo(np.float32).tiny) * np.eye(len(power))
    products = reached.T @ (wanted @ kernel) / len(reached)
    return _compensated(np.linalg.solve(damped, products + (damped - power) @ kernel), damped, formats)


def _compensated(kernel: np.ndarray, power: np.ndarray, formats: Sequence[FixedPoint]) -> np.ndarray:
    """Return what each weight of `kernel` is when it is rounded to nearest, and its error passed on to the next ones.

    power: (weights, weights), symmetric and positive: the second moments of the inputs. The weights that are left
    compensate an error best if they change by error / inverse[0, 0] * inverse[0], where inverse is that of their part
    of `power`; its Cholesky factor holds these rows for all parts at once.
    """
    order = np.argsort(-np.diag(power), kind="stable")
    factor = np.linalg.cholesky(np.linalg.inv(power[np.ix_(order, order)])).T
    left, found = kernel[order], np.empty_like(kernel)
    step, least, most = (np.array([getattr(f, n) for f in formats]) for n in ("step", "min_code", "max_code"))
    for i, weight in enumerate(order):
        found[weight] = left[i]
        rounded = np.clip(np.round(left[i] / step), least, most) * step
        left[i + 1 :] -= np.outer(factor[i, i + 1 :], (left[i] - rounded) / factor[i, i])
    return found


def _number_of_windows(layer: keras.Layer, x: np.ndarray) -> int:
    return len(x) * int(np.prod(layer.compute_output_shape(x.shape)[1:-1]))


def _drawn(layer: keras.Layer, batches: Sequence[Any], places: np.ndarray) -> np.ndarray:
    """Return the windows of all batches at `places`, in their order, as `_windows` does for a single one."""
    found: Any = None
    first = 0
    for x in batches:
        x = ops.convert_to_numpy(x)
        here = (places >= first) & (places < first + _number_of_windows(layer, x))
        windows = _windows(layer, x, places[here] - first)
        if found is None:
            found = np.empty((len(places), windows.shape[1]), windows.dtype)
        found[here] = windows
        first += _number_of_windows(layer, x)
    return found


def _windows(layer: keras.Layer, x: np.ndarray, places: slice | np.ndarray = slice(None)) -> np.ndarray:
    """Return the windows of `x` that the outputs of `layer` see, as (windows, weights); only those at `places`."""
    if isinstance(layer, SEQUENCES):
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
