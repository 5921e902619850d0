"""Grids that are known while a network runs: what a layer has rounded, the next one need not round again."""

from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Any

from fewbits.quantization.rounding import ValueGrid

_running: ContextVar["KnownGrids | None"] = ContextVar("known_grids", default=None)


class KnownGrids:
    """The grids of the outputs that the layers of a network have made so far in one run of it.

    It is known to the layers in its `with` block alone: a layer that is called elsewhere may read any values.

    Args:
        makers: Layer name -> the names of the layers whose rounded outputs are all that it reads.
    """

    def __init__(self, makers: Mapping[str, tuple[str, ...]]):
        self._makers = makers
        self._made: dict[str, ValueGrid] = {}
        self._before: Token | None = None

    def __enter__(self) -> None:
        self._before = _running.set(self)

    def __exit__(self, *_: Any) -> None:
        assert self._before is not None
        _running.reset(self._before)

    def of_inputs(self, name: str) -> list[ValueGrid]:
        """Return the grids on which all inputs of a layer lie; none if that is not known."""
        makers = self._makers.get(name, ())
        return [self._made[maker] for maker in makers] if self._made.keys() >= set(makers) else []

    def note(self, name: str, grid: ValueGrid) -> None:
        """Take down the grid of the outputs that a layer has just made.

        Args:
            name: The layer.
            grid: The grid.
        """
        self._made[name] = grid


def input_grids(name: str) -> list[ValueGrid]:
    """Return the grids on which the inputs of a layer lie in the run that is under way; none outside of one."""
    run = _running.get()
    return [] if run is None else run.of_inputs(name)


def note_output(name: str, grid: ValueGrid) -> None:
    """Take down the grid of what a layer has made in the run that is under way, if there is one.

    Args:
        name: The layer.
        grid: The grid.
    """
    run = _running.get()
    if run is not None:
        run.note(name, grid)
