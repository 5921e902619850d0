"""Training: what it takes, and that an interruption at any moment changes no bit of what comes out."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from fewbits import FixedPoint, InputError, zoo
from fewbits.backend import keras, ops
from fewbits.data import Split, load
from fewbits.io.files import read_model, write_model
from fewbits.names import DECAYS
from fewbits.quantization.layers import QuantizedDense
from fewbits.training.evaluation import Score, evaluate, evaluate_images
from fewbits.training.loop import read_history, train
from fewbits.training.recipe import decaying_rate, prepare

layers = keras.layers
DIGITS = load("digits")
IMAGES, LABELS = DIGITS.scaled(DIGITS.train.take(200)), DIGITS.train.labels[:200]
HELD_OUT = DIGITS.scaled(DIGITS.validation.take(50)), DIGITS.validation.labels[:50]
RUN = {"epochs": 5, "batch_size": 32, "seed": 7}


def network(units=16, rate=0.3, seed=11):
    """Return a network with all that has a state of its own: dropout and normalization."""
    keras.utils.set_random_seed(seed)
    stack = [
        layers.Input((8, 8, 1)),
        layers.Conv2D(8, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.Dropout(rate),
        layers.Flatten(),
        layers.Dense(units, activation="relu"),
        layers.Dropout(rate),
        layers.Dense(10),
    ]
    return keras.Sequential(stack)


def shift(images, rng):
    """Move each image sideways by up to a pixel."""
    return np.stack([np.roll(image, rng.integers(-1, 2), axis=1) for image in images])


def go(model, checkpoint=None, **options):
    if not model.compiled:
        prepare(model, learning_rate=0.05)
    data = options.pop("data", (IMAGES, LABELS))
    return train(model, data, **{"validation": HELD_OUT, "augment": shift, "checkpoint": checkpoint, **RUN, **options})


def state(model):
    """Return the bytes of every variable of model and optimizer."""
    return [ops.convert_to_numpy(v).tobytes() for v in (*model.variables, *model.optimizer.variables)]


@pytest.fixture(scope="module")
def uninterrupted():
    model = network()
    return go(model), state(model)


def finish(checkpoint):
    model = network(seed=12 if checkpoint.exists() else 11)  # its own weights must not matter
    return go(model, checkpoint, resume=True), state(model)


# Interruptions


def child(checkpoint, epoch, step, seconds):
    """Train in a process that dies some seconds after a step, or, at step "saving", with half a checkpoint written."""
    die = partial(os.kill, os.getpid(), signal.SIGKILL)

    def watch(now):
        if [str(now.epoch), str(now.step)] == [epoch, step]:
            threading.Timer(float(seconds), die).start()

    save = np.savez

    def half_save(file, header, **arrays):
        if step == "saving" and len(json.loads(str(header))["history"]) == int(epoch):
            save(file, header=header, **dict(list(arrays.items())[:9]))
            file.flush()
            die()
        save(file, header=header, **arrays)

    np.savez = half_save
    go(network(), Path(checkpoint), resume=True, progress=watch)


def test_killed_at_random_moments_it_resumes_to_the_same_bits(uninterrupted, tmp_path):
    checkpoint, rng = tmp_path / "run.npz", np.random.default_rng(0)
    for epoch, step in ((2, rng.integers(1, 8)), (3, "saving"), (4, rng.integers(1, 8))):
        command = [sys.executable, __file__, str(checkpoint), str(epoch), str(step), str(0.02 * rng.random())]
        process = subprocess.run(command, capture_output=True, text=True)
        assert process.returncode == -signal.SIGKILL, process.stderr
        assert len(read_history(checkpoint)) in ((epoch - 1,) if step == "saving" else (epoch - 1, epoch))
    assert finish(checkpoint) == uninterrupted


@pytest.mark.parametrize("step", [(1, 3), (3, 1), (3, 7), (5, 5)])
def test_stopped_by_ctrl_c_it_resumes_to_the_same_bits(step, uninterrupted, tmp_path):
    def interrupt(now):
        if (now.epoch, now.step) == step:
            signal.raise_signal(signal.SIGINT)

    checkpoint = tmp_path / "run.npz"
    model = network()
    with pytest.raises(KeyboardInterrupt):
        go(model, checkpoint, progress=interrupt)
    kept = step[0] if step[1] == 7 else step[0] - 1
    assert (len(read_history(checkpoint)) if checkpoint.exists() else 0) == kept
    assert finish(checkpoint) == uninterrupted
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_a_training_without_checkpoint_ends_the_same(uninterrupted):
    model = network()
    half = go(model, epochs=0), go(model)
    assert half == ([], uninterrupted[0])


def test_a_finished_training_is_left_as_it_is_and_can_be_prolonged(uninterrupted, tmp_path):
    checkpoint = tmp_path / "run.npz"
    go(network(), checkpoint, epochs=2)
    go(network(), checkpoint, resume=True)
    content = checkpoint.read_bytes()
    assert finish(checkpoint) == uninterrupted
    assert checkpoint.read_bytes() == content


def test_seed_and_augmentation_change_the_result(uninterrupted):
    for options in ({"seed": 8}, {"augment": None}):
        assert go(network(), **options) != uninterrupted[0]


def test_each_epoch_has_its_own_order_and_augmentation():
    seen = []

    def keep(images, rng):
        seen.append((images.sum((1, 2, 3)).tolist(), rng.random()))
        return images

    go(network(), augment=keep, epochs=2, batch_size=200)
    (first, a), (second, b) = seen
    assert first != second and a != b
    assert sorted(first) == sorted(second) == sorted(IMAGES.sum((1, 2, 3)).tolist())


@pytest.mark.parametrize("locked", [True, False])
def test_a_lock_and_formats_come_back_from_the_checkpoint(locked, tmp_path):
    def quantized():
        keras.utils.set_random_seed(1)
        return keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), QuantizedDense(10, name="dense")])

    model, fmt = quantized(), FixedPoint(0, 6)
    model.layers[-1].set_formats(kernel=fmt)
    model.layers[-1].locked = locked
    options = {"checkpoint": tmp_path / "run.npz", "augment": None, "resume": True}
    go(model, epochs=1, **options)
    kernel = model.layers[-1].kernel.numpy()
    again = quantized()
    again.layers[-1].locked = not locked
    go(again, epochs=2, **options)
    assert again.layers[-1].locked == locked and again.layers[-1].formats.kernel == fmt
    assert np.array_equal(again.layers[-1].kernel.numpy(), kernel) == locked


# Checkpoints


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    go(network(), path, epochs=1)
    return path


def test_a_full_disk_leaves_the_former_checkpoint(checkpoint, uninterrupted, monkeypatch):
    save = np.savez

    def full(file, **arrays):
        save(file, **dict(list(arrays.items())[:5]))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(
        InputError, match=r"run\.npz could not be written \(No space left on device\); the checkpoint before"
    ):
        go(network(), checkpoint, resume=True)
    monkeypatch.undo()
    assert [p.name for p in checkpoint.parent.iterdir()] == ["run.npz"]
    assert len(read_history(checkpoint)) == 1
    assert finish(checkpoint) == uninterrupted


@pytest.mark.parametrize("kept", [0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused_and_nothing_lost(kept, checkpoint):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(kept * len(content))])
    model = network()
    before = [v.numpy().tobytes() for v in model.variables]
    with pytest.raises(InputError, match=r"run\.npz cannot be read"):
        go(model, checkpoint, resume=True)
    assert [v.numpy().tobytes() for v in model.variables] == before
    assert len(checkpoint.read_bytes()) == int(kept * len(content))


def test_a_flipped_bit_is_noticed(checkpoint):
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(InputError, match=r"run\.npz cannot be read"):
        go(network(), checkpoint, resume=True)


@pytest.mark.parametrize("change", [lambda a: a[:1], lambda a: a.astype(np.float64)])
def test_variables_that_do_not_fit_are_refused_before_one_is_changed(change, checkpoint):
    with np.load(checkpoint) as archive:
        arrays = dict(archive)
    last = [name for name in arrays if name.startswith("optimizer.")][-1]
    np.savez(checkpoint.open("wb"), **arrays | {last: change(arrays[last])})
    model = network(seed=12)
    before = [v.numpy().tobytes() for v in model.variables]
    with pytest.raises(InputError, match=rf"run\.npz holds {last} as "):
        go(model, checkpoint, resume=True)
    assert [v.numpy().tobytes() for v in model.variables] == before


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (None, "has no array 'header'; it holds x"),
        ("{", "is not a checkpoint of this version of fewbits"),
        ("[1]", "is not a checkpoint of this version of fewbits"),
        (json.dumps({"kind": "other"}), "is not a checkpoint of this version of fewbits"),
    ],
)
def test_a_foreign_file_is_refused(header, said, tmp_path):
    path = tmp_path / "foreign.npz"
    np.savez(path, x=np.zeros(3), **({"header": np.array(header)} if header else {}))
    with pytest.raises(InputError, match=f"foreign.npz {said}"):
        go(network(), path, resume=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 8}, "another seed"),
        ({"batch_size": 31}, "another batch size"),
        ({"augment": None}, "another augmentation"),
        ({"data": (IMAGES[:199], LABELS[:199])}, "another set of training images"),
        ({"data": (IMAGES, np.roll(LABELS, 1))}, "another set of training images"),
        ({"epochs": 0}, "is at epoch 1, past the 0 asked for"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(change, said, checkpoint):
    content = checkpoint.read_bytes()
    with pytest.raises(InputError, match=rf"run\.npz .*{said}"):
        go(network(), checkpoint, resume=True, **change)
    assert checkpoint.read_bytes() == content


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: network(units=17), "another network"),
        (lambda: network(rate=0.5), "another network"),
        (lambda: prepare(network(), learning_rate=0.06), "another optimizer or learning rate"),
        (lambda: prepare(network(), "adam", 0.05), "another optimizer or learning rate"),
    ],
)
def test_the_checkpoint_of_another_network_or_optimizer_is_refused(model, said, checkpoint):
    with pytest.raises(InputError, match=f"belongs to a training with {said}; resume with the same, or delete it"):
        go(model(), checkpoint, resume=True)


def test_a_checkpoint_is_never_overwritten_unasked(checkpoint):
    content = checkpoint.read_bytes()
    with pytest.raises(InputError, match=r"run\.npz is the checkpoint of an earlier training; resume it, or delete"):
        go(network(), checkpoint)
    assert checkpoint.read_bytes() == content
    with pytest.raises(InputError, match="nothing to resume from; name the checkpoint"):
        go(network(), resume=True)
    with pytest.raises(InputError, match="there is no folder"):
        go(network(), checkpoint.parent / "no" / "run.npz")


# Bad input


def with_pixel(value):
    images = IMAGES.copy()
    images[150, 2, 3, 0] = value
    return images


@pytest.mark.parametrize("where", ["data", "validation"])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ((with_pixel(np.nan), LABELS), "data hold NaN or infinity; clean them first"),
        ((with_pixel(np.inf), LABELS), "data hold NaN or infinity; clean them first"),
        ((IMAGES[:0], LABELS[:0]), "data hold no images"),
        (Split(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, int)), "data hold no images"),
        ((IMAGES, LABELS + 1), "data hold the label 10; .* has 10 classes, 0 to 9"),
        ((IMAGES, LABELS - 1), "data hold the label -1; .* has 10 classes, 0 to 9"),
        ((IMAGES, LABELS[:-1]), r"data must hold one label per image, not \(200, 8, 8, 1\) and \(199,\)"),
        ((IMAGES, LABELS / 2), "the labels of the .* data must be integers, not float64"),
        ((IMAGES[..., 0], LABELS), "takes images of 8 x 8 x 1, and the .* data are 8 x 8"),
        ((np.repeat(IMAGES, 3, -1), LABELS), "takes images of 8 x 8 x 1, and the .* data are 8 x 8 x 3"),
        ((IMAGES.astype(str), LABELS), "data must hold images of real numbers"),
        (IMAGES, "data must be a pair of images and labels, a Split, an ImageFolder, a tf.data.Dataset"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_training(data, said, where):
    model = network()
    before = [v.numpy().tobytes() for v in model.variables]
    with pytest.raises(InputError, match=said):
        go(model, **{where: data})
    assert [v.numpy().tobytes() for v in model.variables] == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": -1}, "epochs must be an integer of at least 0, not -1"),
        ({"epochs": 1.5}, "epochs must be an integer of at least 0, not 1.5"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, not 0"),
        ({"seed": -1}, "seed must be an integer of at least 0, not -1"),
        ({"augment": lambda images, rng: images[1:]}, "augment must return images of the shape"),
        ({"augment": lambda images, rng: images * np.nan}, "augment returned NaN or infinity"),
    ],
)
def test_wrong_numbers_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        go(network(), **change)


@pytest.mark.parametrize("decay", DECAYS)
def test_a_rate_that_decays_is_checked_as_one_that_does_not(decay):
    with pytest.raises(InputError, match="the learning rate must be a positive number, not -1"):
        prepare(network(), "sgd", decaying_rate(-1, decay, epochs=2, images=10, batch_size=5))


def test_a_staircase_falls_after_every_second_epoch():
    rate = decaying_rate(0.1, "staircase", epochs=6, images=10, batch_size=4)  # three steps an epoch
    found = [float(rate(step)) for step in range(18)]
    assert found == pytest.approx(np.repeat(0.1 * 0.94 ** np.arange(3), 6))


def test_the_first_steps_of_rmsprop_are_those_of_its_definition():
    """A weight of 2 with the gradient 1: v = 0.1 g^2 + 0.9 v; m = 0.9 m + r g / sqrt(v); w -= m, and r d w before."""
    weight, rate, decay = keras.Variable(2.0), 0.01, 0.5
    model = prepare(network(), "rmsprop", rate, momentum=0.9, weight_decay=decay)
    model.optimizer.build([weight])
    w, v, m = 2.0, 0.0, 0.0
    for _ in range(3):
        model.optimizer.apply([np.float32(1)], [weight])
        v = 0.1 + 0.9 * v
        m = 0.9 * m + rate / np.sqrt(v + 1e-7)
        w = w - rate * decay * w - m
        assert float(weight.numpy()) == pytest.approx(w, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sdg",), "unknown optimizer 'sdg'; it is one of sgd, adam, rmsprop"),
        (("sgd", 0), "the learning rate must be a positive number, not 0"),
        (("adam", float("nan")), "the learning rate must be a positive number, not nan"),
        (("sgd", 0.1, 1), "momentum must be from 0 to below 1, not 1"),
        (("rmsprop", 0.1, 0.9, -0.1), "weight_decay must be a number of at least 0, not -0.1"),
        (("rmsprop", 0.1, 0.9, float("nan")), "weight_decay must be a number of at least 0, not nan"),
    ],
)
def test_wrong_preparations_are_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        prepare(network(), *arguments)


def test_a_loss_that_explodes_stops_the_training_and_keeps_the_last_epoch(tmp_path):
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([7, 8], [0.01, 1e30, 1e30])
    checkpoint = tmp_path / "run.npz"
    with pytest.raises(InputError, match=r"the loss became (nan|inf) in epoch 2, batch \d; use a lower learning rate"):
        go(prepare(network(), learning_rate=rate), checkpoint)
    assert [entry["epoch"] for entry in read_history(checkpoint)] == [1]


def test_xla_is_not_asked_for_on_tensorflow():
    assert prepare(network()).jit_compile is (keras.backend.backend() != "tensorflow")


# Evaluation


def known(logits):
    """Return a network whose logits for an image are its pixels times `logits`."""
    model = keras.Sequential([layers.Input((1, 1, 1)), layers.Flatten(), layers.Dense(len(logits), use_bias=False)])
    model.set_weights([np.float32([logits])])
    return model


def test_scores_agree_with_a_hand_computation():
    model = known([3, 2, 1, 0, -1, -2, -3])
    score = evaluate(model, (np.ones((4, 1, 1, 1)), np.array([0, 1, 4, 5])), batch_size=3)
    x = np.array([3, 2, 1, 0, -1, -2, -3.0])
    losses = np.log(np.exp(x).sum()) - x[[0, 1, 4, 5]]
    assert score[:2] == (1, 4) and score.hits_top5 == 3 and score.accuracy == 0.25
    assert score.loss == pytest.approx(losses.mean(), rel=1e-12)


def test_a_tie_goes_to_the_first_class_and_five_classes_have_no_top5():
    assert evaluate(known([1, 1, 0]), (np.ones((3, 1, 1, 1)), np.arange(3)))[:2] == (1, 3)
    assert evaluate(known([1, 2, 3, 4, 5]), (np.ones((1, 1, 1, 1)), np.array([0]))).hits_top5 is None


def test_the_images_that_are_right_are_told_in_their_order():
    """By hand: class 0 has the highest logit for a white pixel and class 2 for a dark one, whatever the batches are."""
    images, labels = np.float32([1, -1, 1, -1, 1])[:, None, None, None], np.array([0, 0, 2, 2, 0])
    score, right = evaluate_images(known([3, 2, 1]), (images, labels), batch_size=2)
    assert right.tolist() == [True, False, False, True, True] and right.dtype == bool
    assert score == evaluate(known([3, 2, 1]), (images, labels)) and score.hits == 3


def test_nan_is_no_hit():
    assert evaluate(known([np.nan] * 6), (np.ones((2, 1, 1, 1)), np.array([0, 1])))[:2] == (0, 2)


def test_softmax_is_evaluated_the_same():
    logits = network()
    softmax = keras.Sequential([logits, layers.Softmax()])
    a, b = evaluate(logits, HELD_OUT), evaluate(softmax, HELD_OUT)
    assert a.hits == b.hits and a.loss == pytest.approx(b.loss, rel=1e-5)


def test_the_history_agrees_with_an_evaluation_and_training_learns(uninterrupted):
    history = uninterrupted[0]
    model = network()
    assert go(model) == history
    assert list(history[0]) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    score = evaluate(model, HELD_OUT, 32)
    assert (score.loss, score.accuracy) == (history[-1]["val_loss"], history[-1]["val_accuracy"])
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]


def test_pixels_of_a_split_are_taken_as_they_are():
    model = zoo.build("lenet", (8, 8, 1), 10)
    split = DIGITS.test.take(20)
    assert evaluate(model, split) == evaluate(model, (split.images.astype(np.float32), split.labels))


# Models in files


def test_a_model_is_written_without_optimizer_and_read_back(tmp_path):
    model, path = network(), tmp_path / "model.keras"
    go(model, epochs=1)
    write_model(model, path)
    again = read_model(path)
    assert not again.compiled
    assert [v.tobytes() for v in again.get_weights()] == [v.tobytes() for v in model.get_weights()]
    with zipfile.ZipFile(path) as archive, h5py.File(archive.open("model.weights.h5")) as file:
        assert "optimizer" not in file


def test_code_in_a_model_is_not_run(tmp_path):
    path = tmp_path / "lambda.keras"
    keras.Sequential([layers.Input((2,)), layers.Lambda(lambda x: x + 1)]).save(path)
    with pytest.raises(InputError, match=r"lambda\.keras holds code, a Lambda layer") as refused:
        read_model(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [None, b"", b"text", b"PK\x03\x04"])
def test_a_damaged_model_is_refused_by_name(content, tmp_path):
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.keras (does not exist|cannot be read)"):
        read_model(path)


# Progress


def test_progress_hears_of_every_step_once():
    heard = []
    go(network(), epochs=2, progress=heard.append)
    assert [(s.epoch, s.step) for s in heard] == [(e, s) for e in (1, 2) for s in range(1, 8)]
    assert heard[-1].seconds_left == 0 and "val_loss" in heard[-1].results
    assert isinstance(evaluate(network(), HELD_OUT), Score)


if __name__ == "__main__":
    child(*sys.argv[1:])


def test_before_each_epoch_the_network_may_be_changed_and_something_told():
    model, seen = network(), []

    def before(epoch):
        seen.append(epoch)
        if epoch == 2:
            model.layers[-1].bias.assign(np.arange(10.0))
        return {"stage": 10 * epoch} if epoch != 3 else None

    history = go(model, epochs=3, before_epoch=before)
    assert seen == [1, 2, 3] and [h.get("stage") for h in history] == [10, 20, None]
    assert ops.convert_to_numpy(model.layers[-1].bias)[9] > 5
