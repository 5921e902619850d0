"""Remedies for what few bits do to a trained network, without training; each says its price in hardware.

All functions return a new network and leave the one they are given.
"""

from fewbits.remedies.equalization import equalize
from fewbits.remedies.refitting import refit_kernels
from fewbits.remedies.rounding import add_half_a_step, fold_mean_shift, reconstruct_mid_step, round_kernels
from fewbits.remedies.wires import search_msbs, share_formats

__all__ = [
    "add_half_a_step",
    "equalize",
    "fold_mean_shift",
    "reconstruct_mid_step",
    "refit_kernels",
    "round_kernels",
    "search_msbs",
    "share_formats",
]
