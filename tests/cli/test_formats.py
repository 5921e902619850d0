"""`fewbits formats`: the MSBs are those of the library, and what cannot be is refused in one sentence."""

import json
import re

import numpy as np
import pytest

from fewbits import FixedPoint, zoo
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.cli.parser import percentiles
from fewbits.data import load
from fewbits.io.files import read_model
from fewbits.quantization.calibration import formats_for, msb_table, quantization_errors
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.layers import Formats
from fewbits.quantization.observation import observe
from fewbits.quantization.sqnr import quantization_error
from helpers.cli import refused

L = keras.layers


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("network") / "lenet.keras"
    zoo.build("lenet", (8, 8, 1), 10).save(path)
    return path


@pytest.fixture(scope="module")
def images():
    """Return the images that `--images 32 --seed 0` draws."""
    digits = load("digits")
    chosen = np.sort(np.random.default_rng(0).permutation(len(digits.train))[:32])
    return digits.scaled(digits.train)[chosen]


def formats(path, *arguments, signed=True):
    signs = ["--signed"] if signed else []
    return main(["formats", str(path), "--data", "digits", *signs, *arguments])


def test_values_that_are_never_negative_get_unsigned_formats(network, images, tmp_path, capsys):
    path, saved = tmp_path / "formats.json", tmp_path / "quantized.keras"
    line = ["--bits=8,5,-", "--output", str(path), "--save-model", str(saved)]
    assert formats(network, *line, signed=False) == 0
    said, written, made = capsys.readouterr().out, json.loads(path.read_text()), read_model(saved).formats
    assert made == formats_for(read_model(network), images, (8, 5, None))
    assert [fmt.input.signed for fmt in made.values()] == [False] * 4  # the images, and what ReLUs make
    for name, fmt in made.items():
        assert written[name] == {"kernel": [fmt.kernel.msb, 8], "input": [fmt.input.msb, 5, "unsigned"], "output": None}
        assert f"{fmt.input.msb}u" in re.search(rf"^{name} .*$", said, re.M)[0].split()
    assert "u: unsigned, from 0 to 2**(MSB + 1)" in said
    assert formats(network) == 0
    assert "unsigned" not in capsys.readouterr().out


@pytest.mark.parametrize(("option", "chosen"), [((), None), (("conv1",), ["conv1"])])
def test_filters_of_all_or_of_named_layers_get_msbs_of_their_own(option, chosen, network, images, tmp_path, capsys):
    model = read_model(network)
    first = model.get_layer("conv1")
    kernel, bias = first.get_weights()
    first.set_weights([kernel * np.array([8] + [1] * (first.filters - 1)), bias])
    model.save(tmp_path / "uneven.keras")
    saved, path = tmp_path / "quantized.keras", tmp_path / "formats.json"
    line = ["--output", str(path), "--save-model", str(saved), "--per-channel", *option]
    assert formats(tmp_path / "uneven.keras", *line) == 0
    said = capsys.readouterr().out
    table, plain = (msb_table(model, images, per_channel=own) for own in (True, False))
    written = json.loads(path.read_text())
    for name, (kernel, *_) in table.items():
        own = chosen is None or name in chosen
        assert written[name]["kernel"] == [list(kernel) if own else plain[name][0], 8]
    msbs = [each.msb for each in read_model(saved).formats["conv1"].kernel]
    assert msbs == list(table["conv1"][0]) and msbs[0] == max(msbs) > min(msbs)
    assert f"{min(msbs)} to {max(msbs)}" in said


def test_a_layer_without_filters_is_no_layer_for_msbs_of_its_own(network, capsys):
    assert "unknown layer 'pool'" in refused(
        ["formats", str(network), "--data", "digits", "--per-channel", "pool"], capsys, quiet=False
    )


def cells(said):
    """Return layer name -> for kernel, input and output the MSB, clipped share in %, and SQNR, as printed."""
    rows = (line.split() for line in said.splitlines() if " dB" in line)
    found = {row[0]: [cell for cell in row[1:] if cell != "dB"] for row in rows}
    return {name: [tuple(three[i : i + 3]) for i in (0, 3, 6)] for name, three in found.items()}


def test_the_table_is_that_of_the_library(network, images, tmp_path, capsys):
    path = tmp_path / "formats.json"
    assert formats(network, "--bits", "8,7,6", "--percentile", "95,99,99.9", "--output", str(path)) == 0
    said = capsys.readouterr().out
    model = read_model(network)
    table = msb_table(model, images, (95, 99, 99.9))
    expected = {
        name: {kind: [msb, n] for kind, msb, n in zip(("kernel", "input", "output"), msbs, (8, 7, 6))}
        for name, msbs in table.items()
    }
    assert json.loads(path.read_text()) == expected and list(expected) == ["conv1", "conv2", "dense3", "dense4"]
    printed = cells(said)
    assert list(printed) == list(table)
    for name, values in observe(model, images):
        for value, msb, n, cell in zip(
            (values.kernel, values.input, values.output), table[name], (8, 7, 6), printed[name]
        ):
            error = quantization_error(value, FixedPoint(msb, n), "nearest")
            assert cell == (str(msb), f"{error.clipped:.2%}", f"{error.sqnr:.1f}")
    assert "on 32 of 1,295 images (train part of digits)" in said and f"{path} written" in said


def test_the_defaults_are_those_of_the_library(network, images, capsys):
    assert formats(network) == 0
    printed = cells(capsys.readouterr().out)
    assert {n: tuple(int(c[0]) for c in three) for n, three in printed.items()} == msb_table(
        read_model(network), images
    )


def test_the_saved_network_computes_in_the_formats_of_the_table(network, images, tmp_path):
    path, listed = tmp_path / "quantized.keras", tmp_path / "formats.json"
    assert (
        formats(network, "--bits=8,-,6", "--rounding", "floor", "--output", str(listed), "--save-model", str(path)) == 0
    )
    saved = read_model(path)
    assert isinstance(saved, QuantizedModel)
    msbs = msb_table(read_model(network), images)
    assert saved.formats == {n: Formats(FixedPoint(k, 8), None, FixedPoint(o, 6)) for n, (k, _, o) in msbs.items()}
    assert json.loads(listed.read_text())["conv1"]["input"] is None
    expected = quantize_model(read_model(network), saved.formats, rounding="floor")
    assert np.array_equal(saved.predict(images, verbose=0), expected.predict(images, verbose=0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["formats.json", "quantized.keras"]
    assert main(["evaluate", str(path), "--data", "digits"]) == 0


def test_a_quantized_network_is_calibrated_as_its_float_one_and_keeps_its_bias_order(network, images, tmp_path):
    path, saved = tmp_path / "before.keras", tmp_path / "after.keras"
    before = quantize_model(read_model(network), (FixedPoint(0, 2),) * 3, bias_order="output")
    before.set_level(1)
    before.save(path)
    assert formats(path, "--save-model", str(saved)) == 0
    after = read_model(saved)
    msbs = msb_table(before, images)
    assert {n: tuple(f.msb for f in fmt[:3]) for n, fmt in after.formats.items()} == msbs
    assert all(layer.enabled and layer.bias_order == "output" for layer in after.quantized_layers)


def test_generic_gives_the_largest_msb_of_each_kind_to_all(network, images, tmp_path, capsys):
    assert formats(network, "--generic", "--percentile", "100", "--bits", "-") == 0
    said = capsys.readouterr().out
    largest = [str(max(column)) for column in zip(*msb_table(read_model(network), images, 100).values())]
    rows = [line.split() for line in said.splitlines() if "float" in line]
    assert len(rows) == 4 and all(row[1:] == [x for msb in largest for x in (msb, "float")] for row in rows)
    path = tmp_path / "formats.json"
    assert formats(network, "--generic", "--percentile", "100", "--output", str(path)) == 0
    expected = {kind: [int(msb), 8] for kind, msb in zip(("kernel", "input", "output"), largest)}
    assert list(json.loads(path.read_text()).values()) == [expected] * 4


def test_all_images_are_looked_at(network, tmp_path):
    """More than a batch of them; the limits of 100 % are those of all."""
    path, digits = tmp_path / "formats.json", load("digits")
    assert formats(network, "--images", "5000", "--percentile", "100", "--output", str(path)) == 0
    found = {n: tuple(msb for msb, _ in kinds.values()) for n, kinds in json.loads(path.read_text()).items()}
    scaled = digits.scaled(digits.train)
    assert found == msb_table(read_model(network), scaled, 100) != msb_table(read_model(network), scaled[:8], 100)


def test_fold_measures_the_folded_network(tmp_path, images, capsys):
    path, saved = tmp_path / "normalized.keras", tmp_path / "folded.keras"
    model = keras.Sequential(
        [
            L.Input((8, 8, 1)),
            L.Conv2D(3, 3, name="a"),
            L.BatchNormalization(name="n"),
            L.Flatten(),
            L.Dense(10, name="b"),
        ]
    )
    model.get_layer("n").set_weights([np.full(3, v) for v in (40.0, 1.0, 0.5, 0.1)])
    model.save(path)
    assert formats(path, "--fold", "--save-model", str(saved)) == 0
    folded = quantize_model(model, fold_batch_normalization=True)
    table = msb_table(folded, images)
    assert {n: tuple(f.msb for f in fmt[:3]) for n, fmt in read_model(saved).formats.items()} == table
    assert table["a"] != msb_table(model, images)["a"]
    assert not any(isinstance(layer, L.BatchNormalization) for layer in read_model(saved).layers)


def test_more_images_than_there_are_takes_all_and_another_seed_draws_others(network, capsys):
    assert formats(network, "--images", "5000") == 0
    assert "on 1,295 images (train part of digits)" in capsys.readouterr().out
    said = []
    for seed in ("1", "1", "2"):
        assert formats(network, "--images", "3", "--seed", seed) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]


def test_errors_are_none_where_a_value_stays_in_float(network, images):
    model = read_model(network)
    chosen = dict.fromkeys(msb_table(model, images), Formats(FixedPoint(0, 12)))
    assert all(k.sqnr > 0 and i is o is None for k, i, o in quantization_errors(model, images, chosen).values())


@pytest.mark.parametrize(
    ("text", "rules"), [("kl", "kl"), ("mse", "mse"), ("kl, 99.9,mse", ("kl", 99.9, "mse")), ("98", 98.0)]
)
def test_a_percentile_may_be_another_rule(text, rules):
    assert percentiles(text) == rules


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bits", "0"], "argument --bits: '0' is not one or three numbers of bits from 1 to 32"),
        (["--bits", "8,8,64"], "argument --bits: '8,8,64' is not one or three numbers of bits from 1 to 32"),
        (["--bits", "8,8"], "'8,8' is not one or three numbers of bits"),
        (["--bits", "8.5"], "'8.5' is not one or three numbers of bits"),
        (["--bits", "30"], "more than 24 bits"),
        (["--percentile", "0"], "the percentile must be above 0 and at most 100, not 0.0"),
        (["--percentile", "95,101,95"], "the percentile must be above 0 and at most 100, not 101.0"),
        (["--percentile", "nan"], "the percentile must be above 0 and at most 100, not nan"),
        (["--percentile", "high"], "'high' is not one or three numbers"),
        (["--images", "0"], "--images must be at least 1, not 0"),
        (["--seed", "-1"], "--seed must be at least 0, not -1"),
        (["--rounding", "up"], "argument --rounding: invalid choice: 'up' (choose from "),
        (["--output", "formats.txt"], "the output must be a .json file, not formats.txt"),
        (["--save-model", "q.h5"], "the output must be a .keras file, not q.h5"),
        (["--save-model", "no/such/q.keras"], "there is no folder no/such"),
        (["--data", "no/such"], "'no/such' is neither a folder nor one of digits"),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_is_written(network, tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    command = ["formats", str(network), "--data", "digits", "--output", "f.json", "--save-model", "q.keras", *arguments]
    assert said in refused(command, capsys, quiet=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["missing", "truncated", "text"])
@pytest.mark.parametrize("command", ["formats", "output-extraction"])
def test_a_network_that_cannot_be_read_is_refused_by_name(network, tmp_path, capsys, content, command):
    path = tmp_path / "network.keras"
    if content != "missing":
        path.write_bytes(network.read_bytes()[:3000] if content == "truncated" else b"no network")
    output = {"formats": "f.json", "output-extraction": "a.h5"}[command]
    said = refused([command, str(path), "--data", "digits", "--output", str(tmp_path / output)], capsys)
    assert f"error: {path} " in said
    assert not (tmp_path / output).exists()


def test_a_layer_that_cannot_be_quantized_is_named(tmp_path, capsys):
    path = tmp_path / "odd.keras"
    keras.Sequential([L.Input((8, 8, 1)), L.Conv2D(2, 3), L.LayerNormalization(name="odd"), L.Flatten()]).save(path)
    said = refused(["formats", str(path), "--data", "digits"], capsys)
    assert "layer odd is a LayerNormalization, which computes mean and variance of each input; use Batch" in said


@pytest.mark.parametrize("command", [["formats"], ["output-extraction", "--output", "a.h5"]])
def test_images_that_do_not_fit_the_network_are_refused(tmp_path, capsys, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.Sequential([L.Input((9, 8, 1)), L.Conv2D(2, 3)], name="nine").save("nine.keras")
    said = refused([*command[:1], "nine.keras", "--data", "digits", *command[1:]], capsys)
    assert "nine takes images of 9 x 8 x 1, and the images of digits are 8 x 8 x 1" in said


def test_nothing_is_left_half_written(network, tmp_path, capsys, monkeypatch):
    from fewbits.io import files

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    for option, name in (("--output", "f.json"), ("--save-model", "q.keras")):
        (tmp_path / name).write_text("what was there before")
        said = refused(["formats", str(network), "--data", "digits", option, str(tmp_path / name)], capsys, quiet=False)
        assert "No space left on device" in said
        assert (tmp_path / name).read_text() == "what was there before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.json", "q.keras"]


def test_every_example_of_the_api_page_parses():
    from pathlib import Path

    from fewbits.cli import COMMANDS, command_parser

    page = (Path(__file__).parents[2] / "book" / "api.md").read_text()
    lines = re.findall(r"^fewbits (.*)$", page, re.M)
    assert {command_parser().parse_args(line.split()).run for line in lines} == {c.run for c in COMMANDS.values()}
