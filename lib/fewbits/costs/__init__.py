"""What a network costs: parameters, multiply-accumulates, memory, energy and latency."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
