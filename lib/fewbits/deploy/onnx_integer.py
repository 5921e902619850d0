"""ONNX files of integers: the steps of an IntegerNetwork as nodes, with the same codes in ONNX Runtime.

Products are ConvInteger, whose operands have 8 bits. A requantization is a multiplication by a power of two and a
rounding in float64, which holds all 32 bits of a sum: exact. Codes travel as int32, channels first.
"""

from pathlib import Path

import numpy as np

from fewbits.deploy import operations
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.onnx_graph import TO_FIRST, TO_LAST, Graph
from fewbits.errors import InputError
from fewbits.io.files import write_aside

ZERO = 128  # ConvInteger reads unsigned codes: 128 stands for 0


def convert(network: IntegerNetwork):
    """Return `network` as an onnx.ModelProto from `image`, uint8 (n, height, width, channels), to `codes`, int32.

    Its metadata say what a code stands for: `exponent` and `divisor`. Raises InputError, naming the layer, where kernel
    or inputs have more than 8 bits or a sum more than 32, and where the package onnx is not installed.
    """
    graph = _Graph(network)
    last = graph.add("Transpose", graph.wires[-1], perm=TO_LAST)
    graph.add("Reshape", last, graph.array((-1, *network.output_shape), np.int64), output="codes")
    image, codes = ("n", *network.image.shape), ("n", *network.output_shape)
    proto = graph.model(network.name, ("image", np.uint8, image), ("codes", np.int32, codes))
    output = network.wires[-1]
    for key, value in (("exponent", output.exponent), ("divisor", output.divisor)):
        proto.metadata_props.add(key=key, value=str(value))
    return proto


def write(network: IntegerNetwork, path: Path) -> None:
    """Write `network` to the .onnx file `path`, whole or not at all; errors as `convert`."""
    content = convert(network).SerializeToString()
    with write_aside(path) as file:
        file.write(content)


class _Graph(Graph):
    """The nodes of a network; wires: the name of the tensor of each of its wires."""

    def __init__(self, network):
        super().__init__(np.float64)
        if network.image.high + min(network.mean) > 255:
            raise InputError(
                f"the pixels of {network.name} have more than 8 bits, which an ONNX file of bytes does not take"
            )
        self._network = network.wires
        mean = self.array(np.reshape(network.mean, (-1, 1, 1)))
        image = self.add("Transpose", self.cast("image", np.int32), perm=TO_FIRST)
        self.wires = [self.add("Sub", image, mean)]
        for step in network.steps:
            if step.output.bits > 32:
                raise InputError(
                    f"layer {step.layer} makes codes of {step.output.bits} bits, and ONNX' integers have 32"
                )
            self.wires.append(self._KINDS[type(step)](self, step, *(self.wires[i] for i in step.inputs)))

    def array(self, values, dtype=np.int32) -> str:
        return super().array(values, dtype)

    def _product(self, x, kernel, **options) -> str:
        """Add ConvInteger of codes `x` and `kernel`, (out, in, height, width)."""
        zero = self.array(ZERO, np.uint8)
        unsigned = self.cast(self.add("Add", x, self.array(ZERO)), np.uint8)
        return self.add("ConvInteger", unsigned, self.array(kernel, np.int8), zero, **options)

    def _convolve(self, step, x):
        wire = self._network[step.inputs[0]]
        if wire.bits > 8 or operations.signed_bits(int(step.kernel.min()), int(step.kernel.max())) > 8:
            raise InputError(f"layer {step.layer} multiplies more than 8 bits, which ConvInteger does not")
        if step.partial_bits > 32:
            raise InputError(f"layer {step.layer} sums up to {step.partial_bits} bits, and ONNX' integers have 32")
        kernel = step.kernel.transpose(3, 2, 0, 1)
        if step.depthwise:
            kernel = step.kernel.reshape(*step.kernel.shape[:2], 1, -1).transpose(3, 2, 0, 1)
        (top, bottom), (left, right) = step.padding
        products = self._product(
            x,
            kernel,
            group=wire.shape[2] if step.depthwise else 1,
            strides=step.strides,
            dilations=step.dilation,
            pads=(top, left, bottom, right),
        )
        return self.add("Add", products, self.array(step.bias.reshape(-1, 1, 1)))

    def _requantize(self, step, x):
        divisor = step.divisor * np.exp2(np.asarray(step.shift, float))
        exact = self.cast(x, np.float64)
        exact = self.add("Div", exact, self.array(divisor.reshape(-1, 1, 1), np.float64))
        limits = (self.array(limit, np.float64) for limit in (step.low, step.high))
        return self.cast(self.add("Clip", self.rounded(exact, step.rounding), *limits), np.int32)

    def _clip(self, step, x):
        return self.add("Clip", x, self.array(step.low), self.array(step.high))

    def _shifted(self, x, shift):
        return self.add("Mul", x, self.array(2**shift)) if shift else x

    def _add_constant(self, step, x):
        return self.add("Add", self._shifted(x, step.shift), self.array(step.constant.reshape(-1, 1, 1)))

    def _max_pool(self, step, x):
        (top, bottom), (left, right) = step.padding  # ONNX Runtime finds maxima of floats; float64 holds all codes
        options = {"kernel_shape": step.window, "strides": step.strides, "pads": (top, left, bottom, right)}
        return self.cast(self.add("MaxPool", self.cast(x, np.float64), **options), np.int32)

    def _sum_pool(self, step, x):
        if step.window == self._network[step.inputs[0]].shape[:2]:
            return self.add("ReduceSum", x, self.array((2, 3), np.int64), keepdims=1)
        if self._network[step.inputs[0]].bits > 8:
            raise InputError(f"layer {step.layer} averages more than 8 bits, which ConvInteger does not")
        channels = step.output.shape[2]
        return self._product(x, np.ones((channels, 1, *step.window)), group=channels, strides=step.strides)

    def _pad(self, step, x):
        (top, bottom), (left, right) = step.padding
        pads = self.array((0, 0, top, left, 0, 0, bottom, right), np.int64)
        return self.add("Max", self.add("Pad", x, pads))  # else ONNX Runtime joins it with a maximum that skips borders

    def _concatenate(self, step, *inputs):
        return self.add("Concat", *(self._shifted(x, shift) for x, shift in zip(inputs, step.shifts)), axis=1)

    def _add(self, step, *inputs):
        total, *rest = (self._shifted(x, shift) for x, shift in zip(inputs, step.shifts))
        for x in rest:
            total = self.add("Add", total, x)
        return total

    def _reshape(self, step, x):
        height, width, channels = step.output.shape
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
