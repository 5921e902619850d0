"""Transfer: which weights are taken, which are held, and how far the others went."""

import numpy as np
import pytest

from fewbits import InputError, zoo
from fewbits.backend import keras, ops
from fewbits.io import weights
from fewbits.io.files import write_model
from fewbits.training import transfer
from fewbits.training.loop import read_history, train
from fewbits.training.recipe import prepare
from fewbits.training.transfer import (
    copy_kernels,
    first_levels,
    freeze_levels,
    relative_change,
    take_levels,
    weight_spread,
)
from fewbits.zoo import trained

IMAGES = np.random.default_rng(0).random((24, 16, 16, 3), np.float32)
LABELS = np.arange(24) % 3


def network(seed, classes=3, name="squeezenet_cifar"):
    keras.utils.set_random_seed(seed)
    model = zoo.build(name, (16, 16, 3), classes)
    rng = np.random.default_rng(seed)
    for v in weights.variables(model).values():  # no variable of two networks is equal, so that none is mistaken
        v.assign(rng.uniform(0.5, 1, v.shape) * (0.1 if "kernel" in v.name else 1))
    return model


def values(model):
    return {name: ops.convert_to_numpy(v).copy() for name, v in weights.variables(model).items()}


def same(a, b):
    """Return the names of what is equal in both."""
    return {name for name in a if a[name].shape == b[name].shape and np.array_equal(a[name], b[name])}


def in_levels(names, *levels):
    return {name for name in names if name.split("_")[0].split("/")[0] in levels}


# Taking


@pytest.mark.parametrize("n", [0, 1, 3, 9])
def test_the_first_levels_are_those_of_the_source_and_the_others_stay(n):
    source, model = network(1, classes=10), network(2)
    given, before = values(source), values(model)
    take_levels(model, source, n)
    after = values(model)
    wanted = in_levels(after, *["conv1", *(f"fire{i}" for i in range(2, 10))][:n])
    assert same(after, given) == wanted and same(after, before) == set(after) - wanted
    assert values(source).keys() == same(values(source), given)
    if n == 1:
        of_bn = ("gamma", "beta", "moving_mean", "moving_variance")
        assert wanted == {"conv1/kernel", *(f"conv1_bn/{name}" for name in of_bn)}


def test_all_levels_are_all_weights():
    source, model = network(1), network(2)
    take_levels(model, source, 10)
    assert same(values(model), values(source)) == set(values(model))


def test_files_and_names_do_as_networks_do(tmp_path, monkeypatch):
    source = network(1, classes=10)
    weights.save_weights(source, tmp_path / "pretrained.npz")
    weights.load_weights(source, tmp_path / "pretrained.npz")  # rounded, as the file is
    write_model(source, tmp_path / "whole.keras")
    monkeypatch.setattr(trained, "FOLDER", tmp_path)
    taken = []
    for given in (source, tmp_path / "pretrained.npz", tmp_path / "whole.keras", "pretrained"):
        model = network(2)
        take_levels(model, given, 9)
        taken.append(values(model))
    for other in taken[1:]:
        assert same(taken[0], other) == set(other)


def test_the_level_of_each_layer_of_the_zoo_is_known():
    """A batch normalization is in the level of its convolution, in each network that has some."""
    for name in ("mobilenet_cifar", "resnet_cifar", "inception_cifar", "squeezenet_cifar"):
        model = zoo.build(name, (32, 32, 3), 3)
        total = len(zoo.levels(model))
        assert len(first_levels(model, total)) == len([layer for layer in model.layers if layer.weights])
        last = set(first_levels(model, total)) - set(first_levels(model, total - 1))
        assert last == set(zoo.levels(model)[-1])


def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(tmp_path):
    source, model = network(1, classes=10), network(2)
    before = values(model)
    save = tmp_path / "pretrained.npz"
    weights.save_weights(source, save)
    for given, n, said in (
        (source, 10, r"squeezenet_cifar: conv10/kernel has the shape \(1, 1, 512, 10\), but .* needs \(1, 1, 512, 3\)"),
        (save, 10, r"pretrained\.npz: conv10/kernel has the shape \(1, 1, 512, 10\), but .* needs \(1, 1, 512, 3\)"),
        (network(3, name="squeezenet_digits"), 2, "squeezenet_digits has no conv1_bn/gamma, so it cannot be taken"),
        (network(3, name="mobilenet_cifar"), 1, "mobilenet_cifar has no conv1/kernel, so it cannot be taken"),
        (tmp_path / "none.npz", 1, r"none\.npz does not exist"),
        (tmp_path / "none.keras", 1, r"none\.keras does not exist"),
        ("nothing", 1, "there are no weights 'nothing'; there are "),
        *((source, n, f"levels must be an integer from 0 to 10, those of .*, not {n}") for n in (-1, 11, 2.0, True)),
    ):
        with pytest.raises(InputError, match=said) as refusal:
            take_levels(model, given, n)
        assert "\n" not in str(refusal.value)
        assert same(values(model), before) == set(before)


def test_a_layer_in_no_level_is_refused_by_name():
    layers = [keras.layers.Input((8, 8, 1)), keras.layers.Conv2D(2, 3, name="conv1"), keras.layers.BatchNormalization()]
    model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(2, name="fc")])
    with pytest.raises(InputError, match=r"batch_normalization\w* of .* belongs to no level; name it .* conv1_bn"):
        freeze_levels(model, 1)


# Holding


def small(seed):
    """Return a network of the levels conv1, fire2, conv3 and fc."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    stack = [layers.Input((16, 16, 3))]
    for name in ("conv1", "fire2_squeeze1x1"):
        stack += [layers.Conv2D(6, 3, use_bias=False, name=name), layers.BatchNormalization(name=f"{name}_bn")]
        stack += [layers.ReLU(), layers.Dropout(0.2)]
    stack += [layers.Conv2D(6, 3, name="conv3"), layers.GlobalAveragePooling2D(), layers.Dense(3, name="fc")]
    return keras.Sequential(stack, name="small")


def frozen(seed, levels):
    model = small(seed)
    freeze_levels(model, levels)
    return prepare(model)


def go(model, **options):
    return train(model, (IMAGES, LABELS), **{"epochs": 2, "batch_size": 8, "seed": 3, **options})


def test_what_is_held_does_not_change_nor_do_its_means_and_variances():
    model = frozen(1, 2)
    before = values(model)
    go(model)
    after = values(model)
    assert same(after, before) == in_levels(after, "conv1", "fire2") and len(same(after, before)) == 10


def test_a_batch_normalization_that_is_held_uses_the_means_and_variances_it_has():
    """In training, its output is that of inference; behind it, that of the batch."""
    model = small(1)
    norms = [model.get_layer(name).output for name in ("conv1_bn", "fire2_squeeze1x1_bn")]
    tap = keras.Model(model.inputs, norms)
    freeze_levels(model, 1)
    [held, free], [inferred, other] = ([ops.convert_to_numpy(y) for y in tap([IMAGES], training=t)] for t in (1, 0))
    assert np.array_equal(held, inferred) and not np.allclose(free, other)


def test_freezing_fewer_levels_lets_the_others_train_again():
    model = small(1)
    freeze_levels(model, 3)
    assert [v.path.split("/")[-2] for v in model.trainable_variables] == ["fc", "fc"]
    freeze_levels(model, 0)
    assert len(model.trainable_variables) == len(small(1).trainable_variables) == 10


def test_a_network_that_is_compiled_is_not_frozen():
    model = prepare(small(1))
    with pytest.raises(InputError, match="small is compiled already; freeze its levels before it is prepared"):
        freeze_levels(model, 2)
    with pytest.raises(InputError, match="levels must be an integer from 0 to 4, those of small, not 12"):
        freeze_levels(small(1), 12)
    assert all(layer.trainable for layer in model.layers)


def test_a_frozen_training_resumes_to_the_same_bits(tmp_path):
    checkpoint, whole = tmp_path / "run.npz", frozen(1, 2)
    history = go(whole)
    go(frozen(1, 2), checkpoint=checkpoint, epochs=1)
    resumed = frozen(2, 2)  # its own weights, the frozen ones too, must not matter
    assert go(resumed, checkpoint=checkpoint, resume=True) == history
    assert same(values(resumed), values(whole)) == set(values(whole))


@pytest.mark.parametrize(("levels", "other"), [(2, 0), (0, 2), (2, 3)])
def test_the_checkpoint_of_a_network_frozen_otherwise_is_refused(levels, other, tmp_path):
    checkpoint = tmp_path / "run.npz"
    go(frozen(1, levels), checkpoint=checkpoint, epochs=1)
    with pytest.raises(InputError, match=r"run\.npz belongs to a training with another network"):
        go(frozen(1, other), checkpoint=checkpoint, resume=True)
    assert len(read_history(checkpoint)) == 1


# What training changed


def test_distances_and_deviations_agree_with_a_hand_computation():
    before = {"a": np.array([[3.0, 4.0]]), "b": np.array([1.0, -1.0, 1.0, -1.0])}
    after = {"a": np.array([[3.0, 4.5]]), "b": np.array([1.0, -1.0, 1.0, 2.0])}
    assert relative_change(before, after) == {"a": 0.1, "b": 1.5}  # 0.5 of 5, 3 of 2
    assert relative_change(before, before) == {"a": 0.0, "b": 0.0}
    assert weight_spread(before) == {"a": 0.5, "b": 1.0}
    assert weight_spread({"a": np.full((2, 2), 7.0)}) == {"a": 0.0}, "the mean does not count"


def test_kernels_are_copies_in_the_order_of_the_graph():
    model = network(1)
    before = copy_kernels(model)
    assert list(before) == [name for level in zoo.levels(model) for name in level]
    model.get_layer("fire3_expand3x3").kernel.assign_add(np.ones((3, 3, 16, 64)))
    far = relative_change(before, copy_kernels(model))
    assert [name for name, share in far.items() if share] == ["fire3_expand3x3"]
    norm = np.linalg.norm(before["fire3_expand3x3"].astype(float))
    assert far["fire3_expand3x3"] == pytest.approx(np.sqrt(3 * 3 * 16 * 64) / norm, rel=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"a": [1.0]}, {"b": [1.0]}, "kernels before and after must belong to the same layers; look at a"),
        ({"a": [1.0, 2.0]}, {"a": [1.0]}, r"the kernel of a was \(2,\), and is \(1,\)"),
        ({"a": [1.0]}, {"a": [np.nan]}, "the kernel of a holds NaN or infinity"),
        ({"a": [np.inf]}, {"a": [1.0]}, "the kernel of a holds NaN or infinity"),
        ({"a": [0.0]}, {"a": [1.0]}, "all weights of a were 0, so a relative change is not defined"),
    ],
)
def test_distances_of_what_cannot_be_compared_are_refused(before, after, said):
    with pytest.raises(InputError, match=said):
        relative_change(before, after)
    if said.endswith("infinity"):
        with pytest.raises(InputError, match=said):
            weight_spread({**before, **after} if "nan" in str(after) else before)


def test_the_module_is_at_hand():
    import fewbits

    assert fewbits.training.transfer is transfer
