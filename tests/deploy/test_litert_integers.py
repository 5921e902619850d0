"""LiteRT files of integers: codes at both ends, 16 bits, and the kernels of LiteRT and TFLite Micro as oracles."""

import re

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, formats_for, quantize_model
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.deploy import before_heads, lower

pytest.importorskip("ai_edge_litert")
from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: E402

from fewbits.deploy.litert import compare_litert, to_litert  # noqa: E402
from fewbits.io.tflite import LiteRTRunner  # noqa: E402

L = keras.layers
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
IMAGES = PIXELS / np.float32(256)


@pytest.fixture(scope="module")
def network():
    """Return a network of convolutions, plain and depthwise, a pooling and a dense layer with a softmax."""
    keras.utils.set_random_seed(0)
    image = L.Input((8, 8, 1))
    x = L.MaxPooling2D(2)(L.Conv2D(4, 3, padding="same", activation="relu", name="first")(image))
    x = L.Conv2D(6, 1, activation="relu", name="second")(L.DepthwiseConv2D(3, name="depthwise")(x))
    model = keras.Model(image, L.Dense(5, activation="softmax", name="last")(L.Flatten()(x)), name="net")
    for layer in model.layers[:-1]:
        if layer.weights:
            layer.bias.assign(np.random.default_rng(1).normal(0, 0.1, layer.bias.shape))
    return model


def quantized(network, bits=8, rounding="nearest", **options):
    model = quantize_model(network, rounding=rounding)
    model.set_formats(formats_for(model, IMAGES, bits, **options))
    return model


def first_code(tensor):
    """Return the one zero point of a tensor of int8, and check its type."""
    assert tensor["dtype"] is np.int8
    return tensor["quantization"][1]


def run(interpreter, codes):
    """Return what an interpreter makes of codes, one image at a time."""
    interpreter.allocate_tensors()
    [x], [y] = interpreter.get_input_details(), interpreter.get_output_details()
    assert first_code(x) == -128 and x["quantization"][0] == 1 / 256 and first_code(y) == 0
    found = []
    for image in codes:
        interpreter.set_tensor(x["index"], image[np.newaxis])
        interpreter.invoke()
        found.append(interpreter.get_tensor(y["index"])[0])
    return np.stack(found)


def test_codes_at_both_ends_are_those_of_the_integer_network(network):
    model = quantized(network)
    content = to_litert(model, "int8", int8_io=True)
    codes = (PIXELS.astype(np.int64) - 128).astype(np.int8)
    ours = lower(model, 256).run(PIXELS)
    assert len(np.unique(ours)) > 20
    np.testing.assert_array_equal(run(Interpreter(model_content=content, num_threads=1), codes), ours)
    runner = LiteRTRunner(content)
    step = model.formats["last"].output.step
    assert runner.ends == ["int8, scale 0.00390625, zero point -128", f"int8, scale {step:g}, zero point 0"]
    np.testing.assert_array_equal([runner.run(image) for image in IMAGES], ours * step)


def test_a_float_network_gets_codes_at_both_ends_too(network):
    runner = LiteRTRunner(to_litert(network, "int8", IMAGES, int8_io=True))
    assert [end.partition(",")[0] for end in runner.ends] == ["int8", "int8"]
    gap = np.abs(np.stack([runner.run(image) for image in IMAGES]) - network.predict(IMAGES, verbose=0)).max()
    assert 0 < gap < 0.05


def test_the_command_tells_scales_and_zero_points(network, tmp_path, capsys):
    quantized(network).save(tmp_path / "net.keras")
    command = f"export {tmp_path}/net.keras --to litert --precision int8 --int8-io --output {tmp_path}/n.tflite"
    assert main(command.split()) == 0
    said = capsys.readouterr().out
    assert "outputs equal to Keras" in said and "all codes of all layers are equal" in said
    assert "inputs and outputs: int8, scale 0.00390625, zero point -128; int8, scale" in said


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (L.Rescaling(1.0, -0.5), L.Identity(), "computes .+ with an input before it is rounded; begin with a layer"),
        (L.Identity(), L.Rescaling(0.3), "has an output that .+ makes and nothing rounds; give its layer an output"),
    ],
)
def test_ends_that_are_no_codes_are_told(before, after, said):
    model = keras.Sequential([L.Input((6,)), before, L.Dense(2), after], name="net")
    model = quantize_model(model, (FixedPoint(0, 8),) * 3, rounding="nearest")
    with pytest.raises(InputError, match=f"^net {said} .*, or leave int8 inputs and outputs out$"):
        to_litert(model, "int8", int8_io=True)


def differing(model, *options):
    return {name: found.different for name, found in compare_litert(model, IMAGES, *options).items()}


@pytest.mark.parametrize("per_channel", [False, True])
def test_own_kernels_have_the_codes_of_nearest_away_and_xnnpack_those_of_nearest(network, per_channel):
    away, even = (quantized(network, 8, rounding, per_channel=per_channel) for rounding in ("nearest-away", "nearest"))
    equal = dict.fromkeys(away.formats, 0)
    assert differing(away, False) == equal == differing(even, True)
    assert differing(away, True) != equal != differing(even, False)


def away(network):
    """Return a file of a network that rounds to nearest-away, its codes of pixels, and those of its integer network."""
    model = quantized(network, rounding="nearest-away")
    codes = (PIXELS.astype(np.int64) - 128).astype(np.int8)
    return to_litert(model, "int8", int8_io=True), codes, lower(model, 256).run(PIXELS)


def test_reference_kernels_too(network):
    content, codes, ours = away(network)
    reference = Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    np.testing.assert_array_equal(run(reference, codes), ours)


def test_tflite_micro_too(network):
    micro = pytest.importorskip("tflite_micro.python.tflite_micro").runtime
    content, codes, ours = away(network)
    interpreter, found = micro.Interpreter.from_bytes(content), []
    for image in codes:
        interpreter.set_input(image[np.newaxis], 0)
        interpreter.invoke()
        found.append(interpreter.get_output(0)[0].copy())
    np.testing.assert_array_equal(found, ours)


def test_biases_of_zeros_have_the_scales_of_their_filters(network):
    plain = keras.models.clone_model(network)  # XNNPACK refuses a file in which they have not
    plain.set_weights([w if w.ndim > 1 else 0 * w for w in network.get_weights()])
    assert not any(differing(quantized(plain, per_channel=True)).values())


def test_one_faded_filter_is_refused_by_layer_and_not_cast(network):
    faded = keras.models.clone_model(network)
    faded.set_weights(network.get_weights())
    kernel, bias = (w.copy() for w in faded.get_layer("second").get_weights())
    kernel[..., 2] *= 1e-8
    bias[2] = 0.3
    faded.get_layer("second").set_weights([kernel, bias])
    model = quantized(faded, per_channel=True)
    with pytest.raises(InputError, match="products and bias of layer second take .* bits, and int8 files add in 32"):
        to_litert(model, "int8")
    own = model.formats["second"]
    bits = int(re.search(r"by (\d+)$", str(pytest.raises(InputError, to_litert, model, "int8").value))[1])
    raised = [FixedPoint(fmt.msb + bits * (i == 2), 8) for i, fmt in enumerate(own.kernel)]
    model.get_layer("second").set_formats(raised, own.input, own.output)
    assert not any(differing(model).values())


@pytest.mark.parametrize(("bits", "signed"), [((8, 16, 16), True), ((8, 15, 15), False), ((6, 12, 12), False)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_codes_of_16_bits_are_ours_where_halves_are_rounded_up(network, bits, signed, per_channel):
    model = quantized(network, bits, "nearest-up", signed=signed, per_channel=per_channel)
    x, y = FixedPoint(1, bits[1], signed), FixedPoint(1, bits[2], signed)
    for name, formats in model.formats.items():  # each reads what the one before it makes, without another rounding
        model.get_layer(name).set_formats(formats.kernel, x, y)
    found = compare_litert(model, IMAGES, precision="int16x8")
    halves = found.pop("last")  # a dense layer, in which negative halves go down
    assert {name: each.different for name, each in found.items()} == dict.fromkeys(list(model.formats)[:3], 0)
    assert halves.largest <= 1 and halves.different < 0.02 * halves.codes
    runner = LiteRTRunner(to_litert(model, "int16x8"))
    ours = model.predict(IMAGES, verbose=0)
    np.testing.assert_allclose([runner.run(image) for image in IMAGES], ours, atol=y.step)
    assert before_heads(model) is not model  # the softmax is in float


def test_16_bits_without_a_sign_are_refused(network):
    with pytest.raises(InputError, match="layer first has codes of more than 8 bits in the kernel, 16 bits elsewhere"):
        to_litert(quantized(network, (8, 16, 16)), "int16x8")


def test_a_float_network_in_16_bits_is_closer_than_in_8(network):
    ours = network.predict(IMAGES, verbose=0)
    gaps = [
        np.abs(np.stack([LiteRTRunner(content).run(image) for image in IMAGES]) - ours).mean()
        for content in (to_litert(network, precision, IMAGES) for precision in ("int8", "int16x8"))
    ]
    assert gaps[1] < gaps[0]
