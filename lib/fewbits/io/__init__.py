"""Files: arrays and weights that others wrote, read as hostile input; our own files, written whole or not at all."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
