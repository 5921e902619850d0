"""Measure where the values of the SqueezeNet for CIFAR-10 lie: python data/reference/ranges.py DATA.

DATA holds cifar10.npz. The limits of four percentiles, layer by layer, and histograms of all weights and of all
convolution outputs go to ranges.json; if that is there already, nothing is done. Batch normalization is folded.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from fewbits import data, zoo
from fewbits.backend import ops
from fewbits.experiment import provenance
from fewbits.io.files import write_aside
from fewbits.quantization import observe, percentile_limits, quantize_model

NETWORK, IMAGES, BINS = "squeezenet_cifar", 32, 120
PERCENTILES = (95, 98, 99.9, 99.99)  # vieito2017, Table 2
KINDS = "kernel", "bias", "output"
TARGET = Path(__file__).parent / "ranges.json"


def limits(values: np.ndarray) -> list[tuple[float, float]]:
    """Return the limits of all percentiles."""
    return [tuple(float(f"{end:.5g}") for end in percentile_limits(values, p)) for p in PERCENTILES]


def histogram(values: np.ndarray) -> dict:
    """Return the counts of equal bins and the ends of their range."""
    counts, edges = np.histogram(values, BINS)
    return {"ends": [float(edges[0]), float(edges[-1])], "counts": counts.tolist()}


def main(folder: Path) -> None:
    """Measure the network on its first training images."""
    if TARGET.exists():
        return
    os.environ.setdefault("FEWBITS_DATA", str(folder))
    began, dataset = time.monotonic(), data.load("cifar10")
    model = zoo.build(NETWORK, (32, 32, 3), 10, weights=NETWORK)
    folded = quantize_model(model, fold_batch_normalization=True)
    biases = {layer.name: ops.convert_to_numpy(layer.bias) for layer in folded.quantized_layers}
    found = {}
    for name, seen in observe(folded, dataset.arrays("train")[0][:IMAGES]):
        found[name] = dict(zip(KINDS, (np.asarray(seen.kernel), biases[name], seen.output)))
    every = {kind: np.concatenate([values[kind].ravel() for values in found.values()]) for kind in KINDS}
    result = {
        "network": NETWORK,
        "images": IMAGES,
        "percentiles": PERCENTILES,
        "run": provenance.describe(dataset.checksum, None, time.monotonic() - began),
        "all": {kind: limits(values) for kind, values in every.items()},
        "histograms": {kind: histogram(every[kind]) for kind in ("kernel", "output")},
        "layers": {name: {kind: limits(v) for kind, v in values.items()} for name, values in found.items()},
    }
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in result.items())
    with write_aside(TARGET) as file:
        file.write(f"{{\n{lines}\n}}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
