"""--distill and --reestimate of the commands that train: what they write and say, and what they refuse."""

import re

import numpy as np
import pytest

from fewbits.backend import keras
from fewbits.cli import main
from fewbits.data import load
from fewbits.io.files import read_model, write_model
from helpers.cli import refused

L = keras.layers
DIGITS = load("digits")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A network with batch normalization, one without, and one for other classes."""
    folder = tmp_path_factory.mktemp("networks")
    for name, more, units in (
        ("normalized", [L.BatchNormalization(name="norm")], 10),
        ("plain", [], 10),
        ("nine", [], 9),
    ):
        keras.utils.set_random_seed(1)
        stack = [
            L.Input((8, 8, 1)),
            L.Conv2D(4, 3, strides=2, name="conv"),
            *more,
            L.ReLU(),
            L.Flatten(),
            L.Dense(units),
        ]
        write_model(keras.Sequential(stack, name=name), folder / f"{name}.keras")
    return folder


def arguments(command, files, folder, network="normalized.keras"):
    given = [str(files / network)] if command == "progressive-quantization" else ["--network", str(files / network)]
    more = ["--data", "digits", "--epochs", "1", "--batch-size", "128", "--output", str(folder / "out.keras")]
    bits = ["--bits", "6", "--strategy", "all-at-once"] if command == "progressive-quantization" else []
    return [command, *given, *more, *bits]


def weights(path):
    return [np.asarray(w) for w in read_model(path).get_weights()]


@pytest.mark.parametrize("command", ["train", "progressive-quantization"])
def test_a_teacher_changes_what_is_learned(command, files, tmp_path):
    base, found = arguments(command, files, tmp_path), []
    teacher = ["--teacher", str(files / "plain.keras")]
    for more in ([], ["--distill", "0.5", *teacher], ["--distill", "0.5", "--temperature", "1", *teacher]):
        assert main([*base, *more]) == 0
        found.append(weights(tmp_path / "out.keras"))
    assert not any(np.array_equal(found[i][0], found[j][0]) for i, j in ((0, 1), (1, 2), (0, 2)))


def test_few_bits_learn_from_the_float_network_by_default(files, tmp_path):
    base = [*arguments("progressive-quantization", files, tmp_path, "plain.keras"), "--distill", "0.5"]
    assert main(base) == 0
    own = weights(tmp_path / "out.keras")
    assert main([*base, "--teacher", str(files / "plain.keras")]) == 0
    assert all(np.array_equal(a, b) for a, b in zip(own, weights(tmp_path / "out.keras"), strict=True))


def test_statistics_are_measured_after_training(files, tmp_path, capsys):
    assert main([*arguments("train", files, tmp_path), "--reestimate"]) == 0
    said = capsys.readouterr().out
    after = re.search(r"batch normalization re-estimated; validation accuracy [\d.]+% before, ([\d.]+)% after", said)[1]
    assert f"out.keras written; validation accuracy {after}%" in said
    model = read_model(tmp_path / "out.keras")
    values = keras.Model(model.inputs, model.get_layer("conv").output).predict(DIGITS.scaled(DIGITS.train), verbose=0)
    assert model.get_layer("norm").moving_mean.numpy() == pytest.approx(values.mean((0, 1, 2)), rel=0.05, abs=0.02)


def test_statistics_are_measured_before_they_are_folded(files, tmp_path, capsys):
    base = arguments("progressive-quantization", files, tmp_path)
    base[base.index("all-at-once")], base[base.index("--epochs") + 1] = "static", "0"
    assert main(base) == 0
    stale = weights(tmp_path / "out.keras")
    assert main([*base, "--reestimate"]) == 0
    assert "batch normalization re-estimated" in capsys.readouterr().out
    assert not np.array_equal(stale[0], weights(tmp_path / "out.keras")[0])


@pytest.mark.parametrize("command", ["train", "progressive-quantization"])
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--temperature", "2"], "--teacher and --temperature require --distill; say how much the teacher counts"),
        (["--teacher", "plain.keras"], "--teacher and --temperature require --distill"),
        (["--distill", "2"], "the teacher's share must be above 0 and at most 1, not 2.0"),
        (["--distill", "0.5", "--temperature", "0"], "the temperature must be a positive number, not 0.0"),
        (
            ["--distill", "0.5", "--teacher", "nine.keras"],
            "the teacher nine ends in 9 classes, and plain in 10 classes",
        ),
        (["--distill", "0.5", "--teacher", "none.keras"], "none.keras does not exist"),
        (["--reestimate"], "plain has no batch normalization; leave --reestimate out"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(command, more, said, files, tmp_path, capsys):
    more = [str(files / word) if word.endswith(".keras") else word for word in more]
    quiet = "nine.keras" not in str(more)  # what a teacher returns is compared when the training begins
    assert said in refused([*arguments(command, files, tmp_path, "plain.keras"), *more], capsys, quiet)
    assert not list(tmp_path.iterdir())


def test_training_needs_the_name_of_a_teacher(files, tmp_path, capsys):
    said = refused([*arguments("train", files, tmp_path), "--distill", "0.5"], capsys)
    assert "--distill requires --teacher; name the trained network whose outputs are learned" in said
