"""Heads: what a network ends in is found, and its loss, accuracy and training follow from it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from fewbits import InputError
from fewbits.backend import keras, ops
from fewbits.training import (
    Head,
    Schedule,
    evaluate,
    head_of,
    logits_of,
    prepare,
    progressive_quantization,
    train,
    with_head,
    without_head,
)

L = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(24, 6, 6, 1)).astype(np.float32)
CLASSES = RNG.integers(0, 3, 24)
SIGNS = RNG.integers(0, 2, 24)
SEVERAL = RNG.integers(0, 2, (24, 3))


def features(units=5):
    image = L.Input((6, 6, 1), name="image")
    x = L.Conv2D(4, 3, activation="relu", name="conv")(image)
    return image, L.Dense(units, activation="relu", name="hidden")(L.Flatten(name="flat")(x))


def network(end, wrap=lambda image, x: keras.Model(image, x, name="net")):
    """Return a network whose weights are always the same and whose last layers are `end`, a function of a tensor."""
    image, x = features()
    model = wrap(image, end(x))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    return model


def dense(units=3, **options):
    return L.Dense(units, name="out", **options)


def nested(x, kind):
    inner = L.Input(x.shape[1:])
    return keras.Model(inner, dense(activation=kind)(inner), name="inside")(x)


ENDS = {
    "in the layer": lambda x, kind: dense(activation=kind)(x),
    "in the layer, as a layer": lambda x, kind: dense(activation=L.Activation(kind))(x),
    "a function of the user's own": lambda x, kind: dense(activation=lambda y: getattr(ops, kind)(y))(x),
    "Activation": lambda x, kind: L.Activation(kind)(dense()(x)),
    "an operation": lambda x, kind: getattr(ops, kind)(dense()(x)),
    "a function of Keras": lambda x, kind: getattr(keras.activations, kind)(dense()(x)),
    "before layers that change nothing": lambda x, kind: L.Identity()(
        L.Activation("linear")(dense(activation=kind)(x))
    ),
    "within a model": nested,
    "within a sequential model": lambda x, kind: keras.Sequential([dense(), L.Activation(kind)])(x),
}
WRAPS = {
    "plain": lambda image, x: keras.Model(image, x, name="net"),
    "lists": lambda image, x: keras.Model([image], [x], name="net"),
    "dicts": lambda image, x: keras.Model({"image": image}, {"classes": x}, name="net"),
}


def outputs(model, images=IMAGES):
    return ops.convert_to_numpy(keras.tree.flatten(model(images, training=False))[0])


LOGITS = outputs(network(dense()))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("kind", "function"), [("softmax", lambda x: softmax(x, 1)), ("sigmoid", expit)])
def test_a_head_is_found_taken_off_and_put_back(end, kind, function):
    model = network(lambda x: ENDS[end](x, kind))
    head = head_of(model)
    assert head == Head(kind if kind == "softmax" else "multi-label", 3, activated=True)
    np.testing.assert_allclose(outputs(model), function(LOGITS), rtol=1e-5)
    bare = without_head(model)
    for each in (bare, logits_of(model)):
        np.testing.assert_allclose(outputs(each), LOGITS, rtol=1e-5, atol=1e-6)
        assert [weight.shape for weight in each.weights] == [weight.shape for weight in model.weights]
    assert head_of(bare) == Head("logits", 3, activated=False) and without_head(bare) is bare
    whole = with_head(bare, head)
    assert head_of(whole) == head and with_head(bare, head_of(bare)) is bare
    np.testing.assert_allclose(outputs(whole), outputs(model), rtol=1e-5)


def test_a_copy_without_its_head_has_weights_of_its_own_and_logits_of_has_not():
    model = network(dense(activation="softmax"))
    without_head(model).get_layer("conv").bias.assign(np.ones(4))
    assert not np.allclose(model.get_layer("conv").bias, 1)
    logits_of(model).get_layer("conv").bias.assign(np.ones(4))
    np.testing.assert_array_equal(model.get_layer("conv").bias, np.ones(4))


def test_a_sequential_network_has_a_head_too():
    model = keras.Sequential([L.Input((6, 6, 1)), L.Flatten(), dense(activation="softmax")])
    assert head_of(model).kind == "softmax"
    np.testing.assert_allclose(softmax(outputs(without_head(model)), 1), outputs(model), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "labels", "kind", "wrap"),
    [
        ({}, CLASSES, "logits", "plain"),
        ({}, CLASSES, "logits", "lists"),
        ({"activation": "softmax"}, CLASSES, "softmax", "plain"),
        ({"activation": "softmax"}, CLASSES, "softmax", "dicts"),
        ({"units": 1, "activation": "sigmoid"}, SIGNS, "sigmoid", "plain"),
        ({"units": 1, "activation": "sigmoid"}, SIGNS[:, np.newaxis], "sigmoid", "lists"),
        ({"activation": "sigmoid"}, SEVERAL, "multi-label", "plain"),
    ],
)
def test_loss_and_accuracy_are_those_of_the_definition(options, labels, kind, wrap):
    model = network(dense(**options), WRAPS[wrap])
    assert head_of(model).kind == kind
    found = outputs(model, keras.tree.pack_sequence_as(model.input, [IMAGES])).astype(np.float64)
    if kind in ("logits", "softmax"):
        logs = log_softmax(found, 1) if kind == "logits" else np.log(found)
        losses, right = -logs[np.arange(24), labels], found.argmax(1) == labels
    else:
        labels = labels.reshape(24, -1)
        losses, right = -np.log(np.where(labels, found, 1 - found)).mean(1), (found > 0.5) == labels
    score = evaluate(model, (IMAGES, labels), batch_size=10)
    assert (score.hits, score.n, score.hits_top5) == (right.sum(), right.size, None)
    assert 0 < score.hits < score.n and score.loss == pytest.approx(losses.mean(), rel=1e-5)
    data = IMAGES, labels
    [entry] = train(prepare(model, "sgd", 1e-12, momentum=0), data, epochs=1, batch_size=10, validation=data)
    assert entry["loss"] == pytest.approx(score.loss, rel=1e-5)
    assert entry["val_loss"] == pytest.approx(score.loss, rel=1e-5)
    assert entry["accuracy"] == pytest.approx(score.accuracy) == pytest.approx(entry["val_accuracy"])


def test_a_network_with_softmax_learns_as_the_same_network_with_logits():
    histories, weights = [], []
    for options in ({}, {"activation": "softmax"}):
        model = network(dense(**options))
        histories.append(train(prepare(model, "adam", 0.01), (IMAGES, CLASSES), epochs=3))
        weights.append(model.get_weights())
        assert evaluate(model, (IMAGES, CLASSES)).loss < histories[-1][0]["loss"]
    for one, other in zip(*histories, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def sure_and_wrong():
    """Return the loss of a sigmoid unit with the weight 60 whose labels are 0, and its weight after a step."""
    model = keras.Sequential([L.Input((1, 1, 1)), L.Flatten(), dense(1, activation="sigmoid", use_bias=False)])
    model.set_weights([np.array([[60.0]])])
    [entry] = train(prepare(model, "sgd", 1.0, momentum=0), (np.ones((4, 1, 1, 1)), np.zeros(4, int)), epochs=1)
    return entry["loss"], model.get_weights()[0].item()


def test_a_unit_that_is_sure_and_wrong_still_learns():
    """From probabilities, the loss would be that of a logit of 17, and its gradient 0."""
    assert sure_and_wrong() == pytest.approx((60, 59))


def test_training_without_the_head_leaves_what_the_model_returns():
    model = network(dense(activation="softmax"))
    during = []
    train(model, (IMAGES, CLASSES), epochs=1, progress=lambda now: during.append(outputs(model).sum(1)))
    np.testing.assert_allclose(during, 1, rtol=1e-5)
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0).sum(1), 1, rtol=1e-5)


def test_a_stopped_training_with_softmax_goes_on_to_the_same_bits(tmp_path):
    def net():
        return prepare(network(dense(activation="softmax")), "adam", 0.01)

    whole, parts = net(), net()
    history = train(whole, (IMAGES, CLASSES), epochs=3)
    train(parts, (IMAGES, CLASSES), epochs=1, checkpoint=tmp_path / "run.npz")
    parts = net()
    assert train(parts, (IMAGES, CLASSES), epochs=3, checkpoint=tmp_path / "run.npz", resume=True) == history
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# Networks that were compiled by their user


@pytest.mark.parametrize(
    "loss",
    [None, "sparse_categorical_crossentropy", "categorical_crossentropy", keras.losses.CategoricalCrossentropy()],
)
def test_a_cross_entropy_of_the_users_is_that_of_the_head(loss):
    model = network(dense(activation="softmax"))
    model.compile(keras.optimizers.SGD(1e-12), loss)
    [entry] = train(model, (IMAGES, CLASSES), epochs=1)
    assert entry["loss"] == pytest.approx(evaluate(model, (IMAGES, CLASSES)).loss, rel=1e-5) and "accuracy" in entry


def test_a_loss_of_the_users_own_gets_what_the_model_returns():
    model = network(dense(activation="softmax"))
    model.compile(keras.optimizers.SGD(1e-12), lambda labels, outputs: ops.mean(ops.sum(outputs, 1)) + 4)
    [entry] = train(model, (IMAGES, CLASSES), epochs=1)
    assert entry["loss"] == pytest.approx(5)


@pytest.mark.parametrize(
    ("options", "loss", "said"),
    [
        ({}, "sparse_categorical_crossentropy", "net returns logits, so compile its loss with from_logits=True"),
        (
            {"activation": "sigmoid", "units": 1},
            keras.losses.BinaryCrossentropy(from_logits=True),
            "net returns probabilities, so compile its loss with from_logits=False",
        ),
        (
            {"activation": "softmax"},
            keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
            "net is compiled with the loss CategoricalCrossentropy, which takes one-hot labels; compile it with a sp",
        ),
    ],
)
def test_a_loss_for_other_outputs_or_labels_is_refused(options, loss, said):
    model = network(dense(**options))
    model.compile("sgd", loss)
    with pytest.raises(InputError, match=said):
        train(model, (IMAGES, SIGNS), epochs=1)


# Few bits


@pytest.mark.parametrize(
    ("options", "labels"), [({"activation": "softmax"}, CLASSES), ({"activation": "sigmoid", "units": 1}, SIGNS)]
)
def test_few_bits_are_trained_before_the_head_which_comes_back(options, labels):
    model = network(dense(**options))
    data = IMAGES, labels
    outcome = progressive_quantization(model, data, Schedule((6, 6, 6), "all-at-once"), validation=data)
    assert head_of(outcome.model) == head_of(model)
    assert outcome.model.get_layer("out").formats.output.nbits == 6
    again = progressive_quantization(
        model, data, Schedule((6, 6, 6), "all-at-once"), validation=data, reuse=outcome.model
    )
    assert again.history == outcome.history and again.model is outcome.model


# What is refused


def other_outputs():
    image, x = features()
    return keras.Model(image, [dense()(x), L.Dense(2)(x)], name="net")


def feature_maps():
    image = L.Input((6, 6, 1))
    return keras.Model(image, L.Conv2D(3, 3)(image), name="net")


REFUSED = {
    "one unit": (
        lambda: network(dense(1)),
        SIGNS,
        "net ends in one unit without sigmoid; give it activation='sigmoid'",
    ),
    "a softmax of one": (
        lambda: network(dense(1, activation="softmax")),
        SIGNS * 0,
        "net ends in a softmax of one unit, which is always 1",
    ),
    "another activation": (
        lambda: network(dense(activation="hard_sigmoid")),
        CLASSES,
        "net ends in hard_sigmoid, which has no cross-entropy; end it in softmax or sigmoid",
    ),
    "several outputs": (other_outputs, CLASSES, "net has 2 outputs, and a loss needs one"),
    "feature maps": (
        feature_maps,
        CLASSES,
        "net must return one number per class, not an output of the shape 4 x 4 x 3",
    ),
    "class 2 for a sigmoid": (
        lambda: network(dense(1, activation="sigmoid")),
        CLASSES,
        "hold the label 2; net has 2 classes, 0 to 1",
    ),
    "one-hot labels": (
        lambda: network(dense(activation="softmax")),
        np.eye(3)[CLASSES],
        r"must hold one class number per image, not labels of the shape \(n, 3\); take labels.argmax\(1\)",
    ),
    "classes for several sigmoids": (
        lambda: network(dense(activation="sigmoid")),
        CLASSES,
        r"net ends in 3 sigmoid units, so .* must hold labels of 0 or 1 of the shape \(n, 3\), not \(n,\)",
    ),
    "labels that are counts": (lambda: network(dense(activation="sigmoid")), SEVERAL * 2, "hold the label 2"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize(
    "what", [evaluate, lambda model, data: train(model, data, epochs=1)], ids=["evaluate", "train"]
)
def test_what_has_no_cross_entropy_is_refused(case, what):
    model, labels, said = REFUSED[case]
    with pytest.raises(InputError, match=said):
        what(model(), (IMAGES, labels))


def test_a_layer_used_twice_keeps_its_activation():
    image, x = features(units=3)
    twice = L.Dense(3, activation="softmax", name="twice")
    model = keras.Model(image, twice(twice(x)), name="net")
    with pytest.raises(InputError, match="layer twice of net is used 2 times, so its activation cannot be taken off"):
        without_head(model)
    assert evaluate(model, (IMAGES, CLASSES)).n == 24


# Backends

COMPUTE = """
import sys; sys.path.insert(0, {folder!r})
import numpy as np
from test_heads import CLASSES, IMAGES, SEVERAL, SIGNS, dense, network, sure_and_wrong
from fewbits.pruning import importance
from fewbits.training import prepare, train
for units, kind, labels in ((3, "softmax", CLASSES), (1, "sigmoid", SIGNS), (3, "sigmoid", SEVERAL)):
    model = network(dense(units, activation=kind))
    print(*importance(model, (IMAGES, labels), "taylor")["conv"])
    print(*(entry["loss"] for entry in train(prepare(model, "sgd", 0.05), (IMAGES, labels), epochs=2)))
print(*sure_and_wrong())
"""


def test_tensorflow_and_jax_compute_the_same():
    pytest.importorskip("jax")
    code, found = COMPUTE.format(folder=str(Path(__file__).parent)), []
    for backend in ("tensorflow", "jax"):
        environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert not done.returncode, done.stderr
        found.append([float(number) for number in done.stdout.split()])
    assert len(found[0]) == 20 and found[1] == pytest.approx(found[0], rel=1e-4)
