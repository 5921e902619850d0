"""The ways to build the C: its Makefile, here and for devices, CMake, and a library for Arduino."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from fewbits.deploy import footprint
from fewbits.deploy.c import write_c
from fewbits.deploy.footprint import measure_footprint
from fewbits.errors import InputError
from helpers.integer_networks import Network, ends

WARNINGS = "-Wall -Wextra -Wconversion -Wshadow -Werror -pedantic".split()


def needs(*programs):
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed")


def small():
    net = Network((4, 5, 3), mean=120)
    net.convolve(net.requantize(net.convolve(0, 4), 8), 6, (2, 3))
    return net.made()


def run(folder, *command, content=None):
    """Return what a program prints; it must not fail, nor complain."""
    done = subprocess.run([*map(str, command)], cwd=folder, input=content, capture_output=True)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout.decode()


def sizes(said):
    """Return the numbers in the last line that `size` prints: text, data and bss."""
    return [int(number) for number in said.splitlines()[-1].split()[:3]]


# Devices


@needs("make", "arm-none-eabi-gcc")
@pytest.mark.parametrize(("core", "architecture"), [("cortex-m0plus", "v6S-M"), ("cortex-m4", "v7E-M")])
def test_the_makefile_builds_a_library_for_a_device_and_prints_its_size_there(core, architecture, tmp_path):
    memory = write_c(small(), tmp_path / "c")
    said = run(tmp_path / "c", "make", "CROSS=arm-none-eabi-", f"CPU={core}")
    text, data, bss = sizes(said)
    assert text > memory.weight_bytes and (data, bss) == (0, memory.ram_bytes)
    assert run(tmp_path / "c", "arm-none-eabi-ar", "t", "libnet.a").split() == ["net.o"]
    about = run(tmp_path / "c", "arm-none-eabi-readelf", "-A", "net.o")
    assert f"Tag_CPU_arch: {architecture}\n" in about
    called = {line.split()[-1] for line in run(tmp_path / "c", "arm-none-eabi-nm", "-u", "net.o").splitlines()}
    assert {name for name in called if not name.startswith("__aeabi_")} <= {"memcpy", "memset"}  # compilers bring those


@needs("make", "riscv64-unknown-elf-gcc")
def test_the_makefile_takes_another_compiler_with_options_of_its_own(tmp_path):
    memory = write_c(small(), tmp_path / "c")
    said = run(
        tmp_path / "c",
        "make",
        "CROSS=riscv64-unknown-elf-",
        "TARGET=-march=rv32imc -mabi=ilp32",
        "CPPFLAGS=-DNET_CONST=",
    )
    assert sizes(said)[1:] == [0, memory.ram_bytes]


@needs("make", "gcc", "arm-none-eabi-gcc")
def test_here_after_the_device_the_makefile_builds_the_example_for_here(tmp_path):
    network = small()
    write_c(network, tmp_path / "c")
    run(tmp_path / "c", "make", "CROSS=arm-none-eabi-", "CPU=cortex-m4")
    run(tmp_path / "c", "make")
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    said = run(tmp_path / "c", "./classify", content=image.tobytes())
    assert said.split("codes")[1].split() == [str(code) for code in network.run(image[None])[0]]
    run(tmp_path / "c", "make", "clean")
    names = ["CMakeLists.txt", "Makefile", "main.c", "net.c", "net.h", "net_numbers.h"]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == names


@needs("make", "arm-none-eabi-gcc")
@pytest.mark.parametrize("package", ["plain", "arduino"])
def test_the_footprint_is_that_of_the_makefile(package, tmp_path):
    write_c(small(), tmp_path / "c")
    text, _, bss = sizes(run(tmp_path / "c", "make", "CROSS=arm-none-eabi-", "CPU=cortex-m4"))
    write_c(small(), tmp_path / package, package=package)
    assert measure_footprint(tmp_path / package) == (text, bss)


def test_without_the_compiler_there_is_no_footprint(tmp_path, monkeypatch):
    monkeypatch.setattr(footprint.shutil, "which", lambda name: None)
    assert measure_footprint(tmp_path) is None


# CMake

PROJECT = """
cmake_minimum_required(VERSION 3.10)
project(whole CXX C)
add_subdirectory(network)
add_executable(whole main.cpp)
target_link_libraries(whole net_library)
"""
MAIN = """
#include <cstdio>
#include "net.h"
static net_memory memory;
int main()
{
    static uint8_t image[NET_HEIGHT * NET_WIDTH * NET_CHANNELS];
    static int32_t logits[NET_LOGITS];
    if (std::fread(image, 1, sizeof image, stdin) != sizeof image)
        return 1;
    net_run_in(&memory, image, logits);
    for (int32_t code : logits)
        std::printf("%ld ", static_cast<long>(code));
}
"""


@needs("cmake", "make", "gcc")
def test_cmake_builds_the_example(tmp_path):
    network = small()
    write_c(network, tmp_path / "network")
    run(tmp_path, "cmake", "-S", "network", "-B", "made", f"-DCMAKE_C_FLAGS={' '.join(WARNINGS)}")
    run(tmp_path, "cmake", "--build", "made")
    image = np.random.default_rng(1).integers(0, 256, (4, 5, 3), np.uint8)
    said = run(tmp_path, "made/classify", content=image.tobytes())
    assert said.split("codes")[1].split() == [str(code) for code in network.run(image[None])[0]]


@needs("cmake", "make", "gcc", "g++")
def test_a_project_of_cmake_in_cpp_takes_the_folder(tmp_path):
    network = small()
    write_c(network, tmp_path / "network")
    (tmp_path / "CMakeLists.txt").write_text(PROJECT)
    (tmp_path / "main.cpp").write_text(MAIN)
    run(tmp_path, "cmake", "-S", ".", "-B", "made")
    run(tmp_path, "cmake", "--build", "made")
    image = np.random.default_rng(2).integers(0, 256, (4, 5, 3), np.uint8)
    assert run(tmp_path, "made/whole", content=image.tobytes()).split() == [str(x) for x in network.run(image[None])[0]]
    assert (tmp_path / "made" / "network" / "libnet.a").exists()
    assert not (tmp_path / "made" / "network" / "classify").exists()


# Arduino

BOARD = """
#include <cstddef>
#include <cstdint>
#include <cstdio>

struct Port {
    void begin(long) {}
    size_t readBytes(char *bytes, size_t count) { return std::fread(bytes, 1, count, stdin); }
    void print(long number) { std::printf("%ld", number); }
    void print(char letter) { std::putchar(letter); }
};
static Port Serial;
#include "classify.ino"
int main()
{
    for (setup(); !std::feof(stdin);)
        loop();
}
"""


@needs("gcc", "g++")
@pytest.mark.parametrize("several", [False, True])
def test_the_sketch_answers_each_image_with_its_codes(several, tmp_path):
    network, images = ends(["total"]) if several else (small(), None)
    images = images or [np.random.default_rng(3).integers(0, 256, (7, 4, 5, 3), np.uint8)]
    write_c(network, tmp_path / "net", package="arduino")
    sketch = tmp_path / "net" / "examples" / "classify"
    (sketch / "board.cpp").write_text(BOARD)
    run(tmp_path, "gcc", "-std=gnu11", *WARNINGS, "-c", "net/src/net.c")
    run(tmp_path, "g++", "-std=gnu++11", *WARNINGS, "-Inet/src", sketch / "board.cpp", "net.o", "-o", "board")
    content = b"".join(image.tobytes() for of_each in zip(*images) for image in of_each)
    lines = iter(run(tmp_path, "./board", content=content).splitlines())
    codes = network.run(images) if several else [network.run(images[0])]
    for of_each in zip(*codes):
        for row in of_each:
            assert next(lines) == " ".join(map(str, row.tolist()))
    assert not list(lines)


def test_the_library_for_arduino_has_what_its_specification_requires(tmp_path):
    write_c(small(), tmp_path / "net", package="arduino")
    files = sorted(path.relative_to(tmp_path / "net").as_posix() for path in (tmp_path / "net").rglob("*.*"))
    code = ["src/net.c", "src/net.h", "src/net_numbers.h"]
    assert files == [
        "examples/classify/classify.ino",
        "library.properties",
        *code,
    ]  # a sketch lies in a folder of its name
    lines = (tmp_path / "net" / "library.properties").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    fields = dict(line.split("=", 1) for line in lines)
    required = "name version author maintainer sentence paragraph category url architectures".split()
    assert set(required) <= set(fields) and len(fields) == len(lines)
    assert re.fullmatch(r"[A-Za-z0-9][\w .-]{0,62}", fields["name"]) and fields["includes"] == "net.h"
    assert re.fullmatch(r"\d+\.\d+\.\d+", fields["version"]) and fields["category"] == "Data Processing"
    assert all(fields.values()) and fields["url"].startswith("https://")
    assert "avr" not in fields["architectures"].split(",") and " " not in fields["architectures"]


def test_an_unknown_package_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="unknown package 'conda'; it is one of plain, arduino"):
        write_c(small(), tmp_path / "c", package="conda")
    assert not list(tmp_path.iterdir())
