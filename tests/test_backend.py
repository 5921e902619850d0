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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('{"backend": "cntk"}', "the backend of Keras is 'cntk'; set KERAS_BACKEND to tensorflow or jax"),
        ('{"backend": "torch"}', "the backend of Keras is 'torch'; set KERAS_BACKEND to tensorflow or jax"),
        ('{"floatx": "float8"}', "Keras refuses a setting in FILE; correct that file or remove it"),
        ('{"backend": ', "x.keras does not exist"),
    ],
)
def test_a_setting_in_a_file_that_cannot_be_used_is_named(tmp_path, settings, said):
    file = tmp_path / "keras.json"
    file.write_text(settings)
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | {"KERAS_HOME": str(tmp_path)}
    arguments = [sys.executable, "-m", "fewbits.cli", "evaluate", "x.keras", "--data", "digits"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"fewbits: error: {said.replace('FILE', str(file))}\n")
