"""Criteria of pruning: what each filter matters, against figures computed another way."""

import numpy as np
import pytest

from fewbits import InputError, quantize_model, zoo
from fewbits.backend import keras, ops
from fewbits.names import CRITERIA
from fewbits.pruning import importance, least_important, removable

L = keras.layers


def network():
    """Two branches, one with batch normalization, joined and read by a dense layer; weights at random."""
    image = L.Input((6, 6, 2))
    a = L.Conv2D(4, 3, activation="relu", padding="same", name="a")(image)
    b = L.Conv2D(3, 3, use_bias=False, padding="same", name="b")(image)
    b = L.ReLU(name="b_relu")(L.BatchNormalization(name="b_bn")(b))
    c = L.SeparableConv2D(5, 3, name="c")(L.Concatenate(name="joined")([a, b]))
    d = L.Dense(6, activation="relu", name="d")(L.GlobalAveragePooling2D(name="mean")(L.ReLU(name="c_relu")(c)))
    model, rng = keras.Model(image, L.Dense(3, name="out")(d), name="branches"), np.random.default_rng(0)
    for variable in model.weights:
        array = rng.normal(0.1, 0.5, variable.shape)
        variable.assign(np.abs(array) + 0.5 if variable.name == "moving_variance" else array)
    return model


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    return rng.normal(size=(10, 6, 6, 2)).astype(np.float32), rng.integers(0, 3, 10)


MAPS = {"a": "a", "b": "b_relu", "c": "c_relu", "d": "d", "out": "out"}  # layer -> what its maps leave


def maps(model, images):
    """Return layer -> maps (images, places, filters)."""
    taps = keras.Model(model.input, {name: model.get_layer(end).output for name, end in MAPS.items()})
    found = {name: ops.convert_to_numpy(x) for name, x in taps(images).items()}
    return {name: x.reshape(len(x), -1, x.shape[-1]).astype(np.float64) for name, x in found.items()}


def assert_equal(found, expected, rtol=1e-5):
    assert set(found) == set(MAPS)
    for name, scores in expected.items():
        np.testing.assert_allclose(found[name], scores, rtol=rtol, atol=1e-6, err_msg=name)


def unit(scores):
    return scores / np.sqrt((scores**2).sum())


def test_mean_activation_is_equations_11_and_12_of_backstrom2018(model, data):
    means = {name: x.mean((0, 1)) for name, x in maps(model, data[0]).items()}
    assert_equal(importance(model, data, "mean-activation"), {n: m / np.abs(m).max() for n, m in means.items()})


def test_activation_l2_is_equation_7_1_of_gaikwad2018(model, data):
    norms = {name: np.sqrt((x**2).sum(1)).mean(0) for name, x in maps(model, data[0]).items()}
    assert_equal(importance(model, data, "activation-l2"), {name: unit(norm) for name, norm in norms.items()})


def losses(model, images, labels):
    logits = ops.convert_to_numpy(model(images)).astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]


def changes(model, data, step=1e-2):
    """Return layer -> derivative of the loss of each image by a factor at each filter's map, by central differences.

    The factor is put into the weights: a ReLU hands a positive one on.
    """
    found = {}
    for name in MAPS:
        layer = model.get_layer("b_bn" if name == "b" else name)
        scaled = [w for w in layer.weights if w.name in ("kernel", "pointwise_kernel", "bias", "gamma", "beta")]
        before = [ops.convert_to_numpy(w).copy() for w in scaled]
        columns = []
        for i in range(before[-1].shape[-1]):
            ends = []
            for factor in (1 + step, 1 - step):
                for variable, array in zip(scaled, before):
                    changed = array.copy()
                    changed[..., i] *= factor
                    variable.assign(changed)
                ends.append(losses(model, *data))
            columns.append((ends[0] - ends[1]) / (2 * step))
        for variable, array in zip(scaled, before):
            variable.assign(array)
        found[name] = np.array(columns).T
    return found


def test_taylor_is_equation_8_6_of_gaikwad2018_for_each_image(model, data):
    derivatives = changes(model, data)
    expected = {name: unit(np.abs(x).mean(0)) for name, x in derivatives.items()}
    assert_equal(importance(model, data, "taylor"), expected, rtol=5e-3)
    first = {name: unit(np.abs(x.mean(0))) for name, x in derivatives.items()}
    found = importance(model, data, "taylor-averaged-first")
    for name in ("a", "c"):
        np.testing.assert_allclose(found[name], first[name], rtol=0, atol=1e-2)
        assert np.abs(first[name] - expected[name]).max() > 0.05


def test_what_helps_one_image_and_harms_another_cancels_only_where_it_is_averaged_first():
    image = L.Input((1, 1, 1))
    x = L.GlobalAveragePooling2D(name="mean")(L.Conv2D(1, 1, name="filter")(image))
    model = keras.Model(image, L.Dense(2, name="out")(x))
    model.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), np.array([[1.0, -1.0]]), np.zeros(2)])
    data = np.ones((2, 1, 1, 1), np.float32), np.array([0, 1])  # more of it is good for the first, bad for the second
    logits = np.array([1.0, -1.0])
    share = np.exp(logits) / np.exp(logits).sum()
    each = np.array([[-2 * share[1], 2 * share[0]]]).T
    assert np.abs(each.mean()) < 0.8 * np.abs(each).mean()
    raw = {}
    for criterion in ("taylor", "taylor-averaged-first"):
        raw[criterion] = _without_norm(criterion, model, data)["filter"][0]
    assert raw["taylor"] == pytest.approx(np.abs(each).mean(), rel=1e-5)
    assert raw["taylor-averaged-first"] == pytest.approx(np.abs(each.mean()), rel=1e-5)


def _without_norm(criterion, model, data):
    from fewbits.pruning import criteria

    normalized, criteria._normalized = criteria._normalized, dict
    try:
        return importance(model, data, criterion)
    finally:
        criteria._normalized = normalized


def test_combined_is_the_mean_of_both(model, data):
    parts = importance(model, data, "taylor"), importance(model, data, "activation-l2")
    assert_equal(importance(model, data), {name: (parts[0][name] + parts[1][name]) / 2 for name in MAPS})


def test_norms_of_weights(model):
    kernels = {name: model.get_layer(name).get_weights()[name == "c"] for name in MAPS}
    flat = {name: kernel.reshape(-1, kernel.shape[-1]).astype(np.float64) for name, kernel in kernels.items()}
    assert_equal(importance(model, (), "weights-l1"), {n: unit(np.abs(k).sum(0)) for n, k in flat.items()})
    assert_equal(importance(model, (), "weights-l2"), {n: unit(np.sqrt((k**2).sum(0))) for n, k in flat.items()})


def test_the_seed_draws_at_random(model):
    one, same, other = (importance(model, (), "random", seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], same[name]) and not np.array_equal(one[name], other[name]) for name in MAPS)


@pytest.mark.parametrize("criterion", ["mean-activation", "activation-l2", "taylor", "taylor-averaged-first"])
def test_batches_make_no_difference_wherever_they_come_from(model, data, criterion):
    tf = pytest.importorskip("tensorflow")
    whole = importance(model, data, criterion)
    for other in (
        importance(model, data, criterion, batch_size=3),
        importance(model, tf.data.Dataset.from_tensor_slices(data).batch(4), criterion),
        importance(model, [(data[0][:7], data[1][:7]), (data[0][7:], data[1][7:])], criterion),
    ):
        assert_equal(other, whole, rtol=1e-4)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_filter_of_a_network_has_its_importance_quantized_or_not(criterion):
    model = zoo.build("squeezenet_digits", (8, 8, 1), 10)
    data = np.random.default_rng(0).random((4, 8, 8, 1), np.float32), np.arange(4)
    for each in (model, quantize_model(model)):
        scores = importance(each, data, criterion)
        assert {(name, i) for group in removable(model) for name, i in group} <= {
            (name, i) for name, found in scores.items() for i in range(len(found))
        }
        assert all(found.shape == (model.get_layer(name).filters,) for name, found in scores.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), "tayler"), "unknown criterion 'tayler'; it is one of mean-activation"),
        (
            ((np.zeros((2, 6, 6, 2)), np.zeros(3)), "taylor"),
            "images and labels must be equal in number, and at least one, not 2 and 3",
        ),
        (
            ((np.zeros((0, 6, 6, 2)), np.zeros(0)), "taylor"),
            "images and labels must be equal in number, and at least one, not 0 and 0",
        ),
        (((np.full((1, 6, 6, 2), np.nan), np.zeros(1)), "activation-l2"), "the importance of b's filters is NaN"),
    ],
)
def test_what_cannot_be_ranked_is_refused(model, arguments, message):
    with pytest.raises(InputError, match=message):
        importance(model, *arguments)


def test_two_outputs_have_no_one_loss(data):
    image = L.Input((6, 6, 2))
    x = L.Conv2D(2, 3, name="a")(image)
    model = keras.Model(image, [L.Flatten()(x), L.GlobalAveragePooling2D()(x)], name="two")
    assert importance(model, data, "activation-l2")["a"].shape == (2,)
    with pytest.raises(InputError, match="two has 2 outputs, and a loss needs one; build a keras.Model"):
        importance(model, data, "taylor")


def small(policy="float32", end=L.Dense, relu=lambda x: L.ReLU()(x)):
    """Return a network with the same weights under any precision."""
    image = L.Input((6, 6, 2))
    x = relu(L.Conv2D(4, 3, name="a", dtype=policy)(image))
    x = relu(L.Conv2D(3, 3, name="b", dtype=policy)(x))
    model = keras.Model(image, end(3, name="out", dtype=policy)(L.GlobalAveragePooling2D(dtype=policy)(x)))
    rng = np.random.default_rng(3)
    model.set_weights([np.round(rng.normal(0.1, 0.5, weight.shape) * 64) / 64 for weight in model.get_weights()])
    return model


def scores_of(model, data, criterion):
    return np.concatenate([importance(model, data, criterion)[name] for name in "ab"])


@pytest.mark.parametrize("criterion", [name for name in CRITERIA if name != "random"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float64"])
def test_precision_makes_no_difference(policy, criterion, data):
    """Values of 16 bits would lose small gradients; the weights drawn here are exact in all precisions."""
    found = scores_of(small(policy), data, criterion)
    np.testing.assert_array_equal(found, scores_of(small(), data, criterion))


@pytest.mark.parametrize("criterion", ["taylor", "combined"])
def test_softmax_at_the_end_makes_no_difference(criterion, data):
    def dense(units, **options):
        return L.Dense(units, activation="softmax", **options)

    def layer(units, **options):
        return lambda x: L.Softmax()(L.Dense(units, **options)(x))

    expected = importance(small(), data, criterion)
    for end in (dense, layer):
        found = importance(small(end=end), data, criterion)
        for name in "ab":
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
    assert set(found) == set(expected)


@pytest.mark.parametrize("criterion", ["mean-activation", "taylor"])
def test_maps_end_behind_a_relu_of_any_kind_even_one_that_is_used_twice(criterion, data):
    twice = L.ReLU(name="twice")
    expected = scores_of(small(), data, criterion)
    for relu in (lambda x: ops.relu(x), twice, lambda x: L.Activation("relu")(x)):
        np.testing.assert_allclose(scores_of(small(relu=relu), data, criterion), expected, rtol=1e-6)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_sequential_model_and_lists_are_ranked_as_the_same_plain_network(criterion, data):
    stack = [L.Conv2D(4, 3, name="a"), L.ReLU(), L.Conv2D(3, 3, name="b"), L.ReLU(), L.GlobalAveragePooling2D()]
    model = keras.Sequential([L.Input((6, 6, 2)), *stack, L.Dense(3, name="out")])
    model.set_weights(small().get_weights())
    lists = small()
    lists = keras.Model(lists.inputs, lists.outputs)
    for other in (model, lists):
        np.testing.assert_allclose(scores_of(other, data, criterion), scores_of(small(), data, criterion), rtol=1e-6)


def test_one_dimension_and_transposed_convolutions_are_ranked(data):
    images = data[0].reshape(10, 36, 2)
    stack = [L.Conv1D(4, 3, name="a"), L.Conv1DTranspose(3, 2, name="b"), L.GlobalAveragePooling1D()]
    model = keras.Sequential([L.Input((36, 2)), *stack, L.Dense(3)])
    norms = np.abs(model.get_layer("b").get_weights()[0]).sum((0, 2))
    np.testing.assert_allclose(importance(model, data, "weights-l1")["b"], unit(norms), rtol=1e-6)
    for criterion in CRITERIA:
        assert [len(importance(model, (images, data[1]), criterion)[name]) for name in "ab"] == [4, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 5, 6, 2)), np.zeros(2, int)), "branches takes images of 6 x 6 x 2, and the images to rank"),
        ((np.zeros((2, 6, 6, 2)), np.array([0, 3])), "hold the label 3; branches has 3 classes, 0 to 2"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(model, arguments, message):
    with pytest.raises(InputError, match=message):
        importance(model, arguments, "taylor")


# Which go


@pytest.mark.parametrize("n", range(17))
def test_the_least_important_go_and_each_layer_keeps_one(model, n):
    scores = {
        "a": [4, 0, 3, 9],
        "b": [1, 2, 8],
        "c": [7, 6, 5, 10, 11],
        "d": [20, 21, 22, 23, 24, 25],
        "out": [0, 0, 0],
    }
    scores = {name: np.array(found, float) for name, found in scores.items()}
    gone = least_important(model, scores, n)
    order = ["a1", "b0", "b1", "a2", "a0", "c2", "c1", "c0", "c3", "d0", "d1", "d2", "d3", "d4"]  # never a3, b2, c4, d5
    assert sorted(f"{name}{i}" for name, numbers in gone.items() for i in numbers) == sorted(order[:n])


def test_filters_that_are_added_go_together_by_their_sum_and_count_each():
    image = L.Input((4, 4, 1))
    a, b = (L.Conv2D(3, 1, name=name)(image) for name in "ab")
    model = keras.Model(image, L.Conv2D(2, 1, name="out")(L.Add()([a, b])))
    scores = {"a": np.array([0.0, 2.0, 2.0]), "b": np.array([5.0, 2.5, 1.0])}  # sums 5, 4.5, 3
    assert least_important(model, scores, 1) == least_important(model, scores, 2) == {"a": [2], "b": [2]}
    assert least_important(model, scores, 3) == {"a": [2, 1], "b": [2, 1]}
    assert least_important(model, scores, 9) == {"a": [2, 1], "b": [2, 1]}
