"""Trials, the store of their records, and how they are run."""

from fewbits.experiment.execution import Advance, Outcome, execute, run
from fewbits.experiment.store import Record, Results, Store, Tally
from fewbits.experiment.trial import Grid, Trial, read_grid

__all__ = ["Advance", "Grid", "Outcome", "Record", "Results", "Store", "Tally", "Trial", "execute", "read_grid", "run"]
