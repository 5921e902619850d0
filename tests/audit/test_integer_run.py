"""Our own integers, run as C: each rounding is named, layer by layer."""

import numpy as np
import pytest

from fewbits import FixedPoint, InputError
from fewbits.audit import integer_run
from fewbits.audit.findings import common_ways, examine_layer
from fewbits.audit.integer_run import integer_traces
from fewbits.audit.roundings import in_words
from fewbits.audit.traces import folded
from helpers.audits import LAYERS, digits, network, quantized

BEHIND_RELU = ("first", "grouped")


@pytest.mark.parametrize("rounding", ["floor", "nearest", "nearest-up", "nearest-away"])
def test_our_c_is_named_with_each_rounding(rounding):
    found = {t.layer: examine_layer(t) for t in integer_traces(quantized(rounding), folded(network()), digits())}
    assert tuple(found) == LAYERS
    for finding in found.values():
        assert finding.naming.explained == 1 and rounding in finding.naming.roundings
        assert finding.kernel_naming.explained == 1 and rounding in finding.kernel_naming.roundings
        assert finding.explained and (finding.layer == "dense" or finding.truncates == (rounding == "floor"))
    assert in_words(common_ways(list(found.values()))) == rounding
    if rounding == "floor":
        for name, finding in found.items():
            assert finding.rounding == ("floor or toward-zero" if name in BEHIND_RELU else "floor")
            assert finding.kernel == "floor" and -0.7 < finding.slope.mean < -0.3
            assert finding.cost > 1 and abs(finding.bias + 0.5) < 0.1
    else:
        assert all(finding.cost == 0 and abs(finding.bias) < 0.3 for finding in found.values())


@pytest.mark.parametrize("rounding", ["floor", "nearest-away"])
def test_inputs_that_a_layer_rounds_itself_are_rounded_as_its_outputs(rounding):
    traces = integer_traces(quantized(rounding, (6, 3, 8)), folded(network()), digits())
    assert sum((trace.inputs != np.rint(trace.inputs)).any() for trace in traces) > 1
    found = [examine_layer(trace) for trace in traces]
    assert all(finding.naming.explained == 1 for finding in found) and in_words(common_ways(found)) == rounding


@pytest.mark.parametrize("rounding", ["floor", "nearest-up"])
def test_codes_without_a_sign_are_named_alike(rounding):
    model = quantized(rounding)
    for layer in model.quantized_layers:
        kernel, input, output, bias = layer.formats
        reach = input.msb - (layer.name != "wide") * input.signed
        after_relu = layer.name in BEHIND_RELU and output.signed
        output = FixedPoint(output.msb - 1, output.nbits, signed=False) if after_relu else output
        layer.set_formats(kernel, FixedPoint(reach, input.nbits, layer.name == "wide"), output, bias)
    found = [examine_layer(trace) for trace in integer_traces(model, folded(network()), digits())]
    assert all(finding.naming.explained == 1 and finding.kernel_naming.explained == 1 for finding in found)
    assert in_words(common_ways(found)) == rounding


def test_without_a_compiler_numpy_computes_the_same(monkeypatch):
    arguments = quantized("floor"), folded(network()), digits(4)
    compiled = integer_traces(*arguments)
    monkeypatch.setattr(integer_run, "find_compiler", lambda: None)
    for ours, theirs in zip(integer_traces(*arguments), compiled, strict=True):
        assert np.array_equal(ours.codes, theirs.codes) and np.array_equal(ours.inputs, theirs.inputs)


def test_a_network_without_output_formats_is_refused():
    model = quantized("floor")
    model.set_formats({name: (f.kernel, f.input, None) for name, f in model.formats.items()})
    with pytest.raises(InputError, match="no layer of small has an output format"):
        integer_traces(model, folded(network()), digits(2))
