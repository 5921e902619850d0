"""A process of its own whose backend is TensorFlow, for converters that read TensorFlow's graphs alone.

Under another backend, such as JAX, a converter runs there: the network goes over in a .keras file.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fewbits.backend import keras
from fewbits.errors import InputError, needs_extra
from fewbits.io.files import read_model, write_model

UNREADABLE = 3  # exit status of the process when Keras does not know a class or function in the file


def call_in_tensorflow(function: Callable[..., Any], model: keras.Model, *arguments: Any) -> Any:
    """Return `function(model, *arguments)`, computed in a process of its own if the backend is not TensorFlow.

    Args:
        function: A function of a module.
        model: A model that Keras can save.
        arguments: What can be pickled, as the result can.

    Raises:
        InputError: when TensorFlow is not installed; when `model` holds functions or classes that Keras does not know;
            as `function`.
    """
    if keras.backend.backend() == "tensorflow":
        return function(model, *arguments)
    with needs_extra("tensorflow", "Conversions"):
        if find_spec("tensorflow") is None:
            raise ModuleNotFoundError(name="tensorflow")
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    with TemporaryDirectory() as folder:
        try:
            write_model(model, Path(folder, "model.keras"))
        except Exception:  # of Keras, in many classes
            raise _unknown(model) from None
        Path(folder, "task").write_bytes(pickle.dumps((function, arguments)))
        command = [sys.executable, "-m", __name__, folder]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode == UNREADABLE:
            raise _unknown(model)
        if done.returncode:
            said = done.stderr.strip().split("\n")[-1][:300]
            raise InputError(f"{model.name} cannot be converted in a process with TensorFlow: {said}")
        value = pickle.loads(Path(folder, "result").read_bytes())
    if isinstance(value, InputError):
        raise value
    return value


def _unknown(model):
    return InputError(
        f"{model.name} holds functions or classes that Keras does not know, so TensorFlow, which converts it, cannot "
        "read it; convert it in a process with KERAS_BACKEND=tensorflow"
    )


def _serve(folder: str) -> None:
    """Call the function in `folder`, and write what it returns, or the InputError that it raises."""
    function, arguments = pickle.loads(Path(folder, "task").read_bytes())
    try:
        model = read_model(Path(folder, "model.keras"))
    except InputError:
        sys.exit(UNREADABLE)
    try:
        value = function(model, *arguments)
    except InputError as error:
        value = error
    Path(folder, "result").write_bytes(pickle.dumps(value))


if __name__ == "__main__":
    _serve(sys.argv[1])
