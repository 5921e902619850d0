"""What a firmware engineer relies on: the values of pixels and codes, memory that the caller gives, and placement."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from fewbits import FixedPoint
from fewbits.backend import keras
from fewbits.deploy.c import write_c
from fewbits.deploy.lowering import lower
from fewbits.quantization.conversion import quantize_model
from helpers.integer_networks import Network, ends

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
WARNINGS = "-Wall -Wextra -Wconversion -Wshadow -Werror -pedantic".split()
C99, CPP = ("gcc", "-std=c99"), ("g++", "-x", "c++", "-std=c++17")
L = keras.layers


def small():
    """Return a network whose memory has rows of each kind."""
    net = Network((6, 5, 3), mean=90)
    a, b = (net.requantize(net.convolve(0, 6, (2, 2)), 9, low=low, high=low + 15) for low in (-8, 0))
    wide = net.convolve(net.product(a, b), 4, (2, 2), bits=24)
    net.convolve(net.requantize(wide, 14, low=-(2**17), high=2**17), 3, (1, 1))
    return net.made(), net.pixels(20)


def compiled(folder, program, *flags, compiler=C99, sources="net.c"):
    """Return what `program` (its source) gives for some input: a function of bytes that returns bytes."""
    (folder / "program.c").write_text(program)
    command = [*compiler, *WARNINGS, *flags, *sources.split(), "program.c", "-o", "program"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]

    def run(content=b""):
        done = subprocess.run([folder / "program"], input=content, capture_output=True)
        assert done.returncode == 0, done.stderr[:4000]
        return done.stdout

    return run


def sections(path):
    """Return symbol -> section and size, of an object file."""
    said = subprocess.run(["objdump", "-t", path], capture_output=True, text=True, check=True).stdout
    symbols = re.findall(r"^[0-9a-f]+ .{6}O (\S+)\s+([0-9a-f]+) (\S+)$", said, re.MULTILINE)
    return {name: (section, int(size, 16)) for section, size, name in symbols}


# Values

VALUES = """
#include <stdio.h>
#include "{name}.h"
static uint8_t image[{NAME}_HEIGHT * {NAME}_WIDTH * {NAME}_CHANNELS];
static int32_t logits[{NAME}_LOGITS];
int main(void)
{{
    while (fread(image, 1, sizeof image, stdin) == sizeof image) {{
        for (unsigned i = 0; i < sizeof image; i++) {{
            const float value = {NAME}_PIXEL_VALUE(image[i]{channel});
            fwrite(&value, sizeof value, 1, stdout);
        }}
        {name}_run(image, logits);
        for (int i = 0; i < {NAME}_LOGITS; i++) {{
            const float value = {NAME}_CODE_VALUE(logits[i]);
            fwrite(&value, sizeof value, 1, stdout);
        }}
    }}
    return 0;
}}
"""


@pytest.mark.parametrize("compiler", [C99, CPP], ids=["C99", "C++17"])
@pytest.mark.parametrize(
    ("levels", "mean", "divisor", "pooled"),
    [(256, 0, 256, True), (32, 0, 16, False), (256, 117, 128, False), (256, (104, 117, 123), 1, True)],
)
def test_keras_gets_the_values_of_the_pixels_and_gives_those_of_the_codes(
    levels, mean, divisor, pooled, compiler, tmp_path
):
    keras.utils.set_random_seed(1)
    image = L.Input((6, 7, 3))
    hidden = L.Conv2D(4, 3, activation="relu")(image)
    head = L.GlobalAveragePooling2D() if pooled else L.Flatten()  # an average has a divisor of its own, 20
    model = keras.Model(image, head(hidden) if pooled else L.Dense(3)(head(hidden)), name="valued")
    formats = FixedPoint(0, 8), FixedPoint(8 - divisor.bit_length(), 9), FixedPoint(9 - divisor.bit_length(), 8)
    quantized = quantize_model(model, formats, rounding="nearest")
    network = lower(quantized, levels, mean, divisor)
    write_c(network, tmp_path / "c")
    channel = ", i % 3" if np.size(mean) > 1 else ""
    program = VALUES.format(name="valued", NAME="VALUED", channel=channel)
    pixels = np.random.default_rng(levels).integers(0, levels, (20, 6, 7, 3), np.uint8)
    run = compiled(tmp_path / "c", program, compiler=compiler, sources="valued.c")
    said = np.frombuffer(run(pixels.tobytes()), np.float32).reshape(len(pixels), -1)
    images, outputs = said[:, : 6 * 7 * 3].reshape(pixels.shape), said[:, 6 * 7 * 3 :]
    np.testing.assert_array_equal(images, (pixels.astype(np.float32) - np.asarray(mean, np.float32)) / divisor)
    simulated = quantized.predict(images, verbose=0)
    assert np.ptp(simulated, axis=0).any()
    np.testing.assert_allclose(outputs, simulated, rtol=1e-6 if pooled else 0)
    header = (tmp_path / "c" / "valued.h").read_text()
    assert f"from {images.dtype.type(-np.max(mean) / divisor):.6g} to " in re.sub(r"\s+", " ", header)


def test_each_of_several_ends_has_values_of_its_own(tmp_path):
    network, _ = ends(["total"])
    write_c(network, tmp_path / "c")
    header = (tmp_path / "c" / "net.h").read_text()
    assert re.findall(r"#define (\S+_VALUE\(\w+\)) (.*)", header) == [
        ("NET_IMAGE1_PIXEL_VALUE(pixel)", "((float)((pixel) - 3) / 256.0f)"),
        ("NET_IMAGE2_PIXEL_VALUE(pixel)", "((float)(pixel))"),
        ("NET_IMAGE3_PIXEL_VALUE(pixel)", "((float)((pixel) - 90))"),
        ("NET_LOGITS1_CODE_VALUE(code)", "((float)(code))"),
        ("NET_LOGITS2_CODE_VALUE(code)", "((float)(code))"),
    ]


# Memory

GIVEN = """
#include <stdio.h>
#include <stdlib.h>
#include "net.h"
int main(void)
{
    uint8_t *const image = malloc(90);
    int32_t *const logits = malloc(NET_LOGITS * sizeof *logits);
    while (fread(image, 1, 90, stdin) == 90) {
        struct net_memory *const memory = malloc(NET_MEMORY_BYTES);
        net_run_in(memory, image, logits);
        free(memory);
        fwrite(logits, sizeof *logits, NET_LOGITS, stdout);
    }
    free(image);
    free(logits);
    return 0;
}
"""


def test_a_call_needs_no_more_memory_than_the_header_tells(tmp_path):
    network, pixels = small()
    memory = write_c(network, tmp_path / "c")
    header = (tmp_path / "c" / "net.h").read_text()
    rows = "wide_sums[", "sums[", "patches[", "wide_patches[", "} arena", "unpacked["
    assert all(f" {row}" in header for row in rows)
    assert f"#define NET_MEMORY_BYTES {memory.ram_bytes} " in header
    run = compiled(tmp_path / "c", GIVEN, "-O1", "-fsanitize=address,undefined", "-DNET_NO_STATIC_MEMORY")
    codes = np.frombuffer(run(pixels.tobytes()), np.int32).reshape(len(pixels), -1)
    np.testing.assert_array_equal(codes, network.run(pixels))


def test_without_static_memory_there_is_none(tmp_path):
    network, _ = small()
    memory = write_c(network, tmp_path / "c")
    for flags, expected in ((["-DNET_NO_STATIC_MEMORY"], 0), ([], memory.ram_bytes)):
        command = [*C99, *WARNINGS, *flags, "-c", tmp_path / "c" / "net.c", "-o", tmp_path / "net.o"]
        subprocess.run(command, check=True)
        held = sections(tmp_path / "net.o")
        assert sum(size for section, size in held.values() if section in (".bss", ".data")) == expected


THREADS = """
#include <pthread.h>
#include <stdio.h>
#include "net.h"
static uint8_t images[2][90];
static int32_t logits[2][NET_LOGITS];
struct net_memory memories[2];
static void *classify(void *argument)
{{
    const int n = *(const int *)argument;
    for (int i = 0; i < 100; i++)
        {call};
    return NULL;
}}
int main(void)
{{
    static int numbers[2] = {{0, 1}};
    pthread_t threads[2];
    if (fread(images, 1, sizeof images, stdin) != sizeof images)
        return 1;
    for (int n = 0; n < 2; n++)
        pthread_create(&threads[n], NULL, classify, &numbers[n]);
    for (int n = 0; n < 2; n++)
        pthread_join(threads[n], NULL);
    fwrite(logits, 1, sizeof logits, stdout);
    return 0;
}}
"""


def test_two_threads_with_memories_of_their_own_do_not_disturb_each_other(tmp_path):
    network, pixels = small()
    write_c(network, tmp_path / "c")
    flags = ["-O1", "-pthread", "-fsanitize=thread", "-DWIDE="]  # the sanitizer cannot choose functions as WIDE does
    program = THREADS.format(call="net_run_in(&memories[n], images[n], logits[n])")
    codes = np.frombuffer(compiled(tmp_path / "c", program, *flags)(pixels[-2:].tobytes()), np.int32)
    np.testing.assert_array_equal(codes.reshape(2, -1), network.run(pixels[-2:]))
    shared = THREADS.format(call="net_run(images[n], logits[n])")
    with pytest.raises(AssertionError, match="data race"):  # so the sanitizer sees what threads share
        compiled(tmp_path / "c", shared, *flags)(pixels[-2:].tobytes())


# Placement


@pytest.mark.parametrize("compiler", [C99, CPP], ids=["C99", "C++17"])
def test_memory_and_tables_lie_where_they_are_told_to(compiler, tmp_path):
    network, _ = small()
    memory = write_c(network, tmp_path / "c")
    places = ['-DNET_CONST=__attribute__((section(".tables")))']
    places += ['-DNET_MEMORY=__attribute__((section(".bss.fast"), aligned(64)))']
    command = [*compiler, *WARNINGS, *places, "-c", tmp_path / "c" / "net.c", "-o", tmp_path / "net.o"]
    subprocess.run(command, check=True)
    found = sections(tmp_path / "net.o")
    placed = {place: sum(size for section, size in found.values() if section == place) for place, _ in found.values()}
    assert placed == {".tables": memory.weight_bytes, ".bss.fast": memory.ram_bytes}
    said = subprocess.run(["readelf", "-SW", tmp_path / "net.o"], capture_output=True, text=True, check=True).stdout
    kinds = dict(re.findall(r"\] (\S+)\s+((?:PROGBITS|NOBITS).*)", said))
    assert kinds[".bss.fast"].startswith("NOBITS") and kinds[".bss.fast"].endswith(" 64")
    assert kinds[".tables"].startswith("PROGBITS") and " A " in kinds[".tables"]  # read only
