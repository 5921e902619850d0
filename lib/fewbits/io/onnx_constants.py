"""What an ONNX graph computes from constants alone, such as the shape that a `Reshape` needs."""

from math import prod
from typing import Any

import numpy as np

from fewbits.io.onnx_values import ONNXNode

# Operators whose results are no larger than what they read.
KEEPING_SIZE = {"Cast", "Constant", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
# Others, and the most numbers that each input of theirs may have: kernels are not computed, only shapes.
GROWING = {
    "Abs",
    "Add",
    "Ceil",
    "Concat",
    "Div",
    "Equal",
    "Floor",
    "Gather",
    "Mul",
    "Neg",
    "Pow",
    "Range",
    "ReduceProd",
}
GROWING |= {"Size", "Split", "Sqrt", "Sub", "Where"}
MOST_NUMBERS = 4096


def fold(node: ONNXNode, proto: Any) -> list[np.ndarray]:
    """Compute a node all of whose inputs are constants.

    Args:
        node: The node with its inputs.
        proto: The same as an onnx.NodeProto.

    Returns:
        Its outputs.

    Raises:
        InputError: naming the node, when it is not one of the operators that make shapes, or reads too much.
    """
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    arrays = [np.asarray(x) for x in node.inputs if x is not None]
    if node.operator == "ConstantOfShape":
        if prod(int(n) for n in arrays[0].ravel()) > MOST_NUMBERS:
            node.refuse("makes a large constant; store it in the file")
    elif node.operator not in KEEPING_SIZE | GROWING:
        node.refuse("computes with constants in a way that cannot be imported; simplify the file first")
    elif node.operator in GROWING and any(array.size > MOST_NUMBERS for array in arrays):
        node.refuse("computes with large constants; simplify the file, so that it holds the result")
    elif node.operator == "Range" and _steps(*(float(array) for array in arrays)) > MOST_NUMBERS:
        node.refuse("makes a large constant; store it in the file")
    names = [name for name in proto.input if name]
    inputs = [helper.make_tensor_value_info(name, 0, None) for name in names]
    outputs = [helper.make_tensor_value_info(name, 0, None) for name in proto.output]
    graph = helper.make_graph([proto], "constant", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.opset)])
    return [np.asarray(x) for x in ReferenceEvaluator(model).run(None, dict(zip(names, arrays)))]


def _steps(start: float, end: float, step: float) -> float:
    return (end - start) / step
