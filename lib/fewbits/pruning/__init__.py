"""Pruning: which filters matter least, and a smaller network without them."""

from fewbits.pruning.surgery import removable, remove_filters

__all__ = ["removable", "remove_filters"]
