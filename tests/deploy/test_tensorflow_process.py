"""Under JAX, converters run in a process with TensorFlow: the same files, and refusals in one sentence."""

import os
import subprocess
import sys

import numpy as np
import pytest

from fewbits import FixedPoint, quantize_model
from fewbits.backend import keras

pytest.importorskip("jax")
pytest.importorskip("ai_edge_litert")
tensorflow = pytest.importorskip("tensorflow")

L = keras.layers
ON_JAX = """
import numpy as np
from pathlib import Path
from fewbits import InputError, deploy
from fewbits.backend import keras
from fewbits.costs.latency import KerasRunner
from fewbits.io.files import read_model

assert keras.backend.backend() == "jax"
quantized, images = read_model("quantized.keras"), np.load("images.npy")
Path("codes.tflite").write_bytes(deploy.to_litert(quantized, "int8"))
Path("floats.tflite").write_bytes(deploy.to_litert(read_model("float.keras"), "float16"))
quantized.export("saved", verbose=False)
np.save("seen.npy", KerasRunner(quantized).run(images[0]))
print(sum(layer.different for layer in deploy.compare_litert(quantized, images).values()))
x = keras.Input((3,))
def double(x):
    return 2 * x
own = [keras.Model(x, keras.layers.Dense(2, activation=f, name="dense")(x), name="own") for f in (double, lambda x: x)]
for model, precision in ((own[0], "float32"), (own[1], "float32"), (quantized, "float8")):
    try:
        deploy.to_litert(model, precision)
    except InputError as error:
        print(error)
"""


def test_files_made_under_jax_are_those_made_under_tensorflow(tmp_path):
    from fewbits.deploy import to_litert

    keras.utils.set_random_seed(0)
    image = L.Input((6, 6, 2))
    x = L.Flatten()(L.Conv2D(3, 3, activation="relu", name="conv")(image))
    model = keras.Model(image, L.Dense(4, name="dense")(x), name="small")
    quantized = quantize_model(model, (FixedPoint(0, 8), FixedPoint(2, 8), FixedPoint(2, 8)), rounding="nearest")
    model.save(tmp_path / "float.keras")
    quantized.save(tmp_path / "quantized.keras")
    images = np.random.default_rng(0).random((3, 6, 6, 2), np.float32)
    np.save(tmp_path / "images.npy", images)
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", ON_JAX], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-600:]
    different, own, lambdas, unknown = done.stdout.splitlines()
    assert int(different) == 0
    assert own.startswith("own holds functions or classes that Keras does not know")
    assert lambdas == own
    assert unknown.startswith("unknown precision 'float8'")
    assert (tmp_path / "codes.tflite").read_bytes() == to_litert(quantized, "int8")
    assert (tmp_path / "floats.tflite").read_bytes() == to_litert(model, "float16")
    saved, expected = tensorflow.saved_model.load(str(tmp_path / "saved")), quantized.predict(images, verbose=0)
    np.testing.assert_array_equal(saved.serve(images), expected)
    np.testing.assert_array_equal(np.load(tmp_path / "seen.npy"), expected[0])
