"""What both kinds of ONNX files are made of: nodes that are named by their outputs, constants, roundings."""

import numpy as np

from fewbits.errors import InputError

OPSET, IR_VERSION = 17, 8  # of 2022: what is in use everywhere
TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # where channels go


class ONNXGraph:
    """The nodes so far. real: the floats in which it rounds. Raises InputError where the package onnx is missing."""

    def __init__(self, real):
        try:
            import onnx
        except ImportError:
            raise InputError("ONNX files are made with the package onnx; `pip install fewbits[export]`") from None
        self._onnx, self._real = onnx, np.dtype(real)
        self.nodes, self.arrays = [], []

    def add(self, kind, *inputs, output=None, **attributes) -> str:
        """Add a node; return the name of its output."""
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def array(self, values, dtype) -> str:
        """Add a constant; return its name."""
        name = f"constant_{len(self.arrays)}"
        self.arrays.append(self._onnx.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def rounded(self, x, rounding) -> str:
        """Add what rounds floats to whole numbers, exactly: by no sum that must be rounded itself."""
        if rounding == "nearest":
            return self.add("Round", x)  # half to even
        if rounding == "nearest-away":
            return self.add("Mul", self.add("Sign", x), self.rounded(self.add("Abs", x), "nearest-up"))
        low = self.add("Floor", x)
        if rounding == "floor":
            return low
        up = self.add("GreaterOrEqual", self.add("Sub", x, low), self.array(0.5, self._real))
        return self.add("Add", low, self.cast(up, self._real))

    def cast(self, x, dtype) -> str:
        return self.add("Cast", x, to=self._number(dtype))

    def model(self, name, image, output):
        """Return the onnx.ModelProto of all nodes, checked; image, output: name, dtype and shape of each."""
        helper = self._onnx.helper
        ends = [helper.make_tensor_value_info(end, self._number(dtype), shape) for end, dtype, shape in (image, output)]
        graph = helper.make_graph(self.nodes, name, ends[:1], ends[1:], self.arrays)
        opset = helper.make_opsetid("", OPSET)
        proto = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="fewbits")
        self._onnx.checker.check_model(proto, full_check=True)
        return proto

    def _number(self, dtype):
        """Return ONNX' number of a type."""
        return self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
