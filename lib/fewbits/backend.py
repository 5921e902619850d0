"""Keras, imported quietly: `from fewbits.backend import keras, ops`.

TensorFlow writes to the terminal while it loads, whatever its log level says; errors still raise.
"""

import logging
import os
import sys
from contextlib import contextmanager
from functools import partial


@contextmanager
def no_stderr():
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
with no_stderr():
    import keras
    from keras import ops, random

logging.getLogger("tensorflow").setLevel("ERROR")


def tensor(x):
    """Return `x` as a tensor. Keras would leave a variable of TensorFlow one, whose gradient goes another way."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(x)
    return ops.convert_to_tensor(x)


def gradients(function, arguments: dict) -> dict:
    """Return name -> gradient of `function`, of one dictionary of tensors to one number, at `arguments`."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function)(arguments)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = function(arguments)
    return tape.gradient(value, arguments)


def fuse(*functions):
    """Return a function that calls all `functions`, each with its own tuple of tensors, in one pass: a list of results.

    TensorFlow passes over memory for every operation, so there they are compiled together. (Keras' own `jit_compile`
    would hand the convolutions over too, and XLA's are slow on a CPU.) The way back is one pass for each function, run
    only where its gradient is asked for; it computes anew what it needs, which costs less than to store it before.
    The functions must depend on nothing but their tensors.
    """

    def together(*arguments):
        return [function(*map(ops.convert_to_tensor, tensors)) for function, tensors in zip(functions, arguments)]

    if keras.backend.backend() != "tensorflow":
        return together
    import tensorflow as tf

    compiled = partial(tf.function, autograph=False, jit_compile=True)

    def way_back(function):
        def gradients(tensors, upstream):
            with tf.GradientTape() as tape:
                tape.watch([t for t in tensors if t.dtype.is_floating])
                results = function(*tensors)
            return tape.gradient(results, tensors, upstream)

        return compiled(gradients)

    forward, backward = compiled(together), [way_back(function) for function in functions]

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
