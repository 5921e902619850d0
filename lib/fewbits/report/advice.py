"""What to do next: claims that follow from measurements beyond chance, ranked, each with the command for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from shlex import quote

from fewbits.names import LEAST_ERROR
from fewbits.report.measurements import Change, Measurements, Preparation, Variant, WidthAccuracy

TOLERATED = 0.02  # of accuracy: bits are few enough to be advised if they surely cost no more
POINTS = 100


@dataclass(frozen=True)
class Setup:
    """What a report was made of, as commands name it.

    Attributes:
        model: The .keras file.
        data: What --data names.
        options: The options that prepare the images, as they were given.
    """

    model: str = "MODEL.keras"
    data: str = "DATA"
    options: str = ""


@dataclass(frozen=True)
class Advice:
    """Something to do, and what it was measured to bring.

    Attributes:
        what: What to do.
        bits: The bits at which it was measured; None if they do not matter.
        change: Of the accuracy on the judging images; None if it was not measured.
        bytes_saved: Bytes of weights; None if it is not about size.
        command: How to do it: a command of the shell, or lines of Python.
    """

    what: str
    bits: int | None
    change: Change | None
    bytes_saved: int | None
    command: str


def advise(measurements: Measurements, setup: Setup = Setup()) -> list[Advice]:
    """Return what to do next, what raises the accuracy most first, then what saves most bytes.

    Args:
        measurements: Of the network.
        setup: What they were made of.

    Returns:
        The advice. A gain of accuracy is claimed only beyond the chance of all comparisons that were made.
    """
    better = sorted(_accuracy(measurements, setup), key=lambda advice: -_low(advice))
    smaller = sorted(_size(measurements, setup), key=lambda advice: -(advice.bytes_saved or 0))
    return [*better, *smaller]


def change_in_points(change: Change) -> str:
    """Return a change of accuracy as text with its interval.

    Example:
        >>> change_in_points(Change(0.412, 0.375, 0.449, 1000, 0.0))
        '+41.2 points (+37.5 to +44.9)'
    """
    value, low, high = (f"{POINTS * each:+.1f}" for each in (change.value, change.low, change.high))
    return f"{value} points ({low} to {high})"


def _low(advice: Advice) -> float:
    return advice.change.low if advice.change else 0.0


def _accuracy(found: Measurements, setup: Setup) -> Iterator[Advice]:
    for preparation in _best(found.preparations):
        options = preparation.options or "(prepare the images so in your own code)"
        command = f"fewbits evaluate {quote(setup.model)} --data {quote(setup.data)} {options}"
        yield Advice(f"prepare images differently: {preparation.name}", None, preparation.change, None, command)
    for width in _rounding(found):
        what = f"round to nearest, not down (floor), at {width.bits} bits"
        yield Advice(what, width.bits, width.nearest_instead, None, _formats(setup, width.bits))
    for variant in found.variants:
        if variant.change.value > 0 and variant.change.beyond_chance():
            yield Advice(_said(variant), variant.bits, variant.change, None, _of_variant(setup, variant))


def _best(preparations: Sequence[Preparation]) -> list[Preparation]:
    better = [each for each in preparations if each.better and each.change]
    return sorted(better, key=lambda each: -each.accuracy.value)[:1]


def _rounding(found: Measurements) -> list[WidthAccuracy]:
    """Return the widest bits at which rounding to nearest is better."""
    gains = [each for each in found.widths if each.nearest_instead and each.nearest_instead.value > 0]
    sure = [each for each in gains if each.nearest_instead and each.nearest_instead.beyond_chance()]
    return sorted(sure, key=lambda each: -each.bits)[:1]


def _said(variant: Variant) -> str:
    if variant.name == LEAST_ERROR:
        return f"choose the MSBs of least squared error at {variant.bits} bits"
    if variant.name.startswith("per filter"):
        where = f"on {variant.layers[0]}" if variant.layers else "on all kernels"
        return f"per-filter scales {where} at {variant.bits} bits"
    return f"keep {' and '.join(variant.layers)} at 8 bits, all else at {variant.bits}"


def _of_variant(setup: Setup, variant: Variant) -> str:
    if variant.name == LEAST_ERROR:
        return _formats(setup, variant.bits, "--percentile mse")
    if variant.name.startswith("per filter"):
        return _formats(
            setup,
            variant.bits,
            " ".join(["--per-channel", *map(quote, [",".join(variant.layers)] if variant.layers else [])]),
        )
    return (
        f"fewbits progressive-quantization {_inputs(setup)} --bits {variant.bits} --strategy static --edge-bits 8 "
        f"--output {quote(_stem(setup))}-{variant.bits}-bits.keras"
    )


def _size(found: Measurements, setup: Setup) -> Iterator[Advice]:
    weights = {each.bits: each.packed_bytes for each in found.memory}
    enough = [
        each
        for each in found.widths
        if each.rounding == "nearest" and each.under_float and each.under_float.low >= -TOLERATED
    ]
    if enough and None in weights:
        few = min(enough, key=lambda each: each.bits)
        what = f"use {few.bits} bits with rounding to nearest; they cost at most {POINTS * TOLERATED:g} points"
        saved = weights[None] - weights[few.bits]
        yield Advice(what, few.bits, few.under_float, saved, _formats(setup, few.bits))
    gone = {each.layer: list(each.filters) for each in found.dead if each.removable}
    if gone and found.dead_bytes > 0 and not _harms(found.dead_change):
        n = sum(map(len, gone.values()))
        what = f"remove {n} filter{'s' if n > 1 else ''} whose output is always zero"
        yield Advice(what, None, found.dead_change, found.dead_bytes, _removal(setup, gone))


def _harms(change: Change | None) -> bool:
    return change is not None and change.low < -TOLERATED


def _removal(setup: Setup, filters: dict[str, list[int]]) -> str:
    return (
        "import keras\nfrom fewbits.pruning import remove_filters\n\n"
        f"model = keras.saving.load_model({setup.model!r}, compile=False)\n"
        f"remove_filters(model, {filters!r}).save({_stem(setup) + '-smaller.keras'!r})"
    )


def _formats(setup: Setup, bits: int, more: str = "") -> str:
    options = f" {more}" if more else ""
    output = quote(f"{_stem(setup)}-{bits}-bits.keras")
    return f"fewbits formats {_inputs(setup)} --bits {bits} --rounding nearest --fold{options} --save-model {output}"


def _inputs(setup: Setup) -> str:
    options = f" {setup.options}" if setup.options else ""
    return f"{quote(setup.model)} --data {quote(setup.data)}{options}"


def _stem(setup: Setup) -> str:
    return setup.model.removesuffix(".keras")
