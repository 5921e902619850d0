"""Networks from PyTorch and other frameworks, from ONNX files, as Keras models that compute the same.

Images and feature maps have their channels first in ONNX and last in Keras. Each operator becomes a layer with the name
of PyTorch's module, and each tensor is compared with ONNX Runtime's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError, check_integer, needs_extra
from fewbits.io import onnx_elements, onnx_shapes, onnx_windows
from fewbits.io.onnx_constants import fold
from fewbits.io.onnx_file import first_line, printable, read_onnx
from fewbits.io.onnx_values import MOST_NUMBERS, ONNXNode, ONNXScope, ONNXValue, channels_last, unique_name

LARGEST_GAP = 1e-4  # relative to the largest value of a tensor
SEVERAL = 7919  # the size of an open batch in constants of the file: a prime, so that no other axis has it
IMAGES = 2  # compared, if the batch is open
ADDING_BIAS = ("Conv", "ConvTranspose", "MatMul")  # a constant that is added to each of their channels is their bias

OPERATORS: dict[str, Callable[[ONNXNode], ONNXValue]] = {
    "AveragePool": onnx_windows.pool_average,
    "BatchNormalization": onnx_elements.normalize,
    "Celu": onnx_elements.grow_smoothly,
    "Clip": onnx_elements.clip,
    "Concat": onnx_shapes.concatenate,
    "Conv": onnx_windows.convolve,
    "ConvTranspose": onnx_windows.convolve_transposed,
    "Div": onnx_elements.combine,
    "Dropout": onnx_shapes.drop_out,
    "Elu": onnx_elements.grow_smoothly,
    "Flatten": onnx_shapes.flatten,
    "Gelu": onnx_elements.grow_smoothly,
    "Gemm": onnx_elements.multiply_matrix,
    "GlobalAveragePool": onnx_windows.pool_globally,
    "GlobalMaxPool": onnx_windows.pool_globally,
    "HardSigmoid": onnx_elements.harden,
    "Identity": onnx_shapes.keep,
    "LeakyRelu": onnx_elements.rectify,
    "MatMul": onnx_elements.multiply_matrix,
    "MaxPool": onnx_windows.pool_maximum,
    "PRelu": onnx_elements.rectify,
    "Pad": onnx_windows.pad,
    "ReduceMax": onnx_windows.reduce_globally,
    "ReduceMean": onnx_windows.reduce_globally,
    "Relu": onnx_elements.rectify,
    "Reshape": onnx_shapes.reshape,
    "Resize": onnx_windows.resize,
    "Selu": onnx_elements.grow_smoothly,
    "Softmax": onnx_elements.soften,
    "Squeeze": onnx_shapes.squeeze,
    "Transpose": onnx_shapes.transpose,
    "Unsqueeze": onnx_shapes.squeeze,
    "Upsample": onnx_windows.resize,
}
OPERATORS |= dict.fromkeys(onnx_elements.ACTIVATIONS, onnx_elements.activate)
OPERATORS |= dict.fromkeys(onnx_elements.MERGES, onnx_elements.combine)


@dataclass(frozen=True)
class ONNXImport:
    """A network that was read from an ONNX file.

    Attributes:
        model: The network.
        gap: The largest difference of a tensor from ONNX Runtime's, relative to the largest value of the tensor.
        widest: The name of the node that makes this tensor.
        compared: How many tensors were compared.
    """

    model: keras.Model
    gap: float
    widest: str
    compared: int


def import_onnx(path: Path | str, size: tuple[int, int] | None = None) -> ONNXImport:
    """Read a convolutional network from an ONNX file and compare every tensor with ONNX Runtime's.

    Args:
        path: The .onnx file, as `torch.onnx.export` writes it; weights may be in a file beside it.
        size: Height and width of the images, if the file leaves them open.

    Returns:
        The network, which takes images with the channels last, and how far it is from ONNX Runtime.

    Raises:
        InputError: when the file cannot be read; naming the node, when Keras has no layer for it or computes something
            else; when the packages onnx and onnxruntime are not installed.
    """
    path = Path(path)
    with needs_extra("export", "ONNX files"):
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    proto = read_onnx(path)
    try:
        network = _Network(proto, size)
        model = network.model(unique_name(path.stem, set()))
        return ONNXImport(model, *network.compare())
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


class _Network:
    """The graph of an ONNX file, made into layers node by node.

    Attributes:
        values: Name in the file -> ONNXValue or constant.
        nodes: Name in the file -> the node that makes it.
    """

    def __init__(self, proto: Any, size: tuple[int, int] | None):
        """Make all layers."""
        self._proto = proto
        self.values: dict[str, Any] = {}  # ONNXValue, or an array
        self.nodes: dict[str, ONNXNode] = {}
        self._absorbed: dict[str, str] = {}  # output of an addition -> what makes it, when this adds the constant
        graph = proto.graph
        opset = next((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), 1)
        self._scope = ONNXScope(opset)
        self._inputs = self._read_inputs(size)
        self._readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        for tensor in graph.initializer:
            self.values[tensor.name] = _array(tensor)
        for constants in (True, False):
            for node in graph.node:
                if (node.op_type == "Constant") == constants:
                    self._add(node)

    def model(self, name: str) -> keras.Model:
        """Return the network."""
        tensors = []
        for output in self._proto.graph.output:
            value = self.values.get(output.name)
            if not isinstance(value, ONNXValue):
                raise InputError(
                    f"the output {printable(output.name)} is a constant or missing; export the network again"
                )
            orders = tuple(range(value.rank)), channels_last(value.rank)
            if value.flattened is not None or value.order not in orders:
                value = self.values[output.name] = self.nodes[output.name].ordered(value, orders[1])
            tensors.append(value.tensor)
        return keras.Model(_one_or_all(list(self._inputs.values())), _one_or_all(tensors), name=name)

    def compare(self) -> tuple[float, str, int]:
        """Compare all tensors with ONNX Runtime's; return `gap`, `widest` and `compared` of an ONNXImport."""
        names = [name for name in self.nodes if self._is_comparable(name)]
        rng = np.random.default_rng(0)
        batch, most = self._scope.batch, MOST_NUMBERS // max(self._scope.numbers, 1)
        batch = min(IMAGES, most) if batch == SEVERAL else batch
        if not 0 < batch <= most:
            raise InputError(
                f"a batch of {batch} images is too large to compare; export the network with a smaller one"
            )
        inputs = {name: self.values[name] for name in self._inputs}
        images = {n: rng.normal(size=(batch, *value.shape)).astype(np.float32) for n, value in inputs.items()}
        theirs = _run(self._proto, names, images)
        whole = keras.Model(list(self._inputs.values()), [self.values[name].tensor for name in names])
        ours = whole([value.aligned(images[name]) for name, value in inputs.items()], training=False)
        widest, gap = "", 0.0
        for name, mine, expected in zip(names, ours, theirs, strict=True):
            found = _gap(self.nodes[name], ops.convert_to_numpy(mine), self.values[name].aligned(expected))
            if found >= gap:
                widest, gap = self.nodes[name].label, found
        return gap, widest, len(names)

    def _is_comparable(self, name: str) -> bool:
        return isinstance(self.values[name], ONNXValue) and name not in self._absorbed.values()

    def _read_inputs(self, size: tuple[int, int] | None) -> dict[str, keras.KerasTensor]:
        graph = self._proto.graph
        weights = {tensor.name for tensor in graph.initializer}
        inputs: dict[str, keras.KerasTensor] = {}
        batches: set[int | None] = set()
        for each in (each for each in graph.input if each.name not in weights):
            name, kind = printable(each.name), each.type.tensor_type
            if kind.elem_type != 1:
                raise InputError(f"the input {name} does not hold float32 numbers; export the network in float32")
            shape = [d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim]
            if len(shape) < 2:
                raise InputError(f"the input {name} has no batch of images; export the network with fixed sizes")
            order = self._input_order(each.name, len(shape))
            batches.add(shape[0])
            sides = _sized(name, [shape[axis] for axis in order[1:]], size)
            tensor = keras.Input(sides, name=unique_name(each.name, self._scope.names))
            self.values[each.name] = ONNXValue(tensor, order)
            inputs[each.name] = tensor
            self._scope.numbers += prod(sides)
        if len(batches) != 1:
            raise InputError("the network has no input, or inputs of several batches; export it with one batch")
        self._scope.batch = batches.pop() or SEVERAL
        return inputs

    def _input_order(self, name: str, rank: int) -> tuple[int, ...]:
        """Return the order of axes of an input: channels last, also where the file has them last already."""
        readers = [node for node in self._proto.graph.node if name in node.input]
        to_first = [0, rank - 1, *range(1, rank - 1)]
        orders = [[list(a.ints) for a in node.attribute] for node in readers if node.op_type == "Transpose"]
        if rank > 2 and readers and orders == [[to_first]] * len(readers):
            return tuple(range(rank))
        return channels_last(rank)

    def _add(self, proto: Any) -> None:
        """Make what a node computes."""
        inputs = [self.values[name] if name else None for name in proto.input]
        node = ONNXNode(proto, inputs, self._scope, self._added_bias(proto))
        if proto.domain not in ("", "ai.onnx"):
            node.refuse(
                f"is an operator of {printable(proto.domain)}; export the network with ONNX's own operators only"
            )
        try:
            outputs = self._outputs(node, proto)
        except InputError:
            raise
        except Exception:  # whatever Keras and NumPy raise when shapes do not fit
            shapes = ", ".join(str(x.shape) for x in inputs if x is not None)
            node.refuse(f"does not fit its inputs, which have the shapes {shapes}; export the network again")
        if any(name in self._readers for name in proto.output[len(outputs) :]):
            node.refuse("has a second output that is read; only the first can be imported")
        for name, value in zip(proto.output, outputs):
            self.values[name], self.nodes[name] = value, node

    def _outputs(self, node: ONNXNode, proto: Any) -> list[ONNXValue] | list[np.ndarray]:
        if proto.output[0] in self._absorbed:
            return [next(x for x in node.inputs if isinstance(x, ONNXValue))]
        if not any(isinstance(x, ONNXValue) for x in node.inputs):
            return fold(node, proto)
        if node.operator == "Shape":
            return [onnx_shapes.shape_of(node)]
        if node.operator not in OPERATORS:
            node.refuse(
                "cannot be imported; replace it by a layer of convolutional networks, or cut the network before"
            )
        return [OPERATORS[node.operator](node)]

    def _added_bias(self, proto: Any) -> np.ndarray | None:
        """Return a constant that the next node adds to each channel of this one, if this one has no bias."""
        readers = self._readers.get(proto.output[0], [])
        ends = {output.name for output in self._proto.graph.output}
        if proto.op_type not in ADDING_BIAS or any(proto.input[2:]) or len(readers) != 1 or proto.output[0] in ends:
            return None
        [after] = readers
        others = [self.values.get(name) for name in after.input if name != proto.output[0]]
        kernel = self.values.get(proto.input[1])
        bias = others[0] if len(others) == 1 else None
        if after.op_type != "Add" or not isinstance(kernel, np.ndarray) or not isinstance(bias, np.ndarray):
            return None
        filters = kernel.shape[0 if proto.op_type == "Conv" else 1] if kernel.ndim > 1 else 0
        wanted = (filters, *[1] * (0 if proto.op_type == "MatMul" else kernel.ndim - 2))
        if bias.size != filters or bias.shape[-len(wanted) :] != wanted:
            return None
        self._absorbed[after.output[0]] = proto.output[0]
        return bias.ravel()


def _array(tensor: Any) -> np.ndarray:
    from onnx import numpy_helper

    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # NumPy's and ONNX's differ
        raise InputError(f"the weights {printable(tensor.name)} cannot be read ({first_line(error)})") from None


def _sized(name: str, sides: list[int | None], size: tuple[int, int] | None) -> list[int]:
    """Return the shape of an input in Keras' order, without the batch, with `size` where the file leaves it open."""
    if size is not None and len(sides) == 3:
        for side in size:
            check_integer("size", side, 1)
        if any(side not in (None, wanted) for side, wanted in zip(sides, size)):
            raise InputError(f"the input {name} has images of {sides[0]} x {sides[1]} pixels; leave out the size")
        sides = [*size, sides[2]]
    if None in sides[:-1] and len(sides) == 3:
        raise InputError(f"the input {name} leaves the size of images open; give height and width with --size")
    if None in sides:
        raise InputError(f"the input {name} leaves its channels or its length open; export the network with fixed ones")
    return [int(side) for side in sides if side is not None]


def _run(proto: Any, names: list[str], images: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return the tensors `names` as ONNX Runtime computes them, on one thread and without rewriting the graph."""
    import onnxruntime

    del proto.graph.output[:]
    for name in names:
        proto.graph.output.add(name=name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(names, images)
    except Exception as error:  # each kind of damage has its own class
        raise InputError(f"ONNX Runtime cannot run the network ({first_line(error)}); export it again") from None


def _gap(node: ONNXNode, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference, relative to the largest value; refuse the node if it is too large."""
    if not np.isfinite(theirs).all():
        node.refuse("makes NaN or infinity of random images; check its weights")
    if ours.shape != theirs.shape:
        node.refuse(f"has the shape {theirs.shape} in ONNX Runtime but {ours.shape} here; please report it")
    largest = float(np.abs(theirs).max()) or 1.0
    gap = float(np.abs(ours - theirs).max()) / largest
    if not gap <= LARGEST_GAP:
        node.refuse(f"differs from ONNX Runtime by {gap:.1e} of its largest value; please report it")
    return gap


def _one_or_all(tensors):
    return tensors[0] if len(tensors) == 1 else tensors
