"""`fewbits search`: bits within a budget, the networks that are written, and what is refused in one sentence."""

import json

import numpy as np
import pytest

from fewbits import data, zoo
from fewbits.cli import main
from fewbits.io.files import read_model, write_model
from helpers.cli import refused


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "digits.keras"
    zoo.build("squeezenet_digits", (8, 8, 1), 10, weights="squeezenet_digits").save(path)
    return path


def search(path, *arguments):
    return main(["search", str(path), "--data", "digits", "--images", "8", "--bits", "3,8", *arguments])


def size(model):
    """Return the bytes of a quantized network, from its formats and weights alone."""
    total = 0
    for layer in model.quantized_layers:
        fmt = layer.formats.kernel
        total += np.prod(layer.kernel.shape) * (fmt[0] if isinstance(fmt, tuple) else fmt).nbits / 8
        total += 4 * (0 if layer.bias is None else np.prod(layer.bias.shape))
    return total


@pytest.fixture(scope="module")
def found(network, tmp_path_factory):
    """What one search prints and writes."""
    folder = tmp_path_factory.mktemp("found")
    files = ["--output", str(folder / "mixed.keras"), "--save", "45%", str(folder / "small.keras")]
    budgets = ["--budget", "60%-of-8-bit-bytes", "--budget", "80%-of-8-bit-activation-bytes"]
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *args, **_: lines.append(" ".join(map(str, args))))
        assert search(network, *budgets, *files, "--json", str(folder / "front.json")) == 0
    return folder, "\n".join(lines)


def test_the_network_keeps_within_its_budget_and_is_not_far_below(found, network):
    folder, _ = found
    most = size(_at_eight(network))
    assert 0.5 * most < size(read_model(folder / "mixed.keras")) <= 0.6 * most
    assert size(read_model(folder / "small.keras")) <= 0.45 * most


def _at_eight(network):
    from fewbits import FixedPoint, quantize_model

    return quantize_model(read_model(network), (FixedPoint(0, 8),) * 3)


def test_what_is_written_knows_the_digits(found):
    digits, network = data.load("digits"), read_model(found[0] / "mixed.keras")
    answers = network.predict(digits.scaled(digits.test).astype("float32"), verbose=0).argmax(1)
    assert np.mean(answers == digits.test.labels) > 0.7


def test_the_table_and_the_file_say_what_the_network_has(found):
    folder, said = found
    points = json.loads((folder / "front.json").read_text())
    assert points["chosen"]["costs"]["bytes"] == size(read_model(folder / "mixed.keras"))
    assert points["45%"]["costs"]["bytes"] == size(read_model(folder / "small.keras"))
    network = read_model(folder / "mixed.keras")
    for layer in network.quantized_layers:
        kernel = layer.formats.kernel
        bits = (kernel[0] if isinstance(kernel, tuple) else kernel).nbits
        assert points["chosen"]["bits"][f"{layer.name} kernel"] == bits
        assert f"\n{layer.name} kernel".ljust(20) in said
    assert "chosen" in said and "45%" in said and "predicted" in said and "measured" in said


def test_ends_and_activations_have_the_bits_that_are_asked_for(tmp_path, capsys):
    write_model(zoo.build("lenet", (8, 8, 1), 10), tmp_path / "lenet.keras")
    line = ["--activations", "6", "--ends", "8", "--output", str(tmp_path / "mixed.keras")]
    assert search(tmp_path / "lenet.keras", "--budget", "60%-of-8-bit-bytes", *line) == 0
    formats = read_model(tmp_path / "mixed.keras").formats
    inputs = [fmt.input.nbits for fmt in formats.values()]
    assert inputs == [8] + [6] * (len(inputs) - 1)
    assert list(formats.values())[-1].output.nbits == 8
    assert {(k[0] if isinstance(k, tuple) else k).nbits for k in (f.kernel for f in formats.values())} <= {3, 8}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--budget", "10%-of-8-bit-bytes"], "cannot be met: with the fewest bits everywhere .* the nearest budget"),
        (["--budget", "sixty"], "'sixty' is no budget"),
        (["--budget", "60%-of-8-bit-bytes", "--output", "mixed.onnx"], "must be a .keras file"),
        (["--budget", "60%-of-8-bit-bytes", "--bits", "8,x"], "'x' is not a number of bits"),
        (["--budget", "60%-of-8-bit-bytes", "--save", "a", "x.keras"], "'a' is no point of the front"),
        (["--budget", "60%-of-8-bit-bytes", "--save", "9%", "x.keras"], "9%-of-8-bit-bytes cannot be met"),
        ([], "--budget"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(arguments, sentence, network, capsys):
    import re

    said = refused(
        ["search", str(network), "--data", "digits", "--images", "4", *(["--bits", "4"]), *arguments],
        capsys,
        quiet=False,
    )
    assert re.search(sentence, said)
