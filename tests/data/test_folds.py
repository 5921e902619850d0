"""Folds: no photograph is on both sides, every plant is tested once, and all parts are about equal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits import InputError
from fewbits.data import Cutouts, Split, centred, cut_out, draw_scenes, mirrored, split_folds
from fewbits.training.loop import train

CLASSES = ("background", "onion", "weed")


def cutouts(labels, photographs):
    """Return images of one pixel that hold their own number."""
    images = np.arange(len(labels)).reshape(-1, 1, 1, 1).repeat(3, 3)
    return Cutouts(images, np.array(labels, np.int64), CLASSES, tuple(map(str, photographs)))


@st.composite
def any_cutouts(draw):
    pairs = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=2, max_size=60))
    return cutouts(*zip(*pairs))


def numbers(split):
    return split.images[:, 0, 0, 0].tolist()


def with_plants(found):
    return {name for name, label in zip(found.photographs, found.labels) if label}


@given(found=any_cutouts(), k=st.integers(2, 6), seed=st.integers(0, 2**32))
def test_no_photograph_is_on_both_sides_and_each_plant_is_tested_once(found, k, seed):
    if len(with_plants(found)) < k:
        with pytest.raises(InputError, match=f"k must be an integer from 2 to {len(with_plants(found))}, .* not {k}"):
            split_folds(found, k, seed)
        return
    folds = split_folds(found, k, seed)
    assert len(folds) == k
    for train_part, test_part in folds:
        assert not set(train_part.photographs) & set(test_part.photographs)
        assert len(train_part) and len(test_part) and test_part.labels.all()  # no background, label 0
        for part in (train_part, test_part):
            for number, label, photograph in zip(numbers(part), part.labels, part.photographs):
                assert (label, photograph) == (found.labels[number], found.photographs[number])
        left_out = set(range(len(found))) - set(numbers(train_part)) - set(numbers(test_part))
        tested = set(test_part.photographs)
        assert all(
            found.labels[i] == 0 and (found.photographs[i] in tested or not in_plants(found, i)) for i in left_out
        )
    tested = sorted(number for _, test_part in folds for number in numbers(test_part))
    assert tested == np.flatnonzero(found.labels).tolist()


def in_plants(found, i):
    return found.photographs[i] in with_plants(found)


def test_each_image_of_a_training_photograph_is_trained_on():
    found = cut_out(list(draw_scenes(12, 48)), 4)
    for train_part, test_part in split_folds(found, 4):
        expected = [name for name in found.photographs if name not in test_part.photographs]
        assert list(train_part.photographs) == expected
        assert train_part.background.any() and not test_part.background.any()


@given(sizes=st.lists(st.integers(1, 9), min_size=5, max_size=40), seed=st.integers(0, 1000))
def test_parts_of_one_class_differ_by_at_most_one_photograph(sizes, seed):
    photographs = np.repeat(np.arange(len(sizes)), sizes)
    tested = [len(test_part) for _, test_part in split_folds(cutouts([1] * len(photographs), photographs), 5, seed)]
    assert max(tested) - min(tested) <= max(sizes)


def test_parts_hold_about_as_many_of_each_class():
    rng = np.random.default_rng(0)
    photographs = np.repeat(np.arange(100), rng.integers(1, 8, 100))
    found = cutouts(rng.integers(0, 3, len(photographs)), photographs)
    counts = np.array([np.bincount(test_part.labels, minlength=3) for _, test_part in split_folds(found)])
    assert (np.ptp(counts, 0) <= 3).all()


def test_the_seed_shuffles():
    found = cut_out(list(draw_scenes(30, 48)), 4)
    first, same, other = ([set(test.photographs) for _, test in split_folds(found, seed=seed)] for seed in (0, 0, 1))
    assert first == same != other


@pytest.mark.parametrize("k", [1, 0, -5, 2.0, True, "5", 31])
def test_a_number_of_parts_that_cannot_be_is_refused(k):
    found = cutouts([1] * 30, range(30))
    with pytest.raises(InputError, match="k must be an integer from 2 to 30, the photographs with plants, not "):
        split_folds(found, k)


def test_the_training_parts_mean_colour_is_subtracted_from_all():
    rng = np.random.default_rng(0)
    first, second = (Split(rng.integers(0, 256, (n, 5, 6, 3), np.uint8), np.arange(n)) for n in (7, 3))
    left, right = centred(first, second, scale=0.5)
    mean = np.array([first.images[..., channel].astype(float).mean() for channel in range(3)])
    assert left.images.dtype == right.images.dtype == np.float32
    np.testing.assert_allclose(left.images, (first.images - mean) / 2, atol=1e-4)
    np.testing.assert_allclose(right.images, (second.images - mean) / 2, atol=1e-4)
    assert np.array_equal(right.labels, second.labels)
    assert np.abs(left.images.mean((0, 1, 2))).max() < 1e-4 < np.abs(right.images.mean((0, 1, 2))).max()


def test_half_of_the_images_are_mirrored_and_the_others_are_left():
    images = np.random.default_rng(0).integers(0, 256, (400, 3, 5, 3), np.uint8)
    out = mirrored(images, np.random.default_rng(1))
    turned = (out == images[:, :, ::-1]).all((1, 2, 3))
    kept = (out == images).all((1, 2, 3))
    assert (turned ^ kept).all() and 160 < turned.sum() < 240 and out.dtype == np.uint8
    assert np.array_equal(out, mirrored(images, np.random.default_rng(1)))


def test_a_fold_is_trained_on_and_tested():
    from fewbits.backend import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    train_part, test_part = centred(*split_folds(cut_out(list(draw_scenes(10, 48)), 8))[0], scale=1 / 256)
    [last] = train(model, train_part, validation=test_part, epochs=1, augment=mirrored)
    assert 0 <= last["val_accuracy"] <= 1
