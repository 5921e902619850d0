"""Schedules: which levels of a network are quantized when, to how many bits, and what is locked.

A schedule is a list of stages, plain data that can be read before anything is trained.

Source: vieito2017, 5.5 (gradual resolution loss, quantize-and-lock, quantize-while-train) and Code 2 (relaxation).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fewbits.errors import InputError, check_integers, check_name
from fewbits.names import LEVEL_ORDERS, STRATEGIES
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.fixedpoint import MAX_NBITS_KERAS

FIRST_FALL = 8  # bits from which a gradual loss of resolution starts

Bits = tuple[int | None, int | None, int | None]  # of kernel, input and output; None is float


class Stage(NamedTuple):
    """What holds during some epochs of a schedule.

    Attributes:
        name: The level that is new in the stage, and its bits if they fall.
        bits: Level -> bits of kernel, input and output; levels that are not listed compute in float.
        locked: The levels whose weights stay as they are.
        epochs: Epochs of training.
    """

    name: str
    bits: dict[str, Bits]
    locked: frozenset[str]
    epochs: int


@dataclass(frozen=True)
class Schedule:
    """How a network gets from float to few bits.

    Attributes:
        bits: Of kernel, input and output at the end; None is float.
        strategy: `static` quantizes all levels and trains nothing; `all-at-once` quantizes all levels and trains;
            `lock` quantizes and locks level after level and trains the others; `train` does the same without locks;
            `gradual` lowers the bits of all levels one by one, from 8; `gradual-by-level` lowers those of one level
            after the other.
        epochs: Epochs of each stage. A stage in which nothing can learn has none: that of `static`, and the last one
            of `lock`.
        order: Of the levels. `input` or `output` first; `random`, drawn from the seed; by `sensitivity`, where the
            level that costs the least accuracy when it alone is quantized goes first; or the names of all levels.
        relax: Whether all levels are unlocked at the end and trained for another stage.
        edge_bits: The least bits of the first and the last level of the network; None for those of `bits`.

    Raises:
        InputError: when a field holds a value that it cannot take.

    Example:
        >>> for stage in Schedule(bits=(6, 6, 6), strategy="lock", epochs=2).stages(["conv1", "conv2"]):
        ...     print(stage.name, sorted(stage.locked), stage.epochs)
        conv1 ['conv1'] 2
        conv2 ['conv1', 'conv2'] 0
    """

    bits: Bits = (8, 8, 8)
    strategy: str = "train"
    epochs: int = 1
    order: str | Sequence[str] = "input"
    relax: bool = False
    edge_bits: int | None = None

    def __post_init__(self) -> None:
        _check_bits(self.bits, self.edge_bits)
        check_name("strategy", self.strategy, STRATEGIES)
        check_integers(epochs=(self.epochs, 0))
        if isinstance(self.order, str):
            check_name("order", self.order, LEVEL_ORDERS)

    def stages(self, levels: Sequence[str], network: Sequence[str] | None = None) -> list[Stage]:
        """Return the stages of the schedule.

        Args:
            levels: Names of the levels, in the order in which they are quantized.
            network: Their names in the order of the network, whose first and last level have `edge_bits`; by default
                `levels`.

        Returns:
            The stages, in order.
        """
        names = network or levels
        edges = {names[0], names[-1]}
        final = {level: self._lowered(level in edges) for level in levels}
        none: frozenset[str] = frozenset()
        if self.strategy in ("static", "all-at-once"):
            stages = [Stage("all", final, none, self.epochs if self.strategy == "all-at-once" else 0)]
        elif self.strategy == "gradual":
            falls = {n: {level: self._lowered(level in edges, n) for level in levels} for n in self._falling()}
            stages = [Stage(f"{n} bits", bits, none, self.epochs) for n, bits in falls.items()]
        else:
            stages = self._level_by_level(final, edges)
        return [*stages, Stage("relax", final, none, self.epochs)] if self.relax else stages

    def _level_by_level(self, final: dict[str, Bits], edges: Collection[str]) -> list[Stage]:
        stages, done, levels = [], {}, list(final)
        for level in levels:
            done[level] = final[level]
            if self.strategy == "gradual-by-level":
                for n in self._falling():
                    bits = done | {level: self._lowered(level in edges, n)}
                    stages.append(Stage(f"{level}, {n} bits", bits, frozenset(), self.epochs))
            else:
                locked = frozenset(done if self.strategy == "lock" else ())
                stages.append(Stage(level, dict(done), locked, 0 if len(locked) == len(levels) else self.epochs))
        return stages

    def _lowered(self, edge: bool, n: int = 0) -> Bits:
        """Return the bits of a level when those of the network have fallen to `n`."""
        least = max(n, self.edge_bits or 0) if edge else n
        kernel, input, output = (None if b is None else max(b, least) for b in self.bits)
        return kernel, input, output

    def _falling(self) -> range:
        needed = min((b for b in self.bits if b is not None), default=FIRST_FALL)
        return range(max(FIRST_FALL, needed), needed - 1, -1)


class ScheduleOutcome(NamedTuple):
    """What a schedule leaves.

    Attributes:
        model: The quantized network; None in an outcome that was read from a record.
        stages: The stages of the schedule.
        history: As from `training.train`. Each entry also has `stage`, a number from 1; the first entry of a stage
            has `val_accuracy_before`, measured when the formats of the stage were set and nothing was trained yet.
        val_accuracy: Accuracy on the validation images at the end.
    """

    model: QuantizedModel | None
    stages: list[Stage]
    history: list[dict]
    val_accuracy: float


def level_names(network: QuantizedModel) -> dict[str, list]:
    """Return level name -> its quantized layers, in the order of the levels.

    A level of several layers is named after what their names begin with, up to an underscore: `fire2` for
    `fire2_squeeze1x1` and `fire2_expand1x1`. Otherwise it has the name of its first layer.
    """
    grouped: dict[int, list] = {}
    for layer in network.rounding_layers:
        grouped.setdefault(layer.level, []).append(layer)
    return {_level_name(layers): layers for _, layers in sorted(grouped.items())}


def _level_name(layers: list) -> str:
    first = layers[0].name
    stem = first.split("_")[0]
    return stem if len(layers) > 1 and all(layer.name.startswith(f"{stem}_") for layer in layers) else first


def _check_bits(bits: Any, edge_bits: Any) -> None:
    if not isinstance(bits, (tuple, list)) or len(bits) != 3:
        raise InputError(f"bits must be three numbers, for kernel, input and output, not {bits!r}")
    for what, n in (*zip(("kernel", "input", "output"), bits), ("edge", edge_bits)):
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_NBITS_KERAS):
            raise InputError(f"{what} bits must be an integer from 1 to {MAX_NBITS_KERAS} or None, not {n!r}")
