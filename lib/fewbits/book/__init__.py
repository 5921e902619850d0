"""Builds the book: pairs and executes its notebooks, compares their results with baselines, renders its pages."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
