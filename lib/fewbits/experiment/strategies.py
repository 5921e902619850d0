"""How one trial is run: a function for each strategy makes the network, and what it gets right is counted."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fewbits import names, training
from fewbits.backend import keras
from fewbits.data import Dataset, Split
from fewbits.data.augmentation import shift_and_flip, shift_flip_and_light
from fewbits.deploy.identity import compare_layers, compare_program, program_runners
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError
from fewbits.experiment import provenance
from fewbits.experiment.fields import FLOAT, naming
from fewbits.experiment.store import Record, Results, pack_answers
from fewbits.experiment.trial import (
    LIGHT,
    PRUNE,
    Trial,
    begin,
    build_network,
    levels_of,
    load_images,
    own_images,
    pruning_before,
)
from fewbits.io.weights import load_weights, save_weights
from fewbits.post_training.starts import START_IMAGES, reconstructed_start
from fewbits.pruning import Plan, prune
from fewbits.quantization.calibration import Calibration
from fewbits.training.batches import sample_images, source_of
from fewbits.training.distillation import Distillation
from fewbits.training.moving_statistics import STATISTICS_IMAGES, normalizations, reestimate_normalization
from fewbits.training.recipe import Recipe
from fewbits.training.schedules import Schedule
from fewbits.training.transfer import copy_kernels, freeze_levels, relative_change, weight_spread

DRAWN_WITH = 2017  # the seed of the choice of training images
TRANSFER = "transfer"  # how a float trial with a start is run
AUGMENTATIONS = {False: None, True: shift_and_flip, LIGHT: shift_flip_and_light}
# The last quantized network of this process, by the settings that must be equal for another trial to reuse it. Its
# graphs take long to make, and TensorFlow never frees those of a network that was dropped.
_COMPILED: dict[tuple, keras.Model] = {}
_ALONE = threading.Lock()  # a process runs one trial at a time, whatever the threads of its Dask worker


@dataclass(frozen=True)
class Setting:
    """What a strategy works on.

    Attributes:
        trial: The trial to run.
        dataset: Its data, as loaded.
        model: The network that the trial begins with.
        data: Scaled images and labels, by part.
        options: Further arguments of the training: validation data, checkpoint and augmentation.
    """

    trial: Trial
    dataset: Dataset
    model: keras.Model
    data: dict[str, tuple[np.ndarray, np.ndarray]]
    options: dict[str, Any]

    def tally(self, model: keras.Model, part: str) -> dict[str, Any]:
        """Return the Score of `model` on a part of the data, as a dict.

        Args:
            model: A network that is compiled for batches of the trial's size.
            part: One of "train", "validation" and "test".
        """
        return training.evaluate(model, self.data[part], self.trial.batch_size)._asdict()

    def tested(self, model: keras.Model) -> tuple[dict[str, Any], str]:
        """Return the Score of `model` on the test images, as a dict, and its packed answers to them.

        Args:
            model: As in `tally`.
        """
        score, answers = training.evaluate_images(model, self.data["test"], self.trial.batch_size)
        return score._asdict(), pack_answers(answers)


@dataclass(frozen=True)
class Made:
    """What a strategy leaves.

    Attributes:
        model: The network.
        weights: Its weights as `save_weights` packs them; None for a quantized network, whose weights are not kept.
        results: Those fields of Results that the strategy knows.
    """

    model: keras.Model
    weights: bytes | None = None
    results: dict[str, Any] = field(default_factory=dict)


def run_trial(trial: Trial, start: bytes | None = None, checkpoint: Path | None = None) -> tuple[Record, bytes | None]:
    """Run one trial.

    Args:
        trial: What to run.
        start: The weights that the trial starts from, as `save_weights` packs them.
        checkpoint: A file that is replaced after each epoch; if it exists, the trial goes on from it.

    Returns:
        The record of the trial and, if its network is float, the network's weights as `save_weights` packs them.

    Raises:
        InputError: when data or weights are missing or do not fit, or the loss becomes NaN.
    """
    began, resumed = time.monotonic(), checkpoint is not None and checkpoint.exists()
    dataset = load_images(trial.data, trial.size, trial.fold, **own_images(trial))
    splits = {"train": _drawn(dataset.train, trial.images), "validation": dataset.validation, "test": dataset.test}
    data = {name: (dataset.scaled(split), split.labels) for name, split in splits.items()}
    options = {
        "validation": data["validation"],
        "checkpoint": checkpoint,
        "resume": checkpoint is not None,
        "augment": AUGMENTATIONS[trial.augment],
    }
    with _drawing_from(trial.seed):
        shape, classes = dataset.image_shape, len(dataset.classes)
        model = build_network(trial.network, shape, classes, trial.width, trial.duplicate_shared)
        if trial.start is not None:
            if start is None:
                raise InputError(f"{trial.name} starts from trained weights; pass them as `start`")
            with _file(start) as path, naming("start: "):
                model = begin(trial, model, path)
        setting = Setting(trial, dataset, model, data, options)
        made = STRATEGY_RUNS[TRANSFER if trial.transfer is not None else trial.strategy](setting)
        test, answers = setting.tested(made.model)
        known = {"float_test": None, "history": [], "stages": [], "answers": {}} | made.results
        known["answers"] |= {"test": answers}
        validation = setting.tally(made.model, "validation")
        results = Results(test=test, validation=validation, parameters=made.model.count_params(), **known)
    source = provenance.describe(dataset.checksum, start, seconds=time.monotonic() - began)
    source |= {"resumed": True} if resumed else {}
    return Record(trial=trial, results=results, provenance=source), made.weights


# Strategies


def _train_float(setting: Setting) -> Made:
    """Train the network in float."""
    trial, model, data = setting.trial, setting.model, setting.data["train"]
    for layer in normalizations(model) if trial.momentum is not None else ():
        layer.momentum = trial.momentum
    rate = training.decaying_rate(trial.learning_rate, trial.decay, trial.epochs, len(data[1]), trial.batch_size)
    training.prepare(model, trial.optimizer, rate, weight_decay=trial.weight_decay)
    history = training.train(
        model, data, epochs=trial.epochs, batch_size=trial.batch_size, seed=trial.seed, **setting.options
    )
    if trial.reestimate:
        _reestimate(setting)
    return Made(model, _packed(model), {"history": history})


def _transfer(setting: Setting) -> Made:
    """Train a network whose first levels come from its start, and measure how far its kernels move."""
    before = copy_kernels(setting.model)
    if setting.trial.freeze and setting.trial.transfer:
        freeze_levels(setting.model, setting.trial.transfer)
    made = _train_float(setting)
    after = copy_kernels(made.model)
    return Made(
        made.model,
        made.weights,
        made.results | {"moved": relative_change(before, after), "spread": weight_spread(after)},
    )


def _prune(setting: Setting) -> Made:
    """Prune the network in steps, and test it after each."""
    trial, (float_test, answers) = setting.trial, setting.tested(setting.model)
    fields = ("ratio", "per_step", "criterion", "optimizer", "learning_rate", "batch_size", "seed")
    plan = Plan(images=trial.train_images, **{name: getattr(trial, name) for name in fields})
    pruned = prune(
        setting.model,
        setting.data["train"],
        plan,
        also=lambda model: {"test": setting.tally(model, "test")},
        **setting.options,
    )
    results = {"float_test": float_test, "pruning": pruned.steps, "pruned": pruned.stopped}
    results["answers"] = {"float_test": answers}
    return Made(pruned.model, _packed(pruned.model), results)


def _quantize(setting: Setting) -> Made:
    """Quantize the network by the trial's schedule; compare it with integers if the trial asks for them."""
    trial, (float_test, answers) = setting.trial, setting.tested(setting.model)
    assert trial.bits is not None  # a trial of this strategy has bits
    if trial.reestimate:
        _reestimate(setting)
    alike = trial.network, trial.data, trial.width, trial.size, trial.gradient, trial.ranges, pruning_before(trial)
    reuse = _COMPILED.pop(alike, None)
    _COMPILED.clear()
    outcome = training.progressive_quantization(
        setting.model,
        setting.data["train"],
        Schedule(trial.bits, trial.strategy, trial.epochs, trial.order, trial.relax, trial.edge_bits),
        calibration=_calibration(trial),
        recipe=_recipe(trial),
        levels=levels_of(trial, setting.model),
        rounding=trial.rounding,
        gradient=trial.gradient,
        ranges=trial.ranges,
        on_stage=_start(setting),
        reuse=reuse,
        **setting.options,
    )
    _COMPILED[alike] = outcome.model
    results = {
        "float_test": float_test,
        "answers": {"float_test": answers},
        "history": outcome.history,
        "stages": [(stage.name, stage.epochs) for stage in outcome.stages],
        "identity": _compare_integers(outcome.model, setting.dataset) if trial.integers else None,
    }
    return Made(outcome.model, None, results)


def _start(setting: Setting) -> Callable | None:
    """Return how the training begins, as `on_stage` in `progressive_quantization`."""
    if not setting.trial.reconstruct:
        return None
    source = source_of(setting.model, setting.data["train"], "the training data")
    return reconstructed_start(sample_images(source, START_IMAGES), setting.trial.reconstruct, setting.trial.seed)


def _reestimate(setting: Setting) -> None:
    source = source_of(setting.model, setting.data["train"], "the training data")
    reestimate_normalization(setting.model, sample_images(source, STATISTICS_IMAGES))


def _calibration(trial: Trial) -> Calibration:
    return Calibration(trial.percentile, trial.per_layer, trial.per_channel, trial.recalibrate, trial.signed)


def _recipe(trial: Trial) -> Recipe:
    distillation = Distillation(trial.distill, trial.temperature) if trial.distill else None
    return Recipe(
        trial.optimizer,
        trial.learning_rate,
        trial.decay,
        trial.batch_size,
        trial.seed,
        distillation=distillation,
    )


STRATEGY_RUNS: dict[str, Callable[[Setting], Made]] = {
    FLOAT: _train_float,
    TRANSFER: _transfer,
    PRUNE: _prune,
    **dict.fromkeys(names.STRATEGIES, _quantize),
}


def _compare_integers(model: keras.Model, dataset: Dataset) -> dict[str, tuple[int, int]]:
    """Return program -> how many codes of the test images were compared, and how many differ."""
    if dataset.levels == 1:
        raise InputError("integers: the images are floats, which have no codes; save them as integers, or leave it out")
    network, images = lower(model, dataset.levels), dataset.test.images
    layers = compare_layers(model, network, images).values()
    found = {"NumPy": (sum(layer.codes for layer in layers), sum(layer.different for layer in layers))}
    codes = network.run(images)
    for name, program in program_runners(network).items():
        found[name] = compare_program(codes, program, images)[:2]
    return found


# Images, seeds and weights


def _drawn(split: Split, n: int | None) -> Split:
    """Return `n` images of `split` in the proportions of its classes, or all; a larger n adds to a smaller one."""
    if n is None:
        return split
    rng, place = np.random.default_rng(DRAWN_WITH), np.empty(len(split))
    for label in np.unique(split.labels):
        members = rng.permutation(np.flatnonzero(split.labels == label))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    numbers = np.sort(np.argsort(place, kind="stable")[:n])
    return Split(split.images[numbers], split.labels[numbers])


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """Have Keras draw the seeds of new layers from `seed` alone: Dask draws from Python's `random`, too."""
    with _ALONE:
        module = keras.src.random.seed_generator
        shared, module.python_random = module.python_random, random.Random(seed)
        try:
            yield
        finally:
            module.python_random = shared


def _packed(model: keras.Model) -> bytes:
    """Return the weights of `model`, and reload them as they are packed: what is measured is what is kept."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "weights.npz")
        save_weights(model, path)
        load_weights(model, path)
        return path.read_bytes()


@contextmanager
def _file(content: bytes) -> Iterator[Path]:
    """Put packed weights into a temporary file."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "weights.npz")
        path.write_bytes(content)
        yield path
