"""Unsigned formats that calibration chooses, against values worked out by hand and all formats tried one by one."""

import numpy as np
import pytest

from fewbits import FixedPoint, formats_for, quantize, quantize_model
from fewbits.backend import keras, ops
from fewbits.quantization.calibration import Calibration, formats_for_each, msb_table, quantization_errors
from fewbits.quantization.layer_summary import LayerSummary
from fewbits.quantization.observation import observe
from fewbits.quantization.range_rules import (
    BINS,
    msb_from_limits,
    msb_of_least_divergence,
    msb_of_least_error,
    percentile_limits,
)
from fewbits.quantization.value_summary import ValueSummary

L = keras.layers
IMAGES = np.random.default_rng(1).uniform(0, 3, (7, 8, 8, 2)).astype("float32")
CEILINGS = {"fused": np.inf, "read": 6.0, "branch": None, "head": None, "fused6": 6.0, "halves": None}


@pytest.fixture(scope="module")
def model():
    """Return a network in which outputs meet ReLUs in all ways; its kernels are large, so that ReLU6 clips."""
    keras.utils.set_random_seed(0)
    images = L.Input((8, 8, 2))
    x = L.Conv2D(4, 3, activation="relu", name="fused")(images)
    x = L.ReLU(6.0, name="relu6")(L.Conv2D(5, 3, name="read")(x))
    x = L.Conv2D(5, 1, activation="relu6", name="fused6")(x)
    x = L.Conv2D(5, 1, name="branch")(x)  # a ReLU and an addition read it
    x = L.Add()([ops.relu(x), x])
    x = L.Conv2D(4, 1, name="halves", activation="tanh")(x)
    model = keras.Model(images, L.Dense(3, name="head")(L.Flatten()(x)))
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([5 * kernel, np.random.default_rng(2).normal(0, 0.5, bias.shape)])
    return model


def after(name, outputs):
    """Return what a ReLU right after the output quantizer of a layer would pass on."""
    ceiling = CEILINGS[name]
    return outputs if ceiling is None else np.clip(outputs, 0, ceiling)


@pytest.mark.parametrize("rule", [100, 99.9, 90, "mse", "kl"])
def test_what_is_never_negative_gets_a_format_without_a_sign(rule, model):
    formats = formats_for(model, IMAGES, 4, rule)
    for name, values in observe(model, IMAGES):
        for kind, seen in (("input", values.input), ("output", after(name, values.output))):
            fmt = getattr(formats[name], kind)
            assert fmt.signed == bool(seen.min() < 0), (name, kind)
            if isinstance(rule, str) and not (rule == "mse" and kind == "output"):
                search = msb_of_least_error if rule == "mse" else msb_of_least_divergence
                assert fmt.msb == search(seen, 4, signed=fmt.signed), (name, kind)
            elif not isinstance(rule, str):
                assert fmt.msb == msb_from_limits(*percentile_limits(seen, rule), fmt.signed), (name, kind)
        assert formats[name].kernel.signed
    assert {name for name, fmts in formats.items() if fmts.output.signed} == {
        "branch",
        "halves",
        "halves_activation",
        "head",
    }


def test_inputs_and_the_outputs_they_come_from_have_equal_formats(model):
    formats = formats_for(model, IMAGES, 6)
    assert formats["fused"].output == formats["read"].input and formats["read"].output == formats["fused6"].input
    assert formats["fused6"].output == formats["branch"].input


@pytest.mark.parametrize("rounding", ["floor", "nearest"])
@pytest.mark.parametrize("bits", [2, 3, 5])
def test_least_error_is_that_after_the_relu(bits, rounding, model):
    formats = formats_for(model, IMAGES, bits, "mse", rounding=rounding)
    for name, values in observe(model, IMAGES):
        if CEILINGS[name] is not None:
            exact, chosen = after(name, values.output), formats[name].output
            errors = {}
            for msb in range(chosen.msb - 5, chosen.msb + 6):
                rounded = quantize(values.output, FixedPoint(msb, bits, signed=False), rounding)
                errors[msb] = np.square(after(name, rounded) - exact).sum()
            assert errors[chosen.msb] == pytest.approx(min(errors.values()), rel=1e-6)


def test_what_a_ceiling_cuts_off_anyway_sets_no_range():
    """Two in a hundred values are 40; a ReLU6 makes 6 of them, and then a step of 1 serves the others best."""
    values = np.append(np.linspace(0, 3, 980), np.full(20, 40.0)).reshape(10, 100)
    seen = ValueSummary.of(values)
    chosen = {
        top: LayerSummary(None, None, seen, seen, top).msbs("mse", 2, signs=(True, False))[2] for top in (6, np.inf)
    }
    assert chosen == {6: 1, np.inf: msb_of_least_error(values, 2, signed=False)} and chosen[np.inf] > 2
    assert LayerSummary(None, None, seen, seen, 6.0).msbs(100, 2, signs=(True, False))[2] == 2


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_an_unsigned_format_chosen_leaves_less_error(bits):
    values = np.maximum(np.random.default_rng(0).normal(size=50_000), 0)
    unsigned = FixedPoint(msb_of_least_error(values, bits, signed=False), bits, signed=False)
    one_more = FixedPoint(msb_of_least_error(values, bits + 1), bits + 1)
    assert np.array_equal(quantize(values, unsigned, "nearest"), quantize(values, one_more, "nearest"))
    assert unsigned.msb == one_more.msb - 1 and unsigned.step == one_more.step


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_least_divergence_counts_all_codes(bits):
    """An unsigned format of n bits has the positive codes of a signed one of n + 1."""
    values = np.random.default_rng(0).lognormal(size=50_000)
    below = np.append(values, -values[:9000])
    assert msb_of_least_divergence(values, bits, signed=False) == msb_of_least_divergence(values, bits + 1) - 1
    assert msb_of_least_divergence(below, bits, signed=False) == msb_of_least_divergence(values, bits, signed=False)
    assert 2**bits <= BINS


@pytest.mark.parametrize(("high", "msb"), [(1.0, -1), (1.001, 0), (4, 1), (6, 2), (0.0, -64), (1e-30, -64)])
def test_the_unsigned_msb_is_the_smallest_that_reaches(high, msb):
    assert msb_from_limits(-7, high, signed=False) == msb_from_limits(0, high, signed=False) == msb
    if high > 1e-9:
        fmt = FixedPoint(msb, 8, signed=False)
        assert fmt.max_value + fmt.step >= high > FixedPoint(msb - 1, 8, signed=False).max_value


def test_signed_formats_are_those_of_2017(model):
    formats = formats_for(model, IMAGES, (8, 7, 6), 99.9, signed=True)
    table = msb_table(model, IMAGES, 99.9)
    for name, (kernel, read, made) in table.items():
        widths = zip((kernel, read, made), (8, 7, 6))
        assert formats[name][:3] == tuple(msb if msb is None else FixedPoint(msb, n) for msb, n in widths)
    widths = [(8, 7, 6)]
    for signed in (False, True):
        rule = Calibration(99.9, signed=signed)
        expected = formats_for_each(model, IMAGES, widths, 99.9, signed=signed)
        assert rule.formats(model, IMAGES, widths) == expected
        assert (expected[8, 7, 6] == formats) is signed


def test_a_generic_format_is_unsigned_only_if_all_are(model):
    shared = formats_for(model, IMAGES, per_layer=False)
    assert len({fmts.input for fmts in shared.values()}) == len({fmts.output for fmts in shared.values()}) == 1
    assert shared["fused"].input.signed and shared["fused"].output.signed  # the head reads what a tanh has made
    assert shared == formats_for(model, IMAGES, per_layer=False, signed=True)
    first = keras.Model(model.inputs, model.get_layer("relu6").output)
    table = formats_for(first, IMAGES, per_layer=False, range_rule=100)
    own = formats_for(first, IMAGES, range_rule=100)
    assert not table["fused"].input.signed and not table["fused"].output.signed
    assert table["fused"].output.msb == max(fmts.output.msb for fmts in own.values())


def test_errors_of_an_output_before_a_relu_are_measured_after_it(model):
    formats = formats_for(model, IMAGES, 8, 100)
    errors = quantization_errors(model, IMAGES, formats, "nearest")
    signed = quantization_errors(model, IMAGES, formats_for(model, IMAGES, 8, 100, signed=True), "nearest")
    for name in ("fused", "read", "fused6"):
        assert errors[name][2].clipped < 0.01 and errors[name][2].sqnr > signed[name][2].sqnr


def test_bias_after_the_quantizer_keeps_the_sign(model):
    late = quantize_model(keras.Model(model.inputs, model.get_layer("fused").output), bias_order="output")
    formats = formats_for(late, IMAGES)
    assert formats["fused"].output.signed and not formats["fused"].input.signed
