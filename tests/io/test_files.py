"""Networks in .keras files: paths as text, functions of one's own, and messages that name what Keras does not know."""

import json

import numpy as np
import pytest

from fewbits import InputError, quantize_model
from fewbits.backend import keras, ops
from fewbits.data import PixelCodes
from fewbits.io.files import read_array, read_arrays, read_model, write_model, write_rows

L = keras.layers


def capped(x):
    return ops.clip(x, 0, 2)


class Doubling(L.Layer):
    def call(self, x):
        return 2 * x


def network(*layers):
    return keras.Sequential([L.Input((4,)), *layers, L.Dense(2, name="last")], name="small")


def test_a_path_may_be_text(tmp_path):
    model, path = network(), str(tmp_path / "small.keras")
    write_model(model, path)
    for read, written in zip(read_model(path).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(read, written)
    np.savez(tmp_path / "a.npz", a=np.arange(3))
    np.save(tmp_path / "a.npy", np.arange(3))
    assert list(read_arrays(str(tmp_path / "a.npz"), ("a",))["a"]) == list(read_array(str(tmp_path / "a.npy")))


@pytest.mark.parametrize("loss", ["mse", lambda y, p: ops.mean((y - p) ** 2)])
def test_a_compiled_network_is_written_without_its_optimizer(tmp_path, loss):
    model = network(L.Dense(50, activation=capped))
    model.compile(keras.optimizers.Adam(), loss)
    model.optimizer.build(model.trainable_variables)
    write_model(model, tmp_path / "lean.keras")
    custom = {"capped": capped}
    read = keras.saving.load_model(tmp_path / "lean.keras", custom_objects=custom)
    assert not read.compiled
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    np.testing.assert_array_equal(read(x), model(x))


def test_a_quantized_network_with_a_function_of_ones_own_keeps_its_pixels(tmp_path):
    model = quantize_model(network(L.Dense(3, activation=capped)), unsupported="float")
    model.pixels = PixelCodes(32, 32)
    write_model(model, tmp_path / "own.keras")
    read = keras.saving.load_model(tmp_path / "own.keras", custom_objects={"capped": capped})
    assert read.pixels == PixelCodes(32, 32)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([L.Dense(3, activation=capped)], "holds the function capped, which Keras does not know"),
        ([Doubling()], "holds the class Doubling, which Keras does not know"),
        ([L.Lambda(lambda x: 2 * x)], "holds code, a Lambda layer or a lambda"),
        ([L.Dense(3, activation=lambda x: 2 * x)], "holds code, a Lambda layer or a lambda"),
    ],
)
@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_what_keras_does_not_know_is_named_in_one_sentence(tmp_path, layers, said):
    network(*layers).save(tmp_path / "own.keras")
    with pytest.raises(InputError, match=said) as raised:
        read_model(tmp_path / "own.keras")
    assert "\n" not in str(raised.value) and "config" not in str(raised.value).lower() and len(str(raised.value)) < 300


@pytest.mark.parametrize("damage", ["truncated", "text", "missing", "folder", "suffix", "layer"])
def test_a_wrong_file_is_refused_by_its_name(tmp_path, damage):
    path = tmp_path / "small.keras"
    network().save(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "text":
        path.write_text("not a network")
    elif damage == "layer":
        import zipfile

        with zipfile.ZipFile(path) as file:
            content = {name: file.read(name) for name in file.namelist()}
        content["config.json"] = content["config.json"].replace(b'"units": 2', b'"units": "two"')
        with zipfile.ZipFile(path, "w") as file:
            for name, text in content.items():
                file.writestr(name, text)
    else:
        path.unlink()
        path = tmp_path / "small.h5" if damage == "suffix" else path
        if damage == "folder":
            path.mkdir()
    with pytest.raises(InputError, match=f"^{path} ") as raised:
        read_model(path)
    assert "\n" not in str(raised.value) and "{" not in str(raised.value)


def test_rows_are_lines_of_a_json_file(tmp_path):
    head, rows = {"images": 2, "run": {"date": "today"}}, [{"bits": 4, "hits": 1}, {"bits": 8, "hits": 2}]
    write_rows(tmp_path / "rows.json", head, rows)
    text = (tmp_path / "rows.json").read_text()
    assert json.loads(text) == {**head, "rows": rows}
    assert [line.count("bits") for line in text.splitlines()] == [0, 0, 0, 0, 1, 1, 0, 0]
