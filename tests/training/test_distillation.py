"""Distillation: that the loss is its definition, who may teach whom, and that an interruption changes no bit."""

import json
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fewbits import InputError
from fewbits.backend import gradients, keras, ops
from fewbits.data import load
from fewbits.training import (
    Distillation,
    Lesson,
    Recipe,
    Schedule,
    evaluate,
    head_of,
    logits_of,
    prepare,
    taught_network,
    train,
)
from fewbits.training import progressive_quantization as quantize
from fewbits.training.loop import read_history

layers = keras.layers
DIGITS = load("digits")
IMAGES, LABELS = DIGITS.scaled(DIGITS.train.take(200)), DIGITS.train.labels[:200]
HELD_OUT = DIGITS.scaled(DIGITS.validation.take(50)), DIGITS.validation.labels[:50]
RUN = {"epochs": 4, "batch_size": 32, "seed": 7}
HEADS = {
    "logits": (10, None, LABELS),
    "softmax": (10, "softmax", LABELS),
    "sigmoid": (1, "sigmoid", LABELS % 2),
    "multi-label": (3, "sigmoid", np.stack([LABELS % 2, LABELS > 4, LABELS % 3 == 0], 1).astype(int)),
}


def network(units=10, activation=None, filters=4, seed=11, shape=(8, 8, 1), rate=0.3):
    """Return a network with all that has a state of its own: dropout and normalization."""
    keras.utils.set_random_seed(seed)
    stack = [
        layers.Input(shape),
        layers.Conv2D(filters, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.Dropout(rate),
        layers.Flatten(),
        layers.Dense(units, activation),
    ]
    return keras.Sequential(stack, name=f"net{filters}")


def teacher(units=10, activation=None):
    """Return a larger network whose normalization moves values."""
    model = network(units, activation, filters=7, seed=5)
    rng = np.random.default_rng(0)
    model.set_weights([w + abs(rng.normal(0, 0.05, w.shape)) for w in model.get_weights()])
    return model


def shift(images, rng):
    """Move each image sideways by up to a pixel."""
    return np.stack([np.roll(image, rng.integers(-1, 2), axis=1) for image in images])


def go(model, checkpoint=None, **options):
    data = options.pop("data", (IMAGES, LABELS))
    if not model.compiled:
        prepare(model, learning_rate=0.05)
    given = {"validation": HELD_OUT, "augment": shift, "checkpoint": checkpoint, **RUN, **options}
    return train(model, data, **given)


def state(model):
    """Return the bytes of every variable of model and optimizer."""
    return [ops.convert_to_numpy(v).tobytes() for v in (*model.variables, *model.optimizer.variables)]


# The loss


def probabilities(logits, exclusive):
    """Return the probabilities of all classes of each distribution along the last axis, in float64."""
    if exclusive:
        e = np.exp(logits - logits.max(-1, keepdims=True))
        return (e / e.sum(-1, keepdims=True))[:, None]
    p = 1 / (1 + np.exp(-logits))
    return np.stack([1 - p, p], -1)


def by_definition(head, labels, wanted, logits, share, t):
    """Return the loss of each image, from probabilities alone: the mean over its distributions."""
    hard = probabilities(logits, head.exclusive)
    index = labels.reshape(len(labels), -1)
    cross_entropy = -np.log(np.take_along_axis(hard, index[..., None], -1))[..., 0].mean(1)
    p, q = (probabilities(x / t, head.exclusive) for x in (wanted, logits))
    divergence = (p * np.log(p / q)).sum(-1).mean(1)
    return (1 - share) * cross_entropy + share * t**2 * divergence


@pytest.mark.parametrize(
    ("kind", "share", "t"),
    [
        ("logits", 0.3, 1.0),
        ("softmax", 0.6, 4.0),
        ("softmax", 1.0, 2.5),
        ("sigmoid", 0.6, 3.0),
        ("multi-label", 0.4, 2.0),
    ],
)
def test_the_loss_is_its_definition_on_the_augmented_batch(kind, share, t):
    """With a rate of nearly 0 and one step, the loss of an epoch is that of the network as it begins."""
    units, activation, labels = HEADS[kind]
    model, wise = network(units, activation, rate=0.0), teacher(units, activation)
    model.layers[1].trainable = False  # its normalization then works as in inference
    prepare(model, "sgd", 1e-12)
    seen = []

    def keep(images, rng):
        seen.append(shift(images, rng))
        return seen[-1]

    [entry] = train(
        model,
        (IMAGES, labels),
        epochs=1,
        batch_size=200,
        augment=keep,
        distillation=Distillation(share, t, wise),
    )
    order = np.random.default_rng([0, 1]).permutation(200)
    wanted, logits = (logits_of(m).predict(seen[0], verbose=0).astype(float) for m in (wise, model))
    losses = by_definition(head_of(model), labels[order], wanted, logits, share, t)
    assert entry["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    assert entry["accuracy"] == pytest.approx(evaluate(model, (seen[0], labels[order])).accuracy)


@pytest.mark.parametrize("kind", HEADS)
def test_gradients_are_those_of_finite_differences(kind):
    units, activation, labels = HEADS[kind]
    model, wise = network(units, activation), teacher(units, activation)
    lesson = Lesson(Distillation(0.7, 3.0, wise), model, head_of(model))
    targets = lesson.targets(IMAGES[:5], labels[:5])
    x, tiny = np.random.default_rng(1).normal(0, 2, (5, units)), 1e-5
    wanted = logits_of(wise).predict(IMAGES[:5], verbose=0).astype(float)

    def loss(x):
        return by_definition(head_of(model), labels[:5], wanted, x, 0.7, 3.0).sum()

    differences = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[place] = tiny
        differences[place] = (loss(x + step) - loss(x - step)) / (2 * tiny)
    given = {"x": ops.convert_to_tensor(x.astype("float32"))}
    found = gradients(lambda now: ops.sum(lesson.loss()(ops.convert_to_tensor(targets), now["x"])), given)["x"]
    assert ops.convert_to_numpy(found) == pytest.approx(differences, abs=2e-4)


def test_class_weights_multiply_all_of_the_loss():
    wise, only = teacher(), {n: float(n == 3) for n in range(10)}
    lesson = Distillation(0.5, 2.0, wise)
    options = {"epochs": 1, "batch_size": 200, "augment": None, "validation": None, "distillation": lesson}
    models = [network(rate=0.0) for _ in range(2)]
    for model in models:
        model.layers[1].trainable = False  # its normalization then works as in inference
        prepare(model, "sgd", 1e-12)
    [weighted] = go(models[0], class_weight=only, **options)
    chosen = LABELS == 3
    [alone] = go(models[1], data=(IMAGES[chosen], LABELS[chosen]), **options)
    assert weighted["loss"] == pytest.approx(alone["loss"] * chosen.mean(), rel=1e-4)


def test_without_a_teacher_nothing_changes_and_with_one_the_result_does():
    plain, taught = network(), network()
    assert go(plain) == go(network())
    history = go(taught, distillation=Distillation(teacher=teacher()))
    assert state(taught) != state(plain) and list(history[0]) == list(go(network(), epochs=1)[0])
    assert taught.loss.get_config() == plain.loss.get_config()  # what it was compiled with stays


def test_the_teacher_stays_as_it_is_and_works_as_in_inference():
    wise = teacher()
    before = [w.tobytes() for w in wise.get_weights()]
    go(network(), distillation=Distillation(teacher=wise), epochs=1)
    assert [w.tobytes() for w in wise.get_weights()] == before
    lesson = Lesson(Distillation(teacher=wise), network(), head_of(wise))
    first, second = (lesson.targets(IMAGES[:8], LABELS[:8]) for _ in range(2))  # dropout would make them differ
    assert (first == second).all() and (first[:, 0] == LABELS[:8]).all()


def test_one_trace_serves_all_batches_of_a_size():
    traces = []

    class Told(layers.Layer):
        def call(self, x):
            traces.append(self.name)
            return x

    def told(name):
        return keras.Sequential([layers.Input((8, 8, 1)), Told(name=name), layers.Flatten(), layers.Dense(10)])

    model, wise = told("pupil"), told("wise")
    traces.clear()
    counts = []
    options = {"data": (IMAGES[:192], LABELS[:192]), "validation": None, "augment": None, "batch_size": 64}
    go(model, progress=lambda now: counts.append(len(traces)), distillation=Distillation(teacher=wise), **options)
    assert len(counts) == 12 and counts[1:] == counts[:1] * 11 and traces.count("wise") == 1


def test_another_training_of_the_same_network_traces_nothing_anew():
    model, wise = prepare(network()), teacher()

    def taught(*settings):
        return taught_network(model, Lesson(Distillation(*settings, wise), model, head_of(model)))

    first = taught(0.5, 4.0)
    assert taught(0.5, 4.0) is first and taught(0.5, 3.0) is not first
    first = taught(0.5, 3.0)
    prepare(model)  # with an optimizer of its own
    assert taught(0.5, 3.0) is not first


def test_a_stream_is_taught_as_its_arrays_are():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return IMAGES[50 * i : 50 * i + 50], LABELS[50 * i : 50 * i + 50]

    lesson, history = Distillation(teacher=teacher()), []
    for data in (Batches(), [Batches()[i] for i in range(4)]):
        history.append(go(network(), data=data, validation=None, distillation=lesson))
    assert history[0] == history[1]


# Interruptions


def child(checkpoint, epoch, step):
    """Train in a process that dies a moment after a step."""
    die = partial(os.kill, os.getpid(), signal.SIGKILL)

    def watch(now):
        if [str(now.epoch), str(now.step)] == [epoch, step]:
            threading.Timer(0.01, die).start()

    go(network(), Path(checkpoint), resume=True, progress=watch, distillation=Distillation(teacher=teacher()))


def test_killed_it_resumes_to_the_same_bits(tmp_path):
    whole = network()
    history = go(whole, distillation=Distillation(teacher=teacher()))
    checkpoint = tmp_path / "run.npz"
    for epoch, step in (("2", "3"), ("3", "6")):
        command = [sys.executable, __file__, str(checkpoint), epoch, step]
        process = subprocess.run(command, capture_output=True, text=True)
        assert process.returncode == -signal.SIGKILL, process.stderr
        assert len(read_history(checkpoint)) in (int(epoch) - 1, int(epoch))
    model = network(seed=12)  # its own weights must not matter
    again = go(model, checkpoint, resume=True, distillation=Distillation(teacher=teacher()))
    assert again == history and state(model) == state(whole)


def test_a_training_with_another_teacher_is_not_resumed(tmp_path):
    checkpoint = tmp_path / "run.npz"
    go(network(), checkpoint, epochs=1, distillation=Distillation(0.5, 4.0, teacher()))
    others = {"share": 0.6}, {"temperature": 3.0}, {"teacher": network()}
    for lesson in (None, *(Distillation(**{"teacher": teacher(), **other}) for other in others)):
        with pytest.raises(InputError, match=r"run\.npz belongs to a training with another distillation; resume with"):
            go(network(), checkpoint, resume=True, distillation=lesson)


# Schedules


@pytest.mark.parametrize("kind", ["logits", "softmax"])
def test_a_schedule_is_taught_by_the_float_network_unless_another_is_named(kind):
    units, activation, labels = HEADS[kind]
    model, data = network(units, activation, rate=0.0), (IMAGES, labels)

    def run(distillation, **options):
        recipe = Recipe(learning_rate=0.01, distillation=distillation)
        return quantize(model, data, Schedule((5, 5, 5), "all-at-once"), validation=data, recipe=recipe, **options)

    before = [w.tobytes() for w in model.get_weights()]
    own, plain = run(Distillation(0.5, 2.0)), run(None)
    assert own.history == run(Distillation(0.5, 2.0, model)).history
    assert own.history != run(Distillation(0.5, 2.0, teacher(units, activation))).history
    assert [w.tobytes() for w in model.get_weights()] == before
    assert plain.history != own.history
    assert run(Distillation(0.5, 2.0), reuse=plain.model).history == own.history  # whether it was taught before or not


# What is refused


def shared():
    model = network()
    return model, logits_of(model)


def with_nan():
    wise = teacher()
    wise.set_weights([w * np.nan for w in wise.get_weights()])
    return network(), wise


def with_loss():
    model = network()
    model.compile("sgd", lambda labels, outputs: ops.mean(outputs))
    return model, teacher()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: (network(), None), r"distillation needs a teacher; name the float network in Distillation\(teacher="),
        (lambda: (network(), teacher(9)), "the teacher net7 ends in 9 classes, and net4 in 10 classes; take a teacher"),
        (lambda: (network(), teacher(10, "sigmoid")), "the teacher net7 ends in 10 sigmoid units, and net4 in 10 cl"),
        (lambda: (network(), network(shape=(9, 8, 1))), "net4 takes images of 9 x 8 x 1, and the training images are"),
        (shared, "the teacher net4 would learn with net4; give a copy of it"),
        (with_nan, "the teacher net7 returns NaN or infinity; check its weights"),
        (with_loss, "a teacher adds to the cross-entropy, and net4 is compiled with another loss; leave one of them"),
    ],
)
def test_who_cannot_teach_is_refused_before_training(make, said):
    model, wise = make()
    before = [w.tobytes() for w in model.get_weights()]
    with pytest.raises(InputError, match=said):
        go(model, distillation=Distillation(teacher=wise))
    assert [w.tobytes() for w in model.get_weights()] == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"share": 0}, "the teacher's share must be above 0 and at most 1, not 0"),
        ({"share": 1.5}, "the teacher's share must be above 0 and at most 1, not 1.5"),
        ({"temperature": 0}, "the temperature must be a positive number, not 0"),
        ({"temperature": float("nan")}, "the temperature must be a positive number, not nan"),
    ],
)
def test_numbers_out_of_range_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        Distillation(**options)


# Backends


def losses_of_known_weights():
    """Return the losses of trainings whose weights no backend draws."""
    found = []
    for units, activation, labels in HEADS.values():
        model, wise = network(units, activation, rate=0.0), teacher(units, activation)
        for each, seed in ((model, 1), (wise, 2)):
            rng = np.random.default_rng(seed)
            each.set_weights([rng.uniform(0, 0.3, w.shape) for w in each.get_weights()])
        lesson = Distillation(0.5, 3.0, wise)
        history = train(prepare(model, "sgd", 0.05), (IMAGES, labels), epochs=2, distillation=lesson)
        found += [entry["loss"] for entry in history]
    return found


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this is the run on TensorFlow")
def test_tensorflow_and_jax_compute_the_same():
    pytest.importorskip("jax")
    code = "import json, test_distillation as t; print(json.dumps(t.losses_of_known_weights()))"
    environment, folder = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}, Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder)
    assert not done.returncode, done.stderr
    ours = losses_of_known_weights()
    assert len(ours) == 8 and json.loads(done.stdout.splitlines()[-1]) == pytest.approx(ours, rel=1e-4)


if __name__ == "__main__":
    child(*sys.argv[1:])
