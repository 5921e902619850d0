"""Layers that compute only zeros on the calibration images: formats from what is known, against brute force."""

import warnings

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, formats_for, quantize_model
from fewbits.backend import keras, ops
from fewbits.deploy.lowering import lower
from fewbits.errors import CalibrationWarning
from fewbits.quantization import dynamic_formats, msb_from_limits, msb_table, observe, observe_ranges
from fewbits.quantization.layerwise import LayerwiseRun
from fewbits.quantization.unseen import KnownLimits, output_limits

L = keras.layers
RNG = np.random.default_rng(0)
DARK, BRIGHT = RNG.random((4, 8, 8, 3), dtype="float32") / 16, RNG.random((4, 8, 8, 3), dtype="float32")


@pytest.fixture(scope="module")
def sleeping():
    """Return a network whose second and third layers see zeros on dark images."""
    keras.utils.set_random_seed(1)
    images = L.Input((8, 8, 3))
    x = L.Conv2D(4, 3, activation="relu", name="a", kernel_initializer="ones")(images)
    x = L.MaxPooling2D()(L.Conv2D(5, 3, activation="relu", name="b", bias_initializer="random_normal")(x))
    model = keras.Model(images, L.Dense(3, name="c")(L.Flatten()(x)))
    model.get_layer("a").kernel.assign(model.get_layer("a").kernel * RNG.uniform(0.1, 0.2, (3, 3, 3, 4)))
    model.get_layer("a").bias.assign(np.full(4, -0.8))
    return model


def calibrated(*args, **kwargs):
    with pytest.warns(CalibrationWarning) as caught:
        formats = formats_for(*args, **kwargs)
    [message] = [str(warning.message) for warning in caught if warning.category is CalibrationWarning]
    return formats, message


def test_the_warning_names_the_layers_and_what_to_do(sleeping):
    _, message = calibrated(sleeping, DARK)
    assert message.startswith("layers b, c compute only zeros or constants on these images")
    assert "calibrate with images that show more" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        formats_for(sleeping, BRIGHT)


def test_inputs_are_what_the_layer_before_can_pass_on(sleeping):
    values = dict(observe(sleeping, DARK))
    assert not values["b"].input.any() and np.ptp(values["c"].input, 0).max() == 0
    formats, _ = calibrated(sleeping, DARK, range_rule=100, signed=True)
    assert formats["b"].input.msb == msb_from_limits(0, np.abs(values["a"].output).max()) == formats["a"].output.msb
    assert formats["c"].input.msb == formats["b"].output.msb


@pytest.mark.parametrize("rule", [99.9, "mse", "kl"])
def test_outputs_reach_as_far_as_those_of_random_inputs(sleeping, rule):
    formats, _ = calibrated(sleeping, DARK, range_rule=rule)
    layer = sleeping.get_layer("b")
    inputs = RNG.uniform(0, formats["b"].input.amplitude, (500, 6, 6, 4)).astype("float32")
    reached = np.abs(ops.convert_to_numpy(ops.conv(inputs, layer.kernel) + layer.bias)).max()
    assert reached / 2 < formats["b"].output.amplitude < reached * 4


def test_what_wakes_the_layers_later_does_not_vanish(sleeping):
    network = quantize_model(sleeping, calibrated(sleeping, DARK)[0], rounding="nearest")
    first = network.formats["a"]
    network.set_formats({"a": first._replace(input=FixedPoint(0, 8), output=FixedPoint(2, 8))})
    exact, found = (ops.convert_to_numpy(m(BRIGHT)) for m in (sleeping, network))
    assert np.ptp(exact, 0).min() > 0 and np.ptp(found, 0).min() > 0
    assert np.abs(found - exact).max() < 0.5 * np.abs(exact).max()
    lower(network)


def test_layers_that_see_more_keep_their_formats(sleeping):
    alone = keras.Model(sleeping.input, sleeping.get_layer("a").output)
    for rule in (99.9, "mse"):
        assert calibrated(sleeping, DARK, range_rule=rule)[0]["a"] == formats_for(alone, DARK, range_rule=rule)["a"]


def test_dynamic_formats_hold_what_is_known_too(sleeping):
    with pytest.warns(CalibrationWarning, match="layers b, c"):
        formats = dynamic_formats(sleeping, DARK)
    assert formats["b"].input.msb >= 0 and -4 < formats["c"].output.msb < 8


# Zeros in kernels and inputs


def one_layer(kernel, bias=None):
    images = L.Input((4, 4, 2))
    model = keras.Model(images, L.Conv2D(3, 1, name="conv")(images))
    model.get_layer("conv").set_weights([kernel, np.zeros(3) if bias is None else bias])
    return model


IMAGES = RNG.uniform(0, 3, (4, 4, 4, 2)).astype("float32")
KERNEL = np.array([0.7, 0.1, 0.02]) * RNG.uniform(0.8, 1, (1, 1, 2, 3))


@pytest.mark.parametrize("nothing", [0, 1e-30])
@pytest.mark.parametrize("rule", [99.9, "mse", "kl"])
def test_a_filter_of_zeros_gets_the_largest_msb_of_the_others(nothing, rule):
    model = one_layer(KERNEL * [1, nothing, 1])
    full = formats_for(one_layer(KERNEL), IMAGES, range_rule=rule, per_channel=True)["conv"].kernel
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        formats = formats_for(model, IMAGES, range_rule=rule, per_channel=True)
    assert formats["conv"].kernel == (full[0], full[0], full[2]) and full[1] != full[0]
    lower(quantize_model(model, formats))
    assert formats_for(model, IMAGES)["conv"].kernel.msb == 0


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_kernel_of_zeros_gets_the_format_of_ones(per_channel):
    model = one_layer(KERNEL * 0)
    formats, message = calibrated(model, IMAGES, per_channel=per_channel, signed=True)
    network = quantize_model(model, formats)
    assert network.formats["conv"][:3] == (FixedPoint(0, 8), FixedPoint(2, 8), FixedPoint(2, 8))
    assert message.startswith("layer conv computes")
    lower(network)


def test_images_of_zeros_are_taken_for_images_up_to_one():
    formats, _ = calibrated(one_layer(KERNEL), IMAGES * 0)
    assert formats["conv"].input.msb == 0
    assert msb_from_limits(0, 1 * KERNEL.sum((0, 1, 2)).max()) >= formats["conv"].output.msb >= -1


def test_a_percentile_that_leaves_only_zeros_is_taken_of_what_is_not_zero():
    images = np.zeros((100, 4, 4, 2), "float32")
    images[3, 2, 1, 0] = 5
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        [(kernel, inputs, outputs)] = msb_table(one_layer(KERNEL), images).values()
    assert inputs == 3 and outputs > -64


def test_values_that_no_format_holds_are_refused_by_layer():
    model = one_layer(KERNEL * [1, np.nan, 1])
    with pytest.raises(InputError, match="the kernel of layer conv holds NaN or infinity; train it again"):
        formats_for(model, IMAGES)
    with pytest.raises(InputError, match=r"the output of layer conv reaches .*e\+20, and formats reach 2\*\*64; scale"):
        formats_for(one_layer(KERNEL * 1e15), IMAGES * 1e5)
    with pytest.raises(InputError, match="the output of layer conv holds NaN or infinity; check the weights"):
        formats_for(one_layer(np.full(KERNEL.shape, 1.5e19)), np.full(IMAGES.shape, 1.5e19))


# Limits and runs, against all corners and a model of many outputs


def test_limits_pass_what_stands_between_two_layers():
    images = L.Input((4, 4, 2))
    a, b = L.Conv2D(2, 1, name="a")(images), L.Conv2D(2, 1, name="b", activation="relu6")(images)
    between = {
        "subtract": L.Subtract()([a, b]),
        "multiply": L.Multiply()([a, b]),
        "rescale": L.Rescaling(-2, offset=1)(a),
        "join": L.Concatenate()([a, b, images]),
        "average": L.GlobalAveragePooling2D()(L.ZeroPadding2D()(b)),
        "operator": a * 3 - 1,
    }
    model = keras.Model(images, list(between.values()))
    run = LayerwiseRun(model, [[IMAGES]])
    for tensor in between.values():
        run.read(tensor)
    known = KnownLimits(run.graph, run.shapes, [(float(IMAGES.min()), float(IMAGES.max()))])
    known.pass_on(model.get_layer("a"), np.array([-3.0, 2.0]))
    known.pass_on(model.get_layer("b"), np.array([-9.0, 2.0]))
    top = float(IMAGES.max())
    expected = [(-9, 3), (-18, 18), (-5, 7), (-3, max(6, top)), (0, 6), (-10, 8)]
    assert [known.of(tensor) for tensor in between.values()] == [pytest.approx(limits) for limits in expected]


@pytest.mark.parametrize("kind", ["dense", "conv", "depthwise"])
def test_output_limits_are_four_deviations_and_never_more_than_possible(kind):
    layer = {
        "dense": L.Dense(3, bias_initializer="random_normal"),
        "conv": L.Conv2D(3, 5, bias_initializer="random_normal"),
        "depthwise": L.DepthwiseConv2D(1, use_bias=False),
    }[kind]
    shape = (2, 400) if kind == "dense" else (2, 9, 9, 16)
    layer.build(shape)
    low, high = output_limits(layer, (-1.0, 3.0), shape)
    inputs = RNG.uniform(-1, 3, (2000, *shape[1:])).astype("float32")
    outputs = ops.convert_to_numpy(layer(inputs))
    if kind == "depthwise":  # one product: the corners are reached
        weights = ops.convert_to_numpy(layer.kernel).ravel()
        assert (low, high) == pytest.approx(
            (min(-weights.max(), 3 * weights.min()), max(-weights.min(), 3 * weights.max()))
        )
    else:
        axes = tuple(range(outputs.ndim - 1))
        mean, deviation = outputs.mean(axes), outputs.std(axes)
        assert low == pytest.approx((mean - 4 * deviation).min(), abs=0.3 * float(deviation.max()))
        assert high == pytest.approx((mean + 4 * deviation).max(), abs=0.3 * float(deviation.max()))


def test_a_run_equals_a_model_of_many_outputs_and_drops_what_has_been_read(sleeping):
    outputs = [layer.output for layer in sleeping.layers[1:]]
    expected = keras.Model(sleeping.inputs, outputs)(BRIGHT, training=False)
    run = LayerwiseRun(sleeping, [[BRIGHT[:3]], [BRIGHT[3:]]])
    for tensor, values in zip(outputs, expected):
        found = np.concatenate([ops.convert_to_numpy(x) for x in run.read(tensor)])
        assert np.allclose(found, values, atol=1e-6)
        assert len(run._values[0]) == 1


def test_estimates_replace_only_what_is_zero(sleeping):
    seen = dict(observe(sleeping, DARK))
    with pytest.warns(CalibrationWarning):
        ranges = {layer.name: values for layer, values in observe_ranges(sleeping, DARK)}
    assert all(np.array_equal(*pair) for pair in zip(vars(seen["a"]).values(), vars(ranges["a"]).values()))
    assert np.array_equal(seen["b"].kernel, ranges["b"].kernel) and ranges["b"].input.max() > 0


def test_a_network_whose_values_vanish_on_the_way_gets_the_smallest_msb():
    images = L.Input((4,))
    model = keras.Model(images, L.Dense(2, kernel_initializer=keras.initializers.Constant(1e-22), name="tiny")(images))
    formats, _ = calibrated(model, RNG.random((3, 4), dtype=np.float32))
    assert formats["tiny"].output.msb == -64
