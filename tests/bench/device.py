"""Time one image through SqueezeNet on one thread: fewbits' C, plain float loops in C, and LiteRT."""

import ctypes
import subprocess
import tempfile
import time
from pathlib import Path

import float_c
import numpy as np
import timing

from fewbits import zoo
from fewbits.deploy import litert
from fewbits.deploy.c import write_c
from fewbits.deploy.lowering import lower
from fewbits.io import weights
from fewbits.io.tflite import litert_interpreter
from fewbits.quantization import calibration
from fewbits.quantization.conversion import quantize_model
from fewbits.zoo.trained import find_weights

NAME = "squeezenet_cifar"
OURS, LITERT = "fewbits C, -O3", "LiteRT int8"
FLAGS = ("-O3", "-O2", "-O3 -march=native", "-O2 -march=native")
ROUNDS, REPEATS = 30, 10
rng = np.random.default_rng(0)
IMAGES = np.kron(rng.integers(0, 256, (64, 8, 8, 3)), np.ones((1, 4, 4, 1))).astype(np.uint8)  # random squares


def report():
    model = zoo.build(NAME, IMAGES.shape[1:], 10)
    weights.load_weights(model, find_weights(NAME))
    quantized = quantize_model(model, fold_batch_normalization=True, rounding="nearest")
    quantized.set_formats(calibration.formats_for(quantized, _scaled(), (8, 8, 8)))
    network = lower(quantized)
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
    print("\nGoals: ours takes at most the time of the float loops at -O3, and at most 10 times that of LiteRT int8")


def _ours(network, folder):
    write_c(network, folder / "c")
    expected = network.run(IMAGES)
    actions = {}
    for flags in FLAGS:
        run = _compiled(folder / "c" / f"{NAME}.c", f"{NAME}_run", flags)
        codes = np.empty((len(IMAGES), 10), np.int32)
        for image, row in zip(IMAGES, codes):
            run(_pointer(image), _pointer(row))
        assert (codes == expected).all()
        actions[f"fewbits C, {flags}"] = _classify(run, codes)
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


def _classify(run, logits):
    image, row = _pointer(IMAGES[0]), _pointer(logits[0])

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


def _scaled():
    return (IMAGES / np.float32(256)).astype(np.float32)
