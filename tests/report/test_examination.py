"""The numbers of a report are those of other code, what is planted is found, and gaps have reasons."""

import numpy as np
import pytest

from fewbits import InputError
from fewbits.backend import keras
from fewbits.costs import totals
from fewbits.quantization import formats_for, quantize_model
from fewbits.report import ImageSource, examine
from fewbits.report.measurements import COMPARISONS, Change
from fewbits.report.samples import draw_sample
from fewbits.statistics import wilson_interval
from helpers.colours import DEAD, colour_images, colour_network

layers = keras.layers
quiet = pytest.mark.filterwarnings("ignore::fewbits.errors.CalibrationWarning")


def source(n, seed):
    images, labels = colour_images(n, seed)
    return ImageSource(((images / np.float32(256)).astype(np.float32), labels), f"{n} images of seed {seed}")


@pytest.fixture(scope="module")
def calibration():
    return source(24, 1)


@pytest.fixture(scope="module")
def judging():
    return source(150, 2)


@pytest.fixture(scope="module")
def found(calibration, judging):
    return examine(colour_network(), calibration, judging, seed=3)


@quiet
def test_accuracies_are_those_of_a_network_with_formats_set_by_hand(found, calibration, judging):
    (images, labels), model = judging.data, colour_network()
    network = quantize_model(model)
    right = np.asarray(model(images)).argmax(-1) == labels
    assert (found.float_accuracy.hits, found.float_accuracy.n) == (right.sum(), 150)
    assert (found.float_accuracy.low, found.float_accuracy.high) == wilson_interval(int(right.sum()), 150)
    assert [(each.bits, each.rounding) for each in found.widths] == [
        (bits, rounding) for bits in (16, 8, 6, 5, 4) for rounding in ("nearest", "floor")
    ]
    for each in found.widths:
        network.set_formats(formats_for(model, calibration.data[0], each.bits))
        network.set_rounding(each.rounding)
        expected = np.asarray(network(images)).argmax(-1) == labels
        assert each.accuracy.hits == expected.sum()
        assert each.under_float.value == pytest.approx((expected.sum() - right.sum()) / 150)
    assert len({each.accuracy.hits for each in found.widths}) > 2  # formats and roundings do differ


@quiet
def test_ranges_are_those_of_the_values(found, calibration):
    [kernel] = [each for each in found.values if (each.layer, each.kind) == ("mix", "kernel")]
    weights = colour_network().get_layer("mix").get_weights()[0]
    assert (kernel.low, kernel.high) == (weights.min(), weights.max())
    assert sum(kernel.counts) == weights.size and kernel.msbs["100"] == 1  # 1.05 needs an amplitude of 2
    [read] = [each for each in found.values if (each.layer, each.kind) == ("conv", "input")]
    images = calibration.data[0].astype(float)
    assert read.percentiles["99.9"] == pytest.approx(np.percentile(images, [0.05, 99.95]))
    assert sum(read.counts) == images.size


def test_a_dead_filter_is_found_and_removing_it_changes_nothing(found):
    [dead] = [each for each in found.dead if each.layer == "conv"]
    assert (dead.filters, dead.of, dead.without_weights, dead.removable) == ((DEAD,), 4, 1, True)
    assert found.dead_bytes == 4 * (3 + 1 + 4)  # its weights and bias, and the weights that read it
    assert found.dead_change.value == 0 and found.dead_change.low < 0 < found.dead_change.high


def test_layers_and_costs_are_those_of_the_network(found):
    whole = totals(colour_network())
    assert (found.network.parameters, found.network.macs) == (whole.parameters, whole.macs)
    costs = {each.name: (each.parameters, each.macs, each.weight_bytes) for each in found.layers}
    assert costs["mix"] == (20, 8 * 8 * 16, 80) and costs["classes"] == (15, 12, 60)
    assert [each.bits for each in found.memory] == [None, 16, 8, 6, 5, 4]
    kernels = 12 + 16 + 12
    assert found.memory[2].packed_bytes == kernels + 4 * (whole.parameters - kernels)
    assert found.memory[2].flash_bytes and found.memory[2].ram_bytes
    assert {each.layer for each in found.accumulators} == {"conv", "mix", "classes"}
    assert [each.form for each in found.exports if not each.reason]


@quiet
def test_sensitivity_quantizes_one_kind_of_one_layer(found, calibration):
    formats = formats_for(colour_network(), calibration.data[0], found.bits)
    network = quantize_model(colour_network(), rounding="nearest")
    exact = network.predict(calibration.data[0], verbose=0)
    network.get_layer("conv").set_formats(None, formats["conv"].input)
    error = network.predict(calibration.data[0], verbose=0) - exact
    [one] = [each for each in found.sensitivities if (each.layer, each.kind) == ("conv", "input")]
    assert one.sqnr == pytest.approx(10 * np.log10((exact**2).sum() / (error**2).sum()), abs=0.01)
    assert {each.kind for each in found.sensitivities} == {"kernel", "input", "output"}


def test_propagated_errors_and_variants_are_there(found):
    assert [each.layer for each in found.propagated] == ["conv", "mix", "classes"]
    assert all(each.measured is not None and each.predicted is not None for each in found.propagated)
    assert {"mse", "edges at 8 bits"} <= {each.name for each in found.variants}
    assert not found.reasons and found.images.shared == 0


@quiet
def test_a_swapped_order_of_channels_is_flagged_and_the_right_one_is_not(found, calibration, judging):
    assert not any(each.better for each in found.preparations)
    swapped = examine(colour_network((2, 1, 0)), calibration, judging, quick=True)
    better = {each.name: each.change for each in swapped.preparations if each.better}
    assert "channels reversed, as bgr" in better and better["channels reversed, as bgr"].low > 0.3
    assert not [name for name in better if "bgr" not in name]


@quiet
def test_a_missing_mean_is_flagged(calibration, judging):
    model = colour_network()
    model.get_layer("conv").set_weights([4 * model.get_layer("conv").get_weights()[0], np.full(4, -1.9, np.float32)])
    dark = [
        ImageSource((each.data[0] - np.float32(0.5), each.data[1]), each.what) for each in (calibration, judging)
    ]  # the network takes images that are not less 0.5
    better = [each for each in examine(model, *dark, quick=True).preparations if each.better]
    assert "scaled to -1..1" in {each.name for each in better} and all(each.change.low > 0 for each in better)


def test_images_are_drawn_with_the_seed(judging):
    images, labels = judging.data
    first, again, other = (draw_sample(colour_network(), judging.data, 50, seed, "images") for seed in (1, 1, 2))
    chosen = np.sort(np.random.default_rng(1).permutation(150)[:50])
    assert (first.inputs[0] == images[chosen]).all() and (first.labels == labels[chosen]).all()
    assert (first.inputs[0] == again.inputs[0]).all() and (first.inputs[0] != other.inputs[0]).any()


@quiet
@pytest.mark.parametrize(("activation", "kind"), [("softmax", "softmax"), ("sigmoid", "multi-label")])
def test_any_head_is_judged(activation, kind, calibration, judging):
    model = colour_network(activation=activation)
    images, labels = judging.data
    if kind == "multi-label":
        labels = np.eye(3, dtype=int)[labels]
    sources = calibration if kind == "softmax" else ImageSource(calibration.data[0]), ImageSource((images, labels))
    found = examine(model, *sources, quick=True, most_images=150)
    outputs = model.predict(images, verbose=0)
    right = outputs.argmax(-1) == labels if kind == "softmax" else (outputs > 0.5) == labels
    assert found.network.head == kind
    assert (found.float_accuracy.hits, found.float_accuracy.n) == (right.sum(), right.size)


@quiet
def test_a_quantized_network_is_judged_as_it_was_read_too(calibration, judging):
    model = colour_network()
    quantized = quantize_model(model, formats_for(model, calibration.data[0], 3), rounding="floor")
    found = examine(quantized, calibration, judging, quick=True, most_images=150)
    right = quantized.predict(judging.data[0], verbose=0).argmax(-1) == judging.data[1]
    assert found.network.quantized and found.accuracy_as_read.hits == right.sum()
    assert found.float_accuracy.hits > right.sum()


def test_a_network_of_layers_that_cannot_be_quantized_is_reported_with_reasons(calibration, judging):
    inputs = keras.Input((8, 8, 3))
    x = layers.LayerNormalization(name="norm")(layers.Conv2D(4, 3, name="conv")(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    found = examine(model, calibration, judging)
    assert "norm" in found.reasons["quantization"] and "LayerNormalization" in found.reasons["quantization"]
    assert found.float_accuracy and found.widths  # the layer stays in float
    assert "norm" in found.reasons["devices"]


def test_a_network_without_a_head_or_images_is_reported_with_reasons(calibration):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 3, name="maps")(inputs))
    found = examine(model, calibration, calibration, quick=True)
    assert found.images.shared == found.images.judging_images == 24
    assert "one number per class" in found.reasons["accuracy"] and not found.widths
    assert found.values and found.sensitivities and found.memory
    bare = examine(model, quick=True)
    assert "no images" in bare.reasons["images"] and bare.layers and not bare.values


def test_labels_that_do_not_fit_are_a_reason(calibration, judging):
    images, labels = judging.data
    found = examine(colour_network(), calibration, ImageSource((images, labels + 1)), quick=True)
    assert "label 3" in found.reasons["accuracy"] and found.float_accuracy is None
    assert found.widths[0].agreement == 1.0 and found.widths[0].accuracy is None


def test_images_of_another_shape_are_refused(calibration):
    with pytest.raises(InputError, match="9, 9, 3"):
        examine(colour_network(), ImageSource(np.zeros((2, 9, 9, 3))))


def test_a_change_is_judged_by_the_answers_that_differ():
    first, second = np.zeros((2, 200), bool)
    first[:30], second[20:30] = True, True
    change = Change.between(first, second)
    assert change.value == pytest.approx(0.1) and change.chance == pytest.approx(2 * 0.5**20)
    assert 0 < change.low < change.value < change.high and change.beyond_chance()
    first[8:20] = False
    few = Change.between(first, second)
    assert few.chance == pytest.approx(2 * 0.5**8) and few.low > 0  # 0.8 % would do if it were the only comparison
    assert 0.05 / COMPARISONS < few.chance < 0.05 and not few.beyond_chance()
    same = Change.between(first, first)
    assert same.value == 0 and same.low == -same.high and 0 < same.high < 0.02
