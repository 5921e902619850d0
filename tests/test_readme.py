"""What the README and the API page tell a visitor to type works."""

import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fewbits import formats_for, quantize_model
from fewbits.backend import keras
from fewbits.cli import command_parser, main
from fewbits.data import PixelCodes
from fewbits.deploy.emulation import BOARDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
API = (ROOT / "book" / "api.md").read_text()


def squared(labels, outputs):
    return (labels - outputs) ** 2


def test_your_model_in_twelve_lines(tmp_path, monkeypatch, capsys):
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
    assert main("export yours-in-8-bits.keras --to c --output device".split()) == 0
    assert "integers and simulation: 0 of 600 codes" in capsys.readouterr().out


# Two lines for each device: in the README, and in a chapter

RECIPES = {"--device cortex-m4": "16-integers", "--to hls4ml": "18-pareto"}


@pytest.fixture(scope="module")
def in_8_bits(tmp_path_factory):
    """A folder with the network that the recipes name."""
    folder = tmp_path_factory.mktemp("recipes")
    image = keras.layers.Input((8, 8, 1))
    x = keras.layers.Conv2D(3, 3, activation="relu")(image)
    model = quantize_model(keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(x))), rounding="nearest")
    images = np.random.default_rng(0).random((8, 8, 8, 1), np.float32)
    model.set_formats(formats_for(model, images, nbits=(8, 8, 8)))
    model.pixels = PixelCodes(256, 256)
    model.save(folder / "yours-in-8-bits.keras")
    return folder


def recipe(what):
    """Return the two lines of the README's recipe that has `what` in it."""
    [lines] = [block.strip() for block in re.findall(r"```shell\n(.*?)```", README, re.S) if what in block][:1]
    lines = [re.sub(r"  +#.*", "", line) for line in lines.splitlines()]
    assert len(lines) == 2
    return lines


def run_recipe(what, folder, monkeypatch, capsys):
    """Run what a recipe calls of `fewbits`; return what it prints."""
    monkeypatch.chdir(folder)
    for line in recipe(what):
        if line.startswith("fewbits "):
            assert main(shlex.split(line)[1:]) == 0
        else:
            assert line == "pip install '.[fpga]'"
    return capsys.readouterr().out


@pytest.mark.skipif(bool(BOARDS["cortex-m4"].missing), reason="arm-none-eabi-gcc or qemu-system-arm is not installed")
def test_the_recipe_for_a_microcontroller(in_8_bits, monkeypatch, capsys):
    said = run_recipe("--device cortex-m4", in_8_bits, monkeypatch, capsys)
    assert re.search(r"^integers and simulation: 0 of \d+ codes", said, re.M)
    assert re.search(r"^cortex-m4 +yours-in-8-bits.keras .* 0 of 16$", said, re.M)


@pytest.mark.skipif(not find_spec("hls4ml") or not shutil.which("g++"), reason="hls4ml or g++ is not installed")
def test_the_recipe_for_an_fpga(in_8_bits, monkeypatch, capsys):
    said = run_recipe("--to hls4ml", in_8_bits, monkeypatch, capsys)
    assert re.search(r"\b0 of \d+ codes", said)


@pytest.mark.parametrize("what", RECIPES)
def test_a_chapter_has_the_recipe_too(what):
    chapter = (ROOT / "notebooks" / f"{RECIPES[what]}.py").read_text()
    assert "# ```shell\n" + "".join(f"# {line}\n" for line in recipe(what)) + "# ```\n" in chapter


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
    missing = [] if find_spec("hls4ml") else ["hls4ml"]
    missing += [] if find_spec("amaranth") and shutil.which("verilator") else ["verilog"]
    assert len(examples) >= 4
    names = {"network": network, "quantized": quantized, "images": images, "labels": labels, "pixels": pixels}
    monkeypatch.chdir(tmp_path)
    for example in examples:
        if any(word in example.lower() for word in missing):
            continue
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
