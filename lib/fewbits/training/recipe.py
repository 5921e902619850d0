"""How a network is trained: the optimizer, its learning rate, and the loss."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from fewbits.backend import keras
from fewbits.errors import InputError, check_integers, check_name
from fewbits.graph import ends
from fewbits.names import DECAYS, OPTIMIZERS
from fewbits.training.class_weights import ClassWeight
from fewbits.training.heads import Head, head_of, logits_of

if TYPE_CHECKING:  # a teacher is run as in evaluation, which imports this module
    from fewbits.training.distillation import Distillation, Lesson

losses = keras.losses
_OF_CLASSES = (
    losses.sparse_categorical_crossentropy,
    losses.SparseCategoricalCrossentropy,
    losses.categorical_crossentropy,
    losses.CategoricalCrossentropy,
)
_OF_LABELS = losses.binary_crossentropy, losses.BinaryCrossentropy
MEAN = "sum_over_batch_size"  # Keras' name for the mean
_CHANGES = ("label_smoothing", "ignore_class")  # options that make another loss of a cross-entropy

# The network that trains a model with a teacher, and the settings in its graph, which takes long to make.
_TAUGHT: WeakKeyDictionary[keras.Model, tuple[tuple, keras.Model]] = WeakKeyDictionary()
STAIRCASE = 0.94  # the factor after every second epoch; chiang2017, 4.3.3.1


@dataclass(frozen=True)
class Recipe:
    """How the epochs of a schedule are trained.

    Attributes:
        optimizer: One of `names.OPTIMIZERS`, or an optimizer of Keras, which brings its own learning rate.
        learning_rate: The rate at the first step, or a learning-rate schedule of Keras.
        decay: One of `names.DECAYS`; how the rate falls over the whole training, as in `decaying_rate`.
        batch_size: Images per step.
        seed: Draws the order of the images, their augmentation, and levels in random order.
        class_weight: As in `train`.
        distillation: As in `train`; without a teacher, that is the float network which the schedule starts from.

    Raises:
        InputError: when a field holds a value that it cannot take.
    """

    optimizer: str | keras.optimizers.Optimizer = "sgd"
    learning_rate: float | Callable = 0.001
    decay: str = "constant"
    batch_size: int = 32
    seed: int = 0
    class_weight: ClassWeight | None = None
    distillation: "Distillation | None" = None

    def __post_init__(self) -> None:
        if isinstance(self.optimizer, str):
            check_name("optimizer", self.optimizer, OPTIMIZERS)
        if not callable(self.learning_rate):
            _check_rate(self.learning_rate)
        check_name("decay", self.decay, DECAYS)
        check_integers(batch_size=(self.batch_size, 1), seed=(self.seed, 0))

    def prepare(self, model: keras.Model, epochs: int, images: int) -> keras.Model:
        """Compile `model` for a training of `epochs` epochs of `images` images each.

        Args:
            model: As in `prepare` of this module.
            epochs: How many epochs the whole training has.
            images: How many images an epoch has.

        Returns:
            `model`.

        Raises:
            InputError: as `prepare` of this module.
        """
        rate = decaying_rate(self.learning_rate, self.decay, epochs, images, self.batch_size)
        return prepare(model, self.optimizer, rate)


def prepare(
    model: keras.Model,
    optimizer: str | keras.optimizers.Optimizer = "sgd",
    learning_rate: float | Callable = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> keras.Model:
    """Compile `model` for training with cross-entropy.

    Args:
        model: Ends in a head, as in `head_of`, from which the loss and the accuracy follow.
        optimizer: `sgd`, with Nesterov momentum; `adam`; `rmsprop`, with momentum, whose mean of squared gradients
            keeps 0.9 of its value at each step (chiang2017, 4.3.3.1); or an optimizer of Keras, for which the other
            arguments do not count.
        learning_rate: A number or a learning-rate schedule of Keras.
        momentum: Of `sgd` and `rmsprop`.
        weight_decay: The share of each weight, times the learning rate, that each step subtracts.

    Returns:
        `model`.

    Raises:
        InputError: when the optimizer's name is unknown, the rate is not positive, the momentum is outside [0, 1), the
            weight decay is negative or not finite, or `head_of` refuses the model.
    """
    head = head_of(model)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        optimizer = _optimizer(optimizer, learning_rate, momentum, weight_decay)
    return compile_for(model, head, optimizer)


def compile_for(network: keras.Model, head: "Head | Lesson", optimizer: keras.optimizers.Optimizer) -> keras.Model:
    """Compile a network for training with the loss and the accuracy of its head, or of what a teacher teaches it.

    Args:
        network: Returns what `head` says.
        head: Its head, or the lesson.
        optimizer: An optimizer of Keras.

    Returns:
        `network`.
    """
    # A metric that has its variables already: Keras would trace the first step twice to make them.
    network.compile(optimizer, head.loss(), metrics=[head.accuracy()], jit_compile=compiles_steps())
    return network


def trained_network(model: keras.Model) -> tuple[keras.Model, Head]:
    """Return the network whose steps train a compiled model, and its head.

    The cross-entropy is computed from what softmax or sigmoid is taken of: exactly, and equally on all backends.

    Args:
        model: Compiled, with a head as in `head_of`.

    Returns:
        `model` itself if it returns logits, or if its loss is another one than the cross-entropy of its head; otherwise
        `logits_of(model)`, compiled with the same optimizer.

    Raises:
        InputError: when `head_of` refuses `model`; when its loss takes logits for probabilities or the other way round,
            or needs one-hot labels.
    """
    head = head_of(model)
    alone = all(isinstance(x, keras.KerasTensor) for x in ends(model))
    prepared = not head.activated and alone and isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy)
    if not _is_cross_entropy(model, head) or prepared:
        return model, head
    bare = head.before_activation
    return compile_for(logits_of(model), bare, model.optimizer), bare


def taught_network(model: keras.Model, lesson: "Lesson") -> keras.Model:
    """Return the network whose steps train a compiled model with a teacher.

    Args:
        model: Compiled, with a head as in `head_of`; its loss is the cross-entropy of its head.
        lesson: What the teacher teaches it.

    Returns:
        `logits_of(model)`, compiled with the same optimizer; `model` stays compiled as it is. Another training of
        `model` with the same share, temperature and optimizer gets the same network, and nothing is traced anew.

    Raises:
        InputError: when the loss of `model` is another one.
    """
    if not _is_cross_entropy(model, head_of(model)):
        raise InputError(
            f"a teacher adds to the cross-entropy, and {model.name} is compiled with another loss; leave one of them "
            "out"
        )
    settings = lesson.share, lesson.temperature
    known = _TAUGHT.get(model)
    if known is None or known[0] != settings or known[1].optimizer is not model.optimizer:
        known = settings, compile_for(logits_of(model), lesson, model.optimizer)
        _TAUGHT[model] = known
    return known[1]


def _is_cross_entropy(model: keras.Model, head: Head) -> bool:
    """Return whether the loss that a model was compiled with, if any, is the cross-entropy of its head."""
    if model.loss is None:
        return True
    given = keras.tree.flatten(model.loss)
    if len(given) != 1 or not (callable(given[0]) or isinstance(given[0], str)):
        return False
    loss = keras.losses.get(given[0])
    options = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
    kinds = _OF_CLASSES if head.exclusive else _OF_LABELS
    usual = options.get("reduction", MEAN) == MEAN and not any(map(options.get, _CHANGES))
    if loss in kinds or type(loss) in kinds:
        if options.get("from_logits", False) == head.activated:
            returned = "probabilities" if head.activated else "logits"
            raise InputError(
                f"{model.name} returns {returned}, so compile its loss with from_logits={not head.activated}, or not "
                "at all"
            )
        if usual:
            return True
    name = getattr(loss, "__name__", type(loss).__name__)
    if name.lower().startswith("categorical"):
        raise InputError(
            f"{model.name} is compiled with the loss {name}, which takes one-hot labels; compile it with a sparse "
            "loss, which takes class numbers, or not at all"
        )
    return False


def _optimizer(name: str, rate: float | Callable, momentum: float, weight_decay: float) -> Any:
    check_name("optimizer", name, OPTIMIZERS)
    if not callable(rate):
        _check_rate(rate)
        rate = float(rate)
    if not 0 <= momentum < 1:
        raise InputError(f"momentum must be from 0 to below 1, not {momentum!r}")
    if not 0 <= weight_decay < float("inf"):
        raise InputError(f"weight_decay must be a number of at least 0, not {weight_decay!r}")
    momentum, options = float(momentum), {"weight_decay": weight_decay or None}
    if name == "adam":
        return keras.optimizers.Adam(rate, **options)
    if name == "rmsprop":
        return keras.optimizers.RMSprop(rate, rho=0.9, momentum=momentum, **options)
    return keras.optimizers.SGD(rate, momentum=momentum, nesterov=momentum > 0, **options)


def decaying_rate(
    learning_rate: float | Callable, decay: str, epochs: int, images: int, batch_size: int
) -> float | Callable:
    """Return the learning rate of a whole training, as `prepare` takes it.

    Args:
        learning_rate: The rate at the first step.
        decay: `constant`; `cosine`, which falls to 0; or `staircase`, which is multiplied by 0.94 after every second
            epoch (chiang2017, 4.3.3.1).
        epochs: How many epochs the training has.
        images: How many images an epoch has.
        batch_size: Images per step.

    Returns:
        `learning_rate` itself if it is constant, else a learning-rate schedule of Keras.

    Raises:
        InputError: when the decay is unknown, or a rate that is to fall is not a positive number.
    """
    check_name("decay", decay, DECAYS)
    if decay == "constant" or not epochs:
        return learning_rate
    _check_rate(learning_rate)
    rate, steps = float(learning_rate), ceil(images / batch_size)  # type: ignore[arg-type]  # checked above
    if decay == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, epochs * steps)
    return keras.optimizers.schedules.ExponentialDecay(rate, 2 * steps, STAIRCASE, staircase=True)


def _check_rate(learning_rate: Any) -> None:
    if callable(learning_rate) or not np.isfinite(learning_rate) or learning_rate <= 0:
        raise InputError(f"the learning rate must be a positive number, not {learning_rate!r}")


def compiles_steps() -> bool | str:
    """Return Keras' `jit_compile`: XLA's convolutions are 2 to 4 times slower than TensorFlow's own on a CPU."""
    return False if keras.backend.backend() == "tensorflow" else "auto"
