"""Weights in float16: what is kept, what is refused, and that a refusal changes nothing."""

import numpy as np
import pytest

from fewbits import InputError, training, zoo
from fewbits.backend import keras, ops
from fewbits.book import reference
from fewbits.data import load
from fewbits.io.weights import load_weights, save_weights
from fewbits.zoo.trained import FOLDER, find_weights


def network(seed):
    keras.utils.set_random_seed(seed)
    return zoo.build("squeezenet_cifar", (16, 16, 3), 10)


def values(model):
    return [ops.convert_to_numpy(w) for w in model.weights]


def test_what_is_read_is_what_was_written_in_float16(tmp_path):
    model, other = network(1), network(2)
    save_weights(model, tmp_path / "w.npz")
    load_weights(other, tmp_path / "w.npz")
    for kept, original in zip(values(other), values(model), strict=True):
        assert (kept == original.astype(np.float16)).all()


def test_weights_that_float16_does_not_hold_are_refused(tmp_path):
    model = network(1)
    model.get_layer("conv1").kernel.assign(model.get_layer("conv1").kernel * 1e9)
    with pytest.raises(InputError, match="conv1/kernel of squeezenet_cifar"):
        save_weights(model, tmp_path / "w.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: a.astype(int), lambda a: a * np.nan])
def test_weights_that_do_not_fit_are_refused_whole(change, tmp_path):
    model = network(1)
    save_weights(model, tmp_path / "w.npz")
    arrays = dict(np.load(tmp_path / "w.npz"))
    arrays["conv10/bias"] = change(arrays["conv10/bias"])
    np.savez(tmp_path / "bad.npz", **arrays)
    other = network(2)
    before = values(other)
    with pytest.raises(InputError, match="conv10/bias"):
        load_weights(other, tmp_path / "bad.npz")
    assert all((a == b).all() for a, b in zip(values(other), before))


def test_a_missing_layer_is_named(tmp_path):
    model = network(1)
    save_weights(model, tmp_path / "w.npz")
    arrays = {name: a for name, a in np.load(tmp_path / "w.npz").items() if name != "fire2_squeeze1x1/kernel"}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match="fire2_squeeze1x1/kernel"):
        load_weights(model, tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("name", "network"), [("squeezenet_cifar", "squeezenet_cifar"), ("alexnet_cifar", "alexnet_small")]
)
def test_committed_weights_are_found_by_name_and_fit(name, network):
    load_weights(zoo.build(network, (32, 32, 3), 10), find_weights(name))


@pytest.mark.parametrize(
    ("name", "grid"), [("squeezenet_digits", "SqueezeNet on digits"), ("alexnet_digits", "AlexNet on digits")]
)
def test_committed_weights_get_right_what_their_record_says(name, grid):
    cell, digits = reference.cell(grid), load("digits")
    [record] = cell.records
    model = zoo.build(cell.trial.network, digits.image_shape, 10)
    load_weights(model, find_weights(name))
    for split, kept in ((digits.test, record.results.test), (digits.validation, record.results.validation)):
        score = training.evaluate(model, (digits.scaled(split), split.labels))
        assert (score.hits, score.n, score.hits_top5) == (kept.hits, kept.n, kept.hits_top5)
        assert score.loss == pytest.approx(kept.loss, rel=1e-4)


def test_committed_weights_are_small():
    assert all(path.stat().st_size < 2_000_000 for path in FOLDER.glob("*.npz"))


def test_missing_weights_are_told_with_those_there_are():
    with pytest.raises(InputError, match="no weights 'squeezenet'.*squeezenet_cifar"):
        find_weights("squeezenet")


def test_weights_are_found_in_the_folder_of_fewbits_data_too_behind_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWBITS_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    for name in ("squeezenet_cifar", "mine"):
        (tmp_path / "weights" / f"{name}.npz").touch()
    assert find_weights("mine") == tmp_path / "weights" / "mine.npz"
    assert find_weights("squeezenet_cifar").parent == FOLDER
    with pytest.raises(InputError, match="no weights '../mine'; there are .*, mine, squeezenet_cifar"):
        find_weights("../mine")
