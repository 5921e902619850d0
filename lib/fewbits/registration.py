"""Keras knows the classes of Few Bits that saved models hold as soon as both are imported, in any order.

Keras knows a class once its module has been imported. Few Bits imports its modules on first use, so that
`fewbits --help` does not wait for Keras; until then stand-ins are registered, which import the class.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import Any

from fewbits import quantization


class _StandIn:
    """Stands for a class in Keras' register, and becomes an object of that class."""

    def __init__(self, name: str):
        self.name = name

    def from_config(self, config: dict[str, Any]) -> Any:
        return getattr(quantization, self.name).from_config(config)


class _Finder:
    """Finds Keras where Python does, and registers the classes once it has been imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = self._executing(spec.loader)  # type: ignore[method-assign]
        return spec

    def _executing(self, loader):
        def exec_module(module):
            del loader.exec_module  # the loader's own again
            loader.exec_module(module)
            _register()

        return exec_module


def register_classes() -> None:
    """Register the quantized model and its layers with Keras, now or when Keras is imported."""
    if "keras" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _Finder())


def _register() -> None:
    from keras.saving import get_custom_objects

    for name in dir(quantization):  # its public names
        if name.startswith("Quantized"):
            get_custom_objects().setdefault(f"fewbits>{name}", _StandIn(name))
