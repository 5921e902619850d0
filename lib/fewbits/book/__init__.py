"""What builds this book: its chapters, their execution and baselines, its pages, the theses' tables and our results."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
