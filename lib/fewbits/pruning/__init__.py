"""Pruning: which filters matter least, a smaller network without them, and one step after the other."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
