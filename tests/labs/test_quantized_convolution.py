"""Lab 4: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import quantized_convolution as lab
from fewbits.quantization import FixedPoint, to_codes
from helpers.labs import tell_apart


def convolve(x, kernel, dtype=np.int64):
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))
    return np.einsum("hwcij,ijcf->hwf", windows, kernel)


def test_mistakes_in_the_sums():
    def bordered(x, kernel):
        border = kernel.shape[0] // 2
        return convolve(np.pad(x, ((border, border), (border, border), (0, 0))), kernel)

    check = lab.check_convolve
    tell_apart(
        (check, bordered, "Without a border"),
        (check, lambda x, kernel: convolve(x, kernel[::-1, ::-1]), "do not turn"),
        (check, lambda x, kernel: convolve(x[..., :1], kernel[:, :, :1]), "over all of them"),
        (check, lambda x, kernel: convolve(x, kernel, x.dtype), "do not fit int8"),
    )


def test_mistakes_in_the_codes_of_biases():
    def codes(bias, step, rounding=lambda v: np.floor(v + 0.5)):
        return rounding(np.asarray(bias) / step).astype(int)

    check = lab.check_bias_codes
    tell_apart(
        (check, lambda b, x, w: codes(b, x), "steps of the input times"),
        (check, lambda b, x, w: codes(b, w), "when both factors"),
        (check, lambda b, x, w: codes(b, x * w, np.floor), "nearest one"),
        (check, lambda b, x, w: np.clip(codes(b, x * w), -128, 127), "not held to 8 bits"),
    )


def test_mistakes_in_the_way_back():
    def clip(codes, nbits):
        return np.clip(codes, -(2 ** (nbits - 1)), 2 ** (nbits - 1) - 1)

    def shifted(totals, shift):
        return np.floor(totals / 2.0**shift + 0.5).astype(int)

    check = lab.check_requantize
    tell_apart(
        (check, lambda t, s, n: clip(t >> s, n), "A plain shift"),
        (check, lambda t, s, n: clip(np.round(t / 2.0**s), n), "Halfway goes up"),
        (check, lambda t, s, n: shifted(t, s), "must fit the bits"),
        (check, lambda t, s, n: clip(shifted(clip(t, n), s), n), "not the total"),
        (check, lambda t, s, n: clip(t * 2**s, n) if s <= 0 else clip(shifted(t, s), n), "negative shift"),
    )


def layer(early_bias=True, relu=True, bias=True, shift=0, shared=False):
    """Return a layer that is right with these options, and wrong with others."""

    def quantized_layer(x, kernel, biases, formats):
        x_fmt, w_fmt, y_fmt = (FixedPoint(*(formats[2] if shared else fmt)) for fmt in formats)
        grid = x_fmt.step * w_fmt.step
        sums = convolve(*(to_codes(v, f, "nearest-up") for v, f in ((x, x_fmt), (kernel, w_fmt)))) * grid * 2.0**shift
        added = np.floor(np.array(biases) / grid + 0.5) * grid * bias
        if early_bias:
            codes = to_codes(sums + added, y_fmt, "nearest-up")
        else:
            codes = to_codes(sums, y_fmt, "nearest-up") + to_codes(added, y_fmt, "nearest-up")
        return np.maximum(codes, 0) if relu else codes

    return quantized_layer


def test_mistakes_in_the_layer():
    check = lab.check_quantized_layer
    check(layer())
    tell_apart(
        (check, layer(shift=1), "How do its steps"),
        (check, layer(bias=False), "on their grid"),
        (check, layer(relu=False), "A ReLU"),
        (check, layer(early_bias=False), "two halves"),
        (check, layer(shared=True), "a step of its own"),
    )
