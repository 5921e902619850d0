"""The command line: what it says, and how it ends."""

import os
import subprocess
import sys

import numpy as np
import pytest

from fewbits.cli import main


@pytest.fixture
def kernel(tmp_path):
    path = tmp_path / "kernel.npy"
    np.save(path, np.random.default_rng(0).normal(0, 0.3, (3, 3, 4, 8)))
    return path


def test_quantize_reports_and_writes_values_of_the_format(kernel, tmp_path, capsys):
    target = tmp_path / "quantized.npy"
    assert main(["quantize", str(kernel), "--msb", "0", "--nbits", "4", "--output", str(target)]) == 0
    assert "ap_fixed<4, 1>" in capsys.readouterr().out
    codes = np.load(target) * 8
    assert np.array_equal(codes, np.round(codes)) and codes.min() >= -8 and codes.max() <= 7


def test_data_describes_the_digits(capsys):
    assert main(["data", "digits"]) == 0
    assert "images 8 x 8 x 1" in capsys.readouterr().out


def refused(arguments, capsys):
    """Run; return the one sentence that refuses."""
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr()
    assert status == 2 and not said.out and "Traceback" not in said.err
    return said.err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--msb", "0", "--nbits", "0"], "nbits must be an integer from 1 to 32, not 0"),
        (["--msb", "0", "--nbits", "64"], "nbits must be an integer from 1 to 32, not 64"),
        (["--msb", "0.5", "--nbits", "8"], "argument --msb: invalid int value: '0.5'"),
        (["--msb", "0", "--nbits", "8", "--rounding", "up"], "unknown rounding 'up'; it is one of floor"),
        (["--msb", "0", "--nbits", "8", "--output", "no/such/folder/x.npy"], "there is no folder no/such/folder"),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(kernel, capsys, arguments, said):
    assert said in refused(["quantize", str(kernel), *arguments], capsys)


@pytest.mark.parametrize("content", ["truncated", "text", "missing", "nan", "empty", "words"])
def test_a_wrong_file_is_refused_by_name(kernel, capsys, content):
    if content == "truncated":
        kernel.write_bytes(kernel.read_bytes()[:90])
    elif content == "text":
        kernel.write_text("not an array")
    elif content == "missing":
        kernel.unlink()
    else:
        np.save(kernel, {"nan": np.array([1.0, np.nan]), "empty": np.zeros(0), "words": np.array(["a"])}[content])
    assert str(kernel) in refused(["quantize", str(kernel), "--msb", "0", "--nbits", "8"], capsys)


def test_an_unknown_data_set_is_refused_with_those_that_exist(capsys):
    assert "'mnits'; there are digits, mnist, cifar10, cifar100" in refused(["data", "mnits"], capsys)


def test_nothing_is_left_half_written(kernel, tmp_path, monkeypatch):
    monkeypatch.setattr(np, "save", lambda file, array: (file.write(b"half"), os.fsync(file.fileno()), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        main(["quantize", str(kernel), "--msb", "0", "--nbits", "8", "--output", str(tmp_path / "out.npy")])
    assert [p.name for p in tmp_path.iterdir()] == ["kernel.npy"]


def test_help_needs_neither_keras_nor_a_backend():
    code = (
        "import sys; from fewbits.cli import main\ntry: main(['--help'])\nexcept SystemExit: print(sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'fewbits.cli'" in loaded and "'keras'" not in loaded and "'numpy'" not in loaded
