"""Keras loads what Few Bits saved, in a fresh process that has imported both and used neither."""

import ast
import subprocess
import sys

import pytest

from fewbits import FixedPoint, quantization, quantize_model
from fewbits.backend import keras

L = keras.layers
LOAD = """
model = keras.models.load_model({path!r})
kinds = [type(layer).__name__ for layer in model.layers]
print([type(model).__name__, kinds, tuple(model.get_layer("c").formats.kernel)])
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    image = L.Input((8, 8, 1), name="image")
    x = L.DepthwiseConv2D(3, name="d")(L.Conv2D(2, 3, name="c")(image))
    path = str(tmp_path_factory.mktemp("saved") / "quantized.keras")
    quantize_model(keras.Model(image, L.Dense(2, name="o")(L.Flatten(name="f")(x))), (FixedPoint(0, 8),) * 3).save(path)
    return path


HEADS = ["import keras, fewbits", "import fewbits, keras", "from fewbits.backend import keras"]


@pytest.mark.parametrize("path", ["path", "pathlib.Path(path)"])
def test_the_package_loads_what_it_saved_in_a_fresh_process(saved, path):
    code = f"import pathlib, fewbits; path = {saved!r}; print(type(fewbits.load_model({path})).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["QuantizedModel"], done.stderr[-400:]


@pytest.mark.parametrize("head", HEADS)
def test_a_saved_quantized_model_loads_in_a_fresh_process(saved, head):
    code = f"{head}\n{LOAD.format(path=saved)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-400:]
    kind, layers, kernel = ast.literal_eval(done.stdout)
    assert kind == "QuantizedModel" and kernel == (0, 8)
    assert layers == ["InputLayer", "QuantizedConv2D", "QuantizedDepthwiseConv2D", "Flatten", "QuantizedDense"]


def test_every_class_that_a_saved_model_may_hold_is_public():
    from fewbits.quantization import conversion

    assert conversion
    known = {name.partition(">")[2] for name in keras.saving.get_custom_objects() if name.startswith("fewbits>")}
    assert {"QuantizedModel", "QuantizedConv2D"} <= known
    assert known == {name for name in quantization.__all__ if name.startswith("Quantized") or name == "FreeQuantizer"}
    assert all(isinstance(keras.saving.get_custom_objects()[f"fewbits>{name}"], type) for name in known)


def test_keras_is_not_imported_with_the_package():
    code = "import sys, fewbits.cli; print('keras' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
