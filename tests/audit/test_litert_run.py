"""LiteRT's int8: XNNPACK rounds to nearest, ties to even; the reference kernels round twice."""

import numpy as np
import pytest

from fewbits import InputError
from fewbits.audit.findings import common_ways, examine_layer
from fewbits.audit.roundings import in_words
from fewbits.backend import keras
from helpers.audits import LAYERS, digits, network, quantized

pytest.importorskip("ai_edge_litert")
from fewbits.audit.litert_run import litert_traces  # noqa: E402
from fewbits.deploy.litert import to_litert  # noqa: E402


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return two files: with our steps, powers of two, and with those that the converter chooses, and zero points."""
    folder = tmp_path_factory.mktemp("litert")
    contents = {"ours": to_litert(quantized("nearest", 8), "int8"), "chosen": to_litert(network(), "int8", digits())}
    paths = {name: folder / f"{name}.tflite" for name in contents}
    for name, path in paths.items():
        path.write_bytes(contents[name])
    return paths


def examine(path, kernels, images=None):
    traces = litert_traces(path, network(), digits() if images is None else images, kernels)
    return {trace.layer: examine_layer(trace) for trace in traces}


@pytest.mark.parametrize(
    ("kernels", "ours", "chosen"),
    [
        ("xnnpack", "nearest", "nearest, ties not decided"),
        ("reference", "nearest, rounded twice", "nearest, rounded twice"),
    ],
)
def test_the_rounding_of_litert_is_named(files, kernels, ours, chosen):
    for name, expected in (("ours", ours), ("chosen", chosen)):
        found = examine(files[name], kernels)
        assert set(found) == set(LAYERS)
        dense = found["dense"]  # whose reference kernel rounds once
        assert in_words(common_ways([finding for finding in found.values() if finding is not dense])) == expected
        for finding in found.values():
            assert finding.naming.explained == 1 and finding.rounding.startswith("nearest")
            assert finding.kernel.startswith("nearest") and finding.cost == 0 and not finding.truncates
            assert abs(finding.total_bias) < 0.5  # the windows, zero points and steps are read as LiteRT does


def test_a_file_whose_kernels_are_rounded_down_is_seen_as_truncated(tmp_path):
    model = quantized("nearest", 6)
    floored = quantized("floor", 6)
    for layer in model.quantized_layers:
        step = 2.0 ** (layer.formats.kernel.msb + 1 - 6)
        layer.kernel.assign(np.floor(np.asarray(floored.get_layer(layer.name).kernel) / step) * step)
    path = tmp_path / "floored.tflite"
    path.write_bytes(to_litert(model, "int8"))
    found = examine(path, "xnnpack")
    for finding in found.values():
        assert finding.kernel == "floor" and -0.8 < finding.slope.mean < -0.2 and finding.cost > 1
        assert finding.rounding.startswith("nearest") and (finding.layer == "dense" or finding.truncates)


def test_files_that_cannot_be_audited_are_refused(files, tmp_path):
    (tmp_path / "no.tflite").write_bytes(b"no network at all")
    with pytest.raises(InputError, match=r"no\.tflite cannot be read"):
        examine(tmp_path / "no.tflite", "xnnpack")
    with pytest.raises(InputError, match="does not exist"):
        examine(tmp_path / "none.tflite", "xnnpack")
    (tmp_path / "float.tflite").write_bytes(to_litert(network()))
    with pytest.raises(InputError, match="no convolution or dense layer of integers"):
        examine(tmp_path / "float.tflite", "xnnpack")
    with pytest.raises(InputError, match=r"takes images \(8, 8, 1\)"):
        examine(files["ours"], "xnnpack", np.zeros((2, 9, 9, 1), np.float32))


def test_a_layer_of_another_network_keeps_its_own_name_and_rounding(files):
    keras.utils.set_random_seed(99)
    other = keras.models.clone_model(network())
    [first, *_] = litert_traces(files["ours"], other, digits(4))
    finding = examine_layer(first)
    assert first.reference is None and "no layer of the float network" in finding.note
    assert finding.naming.explained == 1 and finding.kernel == "" and finding.slope is None and finding.cost is None
