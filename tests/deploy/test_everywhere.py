"""No code differs anywhere: every network at every width, in every program that we write.

`pytest -m slow -rP tests/deploy/test_everywhere.py` prints how many codes were compared.
"""

import shutil

import numpy as np
import pytest

from fewbits.deploy import (
    CRunner,
    DeviceRunner,
    HLS4MLRunner,
    HLS4MLSettings,
    ONNXRunner,
    compare_codes,
    compare_layers,
    compare_program,
    compare_qonnx,
    emulation,
    find_compiler,
    to_integer_onnx,
    to_onnx,
    write_hls4ml,
)
from fewbits.deploy.hls4ml import COMPILER
from fewbits.errors import InputError
from fewbits.names import DEVICES, INTEGER_ROUNDINGS
from helpers.digits_networks import DIGITS, NETWORKS, PIXELS, SIGNED, WIDTHS, integers, quantized

pytestmark = pytest.mark.slow
EVERY_WIDTH = [*WIDTHS, *(f"{SIGNED}{widths}" for widths in WIDTHS)]
ROUNDINGS = dict(zip(EVERY_WIDTH, 2 * INTEGER_ROUNDINGS))
IMAGES, FEW_IMAGES = DIGITS.scaled(DIGITS.test), PIXELS[:40]  # few under emulation


def simulation(model, network, folder):
    return list(compare_layers(model, network, PIXELS).values())


def onnx(model, network, folder):
    """Compare outputs of the file that simulates: they are codes times a step."""
    runner = ONNXRunner(to_onnx(model).SerializeToString())
    return [compare_codes([model.predict(IMAGES, verbose=0)], [np.stack([runner.run(image) for image in IMAGES])])]


def integer_onnx(model, network, folder):
    return [compare_program(network.run(PIXELS), ONNXRunner(to_integer_onnx(network).SerializeToString()), PIXELS)]


def qonnx(model, network, folder):
    pytest.importorskip("qonnx")
    return [found for clean in (False, True) for found in compare_qonnx(model, IMAGES, clean=clean).values()]


def c(model, network, folder):
    skip_without("a C compiler", find_compiler())
    return [compare_program(network.run(PIXELS), CRunner(network, "-O2"), PIXELS)]


def on(device):
    def emulated(model, network, folder):
        missing = emulation.BOARDS[device].missing
        skip_without(" and ".join(missing), not missing)
        return [compare_codes([network.run(FEW_IMAGES)], DeviceRunner(network, device).run(FEW_IMAGES).codes)]

    return emulated


def hls4ml(model, network, folder):
    pytest.importorskip("hls4ml")
    skip_without(COMPILER, shutil.which(COMPILER))
    if model.name == "resnet_cifar":
        with pytest.raises(InputError, match="layer block2_zeros pads with zeros, which hls4ml does in convolutions"):
            write_hls4ml(model, network, folder / "fpga")
        pytest.skip("hls4ml does not pad channels")
    settings = HLS4MLSettings(streaming=model.name in ("squeezenet_digits", "mobilenet_cifar"))
    write_hls4ml(model, network, folder / "fpga", settings)
    return [compare_program(network.run(FEW_IMAGES), HLS4MLRunner(network, folder / "fpga"), FEW_IMAGES)]


def skip_without(what, there):
    if not there:
        pytest.skip(f"{what} not installed")


PROGRAMS = {program.__name__: program for program in (simulation, onnx, integer_onnx, qonnx, c)}
PROGRAMS |= {device: on(device) for device in DEVICES} | {"hls4ml": hls4ml}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("widths", EVERY_WIDTH)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_code_differs(name, widths, program, tmp_path):
    network = name, widths, ROUNDINGS[widths]
    assert np.ptp(integers(*network).run(FEW_IMAGES), axis=0).any()
    found = PROGRAMS[program](quantized(*network), integers(*network), tmp_path)
    codes, different = (sum(getattr(each, field) for each in found) for field in ("codes", "different"))
    print(f"{name}, {widths}, {ROUNDINGS[widths]}, {program}: {different} of {codes:,} codes differ")
    assert codes and not different
