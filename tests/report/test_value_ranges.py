"""The MSBs that a report suggests are those that calibration chooses by the same rules."""

import numpy as np
import pytest

from fewbits.backend import keras
from fewbits.quantization import formats_for, quantize_model
from fewbits.report.samples import ImageSample
from fewbits.report.value_ranges import RULE, observe_value_ranges

layers = keras.layers


@pytest.mark.parametrize("ceiling", ["relu6", "relu"])
def test_other_rules_see_what_the_relu_passes_on(ceiling):
    keras.utils.set_random_seed(5)
    stack = [layers.Input((6, 6, 2)), layers.Conv2D(3, 2, activation=ceiling, name="conv")]
    model = keras.Sequential([*stack, layers.Flatten(), layers.Dense(4, name="dense")])
    model.get_layer("conv").kernel.assign(20 * model.get_layer("conv").kernel)  # so that most sums are beyond 6
    images = np.random.default_rng(1).uniform(0, 1, (30, 6, 6, 2)).astype(np.float32)
    formats = formats_for(model, images, 6, RULE)
    ranges, _ = observe_value_ranges(quantize_model(model), ImageSample([images], None, ""), formats)
    [output] = [each for each in ranges if (each.layer, each.kind) == ("conv", "output")]
    assert not output.signed and output.low == 0 and (output.high == 6) == (ceiling == "relu6")
    for rule in ("99.9", "98", "95", "100", "mse"):
        chosen = formats_for(model, images, 6, rule if rule == "mse" else float(rule))["conv"].output
        assert output.msbs[rule] == chosen.msb, rule
    assert (output.msbs["100"] == 2) == (ceiling == "relu6")  # unsigned, up to 8
