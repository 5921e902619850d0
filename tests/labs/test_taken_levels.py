"""Lab 13: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import taken_levels as lab
from helpers.labs import tell_apart


def test_mistakes_in_taking_levels():
    def copied(levels):
        return [{name: array.copy() for name, array in level.items()} for level in levels]

    def in_place(target, source, count):
        for level, other in zip(target[:count], source):
            for name in level:
                level[name][...] = other[name]
        return copied(target)

    def swapped(target, source, count):
        return copied(source[: -count or None] + target[len(target) - count :])

    def kernels_only(target, source, count):
        found = copied(target)
        for level, other in zip(found[:count], source):
            level["kernel"] = other["kernel"].copy()
        return found

    def never_the_last(target, source, count):
        return copied(source[: min(count, 2)] + target[min(count, 2) :])

    def shared(target, source, count):
        return source[:count] + target[count:]

    tell_apart(
        (lab.check_take_first, in_place, "should stay as it is"),
        (lab.check_take_first, swapped, "is the target's"),
        (lab.check_take_first, kernels_only, "the bias too"),
        (lab.check_take_first, never_the_last, "All levels may be taken"),
        (lab.check_take_first, shared, "shares an array"),
    )


def test_mistakes_in_what_moved():
    def norm(x):
        return np.sqrt(np.sum(x**2))

    tell_apart(
        (lab.check_moved_share, lambda before, after: norm(after) / norm(before), "Nothing has moved"),
        (
            lab.check_moved_share,
            lambda before, after: abs(norm(after) - norm(before)) / norm(before),
            "norm of the difference",
        ),
        (lab.check_moved_share, lambda before, after: norm(after - before) / norm(after), "not after it"),
        (
            lab.check_moved_share,
            lambda before, after: norm(after - before) / norm(before) if before.ndim == 2 else norm(after - before),
            "four axes",
        ),
    )


def test_mistakes_in_the_momentum():
    tell_apart(
        (lab.check_momentum_for, lambda share, steps: 1 - share ** (1 / steps), "is what is left"),
        (lab.check_momentum_for, lambda share, steps: 1 - (1 - share) / steps, "it multiplies"),
    )


def test_mistakes_in_the_class_map():
    def softmax(x, axis):
        powers = np.exp(x)
        return powers / powers.sum(axis, keepdims=True)

    tell_apart(
        (
            lab.check_class_map,
            lambda f, k, b, label: softmax((f @ k + b).mean((0, 1)), 0)[label],
            "one number for each place",
        ),
        (lab.check_class_map, lambda f, k, b, label: softmax(f @ k + b, (0, 1))[..., label], "compares the classes"),
        (lab.check_class_map, lambda f, k, b, label: 2 * softmax(f @ k + b, -1)[..., label], "add up to 1"),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        tell_apart((lab.check_class_map, lambda f, k, b, label: softmax(f @ k + b, -1)[..., label], "overflow"))


def test_mistakes_in_pointing():
    def points(middle=0.5, swap=False, scaled=True, end=0, every=False):
        def points_right(heat, boxes, height, width):
            row, column = np.unravel_index(np.argmax(heat), heat.shape)
            y, x = row + middle, column + middle
            if scaled:
                y, x = y * height / heat.shape[0], x * width / heat.shape[1]
            if swap:
                y, x = x, y
            inside = [top <= y < bottom + end and left <= x < right + end for top, left, bottom, right in boxes]
            return all(inside) if every else any(inside)

        return points_right

    tell_apart(
        (lab.check_points_right, lambda heat, boxes, height, width: False, "holds every place"),
        (lab.check_points_right, points(swap=True), "Rows come first"),
        (lab.check_points_right, points(scaled=False), "many pixels"),
        (lab.check_points_right, points(middle=0), "the middle of its cell"),
        (lab.check_points_right, points(end=1), "just before its bottom"),
        (lab.check_points_right, points(every=True), "One of the boxes"),
    )
