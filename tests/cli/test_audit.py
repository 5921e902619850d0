"""`fewbits audit`: the table, the file, the exit status, and what it refuses."""

import json

import numpy as np
import pytest

from fewbits.backend import keras
from fewbits.cli import main
from fewbits.deploy.litert import to_litert
from fewbits.io.files import write_model
from helpers.audits import LAYERS, network, quantized
from helpers.cli import refused
from helpers.unsigned import rectified


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files: the float network, one quantized with floor, its formats, and what the quantized one computes."""
    path = tmp_path_factory.mktemp("audit")
    write_model(network("softmax"), path / "float.keras")
    for name, signs in (("quantized", lambda model: model.formats), ("unsigned", rectified)):
        model = quantized("floor", model=network("softmax"))
        model.set_formats(signs(model))
        write_model(model, path / f"{name}.keras")
        formats = {
            layer: {
                kind: f and [f.msb, f.nbits, *([] if f.signed else ["unsigned"])]
                for kind, f in zip(("kernel", "input", "output"), three)
            }
            for layer, three in model.formats.items()
        }
        (path / f"{name}.json").write_text(json.dumps(formats))
        (path / f"odd-{name}.json").write_text(json.dumps(formats).replace("unsigned", "odd"))
        images = ["--data", "digits", "--images", 30]
        values = ["output-extraction", path / f"{name}.keras", *images, "--output", path / f"{name}.h5"]
        assert main(list(map(str, values))) == 0
    return path


def audit(folder, runtime, *options, model="float.keras"):
    return ["audit", *map(str, (folder / model, folder / runtime, "--data", "digits", "--images", 20, *options))]


def rows(said):
    """Return the lines of a table by the first word."""
    return {line.split()[0]: line for line in said.splitlines() if line}


def test_our_integers_are_audited_and_the_file_holds_what_the_table_says(folder, tmp_path, capsys):
    assert main(audit(folder, "quantized.keras", "--json", tmp_path / "a.json")) == 0
    said = capsys.readouterr().out
    assert "small against" in said and "20 of 1,295 images (train part of digits)" in said
    assert "all layers: outputs rounded by floor\n" in said and "the kernel is truncated" in said
    written = json.loads((tmp_path / "a.json").read_text())
    [layers] = written["runtimes"].values()
    assert [row["layer"] for row in layers] == list(LAYERS)
    for row in layers:
        line = rows(said)[row["layer"]]
        assert f"{row['bias']:+.3f}" in line and f"{row['slope']:+.2f} ± {row['slope_half_width']:.2f}" in line
        assert f"{row['cost']:.1f} dB" in line and "100.00%" in line and row["kernel_rounding"] == "floor"
        assert "floor" in row["output"]["roundings"] and row["advice"]


@pytest.mark.parametrize("formats", ["quantized.keras", "quantized.json", "unsigned.keras", "unsigned.json"])
def test_what_output_extraction_wrote_is_audited_on_the_same_images(folder, formats, capsys):
    values = f"{formats.partition('.')[0]}.h5"
    assert main(audit(folder, values, "--formats", folder / formats)) == 0
    said = capsys.readouterr().out
    assert "30 of 1,295 images" in said  # those that the file names
    assert all("floor" in rows(said)[name] for name in LAYERS[:3])
    assert "dense: not examined, because the values come after an activation that is no ReLU" in said


def test_litert_runs_with_both_kernels(folder, capsys):
    (folder / "net.tflite").write_bytes(to_litert(quantized("nearest", 8, network("softmax")), "int8"))
    assert main(audit(folder, "net.tflite")) == 0
    first, second = capsys.readouterr().out.split("\nLiteRT, ")[1:]
    assert first.startswith("xnnpack") and "all layers: outputs rounded by nearest\n" in first
    assert second.startswith("reference") and "all layers: outputs rounded by nearest, rounded twice\n" in second
    assert all("nearest, rounded twice" in rows(second)[name] for name in LAYERS[:3])
    assert main(audit(folder, "net.tflite", "--kernels", "optimized")) == 0
    assert "LiteRT, optimized kernels" in capsys.readouterr().out


def test_layers_that_a_file_does_not_hold_are_named(folder, tmp_path, capsys):
    whole = network("softmax")
    longer = keras.layers.Dense(10, name="extra")(whole.output)
    write_model(keras.Model(whole.input, longer), folder / "other.keras")
    (folder / "net.tflite").write_bytes(to_litert(quantized("nearest", 8, network("softmax")), "int8"))
    assert main(audit(folder, "net.tflite", "--kernels", "xnnpack", model="other.keras")) == 0
    said = capsys.readouterr().out
    assert "\nextra: not examined, because the runtime has no integer layer with its kernel" in said


def test_a_layer_that_no_rounding_explains_makes_the_status_1(folder, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(-9, 9, (20, 8, 8, 6))
    np.savez(tmp_path / "noise.npz", **{"layers/first": noise, "scales/first": 0.1, "kernel_scales/first": 0.01})
    assert main(audit(folder, tmp_path / "noise.npz")) == 1
    assert "no rounding explains the codes" in capsys.readouterr().out


def test_what_does_not_fit_is_refused(folder, tmp_path, capsys):
    assert "is no .tflite, .onnx, .keras, .h5 or .npz file" in refused(audit(folder, "quantized.json"), capsys)
    assert "--formats is for .h5 and .npz files" in refused(audit(folder, "quantized.keras", "--formats", "x"), capsys)
    assert "--kernels is for .tflite files" in refused(audit(folder, "quantized.h5", "--kernels", "xnnpack"), capsys)
    assert "'arm' is not one of" in refused(audit(folder, "net.tflite", "--kernels", "arm"), capsys)
    assert "does not exist" in refused(audit(folder, "none.npz"), capsys)
    assert "is not quantized" in refused(audit(folder, "float.keras"), capsys, quiet=False)
    other = audit(folder, "quantized.h5", "--formats", folder / "float.keras")
    assert "is not quantized" in refused(other, capsys, quiet=False)
    (tmp_path / "no.json").write_text("[1, 2]")
    for path in (tmp_path / "no.json", folder / "odd-unsigned.json"):
        assert "holds no formats" in refused(audit(folder, "quantized.h5", "--formats", path), capsys, quiet=False)
    np.savez(tmp_path / "x.npz", images=np.array([5000]), first=np.zeros((1, 8, 8, 6)))
    assert "names images that" in refused(audit(folder, tmp_path / "x.npz"), capsys)
