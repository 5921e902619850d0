"""Projects of hls4ml: their C++, compiled with the types of the circuit, computes the codes of the network.

The small networks hold what the converter and its pass of bit widths could get wrong: zero padding, a layer that
several others read in formats of their own, quantizers in a row, averages, sums, and formats that clip.
"""

import re
import shutil

import numpy as np
import pytest

from fewbits import FixedPoint, data, formats_for, quantize_model, zoo
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.deploy import HLS4MLRunner, HLS4MLSettings, compare_program, lower, register_layers, write_hls4ml
from fewbits.deploy import hls4ml as deployed
from fewbits.errors import InputError
from fewbits.io.files import write_model
from fewbits.io.weights import load_weights
from fewbits.quantization import QuantizedActivation
from fewbits.zoo.trained import find_weights
from helpers.digits_networks import projected

hls4ml = pytest.importorskip("hls4ml")
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="g++ is not installed")

L = keras.layers
DIGITS = data.load("digits")
PIXELS = DIGITS.test.images
CALIBRATION = DIGITS.scaled(DIGITS.test.take(64))


def branches():
    """Return a network with two outputs whose layers read each other's codes in formats of their own."""
    keras.utils.set_random_seed(2)
    image = L.Input((8, 8, 1))
    x = L.ZeroPadding2D(((0, 1), (2, 1)), name="pad")(image)
    x = L.Conv2D(3, 3, strides=2, activation="relu", name="conv", bias_initializer="random_normal")(x)
    left = L.Conv2D(2, 1, activation="relu", name="left")(x)
    right = L.Conv2D(3, 3, padding="same", name="right", bias_initializer="random_normal")(x)
    x = L.Concatenate(name="join")([left, L.Add(name="sum")([x, right])])
    x = L.ReLU(name="relu")(L.Dropout(0.5)(x))
    x = L.MaxPooling2D(2, name="largest")(L.AveragePooling2D(2, strides=2, padding="valid", name="mean")(x))
    last = L.GlobalAveragePooling2D(name="gap")(L.Conv2D(4, 1, name="last")(x))
    return keras.Model(image, [last, L.Dense(3, name="dense")(L.Flatten()(x))], name="branches")


def chain():
    """Return a network of two convolutions and a dense layer."""
    keras.utils.set_random_seed(1)
    image = L.Input((8, 8, 1), name="1st-image")
    x = L.Conv2D(3, 3, padding="same", activation="relu", name="first")(image)
    x = L.Conv2D(4, 3, name="second.2-d", bias_initializer="random_normal")(L.MaxPooling2D(2)(x))
    return keras.Model(image, L.Dense(5, name="logits")(L.Flatten()(x)), name="a-chain")


def separable():
    """Return a network like MobileNet that scales its images, with a grouped convolution at its end.

    A part of its outputs are capped at 6.
    """
    keras.utils.set_random_seed(3)
    image = L.Input((8, 8, 1))
    x = L.Rescaling(0.75, -0.15625)(image)
    spread = keras.initializers.RandomNormal(stddev=2)
    for number, (kind, filters) in enumerate(((L.Conv2D, (6, 3)), (L.DepthwiseConv2D, (3,)), (L.Conv2D, (8, 1)))):
        option = "depthwise_initializer" if kind is L.DepthwiseConv2D else "kernel_initializer"
        x = kind(*filters, padding="same", name=f"conv{number}", **{option: spread})(x)
        x = L.ReLU(6, name=f"conv{number}_relu")(x)
    x = L.DepthwiseConv2D(3, strides=2, depth_multiplier=2, activation="relu6", name="each")(x)
    x = L.Conv2D(8, 2, groups=4, name="groups", bias_initializer="random_normal")(x)
    return keras.Model(image, L.Dense(10, name="fc")(L.GlobalAveragePooling2D()(x)), name="separable")


def with_formats(model, rounding, bits, per_channel=False, **options):
    quantized = quantize_model(model, rounding=rounding, fold_batch_normalization=True, **options)
    quantized.set_formats(formats_for(quantized, CALIBRATION, bits, per_channel=per_channel))
    return quantized


def different(model, folder, pixels=PIXELS, **settings):
    """Return how many codes of the compiled project differ."""
    network = lower(model, levels=DIGITS.levels)
    write_hls4ml(model, network, folder, HLS4MLSettings(**settings))
    codes = network.run(pixels)
    assert all(np.ptp(each, axis=0).any() for each in (codes if isinstance(codes, list) else [codes]))
    return compare_program(codes, HLS4MLRunner(network, folder), pixels).different


@needs_compiler
@pytest.mark.parametrize(
    ("rounding", "bits", "per_channel"),
    [("floor", (8, 8, 8), False), ("nearest", (6, 5, 7), True), ("nearest-up", (4, 6, 5), True)],
)
def test_all_codes_are_those_of_the_network(tmp_path, rounding, bits, per_channel):
    model = with_formats(branches(), rounding, bits, per_channel)
    signs = {fmt.signed for layer in model.layers if hasattr(layer, "formats") for fmt in layer.formats[1:3] if fmt}
    assert signs == {True, False}
    assert different(model, tmp_path / "project") == 0


@needs_compiler
def test_a_stream_and_quantizers_in_a_row_that_clip(tmp_path):
    model = with_formats(chain(), "nearest-away", (8, 8, 8))
    model.get_layer("first").set_formats(FixedPoint(0, 8), FixedPoint(-2, 12), FixedPoint(1, 9))  # clips between pixels
    model.get_layer("second.2-d").set_formats(FixedPoint(0, 5), FixedPoint(0, 6), FixedPoint(-2, 20))  # finer than sums
    model.get_layer("logits").set_formats(FixedPoint(0, 4), FixedPoint(-1, 12), None)
    assert different(model, tmp_path / "project", streaming=True, reuse=2) == 0


@needs_compiler
def test_filters_of_some_channels_and_a_relu_with_a_cap(tmp_path):
    model = with_formats(separable(), "nearest", (8, 6, 5))
    shown = keras.Model(model.input, [layer.output for layer in model.layers if "relu" in layer.name])
    assert any(np.mean(np.equal(maps, 6)) > 0.02 for maps in shown(CALIBRATION))
    assert different(model, tmp_path / "project", streaming=True) == 0


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("rounding", "bits"), [("floor", (8, 8, 8)), ("nearest", (6, 6, 6)), ("nearest-up", (4, 4, 4))]
)
@pytest.mark.parametrize("build", [separable, projected])
@pytest.mark.parametrize("streaming", [False, True])
def test_networks_like_mobilenet_and_resnet(tmp_path, build, rounding, bits, streaming):
    model = with_formats(build(), rounding, bits, per_channel=rounding == "nearest")
    assert different(model, tmp_path / "project", streaming=streaming) == 0


def test_the_types_are_the_formats_of_the_layers(tmp_path):
    model = with_formats(chain(), "nearest-up", (8, 7, 6))
    write_hls4ml(model, lower(model, levels=DIGITS.levels), tmp_path / "project", HLS4MLSettings(clock=7))
    text = (tmp_path / "project/firmware/defines.h").read_text()
    for layer, name in (("first", "first_relu_t"), ("second.2-d", "second_2_d_t"), ("logits", "result_t")):
        fmt = model.get_layer(layer).formats.output
        kind = f"ap_{'' if fmt.signed else 'u'}fixed<{fmt.nbits},{fmt.msb + 1},AP_RND,AP_SAT,0>"
        assert f"typedef {kind} {name};" in text
    project = "".join(path.read_text() for path in (tmp_path / "project").iterdir() if path.is_file())
    assert str(tmp_path) not in project and "ClockPeriod: 7" in project


def test_the_converter_of_hls4ml_takes_our_layers(tmp_path):
    register_layers()
    model = with_formats(chain(), "floor", (8, 7, 6))
    graph = hls4ml.converters.convert_from_keras_model(model, output_dir=str(tmp_path / "project"))
    fmt = model.get_layer("logits").formats.output
    precision = graph.graph["logits"].get_output_variable().type.precision
    assert (precision.width, precision.integer, precision.signed) == (fmt.nbits, fmt.msb + 1, fmt.signed)


@needs_compiler
def test_what_does_not_compile_is_told(tmp_path):
    model = with_formats(chain(), "floor", (8, 8, 8))
    network = lower(model)
    write_hls4ml(model, network, tmp_path / "project")
    (tmp_path / "project/firmware/defines.h").write_text("no C++")
    with pytest.raises(InputError, match=r"g\+\+ cannot compile .*project \(.*error.*\); write it again"):
        HLS4MLRunner(network, tmp_path / "project")


def test_without_a_compiler_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(deployed, "COMPILER", "no-such-compiler")
    with pytest.raises(InputError, match="install no-such-compiler"):
        HLS4MLRunner(lower(with_formats(chain(), "floor", (8, 8, 8))), tmp_path)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("rounding", ["floor", "nearest", "nearest-up"])
@pytest.mark.parametrize("name", ["lenet", "squeezenet_digits"])
@pytest.mark.parametrize("streaming", [False, True])
def test_lenet_and_squeezenet(tmp_path, rounding, name, streaming):
    keras.utils.set_random_seed(3)
    model = zoo.build(name, (8, 8, 1), 10)
    if name == "squeezenet_digits":
        load_weights(model, find_weights(name))
    bits, per_channel = {"floor": ((8, 8, 8), False), "nearest": ((8, 6, 7), True), "nearest-up": ((6, 6, 6), True)}[
        rounding
    ]
    assert different(with_formats(model, rounding, bits, per_channel), tmp_path / "p", streaming=streaming) == 0


@pytest.mark.slow
@needs_compiler
def test_sequences_two_inputs_and_activations_that_round(tmp_path):
    keras.utils.set_random_seed(4)
    images = [L.Input((8, 2), name="left"), L.Input((8, 2), name="right")]
    x = L.Conv1D(3, 3, padding="causal", activation="relu", name="one", bias_initializer="random_normal")(images[0])
    y = L.Conv1D(3, 3, padding="same", strides=1, name="two", bias_initializer="random_normal")(images[1])
    x = QuantizedActivation("linear", name="sum_rounded")(L.Add()([x, y]))
    x = L.Conv1D(2, 3, name="three")(L.ZeroPadding1D((1, 2))(L.MaxPooling1D(2)(x)))
    model = keras.Model(images, L.Dense(4, activation="softmax")(L.GlobalAveragePooling1D()(x)), name="sequences")
    model = quantize_model(model, rounding="nearest")
    formats = FixedPoint(0, 6), FixedPoint(1, 7), FixedPoint(1, 6)
    model.set_formats({layer.name: formats for layer in model.layers if hasattr(layer, "formats")})
    pixels = [np.random.default_rng(n).integers(0, 16, (64, 8, 2), np.uint8) for n in (0, 1)]
    assert different(model, tmp_path / "project", pixels) == 0


# The command
PIXELS = ("--levels", "32", "--divisor", "32")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "chain.keras"
    write_model(with_formats(chain(), "nearest", (8, 8, 8)), path)
    return str(path)


@needs_compiler
def test_the_command_says_how_many_codes_differ(saved, tmp_path, capsys):
    output = tmp_path / "fpga"
    options = f"--levels {DIGITS.levels} --data digits --images 359 --backend Vivado --clock 8 --reuse-factor 2"
    part = ["--fpga", "xc7z020clg400-1", *options.split()]
    assert main(["export", saved, "--to", "hls4ml", "--output", str(output), *part]) == 0
    written, said = capsys.readouterr().out.splitlines()[-2:]  # five classes have no accuracy on ten digits
    assert written.startswith(f"{output} written;") and "Vivado" in written
    assert re.search(r"integers and the C\+\+ of hls4ml: 0 of 1,795 codes of the outputs differ; on 359 ", said)
    config = (output / "hls4ml_config.yml").read_text()
    assert all(part in config for part in ("Part: xc7z020clg400-1", "ClockPeriod: 8", "ReuseFactor: 2"))


def test_without_a_compiler_the_command_says_so(saved, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(deployed, "COMPILER", "no-such-compiler")
    assert main(["export", saved, "--to", "hls4ml", "--output", str(tmp_path / "fpga"), *PIXELS]) == 0
    assert "it was not run: there is no no-such-compiler" in capsys.readouterr().out


def test_stopped_it_leaves_nothing(saved, tmp_path, monkeypatch):
    from hls4ml.model import ModelGraph

    monkeypatch.setattr(ModelGraph, "write", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["export", saved, "--to", "hls4ml", "--output", str(tmp_path / "fpga"), *PIXELS]) == 130
    assert not list(tmp_path.iterdir())
