"""What all kinds of ONNX files are built from: nodes named by their layers, constants, and roundings."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fewbits.errors import needs_extra

OPSET, IR_VERSION = 17, 8  # of 2022: every runtime in use knows them
TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # permutations that move the channels


class ONNXGraph:
    """An ONNX graph under construction.

    Attributes:
        layer: The layer whose nodes are added, which begins their names; empty if they belong to none.
        nodes: The nodes so far (onnx.NodeProto).
        arrays: The constants so far (onnx.TensorProto).
        opsets: Domain -> version of its operators.
    """

    opsets: ClassVar[dict[str, int]] = {"": OPSET}

    def __init__(self, real: type[np.floating], default: type[np.generic]):
        """Start an empty graph.

        Args:
            real: The floating-point type in which the graph rounds.
            default: The type of constants for which none is given.

        Raises:
            InputError: when the package onnx is not installed.
        """
        with needs_extra("export", "ONNX files"):
            import onnx
        self._onnx, self._real, self._default = onnx, np.dtype(real), default
        self.layer = ""
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node, named `layer/kind_number`, or `kind_number` if it belongs to no layer.

        Args:
            kind: An operator of ONNX.
            inputs: Names of its inputs.
            output: Name of its output; made from `kind` if None.
            attributes: Attributes of the operator.

        Returns:
            The name of the output.
        """
        number = f"{kind}_{len(self.nodes)}"
        name, output = f"{self.layer}/{number}" if self.layer else number, output or number
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], name, **attributes))
        return output

    def array(self, values: Any, dtype: type[np.generic] | None = None) -> str:
        """Add a constant.

        Args:
            values: A number or an array.
            dtype: Its type; the default of the graph if None.

        Returns:
            The name of the constant.
        """
        name = f"constant_{len(self.arrays)}"
        self.arrays.append(self._onnx.numpy_helper.from_array(np.asarray(values, dtype or self._default), name))
        return name

    def rounded(self, x: str, rounding: str) -> str:
        """Add nodes that round floats to integers exactly, without a sum that would itself be rounded.

        Args:
            x: Name of the tensor to round.
            rounding: "floor", "nearest", "nearest-up" or "nearest-away".

        Returns:
            The name of the rounded tensor.
        """
        if rounding == "nearest":
            return self.add("Round", x)  # half to even
        if rounding == "nearest-away":
            return self.add("Mul", self.add("Sign", x), self.rounded(self.add("Abs", x), "nearest-up"))
        low = self.add("Floor", x)
        if rounding == "floor":
            return low
        up = self.add("GreaterOrEqual", self.add("Sub", x, low), self.array(0.5, self._real.type))
        return self.add("Add", low, self.cast(up, self._real))

    def cast(self, x: str, dtype: Any) -> str:
        """Add a conversion to another type; return the name of its output.

        Args:
            x: Name of the tensor to convert.
            dtype: The NumPy type to convert to.
        """
        return self.add("Cast", x, to=self._number(dtype))

    def padded(self, x: str, padding: Sequence[tuple[int, int]]) -> str:
        """Add a border of zeros that ONNX Runtime does not merge with a maximum that skips borders.

        Args:
            x: As in `border`.
            padding: As in `border`.

        Returns:
            The name of the padded tensor.
        """
        return self.add("Max", self.border(x, padding))

    def border(self, x: str, padding: Sequence[tuple[int, int]]) -> str:
        """Add a border of zeros.

        Args:
            x: Name of a tensor, (n, channels, height, width) or (n, channels, steps).
            padding: For each axis after the channels, how much before and after: rows above and below, columns left
                and right.

        Returns:
            The name of the padded tensor.
        """
        before, after = zip(*padding)
        return self.add("Pad", x, self.array((0, 0, *before, 0, 0, *after), np.int64))

    def sum(self, first: str, *rest: str) -> str:
        """Add the sum of tensors, in their order; return the name of its output.

        Args:
            first: Name of the first tensor.
            rest: Names of the others.
        """
        for x in rest:
            first = self.add("Add", first, x)
        return first

    def model(self, name: str, inputs: Sequence[tuple], outputs: Sequence[tuple]) -> Any:
        """Return the complete model.

        Args:
            name: Name of the graph.
            inputs: Name, type and shape of each input.
            outputs: Name, type and shape of each output.

        Returns:
            An onnx.ModelProto, checked.
        """
        helper = self._onnx.helper
        ends = (
            [helper.make_tensor_value_info(end, self._number(dtype), shape) for end, dtype, shape in side]
            for side in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, name, *ends, self.arrays)
        opsets = [helper.make_opsetid(*opset) for opset in self.opsets.items()]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fewbits")
        self._onnx.checker.check_model(proto, full_check=True)
        return proto

    def _number(self, dtype):
        """Return the number that ONNX has for a type."""
        return self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
