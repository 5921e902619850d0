"""`fewbits import-onnx`: what it prints, writes and refuses."""

import re
import sys

import numpy as np
import pytest

from fewbits.backend import ops
from fewbits.cli import main
from fewbits.io.files import read_model
from helpers import onnx_files
from helpers.cli import refused


def test_a_network_is_written_and_its_gap_told(tmp_path, capsys):
    path, output = onnx_files.mobilenet(tmp_path / "small.onnx", "batch", "side"), tmp_path / "small.keras"
    assert main(["import-onnx", str(path), "--size", "16,20", "--output", str(output)]) == 0
    model = read_model(output)
    written, compared = capsys.readouterr().out.splitlines()
    assert written == f"{output} written; small, {model.count_params():,} parameters"
    assert re.fullmatch(
        r"\d+ tensors equal ONNX Runtime's; the largest gap is \d\.\de-0\d, at node \S+ \(\w+\)", compared
    )
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 20)).astype(np.float32)
    theirs = onnx_files.run(path, images)
    np.testing.assert_allclose(ops.convert_to_numpy(model(onnx_files.channels_last(images))), theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.onnx"], "none.onnx does not exist"),
        (["network.onnx", "--output", "network.h5"], "the output must be a .keras file, not network.h5"),
        (["network.onnx", "--size", "16x20"], "'16x20' is not a height and a width, such as 96,128"),
        (["network.onnx", "--size", "0"], "'0' is not a height and a width"),
        (["network.onnx", "--size", "24"], "has images of 16 x 16 pixels; leave out the size"),
        (["bad.onnx"], "bad.onnx cannot be read; it may be truncated, or not be an .onnx file"),
        (["."], ". cannot be read (Is a directory)"),
    ],
)
def test_what_cannot_be_imported_is_refused_and_nothing_written(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx_files.mobilenet(tmp_path / "network.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    assert message in refused(["import-onnx", "--output", "network.keras", *arguments], capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.onnx", "network.onnx"]


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_the_install_line_is_told(package, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    said = refused(["import-onnx", str(tmp_path / "any.onnx"), "--output", str(tmp_path / "any.keras")], capsys)
    assert f"ONNX files need the package {package}; install it with" in said and ".[export]" in said
