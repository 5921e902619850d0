"""ONNX files of integer networks: each operation as nodes, with the same codes in ONNX Runtime.

Products are ConvInteger, whose operands have 8 bits. A requantization is a division by a power of two and a rounding in
float64, which holds all 32 bits of a sum and is therefore exact. Codes are int32, channels first.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fewbits.deploy import operations
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.onnx_graph import TO_FIRST, TO_LAST, ONNXGraph
from fewbits.errors import InputError
from fewbits.io.files import write_aside

ZERO = 128  # ConvInteger reads unsigned codes: 128 stands for 0


def to_integer_onnx(network: IntegerNetwork) -> Any:
    """Convert an integer network.

    Args:
        network: An integer network.

    Returns:
        An onnx.ModelProto from `image`, uint8 (n, height, width, channels), to `codes`, int32. Its metadata,
        `exponent` and `divisor`, say what a code stands for.

    Raises:
        InputError: naming the layer, when a kernel or its inputs have more than 8 bits or a sum more than 32; when
            pixels have more than 8 bits; when the package onnx is not installed.
    """
    graph = _Graph(network)
    last = graph.add("Transpose", graph.tensors[-1], perm=TO_LAST)
    graph.add("Reshape", last, graph.array((-1, *network.output_shape), np.int64), output="codes")
    image, codes = ("n", *network.image.shape), ("n", *network.output_shape)
    proto = graph.model(network.name, [("image", np.uint8, image)], [("codes", np.int32, codes)])
    output = network.tensors[-1]
    for key, value in (("exponent", output.exponent), ("divisor", output.divisor)):
        proto.metadata_props.add(key=key, value=str(value))
    return proto


def write_integer_onnx(network: IntegerNetwork, path: Path) -> None:
    """Write what `to_integer_onnx` returns to a file, whole or not at all.

    Args:
        network: An integer network.
        path: The .onnx file.

    Raises:
        InputError: as `to_integer_onnx`.
    """
    content = to_integer_onnx(network).SerializeToString()
    with write_aside(path) as file:
        file.write(content)


class _Graph(ONNXGraph):
    """The nodes of a network; `tensors` holds the name that each tensor of the network has in the graph."""

    def __init__(self, network):
        super().__init__(np.float64, default=np.int32)
        if network.image.high + min(network.mean) > 255:
            raise InputError(
                f"the pixels of {network.name} have more than 8 bits, and an ONNX file of integers takes bytes"
            )
        self._read = network.tensors
        mean = self.array(np.reshape(network.mean, (-1, 1, 1)))
        image = self.add("Transpose", self.cast("image", np.int32), perm=TO_FIRST)
        self.tensors = [self.add("Sub", image, mean)]
        for operation in network.operations:
            if operation.output.bits > 32:
                raise InputError(
                    f"layer {operation.layer} makes codes of {operation.output.bits} bits, and integers in ONNX have 32"
                )
            self.tensors.append(
                self._KINDS[type(operation)](self, operation, *(self.tensors[i] for i in operation.inputs))
            )

    def _product(self, x, kernel, **options):
        """Add ConvInteger of the codes `x` and `kernel`, (out, in, height, width)."""
        zero = self.array(ZERO, np.uint8)
        unsigned = self.cast(self.add("Add", x, self.array(ZERO)), np.uint8)
        return self.add("ConvInteger", unsigned, self.array(kernel, np.int8), zero, **options)

    def _convolve(self, operation, x):
        tensor = self._read[operation.inputs[0]]
        if tensor.bits > 8 or operations.signed_bits(int(operation.kernel.min()), int(operation.kernel.max())) > 8:
            raise InputError(f"layer {operation.layer} multiplies codes of more than 8 bits, which ConvInteger cannot")
        if operation.partial_bits > 32:
            raise InputError(
                f"layer {operation.layer} sums up to {operation.partial_bits} bits, and integers in ONNX have 32"
            )
        kernel = operation.kernel.transpose(3, 2, 0, 1)
        if operation.depthwise:
            kernel = operation.kernel.reshape(*operation.kernel.shape[:2], 1, -1).transpose(3, 2, 0, 1)
        (top, bottom), (left, right) = operation.padding
        products = self._product(
            x,
            kernel,
            group=tensor.shape[2] if operation.depthwise else 1,
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

    def _add_constant(self, operation, x):
        return self.add("Add", self._shifted(x, operation.shift), self.array(operation.constant.reshape(-1, 1, 1)))

    def _max_pool(self, operation, x):
        (top, bottom), (left, right) = operation.padding  # ONNX Runtime finds maxima of floats; float64 holds all codes
        options = {"kernel_shape": operation.window, "strides": operation.strides, "pads": (top, left, bottom, right)}
        return self.cast(self.add("MaxPool", self.cast(x, np.float64), **options), np.int32)

    def _sum_pool(self, operation, x):
        if operation.window == self._read[operation.inputs[0]].shape[:2]:
            return self.add("ReduceSum", x, self.array((2, 3), np.int64), keepdims=1)
        if self._read[operation.inputs[0]].bits > 8:
            raise InputError(f"layer {operation.layer} averages codes of more than 8 bits, which ConvInteger cannot")
        channels = operation.output.shape[2]
        return self._product(x, np.ones((channels, 1, *operation.window)), group=channels, strides=operation.strides)

    def _pad(self, operation, x):
        return self.padded(x, operation.padding)

    def _concatenate(self, operation, *inputs):
        return self.add("Concat", *(self._shifted(x, shift) for x, shift in zip(inputs, operation.shifts)), axis=1)

    def _add(self, operation, *inputs):
        return self.sum(*(self._shifted(x, shift) for x, shift in zip(inputs, operation.shifts)))

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
    }
