"""What is found out about a layer: bias, variance, the slope over the sums of inputs, cost and advice."""

from dataclasses import replace

import numpy as np
import pytest

from fewbits.audit.findings import advice_for, common_ways, examine_layer, findings_as_json, slope_over_sums
from fewbits.audit.roundings import ROUND
from fewbits.audit.traces import Kernel, Trace, Window

WINDOW = Window((3, 3), padding=((1, 1), (1, 1)))


def trace(output="nearest", kernel="nearest", filters=24, images=4, bits=6, signed=False, seed=0):
    """Return the trace of a convolution of 4 channels that rounds as it is told; inputs have a step of 1/16."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-15 if signed else 0, 16, (images, 9, 9, 4)).astype(np.float64)
    exact, step = rng.normal(0, 0.3, (36, filters)), 2.0 ** (1 - bits)
    columns = ROUND[kernel](exact / step)
    bias = np.rint(rng.normal(0, 0.1, filters) * 16 / step)
    quotients = (WINDOW(inputs, columns) + bias) * step / 16 / 2**-4
    used = Kernel(columns, np.full(filters, step), bias)
    own = Kernel(exact, np.ones(filters), bias * step / 16)
    return Trace("layer", inputs, ROUND[output](quotients), 1 / 16, 2.0**-4, WINDOW, {"given": used}, own)


@pytest.mark.parametrize(
    ("rounding", "bias"), [("floor", -0.5), ("ceiling", 0.5), ("nearest", 0), ("nearest-away", 0), ("toward-zero", 0)]
)
def test_bias_and_variance_of_the_rounding(rounding, bias):
    found = examine_layer(trace(rounding))
    assert found.rounding == rounding and found.naming.explained == 1
    step = 2.0**-5  # products lie on a grid of 1/32 of an output step, which moves the means by half of it
    assert abs(found.bias - bias) < step and (rounding == "toward-zero" or abs(found.variance - 1 / 12) < 0.01)
    assert rounding != "toward-zero" or found.variance > 0.2


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("kernel", "slope"), [("floor", -0.5), ("nearest", 0), ("ceiling", 0.5)])
def test_the_slope_over_the_sums_of_inputs_is_the_signature_of_a_truncated_kernel(kernel, slope, signed):
    found = examine_layer(trace(kernel=kernel, filters=64, signed=signed))
    assert found.kernel_naming.explained == 1 and found.kernel.startswith(kernel)
    assert found.slope.low < slope < found.slope.high and found.slope.half_width < 0.1
    assert found.truncates == (kernel == "floor")


def test_a_rounded_output_has_no_slope():
    found = examine_layer(trace("floor", filters=64))
    assert found.slope.low < 0 < found.slope.high and not found.truncates and found.kernel.startswith("nearest")


def test_a_relu_after_coarse_outputs_does_not_look_like_a_slope():
    whole = trace("floor", bits=12, filters=64)
    found = examine_layer(replace(whole, codes=np.maximum(whole.codes, 0)))
    assert found.slope.low < 0 < found.slope.high and found.slope.half_width < 0.1 and not found.truncates


def test_the_slope_is_that_of_least_squares_with_an_intercept_for_each_filter():
    rng = np.random.default_rng(1)
    sums = rng.uniform(0, 9, (3, 5, 5, 4))
    errors = 2 * sums + np.array([5, -3, 0, 1]) + rng.normal(0, 0.1, sums.shape)
    design = np.concatenate([sums.reshape(-1, 1), np.tile(np.eye(4), (75, 1))], 1)
    expected = np.linalg.lstsq(design, errors.ravel(), rcond=None)[0][0]
    found = slope_over_sums(errors, sums)
    assert found.mean == pytest.approx(expected) and found.n == 4
    hidden = errors.copy()
    hidden[0] = np.nan
    assert slope_over_sums(hidden, sums).mean == pytest.approx(slope_over_sums(errors[1:], sums[1:]).mean)
    assert slope_over_sums(errors[..., :1], sums[..., :1]).n == 3  # a single filter: images
    assert not slope_over_sums(errors, np.ones_like(sums))


def test_the_cost_is_what_rounding_to_nearest_would_gain():
    assert examine_layer(trace()).cost == 0
    truncated = examine_layer(trace("floor", "floor"))
    nearest = examine_layer(trace())
    assert truncated.cost == pytest.approx(nearest.sqnr - truncated.sqnr, abs=0.3) and truncated.cost > 5


def test_advice_names_what_is_wrong_and_nothing_else():
    assert advice_for(examine_layer(trace())) == ()
    kernel, output = advice_for(examine_layer(trace("floor", "floor")))
    assert "kernel is rounded by floor" in kernel and "--rounding nearest" in kernel and "half an output step" in output
    [zero] = advice_for(examine_layer(trace("toward-zero")))
    assert "toward zero" in zero
    whole = trace()
    [other] = advice_for(
        examine_layer(replace(whole, reference=whole.reference._replace(columns=whole.reference.columns[::-1])))
    )
    assert "not the float kernel rounded" in other
    noise = np.random.default_rng(0).integers(-9, 9, whole.codes.shape)
    assert "no rounding explains" in advice_for(examine_layer(replace(whole, codes=whole.codes + noise)))[0]


def test_without_kernel_codes_means_tell_the_rounding():
    for rounding in ("floor", "nearest", "toward-zero"):
        whole = trace(rounding, bits=10, filters=48)
        own = whole.reference
        kernels = {"float": own._replace(bias=own.bias * 16)}
        found = examine_layer(replace(whole, kernels=kernels))
        assert found.from_means and found.rounding == rounding and found.explained
        assert found.kernel == "" and found.slope_unit == "output steps"


def test_layers_together_decide_what_one_leaves_open():
    whole = trace("floor")
    relu = replace(whole, codes=np.maximum(whole.codes, 0))
    found = [examine_layer(relu), examine_layer(whole)]
    assert found[0].rounding == "floor or toward-zero" and [way.rounding for way in common_ways(found)] == ["floor"]
    assert common_ways([]) == ()


def test_json_holds_plain_numbers():
    import json

    [row] = findings_as_json([examine_layer(trace("floor", "floor"))])
    again = json.loads(json.dumps(row, allow_nan=False))
    assert again["rounding"] == "floor" and again["truncates"] and again["slope"] == row["slope"]
    assert again["output"]["shares"]["floor"] == 1
