"""Counts of parameters, MACs and activations: published figures, sums of ones, and graphs counted by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbits import InputError, zoo
from fewbits.backend import keras, ops
from fewbits.costs.complexity import Row, cost_table, totals

layers = keras.layers


def model_of(*chain, input_shape=(8, 8, 3)):
    x = image = layers.Input(input_shape)
    for layer in chain:
        x = layer(x)
    return keras.Model(image, x)


# Published figures


@pytest.mark.parametrize(
    ("name", "side", "pooling", "millions"),
    [
        ("squeezenet_v1_0", 224, "floor", 777.22),
        ("squeezenet_v1_1", 224, "floor", 349.15),
        ("squeezenet_v1_1", 227, "floor", 352.54),
        ("squeezenet_v1_1", 227, "ceil", 387.75),
    ],
)
def test_squeezenet_needs_the_published_macs(name, side, pooling, millions):
    assert round(totals(zoo.build(name, (side, side, 3), 1000, pooling=pooling)).macs / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("alpha", "side", "parameters", "millions"),
    [(1, 224, 4_253_864, 568.7), (0.25, 224, 475_544, 41.0), (0.25, 128, 475_544, 13.6)],
)
def test_mobilenet_needs_the_published_macs(alpha, side, parameters, millions):
    model = keras.applications.MobileNet(alpha=alpha, input_shape=(side, side, 3), weights=None)
    assert (totals(model).parameters, round(totals(model).macs / 1e6, 1)) == (parameters, millions)


@pytest.mark.parametrize(
    ("width", "parameters", "millions"),
    [
        (1, 4_253_864, {224: 568.7, 192: 418.1, 160: 290.7, 128: 186.4}),
        (0.75, 2_601_976, {224: 325.4, 192: 239.3, 160: 166.4, 128: 106.8}),
        (0.5, 1_342_536, {224: 149.5, 192: 110.0, 160: 76.5, 128: 49.2}),
        (0.25, 475_544, {224: 41.0, 192: 30.2, 160: 21.1, 128: 13.6}),
    ],
)
def test_our_mobilenet_needs_the_published_macs_at_every_width_and_resolution(width, parameters, millions):
    counted = {side: totals(zoo.build("mobilenet_v1", (side, side, 3), 1000, width=width)) for side in millions}
    assert {side: round(total.macs / 1e6, 1) for side, total in counted.items()} == millions
    assert {total.parameters for total in counted.values()} == {parameters}


# Equations


@pytest.mark.parametrize(("ks", "cin", "cout", "height", "width"), [(3, 3, 4, 8, 6), (1, 5, 2, 4, 4), (5, 2, 7, 9, 5)])
def test_layers_need_what_equations_2_to_6_of_backstrom2018_say(ks, cin, cout, height, width):
    convolution = layers.Conv2D(cout, ks, padding="same", use_bias=False)
    dense = [layers.Dense(units, use_bias=False) for units in (11, 13)]
    conv, _, first, second = cost_table(
        model_of(convolution, layers.Flatten(), *dense, input_shape=(height, width, cin))
    )
    assert conv.parameters == ks**2 * cin * cout  # (2)
    assert conv.macs == ks**2 * cin * cout * height * width  # (3)
    assert conv.activations == cout * height * width  # (4)
    assert first.macs == first.parameters == cout * height * width * 11  # (5)
    assert second.macs == second.parameters == 11 * 13  # (6)


def separable(sides, cin, cout, kernel):
    """Return a depthwise convolution and one of 1x1 behind it."""
    depthwise = layers.DepthwiseConv2D(kernel, padding="same", use_bias=False)
    return totals(model_of(depthwise, layers.Conv2D(cout, 1, use_bias=False), input_shape=(*sides, cin)))


@pytest.mark.parametrize("alpha", [1, 0.75, 0.5, 0.25])
@pytest.mark.parametrize("beta", [1, 0.5])
def test_a_separable_convolution_needs_what_equations_4_1_and_4_2_of_chiang2017_say(alpha, beta):
    W, H, M, N, w, h = 12, 8, 16, 24, 3, 5
    needs = separable((int(beta * H), int(beta * W)), int(alpha * M), int(alpha * N), (h, w))
    assert needs.macs == beta * W * beta * H * alpha * M * (w * h + alpha * N)  # (4.1)
    assert needs.parameters == w * h * alpha * M + alpha * M * alpha * N  # (4.2), without beta


@pytest.mark.parametrize(("cout", "kernel"), [(1, (3, 3)), (24, (3, 3)), (128, (3, 3)), (24, (5, 2))])
def test_a_separable_convolution_needs_1_over_n_and_1_over_wh_of_a_full_one(cout, kernel):
    full = totals(model_of(layers.Conv2D(cout, kernel, padding="same", use_bias=False), input_shape=(8, 6, 4)))
    needs = separable((8, 6), 4, cout, kernel)
    ratio = Fraction(1, cout) + Fraction(1, kernel[0] * kernel[1])
    assert Fraction(needs.macs, full.macs) == Fraction(needs.parameters, full.parameters) == ratio


@pytest.mark.parametrize("name", zoo.NAMES)
def test_rows_add_up_to_what_keras_counts(name):
    side = {"alexnet": 67, "inception_v3": 75}.get(name, 40)
    model = zoo.build(name, (side, side, 3), 10)
    rows, sums = cost_table(model), totals(model)
    assert sorted(row.name for row in rows) == sorted(layer.name for layer in model.layers[1:])
    assert sums.parameters == sum(row.parameters for row in rows) == model.count_params()
    assert sums.macs == sum(row.macs for row in rows)
    assert sums.activations == sum(row.activations for row in rows)
    assert sums.weight_bytes == 4 * model.count_params()


# By hand


def test_a_row_says_what_a_layer_needs():
    model = model_of(
        layers.Conv2D(4, 3, name="a"),
        layers.BatchNormalization(name="b"),
        layers.MaxPooling2D(2, name="c"),
        layers.SeparableConv2D(5, 2, name="d"),
        layers.Flatten(name="e"),
        layers.Dense(6, use_bias=False, name="f"),
    )
    assert cost_table(model) == [
        Row("a", "convolution", (6, 6, 4), 3 * 3 * 3 * 4 + 4, 6 * 6 * 3 * 3 * 3 * 4, 6 * 6 * 4),
        Row("b", "normalization", (6, 6, 4), 4 * 4, 0, 6 * 6 * 4),
        Row("c", "pooling", (3, 3, 4), 0, 0, 3 * 3 * 4),
        Row("d", "separable convolution", (2, 2, 5), 2 * 2 * 4 + 4 * 5 + 5, 2 * 2 * (2 * 2 * 4 + 4 * 5), 2 * 2 * 5),
        Row("e", "reshape", (20,), 0, 0, 20),
        Row("f", "dense", (6,), 20 * 6, 20 * 6, 6),
    ]


def test_borders_of_zeros_are_multiplied_too():
    assert totals(model_of(layers.Conv2D(4, 3, padding="same"))).macs == 8 * 8 * 3 * 3 * 3 * 4


def sum_of_ones(model):
    """Return the sum of what `model`, one layer without bias, makes of ones by ones: each product adds one."""
    model.set_weights([np.ones(w.shape) for w in model.weights])
    return np.array(model(np.ones((1, *model.input_shape[1:]))), np.float64).sum()


small = st.integers(1, 4)
sides = st.tuples(st.integers(4, 9), st.integers(4, 9))


@settings(max_examples=60)
@given(sides=sides, kernel=st.tuples(small, small), stride=small, into=small, out=small, groups=st.integers(1, 3))
def test_a_convolution_multiplies_as_often_as_ones_add_up(sides, kernel, stride, into, out, groups):
    layer = layers.Conv2D(groups * out, kernel, strides=stride, groups=groups, use_bias=False)
    model = model_of(layer, input_shape=(*sides, groups * into))
    assert totals(model).macs == sum_of_ones(model)


@settings(max_examples=30)
@given(sides=sides, kernel=small, stride=small, into=small, multiplier=small)
def test_a_depthwise_convolution_does_so_too(sides, kernel, stride, into, multiplier):
    layer = layers.DepthwiseConv2D(kernel, strides=stride, depth_multiplier=multiplier, use_bias=False)
    model = model_of(layer, input_shape=(*sides, into))
    assert totals(model).macs == sum_of_ones(model)


@settings(max_examples=30)
@given(sides=sides, kernel=small, stride=small, into=small, out=small)
def test_a_transposed_convolution_multiplies_at_every_place_of_its_input(sides, kernel, stride, into, out):
    layer = layers.Conv2DTranspose(out, kernel, strides=stride, use_bias=False)
    model = model_of(layer, input_shape=(*sides, into))
    assert totals(model).macs == sum_of_ones(model)


def test_slopes_and_preprocessing_have_parameters_but_no_macs():
    steps = layers.Normalization(mean=0.5, variance=2.0), layers.PReLU(shared_axes=[1, 2]), layers.ELU()
    assert [(row.parameters, row.macs) for row in cost_table(model_of(*steps))] == [(0, 0), (3, 0), (0, 0)]


@settings(max_examples=30)
@given(input_shape=st.lists(small, min_size=1, max_size=3), units=small)
def test_a_dense_layer_does_so_too(input_shape, units):
    model = model_of(layers.Dense(units, use_bias=False), input_shape=tuple(input_shape))
    assert totals(model).macs == sum_of_ones(model)


def test_channels_first_counts_the_same():
    last = totals(model_of(layers.Conv2D(4, 3, strides=2), input_shape=(8, 6, 3)))
    first = totals(model_of(layers.Conv2D(4, 3, strides=2, data_format="channels_first"), input_shape=(3, 8, 6)))
    assert first == last


# Graphs


class Quantized(layers.Conv2D):
    """A convolution with variables of its own and in a sub-layer, as quantized layers have."""

    def build(self, input_shape):
        super().build(input_shape)
        self.msb = self.add_weight(shape=(self.filters,), trainable=False)
        self.formats = layers.BatchNormalization()
        self.formats.build((None, 5))


def test_a_subclass_counts_as_its_parent_whatever_else_it_holds():
    mine, plain = (cost_table(model_of(kind(4, 3, name="a")))[0] for kind in (Quantized, layers.Conv2D))
    assert mine == plain


def test_a_shared_layer_is_stored_once_and_computed_twice():
    conv = layers.Conv2D(3, 3, padding="same")
    rows = cost_table(model_of(conv, conv))
    assert [row.parameters for row in rows] == [3 * 3 * 3 * 3 + 3, 0]
    assert rows[0].macs == rows[1].macs > 0


def test_nested_models_are_opened():
    a, b, c = chain = layers.Conv2D(4, 3), layers.ReLU(), layers.Conv2D(2, 3)
    flat, sequential = model_of(*chain), keras.Sequential([layers.Input((8, 8, 3)), *chain])
    nested = model_of(model_of(a, b, input_shape=(None, None, 3)), keras.Sequential([c]))
    assert cost_table(nested) == cost_table(sequential) == cost_table(flat)
    assert totals(nested) == totals(sequential) == totals(flat)


def test_counting_leaves_the_graph_as_it_was():
    conv = layers.Conv2D(4, 3)
    model = model_of(conv)
    totals(model)
    assert conv.output is model.output  # Keras refuses `output` to a layer that was called again


# Activation memory


def test_the_peak_of_squeezenet_is_its_first_pooling():
    assert totals(zoo.build("squeezenet_v1_1", (227, 227, 3), 1000)).peak_activations == 113 * 113 * 64 + 56 * 56 * 64


def test_a_value_is_held_until_its_last_use():
    image = layers.Input((4, 4, 1))
    a = layers.Conv2D(3, 1)(image)
    b = layers.Conv2D(2, 1)(a)
    c = layers.Conv2D(3, 1)(b)
    assert totals(keras.Model(image, c)).peak_activations == 16 * (3 + 2)
    assert totals(keras.Model(image, layers.Add()([a, c]))).peak_activations == 16 * (3 + 3 + 3)
    assert totals(keras.Model(image, layers.Concatenate()([image, c]))).peak_activations == 16 * (1 + 3 + 4)
    assert totals(keras.Model(image, [a, c])).peak_activations == 16 * (3 + 2 + 3)


def test_element_wise_layers_overwrite_their_input_unless_it_is_needed_again():
    image = layers.Input((4, 4, 1))
    a = layers.Conv2D(3, 1)(image)
    b = layers.ReLU()(layers.BatchNormalization()(a))
    assert totals(keras.Model(image, b)).peak_activations == 16 * (1 + 3)
    assert totals(keras.Model(image, layers.Add()([a, b]))).peak_activations == 16 * (3 + 3 + 3)
    assert totals(keras.Model(image, layers.Flatten()(image))).peak_activations == 16


# Kinds without a rule, and mistakes


def test_layers_of_other_kinds_count_no_macs():
    rows = cost_table(model_of(layers.RepeatVector(4, name="up"), ops.sqrt, input_shape=(192,)))
    assert [(row.kind, row.macs, row.activations) for row in rows] == [("other", 0, 768), ("other", 0, 768)]


class Block(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


class Subclassed(keras.Model):
    pass


@pytest.mark.parametrize("layer", [layers.LayerNormalization(name="odd"), Block(name="odd")])
def test_an_unknown_layer_with_weights_is_refused_by_name(layer):
    model = model_of(layer)
    for count in (cost_table, totals):
        with pytest.raises(InputError, match=f"layer 'odd', a {type(layer).__name__}, has weights"):
            count(model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (model_of(layers.ReLU(), input_shape=(None, None, 3)), r"input shape \(None, None, 3\) is open"),
        (Subclassed(), "only a functional, or a built sequential, keras.Model"),
        (keras.Sequential([layers.ReLU()]), "only a functional, or a built sequential, keras.Model"),
        ("lenet", "not 'lenet'"),
    ],
)
def test_what_cannot_be_counted_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        cost_table(model)
