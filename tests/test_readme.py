"""What the README tells a visitor to type works."""

import re
from pathlib import Path

import numpy as np

from fewbits.backend import keras

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_your_model_in_ten_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    layers = keras.layers
    keras.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)]).save(
        "yours.keras"
    )
    code = re.search(r"```python\n(.*?)```", README, re.S)[1]
    exec(code, {})
    kernel = keras.models.load_model("yours-8-bit-weights.keras").layers[0].kernel.numpy() * 2**7
    assert np.array_equal(kernel, np.round(kernel))
    assert "sqnr=" in capsys.readouterr().out


def test_every_make_target_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        for target in re.findall(r"`make ([a-z]+)", text):
            assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_linked_file_exists():
    for name in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text()):
            assert (ROOT / link).exists(), link
