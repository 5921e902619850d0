"""Lab 14: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import least_filters as lab
from helpers.labs import tell_apart


def test_mistakes_in_the_removal():
    def removal(kernel_axis=3, bias_too=True, reader_axis=2, offset=True, in_a_row=False):
        def remove(kernel, bias, reader, gone, before):
            channels = [number + (before if offset else 0) for number in gone]
            if in_a_row:
                for channel in channels:
                    reader = np.delete(reader, min(channel, reader.shape[2] - 1), axis=reader_axis)
            else:
                reader = np.delete(reader, channels, axis=reader_axis)
            return np.delete(kernel, gone, axis=kernel_axis), np.delete(bias, gone) if bias_too else bias, reader

        return remove

    tell_apart(
        (lab.check_remove_filters_of, removal(kernel_axis=2), "the last axis"),
        (lab.check_remove_filters_of, removal(bias_too=False), "its bias"),
        (lab.check_remove_filters_of, removal(reader_axis=3), "which of its axes"),
        (lab.check_remove_filters_of, removal(offset=False), "after those of another layer"),
        (lab.check_remove_filters_of, removal(in_a_row=True), "as it was"),
    )


def test_mistakes_in_the_criterion():
    tell_apart(
        (lab.check_taylor_scores, lambda maps, by: np.abs((maps * by).sum((1, 2))).sum(0), "a mean over the images"),
        (lab.check_taylor_scores, lambda maps, by: (maps * by).sum((1, 2)).mean(0), "has no sign"),
        (lab.check_taylor_scores, lambda maps, by: np.abs((maps * by).sum((1, 2)).mean(0)), "opposite ways"),
        (lab.check_taylor_scores, lambda maps, by: np.abs(maps * by).sum((1, 2)).mean(0), "with its signs"),
    )


def test_mistakes_in_the_comparison():
    def over(norm):
        return lambda scores: {name: score / norm(score) for name, score in scores.items()}

    def over_all(scores):
        norm = np.linalg.norm(np.concatenate([*scores.values()]))
        return {name: score / norm for name, score in scores.items()}

    tell_apart(
        (lab.check_compared_scores, over(np.max), "nor its sum"),
        (lab.check_compared_scores, over_all, "has its own norm"),
    )
    with np.errstate(invalid="ignore"):
        tell_apart((lab.check_compared_scores, over(np.linalg.norm), "a dead layer"))


def test_mistakes_in_the_choice():
    def choice(keep_last=True, fill=True, in_order=True, empty=False, most=False):
        def choose(scores, n):
            every = sorted((score, name, i) for name, layer in scores.items() for i, score in enumerate(layer))
            every = every[::-1] if most else every
            gone = {name: [] for name in scores}
            for _, name, i in every if fill else every[:n]:
                room = len(gone[name]) < len(scores[name]) - 1 or not keep_last
                if room and sum(map(len, gone.values())) < n:
                    gone[name].append(i)
            return {name: sorted(found) if in_order else found for name, found in gone.items() if found or empty}

        return choose

    def layer_by_layer(scores, n):
        first, *_ = scores
        return {first: sorted(np.argsort(scores[first])[:n].tolist())}

    tell_apart(
        (lab.check_choose_least, choice(most=True), "least important filter of all"),
        (lab.check_choose_least, layer_by_layer, "not one by one"),
        (lab.check_choose_least, choice(keep_last=False), "should stay, and another"),
        (lab.check_choose_least, choice(in_order=False), "The numbers"),
    )
    tell_apart((lab.check_choose_least, choice(fill=False), "another filter should go instead"))
    tell_apart((lab.check_choose_least, choice(empty=True), "only layers that lose some"))
