"""Repairs for what rounding down does to kernels and outputs, bias correction among them.

Rounding down lowers every value by half a step on average. A kernel that is w - q / 2 shifts its output by -q / 2 times
the sum of the inputs in the window. That shift depends on the image, so no constant undoes it; and it is not noise, so
the SQNR does not predict it. Layers that are not enabled stay as they are.

Sources: vieito2017, 5.4 (kernels, inputs and outputs rounded down, and what it costs); Nagel et al., 2019
(arXiv 1906.04721), and Finkelstein et al., 2019 (arXiv 1906.03193), for bias correction.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fewbits.backend import ops, tensor
from fewbits.data.inputs import Images, input_arrays
from fewbits.errors import InputError
from fewbits.post_training.copies import copied, enabled_layers
from fewbits.quantization.conversion import QuantizedModel, dequantize_model
from fewbits.quantization.fixedpoint import MAX_NBITS_KERAS, FixedPoint, quantize
from fewbits.quantization.layers import by_filter, kernel_formats, quantized_kernel
from fewbits.quantization.layerwise import LayerwiseRun
from fewbits.quantization.observation import observe

BATCH = 32  # images per pass


def round_kernels(network: QuantizedModel, rounding: str = "nearest") -> QuantizedModel:
    """Return `network` with its kernels rounded to the grid of their formats.

    A layer that rounds down leaves such kernels as they are. Price: none; the kernels are rounded once, before they go
    to the device.

    Args:
        network: The quantized network.
        rounding: As in `fewbits.quantize`.

    Returns:
        A new network.
    """
    network = copied(network)
    for layer in enabled_layers(network):
        layer.kernel.assign(quantized_kernel(layer, rounding))
    return network


def add_half_a_step(network: QuantizedModel) -> QuantizedModel:
    """Return `network` with half a step of the output format added to the bias of each layer that has one.

    floor((v + q / 2) / q) is v / q rounded half up: the accumulator starts half a step higher, and the shift after it
    rounds to nearest. Price: none; a constant has another value.

    The outputs of a layer that rounds down are then, bit for bit, those of `nearest-up` for the same products, if input
    and kernel are in fixed point and the sums fit the 24 bits of float32: bias and half a step are put on the grid of
    the products here, where the layer leaves them. If that grid has no half step, no output lies between two codes and
    nothing is added. With float products the two agree except for the rounding of their sum. Inputs and kernels are
    still rounded down: round kernels offline (`round_kernels`), and give an input the format of the output from which
    it comes.

    Args:
        network: The quantized network.

    Returns:
        A new network, whose layers all have a bias.

    Raises:
        InputError: on a bias that is added after the output quantizer or has a format that does not hold the sum, and
            on a layer that does not round down; the message names the layer.
    """
    network = copied(network, with_bias=True)
    for layer in enabled_layers(network):
        if layer.formats.output is not None:
            _check_half_a_step(layer)
            layer.bias.assign(_half_a_step_higher(layer))
    return network


def reconstruct_mid_step(network: QuantizedModel) -> QuantizedModel:
    """Return `network` with kernels rounded down and read half a step higher, which takes a format of one more bit.

    A code k of n bits, from -2**(n - 1) to 2**(n - 1) - 1, stood for k q, and now stands for
    k q + q / 2 = (2k + 1) (q / 2). That is the code 2k + 1, from -2**n + 1 to 2**n - 1, in the format of n + 1 bits
    with the same MSB, whose step is q / 2: all these codes exist there, and rounding leaves them as they are. Within
    the amplitude the error is at most q / 2.

    Price: the device stores n bits. sum((k q + q / 2) x) = q sum(k x) + (q / 2) sum(x) takes one more sum of the inputs
    per window, which all filters share. No weight is zero any more.

    Args:
        network: The quantized network.

    Returns:
        A new network.

    Raises:
        InputError: on a kernel of 24 bits, because float32 has no bit left; the message names the layer.
    """
    network = copied(network)
    for layer in enabled_layers(network):
        if layer.formats.kernel is None:
            continue
        formats = kernel_formats(layer)
        if formats[0].nbits == MAX_NBITS_KERAS:
            raise InputError(f"the kernel of {layer.name} has {MAX_NBITS_KERAS} bits; take 23, so that one is left")
        floored = quantized_kernel(layer, "floor")
        higher = by_filter(layer, floored) + [f.step / 2 for f in formats]
        layer.kernel.assign(higher.reshape(floored.shape))
        finer = tuple(FixedPoint(f.msb, f.nbits + 1) for f in formats)
        layer.set_formats(*layer.formats._replace(kernel=finer))
    return network


def correct_bias(network: QuantizedModel, images: Images) -> QuantizedModel:
    """Return `network` with the mean shift that its rounded kernels cause on `images` subtracted from each bias.

    The shift of a filter is the error of its kernel times the mean input, by the layer's own product, averaged over the
    image: what a constant can undo. It is a control: an image brighter than the mean is shifted further, a darker one
    less, and what the constant leaves grows with the contrast between images and between places. Price: none.

    All layers are corrected at once, for the inputs that the float network has; see `correct_bias_sequentially`.

    Args:
        network: The quantized network.
        images: As in `observation.observe`; inputs are those of the float network.

    Returns:
        A new network, whose layers all have a bias.
    """
    network = copied(network, with_bias=True)
    for name, values in observe(network, images):
        layer = network.get_layer(name)
        if not layer.enabled:
            continue
        error = quantized_kernel(layer) - ops.convert_to_numpy(layer.kernel)
        shift = layer.product(values.input.mean(0, keepdims=True), error.astype("float32"))
        layer.bias.assign_sub(ops.mean(shift, axis=tuple(range(len(shift.shape) - 1))))
    return network


def correct_bias_sequentially(
    network: QuantizedModel, images: Images, progress: Callable[[int, int], None] | None = None
) -> QuantizedModel:
    """Return `network` with biases at which each filter has the mean output on `images` that it has in float.

    Layer by layer, in the order of the graph, the mean output of each filter is measured in the float network and in
    the quantized one, before output quantizer and activation, and the difference is added to the bias. The inputs of
    the quantized layer come from the layers before it, which are corrected already. So a correction also takes in what
    the layers before still get wrong: the errors of their outputs, and what a ReLU makes of them. `correct_bias` sees
    the error of the layer's own kernel only. Price: none; one pass through either network, offline.

    The float network has the weights that `network` keeps, so correct the bias before kernels are rounded for good
    (`round_kernels`). A bias is rounded afterwards as its layer rounds it, to the grid of its products or to the format
    of its own.

    Args:
        network: The quantized network.
        images: As in `input_arrays`: (n, height, width, channels), or what else the network takes; some tens.
        progress: Called after each layer with the number of layers done and their total.

    Returns:
        A new network, whose layers all have a bias.

    Raises:
        InputError: when there are no images, or they do not fit the network.

    Source:
        Nagel et al., 2019 (arXiv 1906.04721), 4.2 and appendix D (empirical bias correction).
    """
    arrays = input_arrays(network, images)
    network, plain = copied(network, with_bias=True), dequantize_model(network)
    batches = [[array[i : i + BATCH] for array in arrays] for i in range(0, len(arrays[0]), BATCH)]
    reached, wanted = LayerwiseRun(network, batches), LayerwiseRun(plain, batches)
    chosen = enabled_layers(network)
    for done, layer in enumerate(chosen, 1):
        in_float = partial(layer.product, kernel=tensor(layer.kernel))
        mean = _mean_products(plain.get_layer(layer.name), wanted, in_float)
        layer.bias.assign_add(mean - _mean_products(layer, reached, layer.extract))
        if progress:
            progress(done, len(chosen))
    return network


def _mean_products(layer: Any, run: LayerwiseRun, product: Callable[[Any], Any]) -> np.ndarray:
    """Return the mean of what `product` makes of the inputs of `layer` in a run, one number per filter: (filters,).

    The layers before are run first, with the weights that they have now.
    """
    [call] = run.graph.calls_of(layer)
    sums, places = np.zeros(by_filter(layer, layer.kernel).shape[1]), 0
    for inputs in run.read(call.inputs[0]):
        products = ops.convert_to_numpy(product(ops.cast(inputs, layer.kernel.dtype)))
        products = products.reshape(-1, products.shape[-1])
        sums, places = sums + products.sum(0, dtype=np.float64), places + len(products)
    return sums / places


def _check_half_a_step(layer: Any) -> None:
    if layer.bias_order != "accumulator":
        raise InputError(f"{layer.name} adds its bias after the output quantizer; use bias_order='accumulator'")
    if layer.rounding != "floor":
        raise InputError(f"{layer.name} rounds by {layer.rounding!r}; half a step is for layers that round by 'floor'")


def _half_a_step_higher(layer: Any) -> np.ndarray:
    """Return the bias of `layer`, as it would round it, plus half a step of the output if the products have one."""
    formats, bias = layer.formats, ops.convert_to_numpy(layer.bias).astype(np.float64)
    grid: Any = 0.0
    if formats.kernel is not None and formats.input is not None:
        grid = np.array([f.step * formats.input.step for f in kernel_formats(layer)])
    if formats.bias is not None:
        bias = quantize(bias, formats.bias, layer.rounding)
        grid = np.minimum(grid, formats.bias.step)
    elif np.all(grid):
        bias = np.round(bias / grid) * grid
    half = formats.output.step / 2
    higher = bias + np.where(half >= grid, half, 0.0)
    if formats.bias is not None and not np.array_equal(quantize(higher, formats.bias, layer.rounding), higher):
        raise InputError(f"the bias format of {layer.name} does not hold half a step more; widen it, or leave it None")
    return higher
