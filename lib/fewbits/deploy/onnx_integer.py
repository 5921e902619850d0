"""ONNX files of integer networks: each operation as nodes, with the same codes in ONNX Runtime.

Products are ConvInteger, whose operands have 8 bits. It reads uint8: the zero point is 0 if no code is negative, as in
unsigned formats, otherwise 128. A requantization is a division by a power of two and a rounding in float64, which holds
all 32 bits of a sum and is therefore exact. Codes are int32, channels first.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fewbits.deploy import operations
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.onnx_graph import TO_FIRST, TO_LAST, ONNXGraph
from fewbits.errors import InputError
from fewbits.io.files import write_whole

ZERO_POINTS = 0, 128


def to_integer_onnx(network: IntegerNetwork) -> Any:
    """Convert an integer network.

    Args:
        network: An integer network.

    Returns:
        An onnx.ModelProto from `image`, uint8 (n, height, width, channels), to `codes`, int32. Its metadata,
        `exponent` and `divisor`, say what a code stands for. If there are several inputs or outputs, all these names
        are numbered from 1.

    Raises:
        InputError: naming the layer, when a kernel or its inputs have more than 8 bits or a sum more than 32; when
            pixels have more than 8 bits; when the package onnx is not installed.
    """
    graph = _Graph(network)
    images, codes, outputs = _names("image", network.inputs), _names("codes", network.results), network.results
    for name, output in zip(codes, outputs):
        last = graph.add("Transpose", graph.tensors[output.tensor], perm=TO_LAST)
        graph.add("Reshape", last, graph.array((-1, *output.shape), np.int64), output=name)
    ends = (
        [(name, np.uint8, ("n", *network.tensors[i].shape)) for name, i in zip(images, network.inputs)],
        [(name, np.int32, ("n", *output.shape)) for name, output in zip(codes, outputs)],
    )
    proto = graph.model(network.name, *ends)
    for exponent, divisor, output in zip(_names("exponent", outputs), _names("divisor", outputs), outputs):
        tensor = network.tensors[output.tensor]
        proto.metadata_props.add(key=exponent, value=str(tensor.exponent))
        proto.metadata_props.add(key=divisor, value=str(tensor.divisor))
    return proto


def write_integer_onnx(network: IntegerNetwork, path: Path) -> None:
    """Write what `to_integer_onnx` returns to a file, whole or not at all.

    Args:
        network: An integer network.
        path: The .onnx file.

    Raises:
        InputError: as `to_integer_onnx`.
    """
    write_whole(path, to_integer_onnx(network).SerializeToString())


def _zero_point(tensor):
    """Return the zero point with which uint8 holds the codes of a tensor; None if there is none."""
    return next((zero for zero in ZERO_POINTS if 0 <= tensor.low + zero and tensor.high + zero <= 255), None)


def _names(name, ends):
    return [name] if len(ends) == 1 else [f"{name}{number}" for number in range(1, len(ends) + 1)]


class _Graph(ONNXGraph):
    """The nodes of a network; `tensors` holds the name that each tensor of the network has in the graph."""

    def __init__(self, network):
        super().__init__(np.float64, default=np.int32)
        self._network, self._read = network, network.tensors
        images = dict(zip(network.inputs, _names("image", network.inputs)))
        self.tensors = [self._image(images[0], network.image, network.mean)]
        for operation in network.operations:
            self.layer = operation.layer
            if operation.output.bits > 32:
                raise InputError(
                    f"layer {operation.layer} makes codes of {operation.output.bits} bits, and integers in ONNX have 32"
                    "; give it an output format of fewer"
                )
            if isinstance(operation, operations.Input):
                self.tensors.append(self._image(images[len(self.tensors)], operation.output, operation.mean))
            else:
                inputs = (self.tensors[i] for i in operation.inputs)
                self.tensors.append(self._KINDS[type(operation)](self, operation, *inputs))
        self.layer = ""

    def _image(self, name, tensor, mean):
        """Add the codes of an input: its pixels minus their mean."""
        if tensor.high + min(mean) > 255:
            raise InputError(
                f"the pixels of {self._network.name} have more than 8 bits, and an ONNX file of integers takes bytes; "
                "use levels=256"
            )
        mean = self.array(np.reshape(mean, (-1, 1, 1)))
        image = self.add("Transpose", self.cast(name, np.int32), perm=TO_FIRST)
        return self.add("Sub", image, mean)

    def _product(self, x, zero, kernel, **options):
        """Add ConvInteger of the codes `x`, whose zero point is `zero`, and `kernel`, (out, in, height, width)."""
        unsigned = self.cast(self.add("Add", x, self.array(zero)) if zero else x, np.uint8)
        weights, options["kernel_shape"] = self.array(kernel, np.int8), kernel.shape[2:]
        return self.add("ConvInteger", unsigned, weights, self.array(zero, np.uint8), **options)

    def _convolve(self, operation, x):
        tensor = self._read[operation.inputs[0]]
        zero = _zero_point(tensor)
        if zero is None or operations.signed_bits(int(operation.kernel.min()), int(operation.kernel.max())) > 8:
            raise InputError(
                f"layer {operation.layer} multiplies codes of more than 8 bits, which integers in ONNX cannot; give it "
                "kernel and input formats of at most 8, or write C"
            )
        if operation.partial_bits > 32:
            raise InputError(
                f"layer {operation.layer} sums up to {operation.partial_bits} bits, and integers in ONNX have 32; give "
                "it formats of fewer bits, or write C"
            )
        kernel = operation.kernel.transpose(3, 2, 0, 1)
        if operation.depthwise:
            kernel = operation.kernel.reshape(*operation.kernel.shape[:2], 1, -1).transpose(3, 2, 0, 1)
        (top, bottom), (left, right) = operation.padding
        products = self._product(
            x,
            zero,
            kernel,
            group=tensor.shape[2] if operation.depthwise else operation.groups,
            strides=operation.strides,
            dilations=operation.dilation,
            pads=(top, left, bottom, right),
        )
        return self.add("Add", products, self.array(operation.bias.reshape(-1, 1, 1)))

    def _requantize(self, operation, x):
        divisor = operation.divisor * np.exp2(np.asarray(operation.shift, float))
        exact = self.cast(x, np.float64)
        exact = self.add("Div", exact, self.array(divisor.reshape(-1, 1, 1), np.float64))
        limits = (self.array(limit, np.float64) for limit in (operation.low, operation.high))
        return self.cast(self.add("Clip", self.rounded(exact, operation.rounding), *limits), np.int32)

    def _clip(self, operation, x):
        return self.add("Clip", x, self.array(operation.low), self.array(operation.high))

    def _shifted(self, x, shift):
        return self.add("Mul", x, self.array(2**shift)) if shift else x

    def _all_shifted(self, operation, inputs):
        """Return the inputs of an operation on one grid."""
        for i, shift in zip(operation.inputs, operation.shifts):
            bits = self._read[i].bits + shift
            if bits > 32:
                raise InputError(
                    f"layer {operation.layer} joins codes of {bits} bits, and integers in ONNX have 32; give what it "
                    "reads formats that are closer together"
                )
        return [self._shifted(x, shift) for x, shift in zip(inputs, operation.shifts)]

    def _add_constant(self, operation, x):
        return self.add("Add", self._shifted(x, operation.shift), self.array(operation.constant.reshape(-1, 1, 1)))

    def _max_pool(self, operation, x):
        (top, bottom), (left, right) = operation.padding  # ONNX Runtime finds maxima of floats; float64 holds all codes
        options = {"kernel_shape": operation.window, "strides": operation.strides, "pads": (top, left, bottom, right)}
        return self.cast(self.add("MaxPool", self.cast(x, np.float64), **options), np.int32)

    def _sum_pool(self, operation, x):
        if operation.window == self._read[operation.inputs[0]].shape[:2]:
            return self.add("ReduceSum", x, self.array((2, 3), np.int64), keepdims=1)
        zero = _zero_point(self._read[operation.inputs[0]])
        if zero is None:
            return self._wide_sum_pool(operation, x)
        channels = operation.output.shape[2]
        ones = np.ones((channels, 1, *operation.window))
        return self._product(x, zero, ones, group=channels, strides=operation.strides)

    def _wide_sum_pool(self, operation, x):
        """Add the sums of windows of codes that do not fit in bytes: over their rows, then over their columns."""
        for axis, window, stride, count in zip((2, 3), operation.window, operation.strides, operation.output.shape):
            last = (count - 1) * stride + 1
            places = (((first,), (first + last,), (axis,), (stride,)) for first in range(window))
            x = self.sum(*(self.add("Slice", x, *(self.array(a, np.int64) for a in place)) for place in places))
        return x

    def _pad(self, operation, x):
        return self.padded(x, operation.padding)

    def _concatenate(self, operation, *inputs):
        return self.add("Concat", *self._all_shifted(operation, inputs), axis=1)

    def _add(self, operation, *inputs):
        return self.sum(*self._all_shifted(operation, inputs))

    def _subtract(self, operation, *inputs):
        return self.add("Sub", *self._all_shifted(operation, inputs))

    def _multiply(self, operation, *inputs):
        return self.add("Mul", *inputs)

    def _largest(self, operation, *inputs):
        return self.add("Max", *self._all_shifted(operation, inputs))

    def _smallest(self, operation, *inputs):
        return self.add("Min", *self._all_shifted(operation, inputs))

    def _leaky(self, operation, x):
        slope = np.asarray(operation.slope)
        slope = slope.reshape((1,) * (3 - slope.ndim) + slope.shape).transpose(2, 0, 1)
        negative = self.add("Less", x, self.array(0))
        return self.add("Mul", x, self.add("Where", negative, self.array(slope), self.array(2**operation.shift)))

    def _table(self, operation, x):
        return self.add("Gather", self.array(operation.codes), self.add("Sub", x, self.array(operation.first)))

    def _apart(self, x, shape):
        """Add an axis after the rows, and one after the columns, of a tensor of `shape`."""
        height, width, channels = shape
        return self.add("Reshape", x, self.array((-1, channels, height, 1, width, 1), np.int64))

    def _together(self, x, shape):
        height, width, channels = shape
        return self.add("Reshape", x, self.array((-1, channels, height, width), np.int64))

    def _spread(self, operation, x):
        height, width, channels = self._read[operation.inputs[0]].shape
        (down, right), made = operation.strides, operation.output.shape
        pads = np.zeros((2, 6), np.int64)
        pads[1, [3, 5]] = down - 1, right - 1
        padded = self.add("Pad", self._apart(x, (height, width, channels)), self.array(pads.ravel(), np.int64))
        whole = self._together(padded, (height * down, width * right, channels))
        return self.add("Slice", whole, *(self.array(a, np.int64) for a in ((0, 0), made[:2], (2, 3))))

    def _repeat(self, operation, x):
        (down, right), made = operation.size, operation.output.shape
        apart = self._apart(x, self._read[operation.inputs[0]].shape)
        return self._together(self.add("Tile", apart, self.array((1, 1, 1, down, 1, right), np.int64)), made)

    def _transpose(self, operation, x):
        return self.add("Transpose", x, perm=(0, 1, 3, 2))

    def _reshape(self, operation, x):
        height, width, channels = operation.output.shape
        last = self.add("Transpose", x, perm=TO_LAST)
        shaped = self.add("Reshape", last, self.array((-1, height, width, channels), np.int64))
        return self.add("Transpose", shaped, perm=TO_FIRST)

    _KINDS = {
        operations.Convolve: _convolve,
        operations.Requantize: _requantize,
        operations.Clip: _clip,
        operations.AddConstant: _add_constant,
        operations.MaxPool: _max_pool,
        operations.SumPool: _sum_pool,
        operations.Pad: _pad,
        operations.Concatenate: _concatenate,
        operations.Add: _add,
        operations.Reshape: _reshape,
        operations.Spread: _spread,
        operations.Repeat: _repeat,
        operations.Transpose: _transpose,
        operations.Multiply: _multiply,
        operations.Subtract: _subtract,
        operations.Largest: _largest,
        operations.Smallest: _smallest,
        operations.Leaky: _leaky,
        operations.LookUp: _table,
    }
