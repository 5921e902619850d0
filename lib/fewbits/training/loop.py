"""Training that can be stopped at any moment and resumed to the same bits.

What an epoch does follows from the seed, its number and the state at its start: the order of the images and their
augmentation are drawn from (seed, epoch), the state of dropout is among the model's variables, and the checkpoint
holds every variable of model and optimizer. Source: vieito2017, 3.2.4 (a checkpoint after each epoch).
"""

import json
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fewbits.backend import keras
from fewbits.errors import InputError, check_integers
from fewbits.training import checkpoints
from fewbits.training.batches import LabelledImages, Source, as_input, source_of, steps_of
from fewbits.training.class_weights import ClassWeight, weights_of_classes
from fewbits.training.distillation import Distillation, Lesson
from fewbits.training.evaluation import measure
from fewbits.training.heads import Head, head_of
from fewbits.training.interruption import postponed
from fewbits.training.recipe import prepare, taught_network, trained_network

KIND = "fewbits training checkpoint 1"

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Targets = Callable[[np.ndarray, np.ndarray], np.ndarray]  # images and labels of a batch -> what its loss takes


class LossError(InputError):
    """The loss became NaN or infinite."""


class TrainingProgress(NamedTuple):
    """How far a training is: `progress` receives it after each batch and, with all results, after each epoch.

    Attributes:
        epoch: The current epoch, from 1.
        epochs: Epochs in all.
        step: Batches done in this epoch; equal to `steps` only after the epoch, validation included.
        steps: Batches per epoch; None before the end of the first epoch over a stream.
        results: Name -> mean over the epoch so far, such as loss and accuracy.
        seconds_left: An estimate for the whole training; 0 while `steps` is None.
    """

    epoch: int
    epochs: int
    step: int
    steps: int | None
    results: dict[str, Any]
    seconds_left: float


def train(
    model: keras.Model,
    data: LabelledImages,
    *,
    validation: LabelledImages | None = None,
    epochs: int,
    batch_size: int = 32,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    resume: bool = False,
    augment: Augmentation | None = None,
    class_weight: ClassWeight | None = None,
    distillation: Distillation | None = None,
    before_epoch: Callable[[int], dict | None] | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> list[dict]:
    """Train `model` until `epochs` epochs are done.

    A training that is interrupted at any moment, even killed, and resumed with the same arguments ends with the same
    bits in every weight, optimizer variable and the history, on one machine without GPU.

    Args:
        model: Ends in a head, as in `head_of`; compiled by `prepare` if it is not compiled yet. If its loss is the
            cross-entropy of its head, softmax or sigmoid is taken off for the training. Another loss gets what the
            model returns.
        data: A Split, whose pixels are taken as they are; a pair of images (n, height, width, channels) and labels,
            which are class numbers (n,) or, for several sigmoid units, 0 or 1 (n, units); an ImageFolder; or a stream
            of such pairs, such as a `tf.data.Dataset` or a `keras.utils.PyDataset`, read once per epoch in its own
            order and batches. A training on a stream resumes to the same bits only if the stream repeats itself.
        validation: Evaluated after each epoch; of the same kinds.
        epochs: Epochs in all, those of a resumed checkpoint included.
        batch_size: Images per step.
        seed: Draws the order of the images and their augmentation.
        checkpoint: A file that is replaced after each epoch.
        resume: Continue from the checkpoint if it exists.
        class_weight: Class number -> how much the loss of its images counts, 1 for classes that are left out; or
            `balanced`, which lets all classes count the same: n / (classes * images of the class).
        distillation: A teacher whose outputs for the same, augmented images the network learns, too. The loss of an
            epoch is then that of `Distillation`, and class weights multiply all of it; accuracy and val_loss are what
            they are without a teacher.
        augment: Maps a batch of images and a NumPy generator to images of the same shape.
        before_epoch: Called with the number of each epoch before it starts; may change the variables of the model, and
            returns entries for the epoch's dict.
        progress: Called after each batch and each epoch.

    Returns:
        One dict per epoch: epoch, loss, accuracy and, with validation, val_loss and val_accuracy.

    Raises:
        InputError: when the data are empty, hold NaN or infinity, or have labels that the network has no class for;
            when a number is out of range; when the teacher does not fit, or the model has a loss of its own; when the
            checkpoint exists and `resume` is not set, is damaged, or belongs to
            another training.
        LossError: when the loss becomes NaN or infinite.
    """
    check_integers(epochs=(epochs, 0), batch_size=(batch_size, 1), seed=(seed, 0))
    source = source_of(model, data, "the training data")
    held_out = None if validation is None else source_of(model, validation, "the validation data")
    if not model.compiled:
        prepare(model)
    network, head, lesson = _trained(model, distillation)
    model.optimizer.build(network.trainable_variables)
    weights = weights_of_classes(class_weight, head, source, model.name)
    made_with = _identity(model, source, batch_size, seed, augment)
    made_with["set of class weights"] = None if weights is None else weights.tolist()
    made_with["distillation"] = None if lesson is None else lesson.identity
    path = None if checkpoint is None else Path(checkpoint)
    history = _start(model, path, resume, made_with, epochs)
    targets = _targets_of_labels(head) if lesson is None else lesson.targets
    clock = _Clock(progress, epochs, len(history), steps_of(source, batch_size))
    for epoch in range(len(history) + 1, epochs + 1):
        noted = before_epoch(epoch) if before_epoch else None
        results = {
            **(noted or {}),
            **_epoch(network, targets, source, epoch, batch_size, seed, augment, weights, clock),
        }
        if held_out is not None:
            results |= _validated(network, head, held_out, epoch, batch_size)
        history = [*history, {"epoch": epoch, **results}]
        if path:
            header = {"kind": KIND, "made_with": made_with, "history": history}
            checkpoints.save(path, header, _variables(model))
        clock.finished(epoch, results)
    return history


def read_history(checkpoint: Path | str) -> list[dict]:
    """Return the history in a checkpoint of `train`.

    Raises:
        InputError: when the file is missing, damaged, or not such a checkpoint.
    """
    path = Path(checkpoint)
    return _history(path, checkpoints.read_header(path, KIND))


# Epochs


def _trained(model: keras.Model, distillation: Distillation | None) -> tuple[keras.Model, Head, Lesson | None]:
    """Return the network whose steps train `model`, its head, and what a teacher teaches it."""
    if distillation is None:
        return *trained_network(model), None
    lesson = Lesson(distillation, model, head_of(model))
    return taught_network(model, lesson), lesson.head, lesson


def _targets_of_labels(head: Head) -> Targets:
    return lambda images, labels: head.targets(labels)


def _epoch(
    network: keras.Model,
    targets: Targets,
    source: Source,
    epoch: int,
    batch_size: int,
    seed: int,
    augment: Augmentation | None,
    weights: np.ndarray | None,
    clock: "_Clock",
) -> dict[str, float]:
    """Train for one epoch; return the means of its results over the images."""
    totals: dict[str, float] = {}
    results: dict[str, float] = {}
    n = 0
    for step, (images, labels) in enumerate(source.batches(batch_size, [seed, epoch]), 1):
        if augment is not None:
            images = _augmented(augment, images, np.random.default_rng([seed, epoch, step]))
        weighted = {} if weights is None else {"sample_weight": weights[labels]}
        wanted = targets(images, labels)
        with postponed():
            logs = network.train_on_batch(as_input(network, images), wanted, return_dict=True, **weighted)
        _check_loss(logs["loss"], f"in epoch {epoch}, batch {step}")
        n += len(labels)
        for name in sorted(logs, key=lambda name: name != "loss"):
            totals[name] = totals.get(name, 0.0) + float(logs[name]) * len(labels)
        results = {name: total / n for name, total in totals.items()}
        clock.stepped(epoch, step, results)
    if not n:
        raise InputError("none of the training images could be read")
    return results


def _validated(network: keras.Model, head: Head, held_out: Source, epoch: int, batch_size: int) -> dict[str, float]:
    score = measure(network, head, held_out, batch_size)
    _check_loss(score.loss, f"on the validation data after epoch {epoch}")
    return {"val_loss": score.loss, "val_accuracy": score.accuracy}


def _check_loss(loss: Any, where: str) -> None:
    if not np.isfinite(loss):
        raise LossError(f"the loss became {float(loss)} {where}; use a lower learning rate")


def _augmented(augment: Augmentation, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    changed = np.asarray(augment(images.copy(), rng), np.float32)
    if changed.shape != images.shape:
        raise InputError(f"augment must return images of the shape {images.shape}, not {changed.shape}")
    if not np.isfinite(changed).all():
        raise InputError("augment returned NaN or infinity")
    return changed


class _Clock:
    """Reports to `progress` how far the training is, and estimates how long the rest takes."""

    def __init__(
        self, progress: Callable[[TrainingProgress], None] | None, epochs: int, done: int, steps: int | None
    ) -> None:
        self.progress, self.epochs, self.done, self.steps = progress, epochs, done, steps
        self.start, self.last = time.monotonic(), 0

    def stepped(self, epoch: int, step: int, results: dict[str, float]) -> None:
        self.last = step
        if self.steps is None or step < self.steps:
            self._report(epoch, step, results)

    def finished(self, epoch: int, results: dict[str, Any]) -> None:
        if self.steps is None:
            self.steps = self.last
        self._report(epoch, self.steps, results)

    def _report(self, epoch: int, step: int, results: dict[str, Any]) -> None:
        if self.progress and self.steps is None:
            self.progress(TrainingProgress(epoch, self.epochs, step, None, results, 0.0))
        elif self.progress and self.steps is not None:
            made = (epoch - 1 - self.done) * self.steps + step
            left = (self.epochs - self.done) * self.steps - made
            seconds = (time.monotonic() - self.start) / made * left
            self.progress(TrainingProgress(epoch, self.epochs, step, self.steps, results, seconds))


# Checkpoints


def _start(model: keras.Model, path: Path | None, resume: bool, made_with: dict[str, Any], epochs: int) -> list[dict]:
    """Return the history so far, and restore the model as it was then."""
    if path is None:
        if resume:
            raise InputError("there is nothing to resume from; name the checkpoint")
        return []
    header = checkpoints.resumed(path, resume, KIND, made_with, "training")
    if header is None:
        return []
    history = _history(path, header)
    if len(history) > epochs:
        raise InputError(f"{path} is at epoch {len(history)}, past the {epochs} asked for")
    checkpoints.restore(path, _variables(model), model.name)
    for layer in _layers(model):
        if hasattr(layer, "locked"):  # what a lock keeps is not a variable of the model
            layer.state.loaded()
    return history


def _variables(model: keras.Model) -> dict[str, Any]:
    """Return the variables of model and optimizer by their names in a checkpoint."""
    owners = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{owner}.{i}": v for owner, variables in owners.items() for i, v in enumerate(variables)}


def _history(path: Path, header: dict[str, Any]) -> list[dict]:
    try:
        history = header["history"]
        if [entry["epoch"] for entry in history] != list(range(1, len(history) + 1)):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise checkpoints.not_this_kind(path) from None
    return history


def _identity(
    model: keras.Model, source: Source, batch_size: int, seed: int, augment: Augmentation | None
) -> dict[str, Any]:
    """Return what must be the same for a training to be resumed, by the words that name a difference."""
    return {
        "network": _digest([_description(layer) for layer in _layers(model)]),
        "optimizer or learning rate": _digest([type(model.optimizer).__name__, model.optimizer.get_config()]),
        "seed": int(seed),
        "batch size": int(batch_size),
        "set of training images": source.checksum,
        "augmentation": None if augment is None else getattr(augment, "__qualname__", type(augment).__qualname__),
    }


def _description(layer: Any) -> list:
    shapes = [[list(v.shape), str(v.dtype)] for v in layer.variables]
    config = {} if isinstance(layer, keras.Model) else layer.get_config()
    output = keras.tree.map_structure(lambda tensor: str(tensor.shape), getattr(layer, "output", []))
    return [type(layer).__name__, output, shapes, config]


def _layers(model: keras.Model) -> Iterator[Any]:
    """Yield the layers of `model`, and those of models inside it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


_PASSING = ("name", "seed", "formats", "enabled", "rounding")  # what Keras numbers or draws, and a schedule changes


def _digest(value: Any) -> str:
    return sha256(json.dumps(_plain(value), sort_keys=True, default=str).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if k not in _PASSING}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
