"""The store: a folder with a record of each finished trial, and what a trial that is not finished left behind."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fewbits.errors import InputError
from fewbits.experiment.trial import Trial
from fewbits.io.files import write_aside


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tally(_Frozen):
    """The Score of a network: of `n` images `hits`; `loss` in nats; hits_top5 is None with five classes or fewer."""

    hits: int
    n: int
    loss: float
    hits_top5: int | None


class Results(_Frozen):
    """What a trial measured.

    test, validation: of the network it made; float_test: of the network it started from, None for a float trial.
    parameters: how many. history: an entry an epoch, as in `training.train`. stages: names and epochs, as in
    `schedules.plan`; none for a float trial. pruning: an entry a step, as in `fewbits.pruning.prune`, with `test`, and
    pruned: why that ended; of a pruning only. moved, spread: of a float trial with a start, layer -> how far its kernel
    went from where training began, and the deviation of its weights (`training.transfer`); else None. identity: of a
    trial with integers, program -> how many codes it was compared in, and how many of them differ: NumPy with the
    simulation, in all layers; the others with NumPy, in the logits.
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

    @property
    def accuracy(self) -> float:
        """The share of the test images that the network gets right."""
        return self.test.hits / self.test.n

    @property
    def loss_of_accuracy(self) -> float | None:
        """How far that is under the network it started from; None for a float trial."""
        return None if self.float_test is None else (self.float_test.hits - self.test.hits) / self.test.n


class Record(_Frozen):
    """A finished trial: what was asked, what came out, and by what code, data, versions and hardware."""

    trial: Trial
    results: Results
    provenance: dict


class Store:
    """Records in `folder`, which is made where it is missing: KEY.json, and KEY.npz, the weights of a float network.

    A trial that is running keeps KEY.checkpoint there. Each file is written whole or not at all.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be a store ({error.strerror}); name a folder") from None

    def load(self, trial: Trial) -> Record | None:
        """Return the record of `trial`, or None; InputError, naming the file, where it is damaged."""
        path = self._path(trial, "json")
        if not path.exists():
            return None
        try:
            record = Record(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError, ValidationError):
            record = None
        if record is None or record.trial != trial:
            raise InputError(
                f"{path} is damaged, or the record of another trial; delete it, and the trial is run again"
            )
        return record

    def save(self, record: Record, weights: bytes | None = None) -> None:
        """Keep `record`, and the weights of its network; its checkpoint is not needed any more."""
        if weights is not None:  # first: a record promises them
            with write_aside(self.weights(record.trial)) as file:
                file.write(weights)
        with write_aside(self._path(record.trial, "json")) as file:
            file.write(json.dumps(record.model_dump(mode="json"), indent=1).encode() + b"\n")
        for left in self.folder.glob(f"*{record.trial.key}.checkpoint*"):  # a kill leaves one half written, too
            left.unlink(missing_ok=True)

    def weights(self, trial: Trial) -> Path:
        """Return the file with the weights of a trial whose network is float."""
        return self._path(trial, "npz")

    def checkpoint(self, trial: Trial) -> Path:
        return self._path(trial, "checkpoint")

    def _path(self, trial, suffix):
        return self.folder / f"{trial.key}.{suffix}"
