"""Measure what rounding does to the networks of chapter 6: python data/reference/rounding.py DATA [NETWORK ...].

DATA holds cifar10.npz, mnist.npz, imagenet1k, mobilenet and squeezenet. LeNet (MNIST), a residual network and
the same with tanh in place of ReLU (CIFAR-10) are trained first, seed 0; MobileNet 0.25/128 and SqueezeNet v1.1 are the
published ones (photographs). What is there already is left as it is. The answers go to studies/rounding-NETWORK.json
(those of SqueezeNet stand in studies/photographs.json), the predicted shifts to shifts.json. `make reference` calls it.
"""

import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewbits import Recipe, data, zoo
from fewbits.backend import keras
from fewbits.experiment import Scheme, Study, run_schemes
from fewbits.io.files import read_model, write_aside, write_model
from fewbits.io.tflite import load_tflite_weights
from fewbits.quantization import quantize_model, rounding_shifts
from fewbits.training import train

layers = keras.layers
STUDIES = Path(__file__).parent / "studies"
SHIFTS = STUDIES.parent / "shifts.json"
MODELS = Path("_build/reference")
RECIPE = Recipe(optimizer="adam", learning_rate=0.002, decay="cosine", batch_size=128)
IMAGES, EPOCHS, TESTED, CALIBRATION = 15_000, 4, 2_000, 128
BITS = (8, 7, 6, 5, 4)
DOSES = (-0.5, -0.375, -0.25, -0.125, 0.0, 0.125, 0.25, 0.375, 0.5)
ROUNDINGS = ("floor", "ceiling", "toward-zero", "nearest")


class Task(NamedTuple):
    """A trained network, the images that set formats and predict, and those that judge, with their labels."""

    model: keras.Model
    calibration: np.ndarray
    images: np.ndarray
    labels: np.ndarray


def lenet(folder: Path) -> Task:
    """Return LeNet for MNIST."""
    return _trained("lenet", zoo.build("lenet", (28, 28, 1), 10), "mnist")


def residual(folder: Path) -> Task:
    """Return a residual network of 8 layers for CIFAR-10."""
    return _trained("residual", zoo.build("resnet_cifar", (32, 32, 3), 10, blocks=1), "cifar10")


def residual_tanh(folder: Path) -> Task:
    """Return the same network with tanh wherever it has a ReLU: inputs of layers have both signs."""

    def replaced(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, layers.ReLU):
            return layers.Activation("tanh", name=layer.name)
        return type(layer).from_config(layer.get_config())

    built = zoo.build("resnet_cifar", (32, 32, 3), 10, blocks=1)
    return _trained("residual_tanh", keras.models.clone_model(built, clone_function=replaced), "cifar10")


def mobilenet(folder: Path) -> Task:
    """Return the published MobileNet v1 of width 0.25 for 128 pixels."""
    model = zoo.build("mobilenet_v1", (128, 128, 3), 1001, width=0.25, normalize=False)
    load_tflite_weights(model, folder / "mobilenet" / "mobilenet_v1_0.25_128.tflite")
    task = _photographs(model, folder, size=128, mean_pixel=(127.5, 127.5, 127.5), scale=1 / 127.5)
    return task._replace(labels=task.labels + 1)  # its first class means none of these


def squeezenet(folder: Path) -> Task:
    """Return the published SqueezeNet v1.1; its answers are in studies/photographs.json."""
    model = read_model(MODELS / "squeezenet-ceil.keras")
    return _photographs(model, folder, size=227, order="bgr", mean_pixel=(104, 117, 123), scale=1.0)


NETWORKS = {f.__name__: f for f in (squeezenet, lenet, residual, residual_tanh, mobilenet)}


def names_and_msb(model: keras.Model) -> tuple[list[str], int]:
    """Return the layers with kernels, and the MSB that holds the largest weight, so that nothing is clipped."""
    quantized = quantize_model(model).quantized_layers
    largest = max(float(abs(layer.kernel.numpy()).max()) for layer in quantized)
    return [layer.name for layer in quantized], max(0, int(np.ceil(np.log2(largest))))


def schemes(names: list[str], msb: int) -> list[Scheme]:
    """Return each layer alone rounded down, doses, and ways of rounding; kernels only, with the steps of MSB 0."""
    kernels = [{"bits": (bits + msb, None, None), "msb": (msb, 9, 9)} for bits in BITS]
    alone = [Scheme(**k, rounding="floor", layers=(name,)) for k in kernels for name in names]
    doses = [Scheme(**k, kernel_shift=dose) for k in kernels for dose in DOSES]
    return alone + doses + [Scheme(**k, kernel_rounding=rounding) for k in kernels for rounding in ROUNDINGS]


def left(name: str) -> str:
    """Return what is left to measure of a network, in words; layers and MSB are told from what is stored."""
    known = read_shifts().get(name)
    if known is None:
        return "all"
    study = Study.load(STUDIES / f"rounding-{name}.json")
    msb = next((scheme.msb[0] for scheme in study if scheme.msb), 0)
    missing = [] if name == "squeezenet" else study.missing(schemes([shift["layer"] for shift in known], msb))
    return f"{len(missing)} scheme{'s' * (len(missing) > 1)}" if missing else ""


def read_shifts() -> dict[str, list[dict]]:
    """Return network -> the shift predicted for each layer, as far as they are there."""
    return json.loads(SHIFTS.read_text()) if SHIFTS.exists() else {}


def main(folder: Path, *names: str) -> None:
    """Measure the networks of these names, or all."""
    os.environ.setdefault("FEWBITS_DATA", str(folder))
    MODELS.mkdir(parents=True, exist_ok=True)
    for name in names or NETWORKS:
        task = NETWORKS[name](folder)
        known = read_shifts()
        if name not in known:
            known[name] = [shift._asdict() for shift in rounding_shifts(task.model, task.calibration[:32])]
            with write_aside(SHIFTS) as file:
                file.write(json.dumps(known, indent=1).encode())
        if name != "squeezenet":
            path = STUDIES / f"rounding-{name}.json"
            digest = sha256(b"".join(a.tobytes() for a in task[1:])).hexdigest()
            asked = schemes(*names_and_msb(task.model))
            study = run_schemes(task.model, asked, task.calibration, task[2:], path, digest, _report)
            print(f"{name}: float {study.float}", flush=True)


def _report(scheme: Scheme, done: int, total: int) -> None:
    if not done % 20:
        print(f"{done} of {total}", flush=True)


def _trained(name: str, model: keras.Model, data_name: str) -> Task:
    path, dataset = MODELS / f"{name}.keras", data.load(data_name)
    images, labels = dataset.arrays("train")
    if not path.exists():
        keras.utils.set_random_seed(0)
        model = keras.models.clone_model(model)  # new weights, by this seed
        RECIPE.prepare(model, EPOCHS, IMAGES)
        train(model, (images[:IMAGES], labels[:IMAGES]), epochs=EPOCHS, batch_size=RECIPE.batch_size)
        write_model(model, path)
    tested, answers = dataset.arrays("test")
    return Task(read_model(path), images[:CALIBRATION], tested[:TESTED], answers[:TESTED])


def _photographs(model: keras.Model, folder: Path, **prepared: object) -> Task:
    photographs = data.load_folder(folder / "imagenet1k", crop=False, **prepared)
    images, labels = map(np.concatenate, zip(*photographs.batches(100)))
    return Task(model, images[:CALIBRATION], images[CALIBRATION:], labels[CALIBRATION:])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
