"""What a recorder on the simulated engine finds is what NumPy adds up, whatever stalls."""

import numpy as np
import pytest

from helpers.engine_layers import random_layer

pytest.importorskip("amaranth")

from fewbits.deploy.hardware import EngineDesign, plan_job, trace_job  # noqa: E402


@pytest.mark.parametrize(("stride", "signed", "stall"), [(1, True, 0.3), (2, False, 0.0)])
def test_a_trace_holds_the_sums_of_numpy(stride, signed, stall):
    layer = random_layer((5, 4, 3), 3, stride=stride, signed=signed, relu=not signed, seed=stride)
    convolve, source, rounded, codes = layer
    design = EngineDesign(word_bits=8, sum_bits=convolve.partial_bits, columns=8, places=64)
    trace = trace_job(design, plan_job(convolve, source, design, rounded), codes, stall)

    around = np.pad(codes, (*convolve.padding, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3), (0, 1))[::stride, ::stride]
    kernel = convolve.kernel  # (height, width, planes, filters); with 8 bits a run has one filter
    for run in range(3):
        assert np.array_equal(trace.windows[run], windows.transpose(2, 0, 1, 3, 4))
        low, high = kernel[..., run] % 16, kernel[..., run] // 16
        for place, part in enumerate((low, high)):
            assert np.array_equal(trace.slice_sums[run, ..., place], np.einsum("rcpij,ijp->prc", windows, part))
        sums = np.einsum("rcpij,ijp->prc", windows, kernel[..., run])
        assert np.array_equal(trace.window_sums[run, ..., 0], sums)
        assert np.array_equal(trace.partial_sums[run, ..., 0], sums.cumsum(0) + convolve.bias[run])
        expected = rounded.compute(convolve.compute(codes[None]))[0, :, :, run]
        assert np.array_equal(trace.codes[run, ..., 0], expected)
    assert len(np.unique(trace.codes[..., 0])) > 5
