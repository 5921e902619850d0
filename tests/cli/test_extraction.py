"""`fewbits output-extraction`: the file holds what the layers compute, whole or not at all."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from fewbits import FixedPoint, InputError, zoo
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.cli.progress import CountBar
from fewbits.data import load
from fewbits.inspection.extraction import extractor
from fewbits.io.files import read_model
from fewbits.io.hdf5 import write_hdf5
from fewbits.quantization.conversion import quantize_model
from fewbits.quantization.observation import observe
from helpers.cli import refused

L = keras.layers
N = 40  # two batches, the second short


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("network") / "lenet.keras"
    model = zoo.build("lenet", (8, 8, 1), 10)
    for layer in (model.get_layer("conv1"), model.get_layer("dense4")):
        layer.bias.assign(np.linspace(-1, 1, layer.bias.shape[0]))
    model.save(path)
    return path


@pytest.fixture(scope="module")
def digits():
    """Return numbers, images and labels that `--images 40` draws."""
    data = load("digits")
    chosen = np.sort(np.random.default_rng(0).permutation(len(data.train))[:N])
    return chosen, data.scaled(data.train)[chosen], data.train.labels[chosen]


def extract(network, output, *arguments):
    return main(
        ["output-extraction", str(network), "--data", "digits", "--images", str(N), "--output", str(output), *arguments]
    )


def by_keras(model, name, images):
    """Return what a sub-model that ends in layer `name` computes, in batches as the command's."""
    part = keras.Model(model.inputs, model.get_layer(name).output)
    part.jit_compile = False
    return part.predict(images, batch_size=32, verbose=0)


def test_the_file_holds_what_keras_computes_after_each_layer(network, digits, tmp_path, capsys):
    path = tmp_path / "a.h5"
    assert extract(network, path) == 0
    said = capsys.readouterr().out
    assert "40 of 40 images\n" in said and f"{path} written; 4 layers of lenet" in said
    numbers, images, labels = digits
    model = read_model(network)
    with h5py.File(path) as file:
        assert sorted(file) == ["images", "labels", "layers"]
        assert set(file["layers"]) == {"conv1", "conv2", "dense3", "dense4"}
        for name, values in file["layers"].items():
            assert values.attrs["kind"] == type(model.get_layer(name)).__name__
            np.testing.assert_allclose(values[:], by_keras(model, name, images), rtol=1e-6, atol=1e-6)
            assert values.dtype == np.float32
        assert np.array_equal(file["labels"][:], labels) and np.array_equal(file["images"][:], numbers)
        assert file["layers/conv1"][:].min() == 0  # after the activation
        assert dict(file.attrs) == {
            "network": "lenet",
            "data": "40 of 1,295 images (train part of digits)",
            "raw": False,
        }


def test_raw_products_are_those_that_calibration_observes(network, digits, tmp_path):
    path = tmp_path / "a.h5"
    assert extract(network, path, "--raw") == 0
    model = read_model(network)
    with h5py.File(path) as file:
        assert file.attrs["raw"]
        for name, values in observe(model, digits[1]):
            product = values.output - model.get_layer(name).bias.numpy()
            np.testing.assert_allclose(file["layers"][name][:], product, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("raw", [False, True])
def test_a_quantized_network_is_read_as_it_computes(network, digits, tmp_path, raw):
    path, output = tmp_path / "quantized.keras", tmp_path / "a.h5"
    quantized = quantize_model(read_model(network), (FixedPoint(-1, 8), FixedPoint(2, 8), FixedPoint(2, 9)))
    quantized.save(path)
    assert extract(path, output, *(["--raw"] if raw else [])) == 0
    with h5py.File(output) as file:
        values = file["layers/conv2"]
        assert values.attrs["kind"] == "QuantizedConv2D"
        steps = values[:] / (FixedPoint(-1, 8).step * FixedPoint(2, 8).step if raw else FixedPoint(2, 9).step)
        assert np.array_equal(steps, np.round(steps)) and np.abs(steps).max() > 1
        expected = by_keras(quantized, "pool1" if raw else "conv2", digits[1])
        expected = quantized.get_layer("conv2").extract(expected) if raw else expected
        assert np.array_equal(values[:], expected)


def test_other_layers_are_read_by_name_each_once(network, digits, tmp_path):
    path = tmp_path / "a.hdf5"
    assert extract(network, path, "--layers", "pool1, conv1,pool1", "--part", "test") == 0
    with h5py.File(path) as file:
        assert set(file["layers"]) == {"pool1", "conv1"} and "test part" in file.attrs["data"]
        assert np.array_equal(file["layers/pool1"][:].max((1, 2)), file["layers/conv1"][:].max((1, 2)))


def test_equal_commands_write_equal_bytes(network, tmp_path):
    for name in "ab":
        assert extract(network, tmp_path / f"{name}.h5") == 0
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_images_of_a_folder_are_named_and_broken_ones_left_out(tmp_path, capsys):
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    for name in ("dark", "brïght"):
        (folder / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / name / f"{i:02}.png")
    broken = ["brïght/03.png", "dark/00.png", "dark/19.png"]
    for name in broken:
        (folder / name).write_bytes(b"broken")
    odd = os.fsdecode(b"dark/\xff.png")
    try:
        (folder / "dark" / "18.png").rename(folder / odd)
    except OSError:  # a file system that wants UTF-8
        odd = "dark/18.png"
    model = keras.Sequential([L.Input((8, 8, 3)), L.Flatten(name="pixels"), L.Dense(1)])
    model.save(tmp_path / "n.keras")
    images = ["--data", str(folder), "--size", "8", "--images", "99", "--layers", "pixels"]
    path = tmp_path / "a.h5"
    assert main(["output-extraction", str(tmp_path / "n.keras"), *images, "--output", str(path)]) == 0
    assert "37 of 40 images\n3 files skipped" in capsys.readouterr().out
    with h5py.File(path) as file:
        names = [os.fsdecode(name) for name in file["images"]]
        assert len(names) == 37 and odd in names and not set(names) & set(broken)
        for name, label, pixels in zip(names, file["labels"], file["layers/pixels"], strict=True):
            assert label == name.startswith("dark")
            assert np.array_equal(pixels.reshape(8, 8, 3) * 256, np.asarray(Image.open(folder / name)))


def test_a_folder_without_a_readable_image_is_refused(network, tmp_path, capsys):
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "x.png").write_bytes(b"broken")
    model = keras.Sequential([L.Input((8, 8, 3)), L.Conv2D(2, 3)])
    model.save(tmp_path / "n.keras")
    for command in (["formats"], ["output-extraction", "--output", str(tmp_path / "a.h5")]):
        images = [str(tmp_path / "n.keras"), "--data", str(tmp_path / "photos"), "--size", "8", *command[1:]]
        assert "none of the 2 images drawn from" in refused([command[0], *images], capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.keras", "photos"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layers", "conv1,convv2"], "there is no layer 'convv2' in lenet, perhaps 'conv2'"),
        (["--layers", "x"], "there is no layer 'x' in lenet; there are image, conv1, pool1"),
        (["--layers", ""], "there is no layer '' in lenet"),
        (["--layers", "pool1", "--raw"], "layer pool1 is a MaxPooling2D, which has no products; conv1, conv2"),
        (["--images", "0"], "--images must be at least 1, not 0"),
        (["--part", "dev"], "argument --part: invalid choice: 'dev' (choose from "),
        (["--output", "a.keras"], "the output must be an .h5 or .hdf5 file, not a.keras"),
        (["--output", "no/such/a.h5"], "there is no folder no/such"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(network, tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    command = ["output-extraction", str(network), "--data", "digits", "--output", "a.h5", *arguments]
    assert said in refused(command, capsys)
    assert not list(tmp_path.iterdir())


def test_layers_that_have_not_one_output_are_refused():
    shared = L.Dense(4, name="shared")
    inner = keras.Sequential([L.Input((4,)), L.Dense(4)], name="inner")
    x = keras.Input((4,))
    model = keras.Model(x, inner(shared(shared(x))))
    with pytest.raises(InputError, match="layer shared is used 2 times"):
        extractor(model)
    with pytest.raises(InputError, match="layer inner is a Sequential, not a layer with one output"):
        extractor(model, ["inner"])
    with pytest.raises(InputError, match="has no graph"):
        extractor(keras.Sequential([L.Dense(4)]))
    with pytest.raises(InputError, match="has no convolution"):
        extractor(keras.Sequential([L.Input((4,)), L.ReLU()]))


def test_an_error_on_the_way_leaves_what_was_there(network, tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    path.write_text("what was there before")
    monkeypatch.setattr(CountBar, "finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        extract(network, path)
    assert path.read_text() == "what was there before" and [p.name for p in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize(("limit", "pieces"), [(0, 10), (3000, 10), (300_000, 10), (1500, 1)])
def test_a_full_disk_ends_in_one_sentence_and_leaves_no_file(limit, pieces, tmp_path):
    """HDF5 crashes at exit after a failed write; we must not. One small piece is written only when the file closes."""
    code = f"""
import resource, sys
from pathlib import Path
import numpy as np
from fewbits.io.hdf5 import write_hdf5
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
def pieces():
    for i in range({pieces}):
        print(i, flush=True)
        yield {{"layers/a": np.ones((50, 1000 if {pieces} > 1 else 1), np.float32), "names": ["x"] * 50}}
try:
    write_hdf5(Path("a.h5"), pieces(), {{"layers/a": {{"kind": "x"}}}})
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    said = done.stdout.splitlines()
    assert done.returncode == 0 and not done.stderr and said[-1] == "[Errno 27] File too large"
    assert len(said) < 5  # it stops soon after
    assert not list(tmp_path.iterdir())


def test_datasets_grow_by_each_piece_in_bounded_memory(tmp_path):
    import tracemalloc

    def pieces():
        for i in range(50):
            yield {"x": np.full((20, 5000), i, np.float32)}

    tracemalloc.start()
    write_hdf5(tmp_path / "a.h5", pieces(), {"/": {"one": 1}, "x": {"kind": "y"}})
    assert tracemalloc.get_traced_memory()[1] < 4e6  # of 20 MB
    tracemalloc.stop()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x"].shape == (1000, 5000) and file["x"].attrs["kind"] == "y" and file.attrs["one"] == 1
        assert np.array_equal(file["x"][:, 7], np.repeat(np.arange(50), 20))
