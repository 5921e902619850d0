"""A layer leaves out rounding what lies on its grid already: nothing changes but the time."""

import numpy as np
import pytest

from fewbits import FixedPoint, quantize_model
from fewbits.backend import gradients, keras, ops
from fewbits.graph import Graph
from fewbits.names import LAYER_ROUNDINGS
from fewbits.quantization.feeders import feeding_layers
from fewbits.quantization.known_grids import KnownGrids

layers = keras.layers
K, WIDE, NARROW = FixedPoint(0, 6), FixedPoint(1, 7), FixedPoint(0, 4)
UNSIGNED, BEYOND, FINE = FixedPoint(0, 5, signed=False), FixedPoint(2, 8), FixedPoint(-1, 8)
FLOAT = (None, None, None)
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-2, 2, (4, 8, 8, 3)).astype("float32")
# formats of first, left, right, last, and whether the inputs of left and last are rounded already
CASES = {
    "equal": ([(K, WIDE, WIDE)] * 4, (True, True)),
    "coarser before": ([(K, WIDE, NARROW), (K, WIDE, NARROW), (K, WIDE, NARROW), (K, BEYOND, WIDE)], (True, True)),
    "finer before": ([(K, WIDE, FINE), (K, WIDE, WIDE), (K, WIDE, WIDE), (K, FINE, WIDE)], (False, False)),
    "unsigned": (
        [(K, WIDE, UNSIGNED), (K, UNSIGNED, UNSIGNED), (K, UNSIGNED, UNSIGNED), (K, WIDE, WIDE)],
        (True, True),
    ),
    "signed to unsigned": (
        [(K, WIDE, NARROW), (K, UNSIGNED, WIDE), (K, UNSIGNED, WIDE), (K, NARROW, WIDE)],
        (True, False),
    ),
    "one of two": ([(K, WIDE, WIDE), (K, WIDE, WIDE), (K, WIDE, BEYOND), (K, WIDE, WIDE)], (True, False)),
    "float before": ([FLOAT, (K, WIDE, WIDE), (K, WIDE, WIDE), (K, WIDE, WIDE)], (False, True)),
}


def network(rounding="nearest", **settings):
    keras.utils.set_random_seed(0)
    x = image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    left, right = (layers.Conv2D(3, 1, activation="relu", name=name)(x) for name in ("left", "right"))
    x = layers.Concatenate(name="both")([left, right])
    x = layers.Dense(2, name="last")(layers.Flatten(name="flat")(x))
    return quantize_model(keras.Model(image, x), rounding=rounding, **settings)


def set_formats(model, formats):
    model.set_formats(dict(zip(("first", "left", "right", "last"), formats)))


def one_by_one(model, x):
    """Compute as `model` does, with each layer on its own: there, all inputs are rounded."""
    return Graph(model).run([x], lambda call, *args, **kwargs: call.operation(*args, **kwargs))[0]


def test_the_layers_before_are_found_through_all_that_keeps_values():
    graph = Graph(network())
    found = {
        call.name: [layer.name for layer in feeding_layers(graph, call.inputs[0])]
        for call in graph.calls
        if call.inputs
    }
    assert (found["left"], found["last"], found["first"]) == (["first"], ["left", "right"], [])


@pytest.mark.parametrize("activation", ["relu6", "tanh", "sigmoid"])
def test_an_activation_after_the_rounding_leaves_the_grid(activation):
    x = image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation=activation, name="first")(x)
    model = quantize_model(keras.Model(image, layers.Conv2D(4, 3, name="second")(x)))
    second = next(call for call in Graph(model).calls if call.name == "second")
    names = [layer.name for layer in feeding_layers(Graph(model), second.inputs[0])]
    assert names == ([] if activation == "relu6" else ["first_activation"])


@pytest.mark.parametrize("setting", [{"bias_order": "output"}, {"dropout": True}])
def test_a_bias_after_the_rounding_and_what_is_scaled_in_training_leave_the_grid(setting):
    x = image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="first")(x)
    x = layers.Dropout(0.5, name="drop")(x) if setting.pop("dropout", False) else x
    model = quantize_model(keras.Model(image, layers.Conv2D(4, 3, name="second")(x)), **setting)
    second = next(call for call in Graph(model).calls if call.name == "second")
    assert feeding_layers(Graph(model), second.inputs[0]) == ()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rounding", LAYER_ROUNDINGS)
def test_outputs_and_gradients_are_those_of_layers_that_round_every_input(case, rounding):
    model = network(rounding)
    set_formats(model, CASES[case][0])
    x = ops.convert_to_tensor(IMAGES)
    assert np.array_equal(ops.convert_to_numpy(model(x)), ops.convert_to_numpy(one_by_one(model, x)))

    def gradient(run):
        loss = lambda of: ops.sum(ops.square(run(model, of["x"]) - 0.3))  # noqa: E731
        return ops.convert_to_numpy(gradients(loss, {"x": x})["x"])

    expected = gradient(one_by_one)
    assert np.array_equal(gradient(lambda model, x: model(x)), expected)
    assert case == "float before" or expected.any()


@pytest.mark.parametrize("case", CASES)
def test_what_lies_on_the_grid_is_left_out_and_nothing_else(case, monkeypatch):
    formats, expected = CASES[case]
    model, ways = network(), {}
    set_formats(model, formats)
    made = type(model.get_layer("left"))._rounder

    def watched(layer):
        rounder = made(layer)
        ways[layer.name] = int(ops.convert_to_numpy(rounder.grids["input"].way))
        return rounder

    monkeypatch.setattr(type(model.get_layer("left")).__mro__[1], "_rounder", watched)
    model(IMAGES)
    assert (ways["left"] == 0, ways["last"] == 0) == expected


def test_a_layer_that_is_called_alone_rounds_its_input():
    model = network()
    set_formats(model, CASES["equal"][0])
    model(IMAGES)
    layer, x = model.get_layer("left"), RNG.uniform(-1, 1, (2, 3, 3, 4)).astype("float32")
    rounded = np.round(x / WIDE.step) * WIDE.step
    assert np.array_equal(ops.convert_to_numpy(layer(x)), ops.convert_to_numpy(layer(rounded)))


def test_formats_change_without_a_new_trace():
    model, traces = network(), []
    model.compile("sgd", "mse")
    call = model.call
    model.call = lambda *args, **kwargs: (traces.append(1), call(*args, **kwargs))[1]
    model.predict(IMAGES, verbose=0)
    before = len(traces)
    for formats, _ in CASES.values():
        set_formats(model, formats)
        assert np.array_equal(model.predict(IMAGES, verbose=0), ops.convert_to_numpy(one_by_one(model, IMAGES)))
    assert len(traces) == before == 1


def test_known_grids_end_with_their_run():
    with pytest.raises(ValueError, match="stopped"), KnownGrids({}):
        raise ValueError("stopped")
    from fewbits.quantization.known_grids import input_grids

    assert input_grids("left") == []
