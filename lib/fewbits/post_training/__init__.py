"""Post-training repairs: what restores a quantized network without training, and what each costs in hardware.

All functions return a new network and leave the one they are given unchanged.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
