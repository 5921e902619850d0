"""A report on one network: what it costs, what few bits do to it, what it can run on, and what to do next."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
