"""The checks of the labs: they try a reader's function on hidden cases and hint at what is wrong.

A lab imports the module of its checks, for example `from fewbits.labs import fixed_point_lab`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
