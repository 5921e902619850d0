"""Make convolutional networks small: quantize, prune, slim.

Public names load on first use, so that importing the package (and `fewbits --help`) does not import Keras.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "FixedPoint": "fixedpoint",
    "quantize": "fixedpoint",
    "quantclip": "fixedpoint",
    "to_codes": "fixedpoint",
    "from_codes": "fixedpoint",
    "InputError": "errors",
    "quantize_model": "conversion",
    "progressive_quantization": "schedules",
    "Trial": "experiment",
    "run": "experiment",
}
_MODULES = (
    "backend",
    "caffe",
    "calibration",
    "complexity",
    "conversion",
    "data",
    "dynamic_fixed_point",
    "experiment",
    "explore",
    "fixedpoint",
    "layers",
    "papers",
    "plots",
    "propagation",
    "reference",
    "remedies",
    "schedules",
    "sqnr",
    "statistics",
    "training",
    "transfer",
    "weights",
    "zoo",
)
__all__ = [*_HOME, *_MODULES]


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f"fewbits.{_HOME[name]}"), name)
    if name in _MODULES:
        return import_module(f"fewbits.{name}")
    raise AttributeError(f"fewbits has no name {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return [*globals(), *__all__]
