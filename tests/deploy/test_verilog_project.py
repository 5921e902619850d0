"""A network as Verilog: what the folder holds, and whole networks on the engine that Verilator compiles."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from fewbits import data, formats_for, quantize_model, zoo
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.deploy import compare_program, lower
from fewbits.errors import InputError
from fewbits.io.files import write_model
from fewbits.io.weights import load_weights
from fewbits.zoo.trained import find_weights

pytest.importorskip("amaranth")

from fewbits.deploy.hardware import (  # noqa: E402
    COUNTERS,
    EngineDesign,
    EngineRunner,
    design_for,
    engine_verilog,
    verilated,
    write_verilog,
)

needs_verilator = pytest.mark.skipif(not shutil.which("verilator"), reason="Verilator is not installed")
DIGITS = data.load("digits")
L = keras.layers


def quantized(model, bits=(8, 8, 8), rounding="nearest-up", per_channel=False):
    model = quantize_model(model, rounding=rounding, fold_batch_normalization=True)
    model.set_formats(formats_for(model, DIGITS.scaled(DIGITS.test.take(64)), bits, per_channel=per_channel))
    return model


def small():
    """Return a network with what the engine computes, and what the processor does between it."""
    keras.utils.set_random_seed(1)
    image = L.Input((8, 8, 1))
    x = L.Conv2D(3, 3, padding="same", activation="relu", name="one", bias_initializer="random_normal")(image)
    left = L.DepthwiseConv2D(3, padding="same", name="left")(x)
    right = L.Conv2D(3, 1, name="right")(x)
    x = L.Conv2D(4, 2, strides=2, activation="relu", name="two")(L.Concatenate()([left, right]))
    return quantized(keras.Model(image, L.Dense(3, name="last")(L.Flatten()(x)), name="small"))


@pytest.fixture(scope="module")
def network():
    return lower(small(), levels=DIGITS.levels)


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("verilog") / "engine"
    write_verilog(network, [DIGITS.test.images[0]], folder, words=2)
    return folder


def test_the_folder_holds_the_engine_the_layers_and_what_the_ports_mean(folder, network):
    assert {path.name for path in folder.iterdir()} == {"Makefile", "README.md", "engine.v", "layers", "testbench.sv"}
    assert [path.name for path in sorted((folder / "layers").iterdir())] == ["01-one", "02-left", "03-right", "04-two"]
    said, verilog = (folder / "README.md").read_text(), (folder / "engine.v").read_text()
    for port, bits in re.findall(r"\| `(\w+)` \| (?:in|out)(?:, a stream)? \| (\d+) \|", said):
        declared = re.search(rf"^  (?:in|out)put (?:\[(\d+):0\] )?{port}(?:__payload)?;", verilog, re.M)
        assert int(declared[1] or 0) + 1 == int(bits), port
    assert "`last`" in said.split("The processor computes everything else")[1] and "@" not in said


def test_the_codes_in_the_folder_are_those_of_the_network(folder, network):
    codes = network.trace(DIGITS.test.images[:1])["one"][0]
    lines = (folder / "layers/01-one/codes.mem").read_text().split()
    first = [int(line, 16) & 0xFFFF for line in lines[: codes[..., 0].size]]
    assert first == codes[..., 0].ravel().tolist() and any(first)


def test_stopped_it_leaves_nothing(network, tmp_path, monkeypatch):
    from fewbits.deploy.hardware import project

    monkeypatch.setattr(project, "write_codes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_verilog(network, [DIGITS.test.images[0]], tmp_path / "engine")
    assert not list(tmp_path.iterdir())


def test_without_verilator_it_says_so(network, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verilated, "VERILATOR", "no-such-program")
    with pytest.raises(InputError, match="there is no no-such-program; install it"):
        EngineRunner(network, design_for(network))
    write_model(small(), tmp_path / "small.keras")
    pixels = f"--levels {DIGITS.levels} --divisor {DIGITS.levels}"
    command = f"export {tmp_path}/small.keras --to verilog {pixels} --words 2 --output {tmp_path}/engine"
    assert main(command.split()) == 0
    said = capsys.readouterr().out
    assert "a window of 3x3, 4 filters at most at once" in said and "there is no no-such-program" in said


def test_a_program_that_fails_is_told(network, tmp_path, monkeypatch):
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho no licence >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(verilated, "VERILATOR", str(program))
    with pytest.raises(InputError, match=r"broken stops \(no licence\)"):
        EngineRunner(network, design_for(network))


def test_verilog_does_not_grow_with_its_memories():
    small, large = (len(engine_verilog(EngineDesign(1, words=1, places=places))) for places in (16, 4096))
    assert large < small + 100


@needs_verilator
def test_verilator_has_nothing_to_say_about_it(folder):
    done = subprocess.run(["make", "lint"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and "%" not in done.stdout + done.stderr


@needs_verilator
def test_the_testbench_finds_no_code_that_differs_and_one_that_does(folder):
    def simulate():
        return subprocess.run(["make", "STALL=20"], cwd=folder, capture_output=True, text=True)

    said = simulate().stdout
    assert len(re.findall(r"layers/\S+: 0 of [1-9]\d* codes differ", said)) == 4
    path = folder / "layers/04-two/codes.mem"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], f"{int(lines[-1], 16) ^ 1:x}"]) + "\n")
    done = simulate()
    assert done.returncode and re.search(r"04-two: 1 of \d+ codes differ", done.stdout)


@pytest.mark.slow
@needs_verilator
@pytest.mark.parametrize(
    ("name", "bits", "rounding", "per_channel", "words", "stall"),
    [
        ("lenet", (8, 8, 8), "nearest-up", False, 1, 0),
        ("lenet", (16, 16, 16), "nearest-away", False, 1, 10),
        ("squeezenet_digits", (8, 8, 8), "floor", False, 2, 0),
        ("squeezenet_digits", (4, 8, 8), "nearest", True, 2, 10),
    ],
)
def test_whole_networks(name, bits, rounding, per_channel, words, stall):
    keras.utils.set_random_seed(3)
    model = zoo.build(name, (8, 8, 1), 10)
    if name == "squeezenet_digits":
        load_weights(model, find_weights(name))
    network = lower(quantized(model, bits, rounding, per_channel), levels=DIGITS.levels)
    runner, pixels = EngineRunner(network, design_for(network, words), stall), DIGITS.test.images[:8]
    codes = network.run(pixels)
    assert np.ptp(codes, axis=0).any() and compare_program(codes, runner, pixels).different == 0
    assert runner.codes > 8 * 1000 and all(set(each) == set(COUNTERS) for each in runner.counters.values())
