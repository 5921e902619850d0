"""Experiments: trials and schemes, how they are run, and the store of their records."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
