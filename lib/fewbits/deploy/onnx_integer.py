"""ONNX files of integers: the steps of an IntegerNetwork as nodes, with the same codes in ONNX Runtime.

Products are ConvInteger, whose operands have 8 bits. A requantization is a multiplication by a power of two and a
rounding in float64, which holds all 32 bits of a sum: exact. Codes travel as int32, channels first.
"""

from pathlib import Path

import numpy as np

from fewbits.deploy import steps
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.onnx import IR_VERSION, OPSET, TO_FIRST, TO_LAST
from fewbits.errors import InputError
from fewbits.files import write_aside

INT32, DOUBLE, UINT8 = 6, 11, 2  # ONNX' numbers of these types
ZERO = 128  # ConvInteger reads unsigned codes: 128 stands for 0


def convert(network: IntegerNetwork):
    """Return `network` as an onnx.ModelProto from `image`, uint8 (n, height, width, channels), to `codes`, int32.

    Its metadata say what a code stands for: `exponent` and `divisor`. Raises InputError, naming the layer, where kernel
    or inputs have more than 8 bits or a sum more than 32, and where the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise InputError("ONNX files are made with the package onnx; `pip install fewbits[export]`") from None
    if network.image.high + min(network.mean) > 255:
        raise InputError(
            f"the pixels of {network.name} have more than 8 bits, which an ONNX file of bytes does not take"
        )
    graph = _Graph(network)
    last = graph.add("Transpose", graph.wires[-1], perm=TO_LAST)
    graph.add("Reshape", last, graph.array((-1, *network.output_shape), np.int64), output="codes")
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            network.name,
            [onnx.helper.make_tensor_value_info("image", UINT8, ("n", *network.image.shape))],
            [onnx.helper.make_tensor_value_info("codes", INT32, ("n", *network.output_shape))],
            graph.arrays,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fewbits",
    )
    output = network.wires[-1]
    onnx.helper.set_model_props(proto, {"exponent": str(output.exponent), "divisor": str(output.divisor)})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def write(network: IntegerNetwork, path: Path) -> None:
    """Write `network` to the .onnx file `path`, whole or not at all; errors as `convert`."""
    content = convert(network).SerializeToString()
    with write_aside(path) as file:
        file.write(content)


class _Graph:
    """The nodes of a network; wires: the name of the tensor of each of its wires."""

    def __init__(self, network):
        self.nodes, self.arrays = [], []
        self._network = network.wires
        mean = self.array(np.reshape(network.mean, (-1, 1, 1)))
        image = self.add("Transpose", self.add("Cast", "image", to=INT32), perm=TO_FIRST)
        self.wires = [self.add("Sub", image, mean)]
        for step in network.steps:
            self.wires.append(self._KINDS[type(step)](self, step, *(self.wires[i] for i in step.inputs)))

    def add(self, kind, *inputs, output=None, **attributes) -> str:
        from onnx import helper

        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def array(self, values, dtype=np.int32) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.arrays)}"
        self.arrays.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def _product(self, x, kernel, **options) -> str:
        """Add ConvInteger of codes `x` and `kernel`, (out, in, height, width)."""
        zero = self.array(ZERO, np.uint8)
        unsigned = self.add("Cast", self.add("Add", x, self.array(ZERO)), to=UINT8)
        return self.add("ConvInteger", unsigned, self.array(kernel, np.int8), zero, **options)

    def _convolve(self, step, x):
        wire = self._network[step.inputs[0]]
        if wire.bits > 8 or steps.signed_bits(int(step.kernel.min()), int(step.kernel.max())) > 8:
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
        exact = self.add("Cast", x, to=DOUBLE)
        exact = self.add("Div", exact, self.array(divisor.reshape(-1, 1, 1), np.float64))
        limits = (self.array(limit, np.float64) for limit in (step.low, step.high))
        return self.add("Cast", self.add("Clip", self._rounded(exact, step.rounding), *limits), to=INT32)

    def _rounded(self, x, rounding):
        if rounding == "nearest":
            return self.add("Round", x)  # half to even
        if rounding == "nearest-away":
            return self.add("Mul", self.add("Sign", x), self._rounded(self.add("Abs", x), "nearest-up"))
        if rounding == "nearest-up":
            x = self.add("Add", x, self.array(0.5, np.float64))
        return self.add("Floor", x)

    def _clip(self, step, x):
        return self.add("Clip", x, self.array(step.low), self.array(step.high))

    def _shifted(self, x, shift):
        return self.add("Mul", x, self.array(2**shift)) if shift else x

    def _add_constant(self, step, x):
        return self.add("Add", self._shifted(x, step.shift), self.array(step.constant.reshape(-1, 1, 1)))

    def _max_pool(self, step, x):
        (top, bottom), (left, right) = step.padding  # ONNX Runtime finds maxima of floats; float64 holds all codes
        options = {"kernel_shape": step.window, "strides": step.strides, "pads": (top, left, bottom, right)}
        return self.add("Cast", self.add("MaxPool", self.add("Cast", x, to=DOUBLE), **options), to=INT32)

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
        return self.add("Pad", x, pads)

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
        steps.Convolve: _convolve,
        steps.Requantize: _requantize,
        steps.Clip: _clip,
        steps.AddConstant: _add_constant,
        steps.MaxPool: _max_pool,
        steps.SumPool: _sum_pool,
        steps.Pad: _pad,
        steps.Concatenate: _concatenate,
        steps.Add: _add,
        steps.Reshape: _reshape,
    }
