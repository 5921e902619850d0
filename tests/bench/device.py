"""Time one image on one thread: fewbits' C, plain float loops in C, and LiteRT; count instructions on a Cortex-M4."""

import ctypes
import subprocess
import tempfile
import time
from pathlib import Path

import float_c
import numpy as np
import timing

from fewbits import data, zoo
from fewbits.book import reference
from fewbits.deploy import DeviceRunner, litert
from fewbits.deploy.c import write_c
from fewbits.deploy.emulation import BOARDS
from fewbits.deploy.lowering import lower
from fewbits.io import weights
from fewbits.io.tflite import litert_interpreter
from fewbits.quantization import calibration
from fewbits.quantization.conversion import quantize_model
from fewbits.zoo.trained import find_weights

NAME = "squeezenet_cifar"
DEVICE = "cortex-m4"
OURS, LITERT = "fewbits C, -O3", "LiteRT int8"
FLAGS = ("-O3", "-O2", "-O3 -march=native", "-O2 -march=native")
ROUNDS, REPEATS = 30, 10
rng = np.random.default_rng(0)
IMAGES = np.kron(rng.integers(0, 256, (64, 8, 8, 3)), np.ones((1, 4, 4, 1))).astype(np.uint8)  # random squares
DIGITS = data.load("digits")


def report():
    model = zoo.build(NAME, IMAGES.shape[1:], 10)
    weights.load_weights(model, find_weights(NAME))
    quantized, network = _quantized(model, IMAGES, 256)
    with tempfile.TemporaryDirectory() as folder:
        actions = _ours(network, Path(folder)) | _plain(network, Path(folder)) | _litert(model, quantized)
        times = timing.interleaved(actions, ROUNDS, REPEATS, time.process_time)
    of_ours, of_litert = timing.ratios(times, OURS), timing.ratios(times, LITERT)
    compiler = subprocess.run(["gcc", "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    print(f"{NAME}, 8 bits, one image, one thread; {compiler}")
    print(f"median (quartiles) of {ROUNDS} rounds of {REPEATS} images, interleaved in one process; processor time")
    print(f"{'':42}{'ms':>24}{'of ours':>22}{'of LiteRT int8':>22}")
    for name, taken in times.items():
        cells = ["{1:.2f} ({0:.2f}-{2:.2f})".format(*q[name]) for q in (of_ours, of_litert)]
        ms = "{1:.3f} ({0:.3f}-{2:.3f})".format(*np.quantile(taken, (0.25, 0.5, 0.75)))
        print(f"{name:42}{ms:>24}" + "".join(f"{cell:>22}" for cell in cells))
    _report_other("lenet", DIGITS.test.images[:64], DIGITS.levels)
    _report_other("mobilenet_cifar", IMAGES, 256)
    _report_instructions()
    print("\nGoals: ours takes at most the time of the float loops at -O3; of LiteRT int8, 2.5 times at -O3, 4 at -O2;")
    print("on a Cortex-M4, LeNet takes 1.15 times the instructions of CMSIS-NN, and -Os 1.3 times those of -O2")


def _quantized(model, images, levels, bits=(8, 8, 8), rounding="nearest"):
    """Return a model in fixed point and its integer network."""
    quantized = quantize_model(model, fold_batch_normalization=True, rounding=rounding)
    quantized.set_formats(calibration.formats_for(quantized, (images / np.float32(levels)).astype(np.float32), bits))
    return quantized, lower(quantized, levels=levels)


def _report_other(name, images, levels):
    """Print the time of another network, its weights drawn, relative to LiteRT."""
    model = zoo.build(name, images.shape[1:], 10)
    quantized, network = _quantized(model, images, levels)
    with tempfile.TemporaryDirectory() as folder:
        actions = _ours(network, Path(folder), images)
        actions[LITERT] = _interpreted(litert.to_litert(quantized, "int8"))
        of_litert = timing.ratios(timing.interleaved(actions, ROUNDS, REPEATS, time.process_time), LITERT)
    print(f"\n{name}, of LiteRT int8: " + ", ".join(f"{q[1]:.2f} {what}" for what, q in of_litert.items()))


def _report_instructions():
    """Print what LeNet takes on a Cortex-M4: -Os beside -O2, weights of 4 bits beside 8, and beside CMSIS-NN."""
    if BOARDS[DEVICE].missing:
        print(f"\nno instructions are counted: there is no {' and no '.join(BOARDS[DEVICE].missing)}")
        return
    images, counts = DIGITS.test.images[:4], {}
    for bits in (8, 4):
        model = zoo.build("lenet", DIGITS.image_shape, 10)
        network = _quantized(model, images, DIGITS.levels, (bits, 8, 8), "nearest-up")[1]
        for flags in ("-O2", "-Os"):
            counts[bits, flags] = DeviceRunner(network, DEVICE, flags).run(images).instructions.mean()
    of, rows = counts[8, "-O2"], reference.load_devices()[0]
    [theirs] = [
        row.instructions
        for row in rows
        if (row.network, row.device, row.kernels, row.optimized) == ("LeNet", DEVICE, "CMSIS-NN", "-O2")
    ]
    print(f"\nlenet on a Cortex-M4, -O2: {of:,.0f} instructions, {of / theirs:.2f} of CMSIS-NN's (devices.json)")
    print(f"-Os takes {counts[8, '-Os'] / of:.2f} of them, weights of 4 bits {counts[4, '-O2'] / of:.2f}")


def _ours(network, folder, images=IMAGES):
    write_c(network, folder / "c")
    expected = network.run(images).reshape(len(images), -1)
    actions = {}
    for flags in FLAGS:
        run = _compiled(folder / "c" / f"{network.name}.c", f"{network.name}_run", flags)
        codes = np.empty((len(images), 10), np.int32)
        for image, row in zip(images, codes):
            run(_pointer(image), _pointer(row))
        assert (codes == expected).all()
        actions[f"fewbits C, {flags}"] = _classify(run, codes, images)
    return actions


def _plain(network, folder):
    expected, actions = network.run(IMAGES).argmax(1), {}
    for order in float_c.ORDERS:
        path = folder / "plain.c"
        path.write_text(float_c.float_source(network, order))
        for flags in FLAGS[::2]:
            run = _compiled(path, "run", flags)
            logits = np.empty((len(IMAGES), 10), np.float32)
            for image, row in zip(IMAGES, logits):
                run(_pointer(image), _pointer(row))
            assert np.mean(logits.argmax(1) == expected) > 0.8  # the same network, but for rounding
            actions[f"float C, {order}, {flags}"] = _classify(run, logits)
    return actions


def _compiled(source, function, flags):
    """Return `function` of a C file as a callable."""
    library = source.with_name(f"{source.stem}{abs(hash((source.read_text(), flags)))}.so")
    subprocess.run(["gcc", "-std=c99", *flags.split(), "-shared", "-fPIC", source, "-o", library], check=True)
    return getattr(ctypes.CDLL(str(library)), function)


def _classify(run, logits, images=IMAGES):
    image, row = _pointer(images[0]), _pointer(logits[0])

    def classify():
        run(image, row)

    classify.keeps = logits
    return classify


def _pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


def _litert(model, quantized):
    of = {LITERT: litert.to_litert(quantized, "int8"), "LiteRT float": litert.to_litert(model)}
    return {name: _interpreted(content) for name, content in of.items()}


def _interpreted(content):
    network = litert_interpreter(content)
    network.allocate_tensors()
    details = network.get_input_details()[0]
    network.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
    return network.invoke
