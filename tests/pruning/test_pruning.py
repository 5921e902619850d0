"""Iterative pruning: it reaches its goal, tells each step, undoes what breaks, and resumes to the same network."""

import numpy as np
import pytest

from fewbits import InputError, quantize_model, training
from fewbits.backend import keras, ops
from fewbits.costs.complexity import totals
from fewbits.pruning import Plan, importance, prune, remove_filters, renew_statistics, steps, would_remove
from fewbits.quantization import calibration

L = keras.layers


@pytest.fixture(scope="module")
def data():
    """Images of two classes, bright above and bright below, with noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    images = rng.normal(0, 0.3, (64, 6, 6, 1))
    images[labels == 0, :3] += 1
    images[labels == 1, 3:] += 1
    return images.astype(np.float32), labels


@pytest.fixture(scope="module")
def model(data):
    keras.utils.set_random_seed(1)
    image = L.Input((6, 6, 1))
    x = L.Conv2D(12, 3, activation="relu", name="a")(image)
    x = L.Dropout(0.2, name="drop")(L.Conv2D(10, 3, activation="relu", name="b")(x))
    model = keras.Model(image, L.Dense(2, name="out")(L.Flatten(name="flat")(x)), name="small")
    training.prepare(model, "adam", 0.01)
    training.train(model, data, epochs=4, seed=1)
    return model


def plan(**fields):
    few = {"per_step": 4, "images": (16, 32), "rank_images": 32, "batch_size": 16, "optimizer": "adam", "seed": 3}
    return Plan(**few | fields)


def run(model, data, *args, **fields):
    options = {k: fields.pop(k) for k in ("checkpoint", "resume", "progress", "class_weight") if k in fields}
    return prune(model, data, plan(**fields), validation=data, **options)


def test_a_ratio_is_reached_and_every_step_is_told(model, data):
    told = []
    result = run(model, data, ratio=0.5, progress=lambda step, most: told.append((step, most)))
    assert result.stopped == "goal" and result.failed is None
    assert [sum(step["filters"].values()) for step in result.steps] == [24, 20, 16, 13]  # 11 of 22; "out" keeps its 2
    assert told == [(step, 3) for step in result.steps[1:]]
    assert [step["images"] for step in result.steps[1:]] == [16, 18, 21]  # 32 behind the 6th step, if there was one
    for step, each in ((result.steps[0], model), (result.steps[-1], result.model)):
        score, cost = training.evaluate(each, data), totals(each)
        assert (step["parameters"], step["weight_bytes"], step["macs"]) == (
            cost.parameters,
            cost.weight_bytes,
            cost.macs,
        )
        assert step["val_accuracy"] == score.accuracy and step["val_loss"] == pytest.approx(score.loss, rel=1e-5)
        assert step["filters"] == {name: each.get_layer(name).kernel.shape[-1] for name in ("a", "b", "out")}


def test_a_further_goal_passes_through_the_networks_of_a_nearer_one(model, data):
    near, far = (run(model, data, ratio=ratio).steps for ratio in (8 / 22, 0.5))
    assert len(near) == 3 and near == far[:3]


def test_filters_are_told_by_their_number_in_the_original(model, data):
    result = run(model, data, ratio=0.5, learning_rate=1e-9)
    kept = {name: np.arange(n) for name, n in (("a", 12), ("b", 10))}
    for step in result.steps[1:]:
        assert sum(map(len, step["removed"].values())) in (3, 4)
        for name, gone in step["removed"].items():
            assert np.isin(gone, kept[name]).all()
            kept[name] = np.setdiff1d(kept[name], gone)
    kernel = ops.convert_to_numpy(model.get_layer("b").kernel)[:, :, kept["a"]][..., kept["b"]]
    np.testing.assert_allclose(result.model.get_layer("b").kernel, kernel, atol=1e-6)


@pytest.mark.parametrize(("goal", "share"), [("weight_bytes", 0.4), ("macs", 0.5)])
def test_bytes_and_macs_are_goals_too(model, data, goal, share):
    limit = int(share * getattr(totals(model), goal))
    result = run(model, data, **{goal: limit})
    assert result.stopped == "goal" and result.steps[-1][goal] <= limit < result.steps[-2][goal]
    first = result.steps[1][goal]
    assert run(model, data, **{goal: first}).steps == result.steps[:2]  # what is reached to the dot is reached


def test_classes_count_as_much_as_all_training_images_say(model, data, monkeypatch, tmp_path):
    seen, train = [], training.train
    monkeypatch.setattr(
        training, "train", lambda *given, **more: seen.append(more["class_weight"]) or train(*given, **more)
    )
    few = data[0][8:], data[1][8:]
    counts = np.bincount(few[1])
    assert counts[0] != counts[1]
    plain, fair = (run(model, few, ratio=8 / 22, class_weight=weight) for weight in (None, "balanced"))
    balanced = dict(enumerate(np.float32(counts.sum() / (2 * counts)).tolist()))
    assert seen == [None] * 2 + [balanced] * 2  # not those of the images drawn for a step
    assert plain.steps[1]["loss"] != fair.steps[1]["loss"]
    path = tmp_path / "prune"
    run(model, few, ratio=4 / 22, class_weight={0: 2.0}, checkpoint=path)
    with pytest.raises(InputError, match="another set of class weights"):
        run(model, few, ratio=4 / 22, checkpoint=path, resume=True)


def test_the_original_stays_as_it_is(model, data):
    before = model.get_weights()
    run(model, data, ratio=0.2)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_step_below_the_floor_is_undone(model, data):
    result = run(model, data, ratio=0.9, least_accuracy=0.9, learning_rate=1e-9, criterion="random")
    assert result.stopped == "accuracy" and result.failed["val_accuracy"] < 0.9
    assert result.steps[-1]["val_accuracy"] >= 0.9 and training.evaluate(result.model, data).accuracy >= 0.9
    assert result.failed["step"] == len(result.steps)
    assert {layer.name: layer.kernel.shape[-1] for layer in result.model.layers if layer.weights} == (
        result.steps[-1]["filters"]
    )


@pytest.mark.parametrize("rate", [10.0, 1e30])
def test_a_loss_worse_than_a_guess_or_none_at_all_is_a_breakdown_and_undone(model, data, rate):
    result = run(model, (data[0], data[1][::-1]), ratio=0.9, learning_rate=rate, optimizer="sgd", images=(64, 64))
    assert result.stopped == "breakdown"
    assert "error" in result.failed or not result.failed["val_loss"] < np.log(2)
    score = training.evaluate(result.model, (data[0], data[1][::-1]))
    assert score.loss == pytest.approx(result.steps[-1]["val_loss"])
    assert all(np.isfinite(weight).all() for weight in result.model.get_weights())


def test_a_network_that_is_not_finite_after_its_last_batch_is_a_breakdown_too(model, data):
    result = run(model, data, ratio=0.5, learning_rate=1e30, optimizer="sgd", images=(16, 16), batch_size=16)
    assert result.stopped == "breakdown" and len(result.steps) == 1
    assert np.isfinite(result.failed["loss"]) and not np.isfinite(result.failed["val_loss"])


def test_the_floor_is_for_the_trained_network_which_may_touch_it(model, data):
    once = {"ratio": 18 / 22, "per_step": 18, "criterion": "random", "images": (192, 192), "seed": 5}
    [_, step] = run(model, data, learning_rate=0.01, **once).steps
    assert step["val_accuracy_before"] < step["val_accuracy"]
    result = run(model, data, learning_rate=0.01, least_accuracy=step["val_accuracy"], **once)
    assert result.stopped == "goal" and result.failed is None


def test_each_step_and_each_seed_draws_images_of_its_own_and_augments_them(model, data):
    seen = []

    def see(images, rng):
        seen.append(frozenset(image.tobytes() for image in images))
        return images

    for seed in (3, 4):
        prune(model, data, plan(ratio=8 / 22, images=(16, 16), seed=seed), validation=data, augment=see)
    assert len(seen) == len(set(seen)) == 4 and {len(images) for images in seen} == {16}


def test_filters_that_go_together_are_counted_each(data):
    image = L.Input((6, 6, 1))
    a, b = (L.Conv2D(8, 3, name=name)(image) for name in "ab")
    x = L.GlobalAveragePooling2D()(L.Conv2D(6, 1, name="c")(L.Add()([a, b])))
    added = keras.Model(image, L.Dense(2, name="out")(x), name="added")
    gone = would_remove(added, data, plan(ratio=0.5, criterion="random"))  # of 22
    assert sum(map(len, gone.values())) in (11, 12) and gone["a"] == gone["b"]  # the last may bring its twin


def test_a_criterion_judges_as_many_images_as_the_plan_says(model, data, monkeypatch):
    judged = []
    monkeypatch.setattr(
        steps,
        "importance",
        lambda model, judges, *args, **more: judged.append(judges) or importance(model, judges, *args, **more),
    )
    run(model, data, ratio=4 / 22, rank_images=24)
    assert [len(labels) for _, labels in judged[0]] == [16, 8]


def test_each_step_has_random_numbers_of_its_own(model, data, monkeypatch):
    seeds = []
    monkeypatch.setattr(steps, "importance", lambda *args, seed: seeds.append(seed) or importance(*args, seed=seed))
    train = training.train
    monkeypatch.setattr(
        training, "train", lambda *args, seed, **more: seeds.append(seed) or train(*args, seed=seed, **more)
    )
    run(model, data, ratio=8 / 22)
    assert seeds == [4, 4, 5, 5]


def test_the_last_third_of_a_step_is_trained_at_a_tenth_of_the_rate(model, data, monkeypatch):
    rates, prepare, told, train = [], training.prepare, [], training.train
    monkeypatch.setattr(training, "prepare", lambda *args: rates.append(args[-1]) or prepare(*args))
    monkeypatch.setattr(training, "train", lambda *args, **more: told.append(train(*args, **more)) or told[-1])
    result = run(model, data, ratio=4 / 22, images=(96, 96), learning_rate=0.01)  # of 64: 48, twice, in batches of 16
    assert int(result.model.optimizer.iterations) == 6 and type(result.model.optimizer) is keras.optimizers.Adam
    assert [float(rates[0](step)) for step in (0, 3, 5)] == pytest.approx([0.01, 0.01, 0.001])
    assert len(told[0]) == 2 and result.steps[1]["loss"] == told[0][-1]["loss"]


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2])
def test_a_run_that_was_killed_resumes_to_the_same_network(model, data, at, tmp_path):
    def kill(step, most):
        if step["step"] == at:
            raise Killed

    whole = run(model, data, ratio=0.5)
    path = tmp_path / "run.checkpoint"
    with pytest.raises(Killed):
        run(model, data, ratio=0.5, checkpoint=path, progress=kill)
    told = []
    resumed = run(model, data, ratio=0.5, checkpoint=path, resume=True, progress=lambda s, _: told.append(s["step"]))
    assert told == list(range(at + 1, 4)) and resumed.steps == whole.steps
    for old, new in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    again = run(model, data, ratio=0.5, checkpoint=path, resume=True)
    assert again.steps == whole.steps and again.stopped == "goal"


def test_a_checkpoint_of_another_run_is_refused(model, data, tmp_path):
    path = tmp_path / "run.checkpoint"
    run(model, data, ratio=0.2, checkpoint=path)
    with pytest.raises(InputError, match="is the checkpoint of an earlier pruning; resume it, or delete the file"):
        run(model, data, ratio=0.2, checkpoint=path)
    with pytest.raises(InputError, match="belongs to a pruning with another plan"):
        run(model, data, ratio=0.3, checkpoint=path, resume=True)
    other = data[0] + 1, data[1]
    with pytest.raises(InputError, match="belongs to a pruning with another data"):
        run(model, other, ratio=0.2, checkpoint=path, resume=True)
    other = remove_filters(model, {})
    other.get_layer("out").bias.assign([1.0, 2.0])
    with pytest.raises(InputError, match="belongs to a pruning with another network"):
        run(other, data, ratio=0.2, checkpoint=path, resume=True)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"run.checkpoint cannot be read"):
        run(model, data, ratio=0.2, checkpoint=path, resume=True)
    np.savez(tmp_path / "other.npz", header=np.array("{}"))
    with pytest.raises(InputError, match="is not a checkpoint of this version of fewbits"):
        run(model, data, ratio=0.2, checkpoint=tmp_path / "other.npz", resume=True)


def test_what_would_go_at_once_is_what_a_single_step_takes(model, data):
    once = plan(ratio=0.39, per_step=99, rank_images=8)  # 8.58 of 22 filters
    [_, step] = prune(model, data, once, validation=data).steps
    gone = {name: sorted(filters) for name, filters in would_remove(model, data, once).items()}
    assert gone == step["removed"] and sum(map(len, gone.values())) == 9


def test_the_least_cost_that_can_be_is_a_goal(model, data):
    smallest = totals(remove_filters(model, {"a": range(11), "b": range(9)}))
    for goal in ("macs", "weight_bytes"):
        gone = would_remove(model, data, plan(**{goal: getattr(smallest, goal)}))
        assert {name: len(filters) for name, filters in gone.items()} == {"a": 11, "b": 9}


def test_training_grows_evenly_in_the_logarithm():
    images = [Plan(ratio=0.5, images=(50, 750)).images_after(step, 91) for step in (1, 46, 91)]
    assert images == [50, round((50 * 750) ** 0.5), 750]
    assert Plan(ratio=0.5, images=(50, 750)).images_after(1, 1) == 50


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "^pruning needs exactly one goal of ratio, weight_bytes, macs$"),
        ({"ratio": 0.5, "macs": 9}, "pruning needs exactly one goal"),
        ({"ratio": 1}, "ratio must be between 0 and 1, not 1"),
        ({"ratio": 0.5, "criterion": "tailor"}, "unknown criterion 'tailor'"),
        ({"ratio": 0.5, "per_step": 0}, "per_step must be an integer of at least 1, not 0"),
        ({"macs": 1.5}, "macs must be an integer of at least 1, not 1.5"),
        ({"ratio": 0.5, "images": (0, 5)}, r"images\[0\] must be an integer of at least 1, not 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Plan(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"macs": 1}, r"macs must be at least \d+, which small has with one filter per layer, not 1"),
        ({"weight_bytes": 9}, r"weight_bytes must be at least \d+, which"),
        ({"ratio": 0.95}, "small can lose 20 of its 22 filters, so ratio must be at most 0.909"),
    ],
)
def test_a_goal_that_cannot_be_reached_is_refused_before_anything_is_trained(model, data, fields, message):
    with pytest.raises(InputError, match=message):
        run(model, data, **fields)


# Heads and structures


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x]], ids=["plain", "lists"])
@pytest.mark.parametrize(("units", "activation"), [(2, "softmax"), (1, "sigmoid")])
def test_a_network_with_a_head_is_pruned_and_keeps_it(data, units, activation, wrap):
    image = L.Input((6, 6, 1))
    x = L.Flatten()(L.Conv2D(12, 3, activation="relu", name="a")(image))
    headed = keras.Model(wrap(image), wrap(L.Dense(units, activation=activation, name="out")(x)))
    training.train(training.prepare(headed, "adam", 0.01), data, epochs=3)
    gone = would_remove(headed, data, plan(ratio=0.5))
    result = run(headed, data, ratio=0.5, learning_rate=0.01)
    assert result.stopped == "goal" and {name: len(found) for name, found in gone.items()} == {"a": 6}
    assert training.head_of(result.model) == training.head_of(headed)
    assert result.steps[-1]["val_accuracy"] > 0.9 and type(result.model.output) is type(headed.output)


def kept():
    """A network that can lose no filter."""
    image = L.Input((6, 6, 1))
    x = L.LayerNormalization(name="norm")(L.Conv2D(4, 3, name="a")(image))
    return keras.Model(image, L.Dense(2, name="out")(L.Flatten()(x)), name="kept")


@pytest.mark.parametrize("goal", [{"ratio": 0.5}, {"macs": 100}, {"weight_bytes": 100}])
@pytest.mark.parametrize("what", [run, lambda model, data, **fields: would_remove(model, data, plan(**fields))])
def test_a_network_that_can_lose_no_filter_is_refused_with_the_reason_for_each_layer(data, goal, what):
    with pytest.raises(InputError) as refused:
        what(kept(), data, **goal)
    assert str(refused.value) == (
        "no filter of kept can be removed: a (its channel reaches norm, a LayerNormalization, which needs all "
        "channels), out (it makes an output of the model); put layers that compute each channel from itself, such as "
        "BatchNormalization, between convolutions"
    )


# Batch normalization


@pytest.fixture
def normalized():
    keras.utils.set_random_seed(1)
    image = L.Input((6, 6, 1))
    x = L.BatchNormalization(name="first")(L.Conv2D(4, 3, name="a")(image))
    x = L.BatchNormalization(name="second", momentum=0.7)(L.Conv2D(3, 3, name="b")(L.ReLU()(x)))
    return keras.Model(image, L.GlobalAveragePooling2D()(x))


def test_statistics_are_those_of_the_images(normalized, data):
    batches = [(data[0][:32], data[1][:32]), (data[0][32:], data[1][32:])]
    renew_statistics(normalized, batches)
    kernel = ops.convert_to_numpy(normalized.get_layer("a").kernel)
    maps = np.array(ops.conv(data[0], kernel))  # its bias is 0
    np.testing.assert_allclose(normalized.get_layer("first").moving_mean, maps.mean((0, 1, 2)), atol=1e-6)
    variances = [maps[part].var((0, 1, 2)) for part in (slice(32), slice(32, 64))]
    np.testing.assert_allclose(normalized.get_layer("first").moving_variance, np.mean(variances, axis=0), rtol=1e-4)
    assert [normalized.get_layer(name).momentum for name in ("first", "second")] == [0.99, 0.7]


def test_a_pruned_network_is_normalized_by_what_is_left(normalized, data):
    training.prepare(normalized, "adam", 0.01)
    training.train(normalized, data, epochs=1, seed=1)
    result = run(normalized, data, ratio=0.5, learning_rate=1e-9, images=(16, 16), rank_images=64, batch_size=64)
    maps = keras.Model(result.model.input, result.model.get_layer("b").output)(data[0])
    np.testing.assert_allclose(result.model.get_layer("second").moving_mean, np.array(maps).mean((0, 1, 2)), atol=0.02)


def test_a_quantized_network_is_pruned_and_keeps_its_formats(model, data):
    quantized = quantize_model(model)
    formats = calibration.formats_for(quantized, data[0][:16], (6, 8, 8))
    quantized.set_formats(formats)
    result = run(quantized, data, ratio=4 / 22)
    assert result.stopped == "goal" and sum(result.steps[-1]["filters"].values()) == 24 - 4
    for layer in result.model.quantized_layers:
        assert layer.formats == formats[layer.name], layer.name
        assert layer.kernel.shape[-1] == result.steps[-1]["filters"][layer.name]
    assert training.evaluate(result.model, data).accuracy == result.steps[-1]["val_accuracy"]
