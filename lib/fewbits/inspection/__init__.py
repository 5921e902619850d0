"""What a network computes for an image, layer by layer, and where in the image it sees what it names."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
