"""What a report holds, as plain data: numbers with their intervals, or the reason why there are none.

The JSON of a report has a key for each attribute here, with `null` for numbers that are infinite or not known.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

import numpy as np
from scipy.stats import binomtest

from fewbits.statistics import Share, paired_difference

VERSION = 1  # of the JSON; it changes when a key is renamed or means something else
CONFIDENCE = 0.95
COMPARISONS = 16  # of accuracy: five of roundings, six of formats, five of preparations, at most


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers with its 95 % interval by Wilson.

    Attributes:
        hits: Right answers.
        n: Answers in all: images, or labels of a network with several per image.
        value: The share, from 0 to 1.
        low: The lower end of the interval.
        high: The upper end of the interval.
    """

    hits: int
    n: int
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, answers: np.ndarray) -> "Accuracy":
        """Return the accuracy of answers, (n,) bool."""
        share = Share.of(answers)
        return cls(share.hits, share.n, share.value, share.low, share.high)


@dataclass(frozen=True)
class Change:
    """By how much one network is right more often than another on the same images, with its paired 95 % interval.

    Attributes:
        value: The difference of the shares, from -1 to 1.
        low: The lower end of the interval.
        high: The upper end of the interval.
        n: How many answers were compared.
        chance: The probability of a difference at least as large if neither network were better, by the exact sign
            test on the answers that differ.
    """

    value: float
    low: float
    high: float
    n: int
    chance: float

    @classmethod
    def between(cls, first: np.ndarray, second: np.ndarray) -> "Change":
        """Return by how much `first` exceeds `second`.

        The interval counts one more answer that only `first` has right and one that only `second` has: otherwise it
        would have no width where all answers agree.

        Args:
            first: (n,) bool, the answers of one network.
            second: (n,) bool, those of the other to the same images.

        Source:
            Bonett and Price, Adjusted Wald confidence interval for a difference of binomial proportions based on paired
            data, 2012.
        """
        value, _ = paired_difference(first, second)
        middle, half_width = paired_difference(np.append(first, [True, False]), np.append(second, [False, True]))
        gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
        chance = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        return cls(value, middle - half_width, middle + half_width, len(first), float(chance))

    def beyond_chance(self) -> bool:
        """Return whether the difference is not 0, when it is one of COMPARISONS that share the level of 5 %.

        Source:
            Dunn, Multiple comparisons among means, 1961 (Bonferroni's inequality).
        """
        return self.chance < (1 - CONFIDENCE) / COMPARISONS and self.low * self.high > 0


# The network


@dataclass(frozen=True)
class NetworkFacts:
    """The network as a whole.

    Attributes:
        name: Its name.
        input_shapes: The shape of each input without the batch; None for an open side.
        head: What it returns for each image: `logits`, `softmax`, `sigmoid` or `multi-label`; empty if it has no head.
        units: Outputs per image; 0 without a head.
        quantized: Whether it was quantized when it was read. Its float weights are reported on.
        parameters: Their number; None if they cannot be counted, as the next three.
        macs: Multiply-accumulates per image.
        weight_bytes: Bytes of the parameters at 32 bits each.
        peak_activations: The most values held at once.
    """

    name: str
    input_shapes: tuple[tuple[int | None, ...], ...]
    head: str
    units: int
    quantized: bool
    parameters: int | None = None
    macs: int | None = None
    weight_bytes: int | None = None
    peak_activations: int | None = None


@dataclass(frozen=True)
class LayerFacts:
    """One layer: what it costs and what can be done with it.

    Attributes:
        name: Its name, in the form in which the network is quantized.
        kind: Its class.
        output_shape: Without the batch; empty if the costs cannot be counted.
        parameters: Their number; None if they cannot be counted, as the next three.
        macs: Multiply-accumulates per image, over all calls.
        activations: Output values per image, over all calls.
        weight_bytes: Bytes of the parameters at 32 bits each.
        quantization: What becomes of it when the network is quantized, or why it is refused.
        pruning: How many of its filters can be removed, or why none; empty if it has none.
    """

    name: str
    kind: str
    output_shape: tuple[Any, ...]
    parameters: int | None
    macs: int | None
    activations: int | None
    weight_bytes: int | None
    quantization: str
    pruning: str


# The values of a layer


@dataclass(frozen=True)
class ValueRange:
    """Where the values of one kind lie in one layer, on the calibration images.

    Attributes:
        layer: The name of the layer.
        kind: `kernel`, `input` or `output`.
        low: The smallest value; of an output whose format is unsigned, after the ReLU that follows.
        high: The largest value.
        counts: How many values are in each of the equal bins from `low` to `high`.
        percentiles: Percentage of the values -> the limits between which the middle ones lie.
        msbs: Range rule -> MSB; rules are percentiles, and `mse`, the least squared error at the bits of the report.
        signed: Whether the format has a sign; if not, it reaches from 0 to 2**(MSB + 1).
        clipped: Share of the values that are clipped at the bits of the report, with the MSB of `RULE`.
        sqnr: Signal-to-quantization-noise ratio in dB of these values alone, rounded to nearest; None if infinite.
    """

    layer: str
    kind: str
    low: float
    high: float
    counts: tuple[int, ...]
    percentiles: dict[str, tuple[float, float]]
    msbs: dict[str, int]
    signed: bool
    clipped: float
    sqnr: float | None


@dataclass(frozen=True)
class PropagatedSqnr:
    """What the output of a layer has lost, with all errors of the layers before it.

    Attributes:
        layer: The name of the layer.
        measured: SQNR in dB; None if infinite.
        predicted: SQNR in dB by backstrom2018, Equation 8; None if infinite.
    """

    layer: str
    measured: float | None
    predicted: float | None


@dataclass(frozen=True)
class Sensitivity:
    """What it costs to quantize one kind of value in one layer, with all else in float.

    Attributes:
        layer: The name of the layer.
        kind: `kernel`, `input` or `output`.
        sqnr: SQNR in dB of the outputs of the network; None if nothing changed.
        change: Of the accuracy on the choosing images; None without labels.
    """

    layer: str
    kind: str
    sqnr: float | None
    change: Change | None


@dataclass(frozen=True)
class DeadFilters:
    """Filters whose output is zero on all choosing images.

    Attributes:
        layer: The name of the layer.
        filters: Their numbers.
        of: How many filters the layer has.
        without_weights: How many of them have no weight but 0.
        removable: Whether all of them can be removed.
    """

    layer: str
    filters: tuple[int, ...]
    of: int
    without_weights: int
    removable: bool


@dataclass(frozen=True)
class SkewedChannels:
    """A layer with one MSB for channels whose ranges differ much.

    Attributes:
        layer: The name of the layer.
        kind: `kernel` or `output`.
        bits_lost: How many bits the median channel loses to the widest one: log2 of the ratio of their ranges.
        widest: The number of the widest channel.
    """

    layer: str
    kind: str
    bits_lost: float
    widest: int


# Accuracy


@dataclass(frozen=True)
class WidthAccuracy:
    """The accuracy with kernels, inputs and outputs of so many bits.

    Attributes:
        bits: Of all three.
        rounding: Of all three.
        accuracy: On the judging images.
        under_float: The change from float to these bits.
        nearest_instead: The change from floor to nearest at the same bits; None for nearest itself.
        agreement: Share of the judging images for which the largest output is where it is in float; None without a
            head. It needs no labels.
    """

    bits: int
    rounding: str
    accuracy: Accuracy | None
    under_float: Change | None
    nearest_instead: Change | None
    agreement: float | None


@dataclass(frozen=True)
class Variant:
    """Another way to set the formats, measured beside the plain one at the same bits.

    Attributes:
        name: `mse`, `per filter`, `per filter on LAYER` or `edges at 8 bits`.
        bits: The bits of both.
        layers: The layers that differ; empty for all.
        accuracy: On the judging images.
        change: From the plain formats to these.
    """

    name: str
    bits: int
    layers: tuple[str, ...]
    accuracy: Accuracy
    change: Change


@dataclass(frozen=True)
class Preparation:
    """A usual way to prepare images, tried on the float network.

    Attributes:
        name: What is done to the images as they were given.
        accuracy: On the judging images.
        change: From the images as they were given to these; None for these themselves.
        better: Whether it is better beyond chance, among all that were tried.
        options: The options of the command line for it; empty if there are none.
    """

    name: str
    accuracy: Accuracy
    change: Change | None
    better: bool
    options: str


# Devices


@dataclass(frozen=True)
class Accumulator:
    """How wide the sums of a layer become in integers, proven for all images.

    Attributes:
        layer: The name of the layer.
        bits: Bits of kernel, input and output.
        partial_bits: Bits of an accumulator that holds all partial sums, in any order.
        magnitude: The largest sum of products.
    """

    layer: str
    bits: int
    partial_bits: int
    magnitude: int


@dataclass(frozen=True)
class DeviceMemory:
    """What the network takes on a device.

    Attributes:
        bits: Bits of kernel, input and output; None for float.
        packed_bytes: Kernels at these bits and all other parameters at 32.
        flash_bytes: Constants of the C code; None if there is none.
        ram_bytes: The codes between layers and the sums of the C code; None if there is none.
    """

    bits: int | None
    packed_bytes: int
    flash_bytes: int | None
    ram_bytes: int | None


@dataclass(frozen=True)
class ExportForm:
    """A form that a network takes on devices.

    Attributes:
        form: What it is.
        reason: Why not and what to do; empty if the network can take it.
    """

    form: str
    reason: str


@dataclass(frozen=True)
class ImagesUsed:
    """Which images were used.

    Attributes:
        calibration: What the images are that set formats, measure values and choose; empty without any.
        calibration_images: How many set formats and show values.
        choosing_images: How many show sensitivity and dead filters, the former among them if possible.
        judging: What the images are that judge accuracy, others than those of the calibration.
        judging_images: How many.
        shared: How many of the judging images equal one of the others; then what they judge may look too good.
        seed: Of the drawing.
        seconds: What it all took.
    """

    calibration: str
    calibration_images: int
    choosing_images: int
    judging: str
    judging_images: int
    shared: int
    seed: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Measurements:
    """All that a report shows.

    Attributes:
        network: The network as a whole.
        images: Which images were used.
        bits: The bits at which values, SQNR and sensitivity are measured and variants compared: the widest at which
            the calibration images show a change, or the fewest.
        layers: Each layer.
        float_accuracy: On the judging images.
        accuracy_as_read: Of a network that was quantized when it was read, with its own formats.
        widths: The accuracy at few bits.
        values: Where the values lie, by layer and kind.
        propagated: The SQNR of each layer's output, measured and predicted.
        sensitivities: What each kind of value in each layer costs alone.
        variants: Other ways to set formats.
        preparations: Usual ways to prepare images.
        dead: Filters that do nothing.
        dead_bytes: Bytes of weights, at 32 bits each, that go with the dead filters that can be removed.
        dead_change: Of the accuracy on the judging images when these are removed.
        skewed: Layers whose channels differ much in range.
        accumulators: Widths of the sums in integers.
        memory: What the network takes on a device.
        exports: Forms that the network can take.
        comparisons: How many comparisons of accuracy are made at most; a claim holds beyond the chance of them all.
        reasons: Section -> why it is empty or not complete.
        version: Of this structure.
    """

    network: NetworkFacts
    images: ImagesUsed
    bits: int
    layers: Sequence[LayerFacts] = ()
    float_accuracy: Accuracy | None = None
    accuracy_as_read: Accuracy | None = None
    widths: Sequence[WidthAccuracy] = ()
    values: Sequence[ValueRange] = ()
    propagated: Sequence[PropagatedSqnr] = ()
    sensitivities: Sequence[Sensitivity] = ()
    variants: Sequence[Variant] = ()
    preparations: Sequence[Preparation] = ()
    dead: Sequence[DeadFilters] = ()
    dead_bytes: int = 0
    dead_change: Change | None = None
    skewed: Sequence[SkewedChannels] = ()
    accumulators: Sequence[Accumulator] = ()
    memory: Sequence[DeviceMemory] = ()
    exports: Sequence[ExportForm] = ()
    comparisons: int = COMPARISONS
    reasons: dict[str, str] = field(default_factory=dict)
    version: int = VERSION


def as_json(measurements: Measurements, advice: Sequence[Any] = ()) -> str:
    """Return measurements as JSON.

    Args:
        measurements: What was measured.
        advice: What follows from it, as `advise` returns it; dataclasses, under the key `advice`.

    Returns:
        An object with a key for each attribute of Measurements; nested objects have the attributes of their classes.
        Numbers that are infinite or not known are `null`.
    """
    plain = asdict(measurements) | {"advice": [asdict(each) for each in advice]}
    return json.dumps(_finite(plain), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
