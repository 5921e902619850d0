"""Filter surgery: what is left computes as before, is really smaller, and what cannot be removed is refused."""

from functools import cache

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fewbits import FixedPoint, InputError, quantize_model, zoo
from fewbits.backend import keras, ops
from fewbits.costs.complexity import totals
from fewbits.pruning import importance, kept_whole, least_important, removable, remove_filters
from fewbits.quantization import canonical
from helpers.zeroed import drawn, zeroed

L = keras.layers
SIDES = {"alexnet": 67, "squeezenet_v1_0": 64, "squeezenet_v1_1": 64, "inception_v3": 75}


@cache
def network(name, **options):
    """Return a network of the zoo with weights at random, statistics of batch normalization too."""
    side = SIDES.get(name, 32)
    return randomized(zoo.build(name, (side, side, 3), 5, **options))


def randomized(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed" not in variable.name:
            spread = np.prod(variable.shape[:-1]) ** -0.5 if len(variable.shape) > 1 else 0.3
            array = rng.normal(0, spread, variable.shape)
            variable.assign(np.abs(1 + array) if variable.name in ("gamma", "moving_variance") else array)
    return model


def silenced(model, gone):
    """Return a copy of `model` in which the weights of these filters, and what hands their channels on, are 0.

    It knows the networks of the zoo by their names: NAME_bn follows NAME, and a depthwise convolution the block before.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for name, filters in gone.items():
        followers = [name, f"{name}_bn"]
        if name == "conv0" or name.endswith("_pointwise"):
            block = f"block{int(name.split('_')[0].removeprefix('block').removeprefix('conv')) + 1}_depthwise"
            followers += [block, f"{block}_bn"]
        for layer in copy.layers:
            if layer.name in followers:
                for variable in (v for v in layer.weights if v.name != "moving_variance"):
                    array = ops.convert_to_numpy(variable).copy()
                    depthwise = isinstance(layer, L.DepthwiseConv2D) and array.ndim == 4
                    array[(..., filters, slice(None)) if depthwise else (..., filters)] = 0
                    variable.assign(array)
    return copy


def assert_alike(model, other, inputs):
    for ours, theirs in zip(*(keras.tree.flatten(m(inputs)) for m in (model, other)), strict=True):
        theirs = ops.convert_to_numpy(theirs)
        assert np.ptp(theirs) > 0
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def images(model, n=2):
    return np.random.default_rng(1).random((n, *model.input_shape[1:]), np.float32)


@pytest.mark.parametrize("name", zoo.NAMES)
@settings(max_examples=2, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.1, 0.5, 0.95]))
def test_what_is_left_computes_as_if_the_filters_made_zeros(name, seed, share):
    model = network(name)
    gone = drawn(model, share, seed)
    smaller = remove_filters(model, gone)
    assert_alike(smaller, silenced(model, gone), images(model))
    before, after = totals(model), totals(smaller)
    assert after.parameters < before.parameters and after.macs < before.macs


def branches():
    """A graph of two inputs and two outputs, with all that hands channels on."""
    one, two = L.Input((12, 12, 3), name="one"), L.Input((12, 12, 2), name="two")
    a = L.Conv2D(6, 3, padding="same", activation="relu", name="a")(one)
    b = L.Conv2D(6, 3, padding="same", name="b")(two)
    c = L.SeparableConv2D(5, 3, padding="same", depth_multiplier=2, activation="tanh", name="c")(b)
    x = L.Concatenate(name="joined")([L.Add(name="sum")([a, b]), c])
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="d")(L.LeakyReLU(name="leaky")(x))
    e = L.SeparableConv2D(4, 3, depth_multiplier=3, name="e")(L.AveragePooling2D(2, name="mean")(x))
    f = L.Dense(7, activation="relu", name="f")(L.Flatten(name="flat")(L.Dropout(0.5, name="drop")(e)))
    g = L.Conv2D(8, 1, name="g")(L.UpSampling2D(2, name="larger")(L.ZeroPadding2D(1, name="pad")(e)))
    outputs = {"classes": L.Dense(3, name="classes")(f), "map": L.Conv2D(2, 1, name="map")(g)}
    return randomized(keras.Model({"one": one, "two": two}, outputs, name="branches"))


def test_a_graph_of_many_inputs_and_outputs_becomes_smaller_alike():
    model = branches()
    gone = {"a": [0, 5], "b": [5, 0], "c": [1, 2], "e": [3], "f": [0, 1, 6], "g": [7, 2]}
    smaller, silent = remove_filters(model, gone), keras.models.clone_model(model)
    silent.set_weights(model.get_weights())
    for name, filters in gone.items():
        for variable in silent.get_layer(name).weights:
            if variable.name != "depthwise_kernel":
                array = ops.convert_to_numpy(variable).copy()
                array[..., filters] = 0
                variable.assign(array)
    behind = [0, 5, 7, 8]  # a and b with 0 and 5, and behind their 6 channels c with 1 and 2
    array = ops.convert_to_numpy(silent.get_layer("d").bias).copy()
    array[[2 * i + j for i in behind for j in (0, 1)]] = 0
    silent.get_layer("d").bias.assign(array)
    rng = np.random.default_rng(0)
    inputs = {name: rng.random((2, 12, 12, n), np.float32) for name, n in (("one", 3), ("two", 2))}
    for name, ours in smaller(inputs).items():
        np.testing.assert_allclose(ours, silent(inputs)[name], rtol=0, atol=1e-5)
    assert {layer.name: layer.kernel.shape[-1] for layer in smaller.layers if hasattr(layer, "kernel")} == {
        **{"a": 4, "b": 4, "c": 3, "e": 3, "f": 4, "g": 6, "classes": 3, "map": 2},
        **{"c_depthwise": 2, "d": 2, "e_depthwise": 3},  # channels per channel
    }


def test_filters_whose_channels_are_added_go_together():
    groups = removable(branches())
    assert [set(group) for group in groups if len(group) > 1] == [{("a", i), ("b", i)} for i in range(6)]
    assert {name for group in groups for name, _ in group} == set("abcefg")


@pytest.mark.parametrize(("name", "filters"), [("squeezenet_v1_1", 2944), ("squeezenet_v1_0", 2976)])
def test_squeezenet_has_the_filters_that_backstrom2018_counts(name, filters):
    assert len(removable(network(name))) == filters


def quantized(**options):
    """A quantized network with 8-bit formats, an MSB a filter."""
    model = network("squeezenet_digits")
    formats = {
        layer.name: ([FixedPoint(i % 3 - 1, 8) for i in range(layer.filters)], FixedPoint(1, 8), FixedPoint(2, 8))
        for layer in model.layers
        if isinstance(layer, L.Conv2D)
    }
    return quantize_model(model, formats, rounding="nearest", **options)


def test_a_quantized_network_keeps_its_formats_and_computes_to_the_same_bits():
    model = quantized(levels=None)
    model.set_level(4)
    model.get_layer("fire2_squeeze1x1").locked = True
    gone = drawn(model, 0.5, seed=3)
    smaller = remove_filters(model, gone)
    assert type(smaller) is type(model)
    np.testing.assert_array_equal(smaller(images(model)), silenced_quantized(model, gone)(images(model)))
    for layer in smaller.quantized_layers:
        old = model.get_layer(layer.name)
        kept = [i for i in range(old.filters) if i not in gone.get(layer.name, [])]
        assert layer.formats.kernel == tuple(old.formats.kernel[i] for i in kept)
        assert layer.formats[1:] == old.formats[1:]
        assert (layer.enabled, layer.locked, layer.rounding, layer.level) == (
            *(old.enabled, old.locked, old.rounding, old.level),
        )


def silenced_quantized(model, gone):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for name, filters in gone.items():
        for variable in (copy.get_layer(name).kernel, copy.get_layer(name).bias):
            array = ops.convert_to_numpy(variable).copy()
            array[..., filters] = 0
            variable.assign(array)
    return copy


def test_a_locked_layer_stays_as_it_is_in_training():
    model = quantize_model(over(L.ReLU(name="relu")), (FixedPoint(0, 8),) * 3)
    model.get_layer("a").locked = True
    smaller = remove_filters(model, {"a": [0, 3]})
    before = smaller.get_weights()
    smaller.compile("adam", "mse")
    smaller.fit(images(model, 4), np.ones((4, 8, 8, 2)), verbose=0)
    same = [np.array_equal(old, new) for old, new in zip(before, smaller.get_weights(), strict=True)]
    assert all(same[:2]) and not any(same[-4:-2])


def test_the_file_is_smaller_and_reads_as_the_same_network(tmp_path):
    model = network("squeezenet_digits")
    smaller = remove_filters(model, drawn(model, 0.7, seed=1))
    sizes = []
    for i, each in enumerate((model, smaller)):
        each.save(tmp_path / f"{i}.keras")
        sizes.append((tmp_path / f"{i}.keras").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    read = keras.models.load_model(tmp_path / "1.keras")
    np.testing.assert_array_equal(read(images(model)), smaller(images(model)))


def test_a_sequential_model_becomes_smaller_too():
    model = randomized(keras.Sequential([L.Input((8, 8, 1)), L.Conv2D(4, 3, name="a"), L.Flatten(), L.Dense(2)]))
    smaller = remove_filters(model, {"a": [1]})
    assert_alike(smaller, silenced(model, {"a": [1]}), images(model))


def test_the_model_stays_as_it_is_and_nothing_to_remove_is_a_copy():
    model = network("lenet")
    before, outputs = model.get_weights(), model(images(model))
    remove_filters(model, {"conv1": [0, 1], "dense3": [5]})
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    np.testing.assert_array_equal(remove_filters(model, {})(images(model)), outputs)


def stack(*build, shape=(8, 8, 3)):
    """Return a network of layers, or functions of a tensor, one after the other; filters of "a" shall be removed."""
    x = image = L.Input(shape)
    for part in build:
        x = part(x)
    return randomized(keras.Model(image, x, name="stack"))


def shared_relu():
    image, relu = L.Input((8, 8, 3)), L.ReLU(name="relu")
    x = relu(L.BatchNormalization(name="a_bn")(L.Conv2D(4, 3, padding="same", name="a")(image)))
    y = relu(L.Add(name="sum")([x, L.Conv2D(4, 1, name="b")(x)]))
    return randomized(keras.Model(image, L.Dense(3, name="out")(L.GlobalAveragePooling2D(name="mean")(y))))


CHANNELS_PASS = {  # all that hands channels on, with the filters to remove
    "a ReLU that is used twice": (shared_relu, {"a": [1], "b": [1]}),
    "operations": (
        lambda: stack(
            lambda x: ops.relu(L.Conv2D(4, 3, name="a")(x) + L.Conv2D(4, 3, name="b")(x)) * 0.5,
            lambda x: ops.minimum(ops.concatenate([x, ops.tanh(x)], axis=-1), 6),
            lambda x: ops.mean(x, axis=(1, 2)),
            L.Dense(3, name="out"),
        ),
        {"a": [0, 2], "b": [0, 2]},
    ),
    "Conv1D": (
        lambda: stack(
            L.Conv1D(5, 3, name="a", activation="relu"),
            L.DepthwiseConv1D(3, use_bias=False, name="depth"),
            L.AveragePooling1D(2),
            L.SeparableConv1D(4, 3, name="b"),
            L.ZeroPadding1D(1),
            L.GlobalMaxPooling1D(),
            L.Dense(3, name="out"),
            shape=(20, 2),
        ),
        {"a": [4, 1], "b": [0]},
    ),
    "transposed convolutions": (
        lambda: stack(
            L.Conv2D(4, 3, name="a"),
            L.Conv2DTranspose(5, 3, strides=2, name="b"),
            L.PReLU(shared_axes=[1, 2], alpha_initializer="ones", name="prelu"),
            L.Conv2DTranspose(2, 2, name="out"),
        ),
        {"a": [3], "b": [0, 2]},
    ),
    "Reshape and Permute": (
        lambda: stack(
            L.Conv2D(4, 3, name="a"),
            L.Permute((2, 1, 3)),
            L.Reshape((36, 4)),
            L.Reshape((3, 48)),
            L.Conv1D(2, 2, name="b"),
            L.Reshape((-1,)),
            L.Dense(3, name="out"),
        ),
        {"a": [1, 2], "b": [0]},
    ),
    "PReLU with weights for each place": (
        lambda: stack(L.Conv2D(4, 3, name="a"), L.PReLU(name="prelu"), L.Rescaling(0.5), L.Conv2D(2, 1, name="out")),
        {"a": [0, 3]},
    ),
}


def emptied(model, gone):
    """Return a copy of `model` in which the weights that make these channels, and NAME_bn after them, are 0."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        filters = gone.get(layer.name.removesuffix("_bn"), [])
        for variable in layer.weights if filters else ():
            if variable.name not in ("depthwise_kernel", "moving_variance"):
                array = np.array(ops.convert_to_numpy(variable))
                transposed = variable.name == "kernel" and isinstance(layer, L.Conv2DTranspose)
                array[(..., filters, slice(None)) if transposed else (..., filters)] = 0
                variable.assign(array)
    return copy


@pytest.mark.parametrize("case", CHANNELS_PASS)
def test_channels_pass_through_what_computes_each_from_itself(case):
    build, gone = CHANNELS_PASS[case]
    model = build()
    assert {(name, i) for name, filters in gone.items() for i in filters} <= {
        each for group in removable(model) for each in group
    }
    smaller = remove_filters(model, gone)
    assert_alike(smaller, emptied(model, gone), images(model))
    filters = {layer.name: sum(v.shape[-1] for v in layer.weights if v.name == "bias") for layer in model.layers}
    for name, numbers in gone.items():
        assert smaller.get_layer(name).bias.shape == (filters[name] - len(numbers),)
    assert smaller.count_params() < model.count_params()


def block(x, *names):
    """A nested model of two convolutions; both are called `names`."""
    inner = L.Input(x.shape[1:])
    y = L.Conv2D(3, 1, name=names[1])(L.BatchNormalization()(L.Conv2D(5, 3, padding="same", name=names[0])(inner)))
    return keras.Model(inner, [y])(x)[0]


def squeezed(x):
    gate = L.Conv2D(2, 1, activation="silu", name="squeeze")(L.GlobalAveragePooling2D(keepdims=True)(x))
    return L.Multiply()([x, L.Activation("sigmoid")(L.Conv2D(x.shape[-1], 1, name="excite")(gate))])


READ_AS_ZEROS = {  # channels pass through what makes something else of zeros, too
    "nested models": (
        lambda: stack(
            L.Conv2D(4, 3, name="a"), lambda x: block(block(x, "b", "c"), "d", "e"), L.Flatten(), L.Dense(2, name="out")
        ),
        {"a": [1], "b": [0, 4], "c": [2], "d": [3], "e": [0]},
    ),
    "squeeze and excite": (
        lambda: stack(L.Conv2D(4, 3, name="a"), squeezed, L.Conv2D(2, 1, name="out")),
        {"a": [0, 3], "squeeze": [1], "excite": [0, 3]},
    ),
    "a sigmoid, and a number that is added": (
        lambda: stack(
            L.Conv2D(4, 3, name="a"), L.Activation("sigmoid"), lambda x: ops.exp(x + 1) - 2, L.Conv2D(2, 1, name="out")
        ),
        {"a": [2]},
    ),
    "a mask over all channels": (
        lambda: stack(
            L.Conv2D(4, 3, name="a"),
            lambda x: L.Multiply()([x, L.Conv2D(1, 1, activation="sigmoid", name="mask")(x)]),
            lambda x: ops.abs(x) * ops.max(x, axis=(1, 2), keepdims=True),
            L.Conv2D(2, 1, name="out"),
        ),
        {"a": [0, 1]},
    ),
    "activations": (
        lambda: stack(
            L.Conv2D(6, 3, activation="hard_silu", name="a"),
            lambda x: ops.gelu(ops.square(x)),
            *(L.Activation(name) for name in ("hard_sigmoid", "tanh", "gelu")),
            *(L.LeakyReLU(), L.ELU(), L.ReLU(threshold=0.1), L.PReLU(alpha_initializer="ones")),
            L.Conv2D(2, 1, name="out"),
        ),
        {"a": [0, 5, 1]},
    ),
    "joints": (
        lambda: stack(
            lambda x: [L.Conv2D(4, 3, activation="relu", name=name)(x) for name in "abcd"],
            lambda x: [L.Average()(x[:2]), L.Maximum()(x[2:])],
            lambda x: L.Minimum()([L.Subtract()(x), x[1]]),
            L.UpSampling2D(interpolation="bilinear"),
            L.Resizing(5, 5),
            L.Conv2D(2, 1, name="out"),
        ),
        dict.fromkeys("abcd", [3, 1]),
    ),
    "a group of a convolution": (
        lambda: stack(
            L.Conv2D(6, 3, name="a"), L.Conv2D(12, 3, groups=3, name="b"), L.ReLU(), L.Conv2D(2, 1, name="out")
        ),
        {"a": [2, 3], "b": [4, 5, 6, 7]},
    ),
    "groups of one channel, and one left": (
        lambda: stack(L.Conv2D(3, 3, name="a"), L.Conv2D(6, 3, groups=3, name="b"), L.Conv2D(2, 1, name="out")),
        {"a": [0, 2], "b": [0, 1, 4, 5]},
    ),
    "as many of each group": (
        lambda: stack(
            L.Conv2D(6, 3, name="a"), L.Reshape((36, 6)), L.Conv1D(4, 3, groups=2, name="b"), L.Conv1D(2, 1, name="out")
        ),
        {"a": [0, 4], "b": [1, 2]},
    ),
}


@pytest.mark.parametrize("case", READ_AS_ZEROS)
def test_what_reads_a_channel_of_a_removed_filter_reads_zeros(case):
    build, gone = READ_AS_ZEROS[case]
    model = build()
    smaller = remove_filters(model, gone)
    found = ops.convert_to_numpy(smaller(images(model)))
    [expected] = zeroed(model, gone, images(model))
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    for name, numbers in gone.items():
        layer = smaller.get_layer(name)
        assert layer.filters + len(numbers) == canonical(model).get_layer(name).filters


def test_a_grouped_convolution_loses_whole_groups_with_what_they_read():
    model = READ_AS_ZEROS["a group of a convolution"][0]()
    whole = [[("a", 2 * g), ("a", 2 * g + 1), *(("b", 4 * g + i) for i in range(4))] for g in range(3)]
    assert [list(group) for group in removable(model)] == whole
    gone = least_important(model, importance(model, (images(model), np.zeros(2, int)), "weights-l1"), np.inf)
    assert {name: len(filters) for name, filters in gone.items()} == {"a": 4, "b": 8}
    assert remove_filters(model, gone).get_layer("b").groups == 1


def test_the_filters_of_nested_models_are_ranked_by_their_names():
    model = READ_AS_ZEROS["nested models"][0]()
    for criterion in ("activation-l2", "weights-l2"):
        scores = importance(model, (images(model), np.zeros(2, int)), criterion)
        assert {name: len(found) for name, found in scores.items()} == {
            **{"a": 4, "b": 5, "c": 3, "d": 5, "e": 3, "out": 2}
        }


def test_a_list_or_dict_of_one_output_stays_one():
    image = L.Input((6, 6, 1), name="image")
    x = L.Dense(2, name="out")(L.Flatten()(L.Conv2D(4, 3, name="a")(image)))
    for model in (keras.Model([image], [x]), keras.Model({"image": image}, {"x": x})):
        smaller = remove_filters(model, {"a": [0]})
        assert type(smaller.output) is type(model.output) and type(smaller.input) is type(model.input)


def test_layers_that_stay_whole_are_told_with_the_reason():
    image = L.Input((8, 8, 3))
    inner = keras.Sequential([L.Input((8, 8, 2)), L.Conv2D(2, 1, name="inside")], name="inner")
    x = L.Conv2D(2, 1, name="before")(image)
    x = L.LayerNormalization(name="norm")(L.Conv2D(3, 1, name="a")(inner(x)))
    x = L.Conv2D(4, 1, groups=2, name="halves")(L.Conv2D(4, 1, name="free")(L.Conv2D(4, 1, name="also_free")(x)))
    twice = L.Conv2D(4, 1, name="twice")
    model = keras.Model(image, L.Conv2D(2, 1, name="out")(twice(twice(x))))
    assert kept_whole(model) == {
        "a": "its channel reaches norm, a LayerNormalization, which needs all channels",
        "free": "its channel reaches twice, which is used 2 times",
        "halves": "its channel reaches twice, which is used 2 times",
        "twice": "its channel reaches twice, which is used 2 times",
        "out": "it makes an output of the model",
    }
    assert {name for group in removable(model) for name, _ in group} == {"before", "inside", "also_free"}


def shared():
    image, twice = L.Input((8, 8, 4)), L.Conv2D(4, 3, padding="same", name="twice")
    return keras.Model(image, L.Conv2D(2, 1, name="out")(twice(twice(L.Conv2D(4, 1, name="a")(image)))))


def over(layer, *, units=4):
    image = L.Input((8, 8, 3))
    x = layer(L.Conv2D(units, 3, padding="same", name="a")(image))
    return keras.Model(image, L.Dense(2, name="out")(x), name="odd")


REFUSED = {
    "an unknown layer": (lambda: network("lenet"), {"conv3": [0]}, "lenet has no filters conv3, perhaps 'conv2'"),
    "a layer without filters": (lambda: network("lenet"), {"pool1": [0]}, "lenet has no filters pool1"),
    "an unknown filter": (lambda: network("lenet"), {"conv1": [99]}, "conv1 has filters 0 to"),
    "a negative filter": (lambda: network("lenet"), {"conv1": [-1]}, "conv1 has filters 0 to"),
    "no number": (lambda: network("lenet"), {"conv1": ["0"]}, "conv1 has filters 0 to .*, not '0'"),
    "an output": (
        lambda: network("squeezenet_digits"),
        {"conv10": [1]},
        "filter 1 of conv10 cannot be removed: it makes an output",
    ),
    "all of a layer": (
        lambda: network("squeezenet_digits"),
        {"conv1": range(16)},
        "conv1 would keep no filter; leave it at least one",
    ),
    "one of two that are added": (
        branches,
        {"a": [3]},
        "filter 3 of a cannot be removed alone: its channel is added to that of filter 3 of b; remove both",
    ),
    "a layer used twice": (
        shared,
        {"a": [0]},
        "filter 0 of a cannot be removed: its channel reaches twice, which is us",
    ),
    "the shared layer": (
        shared,
        {"twice": [0]},
        "filter 0 of twice cannot be removed: .* which is used 2 times",
    ),
    "an unknown kind": (
        lambda: over(L.Permute((3, 2, 1), name="turn")),
        {"a": [0]},
        "filter 0 of a cannot be removed: its channel reaches turn, a Permute, which needs all channels",
    ),
    "what is joined over rows": (
        lambda: over(lambda x: L.Concatenate(axis=1, name="rows")([x, x])),
        {"a": [0]},
        "reaches rows, a Concatenate, which needs all channels",
    ),
    "normalization over channels": (
        lambda: over(L.LayerNormalization(name="norm")),
        {"a": [0]},
        "reaches norm, a L",
    ),
    "a number per channel": (
        lambda: over(lambda x: x * np.arange(4.0)),
        {"a": [0]},
        "reaches multiply.*, a Rescaling, which needs all channels",
    ),
    "a mean over channels": (lambda: over(lambda x: ops.mean(x, axis=-1, keepdims=True)), {"a": [0]}, "reaches mean"),
    "channels that are split": (
        lambda: over(L.Reshape((8, 16, 2), name="split")),
        {"a": [0]},
        "reaches split, a Reshape, which needs all channels",
    ),
    "a Reshape used twice": (
        lambda: over(
            lambda x: (lambda r: L.Concatenate(name="both")([r(x), r(L.ReLU()(x))]))(L.Reshape((64, 4), name="r"))
        ),
        {"a": [0]},
        "reaches r, which is used 2 times",
    ),
    "a softmax": (lambda: over(L.Softmax(name="soft")), {"a": [0]}, "reaches soft, a Softmax"),
    "a softmax as an activation": (lambda: over(L.Activation("softmax", name="s")), {"a": [0]}, "s, a Activation"),
    "an activation of one's own over channels": (
        lambda: over(L.Activation(lambda x: x - ops.mean(x, axis=-1, keepdims=True), name="centred")),
        {"a": [0]},
        "reaches centred, a Activation, which needs all channels",
    ),
    "the softmax of a layer": (
        lambda: over(L.Conv2D(3, 1, activation="softmax", name="soft")),
        {"soft": [0]},
        "filter 0 of soft cannot be removed: soft has a softmax over its channels",
    ),
    "one channel for all": (
        lambda: over(lambda x: L.Multiply(name="masked")([x, L.Conv2D(1, 1, name="mask")(x)])),
        {"mask": [0]},
        "filter 0 of mask cannot be removed: masked joins it with all 4 channels of another tensor",
    ),
    "unequal groups": (
        lambda: network("alexnet"),
        {"conv2": [0]},
        "conv2 works in 2 groups, which must keep equally many filters, not 127, 128",
    ),
    "unequal groups of channels": (
        lambda: network("alexnet"),
        {"conv1": [0]},
        "conv2 works in 2 groups, .* channels of",
    ),
    "a model without a graph": (lambda: keras.Sequential([L.Dense(2)]), {"dense": [0]}, "has no graph"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_removed_is_refused_by_name(case):
    model, gone, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        remove_filters(model(), gone)
