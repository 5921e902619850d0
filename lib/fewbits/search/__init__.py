"""Mixed precision: how many bits each kernel and each activation gets, within a budget."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
