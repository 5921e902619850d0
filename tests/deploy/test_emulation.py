"""The C on emulated microcontrollers: it computes the codes of the network, and what it takes is counted exactly."""

import re
import shutil

import numpy as np
import pytest

from fewbits.book import reference
from fewbits.deploy import DeviceRunner, emulation, write_c
from fewbits.deploy.cmsis_nn import find_cmsis_nn
from fewbits.errors import InputError
from fewbits.names import DEVICES
from helpers.digits_networks import NETWORKS, PIXELS, WIDTHS, integers
from helpers.integer_networks import Network, every_operation

FEW_IMAGES = PIXELS[:40]
FEW = list(zip(NETWORKS, WIDTHS))
MANY = [
    (name, widths)
    for name in ("lenet", "squeezenet_digits")
    for widths in (*WIDTHS, "signed 8 bits")
    if (name, widths) not in FEW
]


def _or_skipped(device):
    """Return the name of a device, for a test that is skipped where its tools are missing."""
    missing = emulation.BOARDS[device].missing
    return pytest.param(
        device, marks=pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed")
    )


on_devices = pytest.mark.parametrize("device", [_or_skipped(device) for device in DEVICES])


def assert_identical(network, runner, *pixels):
    """Assert that all codes of the device are those of `network`, and that they are not all alike."""
    codes = network.run(list(pixels) if len(pixels) > 1 else pixels[0])
    found = runner.run(*pixels).codes
    for ours, theirs in zip(codes if isinstance(codes, list) else [codes], found, strict=True):
        assert np.ptp(ours, axis=0).any()
        np.testing.assert_array_equal(theirs, ours.reshape(theirs.shape))


@on_devices
@pytest.mark.parametrize(("name", "widths"), FEW)
def test_all_codes_are_those_of_the_network(name, widths, device, tmp_path):
    network = integers(name, widths)
    runner = DeviceRunner(network, device)
    assert_identical(network, runner, FEW_IMAGES)
    memory = write_c(network, tmp_path / "written")
    assert runner.ram_bytes == memory.ram_bytes  # as the header says
    assert memory.weight_bytes < runner.flash_bytes < memory.weight_bytes + 20_000


@on_devices
@pytest.mark.parametrize(("name", "widths"), MANY)
def test_all_codes_are_those_of_the_network_at_other_widths(name, widths, device):
    network = integers(name, widths)
    assert_identical(network, DeviceRunner(network, device, "-Os"), FEW_IMAGES)


def write_with_cmsis_nn(network, folder):
    """Write C that calls CMSIS-NN, and its sources."""
    write_c(network, folder, kernels="cmsis-nn")
    shutil.copytree(find_cmsis_nn() / "Include", folder, dirs_exist_ok=True)
    for kind in ("Convolution", "FullyConnected", "NNSupport"):
        for path in (find_cmsis_nn() / "Source" / f"{kind}Functions").glob("*.c"):
            if not re.search("_f16|_f32|_flt|_s4|lstm|svdf", path.stem):
                shutil.copy(path, folder)
    (folder / "string.h").write_text(
        "#include <stddef.h>\nvoid *memcpy(void *, const void *, size_t);\nvoid *memset(void *, int, size_t);\n"
    )


@pytest.mark.skipif(not find_cmsis_nn(), reason="the environment variable CMSIS_NN does not name a folder of CMSIS-NN")
@pytest.mark.parametrize("device", [_or_skipped("cortex-m0plus"), _or_skipped("cortex-m4")])
@pytest.mark.parametrize("name", ["lenet", "mobilenet_cifar"])
def test_with_the_kernels_of_cmsis_nn_codes_are_the_same(name, device):
    network = integers(name, "8 bits", rounding="nearest-up")
    runner = DeviceRunner(network, device, "-O2", "-DCMSIS_NN_USE_SINGLE_ROUNDING", write=write_with_cmsis_nn)
    assert_identical(network, runner, FEW_IMAGES)


@on_devices
def test_every_operation_computes_its_codes(device):
    net = every_operation()
    network = net.made()
    assert_identical(network, DeviceRunner(network, device, "-O1"), net.pixels().astype(np.uint8))


@on_devices
def test_a_network_with_two_inputs_and_two_outputs(device):
    net = Network((4, 4, 3))
    first = net.requantize(net.convolve(0, 2), 7)
    second = net.requantize(net.convolve(net.input((6, 5, 2), mean=9), 3), 7)
    parts = [net.reshape(i, (1, 1, net.tensors[i].size)) for i in (first, second)]
    net.concatenate(parts, (0, 1))
    network = net.made(first)
    pixels = [
        np.random.default_rng(n).integers(0, 256, (5, *shape), np.uint8)
        for n, shape in enumerate([(4, 4, 3), (6, 5, 2)])
    ]
    assert_identical(network, DeviceRunner(network, device), *pixels)


@pytest.mark.parametrize("device", [_or_skipped("cortex-m4")])
def test_the_record_of_the_book_is_that_of_the_c_as_it_is(device):
    """After a change of the C, data/reference/devices.py counts anew; another compiler may differ by some percent."""
    network = integers("lenet", "8 bits")
    found = DeviceRunner(network, device).run(FEW_IMAGES).instructions.mean()
    [kept] = [row.instructions for row in reference.load_devices()[0] if row[:5] == ("LeNet", 8, device, "ours", "-O2")]
    assert abs(found / kept - 1) < 0.1


# Functions of known length, in place of a network


def run_instead(device, body, first=(1,)):
    """Return what a function with this body takes on a device, for images that begin with these pixels."""

    def write(network, folder):
        write_c(network, folder)
        source = folder / "net.c"
        source.write_text(f'#include "net.h"\nvoid net_run(const uint8_t *image, int32_t *logits)\n{{\n{body}\n}}\n')

    net = Network((1, 1, 8))
    net.reshape(0, (8, 1, 1))
    images = np.zeros((len(first), 1, 1, 8), np.uint8)
    images[..., 0] = np.reshape(first, (-1, 1, 1))
    return DeviceRunner(net.made(), device, write=write).run(images)


@on_devices
def test_instructions_are_counted_exactly(device):
    turn = "addi %0, %0, -1\\nbnez %0, 1b" if device == "rv32imc" else "sub %0, %0, #1\\ncmp %0, #0\\nbne 1b"
    body = f'int n = 1000 * image[0];\n__asm__ volatile("1: {turn}" : "+r"(n) : : "cc");'
    one, two, most = run_instead(device, body, first=(1, 2, 200)).instructions
    length = 1 + turn.count("\\n")
    assert (two - one, most - one) == (1_000 * length, 199_000 * length)
    assert 1_000 * length < one <= 1_000 * length + 10


@on_devices
def test_the_stack_is_measured_to_its_deepest_word(device):
    for size in (400, 4000):
        body = f"volatile int32_t deep[{size // 4}]; deep[0] = image[0]; logits[0] = deep[0];"
        assert size <= run_instead(device, body).stack_bytes <= size + 16


@on_devices
def test_firmware_that_faults_is_no_result(device):
    with pytest.raises(InputError, match="qemu-system-.* failed"):
        run_instead(device, "logits[0] = *(volatile int32_t *)0xf0000000;")


@pytest.mark.parametrize("device", [_or_skipped("cortex-m0plus")])
def test_a_core_that_cannot_read_words_anywhere_does_not_do_so_here(device):
    with pytest.raises(InputError, match="qemu-system-arm failed"):
        run_instead(device, "logits[0] = *(volatile int32_t *)(image + 1);")


def test_what_cannot_run_is_refused(monkeypatch):
    net = Network((1, 1, 8))
    net.reshape(0, (8, 1, 1))
    with pytest.raises(InputError, match="unknown device 'cortex-m1'; it is one of cortex-m0plus, cortex-m4"):
        DeviceRunner(net.made(), "cortex-m1")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    says = "cortex-m4 needs arm-none-eabi-gcc and qemu-system-arm; on Debian: apt-get install gcc-arm-none-eabi qemu-s"
    with pytest.raises(InputError, match=says):
        DeviceRunner(net.made(), "cortex-m4")
