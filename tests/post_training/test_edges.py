"""Wires: which layers they join, formats that writers and readers share, and the search for their MSBs."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbits import FixedPoint, InputError, quantize, quantize_model, zoo
from fewbits.backend import keras, ops
from fewbits.post_training import search_msbs, share_formats
from fewbits.post_training.copies import copied
from fewbits.post_training.range_search import edges
from fewbits.quantization.calibration import formats_for
from fewbits.quantization.layers import Formats

L = keras.layers
IMAGES = np.random.default_rng(1).uniform(0, 1, (12, 8, 8, 3)).astype("float32")  # always all: one shape to compile


def graph(build):
    keras.utils.set_random_seed(0)
    x = L.Input(IMAGES.shape[1:])
    return quantize_model(keras.Model(x, build(x)), rounding="nearest")


def conv(name, filters=4, size=3, activation="relu"):
    options = {"padding": "same", "bias_initializer": keras.initializers.RandomUniform(-0.1, 0.3)}
    return L.Conv2D(filters, size, activation=activation, name=name, **options)


def chain(x):
    for layer in (conv("a"), L.MaxPooling2D(), L.ZeroPadding2D(), conv("b"), L.Flatten(), L.Dropout(0.5)):
        x = layer(x)
    return L.Dense(3, name="c")(x)


def fire(x):
    x = L.MaxPooling2D()(conv("first")(x))
    x = conv("squeeze", 2, 1)(x)
    x = L.Concatenate()([conv("left", 3, 1)(x), L.ReLU()(conv("right", 3, activation=None)(x))])
    x = L.MaxPooling2D()(x)
    return L.GlobalAveragePooling2D()(conv("last", 5, 1)(x))


def residual(x):
    x = conv("a")(x)
    y = L.Add()([x, conv("b")(x)])
    y = conv("c")(y)
    return L.Dense(3, name="d")(L.GlobalAveragePooling2D()(y))


def joined(network):
    return [(set(edge.writers), set(edge.readers)) for edge in edges(network)]


# Which layers they join


def test_a_chain_has_a_edge_between_neighbours_and_one_at_each_end():
    assert edges(graph(chain)) == [((), ("a",)), (("a",), ("b",)), (("b",), ("c",)), (("c",), ())]


def test_a_concatenation_is_one_edge_of_all_that_write_to_it_and_a_fork_one_of_all_that_read():
    assert joined(graph(fire)) == [
        (set(), {"first"}),
        ({"first"}, {"squeeze"}),
        ({"squeeze"}, {"left", "right"}),
        ({"left", "right"}, {"last"}),
        ({"last"}, set()),
    ]


def test_a_new_edge_begins_behind_an_addition_and_behind_an_average():
    found = joined(graph(residual))
    assert len(found) == 7
    for edge in [({"a"}, {"b"}), ({"b"}, set()), (set(), {"c"}), ({"c"}, set()), (set(), {"d"}), ({"d"}, set())]:
        assert edge in found


def test_an_activation_that_changes_values_ends_a_edge_and_relu_does_not():
    def stack(x):
        x = L.Activation("tanh", name="tanh")(conv("a", activation=None)(x))
        return conv("c")(L.Activation("relu")(conv("b", activation=None)(x)))

    found = edges(graph(stack))
    assert (("a",), ("tanh",)) in found and (("tanh",), ("b",)) in found and (("b",), ("c",)) in found


def test_writers_of_two_concatenations_that_share_one_are_one_edge():
    def stack(x):
        a, b, c = (conv(name)(x) for name in "abc")
        left, right = L.Concatenate()([a, b]), L.Concatenate()([b, c])
        return L.Concatenate()([L.GlobalAveragePooling2D()(conv(n)(t)) for n, t in (("d", left), ("e", right))])

    assert ({"a", "b", "c"}, {"d", "e"}) in joined(graph(stack))


@pytest.mark.parametrize("name", ["squeezenet_digits", "alexnet_small", "lenet"])
def test_each_layer_of_the_zoo_writes_to_one_edge_and_reads_from_one(name):
    network = quantize_model(zoo.build(name, (16, 16, 3), 10))
    names = [layer.name for layer in network.quantized_layers]
    found = edges(network)
    assert sorted(n for edge in found for n in edge.writers) == sorted(names)
    assert sorted(n for edge in found for n in edge.readers) == sorted(names)


# Formats that are shared


GRAPHS = {build: graph(build) for build in (chain, fire, residual)}


def inputs(network, images):
    """Return name -> what the layer's input quantizer is given, as the network computes."""
    reader = keras.Model(network.inputs[0], [layer.input for layer in network.quantized_layers])
    return dict(zip((layer.name for layer in network.quantized_layers), map(ops.convert_to_numpy, reader(images))))


@settings(max_examples=8)
@given(st.sampled_from(list(GRAPHS)), st.data())
def test_after_sharing_a_reader_rounds_nothing_that_a_writer_has_rounded(build, data):
    network, nbits = GRAPHS[build], data.draw(st.integers(2, 10))
    msb = st.integers(-2, 4)
    names = [layer.name for layer in network.quantized_layers]
    formats = {n: Formats(FixedPoint(1, 8), *(FixedPoint(data.draw(msb), nbits) for _ in "io")) for n in names}
    network.set_formats(formats)
    shared = share_formats(network)
    assert network.formats == formats
    given_to = inputs(shared, IMAGES)
    for writers, readers in edges(network):
        for name in readers if writers else ():
            assert np.array_equal(quantize(given_to[name], shared.formats[name].input, "nearest"), given_to[name])


@settings(max_examples=20)
@given(st.sampled_from(list(GRAPHS)), st.data())
def test_sharing_takes_the_largest_msb_of_the_readers_and_keeps_bits_kernels_and_what_is_float(build, data):
    network = GRAPHS[build]
    fmt = st.none() | st.builds(FixedPoint, st.integers(-3, 5), st.integers(2, 12))
    before = {
        layer.name: Formats(FixedPoint(0, 7), data.draw(fmt), data.draw(fmt)) for layer in network.quantized_layers
    }
    network.set_formats(before)
    after = share_formats(network).formats
    for writers, readers in edges(network):
        ends = [(name, "output") for name in writers] + [(name, "input") for name in readers]
        msbs = [before[name].input.msb for name in readers if before[name].input]
        for name, kind in ends:
            old, new = getattr(before[name], kind), getattr(after[name], kind)
            if old is None or not writers or not msbs:
                assert new == old
            else:
                assert new == FixedPoint(max(msbs), old.nbits)
    assert all(fmt.kernel == FixedPoint(0, 7) for fmt in after.values())


def test_a_network_in_float_is_refused():
    x = L.Input((8, 8, 3))
    with pytest.raises(InputError, match="use quantize_model first"):
        share_formats(keras.Model(x, conv("a")(x)))


# The search


def divergence(network, plain, images=IMAGES):
    p, q = (keras.activations.softmax(model(images)) for model in (plain, network))
    p, q = (np.asarray(ops.convert_to_numpy(t), np.float64) for t in (p, q))
    return float(np.sum(p * np.log(p / q)))


def calibrated(build, nbits):
    network = graph(build)
    plain = graph(build)
    network.set_formats(formats_for(network, IMAGES, (8, nbits, nbits), 100.0))
    return network, plain


@cache
def searched(build, nbits=4):
    """Return what the search began with, what it returned, and what it reported."""
    network, plain = calibrated(build, nbits)
    kept, formats = network.get_weights(), network.formats
    told = []
    found = search_msbs(network, IMAGES, lambda *now: told.append(now))
    return network, plain, kept, formats, found, told


@pytest.mark.parametrize("build", [chain, fire, residual])
def test_the_search_never_ends_further_from_float_than_it_began(build):
    nbits = 4
    network, plain, kept, formats, found, told = searched(build, nbits)
    assert divergence(found, plain) <= divergence(network, plain) * (1 + 1e-5)
    n = len(edges(network))
    assert told == [(i, n) for i in range(1, n + 1)]
    assert network.formats == formats and all(map(np.array_equal, network.get_weights(), kept))
    for name, fmt in found.formats.items():
        assert fmt.kernel == formats[name].kernel
        assert (fmt.input.nbits, fmt.output.nbits) == (nbits, nbits)


@pytest.mark.parametrize("by", [2, -2])
def test_the_search_finds_the_best_of_all_msbs_from_one_that_was_misplaced(by):
    network, plain = graph(chain), graph(chain)

    def formats(msb):  # of the edge between a and b only
        return {"a": Formats(None, None, FixedPoint(msb, 6)), "b": Formats(None, FixedPoint(msb, 6))}

    errors = {}
    for msb in range(-4, 6):
        network.set_formats(formats(msb))
        errors[msb] = divergence(network, plain)
    best = min(errors, key=errors.get)
    assert -2 <= best <= 3 and errors[best + by] > 2 * errors[best]
    network.set_formats(formats(best + by))
    found = search_msbs(network, IMAGES).formats
    assert (found["a"], found["b"]) == tuple(formats(best).values())


def test_no_single_step_of_the_last_edge_would_still_be_better():
    _, plain, _, _, searched_network, _ = searched(chain, 4)
    found = copied(searched_network)
    least, formats = divergence(found, plain), found.formats
    for by in (1, -1):  # of the edge to the user, which was searched last
        fmt = formats["c"]
        found.set_formats(formats | {"c": fmt._replace(output=FixedPoint(fmt.output.msb + by, 4))})
        assert divergence(found, plain) >= least * (1 - 1e-5)


def test_a_network_in_float_and_formats_at_the_largest_msb_end_the_search():
    network = graph(chain)
    assert search_msbs(network, IMAGES).formats == network.formats
    network.set_formats(Formats(None, FixedPoint(64, 8), FixedPoint(64, 8)))
    search_msbs(network, IMAGES)


def test_a_search_without_images_is_refused():
    with pytest.raises(InputError, match="at least one image"):
        search_msbs(graph(chain), IMAGES[:0])


# Signs


U4, S4 = FixedPoint(1, 4, signed=False), FixedPoint(1, 4)


def shared(build, readers):
    """Return the output formats after sharing, where all formats are signed but for the inputs of `readers`."""
    network = graph(build)
    network.set_formats(Formats(S4, S4, S4))
    for name, fmt in readers.items():
        network.get_layer(name).set_formats(S4, fmt, S4)
    after = share_formats(network)
    return {name: (formats.input, formats.output) for name, formats in after.formats.items()}


def test_a_writer_loses_its_sign_where_its_readers_have_none():
    found = shared(chain, {"b": FixedPoint(2, 4, signed=False)})
    assert found["a"][1] == found["b"][0] == FixedPoint(2, 4, signed=False)
    assert found["b"][1] == found["c"][0] == S4


def test_a_reader_gets_a_sign_where_another_one_has_it_and_keeps_its_largest_value():
    found = shared(fire, {"left": FixedPoint(2, 4, signed=False)})
    assert found["squeeze"][1] == found["left"][0] == found["right"][0] == FixedPoint(3, 4)


def test_a_writer_whose_negative_values_something_else_reads_keeps_its_sign():
    def build(x):
        x = conv("a", activation=None)(x)
        y = conv("b", activation=None)(L.ReLU()(x))
        return conv("c")(L.Add()([x, y]))

    found = shared(build, {"b": U4})
    assert found["b"][0] == U4 and found["a"][1] == FixedPoint(2, 4)  # the same largest value, and a sign


@pytest.mark.parametrize("relu", [L.ReLU(), L.ReLU(6.0), L.Activation("relu")])
def test_codes_after_the_relu_are_those_of_the_reader(relu):
    def build(x):
        return conv("b")(relu(conv("a", activation=None)(x)))

    assert shared(build, {"b": U4})["a"][1] == U4
    network, small, signed = graph(build), FixedPoint(-3, 4, signed=False), FixedPoint(-3, 4)
    network.set_formats(Formats(None, small, signed))
    before, after = (inputs(n, IMAGES)["b"] for n in (network, share_formats(network)))
    for found, most in ((before, signed.max_value), (after, small.max_value)):
        assert found.max() == most and np.array_equal(quantize(found, small, "nearest"), found)


def test_the_search_keeps_signs():
    network = graph(chain)
    network.set_formats(Formats(S4, U4, U4))
    found = search_msbs(network, IMAGES).formats
    assert all(not formats.input.signed and not formats.output.signed for formats in found.values())
