"""The networks that the theses publish, as points: what their tables print of accuracy and cost."""

import math

from fewbits import zoo
from fewbits.book import papers
from fewbits.costs.complexity import totals
from fewbits.explore.fronts import Point

_KILOBYTES = {"M": 1000, "K": 1}


def published_networks() -> list[Point]:
    """Return the networks of the theses' tables, with their costs as far as the tables tell them.

    Bytes are in kB and MACs in millions. Accuracies are on three different tasks, so they compare within a group only.
    Half-widths are 0: no table has intervals.

    Raises:
        InputError: when there are no tables, as in an installed package.

    Source:
        backstrom2018, Tables 12 and 13; chernis, Table 1; vieito2017, Table 13, with the bytes of its networks computed
        from their bits.
    """
    return [*_pruned(), *_small(), *_few_bits()]


def _pruned() -> list[Point]:
    return [
        Point(
            f"{row['kernels']} kernels, {bits}",
            "backstrom2018: plants",
            row["accuracy"] / 100,
            0.0,
            {"bytes": _kilobytes(row["model_size"]), "MACs": 10.0 * row["mac"]},
            "five folds",
        )
        for number, bits in ((12, "float"), (13, "8 bits"))
        for row in papers.table("backstrom2018", number)
    ]


def _small() -> list[Point]:
    return [
        Point(
            row["model"],
            "chernis: CIFAR-10",
            row["accuracy"] / 100,
            0.0,
            {"bytes": 4 * row["parameters"] / 1e3},
            "20 epochs",
        )
        for row in papers.table("chernis", 1)
        if row["dataset"] == "CIFAR-10"
    ]


def _few_bits() -> list[Point]:
    network = zoo.build("squeezenet_v1_1", (227, 227, 3), 1000)
    counted = totals(network)
    weights = sum(math.prod(layer.kernel.shape) for layer in network.layers if hasattr(layer, "kernel"))
    biases = counted.parameters - weights
    found = []
    for row in papers.table("vieito2017", 13):
        kilobytes = (weights * row["kernel_bits"] / 8 + 4 * biases) / 1e3
        costs = {"bytes": kilobytes, "MACs": counted.macs / 1e6}
        bits = f"{row['kernel_bits']}-{row['input_bits']}-{row['output_bits']}"
        training = f"{1000 * row['epochs_per_layer']:,} images per level"  # its epoch is 1,000 images (section 5.1.1)
        for way in ("lock", "train"):
            accuracy = row[f"{way}_accuracy"] / 100
            found.append(Point(f"{bits} {way}", "vieito2017: ImageNet", accuracy, 0.0, costs, training))
    return found


def _kilobytes(text: str) -> float:
    """Return the kB of a size as a thesis prints it, such as 2.9M or 731K."""
    return float(text[:-1]) * _KILOBYTES[text[-1]]
