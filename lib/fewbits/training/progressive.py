"""Progressive quantization: a float network learns to compute in few bits, stage by stage.

One training runs through the stages of a schedule; the formats and locks of a stage are set before its first epoch.

Source: vieito2017, 5.5 and Code 2.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import numpy as np

from fewbits.backend import keras
from fewbits.errors import InputError
from fewbits.quantization.calibration import Calibration
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.layers import FLOAT, Formats
from fewbits.training.batches import LabelledImages, Source, sample_images, source_of, steps_of
from fewbits.training.distillation import Distillation
from fewbits.training.evaluation import Score, evaluate
from fewbits.training.heads import head_of, with_head, without_head
from fewbits.training.loop import Augmentation, TrainingProgress, train
from fewbits.training.recipe import Recipe
from fewbits.training.reuse import take_optimizer, take_state
from fewbits.training.schedules import Bits, Schedule, ScheduleOutcome, Stage, level_names

CALIBRATION_IMAGES = 64

OnStage = Callable[[Stage | None, QuantizedModel], None]
FormatsFor = Callable[[Iterable[Bits]], dict[Bits, dict[str, Formats]]]


def progressive_quantization(
    model: keras.Model,
    data: LabelledImages,
    schedule: Schedule,
    *,
    validation: LabelledImages,
    calibration: Calibration | None = None,
    recipe: Recipe | None = None,
    levels: Sequence[Sequence[str]] | None = None,
    rounding: str = "nearest",
    gradient: str = "clipped",
    ranges: str = "fixed",
    on_stage: OnStage | None = None,
    reuse: QuantizedModel | None = None,
    augment: Augmentation | None = None,
    checkpoint: Path | str | None = None,
    resume: bool = False,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> ScheduleOutcome:
    """Train a copy of the float `model` towards few bits; `model` stays as it is.

    Args:
        model: A trained network with a head, as in `head_of`; batch normalization is folded in the copy, and softmax
            or sigmoid becomes a layer of its own at the end.
        data: As in `train`.
        schedule: What is quantized when, and to how many bits.
        validation: Judges each stage, and the levels in an order by sensitivity; as in `train`.
        calibration: How MSBs are chosen, from 64 training images (of a stream, the first): once, from the float
            network, or with `recalibrate` when a stage begins, from the network as it is then, for all levels that are
            not locked.
        recipe: Optimizer, learning rate, batch size, seed and teacher of the training.
        levels: Names of the layers of each level, for example `zoo.levels(model)`; by default one layer per level.
        rounding: As in QuantizedConv2D.
        gradient: As in QuantizedConv2D.
        ranges: As in QuantizedConv2D. Learned ones start from the calibration when a layer takes other bits.
        on_stage: Called with each stage and the network when the stage's formats and locks are set, and with None at
            the end; the kernels are those that the stage before left. Not called for stages that a resumed training
            finds finished.
        reuse: The network of an earlier outcome. It starts again from `model`, so that nothing is compiled anew, and
            the earlier outcome loses it.
        augment: As in `train`.
        checkpoint: As in `train`.
        resume: As in `train`.
        progress: As in `train`.

    Returns:
        The quantized network, its stages, history and validation accuracy.

    Raises:
        InputError: when `quantize_model` or `train` refuses its arguments, the order does not name each level once, or
            `reuse` is not built as `model`.

    Example:
        Quantize and lock a network to 4 bits, with two epochs per level::

            outcome = progressive_quantization(
                model, (images, labels), Schedule(bits=(4, 4, 4), strategy="lock", epochs=2), validation=held_out
            )
    """
    calibration, recipe = calibration or Calibration(), recipe or Recipe()
    source = source_of(model, data, "the training data")
    bare = without_head(model)
    fresh = quantize_model(
        bare, levels=levels, fold_batch_normalization=True, rounding=rounding, gradient=gradient, ranges=ranges
    )
    fresh = with_head(fresh, head_of(model))
    network = fresh if reuse is None else take_state(reuse, fresh)
    formats_for = partial(calibration.formats, network, sample_images(source, CALIBRATION_IMAGES), rounding=rounding)
    judge = partial(evaluate, network, validation, recipe.batch_size)
    names = list(level_names(network))
    stages = schedule.stages(_ordered(schedule, network, validation, formats_for, recipe), names)
    course = _Course(network, stages, formats_for, calibration.recalibrate, judge, on_stage)
    network.set_formats(FLOAT)
    recipe.prepare(fresh, course.epochs, _images_per_epoch(source, recipe))
    if network is not fresh:
        take_optimizer(network, fresh)
    history = train(
        network,
        source,
        validation=validation,
        epochs=course.epochs,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        checkpoint=checkpoint,
        resume=resume,
        augment=augment,
        class_weight=recipe.class_weight,
        distillation=_taught_by(model, recipe),
        before_epoch=course.before_epoch,
        progress=progress,
    )
    course.finish()
    accuracy = history[-1]["val_accuracy"] if stages[-1].epochs else judge().accuracy
    return ScheduleOutcome(network, stages, history, accuracy)


class _Course:
    """The stages of a schedule on their way through the epochs of one training."""

    def __init__(
        self,
        network: QuantizedModel,
        stages: list[Stage],
        formats_for: FormatsFor,
        recalibrate: bool,
        judge: Callable[[], Score],
        on_stage: OnStage | None,
    ) -> None:
        self.network, self.stages, self.judge, self.on_stage = network, stages, judge, on_stage
        self.levels = level_names(network)
        self.formats_for = formats_for
        if not recalibrate:
            fixed = formats_for(bits for stage in stages for bits in stage.bits.values())
            self.formats_for = lambda widths: fixed
        *self.starts, self.epochs = accumulate((stage.epochs for stage in stages), initial=0)

    def before_epoch(self, epoch: int) -> dict[str, Any]:
        """Enter the stages that start with `epoch`; return what its history notes of them."""
        entered = [stage for stage, start in zip(self.stages, self.starts) if start == epoch - 1]
        for stage in entered:
            self._enter(stage)
        begun = (i for i, start in enumerate(self.starts, 1) if start < epoch and self.stages[i - 1].epochs)
        return {"stage": max(begun)} | ({"val_accuracy_before": self.judge().accuracy} if entered else {})

    def finish(self) -> None:
        """Enter the stages without epochs that end the schedule."""
        for stage, start in zip(self.stages, self.starts):
            if start == self.epochs:
                self._enter(stage)
        if self.on_stage:
            self.on_stage(None, self.network)

    def _enter(self, stage: Stage) -> None:
        """Set the formats and locks of `stage`; what is locked and stays so keeps its formats."""
        known = self.formats_for(stage.bits.values())
        for level, layers in self.levels.items():
            bits, locked = stage.bits.get(level), level in stage.locked
            for layer in layers:
                formats = FLOAT if bits is None else known[bits][layer.name]
                if not (layer.locked and locked) and not layer.learns(formats):
                    layer.set_formats(*formats)
                if layer.locked != locked:
                    layer.locked = locked
        if self.on_stage:
            self.on_stage(stage, self.network)


def _taught_by(model: keras.Model, recipe: Recipe) -> Distillation | None:
    """Return the distillation of a recipe, whose teacher is the float `model` unless it names another."""
    given = recipe.distillation
    return replace(given, teacher=model) if given is not None and given.teacher is None else given


# Formats


def _images_per_epoch(source: Source, recipe: Recipe) -> int:
    """Return the images of an epoch if the learning rate depends on them, at `batch_size` in each of its steps."""
    if recipe.decay == "constant":
        return 0
    len(source)  # reads a stream to its end, if that was not done yet
    return (steps_of(source, recipe.batch_size) or 0) * recipe.batch_size


# The order of the levels


def _ordered(
    schedule: Schedule,
    network: QuantizedModel,
    validation: LabelledImages,
    formats_for: FormatsFor,
    recipe: Recipe,
) -> list[str]:
    levels, order = list(level_names(network)), schedule.order
    if not isinstance(order, str):
        unknown = sorted(set(order) ^ set(levels)) or [name for name in levels if list(order).count(name) > 1]
        if unknown:
            raise InputError(f"order must name each level once, {', '.join(levels)}; look at {unknown[0]}")
        return list(order)
    if order == "input":
        return levels
    if order == "output":
        return levels[::-1]
    if order == "random":
        return [levels[i] for i in np.random.default_rng(recipe.seed).permutation(len(levels))]
    bits = cast(Bits, tuple(schedule.bits))
    hits = sensitivity(network, validation, formats_for([bits])[bits], recipe.batch_size)
    return sorted(levels, key=lambda level: -hits[level])


def sensitivity(
    network: QuantizedModel, validation: LabelledImages, formats: dict[str, Formats], batch_size: int = 100
) -> dict[str, int]:
    """Return how many images `network` classifies correctly with each level alone quantized.

    Args:
        network: Its formats are all float afterwards.
        validation: As in `train`.
        formats: Layer name -> Formats, for all quantized layers.
        batch_size: Images per step.

    Returns:
        Level name -> hits on the validation images, in the order of the levels.
    """
    hits = {}
    for level, layers in level_names(network).items():
        network.set_formats(FLOAT)
        for layer in layers:
            layer.set_formats(*formats[layer.name])
        hits[level] = evaluate(network, validation, batch_size).hits
    network.set_formats(FLOAT)
    return hits
