"""Schedules: what is planned, that locked means locked, and that an interruption changes no bit; here and on JAX."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fewbits
from fewbits import InputError, names, training, zoo
from fewbits.backend import keras, ops
from fewbits.data import Split, load, load_folder
from fewbits.quantization.calibration import Calibration, formats_for
from fewbits.quantization.layers import FLOAT
from fewbits.training import loop, progressive
from fewbits.training.progressive import progressive_quantization
from fewbits.training.recipe import Recipe
from fewbits.training.schedules import Schedule, level_names

layers = keras.layers
DIGITS = load("digits")
TRAIN = DIGITS.scaled(DIGITS.train.take(160)), DIGITS.train.labels[:160]
VALIDATION = DIGITS.scaled(DIGITS.validation.take(60)), DIGITS.validation.labels[:60]
FEW = TRAIN[0][:64], TRAIN[1][:64]  # whole batches, which are compiled once
LEVELS = ["a", "b", "c"]
BACKEND = keras.backend.backend()


@pytest.mark.skipif(BACKEND == "jax", reason="this is the run on JAX")
def test_locks_and_formats_hold_on_jax():
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "lock_on and sgd or resumed and lock", __file__],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and run.stdout.split("\n")[-2].startswith("2 passed"), run.stdout


def short_trial():
    """Return the history and the kernels' sums of a trial whose weights and order of images no backend draws."""
    model, rng = network(), np.random.default_rng(5)
    model.set_weights([rng.normal(0, 0.2, w.shape) for w in model.get_weights()])
    outcome = run("lock", (6, 6, 6), model, epochs=2, learning_rate=0.01)
    return outcome.history, {name: float(np.abs(k).sum()) for name, k in kernels(outcome.model).items()}


@pytest.mark.skipif(BACKEND == "jax", reason="this is the run on TensorFlow")
def test_both_backends_agree_on_a_short_trial():
    """Within 1e-3 of every loss and 1e-4 of the kernels: sums in another order now and then round to the next code."""
    run = subprocess.run(
        [sys.executable, "-c", "import json, test_schedules as t; print(json.dumps(t.short_trial()))"],
        env=os.environ | {"KERAS_BACKEND": "jax", "NVIDIA_TF32_OVERRIDE": "0"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    theirs, ours = json.loads(run.stdout.splitlines()[-1]), short_trial()
    for there, here in zip(theirs[0], ours[0], strict=True):
        assert {k: v for k, v in here.items() if "loss" in k} == pytest.approx(
            {k: v for k, v in there.items() if "loss" in k}, abs=1e-3
        )
    assert theirs[1] == pytest.approx(ours[1], rel=1e-4)


# The plan


def outline(*arguments, **options):
    """Return the stages as (levels and their kernel bits, locked levels, epochs)."""
    return [
        (
            " ".join(f"{level}{bits[0]}" for level, bits in stage.bits.items()),
            "".join(sorted(stage.locked)),
            stage.epochs,
        )
        for stage in Schedule(*arguments, **options).stages(LEVELS)
    ]


def test_static_quantizes_all_and_trains_nothing():
    assert outline((6, 6, 6), "static", epochs=5) == [("a6 b6 c6", "", 0)]


def test_all_at_once_quantizes_all_and_trains():
    assert outline((6, 6, 6), "all-at-once", epochs=5) == [("a6 b6 c6", "", 5)]


def test_lock_has_nothing_left_to_train_at_the_end():
    assert outline((6, 6, 6), "lock", epochs=5) == [("a6", "a", 5), ("a6 b6", "ab", 5), ("a6 b6 c6", "abc", 0)]


def test_quantize_while_train_locks_nothing():
    assert outline((6, 6, 6), "train", epochs=5) == [("a6", "", 5), ("a6 b6", "", 5), ("a6 b6 c6", "", 5)]


def test_gradual_lowers_all_levels_bit_by_bit_from_eight():
    assert outline((6, 6, 6), "gradual") == [("a8 b8 c8", "", 1), ("a7 b7 c7", "", 1), ("a6 b6 c6", "", 1)]


def test_gradual_by_level_lowers_one_level_after_the_other():
    bits = [stage[0] for stage in outline((7, 7, 7), "gradual-by-level")]
    assert bits == ["a8", "a7", "a7 b8", "a7 b7", "a7 b7 c8", "a7 b7 c7"]


@pytest.mark.parametrize("strategy", names.STRATEGIES)
@pytest.mark.parametrize("bits", [(8, 8, 8), (4, 6, 10), (3, None, 12), (None, None, None)])
def test_every_strategy_ends_with_all_levels_at_the_bits_asked_for(strategy, bits):
    stages = Schedule(bits, strategy).stages(LEVELS)
    assert stages[-1].bits == dict.fromkeys(LEVELS, bits)
    for before, after in zip(stages, stages[1:]):  # what is quantized stays so, with bits that never rise
        for level, old in before.bits.items():
            assert all(o is n is None or o >= n for o, n in zip(old, after.bits[level]))


def test_relaxation_unlocks_all_and_trains_once_more():
    assert outline((6, 6, 6), "lock", epochs=2, relax=True)[-2:] == [("a6 b6 c6", "abc", 0), ("a6 b6 c6", "", 2)]


def test_the_edges_of_the_network_keep_their_bits_whatever_the_order():
    stages = Schedule((4, 4, 4), "gradual", edge_bits=6).stages(["b", "c", "a"], network=LEVELS)
    assert stages[-1].bits == {"a": (6, 6, 6), "b": (4, 4, 4), "c": (6, 6, 6)}


def test_one_level_is_a_schedule_too():
    assert Schedule((4, 4, 4), "lock").stages(["a"])[0].bits == {"a": (4, 4, 4)}


# The run


def network(channels=1, filters=6, flatten=None, last="dense3", name=None):
    """Return a network of three levels, small enough to be compiled in a moment."""
    keras.utils.set_random_seed(1)
    stack = [
        layers.Input((8, 8, channels)),
        layers.Conv2D(filters, 3, strides=2, activation="relu", name="conv1"),
        layers.Conv2D(8, 3, activation="relu", name="conv2"),
        layers.Flatten(name=flatten),
        layers.Dense(10, name=last),
    ]
    return keras.Sequential(stack, name=name)


PARTS = {
    "schedule": (Schedule, ("epochs", "order", "relax", "edge_bits")),
    "calibration": (Calibration, ("range_rule", "per_layer", "per_channel", "recalibrate")),
    "recipe": (Recipe, ("optimizer", "learning_rate", "decay", "batch_size", "seed")),
}


def run(strategy="train", bits=(6, 6, 6), model=None, data=TRAIN, **options):
    """Run a schedule; options may be fields of Schedule, Calibration and Recipe, too."""
    options = {"epochs": 2, "validation": VALIDATION, "learning_rate": 0.02, "seed": 3, **options}
    given = {"schedule": {"bits": bits, "strategy": strategy}}
    for part, (_, fields) in PARTS.items():
        given.setdefault(part, {}).update({name: options.pop(name) for name in fields if name in options})
    parts = {part: kind(**given[part]) for part, (kind, _) in PARTS.items()}
    return progressive_quantization(model or network(), data, **parts, **options)


def kernels(model):
    return {layer.name: ops.convert_to_numpy(layer.kernel).copy() for layer in model.layers if hasattr(layer, "kernel")}


class Snapshots:
    """Keeps the kernels after each epoch; a `progress`."""

    def __init__(self, monkeypatch):
        self.taken = []
        measure = loop.measure

        def spied(model, *arguments):
            self.model = model
            return measure(model, *arguments)

        monkeypatch.setattr(loop, "measure", spied)

    def __call__(self, step):
        if step.step == step.steps:
            self.taken.append(kernels(self.model))


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
        keras.optimizers.AdamW(0.01, weight_decay=0.1),
    ],
    ids=["sgd", "adamw"],
)
def test_a_locked_layer_is_bit_identical_from_its_lock_on(monkeypatch, optimizer):
    shots = Snapshots(monkeypatch)
    outcome = run("lock", optimizer=optimizer, progress=shots)
    names = list(level_names(outcome.model))
    taken = [kernels(network()), *shots.taken]
    for stage, name in enumerate(names[:-1]):
        at_lock = taken[2 * stage]  # two epochs a stage
        assert all((after[name] == at_lock[name]).all() for after in taken[2 * stage :]), name
        assert stage == 0 or (taken[2 * stage][name] != taken[0][name]).any(), f"{name} did not train before its lock"
    assert (kernels(outcome.model)[names[-1]] == taken[-1][names[-1]]).all()
    assert all(layer.locked for layer in outcome.model.quantized_layers)


def test_while_training_every_layer_moves_to_the_end(monkeypatch):
    shots = Snapshots(monkeypatch)
    outcome = run(progress=shots)
    assert all((shots.taken[-1][name] != shots.taken[-2][name]).any() for name in shots.taken[0])
    assert not any(layer.locked for layer in outcome.model.quantized_layers)


def test_the_history_says_the_stage_and_what_its_quantization_cost():
    outcome = run("lock", epochs=2)
    assert [h["stage"] for h in outcome.history] == [1, 1, 2, 2]
    assert ["val_accuracy_before" in h for h in outcome.history] == [True, False] * 2


def test_a_stage_without_epochs_still_quantizes():
    outcome = run("lock", epochs=0)
    assert outcome.history == [] and FLOAT not in outcome.model.formats.values()
    assert all((a == b).all() for a, b in zip(kernels(network()).values(), kernels(outcome.model).values()))


@pytest.mark.parametrize("per_channel", [False, True])
def test_static_equals_setting_formats_by_hand(per_channel):
    model, bits = network(), (5, 6, 7)
    outcome = run("static", bits, model, range_rule=98, per_channel=per_channel)
    by_hand = fewbits.quantize_model(model, rounding="nearest")
    images = TRAIN[0][np.linspace(0, len(TRAIN[0]) - 1, 64).astype(int)]
    by_hand.set_formats(formats_for(by_hand, images, bits, 98, per_channel=per_channel))
    assert outcome.model.formats == by_hand.formats
    x = VALIDATION[0]
    assert (outcome.model.predict_on_batch(x) == by_hand.predict_on_batch(x)).all()


def test_the_float_model_stays_as_it_is():
    model = network()
    before = kernels(model)
    run(model=model)
    assert all((before[name] == after).all() for name, after in kernels(model).items())


@pytest.mark.parametrize("strategy", ["lock", "gradual-by-level"])
def test_resumed_is_uninterrupted_bit_for_bit(tmp_path, strategy):
    class Stop(Exception):
        pass

    def stop(step):
        if step.epoch == 4 and step.step == 2:
            raise Stop

    options = {"checkpoint": tmp_path / "c", "recalibrate": True, "epochs": 2 if strategy == "lock" else 1}
    whole = run(strategy, (7, 7, 7), **options | {"checkpoint": None})
    with pytest.raises(Stop):
        run(strategy, (7, 7, 7), **options, progress=stop)
    resumed = run(strategy, (7, 7, 7), **options, resume=True)
    assert resumed.history == whole.history
    assert resumed.model.formats == whole.model.formats
    for a, b in zip(resumed.model.variables, whole.model.variables):
        assert (ops.convert_to_numpy(a) == ops.convert_to_numpy(b)).all()


def test_recalibration_follows_the_network_and_spares_what_is_locked():
    fixed, new = (run("lock", (4, 4, 4), learning_rate=0.2, recalibrate=r, range_rule="mse") for r in (False, True))
    names = list(fixed.model.formats)
    assert fixed.model.formats[names[0]] == new.model.formats[names[0]]  # locked before anything was trained
    assert fixed.model.formats != new.model.formats


# Order


def test_orders():
    def levels(order, **options):
        return [stage.name for stage in run("train", epochs=0, order=order, **options).stages]

    names = levels("input")
    assert levels("output") == names[::-1]
    drawn = {tuple(levels("random", seed=seed)) for seed in range(6)}
    assert len(drawn) > 1 and all(sorted(d) == sorted(names) for d in drawn)
    assert levels("random", seed=4) == levels("random", seed=4)
    chosen = [names[2], *names[:2]]
    assert levels(chosen) == chosen


def test_by_sensitivity_what_costs_least_goes_first(monkeypatch):
    monkeypatch.setattr(progressive, "sensitivity", lambda *_: {"conv1": 5, "conv2": 50, "dense3": 50})
    names = [stage.name for stage in run("train", epochs=0, order="sensitivity").stages]
    assert names == ["conv2", "dense3", "conv1"]


def test_sensitivity_quantizes_one_level_at_a_time():
    model = network()
    training.train(model, TRAIN, epochs=10)
    quantized = fewbits.quantize_model(model, rounding="nearest")
    formats = formats_for(quantized, TRAIN[0][:32], (2, None, None))
    hits = progressive.sensitivity(quantized, VALIDATION, formats)
    for level, fmt in formats.items():
        alone = fewbits.quantize_model(model, {level: fmt}, rounding="nearest")
        assert hits[level] == training.evaluate(alone, VALIDATION).hits
    assert set(quantized.formats.values()) == {FLOAT}


def test_levels_are_called_by_what_their_layers_share():
    keras.utils.set_random_seed(0)
    model = zoo.build("squeezenet_digits", (8, 8, 1), 10)
    by_level = fewbits.quantize_model(model, levels=zoo.levels(model))
    assert list(level_names(by_level)) == ["conv1", "fire2", "fire3", "fire4", "conv10"]
    assert list(level_names(fewbits.quantize_model(network()))) == [
        layer.name for layer in network().layers if layer.weights
    ]


# What a stage sees


def test_on_stage_sees_every_stage_with_its_formats_and_locks_set():
    seen = []

    def look(stage, network):
        quantized = {name: [fmt and fmt.nbits for fmt in formats[:3]] for name, formats in network.formats.items()}
        seen.append((stage, quantized, {q.name for q in network.quantized_layers if q.locked}))

    outcome = run("lock", (4, None, 7), data=FEW, validation=FEW, epochs=1, relax=True, on_stage=look)
    names = list(level_names(outcome.model))
    assert [stage for stage, *_ in seen] == [*outcome.stages, None]
    for stage, quantized, locked in (*seen[:-1], (outcome.stages[-1], *seen[-1][1:])):
        assert quantized == {name: [4, None, 7] if name in stage.bits else [None] * 3 for name in names}
        assert locked == stage.locked


def test_on_stage_comes_before_anything_is_trained_in_the_stage_and_none_after_all(monkeypatch):
    shots, found = Snapshots(monkeypatch), []
    run("train", epochs=1, progress=shots, on_stage=lambda stage, network: found.append(kernels(network)))
    for at_stage, left in zip(found, [kernels(network()), *shots.taken], strict=True):
        assert all((at_stage[name] == left[name]).all() for name in left)


@pytest.mark.parametrize("strategy", ["static", "all-at-once"])
def test_the_accuracy_at_the_end_is_that_of_the_network_returned(strategy):
    outcome = run(strategy, data=FEW, epochs=1)
    assert outcome.val_accuracy == training.evaluate(outcome.model, VALIDATION).accuracy > 0


# Data


def outcome_of(outcome):
    """Return all that must be the same to the bit, comparable with `==`."""
    variables = [ops.convert_to_numpy(v).tobytes() for v in outcome.model.variables]
    return outcome.stages, outcome.history, outcome.val_accuracy, outcome.model.formats, variables


def test_a_split_trains_as_its_arrays_do():
    split = DIGITS.train.take(64)
    arrays = split.images, split.labels
    by_split, by_arrays = (run("all-at-once", data=data, validation=data, epochs=1) for data in (split, arrays))
    assert isinstance(split, Split) and outcome_of(by_split) == outcome_of(by_arrays)


def test_a_folder_trains_as_its_images_do(tmp_path):
    """Down a cosine, which must know how many images there are."""
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(32):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / label / f"{i}.png")
    folder = load_folder(tmp_path, size=8, scale=1 / 256)
    (arrays,) = folder.batches(64)
    by_folder, by_arrays = (
        run("all-at-once", model=network(channels=3), data=data, validation=data, decay="cosine", epochs=1)
        for data in (folder, arrays)
    )
    assert len(arrays[1]) == 64 and outcome_of(by_folder) == outcome_of(by_arrays)
    assert float(by_folder.model.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)


# A network that is used again


@pytest.fixture(scope="module")
def used():
    """Return a network in which another schedule has left locks, formats, a rounding and momenta."""
    return run("lock", (3, 3, 3), data=FEW, validation=FEW, epochs=1, rounding="floor").model


@pytest.mark.parametrize("decay", ["constant", "cosine"])
def test_a_network_used_again_gives_the_same_bits_as_a_new_one(used, decay):
    """Whatever the model is called, and its layers without weights, which Keras numbers."""
    options = {"bits": (7, 6, None), "rounding": "thesis", "epochs": 1, "data": FEW, "validation": FEW, "decay": decay}
    again = run(model=network(name="other", flatten="flatten_7"), reuse=used, **options)
    assert again.model is used and outcome_of(again) == outcome_of(run(**options))


def bypassed(pool=layers.MaxPooling2D, start="a"):
    """Return a network of which no layer's settings tell how it pools, or where its bypass starts."""
    keras.utils.set_random_seed(1)
    x = y = keras.Input((8, 8, 1))
    found = {name: (y := layers.Conv2D(2, 3, padding="same", name=name)(y)) for name in "abc"}
    y = pool(2, name="pool")(layers.Add(name="sum")([found[start], y]))
    return keras.Model(x, layers.Dense(10, name="d")(layers.Flatten(name="flat")(y)))


@pytest.mark.parametrize(
    ("used", "model", "options"),
    [
        (network, lambda: network(filters=5), {}),
        (network, lambda: network(last="dense4"), {}),  # formats and orders go by the names of what is quantized
        (network, network, {"gradient": "identity"}),
        (network, network, {"levels": [["conv1", "conv2"], ["dense3"]]}),
        (bypassed, lambda: bypassed(layers.AveragePooling2D), {}),
        (bypassed, lambda: bypassed(start="b"), {}),
    ],
    ids=["filters", "name", "gradient", "levels", "kind", "graph"],
)
def test_an_unfitting_network_is_not_used_again(used, model, options):
    used = fewbits.quantize_model(used())
    before = kernels(used)
    with pytest.raises(
        InputError, match=r"^reuse must be the network left by an earlier schedule of the same model[^.]*$"
    ):
        run("static", model=model(), reuse=used, **options)
    assert all((before[name] == kernel).all() for name, kernel in kernels(used).items())


def test_a_float_network_is_not_used_again():
    with pytest.raises(InputError, match="reuse must be"):
        run("static", reuse=network())


# What is refused, before anything is trained


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": (8, 8)}, "bits must be three"),
        ({"bits": (0, 8, 8)}, "kernel bits must be an integer from 1 to 24"),
        ({"bits": (8, 8, 25)}, "output bits"),
        ({"bits": (8, True, 8)}, "input bits"),
        ({"edge_bits": 99}, "edge bits"),
        ({"strategy": "locked"}, "strategy"),
        ({"order": "size"}, "order"),
        ({"order": ["conv1", "fire9"]}, "order must name each level once"),
        ({"order": ["conv1"] * 2 + ["conv2", "dense3"]}, "look at conv1"),
        ({"decay": "linear"}, "decay"),
        ({"epochs": -1}, "epochs"),
        ({"learning_rate": -1}, "learning rate"),
        ({"range_rule": 0}, "percentile"),
    ],
)
def test_a_bad_schedule_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        run(**options)
