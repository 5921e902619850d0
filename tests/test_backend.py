"""A backend that is missing or unknown is named in one sentence."""

import os
import subprocess
import sys

import pytest

COMMAND = "import sys; sys.modules['jax'] = None; from fewbits.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("torch", "the backend of Keras is 'torch'; set KERAS_BACKEND to tensorflow or jax"),
        ("tensorfow", "the backend of Keras is 'tensorfow'; set KERAS_BACKEND to tensorflow or jax"),
        ("jax", "JAX is missing; install it with `pip install jax`, or set KERAS_BACKEND=tensorflow"),
    ],
)
def test_a_backend_that_is_not_there_is_named_with_the_way_out(backend, said):
    arguments = [sys.executable, "-c", COMMAND, "evaluate", "x.keras", "--data", "digits"]
    done = subprocess.run(arguments, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (2, f"fewbits: error: {said}\n", "")
