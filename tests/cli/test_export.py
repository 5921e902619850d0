"""`fewbits export`: what it writes and says, what it refuses by layer, and that nothing is left half-written."""

import re
import shutil

import h5py
import numpy as np
import pytest

from fewbits import FixedPoint, formats_for, zoo
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.io.files import read_model, write_model
from fewbits.quantization.conversion import quantize_model
from helpers.cli import refused

pytest.importorskip("ai_edge_litert")
from fewbits.deploy import compiled, footprint  # noqa: E402
from fewbits.deploy.footprint import measure_footprint  # noqa: E402
from fewbits.deploy.lowering import lower  # noqa: E402
from fewbits.deploy.onnx import ONNXRunner  # noqa: E402

L = keras.layers
BYTES = ("--levels", "256", "--divisor", "256")
FORMATS = {"onnx": "n.onnx", "litert": "n.tflite", "coreml": "n.mlpackage", "hdf5": "n.h5", "c": "folder"}


def formats(nbits=8):
    return FixedPoint(0, nbits), FixedPoint(1, nbits), FixedPoint(2, nbits)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return name -> path of a float network, a quantized one, and networks that cannot be exported."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models")
    network = zoo.build("lenet", (8, 8, 1), 10)
    found = {"float": network, "quantized": quantize_model(network, formats(), rounding="nearest")}
    found["thesis"] = quantize_model(network, formats(), rounding="thesis")
    found["nan"] = keras.models.clone_model(network)
    found["nan"].get_layer("conv2").bias.assign(np.full(found["nan"].get_layer("conv2").bias.shape, np.nan))
    image = L.Input((8, 8, 1))
    odd = L.Conv2D(2, 3, activation="sparse_plus", name="odd")
    found["odd"] = keras.Model(image, L.Flatten()(odd(image)), name="odd_network")
    for name, model in found.items():
        write_model(model, folder / f"{name}.keras")
    (folder / "cut.keras").write_bytes((folder / "float.keras").read_bytes()[:5000])
    return {path.stem: path for path in folder.iterdir()}


def names(folder):
    return [path.name for path in folder.iterdir()]


def export(path, to, folder, *more):
    output = [] if "--output" in more else ["--output", str(folder / FORMATS[to])]
    return ["export", str(path), "--to", to, *output, *more]


def test_onnx_of_a_quantized_network_is_said_to_be_equal_and_is(models, tmp_path, capsys):
    assert main(export(models["quantized"], "onnx", tmp_path, "--data", "digits", "--images", "9")) == 0
    written, said, accuracy = capsys.readouterr().out.splitlines()
    file = tmp_path / "n.onnx"
    size = f"{file.stat().st_size:,} bytes"
    assert written == f"{file} written; {size}; it takes pixels from 0 to 31, divided by 32, as floats"
    assert said == "outputs equal to Keras, on 9 of 359 images (test part of digits)"
    shares = re.match(
        r"accuracy: (\S+)% of Keras on the images, (\S+)% of the file on their pixels as stored", accuracy
    )
    assert shares[1] == shares[2] and 9 * float(shares[1]) / 100 == pytest.approx(
        round(9 * float(shares[1]) / 100), abs=1e-3
    )
    assert ONNXRunner((tmp_path / "n.onnx").read_bytes()).image_shape == (8, 8, 1)
    assert names(tmp_path) == ["n.onnx"]


def test_a_float_network_is_told_how_far_it_is_off(models, tmp_path, capsys):
    for to in ("onnx", "litert"):
        assert main(export(models["float"], to, tmp_path)) == 0
        said = capsys.readouterr().out
        off = re.search(r"outputs (equal to|at most ([\d.e-]+) from) Keras.* on 8 images of noise", said)
        assert off and float(off[2] or 0) < 1e-5


def test_an_int8_file_of_floor_is_told_apart_layer_by_layer(models, tmp_path, capsys):
    arguments = ("--precision", "int8", "--data", "digits", "--images", "64")  # few may have equal outputs by chance
    assert main(export(models["quantized"], "litert", tmp_path, *arguments)) == 0
    assert "all codes of all layers are equal, on 64 of 359 images" in capsys.readouterr().out
    model = quantize_model(zoo.build("lenet", (8, 8, 1), 10), formats(), rounding="floor")
    write_model(model, tmp_path / "floor.keras")
    assert main(export(tmp_path / "floor.keras", "litert", tmp_path, *arguments)) == 0
    said = capsys.readouterr().out
    assert re.search(r"outputs at most [\d.]+ from Keras", said)
    codes = 64 * np.prod(model.get_layer("conv1").output.shape[1:])
    assert re.search(rf"\nconv1 +\d+\.\d\d% of +{codes:,} codes differ, by at most 1 step\n", said)


def test_precisions_have_their_sizes(models, tmp_path, capsys):
    sizes = {}
    for precision in ("float32", "float16", "int8"):
        arguments = ("--precision", precision, "--data", "digits", "--images", "4")
        assert main(export(models["float"], "litert", tmp_path, *arguments)) == 0
        sizes[precision] = (tmp_path / "n.tflite").stat().st_size
    assert sizes["float32"] > 1.8 * sizes["float16"] > 1.8 * 1.8 * sizes["int8"]


def test_hdf5_holds_activations_of_the_given_images(models, tmp_path, capsys):
    assert main(export(models["quantized"], "hdf5", tmp_path, "--data", "digits", "--images", "5")) == 0
    with h5py.File(tmp_path / "n.h5") as file:
        assert len(file["activations/conv1"]) == 5 and "kernel_codes" in file["weights/conv1"]
    assert main(export(models["quantized"], "hdf5", tmp_path, "--output", str(tmp_path / "n.npz"))) == 0
    with np.load(tmp_path / "n.npz") as file:
        assert "conv1/kernel_codes" in file.files


def test_core_ml_says_what_was_checked_and_what_was_not(models, tmp_path, capsys):
    pytest.importorskip("coremltools")
    assert main(export(models["quantized"], "coreml", tmp_path)) == 0
    said = capsys.readouterr().out
    assert "its shapes and kernels are those of lenet; only macOS can run it" in said


def test_integers_as_c_and_as_onnx(models, tmp_path, capsys):
    assert main(export(models["quantized"], "c", tmp_path, *BYTES)) == 0
    assert "bytes of constants" in capsys.readouterr().out and (tmp_path / "folder" / "Makefile").exists()
    assert main(export(models["quantized"], "onnx", tmp_path, "--integers", *BYTES)) == 0
    assert "from bytes to integer codes" in capsys.readouterr().out


def test_the_c_as_a_library_for_arduino(models, tmp_path, capsys):
    assert main(export(models["quantized"], "c", tmp_path, "--package", "arduino", *BYTES)) == 0
    assert "; the Arduino IDE takes it as a library; it takes pixels from 0 to 255" in capsys.readouterr().out
    assert (tmp_path / "folder" / "library.properties").exists() and (tmp_path / "folder" / "src" / "lenet.c").exists()


def test_the_size_of_the_c_is_that_on_a_device_or_not_told(models, tmp_path, capsys, monkeypatch):
    assert main(export(models["quantized"], "c", tmp_path, "--output", str(tmp_path / "here"), *BYTES)) == 0
    size = measure_footprint(tmp_path / "here")
    expected = f"on a Cortex-M4, code and constants take {size.flash_bytes:,} bytes" if size else "is not known"
    assert expected in capsys.readouterr().out.splitlines()[1]
    monkeypatch.setattr(footprint, "TOOLS", "none-such-")
    assert main(export(models["quantized"], "c", tmp_path, *BYTES)) == 0
    said = capsys.readouterr().out.splitlines()[1]
    assert said == "the size of its code on a device is not known: there is no none-such-gcc on this machine"


@pytest.mark.parametrize("to", ["c", "onnx"])
def test_integers_are_said_to_be_those_of_the_simulation(models, tmp_path, capsys, monkeypatch, to):
    integers = () if to == "c" else ("--integers",)
    network = lower(read_model(models["quantized"]), 32)
    codes = sum(network.tensors[i].size for name, i in network.outputs.items() if not name.startswith("pool"))
    codes -= network.tensors[network.outputs["flatten"]].size
    arguments = (*integers, "--levels", "32", "--data", "digits", "--images", "9")
    assert main(export(models["quantized"], to, tmp_path, *arguments)) == 0
    written, *_, said, accuracy = capsys.readouterr().out.splitlines()
    assert ("bytes of constants" if to == "c" else "from bytes to integer codes") in written
    program = "the C" if to == "c" else "ONNX Runtime"
    expected = f"integers and simulation: 0 of {9 * codes:,} codes of all layers differ; integers and {program}: 0 of"
    if to == "c" and not compiled.find_compiler():
        expected, said = "it was not run", accuracy
    assert said.startswith(expected)
    if to == "onnx":
        monkeypatch.setattr(ONNXRunner, "run", lambda self, image: np.full(10, 10**6))
        assert main(export(models["quantized"], to, tmp_path, *arguments)) == 0
        assert "90 of 90 codes of the outputs differ; on 9 of 359 images" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["c", "onnx"])
def test_integers_of_a_network_that_takes_the_pixels_themselves(tmp_path, capsys, to):
    steps = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(2, 3), L.Flatten(), L.Dense(2)]
    model = keras.Sequential([keras.Input((6, 6, 3)), *steps])
    pixels = np.random.default_rng(0).integers(0, 256, (9, 6, 6, 3)).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", images=pixels, labels=np.arange(9) % 2)
    quantized = quantize_model(model, fold_preprocessing=True, rounding="nearest")
    quantized.set_formats(formats_for(quantized, pixels))
    quantized.save(tmp_path / "raw.keras")
    arguments = () if to == "c" else ("--integers",)
    arguments += ("--divisor", "1", "--data", str(tmp_path / "mine.npz"), "--scale", "1")
    (tmp_path / "out").mkdir()
    assert main(export(tmp_path / "raw.keras", to, tmp_path / "out", *arguments)) == 0
    if to == "onnx" or compiled.find_compiler():
        assert "simulation: 0 of 306 codes of all layers differ" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["c", "onnx"])
def test_images_that_are_no_such_pixels_are_refused_and_leave_nothing(models, tmp_path, capsys, to):
    integers = () if to == "c" else ("--integers",)
    arguments = (*integers, "--levels", "16", "--data", "digits")
    said = refused(export(models["quantized"], to, tmp_path, *arguments), capsys)
    assert "pixels have 16 levels by --levels and 32 levels by digits; leave out what is wrong" in said
    assert not names(tmp_path)


@pytest.mark.parametrize("to", list(FORMATS))
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("thesis", "conv1 rounds"),
        ("nan", "bias of layer conv2 holds NaN or infinity"),
        ("cut", "cut.keras cannot be read"),
        ("none", "none.keras does not exist"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name_and_leaves_nothing(models, tmp_path, capsys, to, name, said):
    if to == "coreml":
        pytest.importorskip("coremltools")
    if (to, name) == ("c", "nan"):
        said = "is not quantized"
    path = models.get(name, models["float"].with_name("none.keras"))
    assert said in refused(export(path, to, tmp_path, *(BYTES if to == "c" else ())), capsys)
    assert names(tmp_path) == []


def test_an_activation_that_is_not_known_is_refused_by_layer(models, tmp_path, capsys):
    said = refused(export(models["odd"], "onnx", tmp_path), capsys)
    assert "layer odd has the activation sparse_plus, which cannot be exported to ONNX" in said
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("to", "more", "said"),
    [
        ("tar", (), "argument --to: invalid choice: 'tar' (choose from "),
        ("onnx", ("--output", "n.tflite"), "the output must be a .onnx file, not n.tflite"),
        ("coreml", ("--output", "n.onnx"), "the output must be a .mlpackage, not n.onnx"),
        ("onnx", ("--output", "no/n.onnx"), "there is no folder no"),
        ("litert", ("--precision", "int4"), "argument --precision: invalid choice: 'int4' (choose from "),
        ("onnx", ("--precision", "int8"), "--precision is for --to litert"),
        ("litert", ("--integers",), "--integers is for --to onnx"),
        ("onnx", ("--levels", "16"), "--levels is for --to c, --to hls4ml, --to verilog and --integers"),
        ("onnx", ("--divisor", "1"), "--divisor is for --to c, --to hls4ml, --to verilog and --integers"),
        ("onnx", ("--package", "arduino"), "--package is for --to c"),
        ("onnx", ("--kernels", "cmsis-nn"), "--kernels is for --to c"),
        ("hdf5", ("--output", "n.npz", "--data", "digits"), "activations are written to .h5 files"),
        ("onnx", ("--part", "all"), "argument --part: invalid choice: 'all' (choose from "),
        ("onnx", ("--data", "mnsit"), "'mnsit' is neither a folder nor one of"),
        ("onnx", ("--data", "crops"), "images of crops"),
        ("litert", ("--precision", "int8"), "int8 needs representative images"),
    ],
)
def test_a_wrong_command_is_refused_in_one_sentence(models, tmp_path, capsys, monkeypatch, to, more, said):
    monkeypatch.chdir(tmp_path)
    FORMATS.setdefault(to, "n.tar")
    assert said in refused(export(models["float"], to, tmp_path, *more), capsys)
    assert names(tmp_path) == []


def test_a_full_disk_leaves_what_was_there(models, tmp_path, capsys, monkeypatch):
    from fewbits.io import files

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    for to in ("onnx", "litert", "hdf5"):
        (tmp_path / FORMATS[to]).write_text("what was there before")
        assert "No space left on device" in refused(export(models["float"], to, tmp_path), capsys)
        assert (tmp_path / FORMATS[to]).read_text() == "what was there before"
    assert len(names(tmp_path)) == 3


def test_stopped_it_leaves_nothing(models, tmp_path, capsys, monkeypatch):
    from fewbits.deploy import litert

    monkeypatch.setattr(litert, "to_tflite", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(export(models["float"], "litert", tmp_path)) == 130
    assert "nothing was written" in capsys.readouterr().err and names(tmp_path) == []


def test_the_network_itself_is_not_overwritten(models, tmp_path, capsys):
    path = shutil.copy(models["float"], tmp_path / "f.keras")
    assert "must be a .onnx file" in refused(export(path, "onnx", tmp_path, "--output", str(path)), capsys)


@pytest.mark.parametrize("to", ["onnx", "litert"])
def test_a_network_with_a_named_output_is_told_as_any_other(models, tmp_path, capsys, to):
    network = read_model(models["float"])
    write_model(keras.Model(network.inputs, {"logits": network.outputs[0]}), tmp_path / "named.keras")
    assert main(export(tmp_path / "named.keras", to, tmp_path)) == 0
    assert "the same class" not in capsys.readouterr().out


def test_the_folder_one_stands_in_takes_no_c(models, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "cannot be created" in refused(export(models["quantized"], "c", tmp_path, "--output", ".", *BYTES), capsys)
    assert names(tmp_path) == []


def test_an_output_that_links_to_itself_is_replaced(models, tmp_path):
    (tmp_path / "n.h5").symlink_to("n.h5")
    assert main(export(models["float"], "hdf5", tmp_path)) == 0
    assert (tmp_path / "n.h5").is_file()


@pytest.mark.parametrize(("to", "suffix"), [("onnx", ".onnx"), ("litert", ".tflite"), ("c", ""), ("integers", ".onnx")])
def test_several_inputs_and_outputs_are_compared(tmp_path, capsys, to, suffix):
    a, b = L.Input((4, 4, 2)), L.Input((6, 3))
    joined = L.Concatenate()([L.Flatten()(x) for x in (a, b)])
    model = quantize_model(keras.Model([a, b], [L.Dense(n)(joined) for n in (2, 3)]), rounding="nearest")
    model.set_formats((FixedPoint(0, 6), FixedPoint(1, 8), FixedPoint(3, 8)))
    write_model(model, tmp_path / "two.keras")
    options = ["--to", "onnx", "--integers"] if to == "integers" else ["--to", to]
    options += BYTES if to in ("c", "integers") else ()
    assert main(["export", str(tmp_path / "two.keras"), *options, "--output", str(tmp_path / f"out{suffix}")]) == 0
    printed = capsys.readouterr().out
    if to in ("c", "integers"):
        assert "integers and simulation: 0 of 40 codes" in printed and "0 of 40 codes of the outputs" in printed
    else:
        assert "outputs equal to Keras, on 8 images of noise" in printed
