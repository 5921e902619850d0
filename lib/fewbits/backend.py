"""Keras, imported quietly: `from fewbits.backend import keras, ops`.

TensorFlow writes to the terminal while it loads, whatever its log level says; errors still raise.
"""

import logging
import os
import sys
from contextlib import contextmanager


@contextmanager
def _no_stderr():
    """Send the process' stderr (the file descriptor, for C++) nowhere."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with _no_stderr():
    import keras
    from keras import ops, random

logging.getLogger("tensorflow").setLevel("ERROR")


def fuse(function):
    """Return `function` of tensors compiled to one pass over them, where the backend does not do that by itself.

    Keras' own `jit_compile` would hand the convolutions over too, and XLA's are slow on a CPU.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow

    fused = tensorflow.function(function, autograph=False, jit_compile=True, reduce_retracing=True)
    return lambda *tensors: fused(*map(tensorflow.convert_to_tensor, tensors))


__all__ = ["fuse", "keras", "ops", "random"]
