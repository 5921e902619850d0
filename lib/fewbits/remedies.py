"""Remedies for what rounding down does to a network, without training; each with its price in hardware.

Rounding down lowers every value by half a step on average. A kernel that is w - q / 2 shifts its output by -q / 2 times
the sum of the inputs in the window: a shift that depends on the image, so that no constant undoes it, and that is no
noise, so that the SQNR does not foresee it. All functions return a new network and leave the one they are given; layers
that are not enabled stay as they are.

Sources: vieito2017, 5.4 (kernels, inputs and outputs rounded down, and what it costs); Nagel et al., 2019 (`equalize`).
"""

import numpy as np

from fewbits.backend import keras, ops
from fewbits.calibration import by_filter, observe
from fewbits.conversion import QUANTIZED, QuantizedModel, calls, check_layers, dequantize_model, quantized_type
from fewbits.errors import InputError
from fewbits.fixedpoint import MAX_NBITS_KERAS, FixedPoint, quantize

layers = keras.layers

SWEEPS = 20  # of `equalize`, over all layers; most networks are done after two or three


def round_kernels(network: QuantizedModel, rounding: str = "nearest") -> QuantizedModel:
    """Return `network` with its kernels on the grid of their formats; a layer that rounds down leaves them as they are.

    Price: none; the kernels are rounded once, before they go to the device. rounding: as in `fewbits.quantize`.
    """
    network = _copy(network)
    for layer in _enabled(network):
        layer.kernel.assign(_rounded_kernel(layer, rounding))
    return network


def add_half_a_step(network: QuantizedModel) -> QuantizedModel:
    """Return `network` with half a step of its output format in the bias of each layer that has one.

    floor((v + q / 2) / q) is v / q rounded half up: the accumulator starts half a step higher, and the shift behind it
    rounds to nearest. Price: none; a constant is another one.

    Outputs of a layer that rounds down are then, bit for bit, those of `nearest-up` of the same products, if input and
    kernel are in fixed point and the sums fit the 24 bits of float32: bias and half a step are put on the grid of the
    products here, where the layer leaves them. Where that grid has no half step, no output lies between two codes and
    nothing is added. With float products the two agree but for the rounding of their sum. Inputs and kernels are still
    rounded down: round those offline (`round_kernels`), and give an input the format of the output it comes from.

    Raises InputError, naming the layer, on a bias that is added after the output quantizer or has a format that does
    not hold the sum, and on a layer that does not round down.
    """
    network = _copy(network, with_bias=True)
    for layer in _enabled(network):
        if layer.formats.output is not None:
            _check_half_a_step(layer)
            layer.bias.assign(_half_a_step_higher(layer))
    return network


def reconstruct_mid_step(network: QuantizedModel) -> QuantizedModel:
    """Return `network` with kernels rounded down and read half a step higher, which takes a format of one more bit.

    A code k of n bits, from -2**(n - 1) to 2**(n - 1) - 1, stood for k q, and now for k q + q / 2 = (2k + 1) (q / 2).
    That is the code 2k + 1, from -2**n + 1 to 2**n - 1, in the format of n + 1 bits with the same MSB, whose step is
    q / 2: all of them exist there, and rounding leaves them as they are. Within the amplitude the error is at most
    q / 2.

    Price: the device stores n bits. sum((k q + q / 2) x) = q sum(k x) + (q / 2) sum(x): one more sum a window of the
    inputs, which all filters share. No weight is zero any more. Raises InputError, naming the layer, on a kernel of 24
    bits, for which float32 has no bit left.
    """
    network = _copy(network)
    for layer in _enabled(network):
        if layer.formats.kernel is None:
            continue
        formats = _kernel_formats(layer)
        if formats[0].nbits == MAX_NBITS_KERAS:
            raise InputError(f"the kernel of {layer.name} has {MAX_NBITS_KERAS} bits; take 23, so that one is left")
        floored = _rounded_kernel(layer, "floor")
        higher = by_filter(layer, floored) + [f.step / 2 for f in formats]
        layer.kernel.assign(higher.reshape(floored.shape))
        finer = tuple(FixedPoint(f.msb, f.nbits + 1) for f in formats)
        layer.set_formats(*layer.formats._replace(kernel=finer))
    return network


def fold_mean_shift(network: QuantizedModel, images) -> QuantizedModel:
    """Return `network` with the mean shift that its rounded kernels give each filter on `images` taken off its bias.

    The shift is the error of the kernel times the mean input, by the layer's own product, averaged over the image: what
    a constant can undo. It is a control: an image brighter than the mean is shifted further, one that is darker less,
    and what the constant leaves grows with the contrast between images and between places. Price: none.

    images: (n, height, width, channels), as in `calibration.observe`; inputs are those of the float network.
    """
    network = _copy(network, with_bias=True)
    for name, values in observe(network, images):
        layer = network.get_layer(name)
        if not layer.enabled:
            continue
        error = _rounded_kernel(layer, layer.rounding) - ops.convert_to_numpy(layer.kernel)
        shift = layer.product(values.input.mean(0, keepdims=True), error.astype("float32"))
        layer.bias.assign_sub(ops.mean(shift, axis=tuple(range(len(shift.shape) - 1))))
    return network


def equalize(model: keras.Model) -> keras.Model:
    """Return the float `model` with the channels of its tensors scaled so that kernels need less range; same outputs.

    A layer to quantize, linear or with ReLU, may have channel i divided by s > 0 if those that read it multiply it by s
    again: what stands between passes the factor on (ReLU, pooling, padding, dropout, flattening, concatenation of
    channels; see PASSING). s = sqrt(r1 / r2), of the largest magnitude r1 that the first's kernel has in channel i and
    r2 that all its readers' kernels have, makes both equal: each channel then uses the whole range of one format a
    layer. Here s is the power of two nearest to that, by which float32 loses nothing: outputs are the same, bit for
    bit, as long as no number becomes subnormal. This goes on until no s is other than 1.

    A tensor stays as it is where something else reads it: an addition, a normalization that was not folded, another
    activation, the user; so does a channel that has only zeros, in the first's kernel or in all that read it. Price:
    none; but ranges of activations change too, so calibrate after this. Raises InputError, naming the layer, on what
    cannot be quantized and on channels first. Source: Nagel et al., 2019 (arXiv 1906.04721), 4.1, where s is any number
    and a layer has one reader; several, as in a fire module, share s here.
    """
    check_layers(model)
    for layer in model.layers:
        if getattr(layer, "data_format", "channels_last") == "channels_first":
            raise InputError(f"{layer.name} has its channels first; build it with data_format='channels_last'")
    model = dequantize_model(model)
    nodes = [node for uses in calls(model).values() for node in uses]
    written = [(n.operation, n.output_tensors[0]) for n in nodes if _is_scalable(n.operation)]
    pairs = [(layer, _readers(model, nodes, tensor)) for layer, tensor in written]
    for _ in range(SWEEPS):
        changed = [_equalized(layer, readers) for layer, readers in pairs if readers]
        if not any(changed):
            break
    return model


# Quantized networks


def _copy(network, with_bias=False) -> QuantizedModel:
    """Return a copy of `network`, with its formats and switches; with_bias: each layer has one, of zeros at first."""
    if not isinstance(network, QuantizedModel):
        raise InputError(f"{getattr(network, 'name', network)} has no formats to keep to; use quantize_model before")

    def clone(layer):
        extra = {"use_bias": True} if with_bias and quantized_type(layer) else {}
        return layer.__class__.from_config(layer.get_config() | extra)

    graph = keras.models.clone_model(network, clone_function=clone)
    copy = QuantizedModel(graph.input, graph.output, name=network.name)
    for layer in copy.layers:
        old = network.get_layer(layer.name)
        if not quantized_type(layer):
            layer.set_weights(old.get_weights())
            continue
        layer.kernel.assign(ops.convert_to_numpy(old.kernel))
        if layer.bias is not None:
            layer.bias.assign(np.zeros(layer.bias.shape) if old.bias is None else ops.convert_to_numpy(old.bias))
        layer.locked = old.locked
    return copy


def _enabled(network) -> list:
    return [layer for layer in network.quantized_layers if layer.enabled]


def _kernel_formats(layer) -> tuple[FixedPoint, ...]:
    """Return the formats of the kernel, one for each filter."""
    formats = layer.formats.kernel
    return formats if isinstance(formats, tuple) else (formats,) * by_filter(layer, layer.kernel).shape[1]


def _rounded_kernel(layer, rounding) -> np.ndarray:
    """Return the kernel of `layer` in its formats; as it is without one."""
    kernel = ops.convert_to_numpy(layer.kernel)
    if layer.formats.kernel is None:
        return kernel
    columns = zip(by_filter(layer, kernel).T, _kernel_formats(layer))
    return np.stack([quantize(column, fmt, rounding) for column, fmt in columns], axis=1).reshape(kernel.shape)


def _check_half_a_step(layer):
    if layer.bias_order != "accumulator":
        raise InputError(f"{layer.name} adds its bias after the output quantizer; use bias_order='accumulator'")
    if layer.rounding != "floor":
        raise InputError(f"{layer.name} rounds by {layer.rounding!r}; half a step is for layers that round by 'floor'")


def _half_a_step_higher(layer) -> np.ndarray:
    """Return the bias of `layer`, as it would round it, plus half a step of the output where products have one."""
    formats, bias = layer.formats, ops.convert_to_numpy(layer.bias).astype(np.float64)
    grid = 0.0
    if formats.kernel is not None and formats.input is not None:
        grid = np.array([f.step * formats.input.step for f in _kernel_formats(layer)])
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


# Equalization


# Layers that pass a factor on a channel: max and mean of scaled values are scaled; those of Activation and ReLU see
# `_is_homogeneous`.
PASSING = (
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.Dropout,
    layers.Identity,
    layers.Flatten,
)


def _is_homogeneous(activation) -> bool:
    return activation in (None, keras.activations.linear, keras.activations.relu)


def _is_scalable(layer) -> bool:
    return type(layer) in QUANTIZED and _is_homogeneous(layer.activation)


def _passes(layer) -> bool:
    if type(layer) is layers.Activation:
        return _is_homogeneous(layer.activation)
    if type(layer) is layers.ReLU:
        return layer.max_value is None and layer.threshold == 0
    return type(layer) in PASSING


def _readers(model, nodes, tensor) -> list:
    """Return (layer, channels, first) for each layer that reads `tensor`, as its own channels from `first` on, of all
    its `channels`; nothing where anything else reads it."""
    found, waiting = [], [(tensor, tensor.shape[-1], 0)]
    while waiting:
        tensor, channels, first = waiting.pop()
        if any(tensor is output for output in model.outputs):
            return []
        for node, place in [(n, i) for n in nodes for i, t in enumerate(n.input_tensors) if t is tensor]:
            reader, result = node.operation, node.output_tensors[0]
            if type(reader) in QUANTIZED:
                found.append((reader, channels, first))
            elif _passes(reader):  # flattened, a tensor has its channels over and over again
                waiting.append((result, channels, first))
            elif _joins_channels(reader, tensor, channels):
                before = sum(t.shape[-1] for t in node.input_tensors[:place])
                waiting.append((result, result.shape[-1], before + first))
            else:
                return []
    return found


def _joins_channels(layer, tensor, channels) -> bool:
    """Return whether `layer` puts `tensor` and others side by side, channel by channel."""
    along = type(layer) is layers.Concatenate and layer.axis in (-1, len(tensor.shape) - 1)
    return along and tensor.shape[-1] == channels


def _equalized(layer, readers) -> bool:
    """Scale the channels of `layer` and of its `readers`; return whether any scale was other than 1."""
    kernel = ops.convert_to_numpy(layer.kernel)
    own = by_filter(layer, kernel)
    n = own.shape[1]
    read = [_channels(reader, channels)[:, first : first + n] for reader, channels, first in readers]
    largest = np.max([np.abs(view).max((0, 2)) for view in read], axis=0)
    exponent = _balance(np.abs(own).max(0), largest)
    if not exponent.any():
        return False
    layer.kernel.assign(np.ldexp(own, -exponent).reshape(kernel.shape))
    if layer.bias is not None:
        layer.bias.assign(np.ldexp(ops.convert_to_numpy(layer.bias), -exponent))
    for reader, channels, first in readers:
        view = _channels(reader, channels).copy()
        view[:, first : first + n] = np.ldexp(view[:, first : first + n], exponent[:, np.newaxis])
        reader.kernel.assign(_kernel(reader, view))
    return True


def _channels(layer, channels):
    """Return the kernel of `layer` as (places, input channels, filters that read one channel).

    Of a convolution in groups, the filters of a group read its channels only.
    """
    kernel, groups = ops.convert_to_numpy(layer.kernel), getattr(layer, "groups", 1)
    places = kernel.reshape(-1, channels // groups, groups, kernel.shape[-1] // groups)
    return places.swapaxes(1, 2).reshape(len(places), channels, -1)


def _kernel(layer, view):
    """Return `view`, the kernel as `_channels` returns it, in the shape in which `layer` has it."""
    places, channels, filters = view.shape
    groups = getattr(layer, "groups", 1)
    return view.reshape(places, groups, channels // groups, filters).swapaxes(1, 2).reshape(layer.kernel.shape)


def _balance(writer, reader) -> np.ndarray:
    """Return log2 of the power of two nearest to sqrt(writer / reader); 0 where either is zero."""
    usable = (writer > 0) & (reader > 0)
    ratio = np.log2(np.where(usable, writer, 1.0)) - np.log2(np.where(usable, reader, 1.0))
    return np.round(ratio / 2).astype(int)
