"""Advice is ranked, holds beyond chance, and its commands are ones that the command line takes."""

import shlex
from dataclasses import replace

import numpy as np
import pytest

from fewbits.cli import command_parser
from fewbits.report import Setup, advise
from fewbits.report.measurements import (
    Accuracy,
    Change,
    DeadFilters,
    DeviceMemory,
    ImagesUsed,
    Measurements,
    NetworkFacts,
    Preparation,
    Variant,
    WidthAccuracy,
)

N = 400
SETUP = Setup("my net.keras", "photos", "--order=bgr --size=32x32")


def answers(hits):
    """Return N answers of which the first `hits` are right."""
    return np.arange(N) < hits


def width(bits, nearest, floor, exact=380):
    """Return the two WidthAccuracy of `bits`."""
    right, low, best = answers(nearest), answers(floor), answers(exact)
    return [
        WidthAccuracy(bits, "nearest", Accuracy.of(right), Change.between(right, best), None, 1.0),
        WidthAccuracy(bits, "floor", Accuracy.of(low), Change.between(low, best), Change.between(right, low), 1.0),
    ]


def variant(name, layers, hits, plain=300):
    return Variant(name, 5, layers, Accuracy.of(answers(hits)), Change.between(answers(hits), answers(plain)))


@pytest.fixture
def found():
    network = NetworkFacts("net", ((8, 8, 3),), "logits", 3, False, 1000, 10, 4000, 10)
    images = ImagesUsed("train", 32, 32, "test", N, 0, 0)
    memory = [DeviceMemory(bits, 4000 * (bits or 32) // 32, None, None) for bits in (None, 16, 8, 6, 5, 4)]
    dead = [DeadFilters("conv", (1, 3), 8, 0, True), DeadFilters("last", (0,), 4, 0, False)]
    return Measurements(
        network,
        images,
        5,
        widths=[*width(8, 380, 379), *width(6, 379, 216), *width(5, 300, 40)],
        variants=[
            variant("mse", (), 308),  # eight better, none worse: above 0 alone, but not as one of 16 comparisons
            variant("per filter on conv3", ("conv3",), 320),
            variant("edges at 8 bits", ("a", "b"), 350),
            variant("per filter", (), 280),
        ],
        memory=memory,
        dead=dead,
        dead_bytes=96,
        dead_change=Change.between(answers(380), answers(380)),
    )


def test_gains_beyond_chance_are_ranked_and_noise_is_not_claimed(found):
    advice = advise(found, SETUP)
    assert [each.what for each in advice] == [
        "round to nearest, not down (floor), at 6 bits",
        "keep a and b at 8 bits, all else at 5",
        "per-filter scales on conv3 at 5 bits",
        "use 6 bits with rounding to nearest; they cost at most 2 points",
        "remove 2 filters whose output is always zero",
    ]
    assert [round(100 * each.change.value, 1) for each in advice] == [40.8, 12.5, 5.0, -0.2, 0.0]
    assert all(each.change.low > 0 for each in advice[:3])
    assert [each.bytes_saved for each in advice] == [None, None, None, 3250, 96]


def test_another_preparation_comes_with_its_options(found):
    change = Change.between(answers(380), answers(100))
    ways = [
        Preparation("as given", Accuracy.of(answers(100)), None, False, ""),
        Preparation("channels reversed, as rgb", Accuracy.of(answers(380)), change, True, "--order rgb --scale 1"),
        Preparation("minus the mean of each channel", Accuracy.of(answers(370)), change, True, "--order bgr"),
    ]
    first = advise(replace(found, preparations=ways), SETUP)[0]
    assert first.what == "prepare images differently: channels reversed, as rgb"
    assert first.command == "fewbits evaluate 'my net.keras' --data photos --order rgb --scale 1"


def test_commands_are_taken_by_the_command_line(found):
    parser = command_parser()
    commands = [each.command for each in advise(found, SETUP) if each.command.startswith("fewbits ")]
    taken = [parser.parse_args(shlex.split(command)[1:]) for command in commands]
    assert [str(options.model) for options in taken] == ["my net.keras"] * 4
    assert [options.bits for options in taken] == [6, 5, 5, 6]
    assert taken[1].edge_bits == 8 and taken[2].per_channel == "conv3" and taken[0].order == "bgr"
    assert taken[0].rounding == "nearest" and taken[0].fold and taken[0].size == (32, 32)


def test_python_that_is_advised_can_be_compiled(found):
    setup = replace(SETUP, model='it\'s "mine".keras')
    compile(advise(found, setup)[-1].command, "advice", "exec")


def test_nothing_is_advised_of_nothing(found):
    assert advise(Measurements(found.network, found.images, 8)) == []
