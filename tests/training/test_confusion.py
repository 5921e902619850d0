"""Confusions, against counting by hand, and against the score of the same images."""

import numpy as np
import pytest

from fewbits import InputError
from fewbits.backend import keras
from fewbits.training.confusion import Confusion, Mistake, count_confusion
from fewbits.training.evaluation import evaluate, evaluate_classes
from fewbits.training.heads import Head, head_of

L = keras.layers
RNG = np.random.default_rng(0)


def network(units, activation=None):
    keras.utils.set_random_seed(2)
    return keras.Sequential([L.Input((5,)), L.Dense(units, activation=activation)], name="net")


@pytest.mark.parametrize(
    ("units", "activation", "classes"), [(4, None, 4), (4, "softmax", 4), (1, "sigmoid", 2), (2, "softmax", 2)]
)
def test_each_image_is_counted_where_it_was_taken(units, activation, classes):
    images = RNG.normal(size=(60, 5)).astype(np.float32)
    labels = RNG.integers(0, classes, 60)
    model = network(units, activation)
    score, confusion = evaluate_classes(model, (images, labels), batch_size=7)
    outputs = model.predict_on_batch(images)
    taken = outputs.argmax(1) if units > 1 else (outputs[:, 0] > 0.5).astype(int)
    by_hand = np.zeros((classes, classes), int)
    for label, other in zip(labels, taken):
        by_hand[label, other] += 1
    assert np.array_equal(confusion.counts, by_hand) and score == evaluate(model, (images, labels), batch_size=7)
    assert confusion.images.tolist() == np.bincount(labels, minlength=classes).tolist()
    assert np.trace(confusion.counts) == score.hits
    assert confusion.balanced_accuracy == pytest.approx(
        np.mean([np.mean(taken[labels == i] == i) for i in range(classes)])
    )


def test_outputs_that_are_nan_are_of_no_class_and_ties_go_to_the_first():
    outputs, labels = np.array([[1, 1, 0], [0, np.nan, 0], [0, 2, 1], [0, 0, 3.0]]), np.array([1, 1, 1, 0])
    for head in (Head("logits", 3, False), Head("softmax", 3, True)):
        found = count_confusion(head, outputs, labels)
        assert found.counts.tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0]] and found.images.tolist() == [1, 3, 0]
        assert np.trace(found.counts) == (head.ranks(outputs, labels) < 1).sum()


def test_classes_without_images_do_not_count_in_the_mean():
    confusion = Confusion(np.array([[6, 2, 0], [0, 0, 0], [1, 0, 1]]), np.array([8, 0, 2]))
    assert np.array_equal(confusion.accuracies, [0.75, np.nan, 0.5], equal_nan=True)
    assert confusion.balanced_accuracy == 0.625 and confusion.imbalance == 4
    assert confusion.mistakes(9) == [Mistake(0, 1, 2), Mistake(2, 0, 1)] and len(confusion.mistakes(1)) == 1


def test_images_with_several_labels_have_no_confusion():
    model = network(2, "sigmoid")
    assert head_of(model).kind == "multi-label"
    with pytest.raises(InputError, match="net ends in 2 sigmoid units, and a confusion is of images of one class each"):
        evaluate_classes(model, (np.zeros((3, 5)), np.zeros((3, 2), int)))
