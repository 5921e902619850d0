"""The tests of a file once more, in a process of their own whose backend is JAX."""

import os
import subprocess
import sys


def assert_file_holds_on_jax(path):
    """Run all tests of a file on JAX; what failed is in the message."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path]
    run = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": "jax"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
