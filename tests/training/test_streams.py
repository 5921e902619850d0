"""Streams of images in training, evaluation, schedules and criteria, against the arrays they are cut from."""

import numpy as np
import pytest

from fewbits import InputError
from fewbits.backend import keras, ops
from fewbits.data import Split
from fewbits.pruning import Plan, importance, prune, would_remove
from fewbits.quantization.calibration import msb_table
from fewbits.training.batches import StreamSource, source_of
from fewbits.training.evaluation import evaluate
from fewbits.training.loop import read_history, train
from fewbits.training.progressive import progressive_quantization
from fewbits.training.recipe import Recipe, prepare
from fewbits.training.schedules import Schedule

L = keras.layers
RNG = np.random.default_rng(0)
X, Y = RNG.random((22, 6, 6, 1), np.float32), RNG.integers(0, 3, 22)
BATCH = 5


def network(*last):
    keras.utils.set_random_seed(1)
    stack = [L.Conv2D(4, 3, activation="relu", name="conv1"), L.Flatten(), *(last or [L.Dense(3, name="out")])]
    return keras.Sequential([L.Input((6, 6, 1)), *stack], name="net")


class Counted(keras.utils.PyDataset):
    """Batches of X and Y that count how often each is read, and the ends of epochs."""

    def __init__(self, labelled=True, endless=False):
        super().__init__()
        self.read, self.epochs, self.labelled, self.endless = [], 0, labelled, endless

    @property
    def num_batches(self):
        return None if self.endless else -(-len(X) // BATCH)

    def __getitem__(self, i):
        self.read.append(i)
        chosen = slice(BATCH * i, BATCH * i + BATCH)
        return (X[chosen], Y[chosen]) if self.labelled else X[chosen]

    def on_epoch_end(self):
        self.epochs += 1


def dataset(*values, batch=BATCH):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(values or (X, Y))
    return data.batch(batch) if batch else data


STREAMS = {
    "PyDataset": Counted,
    "tf.data, batches": dataset,
    "tf.data, single images": lambda: dataset(batch=None),
    "tf.data of unknown length": lambda: dataset(batch=None).filter(lambda x, y: True).batch(BATCH),
    "tf.data, labels in a column": lambda: dataset(X, Y[:, np.newaxis].astype(np.float32)),
    "list of pairs": lambda: [(X[i : i + BATCH], Y[i : i + BATCH]) for i in range(0, 22, BATCH)],
    "list of two pairs": lambda: [(X[:11], Y[:11]), (X[11:], Y[11:])],
}
each_stream = pytest.mark.parametrize("name", STREAMS)


def in_order(model, epochs):
    """Return the history of a training on the arrays in the order of the stream."""

    class InOrder(StreamSource):
        def batches(self, batch_size, shuffle_seed=None):
            yield from ((X[i : i + BATCH], Y[i : i + BATCH]) for i in range(0, 22, BATCH))

    return train(model, InOrder(model, [], "the data"), epochs=epochs, batch_size=BATCH)


@each_stream
def test_a_stream_is_evaluated_as_its_arrays(name):
    model = network()
    assert evaluate(model, STREAMS[name]())[:3] == pytest.approx(evaluate(model, (X, Y))[:3], rel=1e-6)


@pytest.mark.parametrize("name", [name for name in STREAMS if "two" not in name])
def test_a_stream_is_trained_on_in_its_own_order(name):
    model, same = network(), network()
    history = train(model, STREAMS[name](), validation=STREAMS[name](), epochs=2, batch_size=BATCH)
    expected = in_order(same, 2)
    assert [entry["loss"] for entry in history] == [entry["loss"] for entry in expected]
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), same.get_weights()))
    assert history[-1]["val_accuracy"] == evaluate(model, (X, Y)).accuracy


def test_a_stream_is_read_once_per_epoch_and_told_so():
    data, held_out = Counted(), Counted()
    train(network(), data, validation=held_out, epochs=3)
    assert data.read == held_out.read == [0, 1, 2, 3, 4] * 3 and data.epochs == held_out.epochs == 3


def test_the_steps_of_a_stream_are_known_after_its_first_epoch():
    seen = []
    train(network(), dataset(), epochs=2, progress=seen.append)
    assert [(now.epoch, now.step, now.steps) for now in seen] == [
        *((1, step, None) for step in range(1, 6)),
        (1, 5, 5),
        *((2, step, 5) for step in range(1, 5)),
        (2, 5, 5),
    ]
    assert all(now.seconds_left == 0 for now in seen[:5])


def test_a_training_on_a_stream_is_resumed(tmp_path):
    whole = train(network(), dataset(), epochs=3)
    options = {"checkpoint": tmp_path / "run", "resume": True}
    train(network(), dataset(), epochs=2, **options)
    assert train(network(), dataset(), epochs=3, **options) == whole == read_history(tmp_path / "run")
    with pytest.raises(InputError, match="with another set of training images"):
        train(network(), Counted(), epochs=3, **options)


@pytest.mark.parametrize("decay", ["constant", "cosine"])
def test_a_schedule_takes_streams(decay):
    outcome = progressive_quantization(
        network(),
        dataset(),
        Schedule((8, 8, 8), "all-at-once", 2),
        validation=Counted(),
        recipe=Recipe(decay=decay, batch_size=BATCH),
    )
    assert len(outcome.history) == 2 and outcome.val_accuracy == evaluate(outcome.model, (X, Y)).accuracy
    rate = outcome.model.optimizer.get_config()["learning_rate"]
    assert rate == pytest.approx(0.001) if decay == "constant" else rate["config"]["decay_steps"] == 10


@each_stream
def test_filters_are_ranked_on_a_stream_as_on_its_arrays(name):
    model = network()
    for criterion in ("combined", "mean-activation", "weights-l1"):
        expected = importance(model, (X, Y), criterion)
        found = importance(model, STREAMS[name](), criterion)
        assert all(np.allclose(found[layer], expected[layer]) for layer in expected)
    split = Split(X, Y)
    assert np.allclose(importance(model, split)["conv1"], importance(model, (X, Y))["conv1"])


def test_criteria_without_a_loss_need_no_labels():
    model, unlabelled = network(), Counted(labelled=False)
    expected = importance(model, (X, Y), "activation-l2")
    assert np.allclose(importance(model, unlabelled, "activation-l2")["conv1"], expected["conv1"])
    with pytest.raises(InputError, match="images without labels; give pairs"):
        importance(model, unlabelled, "taylor")


@each_stream
def test_formats_are_calibrated_on_a_stream_as_on_its_arrays(name):
    assert msb_table(network(), STREAMS[name]()) == msb_table(network(), X)


def test_images_of_a_stream_are_picked_by_number():
    source = source_of(network(), dataset(), "the data")
    assert len(source) == 22 and source.steps == 5
    picked = source.pick([1, 7, 21])
    assert np.array_equal(picked.images, X[[1, 7, 21]]) and np.array_equal(picked.labels, Y[[1, 7, 21]])
    first = source_of(network(), dataset(), "the data").first(7)
    assert np.array_equal(first.images, X[:7]) and np.array_equal(first.labels, Y[:7])


def test_an_iterator_is_read_once():
    model = network()
    assert evaluate(model, zip(X, Y)).n == 22
    assert len(train(network(), zip(X, Y), epochs=1)) == 1
    with pytest.raises(InputError, match="the training data are a zip, which can be read only once; give arrays or"):
        train(network(), zip(X, Y), epochs=2)


def several(model, data):
    with pytest.raises(InputError) as error:
        evaluate(model, data)
    said = str(error.value)
    assert "\n" not in said and len(said) < 250
    return said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda: Counted(labelled=False), "the data has images without labels; give pairs, (images, labels)"),
        (lambda: Counted(endless=True), "the data never end; leave out repeat(), or take a number of batches"),
        (lambda: dataset().repeat(), "the data never end; leave out repeat(), or take a number of batches"),
        (lambda: dataset(X, Y, np.ones(22)), "the data has weights of samples, which are not used; leave them out"),
        (lambda: dataset(X, np.eye(3)[Y]), "must hold one class number per image, not labels of the shape (n, 3)"),
        (lambda: dataset(X, Y + 1), "the data hold the label 3; net has 3 classes, 0 to 2"),
        (lambda: dataset(X, Y + 0.5), "the labels of the data must be integers, not float64"),
        (lambda: dataset(X[:, :5], Y), "has the shape (5, 5, 6, 1), and net takes (n, 6, 6, 1); resize the images"),
        (lambda: dataset(np.where(X < 0.1, np.nan, X), Y), "value(s) that are NaN or infinite"),
        (lambda: [(X, Y[:9])], "the data has 22 images in a batch, and labels of (9)"),
        (lambda: dataset().take(0), "the data hold no images"),
        (lambda: iter([]), "the data hold no images"),
        (lambda: list(X), "the data has images without labels; give pairs, (images, labels)"),
        (lambda: X, "the data must be a pair of images and labels, a Split, an ImageFolder, a tf.data.Dataset"),
        (lambda: "photos", "the data must be a pair of images and labels, a Split, an ImageFolder"),
    ],
)
def test_a_stream_that_cannot_be_used_is_refused_in_one_sentence(data, said):
    assert said in several(network(), data())


def test_sigmoid_units_take_streams():
    one, many = network(L.Dense(1, activation="sigmoid")), network(L.Dense(2, activation="sigmoid"))
    labels = np.stack([Y > 0, Y > 1], 1)
    for model, y in ((one, Y > 0), (many, labels)):
        given = y.astype(np.float32)
        expected = evaluate(model, (X, y.astype(int)))
        assert evaluate(model, dataset(X, given))[:3] == pytest.approx(expected[:3], rel=1e-6)
    assert "must hold labels of 0 or 1 of the shape (n, 2)" in several(many, dataset())


@pytest.mark.parametrize("make", [dataset, Counted])
def test_a_network_is_pruned_on_a_stream(make):
    plan = Plan(ratio=0.5, per_step=2, images=(22, 22), rank_images=22)
    assert would_remove(network(), make(), plan).keys() == {"conv1"}
    pruned = prune(network(), make(), plan, validation=make())
    assert pruned.model.get_layer("conv1").filters == 2 or pruned.stopped != "goal"
    assert len(pruned.steps) >= 1 and pruned.steps[0]["val_accuracy"] == evaluate(network(), (X, Y)).accuracy


# Class weights


def trained(weight, model=None, data=(X, Y), **options):
    model = model or network()
    prepare(model, learning_rate=0.05)
    history = train(model, data, epochs=2, batch_size=22, class_weight=weight, **options)
    return history, model.get_weights()


def test_weights_count_each_image_as_its_class():
    """The first loss is the mean of weight times cross-entropy, and a class of weight 0 teaches nothing."""
    model = network()
    losses = -ops.convert_to_numpy(ops.log_softmax(model.predict_on_batch(X)))[np.arange(22), Y]
    history, _ = trained({0: 2.0, 2: 0.5})
    assert history[0]["loss"] == pytest.approx(np.mean(losses * np.array([2, 1, 0.5])[Y]), rel=1e-5)
    few = Y != 1
    _, with_zero = trained({1: 0, 0: few.mean(), 2: few.mean()})
    _, without = trained({0: few.mean() ** 2, 2: few.mean() ** 2}, data=(X[few], Y[few]))
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(with_zero, without))


def test_balanced_classes_count_the_same_in_all_kinds_of_data():
    counts = np.bincount(Y)
    assert len(set(counts)) > 1
    by_hand = {label: len(Y) / (3 * count) for label, count in enumerate(counts)}
    history, weights = trained("balanced")
    same, equal = trained(by_hand)
    assert history == same and all(np.array_equal(a, b) for a, b in zip(weights, equal))
    stream = Counted()
    streamed, _ = trained("balanced", data=stream)
    assert np.isfinite(streamed[-1]["loss"]) and len(stream.read) == 3 * 5  # counted, then two epochs


def test_two_classes_of_one_sigmoid_unit_have_weights():
    model = network(L.Dense(1, activation="sigmoid"))
    y = (Y > 0).astype(int)
    p = model.predict_on_batch(X)[:, 0]
    losses = -np.log(np.where(y > 0, p, 1 - p))
    history, _ = trained({0: 3}, model, (X, y))
    assert history[0]["loss"] == pytest.approx(np.mean(losses * np.where(y > 0, 1, 3)), rel=1e-5)


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        ("balance", "class weights must be a mapping, class number -> weight, or 'balanced', not 'balance'"),
        ([1, 2, 3], "class weights must be a mapping, class number -> weight, or 'balanced', not"),
        ({3: 1}, "class weights name the class 3, and the classes of net are 0 to 2"),
        ({"onion": 1}, "class weights name the class 'onion', and the classes of net are 0 to 2"),
        ({0: -1}, "the weight of class 0 must be a number of at least 0, not -1"),
        ({0: float("nan")}, "the weight of class 0 must be a number of at least 0, not nan"),
        ({0: "much"}, "the weight of class 0 must be a number of at least 0, not 'much'"),
    ],
)
def test_weights_that_cannot_be_are_refused(weight, said):
    with pytest.raises(InputError) as error:
        trained(weight)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_what_cannot_be_balanced_is_refused():
    with pytest.raises(InputError, match="class 2 of net has no training image, so its weight cannot be balanced; add"):
        trained("balanced", data=(X, Y % 2))
    many = network(L.Dense(2, activation="sigmoid"))
    with pytest.raises(InputError, match="class weights are for images of one class, and net ends in 2 sigmoid units"):
        trained("balanced", many, (X, np.stack([Y > 0, Y > 1], 1)))


def test_a_training_is_resumed_with_the_same_weights_only(tmp_path):
    options = {"checkpoint": tmp_path / "run", "resume": True}
    trained("balanced", **options)
    assert len(trained("balanced", **options)[0]) == 2
    with pytest.raises(InputError, match="with another set of class weights"):
        trained(None, **options)
