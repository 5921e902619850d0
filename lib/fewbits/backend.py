"""Keras, imported quietly: `from fewbits.backend import keras, ops`.

TensorFlow writes to the terminal while it loads, whatever its log level is; errors still raise. Functions that need the
backend itself, TensorFlow or JAX, stand here.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from fewbits.errors import needs_extra


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


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with no_stderr(), needs_extra("tensorflow", "Keras models"):
    import keras
    from keras import ops, random

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


def fuse(*functions: Callable) -> Callable[..., list]:
    """Compile several functions of tensors together, so that one pass over memory computes them all.

    TensorFlow passes over memory for every operation, so there the functions are compiled together. (Keras' own
    `jit_compile` would include the convolutions, and XLA's are slow on a CPU.) The backward pass is one pass per
    function, run only if its gradient is needed; it recomputes what it needs, which costs less than to store it.

    Args:
        *functions: Functions of tensors that depend on nothing but their arguments.

    Returns:
        A function that takes a tuple of arguments for each of `functions` and returns a list of their results.
    """

    def together(*arguments):
        return [function(*map(ops.convert_to_tensor, tensors)) for function, tensors in zip(functions, arguments)]

    if keras.backend.backend() != "tensorflow":
        return together
    import tensorflow as tf

    compiled = partial(tf.function, autograph=False, jit_compile=True)

    def backward_pass(function):
        def gradients(tensors, upstream):
            with tf.GradientTape() as tape:
                tape.watch([t for t in tensors if t.dtype.is_floating])
                results = function(*tensors)
            return tape.gradient(results, tensors, upstream)

        return compiled(gradients)

    forward, backward = compiled(together), [backward_pass(function) for function in functions]

    def fused(*arguments):
        arguments = tf.nest.map_structure(tf.convert_to_tensor, arguments)

        @tf.custom_gradient
        def apply(*_):
            results = forward(*arguments)

            def gradient(*upstream):
                upstream = tf.nest.pack_sequence_as(results, upstream)
                return tf.nest.flatten([back(*pair) for back, *pair in zip(backward, arguments, upstream)])

            return results, gradient

        return apply(*tf.nest.flatten(arguments))

    return fused


__all__ = ["fuse", "gradients", "keras", "no_stderr", "ops", "random", "tensor"]
