"""What the README tells a visitor to type works."""

import re
from pathlib import Path

import numpy as np

from fewbits.backend import keras
from fewbits.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_your_model_in_ten_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", np.random.default_rng(0).random((40, 8, 8, 1), np.float32))
    layers = keras.layers
    inputs = layers.Input((8, 8, 1))
    x = layers.BatchNormalization()(layers.Conv2D(2, 3)(inputs))
    keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))).save("yours.keras")
    code = re.search(r"```python\n(.*?)```", README, re.S)[1]
    exec(code, {})
    assert "8 bits agree with float" in capsys.readouterr().out
    quantized = keras.models.load_model("yours-in-8-bits.keras")
    assert all(None not in formats[:3] for formats in quantized.formats.values())
    assert main("export yours-in-8-bits.keras --to c --output device".split()) == 0
    assert "integers and simulation: 0 of 600 codes" in capsys.readouterr().out


def test_every_make_target_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        for target in re.findall(r"`make ([a-z]+)", text):
            assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_linked_file_exists():
    for name in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text()):
            assert (ROOT / link).exists(), link
