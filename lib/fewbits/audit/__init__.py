"""What a runtime computed with integers, layer by layer: how it rounds, what that costs, and what to do."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
