"""The examination of a network: everything that a report shows is measured here, in one pass over few images."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, isfinite
from typing import Any

import numpy as np

from fewbits.backend import keras
from fewbits.costs.complexity import cost_table, totals
from fewbits.data.inputs import Images
from fewbits.data.pixels import Pixels
from fewbits.deploy.support import export_support, layer_support
from fewbits.errors import CalibrationWarning, InputError
from fewbits.names import LEAST_ERROR
from fewbits.pruning.criteria import importance
from fewbits.pruning.surgery import removable, remove_filters
from fewbits.quantization.calibration import formats_for_each
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import QuantizedModel, dequantize_model, quantize_model, refusals
from fewbits.quantization.layers import FLOAT, Formats
from fewbits.quantization.propagation import Propagation
from fewbits.quantization.sqnr import measured_sqnr
from fewbits.report.device_needs import device_needs, packed_bytes
from fewbits.report.measurements import (
    Accuracy,
    Change,
    DeadFilters,
    DeviceMemory,
    ExportForm,
    ImagesUsed,
    LayerFacts,
    Measurements,
    NetworkFacts,
    Preparation,
    PropagatedSqnr,
    Sensitivity,
    Variant,
    WidthAccuracy,
)
from fewbits.report.preparations import AS_GIVEN, usual_preparations
from fewbits.report.samples import ImageSample, decisions, draw_sample, network_outputs, right_answers
from fewbits.report.value_ranges import RULE, value_ranges
from fewbits.training.heads import Head, head_of, with_head, without_head

WIDTHS = 16, 8, 6, 5, 4
ROUNDINGS = "nearest", "floor"
AGREEMENT = 0.98  # of the decisions on calibration images; with less, few bits are too few
EDGE_BITS = 8
PER_FILTER_LAYERS = 3  # how many layers get formats per filter alone
PROPAGATED = 8  # images; all outputs of the network are in memory at once
# By default, as many images as take about so many operations, from the first limit to the second.
JUDGING_MACS, JUDGING = 10**11, (100, 1000)
CALIBRATION_ACTIVATIONS, CALIBRATION = 2**26, (8, 32)
QUICK_IMAGES = 100

OnProgress = Callable[[str, int, int], None]
Uniform = dict[int, dict[str, Formats]]  # bits of kernel, input and output -> layer name -> formats


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
        calibration: Images that set formats, choose layers and show values; 8 to 32 are drawn.
        judging: Other images, with labels, that judge accuracy.
        most_images: How many judging images are drawn at most; by default 100 to 1,000, fewer for networks of many
            MACs.
        seed: Draws the images.
        quick: Whether to leave out variants of the formats and exports, and to judge by at most 100 images.
        pixels: How the images were made of pixels, for the options that prepare them otherwise.
        progress: Called as `progress(what, done, total)`; the total is an estimate, in images that the network runs.

    Returns:
        The measurements. What cannot be measured is left out, and `reasons` says why.

    Raises:
        InputError: when `model` has no graph, or images do not fit it.

    Example:
        Measure a network and write the report::

            found = examine(model, ImageSource((images, labels)), ImageSource((others, their_labels)))
            Path("report.html").write_text(report_page(found, advise(found)))
    """
    start = time.monotonic()
    examination = _Examination(model, most_images or (QUICK_IMAGES if quick else None), quick, progress)
    examination.draw(calibration, judging, seed)
    examination.run(pixels)
    images = ImagesUsed(
        calibration.what if calibration else "",
        len(examination.calibration or ()),
        judging.what if judging else "",
        len(examination.judging or ()),
        seed,
        round(time.monotonic() - start, 1),
    )
    return Measurements(images=images, reasons=examination.reasons, **examination.found)


class _Examination:
    """A network, its images, and what has been found so far."""

    calibration: ImageSample | None = None
    judging: ImageSample | None = None

    def __init__(self, model: keras.Model, most_images: int | None, quick: bool, progress: OnProgress | None):
        self.model, self.most_images, self.quick = model, most_images, quick
        self.progress = progress or (lambda what, done, total: None)
        self.reasons: dict[str, str] = {}
        self.plain = dequantize_model(model)
        self.head = self._try("accuracy", lambda: head_of(model))
        self.found: dict[str, Any] = {"bits": EDGE_BITS, "network": self._network(), "layers": self._layers()}
        self.network = self._try("quantization", self._quantized)
        self.formats: Uniform = {}
        self.float_right = np.zeros(0, bool)
        self.nearest_right: dict[int, np.ndarray] = {}
        self.done = self.total = 0
        self.comparisons = 0

    def _try(self, section: str, measure: Callable[[], Any]) -> Any:
        """Return what `measure` returns; None if it refuses, with the reason."""
        try:
            return measure()
        except InputError as error:
            self.reasons.setdefault(section, str(error))
            return None

    def _on(self, what: str) -> Callable[[int], None]:
        """Return what is to be called with the number of images done of the work `what`."""

        def advance(images: int) -> None:
            self.done = min(self.done + images, self.total)
            self.progress(what, self.done, self.total)

        return advance

    # The network

    def _network(self) -> NetworkFacts:
        cost = self._try("costs", lambda: totals(self.plain))
        counted = (cost.parameters, cost.macs, cost.weight_bytes, cost.peak_activations) if cost else ()
        shapes = tuple(tuple(x.shape[1:]) for x in self.plain.inputs)
        kind, units = (self.head.kind, self.head.units) if self.head else ("", 0)
        return NetworkFacts(self.model.name, shapes, kind, units, isinstance(self.model, QuantizedModel), *counted)

    def _layers(self) -> list[LayerFacts]:
        costs: dict[str, list] = {}
        for row in self._try("costs", lambda: cost_table(self.plain)) or ():
            costs.setdefault(row.name, []).append(row)
        return [_facts(support, costs.get(support.name)) for support in layer_support(self.plain)]

    def _quantized(self) -> QuantizedModel:
        bare = without_head(self.plain) if self.head else self.plain
        refused = refusals(canonical(bare))
        if refused:
            self.reasons["quantization"] = f"{'; '.join(refused.values())}"
        return quantize_model(
            bare,
            fold_batch_normalization=True,
            fold_preprocessing=True,
            rounding="nearest",
            unsupported="float",
            duplicate_shared=True,
        )

    # The images

    def draw(self, calibration: ImageSource | None, judging: ImageSource | None, seed: int) -> None:
        facts, rows = self.found["network"], self.found["layers"]
        activations = sum(row.activations or 0 for row in rows) or CALIBRATION_ACTIVATIONS
        few = _between(CALIBRATION_ACTIVATIONS // activations, CALIBRATION)
        many = self.most_images or _between(JUDGING_MACS // max(1, facts.macs or JUDGING_MACS), JUDGING)
        if calibration:
            self.calibration = self._drawn(calibration, few, seed)
        else:
            self.reasons.setdefault("images", "there are no images, so nothing was measured that depends on them")
        if judging:
            self.judging = self._drawn(judging, many, seed)
        self._plan()

    def _drawn(self, source: ImageSource, n: int, seed: int) -> ImageSample:
        """Return images of a source; without labels if these cannot judge the network, with the reason."""
        sample = draw_sample(self.plain, source.data, n, seed, source.what)
        if self.head is None or sample.labels is None:
            return replace(sample, labels=None)
        try:
            if source.unusable_labels:
                raise InputError(source.unusable_labels)
            self.head.check_labels(sample.labels, self.model.name, source.what)
        except InputError as error:
            self.reasons.setdefault("accuracy", str(error))
            return replace(sample, labels=None)
        return sample

    def _plan(self) -> None:
        kinds = 3 * len(self.network.rounding_layers) if self.network else 0
        evaluations = 1 + len(WIDTHS) * len(ROUNDINGS) + 5 + (0 if self.quick else 3 + PER_FILTER_LAYERS)
        self.total = len(self.judging or ()) * evaluations + len(self.calibration or ()) * (kinds + 80)

    def run(self, pixels: Pixels | None) -> None:
        if self.calibration and self.network:
            self._try("values", self._set_formats)
        if self.judging and not (self.head and self.judging.labels is not None):
            self.reasons.setdefault("accuracy", "the judging images have no labels")
        self._accuracies()
        if self.formats:
            self._measure_values()
            self._try("sensitivities", self._measure_sensitivities)
            if self._judged and not self.quick:
                self._try("variants", self._measure_variants)
        if self._judged:
            self._try("preparations", lambda: self._measure_preparations(pixels))
        if self.calibration:
            self._try("dead", self._find_dead)
        self._devices()
        self.found["comparisons"] = max(1, self.comparisons)
        self.progress("done", self.total, self.total)

    @property
    def _judged(self) -> bool:
        return bool(self.head and self.judging and self.judging.labels is not None)

    # Formats and accuracy

    def _set_formats(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", CalibrationWarning)
            found = formats_for_each(self.network, self.calibration.inputs, [(n, n, n) for n in WIDTHS], RULE)
        said = [str(each.message) for each in caught if issubclass(each.category, CalibrationWarning)]
        if said:
            self.reasons["calibration"] = said[0]
        self.formats = {bits[0]: formats for bits, formats in found.items()}
        self._on("formats")(20 * len(self.calibration))
        self.found["bits"] = self._working_bits()

    def _working_bits(self) -> int:
        """Return the widest bits at which the decisions on the calibration images change, or the fewest."""
        if self.head is None:
            return EDGE_BITS
        exact = self._decide(FLOAT)
        for bits in WIDTHS[1:]:
            if np.mean(self._decide(self.formats[bits]) == exact) < AGREEMENT:
                return bits
        return WIDTHS[-1]

    def _decide(self, formats: Any) -> np.ndarray:
        return decisions(self._bare_head, self._run("formats", self.calibration, formats))

    @property
    def _bare_head(self) -> Head:
        return self.head.before_activation

    def _run(self, what: str, sample: ImageSample, formats: Any, rounding: str = "nearest") -> np.ndarray:
        """Return the outputs of the quantized network with these formats."""
        self.network.set_formats(FLOAT)
        self.network.set_formats(formats)
        self.network.set_rounding(rounding)
        return network_outputs(self.network, sample, self._on(what))

    def _right(self, outputs: np.ndarray) -> np.ndarray:
        return right_answers(self._bare_head, outputs, self.judging.labels)

    def _accuracies(self) -> None:
        if not self.judging:
            return
        if self._judged:
            self._judge_float()
        if not self.formats or self.head is None:
            return
        exact = self._run("accuracy", self.judging, FLOAT)
        self.found["widths"] = [self._width(bits, rounding, exact) for bits in WIDTHS for rounding in ROUNDINGS]

    def _judge_float(self) -> None:
        if self.network:
            outputs = self._run("accuracy", self.judging, FLOAT)
        else:
            outputs = network_outputs(without_head(self.plain), self.judging, self._on("accuracy"))
        self.float_right = self._right(outputs)
        self.found["float_accuracy"] = Accuracy.of(self.float_right)
        if isinstance(self.model, QuantizedModel):
            outputs = network_outputs(self.model, self.judging)
            self.found["accuracy_as_read"] = Accuracy.of(right_answers(self.head, outputs, self.judging.labels))

    def _width(self, bits: int, rounding: str, exact: np.ndarray) -> WidthAccuracy:
        outputs = self._run("accuracy", self.judging, self.formats[bits], rounding)
        agreement = float(np.mean(decisions(self._bare_head, outputs) == decisions(self._bare_head, exact)))
        if not self._judged:
            return WidthAccuracy(bits, rounding, None, None, None, agreement)
        right = self._right(outputs)
        if rounding == "nearest":
            self.nearest_right[bits] = right
            return WidthAccuracy(
                bits, rounding, Accuracy.of(right), self._change(right, self.float_right), None, agreement
            )
        gained = self._change(self.nearest_right[bits], right)
        return WidthAccuracy(
            bits, rounding, Accuracy.of(right), self._change(right, self.float_right), gained, agreement
        )

    def _change(self, first: np.ndarray, second: np.ndarray) -> Change:
        self.comparisons += 1
        return Change.between(first, second)

    # Values, errors and sensitivity

    def _measure_values(self) -> None:
        bits = self.found["bits"]
        measured = self._try("values", lambda: value_ranges(self.network, self.calibration, bits))
        if measured:
            self.found["values"], self.found["skewed"] = measured
        self._on("values")(20 * len(self.calibration))
        self._try("propagated", self._propagate)

    def _propagate(self) -> None:
        self.network.set_formats(self.formats[self.found["bits"]])
        self.network.set_rounding("nearest")
        inputs = self.calibration.first(PROPAGATED).inputs
        errors = Propagation(self.network, inputs).errors()
        self.found["propagated"] = [
            PropagatedSqnr(name, _finite(error.sqnr), _finite(error.predicted)) for name, error in errors.items()
        ]

    def _measure_sensitivities(self) -> None:
        sample, formats = self.calibration, self.formats[self.found["bits"]]
        exact = self._run("sensitivity", sample, FLOAT)
        labels = sample.labels if self.head else None
        right = None if labels is None else right_answers(self._bare_head, exact, labels)
        found = []
        for layer in self.network.rounding_layers:
            for kind in ("kernel", "input", "output"):
                fmt = getattr(formats[layer.name], kind)
                if fmt is None:
                    continue
                outputs = self._run("sensitivity", sample, {layer.name: FLOAT._replace(**{kind: fmt})})
                change = None
                if right is not None:
                    change = Change.between(right_answers(self._bare_head, outputs, labels), right)
                found.append(Sensitivity(layer.name, kind, _finite(measured_sqnr(exact, outputs)), change))
        self.found["sensitivities"] = found

    def _measure_variants(self) -> None:
        bits = self.found["bits"]
        plain, inputs = self.formats[bits], self.calibration.inputs
        three = (bits,) * 3
        least = formats_for_each(self.network, inputs, [three], LEAST_ERROR)[three]
        per_filter = formats_for_each(self.network, inputs, [three], RULE, per_channel=True)[three]
        differing = [name for name in plain if per_filter[name].kernel != plain[name].kernel]
        edges = [self.network.quantized_layers[i].name for i in (0, -1)]
        ways: list[tuple[str, tuple[str, ...], dict[str, Formats]]] = [("mse", (), least)]
        if differing:
            ways.append(("per filter", (), per_filter))
        for name in self._most_sensitive_kernels(differing):
            ways.append((f"per filter on {name}", (name,), plain | {name: per_filter[name]}))
        if bits < EDGE_BITS:
            wide = {name: self.formats[EDGE_BITS][name] for name in edges}
            ways.append((f"edges at {EDGE_BITS} bits", tuple(edges), plain | wide))
        self.found["variants"] = [self._variant(name, bits, *rest) for name, *rest in ways]

    def _most_sensitive_kernels(self, names: list[str]) -> list[str]:
        """Return the layers whose kernels cost most alone; they are chosen on the calibration images."""
        costs = {
            each.layer: each.sqnr
            for each in self.found["sensitivities"]
            if each.kind == "kernel" and each.layer in names and each.sqnr is not None
        }
        return sorted(costs, key=costs.__getitem__)[:PER_FILTER_LAYERS]

    def _variant(self, name: str, bits: int, layers: tuple[str, ...], formats: dict[str, Formats]) -> Variant:
        right = self._right(self._run("variants", self.judging, formats))
        return Variant(name, bits, layers, Accuracy.of(right), self._change(right, self.nearest_right[bits]))

    # Images

    def _measure_preparations(self, pixels: Pixels | None) -> None:
        if len(self.judging.inputs) > 1 or self.judging.inputs[0].ndim != 4:
            raise InputError("other preparations are tried on networks with one input, of images")
        network = self.network or without_head(self.plain)
        if self.network:
            self.network.set_formats(FLOAT)
        [images], tried = self.judging.inputs, []
        known = (self.calibration or self.judging).inputs[0]
        for way in usual_preparations(images, known, pixels):
            outputs = network_outputs(network, self.judging.with_images(way.images), self._on("preparations"))
            right = self._right(outputs)
            tried.append((way, Accuracy.of(right), self._change(right, self.float_right)))
        as_given = Preparation(AS_GIVEN, self.found["float_accuracy"], None, False, "")
        self.found["preparations"] = [as_given] + [
            Preparation(way.name, accuracy, change, change.value > 0 and change.beyond_chance(len(tried)), way.options)
            for way, accuracy, change in tried
        ]

    # Filters

    def _find_dead(self) -> None:
        if len(self.calibration.inputs) > 1:
            raise InputError("dead filters are looked for in networks with one input")
        labels = np.zeros(len(self.calibration), int)
        images = self.calibration.inputs[0], labels
        activity = importance(self.plain, images, "activation-l2", batch_size=len(labels))
        weights = importance(self.plain, images, "weights-l1")
        free = {filter for group in removable(self.plain) for filter in group}
        dead = {name: np.flatnonzero(scores == 0) for name, scores in activity.items() if (scores == 0).any()}
        self.found["dead"] = [
            DeadFilters(
                name,
                tuple(map(int, numbers)),
                len(activity[name]),
                int((weights[name][numbers] == 0).sum()),
                all((name, i) in free for i in numbers) and len(numbers) < len(activity[name]),
            )
            for name, numbers in dead.items()
        ]
        gone = {each.layer: each.filters for each in self.found["dead"] if each.removable}
        if gone:
            self._try("dead", lambda: self._without_dead(gone))

    def _without_dead(self, gone: dict[str, tuple[int, ...]]) -> None:
        bare = without_head(self.plain) if self.head else self.plain
        smaller = remove_filters(bare, gone)
        before = self.found["network"].weight_bytes
        self.found["dead_bytes"] = before - totals(smaller).weight_bytes if before else 0
        if self._judged:
            right = self._right(network_outputs(smaller, self.judging))
            self.found["dead_change"] = Change.between(right, self.float_right)

    # Devices

    def _devices(self) -> None:
        if not self.network:
            self.reasons.setdefault("devices", self.reasons.get("quantization", "the network cannot be quantized"))
            return
        self._on("devices")(0)
        facts, sums, memory = self.found["network"], [], []
        if facts.weight_bytes is not None:
            memory.append(DeviceMemory(None, facts.weight_bytes, facts.weight_bytes, 4 * facts.peak_activations))
        for bits in WIDTHS:
            if bits not in self.formats:
                memory.append(DeviceMemory(bits, packed_bytes(self.network, bits), None, None))
                continue
            self._give(bits)
            found, needs, reason = device_needs(self.network, bits)
            memory.append(needs)
            sums += found if bits in (EDGE_BITS, self.found["bits"]) else []
            if reason and bits in (EDGE_BITS, self.found["bits"]):
                self.reasons.setdefault("devices", reason)
        self.found["accumulators"], self.found["memory"] = sums, memory
        if self.formats:
            self._give(EDGE_BITS)
        if self.quick:
            self.reasons["exports"] = "a quick report tries no exports; `fewbits check` does"
        else:
            self._try("exports", self._export)

    def _give(self, bits: int) -> None:
        self.network.set_formats(self.formats[bits])
        self.network.set_rounding("nearest")

    def _export(self) -> None:
        network = self.network if self.formats else self.plain
        whole = with_head(network, self.head) if self.head and self.formats else network
        self.found["exports"] = [ExportForm(form, reason) for form, reason in export_support(whole).items()]


def _facts(support: Any, rows: list | None) -> LayerFacts:
    counted: tuple = ((), None, None, None, None)
    if rows:
        parameters = sum(row.parameters for row in rows)
        macs, activations = sum(row.macs for row in rows), sum(row.activations for row in rows)
        counted = rows[0].output_shape, parameters, macs, activations, 4 * parameters
    return LayerFacts(support.name, support.kind, *counted, support.quantization, support.pruning)


def _between(number: int, limits: tuple[int, int]) -> int:
    return min(max(ceil(number), limits[0]), limits[1])


def _finite(sqnr: float) -> float | None:
    return sqnr if isfinite(sqnr) else None
