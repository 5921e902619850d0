"""The examination of a network: everything that a report shows is measured here, on few images."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fewbits.backend import keras
from fewbits.data.inputs import Images
from fewbits.data.pixels import Pixels
from fewbits.deploy.support import export_support
from fewbits.errors import CalibrationWarning, InputError
from fewbits.quantization.calibration import formats_for_each
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import QuantizedModel, dequantize_model, quantize_model, refusals
from fewbits.report.dead_filters import find_dead_filters, without_dead
from fewbits.report.device_needs import measure_needs, packed_bytes
from fewbits.report.format_runs import EDGE_BITS, PER_FILTER_LAYERS, WIDTHS, FormatRuns, LayerFormats
from fewbits.report.measurements import (
    Accuracy,
    Change,
    DeviceMemory,
    ExportForm,
    ImagesUsed,
    LayerFacts,
    Measurements,
    NetworkFacts,
    Preparation,
)
from fewbits.report.network_facts import describe_layers, describe_network
from fewbits.report.preparations import AS_GIVEN, usual_preparations
from fewbits.report.samples import ImageSample, count_shared, draw_sample, network_outputs, right_answers
from fewbits.report.value_ranges import RULE, observe_value_ranges
from fewbits.training.heads import Head, head_of, with_head, without_head

# By default, as many images as take about so many operations, from the first limit to the second.
JUDGING_MACS, JUDGING = 10**11, (100, 1000)
CALIBRATION_ACTIVATIONS, CALIBRATION = 2**26, (8, 32)
CHOOSING_MACS, CHOOSING = 10**11, 200
QUICK_IMAGES = 100
OBSERVATION = 100  # runs of the network that take as long as one observation of all its values

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ImageSource:
    """Images for an examination.

    Attributes:
        data: As in `data.inputs.labelled_batches`, with labels if they are known.
        what: A description for the user.
        unusable_labels: Why labels that there are cannot judge the network; empty if they can.
    """

    data: Images
    what: str = "images"
    unusable_labels: str = ""


def examine(
    model: keras.Model,
    calibration: ImageSource | None = None,
    judging: ImageSource | None = None,
    *,
    most_images: int | None = None,
    seed: int = 0,
    quick: bool = False,
    pixels: Pixels | None = None,
    progress: OnProgress | None = None,
) -> Measurements:
    """Measure everything that a report shows.

    Args:
        model: Any Keras model with a graph, quantized or not; it stays as it is.
        calibration: Images that set formats and show values, of which 8 to 32 are drawn, and that choose layers, of
            which up to 200 are drawn.
        judging: Other images, with labels, that judge accuracy.
        most_images: How many judging images are drawn at most; by default 100 to 1,000, fewer for networks of many
            MACs.
        seed: Draws the images.
        quick: Whether to leave out other formats and exports, and to judge by at most 100 images.
        pixels: How the images were made of pixels, for the options that prepare them otherwise.
        progress: Called as `progress(what, done, total)`; the total is an estimate, in images that the network runs.

    Returns:
        The measurements. What cannot be measured is left out, and `reasons` says why.

    Raises:
        InputError: when `model` has no graph, or images do not fit it.

    Example:
        Measure a network and write the report::

            found = examine(model, ImageSource(images), ImageSource((held_out, their_labels)))
            Path("report.html").write_text(report_page(found, advise(found)))
    """
    start = time.monotonic()
    examination = _Examination(model, quick, progress or (lambda what, done, total: None))
    examination.draw(calibration, judging, most_images or (QUICK_IMAGES if quick else None), seed)
    examination.measure(pixels)
    images = ImagesUsed(
        calibration.what if calibration else "",
        len(examination.calibration or ()),
        len(examination.choosing or ()),
        judging.what if judging else "",
        len(examination.judging or ()),
        examination.shared,
        seed,
        round(time.monotonic() - start, 1),
    )
    return Measurements(images=images, reasons=examination.reasons, **examination.found)


class _Examination:
    """A network, its images, and what has been found so far: attributes of Measurements, and reasons for gaps."""

    def __init__(self, model: keras.Model, quick: bool, progress: OnProgress):
        self.model, self.quick, self.progress = model, quick, progress
        self.reasons: dict[str, str] = {}
        self.plain = dequantize_model(model)
        self.head: Head | None = self._try("accuracy", lambda: head_of(model))
        self.facts: NetworkFacts
        self.facts, uncounted = describe_network(model, self.plain, self.head)
        self.layers: list[LayerFacts] = describe_layers(self.plain)
        self.found: dict[str, Any] = {"network": self.facts, "layers": self.layers, "bits": EDGE_BITS}
        self._note("costs", uncounted)
        self.bare: keras.Model = (self.head and self._try("accuracy", lambda: without_head(self.plain))) or self.plain
        self.network: QuantizedModel | None = self._try("quantization", self._quantized)
        self.calibration: ImageSample | None = None
        self.choosing: ImageSample | None = None
        self.judging: ImageSample | None = None
        self.done = self.total = 0

    def _note(self, section: str, reason: str) -> None:
        if reason:
            self.reasons.setdefault(section, reason)

    def _try(self, section: str, measure: Callable[[], Any]) -> Any:
        """Return what `measure` returns; None if it refuses, with the reason."""
        try:
            return measure()
        except InputError as error:
            self._note(section, str(error))
            return None

    def _quantized(self) -> QuantizedModel:
        self._note("quantization", "; ".join(refusals(canonical(self.bare)).values()))
        return quantize_model(
            self.bare,
            fold_batch_normalization=True,
            fold_preprocessing=True,
            rounding="nearest",
            unsupported="float",
            duplicate_shared=True,
        )

    # The images, and how far the work is

    def draw(
        self, calibration: ImageSource | None, judging: ImageSource | None, most_images: int | None, seed: int
    ) -> None:
        """Draw as many images as the network is small, and estimate the work."""
        activations = sum(row.activations or 0 for row in self.layers) or CALIBRATION_ACTIVATIONS
        few = _between(CALIBRATION_ACTIVATIONS // activations, CALIBRATION)
        many = most_images or _between(JUDGING_MACS // (self.facts.macs or JUDGING_MACS), JUDGING)
        self.calibration = self._drawn(calibration, few, seed) if calibration else None
        kinds = 3 * len(self.network.rounding_layers) if self.network else 1
        some = max(few, min(CHOOSING_MACS // (kinds * (self.facts.macs or CHOOSING_MACS)), CHOOSING))
        self.choosing = self._drawn(calibration, some, seed) if calibration else None
        self.judging = self._drawn(judging, many, seed) if judging else None
        if not calibration:
            self._note("images", "no images were given, so nothing was measured that depends on them")
        evaluations = 8 + 2 * len(WIDTHS) + (0 if self.quick else 4 + PER_FILTER_LAYERS)
        observations = (2 if self.quick else 4) * OBSERVATION * len(self.calibration or ())
        self.total = evaluations * len(self.judging or ()) + kinds * len(self.choosing or ()) + observations

    def _drawn(self, source: ImageSource, n: int, seed: int) -> ImageSample:
        """Return images of a source; without labels if these cannot judge the network, with the reason."""
        sample = draw_sample(self.plain, source.data, n, seed, source.what)
        if source.unusable_labels:
            self._note("accuracy", source.unusable_labels)
        elif sample.labels is None:
            self._note("accuracy", f"{source.what} have no labels")
        elif self.head:
            try:
                self.head.check_labels(sample.labels, self.model.name, source.what)
                return sample
            except InputError as error:
                self._note("accuracy", str(error))
        return replace(sample, labels=None)

    def _on_images(self, what: str, images: int) -> None:
        self.done = min(self.done + images, self.total)
        self.progress(what, self.done, self.total)

    @property
    def shared(self) -> int:
        """How many of the judging images are also among those that choose."""
        return count_shared(self.judging, self.choosing) if self.judging and self.choosing else 0

    # What is measured

    def measure(self, pixels: Pixels | None) -> None:
        """Measure each section in turn."""
        calibration, choosing, judging, runs = self.calibration, self.choosing, self.judging, self._runs()
        bits = self.found["bits"] = runs.working_bits(choosing) if choosing and runs and runs.formats else EDGE_BITS
        if judging:
            self._judge(judging, runs)
        if runs and runs.formats and calibration and choosing:
            self._follow(runs, calibration, choosing, bits)
        if judging and judging.labels is not None:
            self._try("preparations", lambda: self._prepare_otherwise(judging, pixels))
        if choosing:
            self._try("dead", lambda: self._find_dead(choosing))
        self._on_images("devices", 0)
        if runs:
            self._fit(runs, bits)
        else:
            self._note("devices", self.reasons["quantization"])
        self.progress("done", self.total, self.total)

    def _runs(self) -> FormatRuns | None:
        """Return the quantized network with its formats, if it has any."""
        network, calibration = self.network, self.calibration
        if network is None:
            return None
        formats = (calibration and self._try("values", lambda: self._formats(network, calibration))) or {}
        return FormatRuns(network, self.head and self.head.before_activation, formats, self._on_images)

    def _formats(self, network: QuantizedModel, sample: ImageSample) -> dict[int, LayerFormats]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", CalibrationWarning)
            found = formats_for_each(network, sample.inputs, [(bits,) * 3 for bits in WIDTHS], RULE)
        for warning in caught:
            if issubclass(warning.category, CalibrationWarning):
                self._note("calibration", str(warning.message))
        self._on_images("formats", OBSERVATION * len(sample))
        return {bits: formats for (bits, *_), formats in found.items()}

    def _judge(self, sample: ImageSample, runs: FormatRuns | None) -> None:
        if sample.labels is not None:
            self.found["float_accuracy"] = Accuracy.of(self._right(self.bare, sample))
        if sample.labels is not None and self.facts.quantized:
            outputs = network_outputs(self.model, sample)
            self.found["accuracy_as_read"] = Accuracy.of(right_answers(self.head, outputs, sample))
        if runs and runs.formats:
            self.found["widths"] = runs.widths(sample)

    def _right(self, network: keras.Model, sample: ImageSample) -> Any:
        """Return which answers of a float network without head are right."""
        outputs = network_outputs(network, sample, lambda images: self._on_images("accuracy", images))
        return right_answers(self.head and self.head.before_activation, outputs, sample)

    def _follow(self, runs: FormatRuns, sample: ImageSample, choosing: ImageSample, bits: int) -> None:
        """Follow values and errors through the layers, and compare other formats."""
        measured = self._try("values", lambda: observe_value_ranges(runs.network, sample, runs.formats[bits]))
        if measured:
            self.found["values"], self.found["skewed"] = measured
        self._on_images("values", OBSERVATION * len(sample))
        self.found["propagated"] = self._try("propagated", lambda: runs.propagated(sample, bits)) or ()
        found = self._try("sensitivities", lambda: runs.sensitivities(choosing, bits)) or ()
        self.found["sensitivities"] = found
        judging = self.judging
        if judging and judging.labels is not None and not self.quick:
            self.found["variants"] = self._try("variants", lambda: runs.variants(sample, judging, bits, found)) or ()

    def _prepare_otherwise(self, sample: ImageSample, pixels: Pixels | None) -> None:
        if len(sample.inputs) > 1 or sample.inputs[0].ndim != 4:
            raise InputError("other preparations are tried on networks with one input, of images")
        [images], [seen] = sample.inputs, (self.calibration or sample).inputs
        right, accuracy = self._right(self.bare, sample), self.found["float_accuracy"]
        found = [Preparation(AS_GIVEN, accuracy, None, False, "")]
        for way in usual_preparations(images, seen, pixels):
            other = self._right(self.bare, sample.with_images(way.images))
            change = Change.between(other, right)
            better = change.value > 0 and change.beyond_chance()
            found.append(Preparation(way.name, Accuracy.of(other), change, better, way.options))
        self.found["preparations"] = found

    def _find_dead(self, sample: ImageSample) -> None:
        self.found["dead"] = dead = find_dead_filters(self.plain, sample)
        if not any(each.removable for each in dead):
            return
        smaller, self.found["dead_bytes"] = without_dead(self.bare, dead)
        judging = self.judging
        if judging and judging.labels is not None:
            right, before = self._right(smaller, judging), self._right(self.bare, judging)
            self.found["dead_change"] = Change.between(right, before)

    def _fit(self, runs: FormatRuns, bits: int) -> None:
        """Find what the network needs on a device, and which forms it can take."""
        facts, memory, sums = self.facts, [], []
        if facts.weight_bytes is not None and facts.peak_activations is not None:
            memory.append(DeviceMemory(None, facts.weight_bytes, facts.weight_bytes, 4 * facts.peak_activations))
        for width in WIDTHS:
            if width not in runs.formats:
                memory.append(DeviceMemory(width, packed_bytes(runs.network, width), None, None))
                continue
            runs.give(runs.formats[width])
            found, needs, reason = measure_needs(runs.network, width)
            memory.append(needs)
            if width in (EDGE_BITS, bits):
                sums += found
                self._note("devices", reason)
        self.found["accumulators"], self.found["memory"] = sums, memory
        if self.quick:
            self._note("exports", "a quick report tries no exports; `fewbits check` does")
        else:
            self._try("exports", lambda: self._export(runs))

    def _export(self, runs: FormatRuns) -> None:
        if runs.formats:
            runs.give(runs.formats[EDGE_BITS])
            whole = with_head(runs.network, self.head) if self.head else runs.network
        else:
            whole = self.plain
        self.found["exports"] = [ExportForm(form, reason) for form, reason in export_support(whole).items()]


def _between(number: int, limits: tuple[int, int]) -> int:
    return min(max(number, limits[0]), limits[1])
