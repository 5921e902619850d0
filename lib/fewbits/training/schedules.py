"""Progressive quantization: a float network learns to compute in few bits, step by step.

A schedule is first planned, as stages: plain data, which say what is quantized, to how many bits, and what is locked.
Then one training runs through them; the formats and locks of a stage are set before its first epoch.

Source: vieito2017, 5.5 (gradual resolution loss, quantize-and-lock, quantize-while-train) and Code 2 (relaxation).
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from fewbits import training
from fewbits.backend import keras, ops
from fewbits.data.dataset import Split
from fewbits.data.folders import ImageFolder
from fewbits.errors import InputError, check_name
from fewbits.names import DECAYS, LEVEL_ORDERS, STRATEGIES
from fewbits.quantization import calibration
from fewbits.quantization.conversion import QuantizedModel, calls, quantize_model
from fewbits.quantization.fixedpoint import MAX_NBITS_KERAS
from fewbits.quantization.layers import FLOAT

FIRST_FALL = 8  # bits from which a gradual loss of resolution starts
CALIBRATION_IMAGES = 64

Bits = tuple[int | None, int | None, int | None]  # of kernel, input and output; None is float


class Stage(NamedTuple):
    """What holds during some epochs of a schedule.

    name: of the level that is new in it, and its bits where they fall. bits: level -> Bits; levels that are not in it
    compute in float. locked: the levels whose weights stay as they are.
    """

    name: str
    bits: dict[str, Bits]
    locked: frozenset[str]
    epochs: int


class Outcome(NamedTuple):
    """What a schedule leaves: the quantized network, its stages, the history of `training.train`, and the accuracy on
    the validation images at the end.

    Each entry of the history also has `stage`, a number from 1; the first of each stage has `val_accuracy_before`,
    measured when the stage's formats were set and nothing was trained yet.
    """

    model: QuantizedModel
    stages: list[Stage]
    history: list[dict]
    val_accuracy: float


def plan(
    levels: Sequence[str],
    bits: Bits,
    strategy: str,
    *,
    epochs: int = 1,
    relax: bool = False,
    edge_bits: int | None = None,
    network: Sequence[str] | None = None,
) -> list[Stage]:
    """Return the stages of a schedule over `levels`, names in the order in which they are quantized.

    bits: of kernel, input and output at the end. strategy: `static` quantizes all levels and trains nothing;
    `all-at-once` quantizes all and trains. `lock` quantizes and locks level after level and trains the others; `train`
    does not lock. `gradual` lowers the bits of all levels one by one, from FIRST_FALL; `gradual-by-level` those of
    level after level. epochs: of each stage; what cannot learn (`static`, and `lock` when all is locked) has none.
    relax: at the end unlock all and train for another stage. edge_bits: least bits of the network's first and last
    level, `network[0]` and `network[-1]`, by default those of `levels`.
    """
    check_name("strategy", strategy, STRATEGIES)
    edges = [(network or levels)[i] for i in (0, -1)]

    def at(level, n):
        floor = max(n, edge_bits or 0) if level in edges else n
        return tuple(None if b is None else max(b, floor) for b in bits)

    final = {level: at(level, 0) for level in levels}
    needed = min((b for b in bits if b is not None), default=FIRST_FALL)
    falling = range(max(FIRST_FALL, needed), needed - 1, -1)
    everything = frozenset(levels)
    if strategy == "static":
        stages = [Stage("all", final, frozenset(), 0)]
    elif strategy == "all-at-once":
        stages = [Stage("all", final, frozenset(), epochs)]
    elif strategy == "gradual":
        stages = [Stage(f"{n} bits", {level: at(level, n) for level in levels}, frozenset(), epochs) for n in falling]
    else:
        stages = []
        for i, level in enumerate(levels):
            done = {name: final[name] for name in levels[: i + 1]}
            locked = frozenset(done) if strategy == "lock" else frozenset()
            for n in falling if strategy == "gradual-by-level" else (0,):
                name = f"{level}, {n} bits" if n else level
                stages.append(Stage(name, done | {level: at(level, n)}, locked, 0 if locked == everything else epochs))
    return [*stages, Stage("relax", final, frozenset(), epochs)] if relax else stages


def progressive_quantization(
    model: keras.Model,
    data,
    bits: Bits = (8, 8, 8),
    strategy: str = "train",
    *,
    validation,
    epochs: int = 1,
    levels: Sequence[Sequence[str]] | None = None,
    order: str | Sequence[str] = "input",
    relax: bool = False,
    edge_bits: int | None = None,
    percentile: float | str | tuple = 99.9,
    per_layer: bool = True,
    per_channel: bool = False,
    recalibrate: bool = False,
    rounding: str = "nearest",
    gradient: str = "clipped",
    optimizer: str = "sgd",
    learning_rate: float = 0.001,
    decay: str = "constant",
    seed: int = 0,
    batch_size: int = 32,
    on_stage: Callable[[Stage | None, QuantizedModel], None] | None = None,
    reuse: QuantizedModel | None = None,
    **options,
) -> Outcome:
    """Return the Outcome of training a copy of the float `model` towards few bits; `model` stays as it is.

    bits, strategy, epochs (of each stage), relax, edge_bits: as in `plan`. data, validation: as in
    `training.train`. levels: names of the layers of each level, for example `zoo.levels(model)`; default one layer
    a level. order: `input` or `output` first, `random` (drawn from the seed), by `sensitivity` (what costs least
    when quantized alone goes first, on the validation images), or the names of all levels. percentile, per_layer,
    per_channel: rule of the MSBs, as in `calibration.formats_for`, from 64 training images and the float network;
    recalibrate: from the network as it is when a stage begins, but for what is locked. decay: the learning rate is
    `constant`, or falls in a `cosine` to 0. rounding, gradient: as in QuantizedConv2D; batch normalization is folded.
    on_stage: called with each stage and the network when its formats and locks are set, and at the end with None; the
    kernels it finds are what the stage before has left; not for stages that a resumed training finds finished. reuse:
    the network of an earlier Outcome, which is used up: it starts again from `model`, and nothing is compiled anew. The
    rest, checkpoint and resume among it: as in `training.prepare` and `training.train`.

    Raises InputError on bits out of range, unknown names, and whatever `quantize_model` and `training.train` refuse.
    """
    _check_bits(bits, edge_bits)
    check_name("decay", decay, DECAYS)
    fresh = quantize_model(model, levels=levels, fold_batch_normalization=True, rounding=rounding, gradient=gradient)
    network = fresh if reuse is None else _taking_weights(reuse, fresh)
    named = level_names(network)
    calibration_images, n = _some_images(data)

    def formats(widths):
        return calibration.formats_for_each(
            network, calibration_images, widths, percentile, per_layer, rounding, per_channel=per_channel
        )

    def measured():
        return training.evaluate(network, validation, batch_size).accuracy

    ordered = _ordered(order, network, named, validation, formats, bits, seed, batch_size)
    stages = plan(ordered, bits, strategy, epochs=epochs, relax=relax, edge_bits=edge_bits, network=list(named))
    fixed = {} if recalibrate else formats(bits for stage in stages for bits in stage.bits.values())

    def enter(stage):
        known = formats(stage.bits.values()) if recalibrate else fixed
        for level, layers in named.items():
            b = stage.bits.get(level)
            for layer in layers:
                if not (layer.locked and level in stage.locked):
                    layer.set_formats(*(FLOAT if b is None else known[b][layer.name]))
                if layer.locked != (level in stage.locked):
                    layer.locked = level in stage.locked
        if on_stage:
            on_stage(stage, network)

    *starts, total = accumulate((stage.epochs for stage in stages), initial=0)

    def before_epoch(epoch):
        entered = [stage for stage, start in zip(stages, starts) if start == epoch - 1]
        for stage in entered:
            enter(stage)
        number = max(i for i, start in enumerate(starts, 1) if start < epoch and stages[i - 1].epochs)
        return {"stage": number} | ({"val_accuracy_before": measured()} if entered else {})

    network.set_formats(FLOAT)
    training.prepare(fresh, optimizer, training.decaying_rate(learning_rate, decay, total, n, batch_size))
    if network is not fresh:
        _take_optimizer(network, fresh)
    history = training.train(
        network,
        data,
        validation=validation,
        epochs=total,
        batch_size=batch_size,
        seed=seed,
        before_epoch=before_epoch,
        **options,
    )
    for stage, start in zip(stages, starts):
        if start == total:
            enter(stage)
    if on_stage:
        on_stage(None, network)
    return Outcome(network, stages, history, history[-1]["val_accuracy"] if stages[-1].epochs else measured())


def level_names(network: QuantizedModel) -> dict[str, list]:
    """Return level name -> its quantized layers, in the order of the levels.

    A level of several layers is called by what their names begin with, up to an underscore: fire2 of fire2_squeeze1x1.
    """
    grouped: dict[int, list] = {}
    for layer in network.quantized_layers:
        grouped.setdefault(layer.level, []).append(layer)
    return {_level_name(layers): layers for _, layers in sorted(grouped.items())}


def _level_name(layers):
    first = layers[0].name
    stem = first.split("_")[0]
    return stem if len(layers) > 1 and all(layer.name.startswith(f"{stem}_") for layer in layers) else first


def _ordered(order, network, named, validation, formats, bits, seed, batch_size) -> list[str]:
    levels = list(named)
    if not isinstance(order, str):
        unknown = sorted(set(order) ^ set(levels)) or [name for name in levels if list(order).count(name) > 1]
        if unknown:
            raise InputError(f"order must name each level once, {', '.join(levels)}; look at {unknown[0]}")
        return list(order)
    check_name("order", order, LEVEL_ORDERS)
    if order == "input":
        return levels
    if order == "output":
        return levels[::-1]
    if order == "random":
        return [levels[i] for i in np.random.default_rng(seed).permutation(len(levels))]
    hits = sensitivity(network, validation, formats([tuple(bits)])[tuple(bits)], batch_size)
    return sorted(levels, key=lambda level: -hits[level])


def sensitivity(network: QuantizedModel, validation, formats: dict, batch_size: int = 100) -> dict[str, int]:
    """Return level name -> how many validation images the network gets right with that level alone quantized."""
    hits = {}
    for level, layers in level_names(network).items():
        network.set_formats(FLOAT)
        for layer in layers:
            layer.set_formats(*formats[layer.name])
        hits[level] = training.evaluate(network, validation, batch_size).hits
    network.set_formats(FLOAT)
    return hits


def _taking_weights(network, fresh) -> QuantizedModel:
    """Return `network` with all variables as in `fresh`, which must be built the same."""
    if not isinstance(network, QuantizedModel) or _design(network) != _design(fresh):
        raise InputError(
            "reuse must be the network left by an earlier schedule of the same model, layer names, levels and gradient"
        )
    for layer in network.quantized_layers:
        layer.locked = False
    _assign(network.variables, fresh.variables)
    return network


def _design(network):
    """Return each layer's kind, what it reads, and its settings.

    Formats, orders and stages go by the names of layers with weights; those of the others count on in Keras, no more.
    """
    number, uses = {layer.name: i for i, layer in enumerate(network.layers)}, calls(network)

    def described(layer):
        passing = ("formats", "enabled", "rounding", *(() if layer.weights else ("name",)))
        inputs = [tensor._keras_history.operation.name for use in uses[layer.name] for tensor in use.input_tensors]
        settings = {k: v for k, v in layer.get_config().items() if k not in passing}
        return type(layer), [number[name] for name in inputs], settings

    return [described(layer) for layer in network.layers]


def _take_optimizer(network, fresh):
    """Let `network` train with the optimizer of `fresh`; its own, if that is alike, forgets its past: no new graph."""
    old, new = (None if model.optimizer is None else model.optimizer.get_config() for model in (network, fresh))
    if old and _without_rate(old) == _without_rate(new) and type(network.optimizer) is type(fresh.optimizer):
        fresh.optimizer.build(fresh.trainable_variables)
        network.optimizer.build(network.trainable_variables)
        _assign(network.optimizer.variables, fresh.optimizer.variables)
    else:
        training.prepare(network, fresh.optimizer)


def _without_rate(config):
    """Return the config of an optimizer without a rate that is a number: that is a variable."""
    return {k: v for k, v in config.items() if k not in ("name", "learning_rate") or isinstance(v, dict)}


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(ops.convert_to_numpy(value))


def _some_images(data):
    """Return images of `data` to calibrate on, and how many it holds."""
    if isinstance(data, ImageFolder):
        batches = data.pick(_spread(len(data), CALIBRATION_IMAGES)).batches(CALIBRATION_IMAGES)
        images = [images for images, _ in batches]
        if not images:
            raise InputError(f"none of {CALIBRATION_IMAGES} images of {data.path} can be read")
        return np.concatenate(images), len(data)
    images, labels = (data.images, data.labels) if isinstance(data, Split) else data
    return images[_spread(len(images), CALIBRATION_IMAGES)], len(labels)


def _spread(n, wanted):
    """Return the numbers of at most `wanted` of `n` images, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, wanted)).astype(int))


def _check_bits(bits, edge_bits):
    if not isinstance(bits, (tuple, list)) or len(bits) != 3:
        raise InputError(f"bits must be three, for kernel, input and output, not {bits!r}")
    for what, n in (*zip(("kernel", "input", "output"), bits), ("edge", edge_bits)):
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_NBITS_KERAS):
            raise InputError(f"{what} bits must be an integer from 1 to {MAX_NBITS_KERAS} or None, not {n!r}")
