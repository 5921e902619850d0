"""Random layers for the hardware engine: a convolution, what rounds it, and codes to read."""

import numpy as np

from fewbits.deploy.operations import Convolve, Requantize, Tensor, signed_bits


def tensor(shape, bits, signed):
    low = -(2 ** (bits - 1)) if signed else 0
    return Tensor(shape, 0, low, low + 2**bits - 1)


def random_layer(
    shape=(6, 5, 2),
    filters=3,
    size=(3, 3),
    stride=1,
    padding=((1, 1), (1, 1)),
    pixel_bits=8,
    weight_bits=8,
    signed=False,
    rounding="nearest",
    code_bits=8,
    relu=False,
    groups=1,
    depthwise=False,
    extreme=False,
    seed=0,
):
    """Return a Convolve, its input Tensor, a Requantize with a shift per filter, and input codes."""
    random = np.random.default_rng(seed)
    source = tensor(shape, pixel_bits, signed)
    ends = -(2 ** (weight_bits - 1)), 2 ** (weight_bits - 1) - 1
    kernel_shape = (*size, shape[2], filters) if depthwise else (*size, shape[2] // groups, filters)
    kernel = random.integers(ends[0], ends[1] + 1, kernel_shape)
    kernel.flat[0] = ends[0]  # so that no narrower weights would do
    outputs = shape[2] * filters if depthwise else filters
    codes = random.integers(source.low, source.high + 1, shape)
    if extreme:
        kernel = random.choice(ends, kernel_shape)
        codes = random.choice((source.low, source.high), shape)
    bias = random.integers(-1000, 1000, outputs)
    most = int(np.abs(kernel).reshape(-1, kernel_shape[-1]).sum(0).max()) * source.magnitude + 1000
    sides = [(n + sum(p) - k) // stride + 1 for n, p, k in zip(shape, padding, size)]
    output = Tensor((*sides, outputs), 0, -most, most)
    partial = signed_bits(-most, most)
    steps = (stride, stride), padding, (1, 1)
    convolve = Convolve("layer", (0,), output, kernel, bias, *steps, depthwise, partial, most, groups)
    low = 0 if relu else -(2 ** (code_bits - 1))
    ends = low, low + 2**code_bits - 1
    middle = max(0, partial - code_bits - 2)
    shifts = tuple(int(shift) for shift in random.integers(max(0, middle - 3), middle + 2, outputs))
    rounded = Requantize("layer", (1,), Tensor(output.shape, 0, *ends), shifts, 1, rounding, *ends)
    return convolve, source, rounded, codes
