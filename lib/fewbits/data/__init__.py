"""Labelled images, split into training, validation and test parts, and photographs with boxes to cut them from."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
