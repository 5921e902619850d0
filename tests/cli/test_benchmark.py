"""`fewbits benchmark`: a row for each runtime and network, measured in turn, and what it refuses."""

import shutil

import numpy as np
import pytest

from fewbits import FixedPoint, zoo
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.costs import latency
from fewbits.deploy.compiled import find_compiler
from fewbits.deploy.emulation import BOARDS
from fewbits.io.files import write_model
from fewbits.quantization.conversion import quantize_model
from helpers.cli import refused

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxruntime")
from fewbits.costs import memory  # noqa: E402


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models")
    network = zoo.build("lenet", (8, 8, 1), 10)
    fmt = FixedPoint(1, 8)
    write_model(network, folder / "lenet.keras")
    write_model(quantize_model(network, (fmt,) * 3, rounding="nearest"), folder / "quantized.keras")
    write_model(quantize_model(network, (fmt,) * 3, rounding="thesis"), folder / "thesis.keras")
    return folder


def test_a_row_for_each_runtime_and_network(models, capsys):
    files = [str(models / name) for name in ("lenet.keras", "quantized.keras")]
    assert main(["benchmark", *files, "--rounds", "3"]) == 0
    header, *rows, last = capsys.readouterr().out.splitlines()
    assert header.split() == ["runtime", "network", "ms", "quartiles", "ratio", "file", "bytes", "memory", "MB"]
    cells = {}
    for row in rows:
        runtime, name, ms, low, to, high, ratio, size, peak = row.split()
        assert to == "to" and 0 < float(low) <= float(ms) <= float(high)
        cells[runtime, name] = float(ms), float(ratio), int(size.replace(",", "")), float(peak)
    assert list(cells) == [(r, n) for r in ("keras", "litert", "onnx") for n in ("lenet.keras", "quantized.keras")]
    for (runtime, _), (ms, ratio, *_) in cells.items():
        first = cells[runtime, "lenet.keras"][0]
        assert abs(ratio - ms / first) <= 0.005 + 0.002 * ratio / first
    assert cells["keras", "lenet.keras"][2] == (models / "lenet.keras").stat().st_size
    assert cells["litert", "quantized.keras"][2] < 0.3 * cells["litert", "lenet.keras"][2]  # integers
    assert cells["litert", "lenet.keras"][3] < cells["keras", "lenet.keras"][3]  # no TensorFlow in its process
    assert "one image, one thread" in last


@pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")
def test_c_is_timed_for_quantized_networks_and_refused_for_others(models, capsys):
    assert main(["benchmark", str(models / "quantized.keras"), "--runtimes", "litert,c", "--rounds", "3"]) == 0
    rows = [row.split() for row in capsys.readouterr().out.splitlines()[1:3]]
    assert [row[0] for row in rows] == ["litert", "c"]
    constants = 35_000  # LeNet's weights, a byte each, and more
    assert int(rows[1][7].replace(",", "")) > constants and 0 < float(rows[1][8]) < float(rows[0][8])
    assert "lenet is not quantized" in refused(["benchmark", str(models / "lenet.keras"), "--runtimes", "c"], capsys)


NEEDED = ("cortex-m4", "rv32imc")


@pytest.mark.skipif(any(BOARDS[device].missing for device in NEEDED), reason="no cross compiler and emulator")
def test_a_row_for_each_device(models, capsys):
    assert main(["benchmark", str(models / "quantized.keras"), "--device", ",".join(NEEDED)]) == 0
    header, *rows, last = capsys.readouterr().out.splitlines()
    assert header.split() == "device network flash RAM stack instructions codes differ".split()
    assert [row.split()[:2] for row in rows] == [[device, "quantized.keras"] for device in NEEDED]
    for row in rows:
        flash, ram, stack, instructions = (int(cell.replace(",", "")) for cell in row.split()[2:6])
        assert 35_000 < flash < 200_000 and ram < 20_000 and 0 < stack < 1_000 < instructions
        assert row.endswith(" 0 of 40")  # ten logits of four images
    assert "-O2" in last


def test_a_device_without_its_tools_says_what_to_install(models, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    said = refused(["benchmark", str(models / "quantized.keras"), "--device", "rv32imc"], capsys)
    assert "apt-get install gcc-riscv64-unknown-elf qemu-system-misc" in said


def test_networks_of_any_runtime_are_timed_in_turn():
    called = []

    class Network:
        image_shape = (2, 3, 1)

        def __init__(self, name):
            self.name = name

        def run(self, image):
            assert image.shape == (2, 3, 1) and image.dtype == np.float32
            called.append(self.name)

    found = latency.measure_latency({"a": Network("a"), "b": Network("b")}, rounds=7)
    assert list(found) == ["a", "b"] and called == ["a", "b"] * (latency.WARM_UP + 7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lenet.keras", "--runtimes", "keras,tvm"], "unknown runtime 'tvm'; it is one of keras, litert, onnx"),
        (["lenet.keras", "lenet.keras"], "a network is named twice; name each once"),
        (["lenet.keras", "--device", "z80"], "unknown device 'z80'; it is one of cortex-m0plus, cortex-m4"),
        (["lenet.keras", "--device", "cortex-m4,cortex-m4"], "a device is named twice; name each once"),
        (["lenet.keras", "--device", "cortex-m4", "--runtimes", "c"], "not allowed with argument --device"),
        (["lenet.keras", "--device", "cortex-m4"], "lenet is not quantized"),
        (["lenet.keras", "--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["none.keras", "--runtimes", "onnx"], "none.keras does not exist"),
        (["thesis.keras", "--runtimes", "onnx"], "layer conv1 rounds as the thesis does"),
        (["thesis.keras", "--runtimes", "litert"], "layer conv1 rounds as the thesis does"),
    ],
)
def test_a_wrong_command_is_refused_in_one_sentence(models, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(models)
    assert said in refused(["benchmark", *arguments], capsys)


def test_a_file_that_does_not_run_is_named(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match="x.onnx cannot be run by onnx: "):
        memory.peak_memory("onnx", tmp_path / "x.onnx")
