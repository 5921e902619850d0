"""Limits, MSBs and formats, against values worked out by hand and the thesis' own table."""

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, Trial, quantize, quantize_model
from fewbits.backend import keras
from fewbits.quantization.calibration import formats_for, formats_from_msbs, msb_table, quantization_errors
from fewbits.quantization.layers import Formats, by_filter
from fewbits.quantization.observation import observe
from fewbits.quantization.propagation import Propagation
from fewbits.quantization.range_rules import (
    BINS,
    msb_from_limits,
    msb_of_least_divergence,
    msb_of_least_error,
    msbs_of_least_error,
    percentile_limits,
)
from fewbits.quantization.sqnr import measured_sqnr

L = keras.layers


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            L.Input((8, 8, 2)),
            L.Conv2D(3, 3, activation="relu", bias_initializer="random_normal", name="a"),
            L.Flatten(),
            L.Dense(4, name="b"),
        ]
    )


IMAGES = np.random.default_rng(1).uniform(0, 3, (7, 8, 8, 2)).astype("float32")


def test_limits_leave_equal_shares_outside():
    assert percentile_limits(np.arange(1001), 98) == (10, 990)
    assert percentile_limits(np.arange(1001), 100) == (0, 1000)


@pytest.mark.parametrize("percentile", [50, 95, 99.9])
def test_limits_hold_the_share_they_say(percentile):
    values = np.random.default_rng(0).normal(size=100_000)
    low, high = percentile_limits(values, percentile)
    assert np.mean((values >= low) & (values <= high)) == pytest.approx(percentile / 100, abs=1e-4)


# vieito2017, Tables 2, 4 and 7: limits, and the MSB it uses for them
@pytest.mark.parametrize(
    ("low", "high", "msb"),
    [
        (-0.7315, 0.6775, 0),
        (-0.4321, 0.4153, -1),
        (-0.2158, 0.2088, -2),
        (-0.1693, 0.1659, -2),
        (-1008, 571.9, 10),
        (-507, 377.8, 9),
        (-170, 184.5, 8),
        (-115.8, 127.3, 7),
    ],
)
def test_the_msb_is_that_of_the_thesis(low, high, msb):
    assert msb_from_limits(low, high) == msb


@pytest.mark.parametrize(("reach", "msb"), [(1.0, 0), (1.0001, 1), (0.5, -1), (0.0, -64), (1e-30, -64)])
def test_the_msb_is_the_smallest_that_reaches(reach, msb):
    assert msb_from_limits(-reach, 0) == msb_from_limits(0, reach) == msb


def test_observed_values_are_those_of_the_float_network(model):
    seen = dict(observe(model, IMAGES, batch_size=3))
    linear = keras.Sequential([L.Input((8, 8, 2)), L.Conv2D(3, 3)])
    linear.set_weights(model.layers[0].get_weights())
    before_relu = linear.predict(IMAGES, verbose=0)
    assert np.array_equal(seen["a"].input, IMAGES)
    assert np.allclose(seen["a"].output, before_relu, atol=1e-6)
    assert np.allclose(seen["b"].input, np.maximum(before_relu, 0).reshape(7, -1), atol=1e-6)
    assert np.allclose(seen["b"].output, model.predict(IMAGES, verbose=0), atol=1e-5)


def test_a_network_of_one_layer_is_observed_too():
    images = L.Input((8, 8, 2))
    model = keras.Model(images, L.Conv2D(3, 3, name="a")(images))
    [(name, values)] = observe(model, IMAGES, batch_size=3)
    assert name == "a" and np.array_equal(values.input, IMAGES)
    assert np.allclose(values.output, model.predict(IMAGES, verbose=0), atol=1e-6)


def test_formats_reach_the_limits_of_every_layer(model):
    formats = formats_for(model, IMAGES, nbits=(8, 6, None), range_rule=100, signed=True)
    for name, values in observe(model, IMAGES):
        assert formats[name].kernel == FixedPoint(int(np.ceil(np.log2(np.abs(values.kernel).max()))), 8)
        assert formats[name].input == FixedPoint(int(np.ceil(np.log2(np.abs(values.input).max()))), 6)
        assert formats[name].output is None


def test_generic_formats_are_the_widest_of_all_layers(model):
    table = msb_table(model, IMAGES, (100, 100, 100))
    formats = formats_for(model, IMAGES, range_rule=100, per_layer=False, signed=True)
    assert len(set(formats.values())) == 1
    assert [f.msb for f in formats["a"][:3]] == [max(column) for column in zip(*table.values())]


def test_a_smaller_percentile_never_asks_for_a_larger_msb(model):
    tables = [msb_table(model, IMAGES, (p, p, p)) for p in (50, 95, 99.9, 100)]
    for smaller, larger in zip(tables, tables[1:]):
        assert all(a <= b for name in smaller for a, b in zip(smaller[name], larger[name]))


def test_formats_fit_a_quantized_model(model):
    formats = formats_for(model, IMAGES)
    quantized = quantize_model(model, formats)
    assert quantized.formats == formats
    quantized.set_formats((None, None, None))
    assert quantized.formats["a"] == Formats()
    assert formats_for(quantized, IMAGES) == formats


@pytest.mark.parametrize("percentile", [0, 101, -1, "high", True, (99, 99)])
def test_a_percentile_that_is_none_is_refused(model, percentile):
    with pytest.raises(InputError, match="percentile|range rule"):
        formats_for(model, IMAGES, range_rule=percentile)


def test_values_must_be_finite_and_some(model):
    with pytest.raises(InputError, match="no values"):
        percentile_limits([], 99)
    with pytest.raises(InputError, match="NaN"):
        percentile_limits([np.nan], 99)
    with pytest.raises(InputError, match="at least one image"):
        formats_for(model, IMAGES[:0])
    with pytest.raises(InputError, match="images holds 1 value"):
        formats_for(model, np.where(IMAGES == IMAGES.max(), np.nan, IMAGES))


@pytest.mark.parametrize("rounding", ["floor", "nearest"])
@pytest.mark.parametrize("nbits", [2, 4, 8])
def test_no_other_msb_leaves_less_error(nbits, rounding):
    values = np.random.default_rng(0).standard_t(3, 20_000)
    best = msb_of_least_error(values, nbits, rounding)
    errors = {
        msb: np.mean((quantize(values, FixedPoint(msb, nbits), rounding) - values) ** 2) for msb in range(-20, 12)
    }
    assert errors[best] == min(errors.values())


@pytest.mark.parametrize("rounding", ["nearest", "floor", "thesis"])
@pytest.mark.parametrize("nbits", [2, 4, 8])
@pytest.mark.parametrize("shape", [(40, 27), (3, 120_000), (700, 300), (9, 1)])
def test_rows_at_once_get_the_msbs_that_each_gets_alone(shape, nbits, rounding):
    rng = np.random.default_rng(0)
    rows = rng.standard_t(3, shape) * 2.0 ** rng.integers(-60, 20, (shape[0], 1))
    rows = np.asfortranarray(rows, np.float32)
    assert msbs_of_least_error(rows, nbits, rounding) == [msb_of_least_error(row, nbits, rounding) for row in rows]


def test_at_few_bits_the_msb_of_least_error_lies_below_that_of_the_maximum():
    values = np.random.default_rng(0).normal(0, 1, 100_000)
    assert msb_of_least_error(values, 3) < msb_from_limits(*percentile_limits(values, 100)) == 3


def test_least_error_of_nothing_but_zeros():
    assert msb_of_least_error(np.zeros(10), 4) == -64


def test_formats_of_least_error_depend_on_the_bits(model):
    few, many = (formats_for(model, IMAGES, (n, n, None), range_rule="mse") for n in (2, 12))
    assert sum(f.kernel.msb + f.input.msb for f in few.values()) < sum(
        f.kernel.msb + f.input.msb for f in many.values()
    )
    assert few["a"].output is None


# Least divergence


def divergence(values, msb, nbits):
    """Return D(P || Q) as the docstring says it, bin by bin."""
    magnitudes = [abs(v) for v in values if v]
    width = 2.0 ** msb_from_limits(0, max(magnitudes)) / BINS
    inside, clipped = {}, 0
    for m in magnitudes:
        if m < 2.0**msb:
            inside[int(m // width)] = inside.get(int(m // width), 0) + 1
        else:
            clipped += 1
    if 2.0**msb / width < 2 ** (nbits - 1) or not inside:
        return np.inf
    step = {k: int(k * width // (2.0**msb / 2 ** (nbits - 1))) for k in inside}
    together = {s: [inside[k] for k in inside if step[k] == s] for s in set(step.values())}
    q = {k: np.mean(together[step[k]]) / sum(inside.values()) for k in inside}
    p = {k: (n + clipped * (k == max(inside))) / len(magnitudes) for k, n in inside.items()}
    assert sum(p.values()) == pytest.approx(1) and sum(q.values()) == pytest.approx(1)
    return sum(p[k] * np.log(p[k] / q[k]) for k in inside)


@pytest.mark.parametrize("nbits", [1, 3, 4, 6, 8])
def test_no_other_msb_leaves_less_divergence(nbits):
    values = np.random.default_rng(0).standard_t(3, 3000)
    best = msb_of_least_divergence(values, nbits)
    found = {msb: divergence(values, msb, nbits) for msb in range(-9, 7)}
    assert found[best] == pytest.approx(min(found.values()), abs=1e-12)


def test_what_the_histogram_cannot_tell_apart_gets_the_msb_of_the_maximum():
    values = np.random.default_rng(0).normal(0, 1, 10_000)
    top = msb_from_limits(values.min(), values.max())
    assert {msb_of_least_divergence(values, n) for n in (12, 13, 24)} == {top}
    assert msb_of_least_divergence(np.full(10, 0.7), 4) == 0
    assert msb_of_least_divergence(np.linspace(-1, 1, 40), 4) == 0
    assert msb_of_least_divergence(np.zeros(10), 4) == -64


def test_zeros_and_few_values_far_out_do_not_move_the_msb_of_least_divergence():
    values = np.random.default_rng(0).normal(0, 1, 50_000)
    best = msb_of_least_divergence(values, 6)
    assert msb_of_least_divergence(np.append(values, np.zeros(40_000)), 6) == best
    assert msb_of_least_divergence(np.append(values, 60.0), 6) <= best + 1 < 6


@pytest.mark.parametrize(("rule", "function"), [("mse", msb_of_least_error), ("kl", msb_of_least_divergence)])
def test_a_rule_finds_the_msb_of_each_kind(rule, function, model):
    table = msb_table(model, IMAGES, (rule, 99, rule), (3, 4, 5), "floor")
    options = ("floor",) if rule == "mse" else ()
    for name, values in observe(model, IMAGES):
        kernel, output = function(values.kernel, 3, *options), function(values.output, 5, *options)
        assert table[name] == (kernel, msb_from_limits(*percentile_limits(values.input, 99)), output)


def test_a_trial_takes_all_rules():
    fields = {"network": "lenet", "data": "digits", "strategy": "static", "start": "any", "bits": (8, 8, 8)}
    assert Trial(**fields, percentile=["kl", "mse", 99]).percentile == ("kl", "mse", 99.0)
    assert Trial(**fields, percentile=["kl"] * 3) == Trial(**fields, percentile="kl")
    with pytest.raises(InputError, match="percentile must be above 0"):
        Trial(**fields, percentile="k")


# Scales for each filter


@pytest.fixture(scope="module")
def uneven():
    """Return a network, each of whose filters has another range."""
    keras.utils.set_random_seed(0)
    images = L.Input((8, 8, 2))
    x = L.Conv2D(3, 3, activation="relu", name="conv")(images)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    model = keras.Model(images, L.Dense(4, name="dense")(L.Flatten()(x)))
    for layer in model.layers[1:]:
        if layer.weights:
            kernel, bias = layer.get_weights()
            scales = 2.0 ** -np.arange(kernel[0, 0].size if layer.name == "depthwise" else kernel.shape[-1])
            layer.set_weights([kernel * scales.reshape(kernel.shape[2:] if layer.name == "depthwise" else -1), bias])
    return model


@pytest.mark.parametrize("rule", [100, 90, "mse", "kl"])
def test_each_filter_gets_the_msb_of_its_own_weights(rule, uneven):
    per_channel = formats_for(uneven, IMAGES, (4, 6, None), rule, per_channel=True)
    shared = formats_for(uneven, IMAGES, (4, 6, None), rule)
    for name, filters in (("conv", 3), ("depthwise", 6), ("dense", 4)):
        kernel = uneven.get_layer(name).get_weights()[0]
        of_one = [kernel[..., i // 2, i % 2] if name == "depthwise" else kernel[..., i] for i in range(filters)]
        by_rule = {"mse": msb_of_least_error, "kl": msb_of_least_divergence}.get(rule)
        expected = [by_rule(k, 4) if by_rule else msb_from_limits(*percentile_limits(k, rule)) for k in of_one]
        assert per_channel[name].kernel == tuple(FixedPoint(msb, 4) for msb in expected)
        assert per_channel[name][1:] == shared[name][1:] and len(set(expected)) > 1
    quantized = quantize_model(uneven, per_channel)
    assert quantized.formats == per_channel
    assert formats_for(quantized, IMAGES, (4, 6, None), rule, per_channel=True) == per_channel


def test_filters_are_columns_and_come_back():
    kernel = np.arange(3 * 3 * 2 * 5).reshape(3, 3, 2, 5)
    conv, depthwise = by_filter(L.Conv2D(5, 3), kernel), by_filter(L.DepthwiseConv2D(3, depth_multiplier=5), kernel)
    assert np.array_equal(conv[:, 4], kernel[..., 4].ravel())
    assert np.array_equal(depthwise[:, 7], kernel[:, :, 1, 2].ravel())
    assert np.array_equal(depthwise.reshape(kernel.shape), kernel)


def test_errors_of_scales_for_each_filter_are_those_of_all_weights_together(uneven):
    formats = formats_for(uneven, IMAGES, (4, 8, 8), 100, per_channel=True)
    errors = quantization_errors(uneven, IMAGES, formats, "nearest")
    layer = quantize_model(uneven, formats, rounding="nearest").get_layer("depthwise")
    kernel = uneven.get_layer("depthwise").get_weights()[0]
    rounded = np.stack(
        [quantize(kernel[..., i // 2, i % 2], f, "nearest") for i, f in enumerate(layer.formats.kernel)], -1
    ).reshape(kernel.shape)
    assert errors["depthwise"][0].sqnr == pytest.approx(measured_sqnr(kernel, rounded), abs=1e-9)
    assert errors["depthwise"][0].bias == pytest.approx(np.mean(rounded.astype(float) - kernel), abs=1e-12)
    shared = quantization_errors(uneven, IMAGES, formats_for(uneven, IMAGES, (4, 8, 8), 100), "nearest")
    for name, (kernel, *others) in errors.items():
        assert kernel.sqnr > shared[name][0].sqnr and others == list(shared[name][1:])


def test_a_generic_msb_has_no_scales_for_each_filter(uneven):
    with pytest.raises(InputError, match="a generic MSB is one for all filters; leave per_channel out"):
        formats_for(uneven, IMAGES, per_layer=False, per_channel=True)
    table = msb_table(uneven, IMAGES, per_channel=True)
    assert formats_from_msbs(table, (None, 8, None))["conv"] == Formats(None, FixedPoint(table["conv"][1], 8))


# Several inputs, and images in other forms


@pytest.fixture(scope="module")
def joined():
    keras.utils.set_random_seed(3)
    photo, numbers = L.Input((8, 8, 2), name="photo"), L.Input((5,), name="numbers")
    x = L.Concatenate()([L.Flatten()(L.Conv2D(3, 3, name="a")(photo)), L.Dense(4, name="b")(numbers)])
    return keras.Model([photo, numbers], L.Dense(3, name="c")(x), name="joined")


NUMBERS = np.random.default_rng(2).normal(0, 5, (7, 5)).astype("float32")


@pytest.mark.parametrize("quantized", [False, True])
def test_a_network_of_two_inputs_is_calibrated(quantized, joined):
    network = quantize_model(joined) if quantized else joined
    seen = dict(observe(network, [IMAGES, NUMBERS], batch_size=3))
    assert np.array_equal(seen["a"].input, IMAGES) and np.array_equal(seen["b"].input, NUMBERS)
    assert np.allclose(seen["c"].output, joined.predict([IMAGES, NUMBERS], verbose=0), atol=1e-4)
    by_name = formats_for(network, {"numbers": NUMBERS, "photo": IMAGES}, range_rule=100)
    assert by_name == formats_for(network, ([IMAGES, NUMBERS], np.zeros(7)), range_rule=100)
    assert by_name["b"].input.msb == msb_from_limits(NUMBERS.min(), NUMBERS.max()) and by_name["b"].input.signed


def test_errors_are_followed_from_two_inputs(joined):
    network = quantize_model(joined, formats_for(joined, [IMAGES, NUMBERS], (6, 6, 8)), rounding="nearest")
    errors = Propagation(network, [IMAGES, NUMBERS]).errors()
    exact, found = (m.predict([IMAGES, NUMBERS], verbose=0) for m in (joined, network))
    assert errors["c"].sqnr == pytest.approx(measured_sqnr(exact, found), abs=0.01)
    assert 10 < errors["c"].predicted < 60


@pytest.mark.parametrize("given", ["pair", "generator", "tf.data"])
def test_formats_do_not_depend_on_the_form_of_the_images(given, model):
    images = (IMAGES, np.zeros(7)) if given == "pair" else (x for x in IMAGES)
    if given == "tf.data":
        images = pytest.importorskip("tensorflow").data.Dataset.from_tensor_slices((IMAGES, np.zeros(7))).batch(3)
    assert formats_for(model, images, range_rule=100) == formats_for(model, IMAGES, range_rule=100)


def test_images_that_do_not_fit_are_refused_in_one_sentence(model, joined):
    with pytest.raises(
        InputError, match=r"shape \(8, 8, 2\), and .* takes \(n, 8, 8, 2\); a single image needs a batch"
    ):
        msb_table(model, IMAGES[0])
    with pytest.raises(InputError, match=r"joined takes 2 arrays, for photo \(n, 8, 8, 2\) and numbers \(n, 5\)"):
        formats_for(quantize_model(joined), IMAGES)
    with pytest.raises(InputError, match=r"shape \(7, 8, 8, 1\), and joined takes .*; repeat the gray channel"):
        list(observe(joined, [IMAGES[..., :1], NUMBERS]))


def test_formats_that_lack_a_layer_are_refused(model):
    formats = formats_for(model, IMAGES)
    del formats["b"]
    with pytest.raises(InputError, match="formats has nothing for layer b; formats_for gives them for all layers"):
        quantization_errors(model, IMAGES, formats)


def test_random_layers_do_nothing_while_a_network_is_observed():
    images = L.Input((8, 8, 2))
    x = L.Dropout(0.9)(L.RandomFlip()(images), training=True)
    model = keras.Model(images, L.Conv2D(3, 3, name="a")(x))
    assert np.array_equal(dict(observe(model, IMAGES))["a"].input, IMAGES)


@pytest.mark.parametrize("dtype", ["float64", "mixed_float16", "mixed_bfloat16"])
def test_layers_of_other_precision_are_observed(dtype):
    model = keras.Sequential([L.Input((8, 8, 2)), L.Conv2D(3, 3, name="a", dtype=dtype, activation="relu")])
    seen = dict(observe(model, IMAGES))["a"]
    outputs = keras.ops.convert_to_numpy(keras.ops.cast(model(IMAGES), "float32"))
    assert np.allclose(np.maximum(seen.output, 0), outputs, atol=0.05 if "mixed" in dtype else 1e-6)
    assert seen.output.dtype == ("float64" if dtype == "float64" else "float32")
