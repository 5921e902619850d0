"""What the README and the API page tell a visitor to type works."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fewbits import formats_for, quantize_model
from fewbits.backend import keras
from fewbits.cli import command_parser, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
API = (ROOT / "book" / "api.md").read_text()


def squared(labels, outputs):
    return (labels - outputs) ** 2


def test_your_model_in_ten_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", np.random.default_rng(0).random((40, 8, 8, 1), np.float32))
    layers = keras.layers
    inputs = layers.Input((8, 8, 1))
    x = layers.BatchNormalization()(layers.Conv2D(2, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    model.compile("adam", squared)  # a loss of one's own, which Keras does not find when it loads the file
    model.save("yours.keras")
    code = re.search(r"```python\n(.*?)```", README, re.S)[1]
    exec(code, {})
    assert "8 bits agree with float" in capsys.readouterr().out
    quantized = keras.models.load_model("yours-in-8-bits.keras")
    assert all(None not in formats[:3] for formats in quantized.formats.values())
    assert main("export yours-in-8-bits.keras --to c --levels 256 --divisor 256 --output device".split()) == 0
    assert "integers and simulation: 0 of 600 codes" in capsys.readouterr().out


def test_every_example_of_the_api_page_runs(capsys, monkeypatch, tmp_path):
    rng, layers = np.random.default_rng(0), keras.layers
    inputs = layers.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="conv1")(inputs)
    x = layers.Conv2D(9, 3, activation="relu", name="fire2_expand3x3")(x)
    network = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1, name="conv10")(x)))
    pixels, labels = rng.integers(0, 256, (8, 16, 16, 3), np.uint8), np.arange(8) % 3
    images = pixels / np.float32(256)
    quantized = quantize_model(network, rounding="nearest")
    quantized.set_formats(formats_for(quantized, images, nbits=(8, 8, 8)))
    examples = re.findall(r"```python\n(.*?)```", API, re.S)
    assert len(examples) >= 4
    names = {"network": network, "quantized": quantized, "images": images, "labels": labels, "pixels": pixels}
    monkeypatch.chdir(tmp_path)
    for example in examples:
        if "hls4ml" in example.lower() and not find_spec("hls4ml"):
            continue  # of the extra `fpga`
        exec(example, names | {"held_out": images, "their_labels": labels, "image": images[0]})
    assert "Agreement(codes=9408, different=0" in capsys.readouterr().out  # 8 images of 14 x 14 x 6


COMMANDS = re.findall(r"^(fewbits .*?)(?:  +#.*)?$", README + API, re.M)


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--help" not in line])
def test_every_command_named_is_understood(line):
    command_parser().parse_args(shlex.split(line)[1:])


def test_every_make_target_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        for target in re.findall(r"`make ([a-z]+)", text):
            assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_linked_file_exists():
    for name in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text()):
            assert (ROOT / link).exists(), link
