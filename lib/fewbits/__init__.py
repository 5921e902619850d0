"""Make convolutional networks small: quantize, prune, slim.

Public names load on first use, so that importing the package (and `fewbits --help`) does not import Keras. Keras loads
saved quantized models once the package is imported.
"""

import lazy_loader

from fewbits.registration import register_classes

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register_classes()
