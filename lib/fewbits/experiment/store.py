"""The store: a folder with a record of each finished trial and a checkpoint of each unfinished one."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from fewbits.errors import InputError, needs_extra
from fewbits.experiment.trial import Trial
from fewbits.io.files import write_aside
from fewbits.statistics import Estimate, Share

if TYPE_CHECKING:
    from pandas import DataFrame


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tally(_Frozen):
    """The score of a network on a part of the data.

    Attributes:
        hits: How many images it gets right.
        n: How many images there are.
        loss: The mean cross-entropy in nats.
        hits_top5: How many images have their class among the five most likely; None with five classes or fewer.
    """

    hits: int
    n: int
    loss: float
    hits_top5: int | None

    @model_validator(mode="after")
    def _hits_are_of_n(self) -> Self:
        if not 0 <= self.hits <= self.n:
            raise ValueError(f"{self.hits} of {self.n} images cannot be right")
        return self

    @property
    def share(self) -> Share:
        """The share of images it gets right."""
        return Share(self.hits, self.n)


class Results(_Frozen):
    """What a trial measured.

    Attributes:
        test: The tally of the network on the test images.
        validation: Its tally on the validation images.
        float_test: The tally of the float network it started from on the test images; None for a float trial.
        parameters: Number of parameters.
        history: An entry per epoch, as `training.train` returns it.
        stages: Name and epochs of each stage of the schedule; empty for a float trial.
        pruning: An entry per step, as `fewbits.pruning.prune` returns it, with the tally `test`; of a pruning only.
        pruned: Why the pruning ended.
        moved: Layer -> how far its kernel moved in the training, relative to its norm; of a float trial with a start.
        spread: Layer -> standard deviation of its weights; of a float trial with a start.
        identity: Program -> how many codes were compared and how many differ; of a trial with integers. NumPy is
            compared with the simulation in all layers, the other programs with NumPy in the logits.
        answers: "test" and, if there is one, "float_test" -> which test images are right, a bit each, as `pack_answers`
            packs them; None in records that are older than this field.
    """

    test: Tally
    validation: Tally
    float_test: Tally | None
    parameters: int
    history: list[dict[str, int | float]]
    stages: list[tuple[str, int]]
    pruning: list[dict[str, Any]] | None = None
    pruned: str | None = None
    moved: dict[str, float] | None = None
    spread: dict[str, float] | None = None
    identity: dict[str, tuple[int, int]] | None = None
    answers: dict[str, str] | None = None

    @model_validator(mode="after")
    def _answers_are_those_counted(self) -> Self:
        if not self.test.n or (self.float_test and not self.float_test.n):
            raise ValueError("no image was tested")
        for part in self.answers or ():
            if self.share(part).hits != getattr(self, part).hits:
                raise ValueError(f"the answers of {part} are not those that were counted")
        return self

    def share(self, part: str = "test") -> Share:
        """Return the share of test images that are right; with its answers, so that differences are paired, if known.

        Args:
            part: "test", or "float_test" for the network that the trial started from.
        """
        tally, packed = getattr(self, part), (self.answers or {}).get(part)
        return tally.share if packed is None else Share.of(unpack_answers(packed, tally.n))

    @property
    def lost(self) -> Estimate:
        """How far the test accuracy is under that of the float network it started from; of no values without one.

        The interval is that of the test images: image by image if the answers are known, otherwise as if the two had
        answered different images.
        """
        if self.float_test is None:
            return Estimate.of([])
        found = self.share("float_test") - self.share()
        return Estimate(found.mean, found.half_width, 1)

    @property
    def accuracy(self) -> float:
        """Share of the test images that the network gets right, 0 to 1."""
        return self.test.hits / self.test.n

    @property
    def loss_of_accuracy(self) -> float | None:
        """How far the test accuracy is under that of the float network it started from; None for a float trial."""
        return None if self.float_test is None else (self.float_test.hits - self.test.hits) / self.test.n


def pack_answers(answers: np.ndarray) -> str:
    """Return answers as text, a bit per image.

    Args:
        answers: (n,) bool, which images are right.
    """
    return np.packbits(answers).tobytes().hex()


def unpack_answers(packed: str, n: int) -> np.ndarray:
    """Return what `pack_answers` packed: (n,) bool.

    Args:
        packed: The text.
        n: The number of images.

    Raises:
        InputError: when it holds another number of answers.
    """
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(packed), np.uint8))
    if len(bits) - n not in range(8) or bits[n:].any():
        raise InputError(f"{len(bits)} bits cannot be the answers to {n} images; the record is damaged")
    return bits[:n].astype(bool)


class Record(_Frozen):
    """A finished trial.

    Attributes:
        trial: What was asked.
        results: What was measured.
        provenance: Code, data, versions and hardware, as `provenance.describe` returns them; and `resumed`, true if the
            trial went on from a checkpoint.
    """

    trial: Trial
    results: Results
    provenance: dict[str, Any]

    @property
    def seconds(self) -> float | None:
        """How long the trial took since it was last resumed; None if that is not known."""
        seconds = self.provenance.get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else None


class Store:
    """A folder with KEY.json, the record of a trial, and KEY.npz, the weights of its network if that is float.

    A trial that is not finished keeps KEY.checkpoint there. Each file is written whole or not at all.

    Attributes:
        folder: The folder; it is made if it does not exist.

    Raises:
        InputError: when the folder cannot be made.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be a store ({error.strerror}); name a folder") from None

    def load(self, trial: Trial) -> Record | None:
        """Return the record of a trial, or None if there is none.

        Raises:
            InputError: when the file is damaged or holds another trial; the message names it.
        """
        path = self._path(trial, "json")
        return _read(path) if path.exists() else None

    def missing(self, trials: Iterable[Trial]) -> list[Trial]:
        """Return the trials that have no record, each once.

        Raises:
            InputError: as `load`.
        """
        return [trial for trial in dict.fromkeys(trials) if self.load(trial) is None]

    def records(self) -> list[Record]:
        """Return all records, in the order of their dates.

        Raises:
            InputError: as `load`.
        """
        found = [_read(path) for path in sorted(self.folder.glob("*.json"))]
        return sorted(found, key=lambda record: str(record.provenance.get("date")))

    def to_dataframe(self) -> "DataFrame":
        """Return all records as a pandas DataFrame, one row per trial; its columns are those of `trial_table.rows`.

        Raises:
            InputError: as `load`, and when pandas is not installed.

        Example:
            The mean accuracy of each way, over its seeds::

                Store("results").to_dataframe().groupby("strategy")["top1"].agg(["mean", "std", "count"])
        """
        with needs_extra("results", "Data frames"):
            from pandas import DataFrame
        from fewbits.experiment.trial_table import COLUMNS, rows

        return DataFrame(rows(self.records()), columns=list(COLUMNS))

    def save(self, record: Record, weights: bytes | None = None) -> None:
        """Write a record, and delete the checkpoint of its trial.

        Args:
            record: The record.
            weights: The weights of its network as `save_weights` packs them; None if they are not kept.
        """
        if weights is not None:  # before the record, which promises them
            with write_aside(self.weights(record.trial)) as file:
                file.write(weights)
        with write_aside(self._path(record.trial, "json")) as file:
            file.write(json.dumps(record.model_dump(mode="json"), indent=1).encode() + b"\n")
        for left in self.folder.glob(f"*{record.trial.key}.checkpoint*"):  # and what a kill left half written
            left.unlink(missing_ok=True)

    def weights(self, trial: Trial) -> Path:
        """Return the path of the weights of a trial whose network is float."""
        return self._path(trial, "npz")

    def checkpoint(self, trial: Trial) -> Path:
        """Return the path of the checkpoint of a trial."""
        return self._path(trial, "checkpoint")

    def _path(self, trial: Trial, suffix: str) -> Path:
        return self.folder / f"{trial.key}.{suffix}"


def _read(path: Path) -> Record:
    """Return the record in a file, whose name is the key of its trial."""
    try:
        record: Record | None = Record(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError, ValidationError):
        record = None
    if record is None or record.trial.key != path.stem:
        raise InputError(f"{path} is damaged, or the record of another trial; delete it, and the trial is run again")
    return record
