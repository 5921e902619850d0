"""The commands on networks that end in softmax or sigmoid, as Keras' own examples do."""

import pytest

from fewbits.backend import keras
from fewbits.cli import main
from fewbits.io.files import read_model
from fewbits.training import head_of
from helpers.cli import refused

L = keras.layers


def saved(folder, *last, name="net"):
    keras.utils.set_random_seed(1)
    stack = [L.Conv2D(6, 3, strides=2, activation="relu", name="conv1"), L.Flatten(), *last]
    path = folder / f"{name}.keras"
    keras.Sequential([L.Input((8, 8, 1)), *stack], name=name).save(path)
    return str(path)


def test_a_sequential_network_with_softmax_is_trained_evaluated_and_pruned(tmp_path, capsys):
    path, trained, small = (
        saved(tmp_path, L.Dense(10, activation="softmax", name="out")),
        *(str(tmp_path / name) for name in ("trained.keras", "small.keras")),
    )
    digits = ["--data", "digits"]
    assert main(["train", "--network", path, *digits, "--epochs", "4", "--optimizer", "adam", "--output", trained]) == 0
    assert main(["evaluate", trained, *digits]) == 0
    share = float(capsys.readouterr().out.split("top-1")[1].split("%")[0])
    assert share > 80
    prune = ["prune", trained, *digits, "--ratio", "0.5", "--per-step", "8"]
    assert main([*prune, "--dry-run"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1:3] == ["conv1 3 of 6 filters", "out stays whole: out has a softmax over its channels"]
    assert main([*prune, "--train-images", "64,64", "--output", small]) == 0
    network = read_model(small)
    assert network.get_layer("conv1").filters == 3 and head_of(network).kind == "softmax"


@pytest.mark.parametrize(
    ("units", "activation", "said"),
    [
        (10, "sigmoid", "ends in 10 sigmoid units, and each image of the data has one class; use a network that ends"),
        (1, "sigmoid", "has 2 classes, and the data has 10"),
        (1, None, "ends in one unit without sigmoid; give it activation='sigmoid', or one unit for each class"),
        (9, None, "has 9 classes, and the data has 10"),
    ],
)
def test_a_head_that_does_not_fit_the_data_is_refused(units, activation, said, tmp_path, capsys):
    path = saved(tmp_path, L.Dense(units, activation=activation))
    assert said in refused(["evaluate", path, "--data", "digits"], capsys)
    output = str(tmp_path / "out.keras")
    assert said in refused(["train", "--network", path, "--data", "digits", "--output", output], capsys)


def test_a_network_that_can_lose_no_filter_is_refused_with_and_without_a_dry_run(tmp_path, capsys):
    path = saved(tmp_path, L.LayerNormalization(name="norm"), L.Dense(10))
    for more in (["--dry-run"], ["--output", str(tmp_path / "out.keras")]):
        sentence = refused(["prune", path, "--data", "digits", "--ratio", "0.5", *more], capsys, quiet=False)
        assert "no filter of net can be removed: conv1 (its channel reaches norm, a LayerNormalization" in sentence
