"""Pruning: which filters matter least, a smaller network without them, and one step after the other."""

from fewbits.pruning.criteria import CRITERIA, importance, least_important
from fewbits.pruning.normalization import renew_statistics
from fewbits.pruning.steps import Plan, Pruned, prune, would_remove
from fewbits.pruning.surgery import removable, remove_filters, shrunk_to

__all__ = [
    "CRITERIA",
    "Plan",
    "Pruned",
    "importance",
    "least_important",
    "prune",
    "removable",
    "remove_filters",
    "renew_statistics",
    "shrunk_to",
    "would_remove",
]
