"""Blocks, learned rounding and block reconstruction: against graphs by hand, finite differences and brute force."""

from itertools import product

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, data, quantize, quantize_model, zoo
from fewbits.backend import gradients, keras, ops
from fewbits.post_training import (
    block_in_training,
    learn_rounding,
    quantize_without_labels,
    reconstruct_blocks,
    round_kernels,
)
from fewbits.post_training.blocks import find_blocks
from fewbits.post_training.learned_rounding import UpOrDown, indecision, rectified_sigmoid
from fewbits.quantization.calibration import formats_for
from fewbits.quantization.conversion import dequantize_model
from fewbits.quantization.layers import Formats, by_filter, kernel_formats

L = keras.layers
F3 = FixedPoint(0, 3)


def photos(seed, n=24, side=8, channels=3):
    """Return smooth positive images, whose neighbouring pixels go together as those of photographs do."""
    rough = np.random.default_rng(seed).uniform(0, 1, (n, side // 2, side // 2, channels)) ** 2
    return rough.repeat(2, 1).repeat(2, 2).astype("float32") + 0.1


def network(build, formats=None, seed=0, shape=(8, 8, 3)):
    keras.utils.set_random_seed(seed)
    images = L.Input(shape)
    formats = formats or Formats(F3, FixedPoint(1, 6), FixedPoint(1, 6))
    return quantize_model(keras.Model(images, build(images)), formats, rounding="nearest")


def conv(name, filters=4, size=3, activation="relu", **options):
    options = {"padding": "same", "kernel_initializer": "he_normal"} | options
    return L.Conv2D(filters, size, activation=activation, name=name, **options)


def chain(x):
    x = L.MaxPooling2D()(conv("a")(x))
    x = L.Flatten()(L.ReLU()(L.DepthwiseConv2D(3, name="depthwise")(x)))
    return L.Softmax()(L.Dense(4, name="dense")(x))


def residual(x):
    x = conv("stem")(x)
    for unit in "ab":
        y = conv(f"{unit}2", activation=None)(conv(f"{unit}1")(x))
        x = L.ReLU()(L.Add()([x, y]))
    return L.Dense(3, name="last")(L.GlobalAveragePooling2D()(x))


def fires(x):
    x = conv("first")(x)
    for number in "23":
        x = conv(f"squeeze{number}", 2, 1)(x)
        x = L.Concatenate()([conv(f"left{number}", 4, 1)(x), conv(f"right{number}")(x)])
    return L.GlobalAveragePooling2D()(conv("last", 3, 1)(x))


def u_net(x):
    skipped = [conv("down0")(x)]
    for depth in range(1, 10):
        skipped.append(conv(f"down{depth}")(skipped[-1]))
    x = skipped.pop()
    while skipped:
        x = conv(f"up{len(skipped)}")(L.Concatenate()([x, skipped.pop()]))
    return conv("mask", 1, 1, None)(x)


def numbers(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def names(blocks):
    return [[layer.name for layer in block.layers] for block in blocks]


# Blocks


@pytest.mark.parametrize(
    ("build", "expected", "last"),
    [
        (chain, [["a"], ["depthwise", "dense"]], "dense"),
        (residual, [["stem", "a1", "a2"], ["b1", "b2"], ["last"]], "last"),
        (fires, [["first"], ["squeeze2", "left2", "right2"], ["squeeze3", "left3", "right3"], ["last"]], None),
        (u_net, [[f"down{i}"] for i in range(10)] + [[f"up{i}"] for i in range(9, 0, -1)] + [["mask"]], "mask"),
    ],
)
def test_a_block_lies_between_tensors_that_everything_passes(build, expected, last):
    model = network(build)
    blocks = find_blocks(model)
    assert names(blocks) == expected
    if last:
        assert blocks[-1].calls[-1].name == last  # a softmax belongs to none
    assert names(find_blocks(model, layer_by_layer=True)) == [[layer.name] for layer in model.quantized_layers]


@pytest.mark.parametrize("build", [chain, residual, fires])
def test_blocks_run_one_after_the_other_compute_the_network(build):
    model, images = network(build), photos(0, 5)
    value = images
    for block in find_blocks(model):
        assert len(block.inputs) == len(block.outputs) == 1
        [value] = block.run([value])
    assert np.allclose(value, keras.Model(model.inputs, block.outputs)(images), atol=1e-6)


def test_a_block_computes_an_inner_tensor_alone():
    model, images = network(fires), photos(0, 5)
    [_, block, *_] = find_blocks(model)
    start = keras.Model(model.inputs, block.inputs)(images)
    inner = model.get_layer("right2").input
    [found] = block.run([start], [inner])
    assert np.allclose(found, keras.Model(model.inputs, inner)(images), atol=1e-6)
    [same] = block.run([start], block.inputs)
    assert same is start


# The sigmoid and the price, by finite differences


def differences(function, x, delta=1e-3):
    def one(i):
        step = delta * np.eye(len(x))[i]
        return (
            (float(function((x + step).astype("float32"))) - float(function((x - step).astype("float32")))) / delta / 2
        )

    return np.array([one(i) for i in range(len(x))])


GATES = np.array([-4, -2.5, -2.3, -1, 0, 0.3, 2.3, 2.5, 4], "float32")  # the ends are reached at +-2.398


def test_gradients_are_those_of_finite_differences():
    weights = np.arange(1, 10, dtype="float32")
    for function in (
        lambda v: ops.sum(weights * rectified_sigmoid(v)),
        lambda v: 9 * indecision(rectified_sigmoid(v)),
    ):
        found = numbers(gradients(lambda given: function(given["v"]), {"v": ops.convert_to_tensor(GATES)})["v"])
        assert np.allclose(found, differences(function, GATES), atol=5e-3)


def test_the_sigmoid_reaches_both_codes_and_starts_where_the_weight_lies():
    shares = numbers(rectified_sigmoid(GATES))
    assert np.array_equal(shares[[0, 1]], [0, 0]) and np.array_equal(shares[[-2, -1]], [1, 1])
    assert np.allclose(shares[2:-2], 1.2 / (1 + np.exp(-GATES[2:-2].astype("float64"))) - 0.1, atol=1e-6)
    model = network(lambda x: conv("a")(x))
    layer = model.get_layer("a")
    kernel = np.random.default_rng(0).uniform(-1.5, 1.5, layer.kernel.shape)  # also beyond the codes, -4 to 3
    soft = UpOrDown(layer, kernel)
    inside = np.clip(kernel, -1, 0.75)
    assert np.allclose(numbers(soft.codes(soft.start.astype("float32"))) * 0.25, inside, atol=0.25 * 2e-3)
    assert np.array_equal(soft.rounded(soft.start) * 0.25, quantize(inside + 1e-9, F3, "nearest"))


def test_the_price_is_least_at_the_codes_and_rises():
    assert float(indecision(np.array([0, 1, 1], "float32"))) == 0
    assert float(indecision(np.array([0.5, 0.5], "float32"))) == 1
    assert float(indecision(np.array([0.2], "float32"))) == pytest.approx(1 - 0.36)
    soft = UpOrDown(network(lambda x: conv("a")(x)).get_layer("a"), np.full((3, 3, 3, 4), 0.125))  # all half way
    assert [float(soft.price(soft.start.astype("float32"), part)) for part in (0.0, 0.5, 1.0)] == [0, 15, 30]


# What is found


def error(found, wanted):
    return float(np.square(numbers(found) - numbers(wanted)).mean())


def assert_on_grid(model):
    for layer in model.quantized_layers:
        for column, fmt in zip(by_filter(layer, layer.kernel).T, kernel_formats(layer), strict=True):
            for rounding in ("floor", "nearest"):
                assert np.array_equal(quantize(column, fmt, rounding), column), layer.name


@pytest.mark.parametrize(("seed", "part"), [*((seed, 0.04) for seed in range(5)), (5, 0.08)])  # 5: a local minimum
def test_learned_rounding_is_among_the_best_of_all_ways_up_and_down(seed, part):
    images = photos(seed, 40, channels=2)
    before = network(lambda x: L.Conv2D(1, 2, use_bias=False, name="a")(x), Formats(F3), seed, (8, 8, 2))
    wanted = numbers(dequantize_model(before)(images))
    below = np.floor(numbers(before.get_layer("a").kernel) / F3.step) * F3.step
    ups = np.array(list(product((0, F3.step), repeat=below.size)), "float32").T.reshape(*below.shape[:3], -1)
    every = np.minimum(below + ups, F3.max_value).astype("float32")  # a filter for each way
    off = numbers(ops.conv(images, every)) - wanted
    errors = off.var((0, 1, 2))  # the bias is learned, too
    learned = learn_rounding(before, images, 300, seed)
    assert_on_grid(learned)
    found, nearest = error(learned(images), wanted), error(round_kernels(before)(images), wanted)
    assert found <= nearest * (1 + 1e-5)  # sums in another order
    assert found < np.quantile(errors, part)


@pytest.mark.parametrize(
    ("remedy", "build"),
    [
        (learn_rounding, residual),
        (reconstruct_blocks, chain),
        (reconstruct_blocks, residual),
        (reconstruct_blocks, fires),
    ],
)
def test_outputs_come_nearer_to_float_with_kernels_on_the_grid_in_the_same_formats(remedy, build):
    images = photos(1, 32)
    before = network(build)
    kept = before.get_weights()
    wanted = dequantize_model(before)(images)
    after = remedy(before, images, 30)
    assert all(map(np.array_equal, before.get_weights(), kept))
    assert after.formats == before.formats and after.quantized_layers[0].rounding == "nearest"
    assert_on_grid(after)
    assert error(after(images), wanted) < 0.9 * error(before(images), wanted)


@pytest.mark.parametrize("harm", [100.0, np.nan])
@pytest.mark.parametrize("remedy", [learn_rounding, reconstruct_blocks])
def test_no_layer_is_left_worse_than_with_its_kernel_rounded_to_nearest(remedy, harm, monkeypatch):
    monkeypatch.setattr(block_in_training, "BIAS_RATE", harm)  # training that only does harm
    monkeypatch.setattr(UpOrDown, "rate", 100.0)
    images, before = photos(2), network(lambda x: conv("a")(x))
    wanted = dequantize_model(before)(images)
    after = remedy(before, images, 3)
    assert error(after(images), wanted) <= error(before(images), wanted)
    if remedy is learn_rounding:
        assert np.array_equal(after.get_layer("a").kernel, round_kernels(before).get_layer("a").kernel)


@pytest.mark.parametrize("remedy", [learn_rounding, reconstruct_blocks])
def test_a_seed_repeats_and_each_block_is_told(remedy):
    images, before, told = photos(3), network(lambda x: L.Flatten()(conv("a")(x))), []
    first, again = (remedy(before, images, 20, 1, lambda *now: told.append(now)).get_weights() for _ in range(2))
    assert all(map(np.array_equal, first, again))
    assert told == [(1, 1)] * 2


def test_layers_in_float_and_layers_that_are_off_stay_and_a_head_may_follow():
    images = photos(0)
    formats = {name: Formats(None, F3) if name == "a" else Formats(F3) for name in ("a", "depthwise", "dense")}
    before = network(chain, formats)
    before.get_layer("depthwise").enabled = False
    after = reconstruct_blocks(before, images, 3)
    for name in ("a", "depthwise"):
        assert np.array_equal(after.get_layer(name).kernel, before.get_layer(name).kernel)
    assert not np.array_equal(after.get_layer("dense").kernel, before.get_layer("dense").kernel)


def test_filters_with_formats_of_their_own_and_transposed_and_sequence_layers():
    def build(x):
        x = L.Conv2DTranspose(3, 2, strides=2, activation="relu", name="up")(x)
        return L.DepthwiseConv1D(3, name="own")(L.Reshape((16, 48))(x))

    formats = {"up": Formats((F3, FixedPoint(-1, 3), FixedPoint(-2, 3))), "own": Formats(F3)}
    before, images = network(build, formats), photos(0)
    wanted = dequantize_model(before)(images)
    for remedy in (learn_rounding, reconstruct_blocks):
        after = remedy(before, images, 20)
        assert_on_grid(after)
        assert error(after(images), wanted) < error(before(images), wanted)


def test_layers_that_round_down_keep_what_was_learned_for_them():
    before, images = network(fires), photos(0)
    before.set_rounding("floor")
    wanted = dequantize_model(before)(images)
    after = reconstruct_blocks(before, images, 20)
    assert after.get_layer("last").rounding == "floor"
    assert_on_grid(after)
    assert error(after(images), wanted) < 0.5 * error(before(images), wanted)


def test_negative_steps_and_no_images_are_refused():
    before = network(chain)
    with pytest.raises(InputError, match="steps must be"):
        reconstruct_blocks(before, photos(0), -1)
    with pytest.raises(InputError, match="at least one image"):
        learn_rounding(before, photos(0)[:0])


def test_one_call_reads_digits_of_three_bits_again():
    digits = data.load("digits")
    model = zoo.build("squeezenet_digits", (8, 8, 1), 10, weights="squeezenet_digits")
    images, told = digits.scaled(digits.train)[:64], []
    judging = digits.scaled(digits.test)
    plain = quantize_model(model, formats_for(model, images, 3, "mse", per_channel=True), rounding="nearest")
    found = quantize_without_labels(model, images, 3, 20, progress=lambda *now: told.append(now))
    right = [np.mean(numbers(m(judging)).argmax(1) == digits.test.labels) for m in (plain, found)]
    assert right[1] > right[0] + 0.02
    assert_on_grid(found)
    assert all(f.nbits == 3 for layer in found.formats.values() for f in (layer.input, layer.output))
    assert [now for now in told if now[0] == "reconstruction"] == [("reconstruction", i + 1, 5) for i in range(5)]
    assert told[0] == ("search", 1, told[0][2])


def test_one_call_folds_batch_normalization():
    def build(x):
        x = L.BatchNormalization(gamma_initializer="ones", beta_initializer="ones", name="norm")(
            conv("a", 4, 3, None)(x)
        )
        return L.Dense(3, name="last")(L.Flatten()(L.ReLU()(x)))

    keras.utils.set_random_seed(0)
    x = L.Input((8, 8, 3))
    model, images = keras.Model(x, build(x)), photos(0)
    found = quantize_without_labels(model, images, (6, 8, 8), 0, search=False)
    assert "norm" not in [layer.name for layer in found.layers]
    assert error(found(images), model(images)) < 1e-2 * np.var(numbers(model(images)))
