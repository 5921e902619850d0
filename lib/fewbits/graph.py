"""The graph of a Keras model: which operations are called, in which order, and which tensors lie between them.

A `Graph` consists of calls. A layer that is used twice has two calls, each with its own inputs and outputs. No other
module depends on how Keras stores a graph.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType
from typing import Any

from fewbits.backend import keras
from fewbits.errors import InputError

# What the names of functions and objects that a layer is given end in.
OBJECTS = "activation", "initializer", "regularizer", "constraint"


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an operation, as a node of a graph.

    Two calls are equal only if they are the same one, so a call can be the key of a dictionary.

    Attributes:
        operation: The layer, the nested model, or another Keras operation such as `ops.relu` or an addition `x + y`.
        inputs: The symbolic tensors that the call reads, without the structure that holds them.
        outputs: The symbolic tensors that the call makes.
    """

    operation: keras.Operation
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]
    _arguments: Any = field(repr=False)

    @property
    def name(self) -> str:
        """The name of the operation."""
        return self.operation.name

    @property
    def arguments(self) -> tuple:
        """The positional arguments of the call; symbolic tensors stand for the tensors it reads."""
        return tuple(self._arguments.args)

    @property
    def keywords(self) -> dict[str, Any]:
        """The keyword arguments of the call."""
        return dict(self._arguments.kwargs)

    def filled(self, values: dict[int, Any]) -> tuple[tuple, dict[str, Any]]:
        """Return the positional and keyword arguments of the call with values in place of symbolic tensors.

        Args:
            values: Identity of each tensor that the call reads -> its value.
        """
        return self._arguments.fill_in(values)

    @property
    def is_input(self) -> bool:
        """Whether the call makes an input of the model and reads nothing."""
        return isinstance(self.operation, keras.layers.InputLayer)


class Graph:
    """The calls of a model in topological order.

    The graph holds what leads from the inputs of the model to its outputs. The same layers may also be called in
    other graphs, for example those of a sequential model that was read from a file; such calls are left out. A nested
    model is one call; `Graph(call.operation)` opens it.

    Attributes:
        calls: The calls in topological order, inputs of the model included.
        inputs: The input tensors of the model.
        outputs: The output tensors of the model.
    """

    def __init__(self, model: keras.Model | keras.Function):
        """Read the graph of `model`.

        Args:
            model: A functional model, a sequential model with an input, or a `keras.Function`.

        Raises:
            InputError: when `model` has no graph.
        """
        if not getattr(model, "inputs", None):
            raise InputError(f"{model.name} has no graph; build a functional model, or a sequential one with an Input")
        self.inputs = tuple(model.inputs)
        self.outputs = tuple(model.outputs)
        by_depth = keras.Function(model.inputs, model.outputs, name=model.name)._nodes_by_depth
        nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
        self.calls = tuple(
            Call(node.operation, tuple(node.input_tensors), tuple(node.output_tensors), node.arguments)
            for node in nodes
        )

    @cached_property
    def operations(self) -> tuple[keras.Operation, ...]:
        """The operations that are called, each once, in the order of their first calls."""
        return tuple({id(call.operation): call.operation for call in self.calls}.values())

    @property
    def layers(self) -> tuple[keras.Layer, ...]:
        """The operations that are layers; a nested model is one of them."""
        return tuple(operation for operation in self.operations if isinstance(operation, keras.Layer))

    @property
    def functions(self) -> tuple[keras.Operation, ...]:
        """The operations that are not layers, such as `ops.relu` and additions written as `x + y`."""
        return tuple(operation for operation in self.operations if not isinstance(operation, keras.Layer))

    @property
    def nested(self) -> tuple[keras.Model, ...]:
        """The models that are called as layers."""
        return tuple(operation for operation in self.operations if isinstance(operation, keras.Model))

    def calls_of(self, operation: keras.Operation) -> tuple[Call, ...]:
        """Return the calls of `operation` in this graph; none if it is not part of it."""
        return tuple(self._calls_of.get(id(operation), ()))

    def made_by(self, tensor: keras.KerasTensor) -> Call:
        """Return the call that makes `tensor`, which must be a tensor of this graph."""
        return self._made_by[id(tensor)]

    def readers(self, tensor: keras.KerasTensor) -> tuple[Call, ...]:
        """Return the calls that read `tensor`, each once."""
        return tuple(self._readers.get(id(tensor), ()))

    def is_output(self, tensor: keras.KerasTensor) -> bool:
        """Return whether `tensor` is an output of the model."""
        return any(tensor is output for output in self.outputs)

    def only_reader(self, tensor: keras.KerasTensor) -> Call | None:
        """Return the call that alone reads `tensor`; None if there are several, none, or if it is an output."""
        readers = self.readers(tensor)
        return readers[0] if len(readers) == 1 and not self.is_output(tensor) else None

    def run(self, inputs: Iterable, step: Callable[..., Any]) -> list:
        """Run the graph with `step` in place of each operation.

        Args:
            inputs: A value for each input of the model: an array, a tensor or a symbolic tensor.
            step: Called as `step(call, *args, **kwargs)` for each call, in topological order, with the arguments of
                the operation. Returns what is taken for the outputs of the call; `call.operation(*args, **kwargs)`
                computes them.

        Returns:
            A value for each output of the model.
        """
        values = {id(tensor): value for tensor, value in zip(self.inputs, inputs, strict=True)}
        for call in self.calls:
            if not call.is_input:
                args, kwargs = call.filled(values)
                results = keras.tree.flatten(step(call, *args, **kwargs))
                values |= {id(tensor): result for tensor, result in zip(call.outputs, results)}
        return [values[id(tensor)] for tensor in self.outputs]

    @cached_property
    def _calls_of(self) -> dict[int, list[Call]]:
        return _grouped((call.operation, call) for call in self.calls)

    @cached_property
    def _made_by(self) -> dict[int, Call]:
        return {id(tensor): call for call in self.calls for tensor in call.outputs}

    @cached_property
    def _readers(self) -> dict[int, list[Call]]:
        once = ({id(tensor): tensor for tensor in call.inputs}.values() for call in self.calls)
        return _grouped((tensor, call) for call, tensors in zip(self.calls, once) for tensor in tensors)


def function_name(operation: keras.Operation) -> str:
    """Return the name of an operation of Keras that is not a layer, such as `Relu` of `ops.relu`; otherwise ""."""
    own = isinstance(operation, keras.Layer) or not type(operation).__module__.startswith("keras.src.ops")
    return "" if own else type(operation).__name__


def ends(model: keras.Model) -> tuple[Any, Any]:
    """Return the symbolic inputs and outputs of `model`: a tensor, or tensors in the structure that it takes and makes.

    A sequential model has one of each.
    """
    return (*model.inputs, *model.outputs) if isinstance(model, keras.Sequential) else (model.input, model.output)


def like(model: keras.Model, inputs: Any, outputs: Any) -> keras.Model:
    """Return a model from `inputs` to `outputs` with the name of `model`, not compiled.

    Args:
        model: Any model.
        inputs: A symbolic tensor, or several in a structure.
        outputs: As `inputs`.

    Returns:
        A model of the class of `model` where that class is built from inputs and outputs, otherwise a `keras.Model`.
        It has the attributes that such a class lists as `beside_graph`.
    """
    plain = keras.Model(inputs, outputs, name=model.name)
    if type(model).__init__ is not type(plain).__init__:
        return plain
    same = type(model)(inputs, outputs, name=model.name)
    for name in getattr(model, "beside_graph", ()):
        setattr(same, name, getattr(model, name))
    return same


def run_again(model: keras.Model, step: Callable[..., Any]) -> keras.Model:
    """Return a model with new inputs and what `step` makes of each call of `model`, not compiled.

    Args:
        model: A functional model, or a sequential one with an input. A sequential model becomes a functional one.
        step: As in `Graph.run`.

    Returns:
        A model as `like` returns it.

    Raises:
        InputError: when `model` has no graph.
    """
    graph = Graph(model)
    inputs = [keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name) for x in graph.inputs]
    new = graph.run(inputs, step)
    return like(model, *map(keras.tree.pack_sequence_as, ends(model), (inputs, new)))


def clone(operation: Any, kind: Any = None, **changes: Any) -> Any:
    """Return a new operation with the configuration of `operation`, without its weights.

    Args:
        operation: A layer, another Keras operation, or what else Keras makes from a configuration.
        kind: The class of the new operation, by default that of `operation`.
        **changes: Entries of the configuration that differ, such as `name="conv2"`.
    """
    return (kind or type(operation)).from_config(configuration(operation) | changes)


def configuration(operation: Any) -> dict[str, Any]:
    """Return the configuration of `operation`, from which `from_config` makes another one.

    Keras stores functions and objects by their names, and does not find a user's own again, or finds one of its own
    with that name. Activations, initializers, regularizers and constraints that Keras does not know therefore stand in
    the configuration themselves.

    Args:
        operation: As in `clone`.
    """
    own = {name: value for name, value in vars(operation).items() if name.endswith(OBJECTS) and not _is_known(value)}
    vars(operation).update({name: keras.activations.linear if name.endswith(OBJECTS[0]) else None for name in own})
    try:  # without them, because Keras cannot store all
        config = operation.get_config()
    finally:
        vars(operation).update(own)
    return config | {name: value for name, value in own.items() if name in config}


def give_weights(layer: keras.Layer, weights: Iterable[Any]) -> None:
    """Give a layer or a model its weights, as `set_weights` does, and what follows from them.

    Args:
        layer: A layer or a model.
        weights: One array per weight, in the order of `get_weights`.
    """
    layer.set_weights(list(weights))
    refresh_constants(layer)


def refresh_constants(layer: keras.Layer) -> None:
    """Let a layer, or all of a model, compute with the weights that it has now.

    A Normalization that was adapted computes with constants that it makes of its weights; Keras leaves those as they
    were when weights are set.

    Args:
        layer: A layer or a model.
    """
    for inner in layer._flatten_layers():
        if isinstance(inner, keras.layers.Normalization):
            inner.finalize_state()


def copy_weights(model: keras.Model, copy: keras.Model) -> None:
    """Give each layer of `copy` that has weights those of the layer of `model` with its name.

    Args:
        model: The model to copy from.
        copy: A model with layers of the same names; other layers of `model` do not matter.
    """
    for layer in copy.layers:
        if layer.weights:
            give_weights(layer, model.get_layer(layer.name).get_weights())


def takes_integers(tensor: keras.KerasTensor) -> bool:
    """Return whether an input of a model holds integers, such as the bytes of pixels.

    Args:
        tensor: The symbolic input.
    """
    return "int" in str(tensor.dtype)


def check_names(model: keras.Model) -> None:
    """Check that TensorFlow can compile a model whose layers have these names.

    Args:
        model: A functional model, or a sequential one with an input.

    Raises:
        InputError: when the model or a layer has another name, and the backend is TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        return
    graph = Graph(model)
    for what, name in (("the network", model.name), *(("layer", layer.name) for layer in graph.layers)):
        if not re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.>\\-]*" if what != "layer" else r"[A-Za-z0-9_.>\\-]+", name):
            raise InputError(
                f"{what} {name} has a name that TensorFlow cannot compile; set its attribute `name` to one of letters "
                "from A to Z, digits, '_' and '-'"
            )


def free_name(wanted: str, names: set[str]) -> str:
    """Return a name that is not in use: `wanted`, if need be with a number after it.

    Args:
        wanted: The name to begin with.
        names: The names in use; the one that is returned is added.
    """
    name, number = wanted, 2
    while name in names:
        name, number = f"{wanted}_{number}", number + 1
    names.add(name)
    return name


def rebuild(
    model: keras.Model,
    replace: Callable[[keras.Operation], keras.Operation] = clone,
    apply: Callable[..., Any] | None = None,
) -> keras.Model:
    """Return a model with the graph of `model` and new operations.

    Args:
        model: A functional model, or a sequential one with an input. A sequential model becomes a functional one.
        replace: Returns the operation to use in place of one of `model`; called once for each, in topological order of
            first calls. By default a clone. Weights are not copied.
        apply: Called as `apply(call, operation, *args, **kwargs)` for each call of `model` with the operation that
            replaces its own, and returns what is taken for the outputs. By default `operation(*args, **kwargs)`.

    Returns:
        A model of the class of `model` where that class is built from inputs and outputs, otherwise a `keras.Model`. It
        is compiled as a functional `model` is, with the same losses and metrics and an optimizer of its own, unless
        Keras cannot make that optimizer from its configuration.

    Raises:
        InputError: when `model` has no graph.
    """
    replaced: dict[int, keras.Operation] = {}

    def step(call, *args, **kwargs):
        if id(call.operation) not in replaced:
            replaced[id(call.operation)] = replace(call.operation)
        operation = replaced[id(call.operation)]
        return operation(*args, **kwargs) if apply is None else apply(call, operation, *args, **kwargs)

    rebuilt = run_again(model, step)
    if isinstance(model, keras.Sequential):
        return rebuilt
    if model.compiled and type(rebuilt).compile is keras.Model.compile:
        _compile_as(rebuilt, model)
    return rebuilt


def _compile_as(rebuilt: keras.Model, model: keras.Model) -> None:
    given = dict(model._compile_config.config)
    try:
        given["optimizer"] = given["optimizer"] and clone(given["optimizer"])
    except Exception:  # whatever an optimizer of the user's own raises
        return
    rebuilt.compile(**given)


def _is_known(part: Any) -> bool:
    """Return whether Keras makes `part` of a layer again from its configuration."""
    kind = part if isinstance(part, FunctionType) else type(part)
    if part is None or keras.saving.get_registered_name(kind) != kind.__name__:
        return True
    builtin = kind.__module__.split(".")[0] == "keras"
    return builtin and (kind is not part or hasattr(keras.activations, kind.__name__))


def _grouped(pairs: Iterable[tuple[Any, Call]]) -> dict[int, list[Call]]:
    """Return the identity of each key of `pairs` -> its calls."""
    found: dict[int, list[Call]] = {}
    for key, call in pairs:
        found.setdefault(id(key), []).append(call)
    return found
