"""A convolution engine in gates, written in Amaranth, and how layers run on it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
