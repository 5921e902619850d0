"""The number format, the layers that compute in it, and the choice of formats for a trained network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
