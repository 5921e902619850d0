"""One quantized network under many formats, and what it answers with each: accuracy, sensitivity, other formats.

Formats are variables of the network, so all runs share one trace.
"""

from collections.abc import Callable, Iterator, Sequence
from math import isfinite

import numpy as np

from fewbits.names import KINDS, LEAST_ERROR
from fewbits.quantization.calibration import formats_for
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.layers import FLOAT, Formats
from fewbits.quantization.propagation import Propagation
from fewbits.quantization.sqnr import measured_sqnr
from fewbits.report.measurements import Accuracy, Change, PropagatedSqnr, Sensitivity, Variant, WidthAccuracy
from fewbits.report.samples import ImageSample, decisions, network_outputs, right_answers
from fewbits.report.value_ranges import RULE
from fewbits.training.heads import Head

WIDTHS = 16, 8, 6, 5, 4  # bits of kernels, inputs and outputs
AGREEMENT = 0.98  # of the decisions on images that do not judge; with less, few bits are too few
EDGE_BITS = 8
PER_FILTER_LAYERS = 3  # how many layers get formats per filter alone
PROPAGATED = 8  # images; all outputs of the network are in memory at once

LayerFormats = dict[str, Formats]  # layer name -> formats


class FormatRuns:
    """A quantized network that runs under one set of formats after the other.

    Attributes:
        network: The network; its formats are those of the last run.
        head: Of the network, without activation; None if it has none.
        formats: Bits -> the plain formats, with the MSBs of percentile RULE.
        on_images: Called after each step with what is being done and how many images it ran.
    """

    def __init__(
        self,
        network: QuantizedModel,
        head: Head | None,
        formats: dict[int, LayerFormats],
        on_images: Callable[[str, int], None],
    ):
        self.network, self.head, self.formats, self.on_images = network, head, formats, on_images

    def give(self, formats: LayerFormats, rounding: str = "nearest") -> None:
        """Set formats and rounding; layers that `formats` does not name are float.

        Args:
            formats: Layer name -> formats.
            rounding: Of all layers.
        """
        self.network.set_formats(FLOAT)
        self.network.set_formats(formats)
        self.network.set_rounding(rounding)

    def outputs(self, what: str, sample: ImageSample, formats: LayerFormats, rounding: str = "nearest") -> np.ndarray:
        """Return the outputs with these formats, (n, numbers) float64.

        Args:
            what: What is being done.
            sample: The images.
            formats: As in `give`.
            rounding: As in `give`.
        """
        self.give(formats, rounding)
        return network_outputs(self.network, sample, lambda images: self.on_images(what, images))

    def working_bits(self, sample: ImageSample) -> int:
        """Return the widest bits at which the decisions on images change, or the fewest; 8 without a head.

        Args:
            sample: Images that do not judge.
        """
        if self.head is None:
            return EDGE_BITS
        exact = decisions(self.head, self.outputs("formats", sample, {}))
        for bits in WIDTHS[1:]:
            decided = decisions(self.head, self.outputs("formats", sample, self.formats[bits]))
            if np.mean(decided == exact) < AGREEMENT:
                return bits
        return WIDTHS[-1]

    # Accuracy

    def widths(self, sample: ImageSample) -> list[WidthAccuracy]:
        """Return the accuracy at each of WIDTHS, to nearest and down; nothing without a head.

        Args:
            sample: The judging images. Without labels, only the agreement with float is measured.
        """
        if self.head is None:
            return []
        exact = self.outputs("accuracy", sample, {})
        return [width for bits in WIDTHS for width in self._width(bits, self.head, sample, exact)]

    def _width(self, bits: int, head: Head, sample: ImageSample, exact: np.ndarray) -> Iterator[WidthAccuracy]:
        nearest = None
        for rounding in ("nearest", "floor"):
            outputs = self.outputs("accuracy", sample, self.formats[bits], rounding)
            agreement = float(np.mean(decisions(head, outputs) == decisions(head, exact)))
            right = right_answers(head, outputs, sample)
            if right is None:
                yield WidthAccuracy(bits, rounding, None, None, None, agreement)
                continue
            under_float = Change.between(right, right_answers(head, exact, sample))
            instead = None if nearest is None else Change.between(nearest, right)
            nearest = right
            yield WidthAccuracy(bits, rounding, Accuracy.of(right), under_float, instead, agreement)

    # Errors

    def propagated(self, sample: ImageSample, bits: int) -> list[PropagatedSqnr]:
        """Return the SQNR of each layer's output with the errors of all layers before it.

        Args:
            sample: The calibration images, of which the first PROPAGATED are taken.
            bits: Of all values.
        """
        self.give(self.formats[bits])
        errors = Propagation(self.network, sample.first(PROPAGATED).inputs).errors()
        return [PropagatedSqnr(name, _finite(each.sqnr), _finite(each.predicted)) for name, each in errors.items()]

    def sensitivities(self, sample: ImageSample, bits: int) -> list[Sensitivity]:
        """Return what each kind of value in each layer costs alone.

        Args:
            sample: Images that do not judge.
            bits: Of the value.
        """
        exact, head = self.outputs("sensitivity", sample, {}), self.head
        right, found = right_answers(head, exact, sample), []
        for name, formats in self.formats[bits].items():
            for kind in KINDS[:3]:
                fmt = getattr(formats, kind)
                if fmt is None:
                    continue
                outputs = self.outputs("sensitivity", sample, {name: FLOAT._replace(**{kind: fmt})})
                change = None if right is None else Change.between(right_answers(head, outputs, sample), right)
                found.append(Sensitivity(name, kind, _finite(measured_sqnr(exact, outputs)), change))
        return found

    # Other formats

    def variants(
        self, calibration: ImageSample, judging: ImageSample, bits: int, sensitivities: Sequence[Sensitivity]
    ) -> list[Variant]:
        """Return the accuracy with other formats of the same bits.

        Args:
            calibration: Images that set the formats.
            judging: Others that judge them, with labels.
            bits: Of all values.
            sensitivities: At these bits; they choose layers.
        """
        plain = right_answers(self.head, self.outputs("variants", judging, self.formats[bits]), judging)
        found = []
        for name, layers, formats in self._ways(calibration, bits, sensitivities):
            right = right_answers(self.head, self.outputs("variants", judging, formats), judging)
            found.append(Variant(name, bits, layers, Accuracy.of(right), Change.between(right, plain)))
        return found

    def _ways(
        self, sample: ImageSample, bits: int, sensitivities: Sequence[Sensitivity]
    ) -> Iterator[tuple[str, tuple[str, ...], LayerFormats]]:
        """Yield name, layers that differ (none for all) and formats of each way to set them."""
        plain = self.formats[bits]
        yield LEAST_ERROR, (), formats_for(self.network, sample.inputs, bits, LEAST_ERROR)
        per_filter = formats_for(self.network, sample.inputs, bits, RULE, per_channel=True)
        differing = [name for name in plain if per_filter[name].kernel != plain[name].kernel]
        if differing:
            yield "per filter", (), per_filter
        for name in _worst_kernels(sensitivities, differing):
            yield f"per filter on {name}", (name,), plain | {name: per_filter[name]}
        if bits < EDGE_BITS:
            edges = tuple(dict.fromkeys(self.network.quantized_layers[i].name for i in (0, -1)))
            wide = {name: self.formats[EDGE_BITS][name] for name in edges}
            yield f"edges at {EDGE_BITS} bits", edges, plain | wide


def _worst_kernels(sensitivities: Sequence[Sensitivity], names: Sequence[str]) -> list[str]:
    """Return the layers of `names` whose kernels alone leave the lowest SQNR, three at most."""
    kernels = (each for each in sensitivities if each.kind == "kernel" and each.layer in names)
    costs = {each.layer: each.sqnr for each in kernels if each.sqnr is not None}
    return sorted(costs, key=lambda name: costs[name])[:PER_FILTER_LAYERS]


def _finite(sqnr: float) -> float | None:
    return sqnr if isfinite(sqnr) else None
