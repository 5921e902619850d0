"""The capstone: our solution keeps its score, bytes are counted by hand, and no file runs code or fills the memory."""

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from fewbits import zoo
from fewbits.backend import keras
from fewbits.book.__main__ import main
from fewbits.book.lab_notebooks import Lab
from fewbits.errors import InputError
from fewbits.labs import GapOpen, capstone
from fewbits.quantization import FixedPoint, quantize_model
from fewbits.statistics import Share
from helpers.labs import tell_apart

L = keras.layers


def small(units=10, bias=True):
    images = keras.Input((8, 8, 1))
    x = L.GlobalAveragePooling2D()(L.Conv2D(3, 3, use_bias=bias, name="first")(images))
    return keras.Model(images, L.Dense(units, name="last")(x))


def test_our_solution_keeps_its_score(capsys):
    lab = Lab(Path(__file__).parents[2], "20-capstone")
    assert lab.gaps() == lab.rehearse() == ["compress"]
    said = capsys.readouterr().out
    score = capstone.CapstoneScore(capstone.BYTES_TO_BEAT, Share(1, 1)).points
    assert f"bytes     {capstone.BYTES_TO_BEAT:,} of" in said
    assert f"score     {score:.2f} halvings" in said and f"to beat   {score:.2f}," in said


def test_bytes_are_counted():
    model = small()
    assert capstone.count_bytes(model) == 4 * (27 + 3 + 30 + 10)
    quantized = quantize_model(model)
    assert capstone.count_bytes(quantized) == 4 * (27 + 3 + 30 + 10)  # no formats yet
    quantized.set_formats({"first": (FixedPoint(0, 3), None, None)})
    assert capstone.count_bytes(quantized) == (27 * 3 + 7) // 8 + 1 + 4 * 3 + 4 * 40
    quantized.set_formats({"first": ((FixedPoint(0, 3), FixedPoint(-1, 3), FixedPoint(0, 3)), None, None)})
    assert capstone.count_bytes(quantized) == (27 * 3 + 7) // 8 + 3 + 4 * 3 + 4 * 40
    quantized.set_level(0)
    assert capstone.count_bytes(quantized) == 4 * 70


@pytest.mark.parametrize("scales", [np.ones(9), np.ones((8, 8, 1))])
def test_constants_in_settings_count_as_parameters(scales):
    inputs = keras.Input((8, 8, 9 if scales.ndim == 1 else 1))
    outputs = keras.layers.Flatten()(keras.layers.Rescaling(scales.tolist())(inputs))
    assert capstone.count_bytes(keras.Model(inputs, outputs)) == 4 * scales.size


def test_a_missed_budget_has_no_points():
    right = Share(359, 359)
    assert capstone.CapstoneScore(capstone.BYTES, right).points == 0
    assert capstone.CapstoneScore(capstone.BYTES // 4, right).points == 2
    assert capstone.CapstoneScore(4 * capstone.BYTES, right).points == 0
    assert capstone.CapstoneScore(capstone.BYTES // 4, Share(300, 359)).points == 0


def test_mistakes_in_a_network():
    tell_apart(
        (capstone.check_compress, lambda train, validation: 7, "not a Keras model"),
        (capstone.check_compress, lambda train, validation: small(units=9), "cannot be scored"),
        (capstone.check_compress, lambda train, validation: small(), "Then train its bits"),
        (
            capstone.check_compress,
            lambda train, validation: zoo.build("squeezenet_digits", (8, 8, 1), 10, weights="squeezenet_digits"),
            "still have 32 bits",
        ),
    )
    with pytest.raises(GapOpen, match="compress"):
        capstone.check_compress(compress)


def compress(train, validation): ...


def lambda_layer(path):
    images = keras.Input((8, 8, 1))
    keras.Model(images, L.Dense(10)(L.Flatten()(L.Lambda(lambda x: x + 1)(images)))).save(path)


def bomb(path):
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", b"\0" * (capstone.LARGEST_FILE + 1))


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("a.keras", lambda_layer, "holds code"),
        ("a.keras", bomb, "unpacks to"),
        ("a.keras", lambda path: path.write_bytes(b"not one"), "cannot be read"),
        ("a.pkl", lambda path: path.write_bytes(b"cos\nsystem\n"), "not a .keras or .tflite"),
        ("a.tflite", lambda path: path.write_bytes(b"not one"), "cannot be run"),
        ("a.tflite", lambda path: path.write_bytes(bytes(capstone.BYTES + 1)), "so it is not read"),
        ("a.keras", lambda path: small(units=9).save(path), "must take"),
        ("a.keras", lambda path: None, "is not a file"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused(tmp_path, name, write, said):
    write(tmp_path / name)
    with pytest.raises(InputError, match=said):
        capstone.score_capstone(tmp_path / name)


def test_the_command_scores_a_file(tmp_path, capsys):
    model = small(bias=False)
    model.save(tmp_path / "net.keras")
    assert main(["capstone", str(tmp_path / "net.keras")]) == 0
    said = capsys.readouterr().out
    assert "bytes     268 of at most 16,000" in said and "score     0.00" in said
    assert main(["capstone", str(tmp_path / "none.keras")]) == 1
    assert "is not a file" in capsys.readouterr().err


def test_an_exported_file_counts_as_it_is(tmp_path):
    from fewbits.deploy import to_litert

    content = to_litert(small())
    (tmp_path / "net.tflite").write_bytes(content)
    score = capstone.score_capstone(tmp_path / "net.tflite")
    assert score.size == len(content) and score.share.n == 359
    assert np.isclose(score.points, 0)
