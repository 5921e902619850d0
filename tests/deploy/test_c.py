"""C of a network of integers: compiled with all warnings and sanitizers, it says the same codes, bit for bit."""

import hashlib
import platform
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from fewbits import FixedPoint, data, names, zoo
from fewbits.backend import keras
from fewbits.deploy import operations, program
from fewbits.deploy.c import TEMPLATES, write_c
from fewbits.deploy.compiled import CRunner
from fewbits.deploy.lowering import lower
from fewbits.deploy.operations import signed_bits
from fewbits.deploy.program import plan_program
from fewbits.errors import InputError
from fewbits.io import weights
from fewbits.pruning import renew_statistics
from fewbits.quantization import calibration
from fewbits.quantization.conversion import quantize_model
from fewbits.zoo.trained import find_weights
from helpers.integer_networks import Network, ends, every_operation

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")

WARNINGS = "-Wall -Wextra -Wconversion -Wshadow -Werror -pedantic".split()
STRICT = ["-std=c99", *WARNINGS]
STRICT_CPP = ["-x", "c++", "-std=c++17", *WARNINGS]
PLAIN = "-DWIDE="  # one version of each function: compiles in half the time
SANITIZERS = ["-O1", PLAIN, *"-fsanitize=undefined,address -fno-sanitize-recover=all".split()]
CHECKED = [*STRICT[1:], "-O1", PLAIN, *"-fsanitize=undefined -fno-sanitize-recover=all".split()]
BATCH = """
#include <stdio.h>
#include <string.h>
#include "{name}.h"
static struct {name}_memory memory;
static uint8_t image[{NAME}_HEIGHT * {NAME}_WIDTH * {NAME}_CHANNELS];
static int32_t logits[{NAME}_LOGITS];
int main(void)
{{
    memset(&memory, 165, sizeof memory);
    {guards}
    while (fread(image, 1, sizeof image, stdin) == sizeof image) {{
        {name}_run_in(&memory, image, logits);
        fwrite(logits, sizeof logits[0], {NAME}_LOGITS, stdout);
    }}
    return 0;
}}
"""
DIGITS = data.load("digits")
GOLDEN = "ae377822a9d1a947b91c5ed789fda19a52da3880a0369829f14e1f39333b8b57"  # of all files of squeezenet_digits


def gcc(*arguments):
    done = subprocess.run(["gcc", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]


def guarded(header, guards="uint8_t guard{}[32];"):
    """Return the text of a header, with a guard behind each member of the memory, and how many there are."""
    number = count()
    member = r"^    (?:\w+ \w+\[\d+\]|\} arena);$"
    header = re.sub(member, lambda found: f"{found[0]} {guards.format(next(number))}", header, flags=re.MULTILINE)
    return re.sub(r"_MEMORY_BYTES \d+", "_MEMORY_BYTES 1000000000", header), next(number)


def check_cpp(source):
    """Check that a C++ compiler takes `source` without a warning."""
    if shutil.which("g++"):
        done = subprocess.run(["g++", *STRICT_CPP, "-fsyntax-only", source], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:4000]


def compute(network, pixels, folder, flags=SANITIZERS):
    """Return the codes (n, logits) that the C of `network` computes, compiled with `flags`.

    Its memory holds what is not zero before, and with SANITIZERS, no row in it may be left.
    """
    write_c(network, folder / "written")
    source = next(path for path in (folder / "written").glob("*.c") if path.name != "main.c")
    fields, poison = {"name": source.stem, "NAME": source.stem.upper(), "guards": ""}, ""
    check_cpp(source)
    if flags is SANITIZERS:
        text, guards = guarded(source.with_suffix(".h").read_text())
        assert guards >= 1
        source.with_suffix(".h").write_text(text)
        fields["guards"] = " ".join(f"__asan_poison_memory_region(memory.guard{n}, 32);" for n in range(guards))
        poison = "#include <sanitizer/asan_interface.h>"
    (folder / "batch.c").write_text(poison + BATCH.format(**fields))
    gcc(*STRICT, *flags, "-I", source.parent, source, folder / "batch.c", "-o", folder / "batch")
    done = subprocess.run([folder / "batch"], input=pixels.astype(np.uint8).tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr[:4000]
    return np.frombuffer(done.stdout, np.int32).reshape(len(pixels), -1)


def assert_identical(network, pixels, folder, **options):
    codes = network.run(pixels).reshape(len(pixels), -1)
    assert np.ptp(codes, axis=0).any()  # a network of zeros alone proves nothing
    np.testing.assert_array_equal(compute(network, pixels, folder, **options), codes)


def source(network, folder):
    """Return the text of all files of C but the example."""
    write_c(network, folder)
    return "".join(path.read_text() for path in sorted(folder.glob("*.[ch]")) if path.name != "main.c")


# The three networks, on all test images and 141 that are drawn


NETWORKS = {"squeezenet_digits": {}, "lenet": {}, "mobilenet_cifar": {"width": 0.25}}


@pytest.fixture(scope="module", params=NETWORKS.items(), ids=NETWORKS)
def quantized(request):
    keras.utils.set_random_seed(3)
    name, options = request.param
    model = zoo.build(name, (8, 8, 1), 10, **options)
    if name == "squeezenet_digits":
        weights.load_weights(model, find_weights(name))
    if name == "mobilenet_cifar":  # else its signal fades from block to block
        renew_statistics(model, [(DIGITS.scaled(DIGITS.train.take(256)), None)])
    return quantize_model(model, fold_batch_normalization=True)


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_the_three_networks_say_the_same_on_500_images(quantized, bits, tmp_path):
    quantized.set_formats(calibration.formats_for(quantized, DIGITS.scaled(DIGITS.test.take(64)), (bits,) * 3))
    quantized.set_rounding("nearest")
    drawn = np.random.default_rng(bits).integers(0, DIGITS.levels, (141, 8, 8, 1), np.uint8)
    pixels = np.concatenate([DIGITS.test.images, drawn])
    assert len(pixels) == 500
    assert_identical(lower(quantized, levels=DIGITS.levels), pixels, tmp_path)


def test_the_c_of_a_network_with_one_input_and_one_output_stays_as_it_was(tmp_path):
    model = zoo.build("squeezenet_digits", (8, 8, 1), 10)
    weights.load_weights(model, find_weights("squeezenet_digits"))
    formats = FixedPoint(0, 8), FixedPoint(2, 8), FixedPoint(3, 8)
    write_c(lower(quantize_model(model, formats, rounding="nearest"), levels=DIGITS.levels), tmp_path / "c")
    texts = [path.read_text() for path in sorted((tmp_path / "c").iterdir())]
    text = re.sub(r"Made by fewbits \S*\. Read", "Made by fewbits. Read", "".join(texts))
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN


@pytest.mark.parametrize("flags", ["-O2", "-O3 -march=native"])
def test_optimized_they_say_the_same(flags, quantized, tmp_path):
    quantized.set_formats(calibration.formats_for(quantized, DIGITS.scaled(DIGITS.test.take(64)), (8,) * 3))
    network = lower(quantized, levels=DIGITS.levels)
    assert_identical(network, DIGITS.test.images, tmp_path, flags=flags.split())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names of vector instructions are those of x86-64")
def test_at_o2_the_products_are_vectorized_for_every_pc_and_for_avx2(tmp_path):
    version = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True).stdout
    if int(version.split(".")[0]) < 12:
        pytest.skip("gcc vectorizes at -O2 from version 12 on")
    net = Network()
    net.requantize(net.convolve(0, 8), 9)
    write_c(net.made(), tmp_path / "c")
    gcc("-std=c99", "-O2", "-S", tmp_path / "c" / "net.c", "-o", tmp_path / "net.s")
    functions = re.split(r"\n(?=dots_\w*(?:\.\w+)*:)", (tmp_path / "net.s").read_text())
    found = {text[: text.index(":")]: text for text in functions[1:]}
    names = [f"dots_int16_int8{four}.{kind}" for four in ("", "_four") for kind in ("default", "avx2")]
    for name in names:
        pattern = r"vpmaddwd.*ymm" if "avx2" in name else r"\spmaddwd"
        assert re.search(pattern, found[name].split(".cfi_endproc")[0]), name


# Networks of a few operations, made by hand


@pytest.mark.parametrize("rounding", names.INTEGER_ROUNDINGS)
def test_every_rounding_and_way_to_divide(rounding, tmp_path):
    net = Network((4, 4, 6), mean=100)
    narrow = net.clip(net.requantize(0, 2, rounding), -20, 25)  # half-way cases of both signs
    each = net.requantize(net.add_constant(0, 0), (3, 0, -2, 1, 2, -1), rounding, -70, 90)
    average = net.requantize(net.sum_pool(0, (2, 3)), 0, rounding)  # divisor 6
    coarse = net.requantize(net.sum_pool(0, (2, 3)), 1, rounding)  # divisor 12
    power = net.requantize(net.sum_pool(0, (2, 2)), 1, rounding)  # divisor 4, a shift
    up = net.requantize(net.sum_pool(0, (2, 2)), -3, rounding, -1000, 1000)
    fine = net.requantize(net.sum_pool(0, (2, 3)), -3, rounding, -1000, 1000)
    parts = [net.reshape(i, (1, 1, net.tensors[i].size)) for i in (narrow, each, average, coarse, power, up, fine)]
    net.concatenate(parts, (0, 1, 0, 0, 0, 0, 3))
    network = net.made()
    assert_identical(network, net.pixels(), tmp_path)
    text = source(network, tmp_path / "source")
    used = set(re.findall(r"\b(?:shift|shift_each|divide)_[a-z_]+(?=\()", text))
    assert used == {f"{kind}_{rounding.replace('-', '_')}" for kind in ("shift", "shift_each", "divide")}


WINDOWS = [
    {"strides": (2, 1), "padding": ((1, 2), (0, 1))},
    {"size": (2, 3), "dilation": (2, 2), "padding": ((2, 1), (1, 0))},
    {"size": (1, 1), "strides": (3, 2)},
]


@pytest.mark.parametrize("mean", [0, 117])
@pytest.mark.parametrize("options", WINDOWS)
def test_windows_with_strides_dilation_and_borders(mean, options, tmp_path):
    net = Network((9, 8, 3), mean)
    first = net.requantize(net.convolve(0, 5, **options), 7)
    padding = ((1, 1), (1, 1))
    second = net.depthwise(first, size=(2, 3), padding=padding, strides=(1, 2))
    third = net.requantize(net.depthwise(net.requantize(second, 8), 3, (2, 2), padding=padding, dilation=(2, 1)), 9)
    net.max_pool(third, padding=((1, 1), (2, 2)))
    assert_identical(net.made(), net.pixels(), tmp_path)


def test_averages_borders_and_codes_that_must_be_copied(tmp_path):
    net = Network((8, 8, 2), mean=30)
    padded = net.pad(0, ((1, -2), (-1, 2)))
    average = net.requantize(net.sum_pool(net.pad(padded, ((-1, 0), (0, 0))), (3, 2), (2, 2)), 1)
    flat = net.reshape(average, (1, 1, net.tensors[average].size))
    constant = net.add_constant(average, 2)  # the average has three readers
    image = net.convolve(average, 3, (2, 2))
    for i in (flat, constant, image):
        net.requantize(net.reshape(i, (1, 1, net.tensors[i].size)), 1)
    dense = net.convolve(
        net.concatenate([len(net.operations) - 4, len(net.operations) - 2, len(net.operations)], (0, 1, 2)), 7, (1, 1)
    )
    net.reshape(dense, (7, 1, 1))
    assert_identical(net.made(), net.pixels(), tmp_path)


@pytest.mark.parametrize("mean", [0, 7])
def test_logits_that_share_the_memory_of_another_tensor_are_copied(mean, tmp_path):
    net = Network(mean=mean)
    net.reshape(0, (1, 1, net.tensors[0].size))
    assert_identical(net.made(), net.pixels(5), tmp_path)


def test_concatenations_of_concatenations_and_sums_on_different_grids(tmp_path):
    net = Network((6, 6, 3))
    a, b, c = (net.requantize(net.convolve(0, n, (2, 2)), 8) for n in (2, 3, 4))
    inner = net.clip(net.requantize(net.concatenate([a, b], (0, 1)), (0, 1, 2, 1, 0)), -60, 90)
    outer = net.add_constant(net.concatenate([c, inner, b], (1, 0, 0)), 0)  # b is read twice: copied
    total = net.sum_of([outer, net.requantize(outer, 1), outer], (0, 2, 1))
    net.requantize(total, 2)
    network = net.made()
    assert_identical(network, net.pixels(), tmp_path)
    assert [loop.kind for loop in plan_program(network).loops].count("copy") == 3  # b, the requantized outer, ...


def test_sums_of_64_bits_and_codes_of_16_and_32(tmp_path):
    net = Network((5, 5, 3), mean=128)
    wide = net.requantize(net.convolve(0, 4, bits=16), 4, low=-(2**15), high=2**15 - 1)
    wider = net.requantize(net.convolve(wide, 4, (2, 2), bits=16), 2, low=-(2**22), high=2**22)
    widest = net.convolve(wider, 3, (1, 1), bits=20)
    assert max(operation.partial_bits for operation in net.made().convolutions) > 40
    net.requantize(
        net.clip(net.requantize(widest, 3, "floor", -(2**40), 2**40), -(2**35), 2**35), 12, low=-(2**31), high=2**31 - 1
    )
    network = net.made()
    assert_identical(network, net.pixels(), tmp_path)
    text = source(network, tmp_path / "source")
    assert "int16_t kernel_" in text and "int32_t kernel_" in text and "int64_t wide_sums" in text
    narrow = Network((5, 5, 3))
    narrow.requantize(narrow.convolve(0, 4), 9)
    assert "int64" not in source(narrow.made(), tmp_path / "narrow")


def test_every_operation_of_joins_functions_and_moves(tmp_path):
    net = every_operation()
    assert_identical(net.made(), net.pixels(), tmp_path)


def test_sums_of_64_bits_of_joins_and_functions(tmp_path):
    net = Network((3, 3, 4), mean=128)
    wide = net.requantize(net.convolve(0, 4, (1, 1), bits=16), 1, low=-(2**24), high=2**24)
    product = net.requantize(net.product(wide, wide), 20, low=-(2**31), high=2**31 - 1)
    leaky = net.requantize(net.leaky(wide, (3, 3, 4), 12), 4, low=-(2**31), high=2**31 - 1)
    largest = net.requantize(net.extreme(operations.Largest, (product, leaky), (1, 3)), 4, low=-(2**29), high=2**29)
    joined = net.requantize(net.difference(largest, wide, (0, 9)), 14, low=-(2**40), high=2**40)
    net.difference(net.table(net.clip(joined, -99, 99), 2**30), largest, (0, 0))
    network = net.made()
    assert_identical(network, net.pixels(), tmp_path)
    assert "wide_sums" in source(network, tmp_path / "source")


def test_codes_of_64_bits_that_others_read_are_stored(tmp_path):
    net = Network((3, 3, 3), mean=100)
    narrow = net.requantize(0, 1)
    wide = net.add_constant(narrow, 33)
    products = [net.product(wide, narrow), net.extreme(operations.Largest, (wide, narrow), (0, 1))]
    pooled = net.max_pool(net.pad(wide, ((1, 0), (0, 2))), (2, 2), (1, 1), ((0, 0), (0, 0)))
    parts = [net.requantize(i, 31, low=-(2**20), high=2**20) for i in (*products, pooled, wide)]
    net.concatenate([net.reshape(i, (1, 1, net.tensors[i].size)) for i in parts], (0,) * 4)
    network = net.made()
    assert {b.bits for b in plan_program(network).buffers.values()} >= {8, 32, 64}
    assert_identical(network, net.pixels(), tmp_path)


@pytest.mark.parametrize("shift", [(3, 0, -2), (-1, -3, -2)])
def test_an_average_of_filters_with_steps_of_their_own_is_divided_exactly(shift, tmp_path):
    net = Network((4, 6, 3), mean=100)
    net.requantize(net.sum_pool(0, (2, 3)), shift, "nearest", -(2**12), 2**12)
    assert_identical(net.made(), net.pixels(), tmp_path)


@pytest.mark.parametrize("mean", [0, 3])
@pytest.mark.parametrize(
    "outputs",
    [[], ["total", "joined"], ["image", "vector", "input"], ["flat", "flat"], ["last", "total"]],
    ids=lambda names: " ".join(names) or "one",
)
def test_several_inputs_and_outputs(outputs, mean):
    network, images = ends(outputs, mean)
    runner = CRunner(network, *CHECKED)
    made = network.run(images)
    theirs = [runner.run_all(*of_each) for of_each in zip(*images)]
    for n, codes in enumerate(made if outputs else [made]):
        np.testing.assert_array_equal(np.stack([x[n] for x in theirs]), codes)


@needs_make
def test_the_example_of_a_network_of_several_ends_prints_the_codes(tmp_path):
    network, images = ends(["total"])
    write_c(network, tmp_path / "net")
    subprocess.run(["make", "-C", tmp_path / "net", f"CFLAGS={' '.join(STRICT)}"], check=True)
    content = b"".join(image[5].tobytes() for image in images)
    done = subprocess.run([tmp_path / "net" / "classify"], input=content, capture_output=True)
    expected = "".join(f"codes {' '.join(map(str, codes[5].tolist()))}\n" for codes in network.run(images))
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, expected, b"")
    short = subprocess.run([tmp_path / "net" / "classify"], input=content[:-1], capture_output=True)
    assert short.returncode == 1 and b"an image of 5 bytes from 0 to 255 ends or is wrong at byte 4" in short.stderr


FORMATS = [FixedPoint(0, bits, signed) for bits in (2, 3, 4, 4, 8, 16) for signed in (True, False)]


def random_network(seed, formats=None):
    """Return a Network of a dozen operations that are drawn, each on tensors that are drawn.

    What is requantized has codes of up to 13 bits, or those of one of `formats`.
    """
    net = Network((7, 6, 3), mean=seed % 3 * 60, seed=seed)
    random = net.random

    def draw(indices):
        return int(random.choice(indices[-4:]))

    def sizes(x):
        return tuple(int(min(random.integers(1, 4), side)) for side in x.shape[:2])

    alive = [0]
    while len(alive) < 13:
        i = draw(alive)
        x = net.tensors[i]
        strides = tuple(random.integers(1, 3, 2).tolist())
        padding = tuple((int(a), int(b)) for a, b in random.integers(0, 2, (2, 2)))
        rounding = names.INTEGER_ROUNDINGS[random.integers(4)]
        kind = random.integers(11)
        alike = [j for j in alive if net.tensors[j].shape == x.shape and net.tensors[j].divisor == x.divisor]
        pair, shifts = [i, draw(alike)], tuple(random.integers(0, 3, 2).tolist())
        if kind in (0, 1):
            made = net.convolve(i, int(random.integers(1, 6)), sizes(x), strides, padding)
        elif kind == 2:
            made = net.depthwise(i, int(random.integers(1, 4)), sizes(x), strides, padding)
        elif kind == 3:
            window = tuple(int(random.integers(2, 4)) for _ in range(2))  # none lies in the border alone
            made = net.max_pool(i, window, strides, ((1, 1), (1, 1)))
        elif kind == 4:
            made = net.sum_pool(i, sizes(x), strides)
        elif kind == 5:
            made = net.pad(i, ((1, 0), (-1, 1)))
        elif kind == 6:
            made = net.concatenate(pair, shifts)
        elif kind == 7:
            made = net.sum_of(pair, shifts)
        elif kind == 8:
            made = net.add_constant(i, int(random.integers(3)))
        elif kind == 9:
            made = net.clip(i, 0, max(x.high, 1))
        else:
            height, width, channels = x.shape
            made = net.reshape(i, (width, 1, height * channels))
        if net.tensors[made].bits > 12 or random.integers(3) == 0:
            low, high = net.reach()
            fmt = formats[random.integers(len(formats))] if formats else None
            bits = fmt.nbits + (not fmt.signed) if fmt else int(random.integers(7, 13))
            down = signed_bits(low, high) - bits - (net.tensors[made].divisor > 1)
            each = tuple((down - random.integers(3, size=net.tensors[made].shape[2])).tolist())
            whole = net.tensors[made].divisor & (net.tensors[made].divisor - 1) == 0
            limits = (fmt.min_code, fmt.max_code) if fmt else (-300, 280)
            made = net.requantize(made, each if whole and random.integers(3) == 0 else down, rounding, *limits)
        alive.append(made)
    ends = [
        i for i in alive if not any(i in operation.inputs for operation in net.operations)
    ]  # all of them become the logits
    flat = [net.reshape(net.requantize(i, 0, low=-(2**15), high=2**15), (1, 1, net.tensors[i].size)) for i in ends]
    net.concatenate(flat, (0,) * len(flat))
    return net


@pytest.mark.parametrize("seed", range(30))
def test_networks_of_drawn_steps(seed, tmp_path):
    net = random_network(seed)
    pixels = net.pixels()
    network = net.made()
    assert_identical(network, pixels, tmp_path)


@pytest.fixture
def always_packed(monkeypatch):
    """Pack codes of at most 4 bits whether that saves memory or not."""
    place = program._buffers
    monkeypatch.setattr(program, "_buffers", lambda *arguments: place(*arguments[:-1], packed=True))


@pytest.mark.parametrize("seed", range(30, 45))
def test_networks_of_drawn_formats(seed, always_packed):
    net = random_network(seed, FORMATS)
    network, pixels = net.made(), net.pixels(30)
    runner = CRunner(network, *CHECKED)
    codes = network.run(pixels).reshape(len(pixels), -1)
    assert np.ptp(codes, axis=0).any()
    np.testing.assert_array_equal(np.stack([runner.run(image) for image in pixels]), codes)


def test_the_drawn_networks_have_every_function_that_can_be_written(tmp_path):
    texts = []
    drawn = [*map(random_network, range(30)), *(random_network(seed, FORMATS) for seed in range(30, 45))]
    for seed, net in enumerate([*drawn, every_operation()]):
        texts.append(source(net.made(), tmp_path / str(seed)))
        check_cpp(tmp_path / str(seed) / "net.c")
    functions = {name for text in texts for name in re.findall(r"^static [\w ]+\*?\b(\w+)\(.*", text, re.MULTILINE)}
    templates = {path.stem for path in TEMPLATES.glob("*.c")} - {"source", "main", "main_several", "extreme"}
    templates -= {"dots_dsp", "convolve_packed", "unpack_weights"}  # `dots` of other processors; weights of few bits
    templates -= {"cmsis_convolve", "cmsis_dense", "flip"}  # calls of CMSIS-NN
    templates |= {"largest", "smallest"}
    unmet = {kind for kind in templates if not any(name.startswith(kind) for name in functions)}
    assert len(templates) > 15 and not unmet
    assert {f"shift_{rounding.replace('-', '_')}" for rounding in names.INTEGER_ROUNDINGS} <= functions


# Memory


def test_no_float_no_heap_and_the_memory_that_is_told(quantized, tmp_path):
    quantized.set_formats(calibration.formats_for(quantized, DIGITS.scaled(DIGITS.test.take(64)), (8,) * 3))
    network = lower(quantized, levels=DIGITS.levels)
    memory = write_c(network, tmp_path / "c")
    path = tmp_path / "c" / f"{network.name}.c"
    code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    assert not re.search(r"\b(float|double|malloc|calloc|alloca|\d+\.\d*)\b", code)
    gcc(*STRICT, "-O0", "-c", path, "-o", tmp_path / "o.o")
    symbols = subprocess.run(["nm", "-S", tmp_path / "o.o"], capture_output=True, text=True, check=True).stdout
    sizes = {
        kind: sum(int(line.split()[1], 16) for line in symbols.splitlines() if f" {kind} " in line) for kind in "rb"
    }
    assert sizes == {"r": memory.weight_bytes, "b": memory.ram_bytes}
    assert {line.split()[-1] for line in symbols.splitlines() if " U " in line} <= {"memcpy", "memset"}
    header = (tmp_path / "c" / f"{network.name}.h").read_text()
    for what, size in memory._asdict().items():
        assert f"_{what.upper()} {size}" in header
    assert f" {memory.ram_bytes} bytes" in header


def test_sums_do_not_go_to_memory_and_a_concatenation_takes_no_copy():
    net = Network((8, 8, 4))
    first = net.clip(net.requantize(net.convolve(0, 8, (1, 1)), 9), 0, 127)
    parts = [net.clip(net.requantize(net.convolve(first, 8, (1, 1)), 9), 0, 127) for _ in range(2)]
    net.requantize(net.sum_pool(net.concatenate(parts, (0, 0)), (8, 8)), 0)
    plan = plan_program(net.made())
    assert [loop.kind for loop in plan.loops] == ["convolve", "convolve", "convolve", "sum_pool"]
    assert plan.arena_bytes == 8 * 8 * (8 + 16)  # int8 alone: the input of both, and where they meet


def test_codes_are_made_narrow_before_they_are_pooled(tmp_path):
    net = Network((8, 8, 4))
    parts = [net.clip(net.requantize(net.convolve(0, 8, (1, 1)), 9), 0, 127) for _ in range(2)]
    joined = net.concatenate(parts, (0, 2))  # to 508, which takes 16 bits
    pooled = net.clip(net.requantize(net.max_pool(joined, (2, 2), (2, 2), ((0, 0), (0, 0))), (0, 1) * 8), -128, 90)
    net.convolve(pooled, 5, (1, 1))
    network = net.made()
    assert plan_program(network).arena_bytes == (8 * 8 + 4 * 4) * 16
    assert_identical(network, net.pixels(), tmp_path)


def test_what_others_read_too_is_pooled_before_it_is_made_narrow(tmp_path):
    net = Network((6, 6, 3))
    pooled = net.max_pool(net.requantize(net.convolve(0, 4), 5, low=-1000, high=1000), (2, 2))
    narrow = net.requantize(pooled, 4)
    net.sum_of([narrow, pooled], (4, 0))
    assert_identical(net.made(), net.pixels(), tmp_path)


def test_codes_that_are_never_negative_are_stored_without_a_sign(tmp_path):
    net = Network((4, 4, 3))
    a = net.requantize(net.convolve(0, 4, (2, 2)), 7, low=0, high=255)
    b = net.requantize(net.convolve(a, 5, (2, 2)), -1, low=0, high=2**16 - 1)
    net.convolve(b, 3, (2, 2))
    network = net.made()
    assert {i: buffer.kind for i, buffer in plan_program(network).buffers.items()} == {a: "uint8", b: "uint16"}
    codes, wide = (network._batches(net.pixels(), {a, b}).__next__()[i] for i in (a, b))
    assert codes.max() > 127 and wide.max() > 2**15  # else a sign would do
    assert_identical(network, net.pixels(), tmp_path)


def four_bits(low, high, channels=(8, 8, 8), shape=(8, 8, 4)):
    """Return a Network of convolutions between tensors of codes from `low` to `high`, and those tensors."""
    net, i, made = Network(shape), 0, []
    for filters in channels:
        net.convolve(i, filters, (1, 1))
        down = signed_bits(*net.reach()) - signed_bits(low, high)
        i = net.requantize(len(net.operations), down, low=low, high=high)
        made.append(i)
    net.convolve(i, 2, net.tensors[i].shape[:2])
    return net, made


@pytest.mark.parametrize(("kind", "limits"), [("int4", (-8, 7)), ("uint4", (0, 15)), ("uint4", (0, 8))])
def test_codes_of_four_bits_lie_two_in_a_byte(kind, limits, tmp_path):
    net, made = four_bits(*limits)
    network = net.made()
    packed, plain = (plan_program(network, packed) for packed in (True, False))
    assert {i: b.kind for i, b in packed.buffers.items()} == dict.fromkeys(made, kind)
    assert {b.kind for b in plain.buffers.values()} == {"int8"}
    assert (packed.arena_bytes, plain.arena_bytes, packed.unpacked_bytes) == (8 * 8 * 8, 8 * 8 * 16, 8)
    codes = [codes for batch in network._batches(net.pixels(), {*made}) for codes in batch.values()]
    beyond = [x.min() < 0 if kind == "int4" else x.max() > 7 for x in codes]
    assert any(beyond)  # else the other kind would do
    memory = [write_c(network, tmp_path / str(packed), packed) for packed in (True, False)]
    assert memory[0].ram_bytes == memory[1].ram_bytes - 8 * 8 * 8 + 8
    assert_identical(network, net.pixels(), tmp_path)


@pytest.mark.parametrize(("bits", "each"), [(4, 2), (3, 2), (2, 4), (1, 4)])
def test_weights_of_few_bits_share_bytes(bits, each, tmp_path):
    net = Network((5, 5, 3))
    first = net.requantize(net.convolve(0, 7, bits=bits), 5)  # nine windows: two times four, and one
    net.convolve(first, 6, (3, 3), bits=bits)
    network = net.made()
    packed, plain = (write_c(network, tmp_path / str(packed), packed) for packed in (True, False))
    bytes_ = 7 * -(-27 // each) + 6 * -(-63 // each)
    whole = 7 * 27 + 5 + 6 * 63 + 1  # zeros fill the last filter up to a whole vector
    assert plain.weight_bytes - packed.weight_bytes == whole - bytes_
    assert packed.scratch_bytes - plain.scratch_bytes == 4 * 64
    assert_identical(network, net.pixels(), tmp_path)


@pytest.mark.parametrize("codes", [8, 16])
def test_weights_of_several_widths_in_one_network(codes, tmp_path):
    net = Network((4, 4, 3))
    i = 0
    for bits in (2, 8, 4, 16):
        i = net.requantize(net.convolve(i, 5, (1, 1), bits=bits), 4, low=-(2 ** (codes - 1)), high=2 ** (codes - 1) - 1)
    net.convolve(i, 3, (4, 4), bits=4)
    network = net.made()
    assert_identical(network, net.pixels(), tmp_path)
    text = source(network, tmp_path / "c")
    assert "unpack_weights_2(" in text and "unpack_weights_4(" in text


@pytest.mark.parametrize("channels", [(3, 5, 1), (1, 1, 1), (7, 2, 9)])
def test_pixels_of_odd_channels_share_bytes(channels, tmp_path):
    net, made = four_bits(-8, 7, channels, (5, 3, 2))
    network = net.made()
    buffers = plan_program(network).buffers
    assert [buffers[i].bytes for i in made] == [-(-5 * 3 * n // 2) for n in channels]
    assert_identical(network, net.pixels(), tmp_path)


def test_what_is_joined_shares_bytes_that_are_written_at_different_times(tmp_path):
    net = Network((5, 5, 3))
    parts = [net.requantize(net.convolve(0, n, (1, 1)), 7, low=-8, high=7) for n in (3, 2, 1)]
    joined = net.concatenate(parts, (0, 0, 0))
    net.convolve(joined, 2, (5, 5))
    network = net.made()
    assert plan_program(network).buffers[joined].packed
    assert_identical(network, net.pixels(), tmp_path)


def test_what_takes_no_less_memory_is_not_packed():
    net = Network((2, 1, 4))
    net.convolve(net.requantize(net.convolve(0, 4, (1, 1)), 9, low=0, high=15), 2, (2, 1))
    plan = plan_program(net.made())  # 4 bytes and a row of 4 to unpack, or 8 bytes
    assert {b.kind for b in plan.buffers.values()} == {"int8"} and plan.unpacked_bytes == 0


def test_what_is_multiplied_is_unpacked_into_rows_of_its_own(tmp_path):
    net = Network((8, 8, 6))
    a, b = (net.requantize(net.convolve(0, 6, (1, 1)), 9, low=low, high=low + 15) for low in (-8, 0))
    net.convolve(net.requantize(net.product(a, b), 3), 2, (8, 8))
    network = net.made()
    assert plan_program(network).unpacked_bytes == 12
    assert_identical(network, net.pixels(), tmp_path)


@pytest.mark.parametrize("low", [0, -8])
def test_every_operation_on_packed_codes(low, always_packed, tmp_path):
    net = every_operation(low=low, high=low + 15)
    network = net.made()
    plan = plan_program(network)
    packed = {i for i, buffer in plan.buffers.items() if buffer.packed}
    read = {loop.kind for loop in plan.loops if packed & {*loop.inputs}}
    assert read >= {"grouped", "spread", "product", "subtract", "largest", "smallest", "sum_pool", "copy"}
    assert_identical(network, net.pixels(), tmp_path)


def test_no_codes_lie_where_others_are_still_needed():
    for seed in range(45):
        plan = plan_program(random_network(seed, FORMATS if seed >= 30 else None).made())
        needed = {}
        for number, loop in enumerate(plan.loops):
            for i in {*loop.inputs, loop.tensor} & set(plan.buffers):
                b = plan.buffers[i]
                needed.setdefault((b.start, b.bytes, i), []).append(number)
        for (start, size, i), times in needed.items():
            assert start % 4 == 0 and start + size <= plan.arena_bytes
            for (other, length, j), at in needed.items():
                alias = plan.buffers[i] is plan.buffers[j]
                apart = start + size <= other or other + length <= start
                assert i == j or alias or apart or max(times) < min(at) or max(at) < min(times)


# The example


@pytest.fixture
def example(tmp_path):
    net = Network((4, 5, 3), mean=120)
    net.convolve(net.requantize(net.convolve(0, 4), 8), 6, (2, 3))
    network = net.made()
    write_c(network, tmp_path / "net")
    subprocess.run(["make", "-C", tmp_path / "net"], check=True, capture_output=True)

    def classify(content):
        return subprocess.run([tmp_path / "net" / "classify"], input=content, capture_output=True)

    return network, net.pixels(8), classify


@needs_make
def test_the_example_classifies_an_image_from_standard_input(example):
    network, pixels, classify = example
    for image, codes in zip(pixels, network.run(pixels)):
        done = classify(image.tobytes())
        expected = f"class {codes.argmax()}\ncodes {' '.join(map(str, codes.tolist()))}\n"
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, expected, b"")


@needs_make
@pytest.mark.parametrize("length", [0, 59, 61, 1000])
def test_an_image_of_another_length_is_told_and_refused(example, length):
    done = example[2](bytes(length))
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.decode() == f"{length} bytes on standard input; an image has 4 x 5 x 3 = 60\n"


@needs_make
def test_pixels_beyond_the_levels_are_refused(tmp_path):
    net = Network((2, 2, 1))
    net.tensors[0] = replace(net.tensors[0], high=31)
    net.convolve(0, 2, (2, 2))
    write_c(net.made(), tmp_path / "net")
    subprocess.run(["make", "-C", tmp_path / "net"], check=True, capture_output=True)
    done = subprocess.run([tmp_path / "net" / "classify"], input=bytes([31, 32, 0, 0]), capture_output=True)
    assert (done.returncode, done.stderr) == (1, b"byte 1 is 32; a pixel is at most 31\n")


# Files and names


def small(name="net", layer="conv", **options):
    net = Network((4, 4, 2), **options)
    net.convolve(net.requantize(net.convolve(0, 2), 8), 3, (2, 2))
    network = net.made()
    return replace(
        network, name=name, operations=tuple(replace(operation, layer=layer) for operation in network.operations)
    )


@pytest.mark.parametrize("name", ["main", "9 lives", "a-b.c", "", "größe", "_x", "for"])
@pytest.mark.parametrize("layer", ["a*/b", "int", "sums", "naïve conv"])
def test_any_name_of_network_and_layers_compiles(name, layer, tmp_path):
    network = small(name, layer)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 2))
    np.testing.assert_array_equal(compute(network, pixels, tmp_path), network.run(pixels).reshape(3, -1))


@pytest.mark.skipif(not shutil.which("g++"), reason="g++ is not installed")
def test_a_program_in_cpp_links_the_c(tmp_path):
    network, folder = small(), tmp_path / "c"
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 2))
    expected = compute(network, pixels, tmp_path)
    write_c(network, folder)
    gcc(*STRICT, "-c", folder / "net.c", "-o", folder / "net.o")
    (folder / "main.cpp").write_text(BATCH.format(name="net", NAME="NET", guards=""))
    strict = ["-std=c++11", *WARNINGS]
    files = [folder / "main.cpp", folder / "net.o", "-o", folder / "program"]
    done = subprocess.run(["g++", *strict, *map(str, files)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    ran = subprocess.run([folder / "program"], input=pixels.astype(np.uint8).tobytes(), capture_output=True)
    np.testing.assert_array_equal(np.frombuffer(ran.stdout, np.int32).reshape(3, -1), expected)


def refused():
    wide = Network((4, 4, 2))
    wide.convolve(wide.requantize(wide.convolve(0, 2, bits=24), 0, low=-(2**31), high=2**31 - 1), 3, (2, 2), bits=24)
    shifted = Network((4, 4, 2))
    shifted.requantize(0, 70)
    levels = Network((4, 4, 2))
    levels.tensors[0] = replace(levels.tensors[0], high=511)
    levels.convolve(0, 2)
    return [
        (wide, "layer layer2 outputs codes of 58 bits, more than 32; give it an output format"),
        (shifted, "layer layer0 needs integers of 72 bits, more than 64"),
        (levels, "pixels of 512 levels do not fit in bytes; C takes at most levels=256"),
    ]


@pytest.mark.parametrize(("net", "message"), refused())
def test_what_c_cannot_say_is_refused_and_nothing_is_written(net, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write_c(net.made(), tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "note").write_text("mine")
    for folder in (tmp_path, tmp_path / "note"):
        with pytest.raises(InputError, match="exists already; choose a new or an empty folder"):
            write_c(small(), folder)
    with pytest.raises(InputError, match="there is no folder"):
        write_c(small(), tmp_path / "missing" / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("stands", [False, True])
def test_a_folder_is_written_whole_or_not_at_all(error, stands, tmp_path, monkeypatch):
    folder, calls = tmp_path / "c", []
    if stands:
        folder.mkdir()

    def write(path, text):
        calls.append(path)
        if len(calls) == 2:
            raise error
        return len(text)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write)
        with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
            write_c(small(), folder)
    assert len(calls) == 2 and list(tmp_path.rglob("*")) == [folder] * stands
    write_c(small(), folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["CMakeLists.txt", "Makefile", "main.c", "net.c", "net.h", "net_numbers.h"]
    )
    assert list(tmp_path.iterdir()) == [folder]
