"""Trials and schemes, the store of their records, and how they are run."""

from fewbits.experiment.execution import Advance, Outcome, execute, run
from fewbits.experiment.scheme import REMEDIES, Scheme, quantize_each
from fewbits.experiment.store import Record, Results, Store, Tally
from fewbits.experiment.study import Answers, Study, run_schemes
from fewbits.experiment.trial import Grid, Trial, read_grid

__all__ = [
    "REMEDIES",
    "Advance",
    "Answers",
    "Grid",
    "Outcome",
    "Record",
    "Results",
    "Scheme",
    "Store",
    "Study",
    "Tally",
    "Trial",
    "execute",
    "quantize_each",
    "read_grid",
    "run",
    "run_schemes",
]
