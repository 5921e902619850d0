"""Training that can be stopped at any moment and resumed to the same bits, and evaluation.

What an epoch does follows from the seed, its number and the state at its start: the order of the images and their
augmentation are drawn from (seed, epoch), the state of dropout is among the model's variables, and the checkpoint
holds every variable of model and optimizer. Source: vieito2017, 3.2.4 (a checkpoint after each epoch).
"""

import json
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.dataset import Split
from fewbits.data.folders import ImageFolder
from fewbits.errors import InputError, check_integers, check_name
from fewbits.names import DECAYS, OPTIMIZERS
from fewbits.training import checkpoints
from fewbits.training.interruption import postponed

KIND = "fewbits training checkpoint 1"


class LossError(InputError):
    """A loss that became NaN or infinite."""


class Step(NamedTuple):
    """How far a training is: what `progress` is told after each batch and, with all of `results`, after each epoch.

    epoch counts from 1; step is `steps` after an epoch only. seconds_left is an estimate for the whole training.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    results: dict[str, float]
    seconds_left: float


class Score(NamedTuple):
    """What a network gets right: of `n` images `hits`, among its five highest classes `hits_top5`, None if it has five
    classes or fewer; `loss` is the mean cross-entropy in nats."""

    hits: int
    n: int
    loss: float
    hits_top5: int | None

    @property
    def accuracy(self) -> float:
        return self.hits / self.n


def prepare(model, optimizer="sgd", learning_rate: float = 0.01, momentum: float = 0.9, weight_decay: float = 0.0):
    """Compile `model`, which returns logits, for training with cross-entropy; return it.

    optimizer: `sgd`, with Nesterov's momentum, `adam`, `rmsprop` (a mean over squares that forgets a tenth a step; with
    momentum; chiang2017, 4.3.3.1), or a keras.optimizers.Optimizer, which brings its own numbers. learning_rate: a
    number or a keras schedule. weight_decay: the share of every weight, times the rate, that each step takes away.
    Raises InputError on an unknown name, a rate that is no positive number, a momentum outside [0, 1), a weight decay
    that is negative or no number, and a model that ends in softmax.
    """
    if _ends_in_softmax(model):
        raise InputError(f"{model.name} ends in softmax; training needs logits, so give its last layer no activation")
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        if optimizer not in OPTIMIZERS:
            raise InputError(f"unknown optimizer {optimizer!r}; it is one of {', '.join(OPTIMIZERS)}")
        if not callable(learning_rate):
            learning_rate = _checked_rate(learning_rate)
        if not 0 <= momentum < 1:
            raise InputError(f"momentum must be from 0 to below 1, not {momentum!r}")
        if not 0 <= weight_decay < float("inf"):
            raise InputError(f"weight_decay must be a number of at least 0, not {weight_decay!r}")
        kind, options = {
            "sgd": (keras.optimizers.SGD, {"momentum": momentum, "nesterov": momentum > 0}),
            "adam": (keras.optimizers.Adam, {}),
            "rmsprop": (keras.optimizers.RMSprop, {"rho": 0.9, "momentum": momentum}),
        }[optimizer]
        optimizer = kind(learning_rate, weight_decay=weight_decay or None, **options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # A metric that has its variables already: Keras would trace the first step twice to make them.
    accuracy = keras.metrics.SparseCategoricalAccuracy("accuracy")
    model.compile(optimizer, loss, metrics=[accuracy], jit_compile=_compiles_steps())
    return model


def decaying_rate(learning_rate: float, decay: str, epochs: int, images: int, batch_size: int):
    """Return the learning rate of a whole training, as `prepare` takes it.

    decay: `constant`; `cosine`, falling to 0; `staircase`, times 0.94 after every second epoch (chiang2017, 4.3.3.1).
    images: how many an epoch has. Raises InputError on another decay, and a rate that is no positive number.
    """
    check_name("decay", decay, DECAYS)
    if decay == "constant" or not epochs:
        return learning_rate
    rate, steps = _checked_rate(learning_rate), ceil(images / batch_size)
    if decay == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, epochs * steps)
    return keras.optimizers.schedules.ExponentialDecay(rate, 2 * steps, 0.94, staircase=True)


def _checked_rate(learning_rate) -> float:
    if not np.isfinite(learning_rate) or learning_rate <= 0:
        raise InputError(f"the learning rate must be a positive number, not {learning_rate!r}")
    return float(learning_rate)


def train(
    model,
    data,
    *,
    validation=None,
    epochs: int,
    batch_size: int = 32,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    resume: bool = False,
    augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
    before_epoch: Callable[[int], dict | None] | None = None,
    progress: Callable[[Step], None] | None = None,
) -> list[dict]:
    """Train `model` until `epochs` epochs are done; return one dict an epoch: epoch, loss, accuracy, val_loss, ...

    model: returns logits (n, classes); compiled by `prepare` where it is not yet. data, validation: a Split (pixels are
    taken as they are), a pair of images (n, height, width, channels) and labels (n,), or an ImageFolder. augment: maps
    a batch of images and a numpy Generator to as many images. before_epoch: called with the number of each epoch that
    is about to start; may change the variables of the model, and returns what is to stand in that epoch's dict.
    checkpoint: a file that is replaced after each epoch.
    resume: go on from it, if it exists. Interrupted at any moment, even killed, and resumed with the same arguments, a
    training ends with the same bits in every weight, optimizer variable and the history, on one machine without GPU.

    Raises InputError on NaN, infinity or no images, labels the network has no class for, numbers out of range, a
    checkpoint that exists (without `resume`), is damaged or of another training, and when the loss becomes NaN.
    """
    check_integers(epochs=(epochs, 0), batch_size=(batch_size, 1), seed=(seed, 0))
    source = source_of(model, data, "the training data")
    held_out = None if validation is None else source_of(model, validation, "the validation data")
    if not model.compiled:
        prepare(model)
    model.optimizer.build(model.trainable_variables)
    made_with = _identity(model, source, batch_size, seed, augment)
    checkpoint = None if checkpoint is None else Path(checkpoint)
    history = _start(model, checkpoint, resume, made_with, epochs)
    clock = _Clock(progress, epochs, len(history), steps=ceil(len(source) / batch_size))
    for epoch in range(len(history) + 1, epochs + 1):
        told = before_epoch(epoch) if before_epoch else None
        results = {**(told or {}), **_epoch(model, source, epoch, batch_size, seed, augment, clock)}
        if held_out is not None:
            score = _score(model, held_out, batch_size)
            _check_loss(score.loss, f"on the validation data after epoch {epoch}")
            results |= {"val_loss": score.loss, "val_accuracy": score.accuracy}
        history = [*history, {"epoch": epoch, **results}]
        if checkpoint:
            header = {"kind": KIND, "made_with": made_with, "history": history}
            checkpoints.save(checkpoint, header, _variables(model))
        clock.finished(epoch, results)
    return history


def evaluate(model, data, batch_size: int = 100) -> Score:
    """Return the Score of `model` on `data`, both as in `train`; a model that ends in softmax will do too."""
    check_integers(batch_size=(batch_size, 1))
    return _score(model, source_of(model, data, "the data"), batch_size)


def read_history(checkpoint: Path | str) -> list[dict]:
    """Return the history in a checkpoint of `train`; InputError where it is missing, damaged or something else."""
    path = Path(checkpoint)
    return _history(path, checkpoints.read_header(path, KIND))


# Epochs


def _epoch(model, source, epoch, batch_size, seed, augment, clock) -> dict[str, float]:
    totals, n = {}, 0
    for step, (images, labels) in enumerate(source.batches(batch_size, [seed, epoch]), 1):
        if augment is not None:
            images = _augmented(augment, images, np.random.default_rng([seed, epoch, step]))
        with postponed():
            logs = model.train_on_batch(images, labels.astype(np.int32), return_dict=True)
        _check_loss(logs["loss"], f"in epoch {epoch}, batch {step}")
        n += len(labels)
        for name in sorted(logs, key=lambda name: name != "loss"):
            totals[name] = totals.get(name, 0.0) + float(logs[name]) * len(labels)
        results = {name: total / n for name, total in totals.items()}
        clock.stepped(epoch, step, results)
    if not n:
        raise InputError("none of the training images could be read")
    return results


def _check_loss(loss, where):
    if not np.isfinite(loss):
        raise LossError(f"the loss became {float(loss)} {where}; use a lower learning rate")


def _augmented(augment, images, rng):
    changed = np.asarray(augment(images.copy(), rng), np.float32)
    if changed.shape != images.shape:
        raise InputError(f"augment must return images of the shape {images.shape}, not {changed.shape}")
    if not np.isfinite(changed).all():
        raise InputError("augment returned NaN or infinity")
    return changed


def _score(model, source, batch_size) -> Score:
    if not model.compiled:
        model.jit_compile = _compiles_steps()
    hits = hits_top5 = n = 0
    loss = 0.0
    softmax, classes = _ends_in_softmax(model), model.output_shape[-1]
    for images, labels in source.batches(batch_size):
        with postponed():
            outputs = ops.convert_to_numpy(model.predict_on_batch(images)).astype(np.float64)
        of_label = np.take_along_axis(outputs, labels[:, np.newaxis], 1)
        rank = rank_of_label(outputs, labels)
        hits, hits_top5, n = hits + int((rank < 1).sum()), hits_top5 + int((rank < 5).sum()), n + len(labels)
        loss += float(_losses(outputs, of_label[:, 0], softmax).sum())
    if not n:
        raise InputError("none of the images could be read")
    return Score(hits, n, loss / n, hits_top5 if classes > 5 else None)


def rank_of_label(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how many classes each image has before its label, (n,), of outputs (n, classes) and labels (n,).

    Of equal classes the lower is first, as with argmax. With NaN among its outputs an image has its label behind all.
    """
    of_label = np.take_along_axis(outputs, labels[:, np.newaxis], 1)
    before = np.arange(outputs.shape[1]) < labels[:, np.newaxis]
    rank = ((outputs > of_label) | (outputs == of_label) & before).sum(1)
    rank[np.isnan(outputs).any(1)] = outputs.shape[1]
    return rank


def _losses(outputs, of_label, softmax):
    if softmax:
        return -np.log(np.maximum(of_label, 1e-38))
    top = outputs.max(1)
    with np.errstate(invalid="ignore"):  # infinite logits give NaN
        return np.log(np.exp(outputs - top[:, np.newaxis]).sum(1)) + top - of_label


class _Clock:
    """Tells `progress` how far the training is, and estimates how long it will still take."""

    def __init__(self, progress, epochs, done, steps):
        self.progress, self.epochs, self.done, self.steps = progress, epochs, done, steps
        self.start = time.monotonic()

    def stepped(self, epoch, step, results):
        if step < self.steps:
            self._tell(epoch, step, results)

    def finished(self, epoch, results):
        self._tell(epoch, self.steps, results)

    def _tell(self, epoch, step, results):
        if self.progress:
            made = (epoch - 1 - self.done) * self.steps + step
            left = (self.epochs - self.done) * self.steps - made
            seconds = (time.monotonic() - self.start) / made * left
            self.progress(Step(epoch, self.epochs, step, self.steps, results, seconds))


# Data


class _Arrays(NamedTuple):
    """Images and labels in memory, with the methods of an ImageFolder that training needs."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def checksum(self) -> str:
        digest = sha256(repr((self.images.shape, self.images.dtype.str)).encode())
        for array in (self.images, self.labels):
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    def batches(self, batch_size, shuffle_seed=None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        n = len(self)
        order = np.arange(n) if shuffle_seed is None else np.random.default_rng(shuffle_seed).permutation(n)
        for start in range(0, n, batch_size):
            chosen = order[start : start + batch_size]
            yield self.images[chosen].astype(np.float32), self.labels[chosen]

    def pick(self, numbers) -> "_Arrays":
        return _Arrays(self.images[numbers], self.labels[numbers])


def source_of(model, data, what: str):
    """Return `data`, as in `train`, as what has a checksum, `batches` and `pick`.

    Raises InputError, calling it `what`, where it does not fit `model`.
    """
    if (
        not isinstance(model.output_shape, tuple)
        or len(model.output_shape) != 2
        or type(model.input_shape) is not tuple
    ):
        raise InputError(f"{model.name} must have one input, of images, and one output, of shape (n, classes)")
    source = data if isinstance(data, ImageFolder) else _arrays(data, what)
    if not len(source):
        raise InputError(f"{what} hold no images")
    check_images(model, tuple(source.image_shape if source is data else source.images.shape[1:]), what)
    classes, labels = model.output_shape[-1], source.labels
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise InputError(f"{what} hold the label {wrong}; {model.name} has {classes} classes, 0 to {classes - 1}")
    return source


def check_images(model: keras.Model, shape: tuple, what: str) -> None:
    """Raise InputError, calling them `what`, where `model` does not take images of `shape`."""
    if type(getattr(model, "input_shape", None)) is not tuple:
        raise InputError(f"{model.name} must have one input, of images")
    expected = model.input_shape[1:]
    if len(shape) != len(expected) or any(e is not None and e != s for s, e in zip(shape, expected)):
        raise InputError(f"{model.name} takes images of {_sides(expected)}, and {what} are {_sides(shape)}")


def _arrays(data, what) -> _Arrays:
    try:
        images, labels = (data.images, data.labels) if isinstance(data, Split) else data
    except (TypeError, ValueError):
        raise InputError(f"{what} must be a Split, a pair of images and labels, or an ImageFolder") from None
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype.kind not in "uif":
        raise InputError(f"{what} must hold images of real numbers, not of {images.dtype}")
    if labels.shape != images.shape[:1]:
        raise InputError(f"{what} must hold one label an image, not {images.shape} and {labels.shape}")
    if labels.dtype.kind not in "ui":
        raise InputError(f"the labels of {what} must be integers, not {labels.dtype}")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise InputError(f"{what} hold NaN or infinity; clean them first")
    return _Arrays(images, labels)


def _sides(shape):
    return " x ".join("any" if side is None else str(side) for side in shape)


# Checkpoints


def _start(model, path, resume, made_with, epochs) -> list[dict]:
    """Return the history so far, with the model as it was then."""
    if path is None:
        if resume:
            raise InputError("there is nothing to resume from; name the checkpoint")
        return []
    header = checkpoints.resumed(path, resume, KIND, made_with, "training")
    if header is None:
        return []
    history = _history(path, header)
    if len(history) > epochs:
        raise InputError(f"{path} is of epoch {len(history)}, past the {epochs} asked for")
    checkpoints.restore(path, _variables(model), model.name)
    for layer in _layers(model):
        if hasattr(layer, "locked"):  # what a lock keeps is no variable of the model
            locked = layer.locked
            layer.locked = not locked  # Keras drops the assignment of an equal value
            layer.locked = locked
    return history


def _variables(model) -> dict:
    """Return the variables of model and optimizer by their name in a checkpoint."""
    owners = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{owner}.{i}": v for owner, variables in owners.items() for i, v in enumerate(variables)}


def _history(path, header) -> list[dict]:
    try:
        history = header["history"]
        if [entry["epoch"] for entry in history] != list(range(1, len(history) + 1)):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise checkpoints.not_this_kind(path) from None
    return history


def _identity(model, source, batch_size, seed, augment) -> dict:
    """Return what must be the same for a training to be resumed, by the words in which a difference is told."""
    return {
        "network": _digest([_description(layer) for layer in _layers(model)]),
        "optimizer or learning rate": _digest([type(model.optimizer).__name__, model.optimizer.get_config()]),
        "seed": int(seed),
        "batch size": int(batch_size),
        "set of training images": source.checksum,
        "augmentation": None if augment is None else getattr(augment, "__qualname__", type(augment).__qualname__),
    }


def _description(layer):
    shapes = [[list(v.shape), str(v.dtype)] for v in layer.variables]
    config = {} if isinstance(layer, keras.Model) else layer.get_config()
    output = keras.tree.map_structure(lambda tensor: str(tensor.shape), getattr(layer, "output", []))
    return [type(layer).__name__, output, shapes, config]


def _layers(model) -> Iterator:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


_PASSING = ("name", "seed", "formats", "enabled", "rounding")  # what Keras counts up or draws, and a schedule changes


def _digest(value) -> str:
    return sha256(json.dumps(_plain(value), sort_keys=True, default=str).encode()).hexdigest()


def _plain(value):
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if k not in _PASSING}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


# Keras


def _compiles_steps():
    """Return Keras' `jit_compile`: XLA's convolutions are 2 to 4 times slower than TensorFlow's own on a CPU."""
    return False if keras.backend.backend() == "tensorflow" else "auto"


def _ends_in_softmax(model) -> bool:
    last = model.layers[-1] if model.layers else None
    return isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax
