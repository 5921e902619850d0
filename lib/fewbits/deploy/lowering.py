"""From a quantized Keras model to an integer network, with a proof of how wide every sum can become.

A model can be lowered if it can be deployed: batch normalization is folded (`quantize_model(...,
fold_batch_normalization=True)`), every product is of two formats, and integers know the roundings. Anything else is
refused, by the name of the layer.
"""

from collections.abc import Sequence
from math import inf

import numpy as np

from fewbits.backend import keras, ops
from fewbits.deploy import operations
from fewbits.deploy.frozen import check_exportable
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Tensor
from fewbits.errors import InputError
from fewbits.graph import Graph
from fewbits.quantization.conversion import TRAINING_ONLY, QuantizedModel
from fewbits.quantization.fixedpoint import FixedPoint, to_codes
from fewbits.quantization.layers import by_filter, kernel_formats, quantized_type

layers, activations = keras.layers, keras.activations

WIDEST = 62  # bits of codes that int64 holds, with room for a rounding


def lower(model: QuantizedModel, levels: int = 256, mean: int | Sequence[int] = 0) -> IntegerNetwork:
    """Convert a quantized model to an integer network.

    A softmax at the end is left out.

    Args:
        model: The quantized model; it takes (pixel - mean) / levels for unsigned pixels below `levels`.
        levels: Number of values of a pixel, a power of two.
        mean: An integer, or one per channel.

    Returns:
        The integer network.

    Raises:
        InputError: naming the layer, when a layer is not enabled, has no kernel or input format, rounds as the thesis
            does, has a bias with a finer step than its products, needs integers of more than 63 bits, or is of a kind
            that integer networks do not support; as `check_exportable`.
    """
    if not isinstance(model, QuantizedModel):
        raise InputError(f"{model.name} is not quantized; quantize_model gives it formats")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(f"{model.name} has {len(model.inputs)} inputs and {len(model.outputs)} outputs, not one each")
    if isinstance(levels, bool) or not isinstance(levels, int) or levels < 2 or levels & (levels - 1):
        raise InputError(f"levels must be a power of two, such as 256, not {levels!r}")
    shape = model.inputs[0].shape[1:]
    if len(shape) != 3 or None in shape:
        raise InputError(f"{model.name} must take images (height, width, channels) of a fixed size, not {shape}")
    check_exportable(model)
    means = _integer_means(mean, shape[2], levels)
    image = Tensor(tuple(shape), 1 - levels.bit_length(), -max(means), levels - 1 - min(means))
    lowering = _Lowering(image)
    made = {id(model.inputs[0]): 0}
    for call in Graph(model).calls:
        layer = call.operation
        if isinstance(layer, layers.InputLayer):
            continue
        try:
            index = lowering.layer(layer, [made[id(x)] for x in call.inputs])
        except OverflowError:
            raise InputError(
                f"layer {layer.name} needs integers of more than 63 bits; give it formats that are closer together"
            ) from None
        made[id(call.outputs[0])] = index
        if not isinstance(layer, layers.Softmax):
            lowering.outputs[layer.name] = index
    output = made[id(model.outputs[0])]
    lowering.finish(output)
    return IntegerNetwork(
        model.name, image, means, tuple(lowering.operations), lowering.outputs, tuple(model.outputs[0].shape[1:])
    )


class _Lowering:
    """The operations so far, and what each layer adds to them."""

    def __init__(self, image):
        self.tensors: list[Tensor] = [image]
        self.operations: list[operations.Operation] = []
        self.outputs: dict[str, int] = {}
        self._softmax: str | None = None

    def layer(self, layer: keras.Layer, inputs: list[int]) -> int:
        """Add what `layer` computes from the tensors `inputs`; return the index of its output."""
        if self._softmax:
            raise InputError(
                f"layer {layer.name} reads the softmax {self._softmax}, which integer networks do not support"
            )
        if quantized_type(layer):
            return self._quantized(layer, *inputs)
        handler = self._HANDLERS.get(type(layer))
        if handler is None:
            kind = type(layer).__name__
            hint = "; quantize_model(..., fold_batch_normalization=True) folds it" if "Normalization" in kind else ""
            raise InputError(f"layer {layer.name} is a {kind}, which integer networks do not support{hint}")
        return handler(self, layer, *inputs)

    def finish(self, output: int) -> None:
        """Make the tensor `output` the last one."""
        if output != len(self.operations):
            tensor = self.tensors[output]
            self._add(operations.Reshape, self.operations[output - 1].layer, (output,), tensor)

    def _add(self, kind, layer, inputs, output, *fields):
        if output.bits > WIDEST:
            raise OverflowError
        self.operations.append(kind(layer, tuple(inputs), output, *fields))
        self.tensors.append(output)
        return len(self.tensors) - 1

    # Layers with a kernel

    def _quantized(self, layer, index):
        formats, rounding = layer.formats, layer.rounding
        if not layer.enabled or formats.kernel is None or formats.input is None:
            raise InputError(f"layer {layer.name} multiplies floats; give its kernel and input formats, and enable it")
        index = self._requantize(layer.name, index, formats.input, rounding)
        index = self._convolve(layer, index, formats, rounding)
        if formats.output is not None:
            index = self._requantize(layer.name, index, formats.output, rounding)
        index = self._aligned(layer.name, index)
        if layer.bias is not None and layer.bias_order == "output":
            index = self._add_bias(layer, index, formats.bias, rounding)
        return self._activate(layer, index, layer.activation)

    def _convolve(self, layer, index, formats, rounding):
        x = self.tensors[index]
        dense, depthwise = isinstance(layer, layers.Dense), isinstance(layer, layers.DepthwiseConv2D)
        weights = ops.convert_to_numpy(layer.kernel)
        per_filter = kernel_formats(layer)
        columns = np.stack(
            [to_codes(column, fmt, rounding) for column, fmt in zip(by_filter(layer, weights).T, per_filter)], -1
        )
        kernel = columns.reshape(((1, 1) if dense else ()) + weights.shape)
        exponents = tuple(_exponent(fmt) + x.exponent for fmt in per_filter)
        bias = np.zeros(layer._filters, np.int64)
        if layer.bias is not None and layer.bias_order == "accumulator":
            bias = _bias_codes(layer, formats.bias, rounding, exponents)
        strides = (1, 1) if dense else tuple(layer.strides)
        dilation = (1, 1) if dense else tuple(layer.dilation_rate)
        window = tuple((size - 1) * rate + 1 for size, rate in zip(kernel.shape[:2], dilation))
        padding = _padding("valid" if dense else layer.padding, x.shape, window, strides)
        if getattr(layer, "groups", 1) != 1:
            raise InputError(
                f"layer {layer.name} convolves in {layer.groups} groups, which integer networks do not support"
            )
        low, high = (min(x.low, 0), max(x.high, 0)) if any(map(any, padding)) else (x.low, x.high)
        positive, negative = (np.clip(columns, *limits).sum(0) for limits in ((0, None), (None, 0)))
        highest, lowest = positive * high + negative * low + bias, positive * low + negative * high + bias
        partial = operations.signed_bits(
            int((np.minimum(positive * low, 0) + np.minimum(negative * high, 0) + np.minimum(bias, 0)).min()),
            int((np.maximum(positive * high, 0) + np.maximum(negative * low, 0) + np.maximum(bias, 0)).max()),
        )
        magnitude = int(((positive - negative) * max(-low, high, 0) + abs(bias)).max())
        sides = tuple(
            (side + sum(both) - size) // stride + 1
            for side, both, size, stride in zip(x.shape, padding, window, strides)
        )
        output = Tensor(
            (*sides, layer._filters),
            exponents[0] if len(set(exponents)) == 1 else exponents,
            int(lowest.min()),
            int(highest.max()),
            x.divisor,
        )
        fields = (kernel, bias, strides, padding, dilation, depthwise, partial, magnitude)
        return self._add(operations.Convolve, layer.name, (index,), output, *fields)

    def _add_bias(self, layer, index, fmt, rounding):
        if fmt is None:
            raise InputError(f"the bias of layer {layer.name} is added after its output in float; give it a format")
        x = self.tensors[index]
        shift = max(x.exponent - _exponent(fmt), 0)
        codes = to_codes(ops.convert_to_numpy(layer.bias), fmt, rounding)
        bias = _shifted(codes, max(_exponent(fmt) - x.exponent, 0))
        low, high = (x.low << shift) + int(bias.min()), (x.high << shift) + int(bias.max())
        output = Tensor(x.shape, x.exponent - shift, low, high)
        return self._add(operations.AddConstant, layer.name, (index,), output, shift, bias)

    # Grids

    def _requantize(self, name, index, fmt, rounding):
        """Return the tensor `index` in the format `fmt`; itself if it already has that format."""
        x = self.tensors[index]
        shift = tuple(_exponent(fmt) - e for e in _exponents(x))
        if max(x.bits - min(*shift, 0), x.divisor.bit_length() + max(*shift, 0)) > WIDEST:
            raise OverflowError
        low, high = (
            np.clip(
                [int(operations.divide_rounded(code << max(-s, 0), x.divisor << max(s, 0), rounding)) for s in shift],
                fmt.min_code,
                fmt.max_code,
            )
            for code in (x.low, x.high)
        )
        output = Tensor(x.shape, _exponent(fmt), int(low.min()), int(high.max()))
        if output == x:
            return index
        alike = len(set(shift)) == 1
        fields = (shift[0] if alike else shift, x.divisor, rounding, fmt.min_code, fmt.max_code)
        return self._add(operations.Requantize, name, (index,), output, *fields)

    def _aligned(self, name, index):
        """Return the tensor `index` with one exponent for all channels, the finest, so that nothing is rounded."""
        x = self.tensors[index]
        if isinstance(x.exponent, int):
            return index
        shift = tuple(min(x.exponent) - e for e in x.exponent)
        low, high = x.low << -min(shift), x.high << -min(shift)
        low, high = min(low, x.low), max(high, x.high)
        output = Tensor(x.shape, min(x.exponent), low, high, x.divisor)
        return self._add(operations.Requantize, name, (index,), output, shift, 1, "floor", low, high)

    def _finest(self, layer, indices):
        """Return the finest exponent of the tensors `indices`, their shifts to reach it, and their limits."""
        tensors = [self.tensors[i] for i in indices]
        if len({x.divisor for x in tensors}) > 1:
            raise InputError(f"layer {layer.name} joins averages with other values; quantize the averages first")
        exponent = min(x.exponent for x in tensors)
        shifts = tuple(x.exponent - exponent for x in tensors)
        lows, highs = ([getattr(x, end) << s for x, s in zip(tensors, shifts)] for end in ("low", "high"))
        return exponent, shifts, lows, highs

    # Layers without a kernel

    def _activate(self, layer, index, activation):
        if activation in (None, activations.linear):
            return index
        if activation is activations.softmax:
            return self._soften(layer, index)
        if activation is activations.relu:
            return self._clip(layer.name, index, None)
        if activation is activations.relu6:
            return self._clip(layer.name, index, 6)
        name = getattr(activation, "__name__", type(activation).__name__)
        raise InputError(
            f"layer {layer.name} has the activation {name}, which integer networks do not support; use a ReLU"
        )

    def _soften(self, layer, index):
        self._softmax = layer.name
        return index

    def _clip(self, name, index, highest):
        """Add a ReLU that clips at `highest`; no upper limit if None."""
        x = self.tensors[index]
        high = x.high
        if highest is not None:
            end = highest * x.divisor * 2.0**-x.exponent
            if end != int(end):
                raise InputError(
                    f"layer {name} clips at {highest}, which is not a multiple of its step {2.0**x.exponent:g}"
                )
            high = min(high, int(end))
        output = Tensor(x.shape, x.exponent, max(x.low, 0), max(high, 0), x.divisor)
        return index if output == x else self._add(operations.Clip, name, (index,), output, 0, max(high, 0))

    def _relu(self, layer, index):
        if layer.negative_slope or layer.threshold:
            raise InputError(
                f"layer {layer.name} is a ReLU with a slope or a threshold, which integer networks do not support"
            )
        return self._clip(layer.name, index, None if layer.max_value == inf else layer.max_value)

    def _activation(self, layer, index):
        return self._activate(layer, index, layer.activation)

    def _skip(self, layer, index):
        return index

    def _max_pool(self, layer, index):
        x = self.tensors[index]
        padding = _padding(layer.padding, x.shape, layer.pool_size, layer.strides)
        return self._pool(
            operations.MaxPool, layer, index, (x.low, x.high), x.divisor, layer.pool_size, layer.strides, padding
        )

    def _average(self, layer, index):
        x = self.tensors[index]
        if any(map(any, _padding(layer.padding, x.shape, layer.pool_size, layer.strides))):
            raise InputError(f"layer {layer.name} averages over borders, where its windows hold fewer pixels")
        return self._sum(layer, index, tuple(layer.pool_size), tuple(layer.strides))

    def _global_average(self, layer, index):
        return self._sum(layer, index, self.tensors[index].shape[:2], (1, 1))

    def _sum(self, layer, index, window, strides):
        x = self._undivided(layer, index)
        n = window[0] * window[1]
        return self._pool(operations.SumPool, layer, index, (x.low * n, x.high * n), x.divisor * n, window, strides)

    def _undivided(self, layer, index):
        """Return the tensor `index`; refuse averages, which float32 rounds before it adds them."""
        x = self.tensors[index]
        if x.divisor & (x.divisor - 1):
            raise InputError(
                f"layer {layer.name} adds up averages, which float32 has rounded; quantize the averages first"
            )
        return x

    def _global_max(self, layer, index):
        x = self.tensors[index]
        nothing = ((0, 0), (0, 0))
        return self._pool(operations.MaxPool, layer, index, (x.low, x.high), x.divisor, x.shape[:2], (1, 1), nothing)

    def _pool(self, kind, layer, index, limits, divisor, window, strides, *padding):
        x = self.tensors[index]
        outside = padding[0] if padding else ((0, 0), (0, 0))
        sides = [(n + sum(p) - w) // s + 1 for n, p, w, s in zip(x.shape, outside, window, strides)]
        low, high = limits
        output = Tensor((*sides, x.shape[2]), x.exponent, low, high, divisor)
        return self._add(kind, layer.name, (index,), output, tuple(window), tuple(strides), *padding)

    def _pad(self, layer, index):
        return self._border(layer, index, layer.padding)

    def _crop(self, layer, index):
        return self._border(layer, index, [[-n for n in side] for side in layer.cropping])

    def _border(self, layer, index, padding):
        x, padding = self.tensors[index], tuple(tuple(side) for side in padding)
        sides = [n + sum(side) for n, side in zip(x.shape, padding)]
        output = Tensor((*sides, x.shape[2]), x.exponent, min(x.low, 0), max(x.high, 0), x.divisor)
        return self._add(operations.Pad, layer.name, (index,), output, padding)

    def _concatenate(self, layer, *indices):
        if layer.axis not in (-1, 3):
            raise InputError(
                f"layer {layer.name} concatenates along axis {layer.axis}; integer networks concatenate channels"
            )
        exponent, shifts, lows, highs = self._finest(layer, indices)
        first = self.tensors[indices[0]]
        channels = sum(self.tensors[i].shape[2] for i in indices)
        output = Tensor((*first.shape[:2], channels), exponent, min(lows), max(highs), first.divisor)
        return self._add(operations.Concatenate, layer.name, indices, output, shifts)

    def _sum_of(self, layer, *indices):
        exponent, shifts, lows, highs = self._finest(layer, indices)
        first, *rest = (self._undivided(layer, i) for i in indices)
        if any(x.shape != first.shape for x in rest):
            raise InputError(f"layer {layer.name} adds maps of different sizes, which integer networks do not support")
        output = Tensor(first.shape, exponent, sum(lows), sum(highs), first.divisor)
        return self._add(operations.Add, layer.name, indices, output, shifts)

    def _reshape(self, layer, index):
        x = self.tensors[index]
        shape = tuple(layer.compute_output_shape((1, *x.shape))[1:])  # of this call of the layer
        if len(shape) not in (1, 3):
            raise InputError(f"layer {layer.name} makes the shape {shape}, which is neither an image nor a vector")
        shape = shape if len(shape) == 3 else (1, 1, *shape)
        output = Tensor(shape, x.exponent, x.low, x.high, x.divisor)
        return index if output == x else self._add(operations.Reshape, layer.name, (index,), output)

    def _rescale(self, layer, index):
        x = self.tensors[index]
        mantissa, exponent = np.frexp(layer.scale) if np.ndim(layer.scale) == 0 else (0, 0)
        if mantissa != 0.5 or np.any(layer.offset):
            raise InputError(
                f"layer {layer.name} scales by {layer.scale} and adds {layer.offset}; "
                "integer networks only scale by powers of two"
            )
        output = Tensor(x.shape, x.exponent + int(exponent) - 1, x.low, x.high, x.divisor)
        return self._add(operations.Reshape, layer.name, (index,), output)

    _HANDLERS = {
        layers.Activation: _activation,
        layers.ReLU: _relu,
        layers.Softmax: _soften,
        layers.MaxPooling2D: _max_pool,
        layers.AveragePooling2D: _average,
        layers.GlobalAveragePooling2D: _global_average,
        layers.GlobalMaxPooling2D: _global_max,
        layers.ZeroPadding2D: _pad,
        layers.Cropping2D: _crop,
        layers.Flatten: _reshape,
        layers.Reshape: _reshape,
        **dict.fromkeys(TRAINING_ONLY, _skip),
        layers.Identity: _skip,
        layers.Rescaling: _rescale,
        layers.Concatenate: _concatenate,
        layers.Add: _sum_of,
    }


def _exponent(fmt: FixedPoint) -> int:
    return fmt.msb + 1 - fmt.nbits


def _exponents(tensor: Tensor) -> tuple[int, ...]:
    return tensor.exponent if isinstance(tensor.exponent, tuple) else (tensor.exponent,)


def _bias_codes(layer, fmt, rounding, exponents):
    """Return the bias (int64) on the grid of its products, with one exponent per filter."""
    bias = ops.convert_to_numpy(layer.bias).astype(np.float64)
    if fmt is None:  # rounded to nearest, as the layer does
        codes = np.rint(bias / np.exp2(exponents))
        if np.abs(codes).max() >= 2.0 ** (WIDEST - 1):
            raise OverflowError
        return codes.astype(np.int64)
    shifts = _exponent(fmt) - np.array(exponents)
    if shifts.min() < 0:
        raise InputError(
            f"the bias of layer {layer.name} has a finer step than its products; give it {-shifts.min()} fewer bits"
        )
    return _shifted(to_codes(bias, fmt, rounding), shifts)


def _shifted(codes, shifts):
    """Return `codes` (int64) times 2**shifts."""
    if int(np.abs(codes).max()).bit_length() + int(np.max(shifts)) >= WIDEST:
        raise OverflowError
    return codes << shifts


def _padding(kind, shape, window, strides):
    """Return the rows above and below, and columns left and right, of Keras' padding `valid` or `same`."""
    if kind == "valid":
        return (0, 0), (0, 0)
    missing = [max((-(-side // s) - 1) * s + w - side, 0) for side, w, s in zip(shape, window, strides)]
    return tuple((n // 2, n - n // 2) for n in missing)


def _integer_means(mean, channels, levels):
    means = tuple(np.ravel(mean).tolist())
    if any(not isinstance(m, int) or not 0 <= m < levels for m in means) or len(means) not in (1, channels):
        raise InputError(f"mean must be an integer from 0 to {levels - 1}, or one per channel, not {mean!r}")
    return means if len(means) == channels else means * channels
