"""The reference comparison of mixed bits with equal ones: `data/reference/mixed.py` made it, chapters show it."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewbits.book import reference
from fewbits.errors import InputError
from fewbits.experiment.store import unpack_answers
from fewbits.explore.fronts import Point
from fewbits.statistics import Estimate, Share


@dataclass(frozen=True)
class TriedBits:
    """One network with given bits, and what it answered.

    Attributes:
        name: Such as `4 bits`, or `bytes of 4 bits` for mixed bits that cost no more.
        group: `equal`, `mixed`, `mixed, bitops`, `mixed, energy` or `random`.
        bits: Name of each stored tensor -> its bits.
        costs: Each of `search.COSTS` -> what the network costs.
        predicted_sqnr: Of the logits in dB, if the noises of all tensors add.
        measured_sqnr: Of the logits in dB, on the images on which the noises were measured.
        share: Of the judging images that it gets right; knows its answers.
    """

    name: str
    group: str
    bits: dict[str, int]
    costs: dict[str, float]
    predicted_sqnr: float
    measured_sqnr: float
    share: Share


@dataclass(frozen=True)
class MixedComparison:
    """What was measured on one network.

    Attributes:
        tried: Name -> network with these bits, in the order in which they were tried; empty if it has not been run.
        float_share: Of the judging images that the float network gets right; None if it has not been run.
        tensors: Name of a stored tensor -> bits -> noise that it alone adds to the logits, over their signal.
        content: The whole file.
    """

    tried: dict[str, TriedBits]
    float_share: Share | None
    tensors: dict[str, dict[int, float]]
    content: dict[str, Any]

    def gain(self, name: str, over: str) -> Estimate:
        """Return by how much the accuracy of one exceeds that of another, image by image; empty without answers.

        Args:
            name: One of `tried`.
            over: Another one.
        """
        if not self.tried:
            return Estimate.of([])
        return self[name].share - self[over].share

    def under_float(self, name: str) -> Estimate:
        """Return how far the accuracy is under that of the float network, image by image; empty without answers.

        Args:
            name: One of `tried`.
        """
        return Estimate.of([]) if self.float_share is None else self.float_share - self[name].share

    def shares_by_prediction(self, *groups: str) -> dict[float, Share]:
        """Return the predicted SQNR of the logits in dB, to two digits -> the share of images that are right.

        Args:
            *groups: Which networks.
        """
        return {round(each.predicted_sqnr, 2): each.share for each in self.tried.values() if each.group in groups}

    def rank_correlation(self, *groups: str) -> tuple[float, int]:
        """Return Spearman's rank correlation of predicted SQNR and measured accuracy, and of how many networks.

        Args:
            *groups: Which networks to rank; by default all.
        """
        from scipy.stats import spearmanr

        found = [each for each in self.tried.values() if not groups or each.group in groups]
        if len(found) < 2:
            return float("nan"), len(found)
        ranked = spearmanr([each.predicted_sqnr for each in found], [each.share.value for each in found])
        return float(ranked.statistic), len(found)

    def __getitem__(self, name: str) -> TriedBits:
        if name not in self.tried:
            raise InputError(f"{name!r} was not tried; there are {', '.join(self.tried) or 'none'}")
        return self.tried[name]

    @property
    def points(self) -> list[Point]:
        """All networks as points of `explore.accuracy_over_cost`, whose units are `search.COSTS`."""
        return [
            Point(each.name, each.group, each.share.value, each.share.half_width, each.costs)
            for each in self.tried.values()
        ]

    @property
    def made_with(self) -> str:
        """A sentence that names images, hardware, versions, code and time."""
        if not self.content:
            return "Not run yet."
        run, seconds = self.content["run"], self.content["seconds"]
        versions, hardware = run["versions"], run["hardware"]
        backend = next(name for name in ("tensorflow", "jax") if name in versions)
        return (
            f"{self.content['images']:,} judging images, noise on {self.content['measured_on']} others in "
            f"{seconds['noise'] / 60:.1f} min, {len(self.tried)} networks; {hardware['gpu'] or hardware['cpu']}, "
            f"{hardware['cores']} cores; Keras {versions['keras']} on {backend} {versions[backend]}; code "
            f"{(run['commit'] or {}).get('id', 'unknown')[:7]}."
        )


def load_mixed(network: str) -> MixedComparison:
    """Return what `data/reference/mixed.py` measured on a network; empty if it has not been run.

    Args:
        network: Its name there: `alexnet_cifar`, `squeezenet_cifar` or `squeezenet`.
    """
    path = reference.FOLDER / "mixed" / f"{network}.json"
    if not path.exists():
        return MixedComparison({}, None, {}, {})
    content = json.loads(path.read_text())

    def share(packed: str) -> Share:
        return Share.of(np.asarray(unpack_answers(packed, content["images"])))

    tried = [
        TriedBits(**{k: v for k, v in point.items() if k != "top1"}, share=share(point["top1"]))
        for point in content["points"]
    ]
    tensors = {
        tensor["name"]: {int(bits): noise / content["signal"] for bits, noise in tensor["noise"].items()}
        for tensor in content["tensors"]
    }
    return MixedComparison({each.name: each for each in tried}, share(content["float"]), tensors, content)
