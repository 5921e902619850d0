"""Heads: what a network returns for each image, and the labels, the loss and the accuracy that follow from it.

A network for classes that exclude each other returns logits or their softmax. One sigmoid unit tells two classes
apart. Several sigmoid units give an image as many labels, each of which is right or wrong by itself.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.graph import Call, Graph, check_names, clone, ends, function_name, give_weights, like, rebuild

layers = keras.layers

SOFTMAX, SIGMOID = "softmax", "sigmoid"
_KEPT = (layers.Identity, layers.Dropout)  # they hand probabilities on as they are
_NO_CROSS_ENTROPY = ("hard_sigmoid", "sparsemax", "softmax over images")  # probabilities that reach 0
_FUNCTIONS = {"Softmax": SOFTMAX, "Sigmoid": SIGMOID, "HardSigmoid": "hard_sigmoid", "Sparsemax": "sparsemax"}
_ACTIVATIONS = {name: getattr(keras.activations, name) for name in _FUNCTIONS.values()}
_LEAST = 1e-38  # a probability of 0 counts as this in the loss
_LEAST_REST = 2.0**-25  # what a probability of 1 in float32 leaves


@dataclass(frozen=True)
class Head:
    """What a network returns for each image.

    Attributes:
        kind: `logits` or `softmax`, one output per class; `sigmoid`, one output for two classes; or `multi-label`,
            several outputs, each for a label of 0 or 1.
        units: Outputs per image.
        activated: Whether the outputs are probabilities; otherwise they are what softmax or sigmoid would make
            probabilities of.
    """

    kind: str
    units: int
    activated: bool

    @property
    def exclusive(self) -> bool:
        """Whether each class has an output of its own, and an image has one class."""
        return self.kind in ("logits", SOFTMAX)

    @property
    def classes(self) -> int:
        """How many values a label has: 2 for sigmoid outputs."""
        return self.units if self.exclusive else 2

    @property
    def before_activation(self) -> "Head":
        """The same head where softmax or sigmoid is left out."""
        return replace(self, activated=False)

    # Labels

    def check_labels(self, labels: np.ndarray, name: str, what: str) -> None:
        """Check that labels fit a network with this head.

        Args:
            labels: Integers (n,) or, for a multi-label network, (n, units).
            name: Of the network.
            what: What error messages call the data.

        Raises:
            InputError: when the labels have another shape, or name a class that there is not.
        """
        if self.kind == "multi-label" and labels.shape[1:] != (self.units,):
            raise InputError(
                f"{name} ends in {self.units} sigmoid units, so {what} must hold labels of 0 or 1 of the shape "
                f"(n, {self.units}), not {_shape(labels)}; end the network in softmax if each image has one class"
            )
        if self.kind != "multi-label" and labels.ndim != 1:
            raise InputError(
                f"{what} must hold one class number per image, not labels of the shape {_shape(labels)}; "
                f"take labels.argmax(1) if they are one-hot"
            )
        wrong = labels[(labels < 0) | (labels >= self.classes)]
        if wrong.size:
            raise InputError(
                f"{what} hold the label {wrong[0]}; {name} has {self.classes} classes, 0 to {self.classes - 1}"
            )

    def check_classes(self, classes: int, name: str) -> None:
        """Check that a network with this head has a class for each of a data set in which each image has one.

        Args:
            classes: How many classes the data set has.
            name: Of the network.

        Raises:
            InputError: when the network has more or fewer, or several labels per image.
        """
        if self.kind == "multi-label":
            raise InputError(
                f"{name} ends in {self.units} sigmoid units, and each image of the data has one class; use a network "
                "that ends in softmax, or call the library with labels of 0 or 1 for each unit"
            )
        if classes != self.classes:
            raise InputError(f"{name} has {self.classes} classes, and the data has {classes}")

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """Return labels as the loss takes them: (n,) int32 class numbers, or (n, units) float32 for sigmoid outputs."""
        if self.exclusive:
            return labels.astype(np.int32)
        return labels.astype(np.float32).reshape(len(labels), self.units)

    # Loss and accuracy in training

    def loss(self) -> keras.losses.Loss:
        """Return the cross-entropy of the outputs, with Keras' mean over images, and labels if there are several."""
        kind = keras.losses.SparseCategoricalCrossentropy if self.exclusive else keras.losses.BinaryCrossentropy
        return kind(from_logits=not self.activated)

    def accuracy(self) -> keras.metrics.Metric:
        """Return the accuracy of the outputs, as a metric that is not built again when a model is compiled."""
        if self.exclusive:
            return keras.metrics.SparseCategoricalAccuracy("accuracy")
        threshold = 0.5 if self.activated else 0.0
        return keras.metrics.MeanMetricWrapper(keras.metrics.binary_accuracy, "accuracy", threshold=threshold)

    def loss_of_each(self, targets: Any, outputs: Any) -> Any:
        """Return the loss of each image, a tensor (n,) through which gradients pass.

        Args:
            targets: As from `targets`.
            outputs: A tensor (n, units), not activated.
        """
        if self.exclusive:
            return keras.losses.sparse_categorical_crossentropy(targets, outputs, from_logits=True)
        return keras.losses.binary_crossentropy(ops.cast(targets, outputs.dtype), outputs, from_logits=True)

    def divergence_of_each(self, wanted: Any, outputs: Any) -> Any:
        """Return the Kullback-Leibler divergence KL(wanted || outputs) of each image, through which gradients pass.

        Args:
            wanted: A tensor (n, units), not activated, whose softmax or sigmoid are the probabilities to learn.
            outputs: A tensor (n, units), not activated.

        Returns:
            A tensor (n,), in nats; for sigmoid outputs the mean over labels.
        """
        if self.exclusive:
            log_p, log_q = ops.log_softmax(wanted), ops.log_softmax(outputs)
            return ops.sum(ops.exp(log_p) * (log_p - log_q), -1)
        p = ops.sigmoid(wanted)
        present = p * (ops.log_sigmoid(wanted) - ops.log_sigmoid(outputs))
        absent = (1 - p) * (ops.log_sigmoid(-wanted) - ops.log_sigmoid(-outputs))
        return ops.mean(present + absent, -1)

    # Loss and accuracy in evaluation

    def losses(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the loss of each image, (n,) in nats.

        Args:
            outputs: Numbers (n, units).
            labels: As in `check_labels`.
        """
        if not self.exclusive:
            return self._losses_of_labels(outputs, self.targets(labels))
        of_label = np.take_along_axis(outputs, labels[:, np.newaxis], 1)[:, 0]
        if self.activated:
            return -np.log(np.maximum(of_label, _LEAST))
        top = outputs.max(1)
        with np.errstate(invalid="ignore"):  # infinite logits give NaN
            return np.log(np.exp(outputs - top[:, np.newaxis]).sum(1)) + top - of_label

    def ranks(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return how many classes each label has before it, 0 for a hit: (n,), or (n, units) for a multi-label network.

        Args:
            outputs: Numbers (n, units).
            labels: As in `check_labels`.
        """
        if self.exclusive:
            return rank_of_label(outputs, labels)
        wrong = (outputs > (0.5 if self.activated else 0)) != (self.targets(labels) > 0)
        ranks = (wrong | np.isnan(outputs)).astype(int)
        return ranks if self.kind == "multi-label" else ranks[:, 0]

    def _losses_of_labels(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        if self.activated:
            rest = np.maximum(1 - outputs, _LEAST_REST)
            found = -np.log(np.where(targets > 0, np.maximum(outputs, _LEAST), rest))
        else:
            found = np.logaddexp(0, np.where(targets > 0, -outputs, outputs))
        return found.mean(1)


def rank_of_label(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how many classes each image has before its label; 0 is a hit.

    Of equal outputs the lower class comes first, as with argmax. If an output of an image is NaN, its label comes last.

    Args:
        outputs: Logits or probabilities (n, classes).
        labels: Integers (n,).

    Returns:
        Ranks (n,), from 0 to the number of classes.

    Example:
        >>> rank_of_label(np.array([[0.1, 0.7, 0.2]] * 3), np.array([0, 1, 2]))
        array([2, 0, 1])
    """
    of_label = np.take_along_axis(outputs, labels[:, np.newaxis], 1)
    before = np.arange(outputs.shape[1]) < labels[:, np.newaxis]
    rank = ((outputs > of_label) | (outputs == of_label) & before).sum(1)
    rank[np.isnan(outputs).any(1)] = outputs.shape[1]
    return rank


# The head of a network


def head_of(model: keras.Model) -> Head:
    """Return the head of `model`: its outputs per image, and the softmax or sigmoid that makes them.

    Args:
        model: Has one output, alone or in a list or dict, of shape (n, outputs).

    Returns:
        The head.

    Raises:
        InputError: when `model` has no graph, several outputs or an output of another shape; when its only output is
            not a sigmoid unit; when it ends in an activation whose probabilities have no cross-entropy; as
            `check_names`.
    """
    check_names(model)
    graph = Graph(model)
    if len(graph.outputs) != 1:
        raise InputError(
            f"{model.name} has {len(graph.outputs)} outputs, and a loss needs one; build a keras.Model that ends in "
            "the one with the classes"
        )
    shape = graph.outputs[0].shape
    if len(shape) != 2 or shape[1] is None:
        raise InputError(
            f"{model.name} must return one number per class, not an output of the shape {_sides(shape[1:])}; end it in "
            "a pooling or Flatten and a Dense layer"
        )
    activation = _activation(graph)
    if activation in _NO_CROSS_ENTROPY:
        raise InputError(f"{model.name} ends in {activation}, which has no cross-entropy; end it in softmax or sigmoid")
    if shape[1] == 1 and activation != SIGMOID:
        what = "a softmax of one unit, which is always 1" if activation == SOFTMAX else "one unit without sigmoid"
        raise InputError(f"{model.name} ends in {what}; give it activation='sigmoid', or one unit for each class")
    kinds: dict[str | None, str] = {SOFTMAX: SOFTMAX, SIGMOID: SIGMOID if shape[1] == 1 else "multi-label"}
    return Head(kinds.get(activation, "logits"), shape[1], activated=activation in kinds)


def without_head(model: keras.Model) -> keras.Model:
    """Return a copy of `model` without the softmax or sigmoid at its end.

    Args:
        model: As in `head_of`; it stays as it is.

    Returns:
        A new model with the same weights, not compiled; `model` itself if it returns logits.

    Raises:
        InputError: as `head_of`, and when the layer that ends in softmax or sigmoid is used several times.
    """
    if not head_of(model).activated:
        return model
    bare = _without_activation(model)
    give_weights(bare, model.get_weights())
    return bare


def with_head(network: keras.Model, head: Head) -> keras.Model:
    """Return `network` with the softmax or sigmoid of `head` after it; the way back from `without_head`.

    Args:
        network: Returns what softmax or sigmoid is taken of.
        head: Of the network that it was made from.

    Returns:
        A model of the same class with the same layers and one more, not compiled; `network` itself if the head is of
        logits.
    """
    if not head.activated:
        return network
    names = {layer.name for layer in network.layers}
    name = SOFTMAX if head.exclusive else SIGMOID
    free = next(n for n in (name, *(f"{name}_{i}" for i in range(1, len(names) + 1))) if n not in names)
    layer = layers.Softmax(name=free) if head.exclusive else layers.Activation(SIGMOID, name=free)
    inputs, outputs = ends(network)
    return like(network, inputs, keras.tree.map_structure(layer, outputs))


def logits_of(model: keras.Model) -> keras.Model:
    """Return a model of the same layers that computes what `model` takes softmax or sigmoid of.

    It has no weights of its own: to train it is to train `model`.

    Args:
        model: As in `head_of`, with one input, alone or in a list or dict.

    Returns:
        A model of the class of `model`, where that class is built from inputs and outputs, with one input and one
        output, not compiled.
    """
    return like(model, model.inputs[0], _before_activation(Graph(model)))


class _Linear(keras.layers.Layer):
    """Computes what a layer does, with its weights, but without its activation."""

    def __init__(self, layer: keras.Layer):
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.layer = layer
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Compute the outputs of the layer for a tensor of inputs."""
        attributes = vars(self.layer)  # past Keras, which would track an activation that is a layer anew
        activation, attributes["activation"] = attributes["activation"], keras.activations.linear
        try:
            return self.layer(inputs)
        finally:
            attributes["activation"] = activation


def _before_activation(graph: Graph) -> keras.KerasTensor:
    """Return a tensor of the logits: of the graph, or made from one of its tensors by the same layers."""
    call = _last(graph)
    operation = call.operation
    if isinstance(operation, keras.Model):
        inner = Graph(operation)
        if _activation(inner) not in (SOFTMAX, SIGMOID):
            return graph.outputs[0]
        return keras.Model(operation.inputs, _before_activation(inner), name=operation.name)(*call.inputs)
    if _activation(graph) not in (SOFTMAX, SIGMOID):
        return graph.outputs[0]
    return call.inputs[0] if _is_activation(operation) else _Linear(operation)(call.inputs[0])


def _without_activation(model: keras.Model) -> keras.Model:
    """Return a copy of `model` without its last activation; its weights are not those of `model`."""
    graph = Graph(model)
    last = _last(graph)
    if not _is_activation(last.operation) and len(graph.calls_of(last.operation)) > 1:
        raise InputError(
            f"layer {last.name} of {model.name} is used {len(graph.calls_of(last.operation))} times, so its activation "
            "cannot be taken off; give the last use a layer"
        )

    def copy(operation: Any) -> Any:
        if operation is not last.operation or _is_activation(operation):
            return clone(operation)
        nested = isinstance(operation, keras.Model)
        return _without_activation(operation) if nested else clone(operation, activation="linear")

    def apply(call: Call, operation: Any, *args: Any, **kwargs: Any) -> Any:
        taken_off = call.outputs[0] is last.outputs[0] and _is_activation(call.operation)
        return args[0] if taken_off else operation(*args, **kwargs)

    bare = rebuild(model, copy, apply)
    return like(bare, *ends(bare))


def _last(graph: Graph) -> Call:
    """Return the call that makes the output of a graph, before layers that hand it on as it is."""
    call = graph.made_by(graph.outputs[0])
    while isinstance(call.operation, _KEPT) or _is_linear(call.operation):
        call = graph.made_by(call.inputs[0])
    return call


def _is_linear(operation: keras.Operation) -> bool:
    """Return whether an operation is an activation that changes nothing, or only the precision."""
    return isinstance(operation, layers.Activation) and operation.activation is keras.activations.linear


def _activation(graph: Graph) -> str | None:
    """Return the name of the activation that makes the output of a graph."""
    operation = _last(graph).operation
    return _activation(Graph(operation)) if isinstance(operation, keras.Model) else _activation_of(operation)


def _is_activation(operation: keras.Operation) -> bool:
    """Return whether an operation is nothing but an activation."""
    return isinstance(operation, (layers.Activation, layers.Softmax)) or function_name(operation) in _FUNCTIONS


def _activation_of(operation: Any) -> str | None:
    """Return the name of the activation that an operation is, or has; None if it has none."""
    if isinstance(operation, layers.Softmax) or function_name(operation) == "Softmax":
        axes = operation.axis if isinstance(operation.axis, (tuple, list)) else [operation.axis]
        return SOFTMAX if [*axes] in ([-1], [1]) else "softmax over images"
    activation = getattr(operation, "activation", None)
    if isinstance(activation, layers.Layer):
        return _activation_of(activation)
    return _FUNCTIONS.get(function_name(operation)) or _computed(activation)


def _computed(activation: Any) -> str | None:
    """Return the name of the activation that a function computes, also where it is a user's own."""
    known = next((name for name, function in _ACTIVATIONS.items() if function is activation), None)
    if known or activation is None or getattr(activation, "__module__", "").startswith("keras."):
        return known
    x = np.array([[-1, 0.5, 4]], np.float32)
    try:
        found = ops.convert_to_numpy(activation(ops.convert_to_tensor(x)))
        return next((name for name, function in _ACTIVATIONS.items() if np.allclose(found, function(x))), None)
    except Exception:  # whatever a function of the user's own raises
        return None


def _sides(shape: tuple) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape)


def _shape(labels: np.ndarray) -> str:
    return f"(n,{','.join(f' {side}' for side in labels.shape[1:])})"
