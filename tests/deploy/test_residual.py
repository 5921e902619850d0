"""A residual network with grouped convolutions and averages, whose sums have quantizers of their own: the simulation,
the integers, both ONNX files and the C have the same codes."""

import numpy as np
import pytest

from fewbits import formats_for, quantize_model
from fewbits.backend import keras
from fewbits.deploy import CRunner, ONNXRunner, compare_program, to_onnx
from fewbits.deploy.onnx_integer import to_integer_onnx
from fewbits.quantization.activations import QuantizedActivation
from helpers.graphs import assert_identical

layers = keras.layers
PIXELS = np.random.default_rng(4).integers(0, 256, (24, 13, 12, 4), np.uint8)
IMAGES = PIXELS / np.float32(256)


def residual(own):
    """Return a network; `own` says whether each sum is quantized, not only what reads it."""
    keras.utils.set_random_seed(5)
    image = layers.Input(PIXELS.shape[1:])
    x = layers.Conv2D(8, 3, padding="same", groups=2, activation="relu")(image)
    for groups in (4, 8):
        y = layers.Conv2D(8, 3, padding="same", groups=groups, activation="relu")(x)
        x = layers.Add()([x, layers.Conv2D(8, 1, groups=2)(y)])
        x = layers.Activation("linear", name=f"sum_{groups}")(x) if own else x
        x = layers.ReLU()(x)
    pooled = [layers.AveragePooling2D(2)(x), layers.AveragePooling2D((3, 2), strides=2, padding="same")(x)]
    return keras.Model(
        image, layers.Dense(5)(layers.Concatenate()([layers.GlobalAveragePooling2D()(p) for p in pooled]))
    )


@pytest.mark.parametrize(
    ("own", "bits", "rounding"), [(True, 8, "floor"), (True, (8, 6, 4), "nearest-up"), (False, 4, "floor")]
)
def test_all_that_computes_it_has_the_same_codes(own, bits, rounding):
    model = quantize_model(residual(own), rounding=rounding)
    quantized = {layer.name for layer in model.layers if type(layer) is QuantizedActivation}
    assert quantized >= ({"sum_4", "sum_8"} if own else set())
    model.set_formats(formats_for(model, IMAGES, bits))
    network = assert_identical(model, PIXELS, levels=256)
    codes = network.run(PIXELS)
    assert compare_program(codes, ONNXRunner(to_integer_onnx(network).SerializeToString()), PIXELS).different == 0
    assert compare_program(codes, CRunner(network), PIXELS).different == 0
    simulation = ONNXRunner(to_onnx(model).SerializeToString())
    np.testing.assert_array_equal(np.stack([simulation.run(x) for x in IMAGES]), model(IMAGES))
