"""Remedies against plain NumPy: the arithmetic they promise, and what they leave of the error of rounding down."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits import FixedPoint, InputError, quantize, quantize_model, zoo
from fewbits.backend import keras, ops
from fewbits.post_training import add_half_a_step, correct_bias, equalize, reconstruct_mid_step, round_kernels
from fewbits.quantization.layers import Formats

L = keras.layers
IMAGES = np.random.default_rng(1).uniform(0, 1, (6, 9, 9, 3)).astype("float32")


def network(bias=True, depth=3):
    """Return a float network of `depth` layers on positive images."""
    keras.utils.set_random_seed(0)
    small = {"bias_initializer": keras.initializers.RandomUniform(0, 0.2), "use_bias": bias}
    stack = [
        L.Conv2D(5, 3, activation="relu", name="conv", **small),
        L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu", name="depthwise", **small),
        L.Flatten(),
        L.Dense(4, name="dense", **small),
    ]
    x = images = L.Input(IMAGES.shape[1:])
    for layer in stack[:depth] if depth < 3 else stack:
        x = layer(x)
    return keras.Model(images, x)


KERNELS = Formats(FixedPoint(0, 6))


def per_channel(model, nbits=6):
    """Return formats with an MSB of its own for each filter, drawn at random."""
    rng, formats = np.random.default_rng(3), {}
    for layer in (layer for layer in model.layers if layer.weights):
        filters = layer.output.shape[-1]
        formats[layer.name] = Formats(tuple(FixedPoint(int(m), nbits) for m in rng.integers(-2, 1, filters)))
    return formats


def weights(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def outputs(model, images=IMAGES):
    return numbers(model(images))


def numbers(tensor):
    return ops.convert_to_numpy(tensor).copy()


def filters(layer):
    """Return the kernel as (weights, filters), in the order of the filters' outputs."""
    kernel = numbers(layer.kernel)
    if isinstance(layer, L.DepthwiseConv2D):
        return kernel.reshape(-1, kernel.shape[2] * kernel.shape[3])
    return kernel.reshape(-1, kernel.shape[-1])


def each_format(layer, formats):
    n = filters(layer).shape[1]
    fmt = formats[layer.name].kernel if isinstance(formats, dict) else formats.kernel
    return fmt if isinstance(fmt, tuple) else (fmt,) * n


def remedied(remedy, *arguments, formats=KERNELS, model=None, **options):
    """Return the quantized network and what `remedy` makes of it; the first must stay as it was."""
    before = quantize_model(model or network(), formats, **options)
    kept = weights(before)
    after = remedy(before, *arguments)
    for name, arrays in weights(before).items():
        assert all(np.array_equal(a, b) for a, b in zip(arrays, kept[name], strict=True))
    return before, after


# What each does, number by number


@pytest.mark.parametrize("formats", [KERNELS, "per channel"])
def test_kernels_are_rounded_to_nearest_and_stay_so(formats):
    formats = per_channel(network()) if formats == "per channel" else formats
    before, after = remedied(round_kernels, formats=formats)
    for layer in after.quantized_layers:
        old = filters(before.get_layer(layer.name))
        for i, fmt in enumerate(each_format(layer, formats)):
            nearest = np.clip(np.round(old[:, i] / fmt.step), fmt.min_code, fmt.max_code) * fmt.step
            assert np.array_equal(filters(layer)[:, i], nearest)
            assert np.array_equal(quantize(nearest, fmt, "floor"), nearest)
    assert after.formats == before.formats
    before.set_rounding("nearest")  # nothing but the kernels is in fixed point
    assert np.array_equal(outputs(after), outputs(before))


@pytest.mark.parametrize("formats", [KERNELS, "per channel"])
def test_mid_step_is_the_floored_kernel_and_half_a_step(formats):
    formats = per_channel(network()) if formats == "per channel" else formats
    before, after = remedied(reconstruct_mid_step, formats=formats)
    for layer in after.quantized_layers:
        old, new = filters(before.get_layer(layer.name)), filters(layer)
        for i, (fmt, finer) in enumerate(zip(each_format(layer, formats), each_format(layer, after.formats))):
            assert finer == FixedPoint(fmt.msb, fmt.nbits + 1)
            floored = np.clip(np.floor(old[:, i] / fmt.step), fmt.min_code, fmt.max_code) * fmt.step
            assert np.array_equal(new[:, i], floored + fmt.step / 2)
            assert np.array_equal(quantize(new[:, i], finer, "floor"), new[:, i])
            inside = np.abs(old[:, i]) < fmt.amplitude
            assert np.abs(new[inside, i] - old[inside, i]).max() <= fmt.step / 2


@given(st.integers(-8, 8), st.integers(1, 12))
def test_every_code_and_half_a_step_fits_one_bit_more(msb, nbits):
    fmt, finer = FixedPoint(msb, nbits), FixedPoint(msb, nbits + 1)
    middles = (np.arange(fmt.min_code, fmt.max_code + 1) + 0.5) * fmt.step
    assert np.array_equal(quantize(middles, finer, "floor"), middles)
    assert middles.min() == (finer.min_code + 1) * finer.step and middles.max() == finer.max_code * finer.step


def test_mid_step_is_one_more_sum_a_window():
    """What the hardware computes, on 4-bit codes: sum(w x) + (q / 2) sum(x), the last shared by all filters."""
    before, after = remedied(reconstruct_mid_step, model=network(bias=False, depth=1), formats=[FixedPoint(-1, 4)])
    kernel = quantize(numbers(before.get_layer("conv").kernel), FixedPoint(-1, 4), "floor").astype("float64")
    windows = np.lib.stride_tricks.sliding_window_view(IMAGES.astype("float64"), (3, 3), axis=(1, 2))
    floored = np.einsum("nyxcij,ijcf->nyxf", windows, kernel)
    plus = FixedPoint(-1, 4).step / 2 * windows.sum((3, 4, 5))[..., np.newaxis]
    assert np.allclose(outputs(after), np.maximum(floored + plus, 0), atol=1e-5)
    assert not np.allclose(outputs(before), outputs(after), atol=1e-2)


# Half a step in the accumulator: bit for bit

GRID = FixedPoint(0, 6)


def integers(model, formats=None, rounding="floor", **options):
    """Return a network that computes in integers: kernels and inputs that need no rounding, biases that do."""
    formats = formats or {
        "conv": Formats(GRID, FixedPoint(0, 5), FixedPoint(0, 5)),
        "depthwise": Formats(GRID, FixedPoint(0, 5), FixedPoint(0, 6)),
        "dense": Formats(GRID, FixedPoint(0, 6), FixedPoint(1, 6)),
    }
    quantized = quantize_model(model, formats, rounding=rounding, **options)
    return round_kernels(quantized)


IN_CODES = quantize(IMAGES, FixedPoint(0, 5), "nearest")


@pytest.mark.parametrize("bias", [True, False])
def test_floor_and_half_a_step_are_nearest_up_bit_for_bit(bias):
    model = network(bias)
    floor, nearest = integers(model), integers(model, rounding="nearest-up")
    remedy = add_half_a_step(floor)
    assert remedy.formats == floor.formats
    assert {layer.rounding for layer in remedy.quantized_layers} == {"floor"}
    assert np.array_equal(outputs(remedy, IN_CODES), outputs(nearest, IN_CODES))
    assert not np.array_equal(outputs(floor, IN_CODES), outputs(nearest, IN_CODES))


def test_half_a_step_holds_with_a_scale_for_each_filter():
    model = network()
    formats = {
        name: Formats(kernel=kernel.kernel, input=a, output=b)
        for (name, kernel), a, b in zip(
            per_channel(model, 5).items(),
            [FixedPoint(0, 5), FixedPoint(0, 5), FixedPoint(0, 6)],
            [FixedPoint(0, 5), FixedPoint(0, 6), FixedPoint(1, 6)],
        )
    }
    remedy = add_half_a_step(integers(model, formats))
    assert np.array_equal(outputs(remedy, IN_CODES), outputs(integers(model, formats, "nearest-up"), IN_CODES))


@pytest.mark.parametrize("finer", [0, 1, 2, 3])
def test_nothing_is_added_where_products_have_no_half_step(finer):
    """Products are multiples of 2**-9; outputs of 2**-8 to 2**-11."""
    model, output = network(depth=1), FixedPoint(2, 11 + finer)
    formats = {"conv": Formats(GRID, FixedPoint(0, 5), output)}
    floor, nearest = integers(model, formats), integers(model, formats, "nearest-up")
    remedy = add_half_a_step(floor)
    assert np.array_equal(outputs(remedy, IN_CODES), outputs(nearest, IN_CODES))
    assert np.array_equal(outputs(floor, IN_CODES), outputs(nearest, IN_CODES)) == (finer > 0)


def test_a_tied_bias_is_rounded_before_half_a_step_is_added():
    """On the products' grid of 1/4, 0.125 goes to 0; with half a step of 1/4 first, 0.375 would go to 0.5."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([L.Input((2,)), L.Dense(1, name="dense")])
    model.layers[0].set_weights([np.float32([[1], [1]]), np.float32([0.125])])
    formats = Formats(FixedPoint(1, 3), FixedPoint(1, 3), FixedPoint(2, 4))
    quantized = quantize_model(model, [FixedPoint(1, 3), FixedPoint(1, 3), FixedPoint(2, 4)])
    assert formats.kernel.step * formats.input.step == 0.25 and formats.output.step / 2 == 0.25
    assert numbers(add_half_a_step(quantized).get_layer("dense").bias) == 0.25


def test_a_bias_of_its_own_format_is_rounded_in_it_first():
    model = network(depth=1)
    own = Formats(GRID, FixedPoint(0, 5), FixedPoint(2, 6), FixedPoint(0, 6))
    floor = integers(model, {"conv": own})
    remedy = add_half_a_step(floor)
    rounded = quantize(numbers(floor.get_layer("conv").bias), own.bias, "floor")
    assert np.array_equal(numbers(remedy.get_layer("conv").bias), rounded + own.output.step / 2)
    narrow = own._replace(bias=FixedPoint(-1, 3))
    with pytest.raises(InputError, match="the bias format of conv does not hold half a step more; widen it"):
        add_half_a_step(integers(model, {"conv": narrow}))


def test_a_bias_may_have_half_steps_where_products_have_none():
    """Products are multiples of 1/4, as outputs are; the bias of 3/16 is none."""
    inputs = L.Input((2,))
    model = keras.Model(inputs, L.Dense(1, name="dense", kernel_initializer="ones")(inputs))
    model.get_layer("dense").bias.assign([3 / 16])
    formats = Formats(FixedPoint(1, 3), FixedPoint(0, 2), FixedPoint(1, 4), FixedPoint(0, 6))
    floor, nearest = (quantize_model(model, formats, rounding=r) for r in ("floor", "nearest-up"))
    images = np.float32([[0.5, 0], [-0.5, -0.5], [0, 0]])
    assert numbers(floor(images)).ravel().tolist() == [0.5, -1, 0]
    assert numbers(add_half_a_step(floor)(images)).ravel().tolist() == [0.75, -0.75, 0.25]
    assert np.array_equal(numbers(nearest(images)), numbers(add_half_a_step(floor)(images)))


def test_with_float_products_half_a_step_is_nearest_up_but_for_their_rounding():
    model, output = network(depth=1), FixedPoint(2, 6)
    floor = quantize_model(model, (None, None, output))
    nearest = quantize_model(model, (None, None, output), rounding="nearest-up")
    off = outputs(add_half_a_step(floor)) != outputs(nearest)
    assert off.mean() < 0.001 and (outputs(floor) != outputs(nearest)).mean() > 0.1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bias_order": "output"}, "conv adds its bias after the output quantizer; use bias_order='accumulator'"),
        ({"rounding": "nearest"}, "conv rounds by 'nearest'; half a step is for layers that round by 'floor'"),
    ],
)
def test_half_a_step_where_it_makes_no_sense_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        add_half_a_step(quantize_model(network(), (None, None, GRID), **options))


# What they leave of the error


def mean_errors(quantized, images=IMAGES):
    """Return the mean of what the network's output is off, and its root mean square."""
    off = outputs(quantized, images) - outputs(network(depth=1), images)
    return abs(off.mean()), np.sqrt(np.mean(off**2))


@pytest.mark.parametrize("remedy", [round_kernels, reconstruct_mid_step])
def test_a_remedy_for_kernels_leaves_less_of_the_mean_and_of_the_error(remedy):
    before, after = remedied(remedy, model=network(depth=1), formats=[FixedPoint(0, 5)])
    (mean, rms), (mean_after, rms_after) = mean_errors(before), mean_errors(after)
    assert mean > 0.05 and mean_after < mean / 3 and rms_after < rms / 3


def test_half_a_step_leaves_less_of_the_mean_and_of_the_error():
    before, after = remedied(add_half_a_step, model=network(depth=1), formats=(None, None, FixedPoint(1, 5)))
    (mean, rms), (mean_after, rms_after) = mean_errors(before), mean_errors(after)
    assert mean_after < mean / 3 and rms_after < rms / 1.5


def test_the_folded_mean_shift_is_the_error_of_the_kernel_on_the_mean_window():
    before, after = remedied(correct_bias, IMAGES, model=network(depth=1))
    kernel = numbers(before.get_layer("conv").kernel).astype("float64")
    error = quantize(kernel, GRID, "floor") - kernel
    windows = np.lib.stride_tricks.sliding_window_view(IMAGES.astype("float64"), (3, 3), axis=(1, 2))
    shift = np.einsum("cij,ijcf->f", windows.mean((0, 1, 2)), error)
    bias = numbers(before.get_layer("conv").bias)
    assert np.allclose(numbers(after.get_layer("conv").bias), bias - shift, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_the_control_takes_the_mean_of_every_filter_and_leaves_what_depends_on_the_image(bias):
    keras.utils.set_random_seed(0)
    images = L.Input((9, 9, 3))
    model = keras.Model(images, L.Conv2D(6, 3, name="conv", use_bias=bias)(images))
    uneven = IMAGES * np.linspace(0, 2, len(IMAGES), dtype="float32").reshape(-1, 1, 1, 1)  # dark to bright images
    before = quantize_model(model, [FixedPoint(0, 5)])
    folded, nearest = correct_bias(before, uneven), round_kernels(before)
    off, off_folded, off_nearest = (outputs(q, uneven) - outputs(model, uneven) for q in (before, folded, nearest))
    assert np.abs(off_folded.mean((0, 1, 2))).max() < 1e-5 < 0.1 < np.abs(off.mean((0, 1, 2))).min()
    by_image = off_folded.mean((1, 2, 3))
    assert by_image[0] > 0.1 and by_image[-1] < -0.1  # the dark one is lifted too far, the bright one too little
    assert np.std(off_folded) > 2 * np.std(off_nearest)


def test_folding_where_nothing_is_rounded_changes_nothing():
    before, after = remedied(correct_bias, IMAGES, formats=(None, GRID, GRID))
    assert all(np.array_equal(a, b) for n in weights(before) for a, b in zip(weights(before)[n], weights(after)[n]))


# Copies


@pytest.mark.parametrize(
    "remedy", [round_kernels, reconstruct_mid_step, add_half_a_step, lambda network: correct_bias(network, IMAGES)]
)
def test_a_remedy_keeps_switches_and_leaves_layers_that_are_not_enabled(remedy):
    quantized = quantize_model(network(), (GRID, None, GRID))
    quantized.set_level(1)
    quantized.get_layer("depthwise").locked = True
    after = remedy(quantized)
    assert [layer.enabled for layer in after.quantized_layers] == [True, False, False]
    assert [layer.locked for layer in after.quantized_layers] == [False, True, False]
    assert [layer.level for layer in after.quantized_layers] == [1, 2, 3]
    for name in ("depthwise", "dense"):
        for old, new in zip(quantized.get_layer(name).weights, after.get_layer(name).weights):
            assert np.array_equal(old, new)
    assert not np.array_equal(outputs(quantized), outputs(after))


@pytest.mark.parametrize("remedy", [round_kernels, reconstruct_mid_step, add_half_a_step])
def test_a_float_network_has_no_formats_to_keep_to(remedy):
    with pytest.raises(InputError, match="has no formats to keep to; use quantize_model first"):
        remedy(network())


def test_a_kernel_of_24_bits_has_no_bit_left():
    with pytest.raises(InputError, match="the kernel of conv has 24 bits; take 23"):
        reconstruct_mid_step(quantize_model(network(), [FixedPoint(0, 24)]))


# Equalization


def unbalanced(build):
    """Return the functional model whose output `build` makes of (images), with kernels of very different channels."""
    keras.utils.set_random_seed(0)
    inputs = L.Input((9, 9, 3))
    model = keras.Model(inputs, build(inputs))
    rng = np.random.default_rng(2)
    for layer in model.layers:
        if layer.weights:
            scaled = [w * 2.0 ** rng.uniform(-6, 6, w.shape[-1]) for w in layer.get_weights()]
            layer.set_weights(scaled)
    return model


def conv(filters, name, kernel=3, **options):
    return L.Conv2D(filters, kernel, name=name, **{"activation": "relu", **options})


def chain(x):
    x = conv(4, "a", bias_initializer="ones")(x)
    x = L.MaxPooling2D(2)(L.ZeroPadding2D(1)(x))
    x = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="b")(x)
    x = L.ReLU()(x)
    x = conv(5, "c", use_bias=False, activation=None)(x)
    x = L.Dropout(0.5)(L.Activation("relu")(x))
    return L.Dense(3, name="d")(L.Flatten()(L.AveragePooling2D(2, padding="same")(x)))


def fire(x):
    x = conv(4, "squeeze", 1)(x)
    x = L.Concatenate()([conv(3, "left", 1)(x), conv(5, "right", padding="same")(x)])
    x = L.Concatenate()([conv(2, "other", 1)(x), x])  # nested, and read twice
    return L.GlobalAveragePooling2D()(conv(4, "last", 1)(x))


def ends(model):
    return {layer.name: numbers(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")}


@pytest.mark.parametrize("build", [chain, fire])
def test_equalized_outputs_are_the_same_bits(build):
    model = unbalanced(build)
    equal = equalize(model)
    assert np.array_equal(outputs(equal), outputs(model)) and np.ptp(outputs(model)) > 0
    for name, kernel in ends(model).items():
        factors = ends(equal)[name][kernel != 0] / kernel[kernel != 0]
        assert np.array_equal(np.log2(factors), np.round(np.log2(factors)))  # powers of two
        assert len(set(factors)) > 1


def ranges(kernel, axis):
    return np.abs(kernel).max(tuple(i for i in range(kernel.ndim) if i != axis % kernel.ndim))


def assert_even(writer, *readers):
    """Writer and readers must need equal ranges in each channel, but for the rounding of s to a power of two."""
    ratio = writer / np.max(readers, axis=0)
    assert np.abs(np.log2(ratio)).max() <= 1 + 1e-6


def test_the_ranges_of_a_chain_become_equal():
    k = ends(equalize(unbalanced(chain)))
    depthwise = k["b"].reshape(9, 8)
    assert_even(ranges(k["a"], -1), ranges(k["b"], 2))
    assert_even(ranges(depthwise, -1), ranges(k["c"], 2))
    assert_even(ranges(k["c"], -1), ranges(k["d"].reshape(-1, 5, 3), 1))


def test_readers_side_by_side_share_the_scale_and_a_concatenation_its_slices():
    k = ends(equalize(unbalanced(fire)))
    assert_even(ranges(k["squeeze"], -1), ranges(k["left"], 2), ranges(k["right"], 2))
    # the concatenation of 3 + 5 channels is read by `other` and, behind the two of that, by `last`
    assert_even(ranges(k["left"], -1), ranges(k["other"], 2)[:3], ranges(k["last"], 2)[2:5])
    assert_even(ranges(k["right"], -1), ranges(k["other"], 2)[3:], ranges(k["last"], 2)[5:])
    assert_even(ranges(k["other"], -1), ranges(k["last"], 2)[:2])


def sigmoid_between(x):
    return conv(2, "b")(conv(4, "a", activation="sigmoid")(x))


def capped_relu_between(x):
    return conv(2, "b")(L.ReLU(max_value=1)(conv(4, "a", activation=None)(x)))


def addition_behind(x):
    a = conv(3, "a", 1)(x)
    return conv(2, "b")(L.Add()([a, x]))


def one_of_two_readers_is_an_addition(x):
    a = conv(3, "a", 1)(x)
    return L.Add()([conv(3, "b", 1)(a), a])


def normalization_between(x):
    return conv(2, "b")(L.BatchNormalization()(conv(4, "a")(x)))


def joined_along_rows(x):
    a = conv(3, "a", 1)(x)
    return conv(2, "b")(L.Concatenate(axis=1)([a, x]))


def flattened_and_joined(x):
    return L.Dense(2, name="b")(L.Concatenate()([L.Flatten()(conv(2, "a")(x)), L.Flatten()(x)]))


def given_to_the_user(x):
    return conv(2, "a")(x)


@pytest.mark.parametrize(
    "build",
    [
        sigmoid_between,
        capped_relu_between,
        addition_behind,
        one_of_two_readers_is_an_addition,
        normalization_between,
        joined_along_rows,
        flattened_and_joined,
        given_to_the_user,
    ],
)
def test_what_cannot_be_scaled_stays_as_it_is(build):
    model = unbalanced(build)
    equal = equalize(model)
    assert all(np.array_equal(kernel, ends(equal)[name]) for name, kernel in ends(model).items())
    assert np.array_equal(outputs(equal), outputs(model))


def test_a_tensor_that_the_user_sees_too_is_not_scaled():
    keras.utils.set_random_seed(0)
    inputs = L.Input((9, 9, 3))
    seen = conv(4, "a")(inputs)
    model = keras.Model(inputs, [seen, conv(2, "b")(seen)])
    model.get_layer("a").kernel.assign(numbers(model.get_layer("a").kernel) * 100)
    assert all(np.array_equal(kernel, ends(equalize(model))[name]) for name, kernel in ends(model).items())


def test_channels_first_are_refused():
    with pytest.raises(InputError, match="pooled has its channels first; build it with data_format='channels_last'"):
        equalize(unbalanced(lambda x: conv(2, "b")(L.MaxPooling2D(2, data_format="channels_first", name="pooled")(x))))


def test_channels_of_zeros_stay_so():
    model = unbalanced(lambda x: conv(2, "b")(conv(4, "a")(x)))
    a, b = (numbers(model.get_layer(n).kernel) for n in "ab")
    a[..., 0], b[:, :, 1] = 0, 0
    model.get_layer("a").kernel.assign(a)
    model.get_layer("b").kernel.assign(b)
    equal = ends(equalize(model))
    assert np.array_equal(equal["b"][:, :, 0], b[:, :, 0]) and np.array_equal(equal["a"][..., 1], a[..., 1])
    assert not np.array_equal(equal["a"][..., 2:], a[..., 2:])


def test_the_model_itself_is_untouched_and_may_be_quantized_already():
    model = unbalanced(chain)
    kept = ends(model)
    equal = ends(equalize(model))
    assert all(np.array_equal(ends(model)[name], kernel) for name, kernel in kept.items())
    again = ends(equalize(quantize_model(model, KERNELS)))
    assert all(np.array_equal(again[name], kernel) for name, kernel in equal.items())


def test_an_equalized_network_loses_less_to_one_format_a_layer():
    keras.utils.set_random_seed(0)
    inputs = L.Input((9, 9, 3))
    model = keras.Model(inputs, conv(4, "b", activation=None)(conv(6, "a")(inputs)))
    a, b = model.get_layer("a").kernel, model.get_layer("b").kernel
    uneven = 2.0 ** np.arange(6)
    a.assign(numbers(a) * uneven)
    b.assign(numbers(b) / uneven[:, np.newaxis])

    def loss(network):
        largest = {name: int(np.ceil(np.log2(np.abs(kernel).max()))) for name, kernel in ends(network).items()}
        formats = {name: Formats(FixedPoint(msb, 6)) for name, msb in largest.items()}
        quantized = quantize_model(network, formats, rounding="nearest")
        return np.sqrt(np.mean((outputs(quantized) - outputs(model)) ** 2))

    assert loss(equalize(model)) < loss(model) / 2


def test_it_takes_the_fire_modules_of_squeezenet():
    model = zoo.build("squeezenet_digits", (8, 8, 1), 10)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            layer.kernel.assign(numbers(layer.kernel) * 2.0 ** rng.uniform(-5, 5, layer.kernel.shape[-1]))
    images = rng.uniform(0, 1, (3, 8, 8, 1)).astype("float32")
    equal = equalize(model)
    assert np.array_equal(outputs(equal, images), outputs(model, images))
    unchanged = [n for n, kernel in ends(model).items() if np.array_equal(kernel, ends(equal)[n])]
    assert unchanged == []
