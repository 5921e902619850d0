"""Sums of int8 files have 32 bits: what takes more is refused by layer, and the advice helps."""

import re

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, quantize_model
from fewbits.backend import keras
from fewbits.deploy.litert import compare_litert, to_litert

L = keras.layers


def network(bias, msb):
    images = L.Input((4, 4, 2))
    model = keras.Model(images, L.Conv2D(3, 1, name="conv")(images))
    kernel = np.full((1, 1, 2, 3), 2.0**-12, "float32")
    model.get_layer("conv").set_weights([kernel, np.array([0, -bias, 0], "float32")])
    formats = FixedPoint(-12, 8), FixedPoint(msb, 8), FixedPoint(3, 8)
    return quantize_model(model, formats, rounding="nearest")


@pytest.mark.parametrize("bias", [5.0, 0.3])
def test_bias_codes_beyond_32_bits_are_refused_with_advice_that_helps(bias):
    with pytest.raises(
        InputError, match="products and bias of layer conv take .* bits, and int8 files add in 32"
    ) as caught:
        to_litert(network(bias, msb=-10), "int8")
    bits, more = re.search(r"take (\d+) bits.* by (\d+)$", str(caught.value)).groups()
    codes = bias / 2.0 ** (-12 + 1 - 8 - 10 + 1 - 8)
    assert int(bits) == int(np.ceil(np.log2(codes))) + 1 and int(more) == int(bits) - 32
    images = np.random.default_rng(0).uniform(0, 0.001, (2, 4, 4, 2)).astype("float32")
    helped = network(bias, msb=-10 + int(more))
    assert all(agreement.different == 0 for agreement in compare_litert(helped, images).values())
