"""Compare mixed bits with equal ones, without training: python data/reference/mixed.py DATA [NETWORK ...].

DATA holds imagenet1k and cifar10.npz; `make reference` makes _build/reference/squeezenet-ceil.keras first. The other
two networks have the weights that come with the library. For each network, the noise that the bits of each tensor add
to the logits is measured on 16 or 32 images. Then networks of equal bits, of mixed bits at the costs of these, and of
random bits at one of these costs answer images that set nothing. The answers go to mixed/NETWORK.json; what is there
already stays.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewbits import data, search, zoo
from fewbits.backend import keras
from fewbits.experiment import provenance
from fewbits.experiment.store import pack_answers
from fewbits.io.files import read_model, write_aside
from fewbits.quantization import QuantizedModel, quantize_model
from fewbits.training.heads import head_of

FOLDER = Path(__file__).parent / "mixed"
WIDTHS = (2, 3, 4, 5, 6, 7, 8)
EQUAL = 4  # bits everywhere, at whose bytes there are random allocations, too
SIZES = "bytes", "activation-bytes"


class Task(NamedTuple):
    """A float network, images that measure noise, images that judge, their labels, and how many random allocations."""

    model: keras.Model
    measuring: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    random: int


class Named(NamedTuple):
    """Bits to try: a name, the group that they belong to, and the bits of each tensor."""

    name: str
    group: str
    bits: search.Allocation


def squeezenet(folder: Path) -> Task:
    """Return the published SqueezeNet v1.1 and the photographs: of the first 128 some measure, the others judge."""
    model = read_model(Path("_build/reference/squeezenet-ceil.keras"))
    prepared = {"size": 227, "order": "bgr", "mean_pixel": (104, 117, 123), "scale": 1.0}
    photographs = data.load_folder(folder / "imagenet1k", crop=False, **prepared)
    images, labels = map(np.concatenate, zip(*photographs.batches(100)))
    return Task(model, images[:16], images[128:], labels[128:], random=8)


def squeezenet_cifar(folder: Path) -> Task:
    """Return the SqueezeNet for CIFAR-10 that comes with the library."""
    return _cifar("squeezenet_cifar", "squeezenet_cifar")


def alexnet_cifar(folder: Path) -> Task:
    """Return the AlexNet for CIFAR-10 that comes with the library."""
    return _cifar("alexnet_small", "alexnet_cifar")


NETWORKS = {f.__name__: f for f in (alexnet_cifar, squeezenet_cifar, squeezenet)}


def allocations(noise: search.LogitNoise, random: int) -> Iterator[Named]:
    """Yield the bits to try, so many of them random."""
    for n in WIDTHS[1:]:
        yield Named(f"{n} bits", "equal", noise.everywhere(n))
    for n in (3, 4, 5, 6):
        bits = search.allocate_bits(noise, [search.Budget(cost, 1, n) for cost in SIZES])
        yield Named(f"bytes of {n} bits", "mixed", bits)
    for cost in ("bitops", "energy"):
        for n in (4, 5):
            bits = search.allocate_bits(noise, [search.Budget(cost, 1, n)])
            yield Named(f"{cost} of {n} bits", f"mixed, {cost}", bits)
    rng = np.random.default_rng(0)
    for i in range(random):
        yield Named(f"random {i + 1}", "random", _random(noise, rng))


def main(folder: Path, *names: str) -> None:
    """Measure the networks of these names, or all."""
    os.environ.setdefault("FEWBITS_DATA", str(folder))
    FOLDER.mkdir(exist_ok=True)
    for name in names or NETWORKS:
        if not path_of(name).exists():
            found = measure(name, NETWORKS[name](folder))
            with write_aside(path_of(name)) as file:
                file.write((json.dumps(found, indent=1) + "\n").encode())


def path_of(name: str) -> Path:
    """Return the file that keeps what is measured of a network."""
    return FOLDER / f"{name}.json"


def measure(name: str, task: Task) -> dict:
    """Return what is kept of one network."""
    start = time.monotonic()
    quantized = quantize_model(task.model, fold_batch_normalization=True, rounding="nearest")
    noise = search.measure_logit_noise(quantized, task.measuring, WIDTHS)
    seconds = {"noise": round(time.monotonic() - start, 1)}
    tried = list(allocations(noise, task.random))
    seconds["programs"] = round(time.monotonic() - start - seconds["noise"], 1)
    network, points = noise.quantized(noise.everywhere(8)), []
    for each in tried:
        network.set_formats(noise.layer_formats(each.bits))
        point = search.mixed_point(noise, each.name, each.bits)._asdict()
        sqnr = noise.measured_sqnr(each.bits)
        points.append({**point, "group": each.group, "measured_sqnr": sqnr, "top1": _answers(network, task)})
        print(f"{name}: {each.name}  {point['predicted_sqnr']:.1f} dB", flush=True)
    network.set_level(0)
    digest = sha256(b"".join(a.tobytes() for a in task[1:4])).hexdigest()
    weights = b"".join(w.tobytes() for w in task.model.get_weights())
    return {
        "images": len(task.labels),
        "measured_on": len(task.measuring),
        "seconds": seconds,
        "run": provenance.describe(digest, weights, seconds=time.monotonic() - start),
        "float": _answers(network, task),
        "signal": noise.signal,
        "tensors": [tensor._asdict() | {"noise": noise.noise[tensor.name]} for tensor in noise.tensors],
        "points": points,
    }


def _random(noise: search.LogitNoise, rng: np.random.Generator) -> search.Allocation:
    """Return random bits at the bytes and activation bytes of EQUAL bits: none can be raised within them."""
    models = [search.cost_model(noise.network, noise.tensors, cost) for cost in SIZES]
    limits = [costs.of(noise.everywhere(EQUAL)) for costs in models]
    bits = {tensor.name: int(rng.choice(WIDTHS[1:])) for tensor in noise.tensors}
    while any(costs.of(bits) > limit for costs, limit in zip(models, limits)):
        for costs, limit in zip(models, limits):
            name = rng.choice([name for name in costs.per_bit if bits[name] > WIDTHS[1]])
            bits[name] -= int(costs.of(bits) > limit)
    for name in rng.permutation(list(bits)):
        while bits[name] < WIDTHS[-1]:
            more = bits | {str(name): bits[name] + 1}
            if any(costs.of(more) > limit for costs, limit in zip(models, limits)):
                break
            bits = more
    return bits


def _cifar(network: str, weights: str) -> Task:
    dataset = data.load("cifar10")
    (images, _), (tested, labels) = (dataset.arrays(part) for part in ("train", "test"))
    model = zoo.build(network, (32, 32, 3), 10, weights=weights)
    return Task(model, images[:32], tested[:2_000], labels[:2_000], random=24)


def _answers(network: QuantizedModel, task: Task) -> str:
    """Return which of the judging images the network gets right, packed."""
    head, right = head_of(network), []
    batch = 8 if task.images[0].size > 10**5 else 200
    for i in range(0, len(task.labels), batch):
        outputs = np.asarray(network.predict_on_batch(task.images[i : i + batch]))
        right.append(head.ranks(outputs, task.labels[i : i + batch]) < 1)
    return pack_answers(np.concatenate(right))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
