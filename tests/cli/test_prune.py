"""`fewbits prune`: what it says and writes, that it goes on where it was stopped, and what it refuses."""

from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest

from fewbits.backend import keras, ops
from fewbits.cli import main
from fewbits.costs.complexity import totals
from fewbits.data import load
from fewbits.io.files import read_model, write_model
from fewbits.training.loop import train
from fewbits.training.recipe import prepare
from helpers.cli import refused

L = keras.layers


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("models") / "small.keras"
    stack = [L.Input((8, 8, 1)), L.Conv2D(8, 3, strides=2, activation="relu", name="conv1"), L.Flatten()]
    model = keras.Sequential([*stack, L.Dense(6, name="dense2"), L.Dense(10, name="dense3")], name="small")
    digits = load("digits")
    prepare(model, "adam", 0.01)
    train(model, (digits.scaled(digits.train), digits.train.labels), epochs=4)
    write_model(model, path)
    return path


def go(network, folder, *more):
    options = "--data digits --per-step 4 --train-images 64,128 --seed 1".split()
    output = [] if "--dry-run" in more else ["--output", str(folder / "out.keras")]
    return ["prune", str(network), *options, *output, *more]


def filters(path):
    return {layer.name: layer.kernel.shape[-1] for layer in read_model(path).layers if layer.weights}


@pytest.fixture(scope="module")
def pruned(network, tmp_path_factory):
    """Return the folder of a network pruned by half, and what the command printed."""
    folder, out = tmp_path_factory.mktemp("pruned"), StringIO()
    with redirect_stdout(out):
        assert main(go(network, folder, "--ratio", "0.5")) == 0
    return folder, out.getvalue()


def test_it_writes_a_smaller_network_and_tells_steps_and_costs(network, pruned):
    folder, out = pruned
    lines = out.splitlines()
    assert lines[0].startswith("small: combined; training: 1,295 images (train part of digits); validation: 143 images")
    assert [line.split("  ")[0] for line in lines[1:3]] == ["step 1 of 2", "step 2 of 2"]
    assert sum(filters(folder / "out.keras").values()) == 24 - 7
    before, after = (totals(read_model(path)) for path in (network, folder / "out.keras"))
    assert lines[3].split() == ["before", "after", "left"]
    for line, name, old, new in (
        (lines[4], "bytes", before.weight_bytes, after.weight_bytes),
        (lines[5], "MACs", before.macs, after.macs),
    ):
        assert line.split() == [name, f"{old:,}", f"{new:,}", f"{new / old:.1%}"]
    assert lines[6].split()[0] == "ms" and lines[6].endswith("per image, LiteRT, one thread")
    assert lines[7].startswith(f"{folder / 'out.keras'} written; validation accuracy ")
    assert [path.name for path in folder.iterdir()] == ["out.keras"]


def test_classes_can_count_unequally(network, pruned, tmp_path, capsys):
    assert main(go(network, tmp_path, "--ratio", "0.5", "--class-weights", "3=5")) == 0
    biases = [np.asarray(read_model(folder / "out.keras").get_layer("dense3").bias) for folder in (pruned[0], tmp_path)]
    assert biases[0].shape == biases[1].shape and not np.array_equal(*biases)
    capsys.readouterr()
    assert "there is no class 'x'" in refused(
        go(network, tmp_path, "--ratio", "0.5", "--class-weights", "x=5"), capsys, False
    )


@pytest.mark.parametrize("goal", [("--ratio", "0.5"), ("--bytes", "2000"), ("--macs", "1200")])
def test_a_dry_run_prints_what_would_go_and_writes_nothing(network, tmp_path, capsys, goal):
    assert main(go(network, tmp_path, *goal, "--dry-run", "--criterion", "weights-l1")) == 0
    lines = capsys.readouterr().out.splitlines()
    layers = [line.split() for line in lines[1:] if line.endswith("filters")]
    assert {name: int(of) for name, _, _, of, _ in layers}.items() <= {"conv1": 8, "dense2": 6}.items()
    went = sum(int(n) for _, n, *_ in layers)
    costs = {
        line.split()[0]: int(line.split()[2].replace(",", "")) for line in lines if line.startswith(("bytes", "MACs"))
    }
    assert went == 7 if goal[0] == "--ratio" else costs[{"--bytes": "bytes", "--macs": "MACs"}[goal[0]]] <= int(goal[1])
    assert list(tmp_path.iterdir()) == []


def test_a_network_within_a_network_is_pruned(tmp_path, capsys):
    inner = keras.Sequential([L.Input((8, 8, 1)), L.Conv2D(8, 3, activation="relu", name="inside")], name="inner")
    stack = [L.Input((8, 8, 1)), inner, L.Flatten(), L.Dense(10, kernel_initializer="zeros", name="dense")]
    write_model(keras.Sequential(stack, name="outer"), tmp_path / "outer.keras")
    for more in (["--dry-run"], []):
        assert main(go(tmp_path / "outer.keras", tmp_path, "--ratio", "0.5", *more)) == 0
    assert "inside                       4 of      8 filters\n" in capsys.readouterr().out
    assert filters(tmp_path / "out.keras") == {"inside": 4, "dense": 10}


def test_a_step_that_is_undone_is_told(network, tmp_path, capsys):
    assert main(go(network, tmp_path, "--ratio", "0.5", "--least-accuracy", "1")) == 0
    assert "step 1 fell below the least accuracy, and is undone" in capsys.readouterr().out
    assert filters(tmp_path / "out.keras") == {"conv1": 8, "dense2": 6, "dense3": 10}


def test_stopped_it_says_so_and_goes_on(network, pruned, tmp_path, capsys, monkeypatch):
    whole = read_model(pruned[0] / "out.keras").get_weights()
    from fewbits.cli import prune

    tell = prune._print_step
    monkeypatch.setattr(prune, "_print_step", lambda step, most: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(go(network, tmp_path, "--ratio", "0.5")) == 130
    assert "out.keras.checkpoint holds the last step; --resume goes on" in capsys.readouterr().err
    monkeypatch.setattr(prune, "_print_step", tell)
    assert main(go(network, tmp_path, "--ratio", "0.5", "--resume")) == 0
    assert "step 1 of" not in capsys.readouterr().out
    for old, new in zip(whole, read_model(tmp_path / "out.keras").get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert [path.name for path in tmp_path.iterdir()] == ["out.keras"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "pruning needs exactly one goal of ratio, weight_bytes, macs"),
        (["--ratio", "2"], "ratio must be between 0 and 1, not 2.0"),
        (["--ratio", "0.5", "--criterion", "taylor2"], "argument --criterion: invalid choice: 'taylor2' (choose from "),
        (["--ratio", "0.5", "--train-images", "5"], "'5' is not two numbers, such as 3200,48000"),
        (["--macs", "3"], "macs must be at least"),
        (["--ratio", "0.5", "--output", "x.h5"], "the output must be a .keras file, not x.h5"),
    ],
)
def test_a_wrong_command_is_refused_in_one_sentence(network, tmp_path, capsys, arguments, said):
    assert said in refused(go(network, tmp_path, *arguments), capsys, quiet=False)
    assert list(tmp_path.iterdir()) == []


def test_an_output_or_a_dry_run_is_needed_and_not_both(network, tmp_path, capsys):
    for more in (["--dry-run", "--output", str(tmp_path / "out.keras")], []):
        arguments = ["prune", str(network), "--data", "digits", "--ratio", "0.5", *more]
        assert "give --output FILE.keras, or --dry-run to see what would be removed" in refused(arguments, capsys)


def test_the_smaller_network_computes(pruned):
    outputs = ops.convert_to_numpy(read_model(pruned[0] / "out.keras")(np.ones((2, 8, 8, 1), np.float32)))
    assert outputs.shape == (2, 10) and np.isfinite(outputs).all()
