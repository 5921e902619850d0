"""Keras, imported quietly: `from fewbits.backend import keras, ops`.

TensorFlow writes to the terminal while it loads, whatever its log level is; errors still raise. Functions that need the
backend itself, TensorFlow or JAX, stand here.
"""

import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fewbits.errors import InputError, needs_extra


@contextmanager
def no_stderr() -> Iterator[None]:
    """Discard what the process writes to stderr in the block: at the file descriptor, so that C++ is silent, too."""
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


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect no garbage in the block: an import makes hundreds of thousands of objects, and nearly all stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


BACKENDS = ("tensorflow", "jax")  # of Keras', those that Few Bits runs on


def _check_backend(name: str) -> None:
    if name not in BACKENDS:
        raise InputError(f"the backend of Keras is {name!r}; set KERAS_BACKEND to {' or '.join(BACKENDS)}")


def _settings() -> Path:
    """Return the file that Keras reads its settings from, if it is there."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras", "keras.json")


def _chosen_backend() -> str:
    """Return the backend that Keras will load: that of the environment, else that of its file, else TensorFlow."""
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    try:
        return str(json.loads(_settings().read_text())["backend"])
    except (OSError, ValueError, KeyError, TypeError):  # Keras takes its own choice then, too
        return BACKENDS[0]


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # it has been taken out of Python's list of modules
        return False


_check_backend(_chosen_backend())
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
try:
    with no_stderr(), _no_collection(), needs_extra("tensorflow", "Keras models"):
        import keras
        from keras import ops, random
except (AssertionError, InputError, ValueError) as error:
    if _chosen_backend() == "jax" and not _is_installed("jax"):
        raise InputError("JAX is missing; install it with `pip install jax`, or set KERAS_BACKEND=tensorflow") from None
    if isinstance(error, InputError):
        raise
    raise InputError(f"Keras refuses a setting in {_settings()}; correct that file or remove it") from None

logging.getLogger("tensorflow").setLevel("ERROR")


def tensor(x: Any) -> Any:
    """Return `x`, an array, tensor or variable, as a tensor.

    Keras would leave a TensorFlow variable as it is, and its gradient would take another way.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(x)
    return ops.convert_to_tensor(x)


def gradients(function: Callable[[dict], Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the gradients of a function.

    Args:
        function: Maps a dictionary of tensors to one number.
        arguments: Name -> tensor, where the gradients are taken.

    Returns:
        Name -> gradient, a tensor of the same shape.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function)(arguments)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = function(arguments)
    return tape.gradient(value, arguments)


def float_of_bits(x: Any) -> Any:
    """Return the float32 numbers whose bits are those of `x`, an int32 tensor of any rank, known or not."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.bitcast(x, tf.float32)
    return ops.view(x, "float32")


def choose(index: Any, functions: tuple[Callable[..., Any], ...], *arguments: Any) -> Any:
    """Return the result of one of several element-wise functions.

    On TensorFlow it is one node of a graph, whose functions are traced, optimized and instantiated once for all layers
    that call them, whatever the shapes, and only the chosen one runs. Other backends compute all and select.

    Args:
        index: A number from 0 to len(functions) - 1, an int32 tensor.
        functions: Functions of `arguments` that depend on nothing but them.
        *arguments: Tensors.

    Returns:
        A tensor of the shape and dtype of the first argument; gradients do not pass.
    """
    if keras.backend.backend() != "tensorflow":
        chosen = functions[0](*arguments)
        for number, function in enumerate(functions[1:], 1):
            chosen = ops.where(index == number, function(*arguments), chosen)
        return chosen
    import tensorflow as tf

    dtypes = tuple(argument.dtype for argument in arguments)
    branches = [_traced(function, dtypes) for function in functions]
    [chosen] = tf.raw_ops.StatelessCase(branch_index=index, input=arguments, Tout=dtypes[:1], branches=branches)
    chosen.set_shape(arguments[0].shape)
    return chosen


def compile_batches(function: Callable[..., list], shapes: Iterable[tuple[int, ...]]) -> Callable[..., list]:
    """Return a function of batches, compiled when it is called first.

    Args:
        function: A function of tensors (n, ...), float32, that returns a list of tensors.
        shapes: For each argument its shape, without n, which may be another one in each call.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    signature = [tf.TensorSpec((None, *shape), tf.float32) for shape in shapes]
    return tf.function(function, signature, autograph=False)


def call_traced_once(function: Callable[..., list], *arguments: Any) -> list:
    """Return `function(*arguments)`; gradients do not pass.

    On TensorFlow it is one node of a graph, as in `choose`.

    Args:
        function: A function of `arguments` that depends on nothing but them and returns a list of tensors.
        *arguments: Tensors.

    Returns:
        The list.
    """
    if keras.backend.backend() != "tensorflow":
        return function(*arguments)
    return _traced(function, tuple(argument.dtype for argument in arguments))(*arguments)


@cache
def _traced(function, dtypes):
    """Return a function of TensorFlow's for tensors of any shape, of these dtypes."""
    import tensorflow as tf

    with tf.init_scope():
        signature = [tf.TensorSpec(None, dtype) for dtype in dtypes]
        traced = tf.function(function, signature, autograph=False, experimental_attributes={"_noinline": True})
        return traced.get_concrete_function()


__all__ = ["choose", "compile_batches", "float_of_bits", "gradients", "keras", "no_stderr", "ops", "random", "tensor"]
