"""Pruning: which filters matter least, and a smaller network without them."""

from fewbits.pruning.criteria import CRITERIA, importance
from fewbits.pruning.surgery import removable, remove_filters

__all__ = ["CRITERIA", "importance", "removable", "remove_filters"]
