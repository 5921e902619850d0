"""Iterative pruning: rank the filters, remove some, train what is left, check, and repeat.

Sources: gaikwad2018, 7.1 and Figure 7.2 (the steps, of 128 filters); backstrom2018, 4.5.2 (steps of 23; more training
after each, a tenth of the rate in its last third).
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from math import ceil, inf, isfinite, log
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fewbits import training
from fewbits.backend import keras, ops
from fewbits.costs.complexity import totals
from fewbits.errors import InputError, check_integers, check_name
from fewbits.names import CRITERIA, GOALS
from fewbits.pruning.channels import PRODUCERS
from fewbits.pruning.criteria import importance, least_important
from fewbits.pruning.normalization import renew_statistics
from fewbits.pruning.surgery import kept_whole, removable, remove_filters
from fewbits.quantization.canonical_form import canonical
from fewbits.training import checkpoints
from fewbits.training.batches import LabelledImages, Source
from fewbits.training.class_weights import ClassWeight, weights_of_classes
from fewbits.training.loop import Augmentation

KIND = "fewbits pruning checkpoint 1"


@dataclass(frozen=True)
class Plan:
    """How to prune, and how far.

    The goal is one of `ratio`, `weight_bytes` and `macs`. A run towards a distant goal passes through the networks of
    a nearer one.

    Attributes:
        ratio: Share of the filters to remove, of those that can be removed.
        weight_bytes: Bytes of the weights at most, as `complexity.totals` counts them.
        macs: MACs of one image at most, as `complexity.totals` counts them.
        per_step: Filters to remove in each step.
        criterion: One of `names.CRITERIA`.
        rank_images: How many training images the criterion looks at, drawn for each step.
        images: How many images to train on after the first step, and after a step that would remove every filter.
            Between them the number grows by the same factor from step to step (backstrom2018: 50 to 750 batches of
            64).
        optimizer: Of the training, as in `training.prepare`.
        learning_rate: Of the training; a tenth of it in the last third.
        batch_size: Images per step of the training.
        least_accuracy: Accuracy on the validation images, from 0 to 1, below which a step is undone.
        seed: Draws images and their order.

    Raises:
        InputError: when there is not exactly one goal, or a field holds a value that it cannot take.
    """

    ratio: float | None = None
    weight_bytes: int | None = None
    macs: int | None = None
    per_step: int = 128
    criterion: str = "combined"
    rank_images: int = 512
    images: tuple[int, int] = (3_200, 48_000)
    optimizer: str = "sgd"
    learning_rate: float = 0.001
    batch_size: int = 64
    least_accuracy: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if sum(getattr(self, goal) is not None for goal in GOALS) != 1:
            raise InputError(f"pruning needs exactly one goal of {', '.join(GOALS)}")
        if self.ratio is not None and not (isinstance(self.ratio, Real) and 0 < self.ratio < 1):
            raise InputError(f"ratio must be between 0 and 1, not {self.ratio!r}")
        check_name("criterion", self.criterion, CRITERIA)
        counts = {name: getattr(self, name) for name in ("per_step", "rank_images", "batch_size", *GOALS[1:])}
        counts |= {f"images[{i}]": n for i, n in enumerate(self.images)}
        check_integers(**{name: (value, 1) for name, value in counts.items() if value is not None})

    def images_after(self, step: int, steps: int) -> int:
        """Return how many images to train on after `step`.

        Args:
            step: Counted from 1.
            steps: After which every filter would be removed.
        """
        first, last = self.images
        return round(first * (last / first) ** ((step - 1) / max(1, steps - 1)))


class Pruned(NamedTuple):
    """What a pruning leaves.

    Attributes:
        model: The network after the last step that was not undone.
        steps: A dict for each step, 0 being the original: `step`; `filters`, those left in each layer; `parameters`,
            `weight_bytes`, `macs`; `val_accuracy` and `val_loss`. From step 1 on also `removed`, the filters of the
            original in each layer; `val_accuracy_before` and `val_loss_before`, measured after the removal, with the
            statistics of batch normalization renewed, and before any training; `images` trained on; and `loss` of the
            last epoch.
        stopped: `goal`; `accuracy`, if the next step fell below the least accuracy; or `breakdown`, if its loss became
            NaN, or was worse than that of guessing while its accuracy was less than twice that of guessing.
        failed: The dict of the step that was undone, if there is one.
    """

    model: keras.Model
    steps: list[dict]
    stopped: str
    failed: dict | None = None


def prune(
    model: keras.Model,
    data: LabelledImages,
    plan: Plan,
    *,
    validation: LabelledImages,
    augment: Augmentation | None = None,
    class_weight: ClassWeight | None = None,
    also: Callable[[keras.Model], dict] | None = None,
    checkpoint: Path | str | None = None,
    resume: bool = False,
    progress: Callable[[dict, int], None] | None = None,
) -> Pruned:
    """Remove filters from a copy of `model` and train it, step by step.

    Args:
        model: A network with a head, as in `training.head_of`; it stays as it is.
        data: The training images and labels, as in `training.train`.
        plan: How to prune, and how far.
        validation: Judges each step, as in `training.train`.
        augment: As in `training.train`.
        class_weight: As in `training.train`; `balanced` counts all training images, not those drawn for a step.
        also: Called with the network of each step; returns further entries of the step's dict.
        checkpoint: A file that is replaced after each step.
        resume: Continue from the checkpoint if it exists. A run that is killed at any moment and resumed ends with the
            same network.
        progress: Called with the dict of each step and the number of steps there are at most.

    Returns:
        The network, a dict for each step, and why the pruning stopped.

    Raises:
        InputError: when `training.train` refuses its arguments; when no filter can be removed, with the reason for each
            layer; when the goal cannot be reached; when the checkpoint exists and `resume` is not set, is damaged, or
            belongs to another run.
    """
    source = training.source_of(model, data, "the training data")
    path = None if checkpoint is None else Path(checkpoint)
    made_with: dict[str, Any] = {"plan": repr(plan), "data": source.checksum, "network": _digest(model)}
    model = canonical(model)
    weights = weights_of_classes(class_weight, training.head_of(model), source, model.name)
    made_with["set of class weights"] = None if weights is None else weights.tolist()
    each = None if weights is None else dict(enumerate(weights.tolist()))
    _check_reachable(model, plan)
    current, steps = _resumed(model, path, resume, made_with)
    tell = also or (lambda model: {})
    if not steps:
        current, steps = remove_filters(model, {}), [{"step": 0, **_measured(model, validation, plan), **tell(model)}]
    names = {layer.name: np.arange(n) for layer, n in _filters(model)}
    for step in steps:
        names = {name: np.setdiff1d(left, step.get("removed", {}).get(name, [])) for name, left in names.items()}
    whole = _filters_to_lose(model)
    most, all_steps = (ceil(whole * share / plan.per_step) for share in (plan.ratio or 1, 1))
    while (n := _left(plan, whole, steps)) > 0:
        smaller, step, gone = _step(current, source, validation, plan, len(steps), all_steps, n, augment, each)
        step["removed"] = {name: [int(names[name][i]) for i in sorted(numbers)] for name, numbers in gone.items()}
        stopped = _failure(step, plan, model)
        if stopped:
            return Pruned(current, steps, stopped, step)
        names = {name: np.delete(left, gone.get(name, [])) for name, left in names.items()}
        current, steps = smaller, [*steps, step | tell(smaller)]
        if path:
            checkpoints.save(path, {"kind": KIND, "made_with": made_with, "steps": steps}, _variables(current))
        if progress:
            progress(steps[-1], most)
    return Pruned(current, steps, "goal")


def would_remove(model: keras.Model, data: LabelledImages, plan: Plan) -> dict[str, list[int]]:
    """Return the filters that would be removed if the goal had to be reached at once, without any training.

    Args:
        model: As in `prune`.
        data: As in `prune`.
        plan: As in `prune`.

    Returns:
        Layer name -> numbers of its filters, as `remove_filters` takes them.

    Raises:
        InputError: as in `prune`.
    """
    source = training.source_of(model, data, "the training data")
    model = canonical(model)
    _check_reachable(model, plan)
    scores = importance(
        model, _to_rank(source, plan, np.random.default_rng([plan.seed, 1])), plan.criterion, seed=plan.seed
    )
    whole = _filters_to_lose(model)
    if plan.ratio is not None:
        return least_important(model, scores, round(plan.ratio * whole))

    def reached(n: int) -> bool:
        cost = totals(remove_filters(model, least_important(model, scores, n)))
        return all(getattr(plan, goal) is None or getattr(cost, goal) <= getattr(plan, goal) for goal in GOALS[1:])

    return least_important(model, scores, bisect_left(range(whole), True, key=reached))


def _check_reachable(model: keras.Model, plan: Plan) -> None:
    if not removable(model):
        why = [f"{name} ({reason})" for name, reason in kept_whole(model).items()]
        named = f"{', '.join(why[:6])}{f' and {len(why) - 6} more' if len(why) > 6 else ''}"
        reasons = named or "it has no convolution or dense layer"
        raise InputError(
            f"no filter of {model.name} can be removed: {reasons}; put layers that compute each channel from itself, "
            "such as BatchNormalization, between convolutions"
        )
    everything = least_important(model, {layer.name: np.zeros(n) for layer, n in _filters(model)}, inf)
    if plan.ratio is not None:
        most, whole = sum(map(len, everything.values())), _filters_to_lose(model)
        if most < round(plan.ratio * whole):
            raise InputError(
                f"{model.name} can lose {most} of its {whole} filters, so ratio must be at most {most / whole:.3f}"
            )
        return
    cost = totals(remove_filters(model, everything))
    for goal in GOALS[1:]:
        limit, least = getattr(plan, goal), getattr(cost, goal)
        if limit is not None and limit < least:
            raise InputError(
                f"{goal} must be at least {least:,}, which {model.name} has with one filter per layer, not {limit:,}"
            )


def _filters_to_lose(model: keras.Model) -> int:
    return sum(map(len, removable(model)))


def _left(plan: Plan, whole: int, steps: list[dict]) -> int:
    """Return how many of the `whole` filters that can be removed the next step removes; 0 if the goal is reached."""
    if plan.ratio is None:
        goal = "macs" if plan.weight_bytes is None else "weight_bytes"
        return 0 if steps[-1][goal] <= getattr(plan, goal) else plan.per_step
    before, now = (sum(step["filters"].values()) for step in (steps[0], steps[-1]))
    return min(plan.per_step, round(plan.ratio * whole) - (before - now))


def _step(
    model: keras.Model,
    source: Source,
    validation: LabelledImages,
    plan: Plan,
    number: int,
    all_steps: int,
    n: int,
    augment: Augmentation | None,
    class_weight: dict[int, float] | None,
) -> tuple[keras.Model, dict, dict[str, list[int]]]:
    """Return the network without `n` filters, trained; its dict; and the filters removed, numbered as in `model`."""
    rng = np.random.default_rng([plan.seed, number])
    judges = _to_rank(source, plan, rng)
    gone = least_important(model, importance(model, judges, plan.criterion, seed=plan.seed + number), n)
    smaller = remove_filters(model, gone)
    renew_statistics(smaller, judges)
    seen = plan.images_after(number, all_steps)
    epochs = ceil(seen / len(source))
    few = _drawn(source, ceil(seen / epochs), rng)
    batches = epochs * ceil(len(few) / plan.batch_size)
    rate, fall = float(plan.learning_rate), ceil(2 * batches / 3)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([fall], [rate, rate / 10])
    training.prepare(smaller, plan.optimizer, rate)  # first: compiled anew, it would be traced anew for evaluation
    before = training.evaluate(smaller, validation, plan.batch_size)
    step = {"step": number, "val_accuracy_before": before.accuracy, "val_loss_before": before.loss, "images": seen}
    try:
        history = training.train(
            smaller,
            few,
            epochs=epochs,
            batch_size=plan.batch_size,
            seed=plan.seed + number,
            augment=augment,
            class_weight=class_weight,
        )
    except training.LossError as error:
        return smaller, step | {"error": str(error)}, gone
    return smaller, step | {"loss": history[-1]["loss"]} | _measured(smaller, validation, plan), gone


def _drawn(source: Source, n: int, rng: np.random.Generator) -> Source:
    return source.pick(np.sort(rng.permutation(len(source))[:n]))


def _to_rank(source: Source, plan: Plan, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the batches that the criterion looks at."""
    return list(_drawn(source, plan.rank_images, rng).batches(plan.batch_size))


def _measured(model: keras.Model, validation: LabelledImages, plan: Plan) -> dict:
    score, cost = training.evaluate(model, validation, plan.batch_size), totals(model)
    return {
        "filters": {layer.name: n for layer, n in _filters(model)},
        "parameters": cost.parameters,
        "weight_bytes": cost.weight_bytes,
        "macs": cost.macs,
        "val_accuracy": score.accuracy,
        "val_loss": score.loss,
    }


def _filters(model: keras.Model) -> list[tuple]:
    """Return the layers that make channels, each with its number of filters or units."""
    return [(x, x.units if hasattr(x, "units") else x.filters) for x in model.layers if isinstance(x, PRODUCERS)]


def _failure(step: dict, plan: Plan, model: keras.Model) -> str | None:
    """Return why `step` must be undone; None if it stays."""
    classes = training.head_of(model).classes
    if "error" in step or not isfinite(step["val_loss"]):
        return "breakdown"
    if step["val_loss"] > log(classes) and step["val_accuracy"] < 2 / classes:
        return "breakdown"
    return "accuracy" if step["val_accuracy"] < plan.least_accuracy else None


# Checkpoints


def _digest(model: keras.Model) -> str:
    digest = sha256()
    for variable in model.weights:
        digest.update(np.ascontiguousarray(ops.convert_to_numpy(variable)).data)
    return digest.hexdigest()


def _resumed(
    model: keras.Model, path: Path | None, resume: bool, made_with: dict[str, Any]
) -> tuple[keras.Model | None, list[dict]]:
    """Return the network and the steps of the checkpoint `path`; None and no steps if there is none yet."""
    header = None if path is None else checkpoints.resumed(path, resume, KIND, made_with, "pruning")
    if path is None or header is None:
        return None, []
    try:
        steps = header["steps"]
        gone = {name: [i for step in steps[1:] for i in step["removed"].get(name, [])] for name in steps[0]["filters"]}
    except (AttributeError, KeyError, TypeError):
        raise checkpoints.not_this_kind(path) from None
    smaller = remove_filters(model, gone)
    checkpoints.restore(path, _variables(smaller), model.name)
    return smaller, steps


def _variables(model: keras.Model) -> dict[str, Any]:
    return {str(i): v for i, v in enumerate(v for layer in model.layers for v in layer.variables)}
