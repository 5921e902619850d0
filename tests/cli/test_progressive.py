"""`fewbits progressive-quantization`: what it writes and says, that it resumes, and what it refuses."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fewbits import zoo
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.io.files import read_model, write_model
from fewbits.names import RANGES
from fewbits.quantization.learned_ranges import MIDDLE

layers = keras.layers


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network small enough that eight epochs of all digits take seconds."""
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("models") / "small.keras"
    stack = [
        layers.Input((8, 8, 1)),
        layers.Conv2D(6, 3, strides=2, activation="relu", name="conv1"),
        layers.Flatten(),
        layers.Dense(10, name="dense2"),
    ]
    write_model(keras.Sequential(stack, name="small"), path)
    return path


def go(model, folder, *more, name="out.keras"):
    options = ["--data", "digits", "--bits", "6,5,-", "--output", str(folder / name), "--batch-size", "64"]
    return main(["progressive-quantization", str(model), *options, *more])


def variables(path):
    return [np.asarray(v) for v in read_model(path).variables]


def test_it_writes_the_quantized_network_and_tells_each_stage(trained, tmp_path, capsys):
    options = "--strategy lock --relax --percentile mse,98,99 --edge-bits 7 --per-channel"
    assert go(trained, tmp_path, *options.split()) == 0
    out = capsys.readouterr().out
    assert "small to 6 bits, 5 bits, float: lock" in out
    assert [line.split()[0] for line in out.splitlines()[-4:-1]] == ["conv1", "dense2", "relax"]
    network = read_model(tmp_path / "out.keras")
    assert [f.kernel.nbits for f in network.formats.values()] == [7, 7]
    assert all(f.output is None for f in network.formats.values())
    assert not (tmp_path / "out.keras.checkpoint").exists()


def test_what_is_never_negative_has_no_sign_unless_all_formats_are_to_have_one(trained, tmp_path):
    signs = []
    for more in ([], ["--signed"]):
        assert go(trained, tmp_path, "--strategy", "static", "--epochs", "0", *more) == 0
        signs.append([f.input.signed for f in read_model(tmp_path / "out.keras").formats.values()])
    assert signs == [[False, False], [True, True]]  # pixels, and what a ReLU leaves


def test_ranges_learn_if_they_are_to(trained, tmp_path):
    numbers = {}
    for ranges in RANGES:
        assert go(trained, tmp_path, "--strategy", "all-at-once", "--ranges", ranges, "--learning-rate", "0.1") == 0
        learned = read_model(tmp_path / "out.keras").get_layer("conv1").ranges
        numbers[ranges] = learned and np.asarray(learned.kernel_range)
    assert numbers["fixed"] is None
    assert [len(numbers[ranges]) for ranges in RANGES[1:]] == [1, 6]  # one for each filter
    assert all((numbers[ranges] % 1 != MIDDLE).all() for ranges in RANGES[1:])  # where they began


def test_levels_of_the_zoo_are_modules(tmp_path, capsys):
    keras.utils.set_random_seed(0)
    write_model(zoo.build("squeezenet_digits", (8, 8, 1), 10), tmp_path / "squeeze.keras")
    assert go(tmp_path / "squeeze.keras", tmp_path, "--strategy", "static") == 0
    assert read_model(tmp_path / "out.keras").levels == 5


def test_interrupted_and_resumed_it_ends_with_the_same_bits(trained, tmp_path):
    more = ["--epochs", "6", "--level-order", "output"]
    assert go(trained, tmp_path, *more, name="whole.keras") == 0
    command = [sys.executable, "-m", "fewbits.cli", "progressive-quantization", str(trained), "--data", "digits"]
    command += ["--bits", "6,5,-", "--output", str(tmp_path / "cut.keras"), "--batch-size", "64", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ, text=True)
    checkpoint = tmp_path / "cut.keras.checkpoint"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    if process.returncode:  # not so fast that it was done already
        assert process.returncode == 130 and "the same command with --resume goes on" in said, said
        assert go(trained, tmp_path, *more, "--resume", name="cut.keras") == 0
    for a, b in zip(variables(tmp_path / "cut.keras"), variables(tmp_path / "whole.keras"), strict=True):
        assert (a == b).all()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--strategy", "locked"], "argument --strategy: invalid choice: 'locked' (choose from "),
        (["--bits", "25"], "kernel bits must be an integer from 1 to 24"),
        (["--bits", "99"], "argument --bits: '99' is not one or three numbers of bits from 1 to 32"),
        (["--edge-bits", "x"], "argument --edge-bits: 'x' is not a number of bits"),
        (["--level-order", "size"], "argument --level-order: 'size' is neither one of input, output, random"),
        (["--epochs", "-1"], "epochs must be an integer of at least 0"),
        (["--level-order", "conv1,fire9"], "order must name each level once"),
        (["--percentile", "0"], "the percentile must be above 0"),
        (["--learning-rate", "nan"], "the learning rate must be a positive number"),
        (["--ranges", "free"], "argument --ranges: invalid choice: 'free' (choose from "),
        (["--ranges", "learned", "--strategy", "static"], "--ranges is for training, and --strategy static trains"),
        (["--distill", "0.5", "--strategy", "static"], "--distill is for training, and --strategy static trains"),
        (["--decay", "slow"], "argument --decay: invalid choice: 'slow' (choose from "),
        (["--output", "no.h5"], "the output must be a .keras file"),
    ],
)
def test_bad_options_are_refused_in_one_sentence_and_nothing_is_written(more, message, trained, tmp_path, capsys):
    assert go(trained, tmp_path, *more) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_images_of_another_shape_are_refused(tmp_path, capsys):
    write_model(zoo.build("lenet", (28, 28, 1), 10), tmp_path / "lenet.keras")
    assert go(tmp_path / "lenet.keras", tmp_path) == 2
    assert "takes images of 28 x 28 x 1" in capsys.readouterr().err
