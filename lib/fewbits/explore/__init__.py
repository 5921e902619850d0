"""Figures a reader turns: sliders for bits, MSB and rounding, and what they change.

An Explorer is a few controls and a function from their values to a view. In JupyterLab the function runs at each
move (ipywidgets and Plotly's FigureWidget). In the book it has run for every combination beforehand, and the
book's script looks the view up: the numbers are the library's in both.
"""

from fewbits.explore.accumulators import accumulators
from fewbits.explore.costs import QUANTITIES, SIDES, complexity
from fewbits.explore.explorer import Explorer, View
from fewbits.explore.layers import network, ranges
from fewbits.explore.overlay import overlay
from fewbits.explore.pareto import Point, choose, front, pareto
from fewbits.explore.propagation import propagated
from fewbits.explore.pruning import pattern
from fewbits.explore.rounding import DETERMINISTIC, transfer, weights
from fewbits.explore.schedules import LiveCurve, Snapshots, stages, training_curve
from fewbits.explore.schemes import schemes
from fewbits.explore.surface import surface

__all__ = [
    "DETERMINISTIC",
    "QUANTITIES",
    "SIDES",
    "Explorer",
    "LiveCurve",
    "Point",
    "Snapshots",
    "View",
    "accumulators",
    "choose",
    "complexity",
    "front",
    "network",
    "overlay",
    "pareto",
    "pattern",
    "propagated",
    "ranges",
    "schemes",
    "stages",
    "surface",
    "training_curve",
    "transfer",
    "weights",
]
