"""Which pixels an exported network takes: the options, the saved network and the data tell it, or it is refused."""

import re
import shutil

import numpy as np
import pytest

from fewbits import FixedPoint, load_model, quantize_model, zoo
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.data import PixelCodes, load
from fewbits.deploy import lower
from fewbits.deploy.onnx import ONNXRunner
from helpers.cli import refused

pytest.importorskip("sklearn")
pytest.importorskip("onnxruntime")
L = keras.layers
DIGITS = PixelCodes(32, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a network for digits, quantized by the command, and one that tells no pixels."""
    keras.utils.set_random_seed(3)
    path = tmp_path_factory.mktemp("pixels")
    zoo.build("lenet", (8, 8, 1), 10).save(path / "float.keras")
    assert main(f"formats {path}/float.keras --data digits --save-model {path}/told.keras".split()) == 0
    silent = load_model(path / "told.keras")
    silent.pixels = None
    silent.save(path / "silent.keras")
    return path


def export(folder, name, *more):
    return ["export", f"{folder}/{name}.keras", "--to", "onnx", "--integers", "--output", f"{folder}/out.onnx", *more]


@pytest.fixture
def ran(monkeypatch):
    """Return a list of what ONNX Runtime is given from now on."""
    given, run = [], ONNXRunner.run
    monkeypatch.setattr(ONNXRunner, "run", lambda self, image: given.append(image) or run(self, image))
    return given


@pytest.mark.parametrize(
    ("name", "more"),
    [("told", ()), ("silent", ()), ("told", ("--levels", "32")), ("silent", ("--divisor", "32", "--mean", "0"))],
)
def test_the_file_runs_on_the_pixels_of_the_data_as_they_are_stored(folder, capsys, ran, name, more):
    assert main(export(folder, name, "--data", "digits", "--images", "40", "--seed", "2", *more)) == 0
    digits = load("digits")
    chosen = np.sort(np.random.default_rng(2).permutation(len(digits.test))[:40])
    pixels, labels = digits.test.images[chosen], digits.test.labels[chosen]
    np.testing.assert_array_equal(ran, pixels)
    model = load_model(folder / "told.keras")
    ours = np.mean(model.predict(digits.scaled(digits.test)[chosen], verbose=0).argmax(1) == labels)
    theirs = np.mean(lower(model, 32).run(pixels).argmax(1) == labels)
    written, codes, accuracy = capsys.readouterr().out.splitlines()
    assert written.endswith("it takes pixels from 0 to 31, divided by 32")
    assert "integers and simulation: 0 of" in codes and codes.endswith("on 40 of 359 images (test part of digits)")
    assert accuracy == (
        f"accuracy: {ours:.2%} of Keras on the images, {theirs:.2%} of ONNX Runtime on their pixels as stored"
    )


def test_without_data_the_saved_network_tells_and_noise_has_its_levels(folder, capsys, ran):
    assert main(export(folder, "told")) == 0
    assert "it takes pixels from 0 to 31, divided by 32\n" in capsys.readouterr().out
    assert np.max(ran) == 31 and np.asarray(ran).dtype == np.uint8


OTHERS = {
    "onnx": ("onnx", ()),
    "qonnx": ("onnx", ()),
    "litert": ("tflite", ()),
    "litert-int8": ("tflite", ("--precision", "int8", "--int8-io")),
}


@pytest.mark.parametrize("to", OTHERS)
def test_files_of_values_get_those_of_the_pixels_as_they_are_stored(folder, capsys, to):
    pytest.importorskip({"qonnx": "qonnx", "onnx": "onnxruntime"}.get(to, "ai_edge_litert"))
    suffix, more = OTHERS[to]
    line = ["export", f"{folder}/told.keras", "--to", to.split("-")[0], "--output", f"{folder}/{to}.{suffix}", *more]
    assert main([*line, "--data", "digits", "--images", "40"]) == 0
    said = capsys.readouterr().out
    kind = "int8 codes" if "--int8-io" in more else "floats"
    assert f"it takes pixels from 0 to 31, divided by 32, as {kind}" in said and "equal to Keras" in said
    shares = re.search(r"accuracy: (\S+) of Keras on the images, (\S+) of the file on their pixels as stored", said)
    assert shares[1] == shares[2]


def test_a_file_of_values_is_not_compared_on_pixels_of_other_levels(folder, capsys):
    np.savez(folder / "bytes.npz", images=8 * load("digits").test.images[:9], labels=np.arange(9))
    line = ["export", f"{folder}/told.keras", "--to", "onnx", "--output", f"{folder}/none.onnx"]
    said = refused([*line, "--data", f"{folder}/bytes.npz"], capsys)
    assert "pixels have 32 levels by the network lenet and 256 levels by" in said
    assert not (folder / "none.onnx").exists()


def test_every_command_that_quantizes_saves_the_pixels_of_its_data(folder):
    low = f"progressive-quantization {folder}/float.keras --data digits --strategy static --output {folder}/low.keras"
    assert main(low.split()) == 0
    mixed = f"search {folder}/float.keras --data digits --budget 60%-of-8-bit-bytes --bits 4,8 --images 8"
    assert main([*mixed.split(), "--output", f"{folder}/mixed.keras"]) == 0
    assert [load_model(folder / f"{name}.keras").pixels for name in ("told", "low", "mixed")] == [DIGITS] * 3
    assert load_model(folder / "silent.keras").pixels is None


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("silent", (), "nothing tells the levels and the divisor of the pixels that lenet takes; add --data, or"),
        ("silent", ("--levels", "256"), "nothing tells the divisor of the pixels that lenet takes"),
        ("told", ("--levels", "256"), "pixels have 256 levels by --levels and 32 levels by the network lenet; leave"),
        ("told", ("--mean", "3"), "pixels have the mean 3 by --mean and the mean 0 by the network lenet"),
        ("silent", ("--levels", "256", "--data", "digits"), "256 levels by --levels and 32 levels by digits"),
        ("silent", ("--divisor", "1", "--data", "digits"), "the divisor 1 by --divisor and the divisor 32 by digits"),
        ("silent", ("--levels", "3", "--divisor", "4"), "levels must be a power of two, such as 256, not 3"),
    ],
)
def test_a_guess_and_a_contradiction_are_refused_and_leave_nothing(folder, capsys, name, more, said):
    (folder / "out.onnx").unlink(missing_ok=True)
    assert said in refused(export(folder, name, *more), capsys)
    assert not (folder / "out.onnx").exists()


@pytest.fixture(scope="module")
def bytes_file(tmp_path_factory):
    """Return an .npz file of bytes, its pixels, and a folder."""
    path = tmp_path_factory.mktemp("bytes")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 6, 6, 3)).astype(np.uint8)
    np.savez(path / "mine.npz", images=pixels, labels=np.arange(30) % 3)
    return path, pixels


@pytest.mark.parametrize(
    ("scale", "offset", "said"),
    [(1 / 255, 0, ""), (1 / 127.5, -1, "; the offset stays before it, as it pads with zeros")],
)
def test_a_rescaling_goes_into_the_first_kernel_and_the_difference_is_told(
    bytes_file, capsys, monkeypatch, ran, scale, offset, said
):
    path, pixels = bytes_file
    keras.utils.set_random_seed(0)
    layers = [L.Rescaling(scale, offset, name="scaled"), L.Conv2D(2, 3, padding="same", name="c"), L.Flatten()]
    keras.Sequential([L.Input((6, 6, 3)), *layers, L.Dense(3)]).save(path / "float.keras")
    data = ["--data", str(path / "mine.npz"), "--scale", "1"]
    assert main(["formats", str(path / "float.keras"), *data, "--save-model", str(path / "q.keras")]) == 0
    _, told, off, *_ = capsys.readouterr().out.splitlines()
    assert told == f"scaled: the scale is in the kernel of c, which takes the pixels{said}"
    assert 0 < float(off.split()[9].rstrip(",")) < 1e-5
    assert load_model(path / "q.keras").pixels == PixelCodes(256, 1)
    assert main(export(path, "q", *data, "--images", "5")) == 0
    written, codes, accuracy = capsys.readouterr().out.splitlines()
    assert written.endswith("it takes pixels from 0 to 255") and "integers and simulation: 0 of" in codes
    assert len({*re.findall(r"[\d.]+%", accuracy)}) == 1
    np.testing.assert_array_equal(ran, pixels[np.sort(np.random.default_rng(0).permutation(30)[:5])])
    assert "the divisor 1 by the network" in refused(export(path, "q", *data[:2]), capsys)
    plain = ["export", f"{path}/q.keras", "--to", "onnx", "--output", f"{path}/plain.onnx"]
    ran.clear()
    monkeypatch.setattr(ONNXRunner, "run_all", lambda self, image: ran.append(image) or [np.zeros(3)])
    for more in ((), data):  # noise, and what is stored
        assert main([*plain, *more]) == 0
        assert "it takes pixels from 0 to 255, as floats\n" in capsys.readouterr().out
        assert np.max(ran) > 240 and np.array_equal(ran, np.rint(ran))


@pytest.mark.parametrize(
    "command",
    [
        "formats --save-model OUT",
        "search --budget 60%-of-8-bit-bytes --bits 4,8 --images 8 --output OUT",
        "progressive-quantization --strategy lock --learning-rate 0.01 --output OUT",
    ],
)
def test_what_every_command_makes_of_a_network_that_scales_pixels_becomes_integers(bytes_file, capsys, command):
    path, _ = bytes_file
    keras.utils.set_random_seed(0)
    layers = [L.Rescaling(1 / 127.5, -1), L.Conv2D(2, 3, padding="same", activation="relu"), L.Flatten()]
    keras.Sequential([L.Input((6, 6, 3)), *layers, L.Dense(3)]).save(path / "float.keras")
    data = ["--data", str(path / "mine.npz"), "--scale", "1"]
    name, *more = command.replace("OUT", str(path / "q.keras")).split()
    assert main([name, str(path / "float.keras"), *data, *more]) == 0
    capsys.readouterr()
    folder = path / re.sub("[^a-z]+", "-", command)
    assert main(["export", str(path / "q.keras"), "--to", "c", *data, "--output", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "it takes pixels from 0 to 255\n" in said and "integers and simulation: 0 of" in said
    assert shutil.which("cc") is None or "integers and the C: 0 of" in said


def test_data_that_integers_cannot_prepare_are_refused(bytes_file, capsys):
    path, pixels = bytes_file
    image = L.Input((6, 6, 3))
    model = keras.Model(image, L.Dense(3)(L.Flatten()(image)))
    quantize_model(model, (FixedPoint(0, 8),) * 3, rounding="nearest").save(path / "plain.keras")
    data = ["--data", str(path / "mine.npz")]
    said = refused(export(path, "plain", *data, "--scale", "0.0039"), capsys)
    assert "pixels are multiplied by 0.0039, and integers need 1 / 2**n; begin the network with Rescaling(" in said
    assert "is no integer; round it" in refused(export(path, "plain", *data, "--mean-pixel", "103.9"), capsys)
    np.savez(path / "floats.npz", images=pixels / np.float32(256), labels=np.arange(30) % 3)
    floats = ["--data", str(path / "floats.npz")]
    assert "nothing tells the levels" in refused(export(path, "plain", *floats), capsys)
    assert main(export(path, "plain", *floats, "--levels", "256", "--divisor", "256")) == 0
    assert "0 of 90 codes of all layers" in capsys.readouterr().out


def test_a_mean_per_channel_comes_from_the_data(bytes_file, capsys):
    path, _ = bytes_file
    image = L.Input((6, 6, 3))
    model = keras.Model(image, L.Dense(3)(L.Flatten()(image)))
    quantize_model(model, (FixedPoint(0, 8), FixedPoint(7, 8), FixedPoint(9, 8)), rounding="nearest").save(
        path / "mean.keras"
    )
    data = ["--data", str(path / "mine.npz"), "--mean-pixel", "104,117,123", "--order", "bgr"]
    assert main(export(path, "mean", *data)) == 0
    said = capsys.readouterr().out
    assert "takes pixels from 0 to 255, less 104, 117, 123, in the order blue, green, red" in said
    assert "integers and simulation: 0 of" in said
