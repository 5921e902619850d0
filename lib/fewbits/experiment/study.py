"""A study: many schemes on one network and the same images, with every answer kept, so that any two can be compared."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fewbits.backend import keras
from fewbits.data.inputs import Images, input_arrays
from fewbits.errors import InputError
from fewbits.experiment import provenance
from fewbits.experiment.leakage import shared_images
from fewbits.experiment.scheme import Scheme, quantize_each
from fewbits.experiment.store import pack_answers, unpack_answers
from fewbits.io.files import write_aside
from fewbits.post_training.copies import copied
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.statistics import Estimate, Share
from fewbits.training.batches import ArraySource, LabelledImages, Source, as_input, source_of
from fewbits.training.heads import Head, head_of

Seconds = float  # Study has a property `float`, which hides the type
FLOAT_SCHEME = Scheme(bits=(None, None, None))


class Answers(NamedTuple):
    """Which images a network gets right.

    Attributes:
        top1: (images,) bool, whether the class of the image is the most likely.
        top5: (images,) bool, whether it is among the five most likely.
    """

    top1: np.ndarray
    top5: np.ndarray

    @property
    def share(self) -> Share:
        """The share of images whose first class is right; a difference of two is taken image by image."""
        return Share.of(self.top1)

    def __str__(self) -> str:
        """The share of images whose first class is right, with its 95 % interval."""
        return str(self.share)


class Study(Mapping[Scheme, Answers]):
    """The answers of one network under each scheme that was run: a mapping Scheme -> Answers.

    Attributes:
        path: The .json file that keeps it; None for no file.
        images: How many images were answered.
        runs: The provenance of each run that added to it.
    """

    def __init__(self, path: Path | str | None = None):
        self.path = None if path is None else Path(path)
        self.images = 0
        self.runs: list[dict[str, Any]] = []
        self._entries: dict[Scheme, dict[str, Any]] = {}

    @classmethod
    def load(cls, path: Path | str) -> "Study":
        """Return the study in a file, or an empty one if the file does not exist.

        Raises:
            InputError: when the file is damaged.
        """
        study = cls(path)
        try:
            content = json.loads(Path(path).read_bytes())
            study.images, study.runs = content["images"], content["runs"]
            _ = [(run["model"], run["data"]) for run in study.runs], range(study.images)  # raises if they are damaged
            for entry in content["schemes"]:
                scheme = Scheme(**entry.pop("scheme"))
                study._entries[scheme] = entry
                _ = study[scheme], float(entry["seconds"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, InputError):
            raise InputError(f"{path} is damaged, or not a study; delete it, and its schemes are run again") from None
        return study

    def __getitem__(self, scheme: Scheme) -> Answers:
        entry = self._entries[scheme]
        return Answers(*(unpack_answers(entry[name], self.images) for name in Answers._fields))

    def __iter__(self) -> Iterator[Scheme]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def float(self) -> Answers:
        """The answers of the network before it was quantized."""
        return self[FLOAT_SCHEME]

    @property
    def seconds(self) -> dict[Scheme, Seconds]:
        """Scheme -> how long it took to quantize the network and to answer."""
        return {scheme: entry["seconds"] for scheme, entry in self._entries.items()}

    def missing(self, schemes: Iterable[Scheme]) -> list[Scheme]:
        """Return those of the schemes that have no answers, each once, and before them float if it has none.

        Args:
            schemes: What is asked.
        """
        return [scheme for scheme in dict.fromkeys([FLOAT_SCHEME, *schemes]) if scheme not in self]

    def under_float(self, scheme: Scheme, images: slice | np.ndarray = slice(None)) -> Estimate:
        """Return how far the top-1 of a scheme is under float, compared image by image.

        Args:
            scheme: What to compare with float; if it has no answers, the estimate is one of no values.
            images: Which images to compare on, as an index; all by default.
        """
        if scheme not in self:
            return Estimate.of([])
        return Share.of(self.float.top1[images]) - Share.of(self[scheme].top1[images])

    def gain(self, better: Scheme, worse: Scheme) -> Estimate:
        """Return by how much the top-1 of a scheme is above that of another, compared image by image.

        Args:
            better: A scheme; if one of both has no answers, the estimate is one of no values.
            worse: Another scheme.
        """
        if better not in self or worse not in self:
            return Estimate.of([])
        return self[better].share - self[worse].share

    @property
    def made_with(self) -> str:
        """A sentence that names images, hardware, versions, code and time."""
        if not self.runs:
            return "Not run yet."
        hardware, versions = self.runs[-1]["hardware"], self.runs[-1]["versions"]
        backend = next(name for name in ("tensorflow", "jax", "torch") if name in versions)
        commits = sorted({(run["commit"] or {}).get("id", "unknown")[:7] for run in self.runs})
        seconds = sum(run["seconds"] for run in self.runs)
        return (
            f"{self.images:,} images, {len(self)} schemes; {hardware['gpu'] or hardware['cpu']}, {hardware['cores']} "
            f"cores; Keras {versions['keras']} on {backend} {versions[backend]}; code {', '.join(commits)}; "
            f"{seconds / 60:.0f} min."
        )

    def add(self, scheme: Scheme, answers: Answers, seconds: Seconds) -> None:
        """Keep the answers of a scheme, and replace the file, if any.

        Args:
            scheme: The scheme.
            answers: What it answered in the last of `runs`.
            seconds: How long it took.
        """
        packed = {name: pack_answers(bits) for name, bits in answers._asdict().items()}
        self._entries[scheme] = {**packed, "seconds": round(seconds, 2), "run": len(self.runs) - 1}
        if self.path is None:
            return
        entries = [
            {"scheme": scheme.model_dump(mode="json", exclude_defaults=True), **entry}
            for scheme, entry in self._entries.items()
        ]
        lines = ",\n  ".join(json.dumps(entry) for entry in entries)
        head = json.dumps({"images": self.images, "runs": self.runs}, indent=1)
        with write_aside(self.path) as file:
            file.write(f'{head[:-2]},\n "schemes": [\n  {lines}\n ]\n}}\n'.encode())


def run_schemes(
    model: keras.Model,
    schemes: Iterable[Scheme],
    calibration: Images,
    data: LabelledImages,
    path: Path | str | None = None,
    checksum: str = "",
    progress: Callable[[Scheme, int, int], None] | None = None,
) -> Study:
    """Run the schemes that have no answers yet, and the float network.

    All quantized networks run on one trace, because formats are variables. Stopped at any moment, the same call goes
    on.

    Args:
        model: A float network with a head, as in `training.head_of`, for images of one class each.
        schemes: The schemes to run; equal schemes run once.
        calibration: As `images` in `quantize_each`.
        data: Images and labels to answer, as in `training.evaluate`; they are held in memory.
        path: The file of the study; None for no file.
        checksum: Of the data and of how they were prepared.
        progress: Called after each scheme with the scheme, how many are done, and how many there are.

    Returns:
        The study, with the answers of all schemes and of float.

    Raises:
        InputError: when an image is both among the calibration images and among those to answer, the file is damaged or
            a study of another network or other images, `quantize_each` refuses a scheme, or the network does not fit
            the images.
    """
    head = head_of(model)
    if head.kind == "multi-label":
        raise InputError(f"{model.name} gives images several labels, and a study keeps one answer per image")
    images, labels = _in_memory(source_of(model, data, "the images to answer"))
    [calibration] = input_arrays(model, calibration, "the calibration images")
    _check_disjoint(images, calibration)
    study, source = Study.load(path) if path else Study(), _source(model, checksum)
    for run in study.runs:
        if (run["model"], run["data"]) != (source["model"], source["data"]) or study.images != len(labels):
            raise InputError(f"{path} holds answers of another network or to other images; name another file")
    schemes = list(dict.fromkeys([FLOAT_SCHEME, *schemes]))
    left = study.missing(schemes)
    study.images = len(labels)
    if left:
        study.runs.append(source)
    runner, start = _Runner(quantize_model(model), head), time.monotonic()
    quantized = quantize_each(model, left, calibration, reuse=True)
    for done, (scheme, network) in enumerate(quantized, len(schemes) - len(left) + 1):
        answers = runner.answers(network, images, labels)
        now = time.monotonic()
        source["seconds"] = round(source["seconds"] + now - start, 1)
        study.add(scheme, answers, now - start)
        start = now
        if progress:
            progress(scheme, done, len(schemes))
    return study


def _check_disjoint(images: np.ndarray, calibration: np.ndarray) -> None:
    both = shared_images(images, calibration)
    if both.any():
        raise InputError(
            f"{both.sum()} of the {len(both):,} images to answer are calibration images too, and an image that sets a "
            "format does not judge it; leave them out of one of the two"
        )


def _in_memory(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Return all images and labels of a source."""
    if isinstance(source, ArraySource):
        return source.images, source.labels
    images, labels = zip(*source.batches(100))
    return np.concatenate(images), np.concatenate(labels)


class _Runner:
    """Runs networks of equal graphs on one trace, since only their weights differ."""

    BATCH = 25  # about what a CPU's cache holds of an ImageNet network's activations

    def __init__(self, network: QuantizedModel, head: Head):
        self.network, self.head = network, head

    def answers(self, network: QuantizedModel, images: np.ndarray, labels: np.ndarray) -> Answers:
        weights = network.get_weights()
        if [w.shape for w in weights] != [w.shape for w in self.network.get_weights()]:  # a remedy added a bias
            self.network = copied(network)  # a later scheme may start from the original
        self.network.set_weights(weights)
        ranks, size = [], min(self.BATCH, len(labels))
        for i in range(0, len(labels), size):
            first = min(i, len(labels) - size)  # the last batch begins before i: all are of one shape, and of one trace
            given = as_input(self.network, images[first : first + size])
            [outputs] = keras.tree.flatten(self.network.predict_on_batch(given))
            ranks.append(self.head.ranks(np.asarray(outputs)[i - first :], labels[i : i + size]))
        rank = np.concatenate(ranks)
        return Answers(rank < 1, rank < 5)


def _source(model: keras.Model, checksum: str) -> dict[str, Any]:
    described = provenance.describe(checksum, b"".join(w.tobytes() for w in model.get_weights()), seconds=0)
    return {"model": described.pop("start"), **described}
