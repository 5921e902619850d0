"""C that calls CMSIS-NN: equal code for code, with the library where it is at hand, else with a stand-in."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fewbits import data, zoo
from fewbits.backend import keras
from fewbits.deploy.c import write_c
from fewbits.deploy.cmsis_nn import FOLDER, cmsis_layer, find_cmsis_nn
from fewbits.deploy.compiled import CRunner
from fewbits.deploy.lowering import lower
from fewbits.deploy.program import plan_program
from fewbits.errors import InputError
from fewbits.quantization import calibration
from fewbits.quantization.conversion import quantize_model
from helpers.integer_networks import Network

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
STUB = Path(__file__).parents[1] / "helpers" / "cmsis_nn"
FLAGS = "-O1", "-DWIDE=", "-fsanitize=undefined", "-fno-sanitize-recover=all"
DIGITS = data.load("digits")


@pytest.fixture(autouse=True)
def library(monkeypatch):
    monkeypatch.setenv(FOLDER, str(find_cmsis_nn() or STUB))


def assert_identical(network, pixels):
    runner = CRunner(network, *FLAGS, kernels="cmsis-nn")
    codes = network.run(pixels).reshape(len(pixels), -1)
    assert np.ptp(codes, axis=0).any()  # a network of zeros alone proves nothing
    np.testing.assert_array_equal(np.stack([runner.run(image) for image in pixels]), codes)


def kinds(network):
    """Return the kind of each layer that CMSIS-NN computes, None for those that it does not."""
    program = plan_program(network)
    layers = [cmsis_layer(program, loop) for loop in program.loops]
    return [layer and layer.kind for layer in layers]


@pytest.mark.parametrize("name", ["lenet", "squeezenet_digits", "mobilenet_cifar"])
def test_networks_that_round_half_up_say_the_same(name):
    keras.utils.set_random_seed(2)
    model = zoo.build(name, (8, 8, 1), 10, **({"width": 0.25} if name == "mobilenet_cifar" else {}))
    quantized = quantize_model(model, fold_batch_normalization=True, rounding="nearest-up")
    quantized.set_formats(calibration.formats_for(quantized, DIGITS.scaled(DIGITS.test.take(64)), (8, 8, 8)))
    network = lower(quantized, levels=DIGITS.levels)
    assert len([kind for kind in kinds(network) if kind]) >= 3
    assert_identical(network, DIGITS.test.images[:40])


LIMITS = [(-128, 127), (0, 127), (0, 255), (0, 99), (-5, 60)]


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("shift", [8, (9, 6, 7, 8, 9, 10)])
def test_windows_borders_and_codes_with_and_without_a_sign(limits, shift):
    net = Network((9, 8, 3))
    low, high = limits
    first = net.requantize(net.convolve(0, 6, (2, 2)), 8, "nearest-up", low, high)  # the image is the caller's
    options = {"strides": (2, 1), "padding": ((1, 2), (0, 1)), "dilation": (1, 2)}
    second = net.requantize(net.convolve(first, 6, **options), shift, "nearest-up", low, high)
    third = net.requantize(net.depthwise(second, 1, (3, 3)), shift, "nearest-up", -100, 100)
    fourth = net.requantize(net.depthwise(third, 2, (2, 2), (1, 2)), 7, "nearest-up", low, high)
    pooled = net.max_pool(fourth, (2, 2), (2, 2), ((0, 0), (0, 0)))
    flat = net.reshape(pooled, (1, 1, net.tensors[pooled].size))
    fifth = net.requantize(net.convolve(flat, 7, (1, 1)), 9, "nearest-up", low, high)
    net.convolve(fifth, 4, (1, 1))
    network = net.made()
    found = [kind for kind in kinds(network) if kind]
    assert found == ["convolve", "depthwise", "depthwise", "dense"]
    assert_identical(network, net.pixels())


def test_what_it_does_not_compute_exactly_stays_ours():
    net = Network((6, 6, 3))
    first = net.requantize(net.convolve(0, 4, (1, 1)), 8, "nearest-up", -128, 127)
    for rounding in ("nearest", "floor", "nearest-away"):
        first = net.requantize(net.convolve(first, 4, (1, 1)), 8, rounding, -128, 127)
    wide = net.requantize(net.convolve(first, 4, (1, 1)), 4, "nearest-up", -(2**12), 2**12)
    narrow = net.requantize(net.convolve(wide, 4, (1, 1)), 9, "nearest-up", -128, 127)
    kept = net.requantize(net.convolve(narrow, 4, (1, 1), bits=10), 9, "nearest-up", -128, 127)
    net.convolve(net.requantize(net.convolve(kept, 4, (1, 1)), 8, "nearest-up", -128, 127), 2, (6, 6))
    network = net.made()
    assert [kind for kind in kinds(network) if kind] == ["convolve"]  # the last but one
    assert_identical(network, net.pixels())


def small():
    net = Network((4, 4, 2))
    for _ in range(2):  # the first reads the image of the caller, which stays as it is
        net.requantize(net.convolve(len(net.operations), 3, (1, 1)), 8, "nearest-up")
    net.convolve(len(net.operations), 2, (4, 4))
    return net.made()


def test_without_the_library_it_says_so(tmp_path, monkeypatch):
    write_c(small(), tmp_path / "c", kernels="cmsis-nn")  # whoever compiles it brings the library
    assert "arm_convolve_wrapper_s8(" in (tmp_path / "c" / "net.c").read_text()
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(InputError, match="CMSIS_NN does not name a folder of CMSIS-NN"):
        CRunner(small(), kernels="cmsis-nn")


def test_compiled_for_another_rounding_it_is_an_error(tmp_path):
    write_c(small(), tmp_path / "c", kernels="cmsis-nn")
    command = ["gcc", "-fsyntax-only", "-I", STUB / "Include", tmp_path / "c" / "net.c"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode and "-DCMSIS_NN_USE_SINGLE_ROUNDING" in done.stderr


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_its_makefile_builds_the_example_with_the_library(tmp_path):
    write_c(small(), tmp_path / "c", kernels="cmsis-nn")
    command = ["make", "-C", tmp_path / "c", f"CMSIS_NN={STUB}", "CFLAGS=-std=c99 -O1"]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run([tmp_path / "c" / "classify"], input=bytes(range(32)), capture_output=True)
    [codes] = small().run(np.arange(32, dtype=np.uint8).reshape(1, 4, 4, 2)).reshape(1, -1)
    assert done.stdout.decode().split("codes ")[1].split() == [str(code) for code in codes]
