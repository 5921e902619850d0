"""The graph of a model: its calls in order, who reads and makes each tensor, running and rebuilding it."""

import numpy as np
import pytest

from fewbits import InputError, graph
from fewbits.backend import keras, ops
from fewbits.graph import Graph, rebuild

L = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")


def names(calls):
    return [call.name for call in calls]


@pytest.fixture(scope="module")
def shared():
    """A convolution that is called twice, an operation that is no layer, and an addition written as a sum."""
    x = image = L.Input((6, 6, 3), name="image")
    conv = L.Conv2D(3, 1, name="conv")
    x = ops.relu(conv(x))
    y = L.ReLU(name="relu_layer")(conv(x) + image)
    return keras.Model(image, [y, x])


def test_calls_come_after_those_that_make_what_they_read(shared):
    found, made = Graph(shared), set()
    for call in found.calls:
        assert {id(x) for x in call.inputs} <= made
        made |= {id(x) for x in call.outputs}
    assert {id(x) for x in shared.outputs} <= made and len(found.calls) == 6
    assert names(call for call in found.calls if call.is_input) == ["image"]


def test_a_layer_that_is_used_twice_has_two_calls(shared):
    found, conv = Graph(shared), shared.get_layer("conv")
    first, second = found.calls_of(conv)
    assert first is not second and first.operation is second.operation is conv
    assert first.inputs[0] is shared.inputs[0] and first.outputs[0] is not second.outputs[0]
    assert len({first: 1, second: 2}) == 2  # keys of a dictionary
    assert found.calls_of(L.ReLU()) == ()


def test_operations_that_are_no_layers_are_named_and_each_stands_once(shared):
    found = Graph(shared)
    assert [type(operation).__name__ for operation in found.functions] == ["Relu", "Add"]
    assert sorted(layer.name for layer in found.layers) == ["conv", "image", "relu_layer"]
    assert len(found.operations) == 5 and not found.nested


def test_a_tensor_knows_who_makes_it_and_who_reads_it(shared):
    found = Graph(shared)
    first, second = found.calls_of(shared.get_layer("conv"))
    rectified = found.readers(first.outputs[0])
    assert found.made_by(first.outputs[0]) is first and len(rectified) == 1
    assert found.only_reader(first.outputs[0]) is rectified[0]
    assert found.readers(shared.inputs[0])[0] is first and len(found.readers(shared.inputs[0])) == 2
    assert found.only_reader(shared.inputs[0]) is None  # two read it
    output = rectified[0].outputs[0]
    assert found.readers(output) == (second,) and found.is_output(output)
    assert found.only_reader(output) is None  # the user reads it, too
    assert found.readers(shared.outputs[0]) == () and found.only_reader(shared.outputs[0]) is None


def test_a_call_that_reads_a_tensor_twice_is_one_reader():
    image = L.Input((4,))
    doubled = L.Add()([image, image])
    [reader] = Graph(keras.Model(image, doubled)).readers(image)
    assert reader.inputs[0] is reader.inputs[1] is image


def test_a_graph_ends_at_the_outputs_of_its_model(shared):
    """What other models do with the same layers and tensors does not count."""
    first, _ = Graph(shared).calls_of(shared.get_layer("conv"))
    part = Graph(keras.Model(shared.inputs, first.outputs))
    assert names(part.calls) == ["image", "conv"] and part.readers(first.outputs[0]) == ()


def test_a_sequential_model_read_from_a_file_has_each_call_once(tmp_path):
    model = keras.Sequential([L.Input((4,)), L.Dense(3, name="a"), L.Dense(2, name="b")])
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    found = Graph(model)
    assert names(found.calls)[1:] == ["a", "b"] and all(len(found.calls_of(layer)) == 1 for layer in model.layers)


def test_a_nested_model_is_one_call_that_opens():
    inner = keras.Sequential([L.Input((4,)), L.Dense(4, name="deep")], name="inner")
    x = image = L.Input((4,))
    for _ in range(2):
        x = inner(x)
    found = Graph(keras.Model(image, x))
    assert found.nested == (inner,) and len(found.calls_of(inner)) == 2
    assert names(Graph(inner).calls)[1:] == ["deep"]


@pytest.mark.parametrize("model", [keras.Sequential([L.Dense(2)], name="m"), keras.layers.Dense(2, name="m")])
def test_a_model_without_graph_is_refused(model):
    with pytest.raises(InputError, match="m has no graph; build a functional model"):
        Graph(model)


def test_running_a_graph_computes_what_the_model_does_and_sees_each_call(shared):
    seen = []

    def step(call, *args, **kwargs):
        seen.append(call)
        return call.operation(*args, **kwargs)

    outputs = Graph(shared).run([IMAGES], step)
    for ours, keras_own in zip(outputs, shared(IMAGES), strict=True):
        np.testing.assert_array_equal(ours, keras_own)
    assert names(seen).count("conv") == 2 and len(seen) == 5


def test_a_step_may_change_what_one_call_of_a_layer_makes(shared):
    found = Graph(shared)
    _, second = found.calls_of(shared.get_layer("conv"))

    def step(call, *args, **kwargs):
        made = call.operation(*args, **kwargs)
        return ops.zeros_like(made) if call is second else made

    end, middle = found.run([IMAGES], step)
    np.testing.assert_array_equal(end, np.maximum(IMAGES, 0))
    np.testing.assert_array_equal(middle, shared(IMAGES)[1])


@pytest.fixture(scope="module")
def forked():
    """A model with two named inputs and two named outputs."""
    a, b = L.Input((4,), name="a"), L.Input((3,), name="b")
    x = L.Dense(3, name="dense")(a)
    return keras.Model({"a": a, "b": b}, {"sum": L.Add()([x, b]), "x": x}, name="forked")


def test_a_rebuilt_model_has_the_same_graph_and_new_layers(shared, forked):
    for model in (shared, forked):
        other = rebuild(model)
        assert names(Graph(other).calls) == names(Graph(model).calls) and other.name == model.name
        keras.tree.assert_same_structure(other.output, model.output)
        keras.tree.assert_same_structure(other.input, model.input)
        assert not {id(layer) for layer in other.layers} & {id(layer) for layer in model.layers}
        other.set_weights(model.get_weights())
        inputs = {"a": IMAGES[:, 0, :4, 0], "b": IMAGES[:, 0, 0]} if model is forked else IMAGES
        for one, two in zip(keras.tree.flatten(other(inputs)), keras.tree.flatten(model(inputs)), strict=True):
            np.testing.assert_array_equal(one, two)


def test_rebuilding_replaces_each_operation_once_and_applies_each_call(shared):
    replaced, applied = [], []

    def replace(operation):
        replaced.append(operation.name)
        return graph.clone(operation)

    def apply(call, operation, *args, **kwargs):
        applied.append(call.name)
        return args[0] if call.name == "relu_layer" else operation(*args, **kwargs)

    other = rebuild(shared, replace, apply)
    assert replaced.count("conv") == 1 and applied.count("conv") == 2 and "image" not in replaced
    assert "relu_layer" not in names(Graph(other).calls)


def test_a_rebuilt_model_keeps_its_class_and_compilation():
    model = keras.Sequential([L.Input((4,)), L.Dense(2)], name="small")
    assert type(rebuild(model)) is type(keras.Model(model.inputs, model.outputs)) and rebuild(model).name == "small"

    class Own(keras.Model):
        pass

    class Wide(keras.Model):
        def __init__(self, units):
            x = L.Input((4,))
            super().__init__(x, L.Dense(units)(x))

    own = Own(model.inputs, model.outputs)
    own.compile("sgd", "mse")
    assert type(rebuild(own)) is Own and rebuild(own).compiled
    assert not isinstance(rebuild(Wide(3)), Wide) and not rebuild(Wide(3)).compiled


class Half(keras.metrics.MeanAbsoluteError):
    """A metric of one's own that its configuration does not make again."""

    def __init__(self, model):
        super().__init__(name="half")


class Slow(keras.optimizers.SGD):
    """An optimizer of one's own that its configuration does not make again."""

    def __init__(self, model):
        super().__init__(0.5)


def focal(y, p):
    return ops.mean((1 - p) ** 2)


def test_a_model_is_rebuilt_with_its_own_loss_and_metrics_and_another_optimizer():
    for loss in (focal, lambda y, p: ops.mean(p), {"out": focal}):
        x = L.Input((4,))
        model = keras.Model(x, {"out": L.Dense(2, name="out")(x)})
        model.compile(keras.optimizers.SGD(0.25, momentum=0.5), loss, metrics={"out": [Half(model), "mse"]})
        other = rebuild(model)
        assert other.compiled and other.loss == loss and other.optimizer is not model.optimizer
        assert float(other.optimizer.learning_rate) == 0.25 and other.optimizer.momentum == 0.5
        other.fit(IMAGES[:, 0, :4, 0], {"out": IMAGES[:, 1, :2, 0]}, verbose=0)
        assert int(other.optimizer.iterations) == 1 and int(model.optimizer.iterations) == 0


def test_a_model_whose_optimizer_cannot_be_made_again_is_rebuilt_not_compiled():
    x = L.Input((4,))
    model = keras.Model(x, L.Dense(2)(x))
    model.compile(Slow(model), "mse")
    assert not rebuild(model).compiled and model.compiled


class Unnamed:
    """An activation, an initializer, a regularizer and a constraint that Keras cannot store."""

    def __call__(self, x, **options):
        return ops.zeros(x, **options) if isinstance(x, tuple) else ops.sin(x)


def relu(x):
    return ops.clip(x, 0, 0.5)


def test_what_keras_does_not_know_goes_over_into_a_clone():
    for own in (relu, lambda x, **options: relu(x), Unnamed()):
        options = {"activation": own, "kernel_regularizer": own, "bias_constraint": own, "name": "conv"}
        layer = L.Conv2D(3, 2, **options, kernel_initializer="he_normal", padding="same")
        layer.build((None, 6, 6, 3))
        other = graph.clone(layer, name="other", padding="valid")
        assert (other.name, other.padding, other.filters) == ("other", "valid", 3)
        assert other.activation is layer.activation is own
        assert other.kernel_regularizer is own and other.bias_constraint is own
        assert type(other.kernel_initializer).__name__ == "HeNormal"
        assert other.kernel_initializer is not layer.kernel_initializer  # Keras makes another one
    zeros = graph.clone(L.Dense(3, kernel_initializer=Unnamed()))
    zeros.build((None, 2))
    assert not np.any(zeros.kernel)


def test_what_keras_knows_is_made_again_from_its_name():
    for activation in ("relu", keras.activations.gelu, ops.relu, None):
        layer = L.Conv2D(3, 2, activation=activation)
        assert graph.configuration(layer) == layer.get_config()
    assert graph.clone(L.Dense(3, activation=ops.relu)).activation is keras.activations.relu
    assert graph.clone(L.Dense(3, activation=ops.sin)).activation is ops.sin
    kept = L.Dense(3, activation=L.ReLU(2.0))
    assert graph.clone(kept).activation is not kept.activation and graph.clone(kept).activation.max_value == 2
