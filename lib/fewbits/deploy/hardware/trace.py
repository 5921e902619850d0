"""What passes between the parts of an engine while it computes a layer."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class EngineTrace:
    """The items of the engine's inner streams, all int64, by run, plane, row and column of the output.

    Attributes:
        windows: Pixels, (runs, planes, rows, columns, window, window).
        slice_sums: Sums of products with slices of weights, (runs, planes, rows, columns, slices at once).
        window_sums: The sums of windows, joined from those of slices, (runs, planes, rows, columns, filters).
        partial_sums: The same with the bias and the planes before, (runs, planes, rows, columns, filters).
        codes: Output codes, (runs, rows, columns, filters).
    """

    windows: np.ndarray
    slice_sums: np.ndarray
    window_sums: np.ndarray
    partial_sums: np.ndarray
    codes: np.ndarray
