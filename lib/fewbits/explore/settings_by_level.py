"""Explorers of the levels of a network, which the reader quantizes one by one: formats, and roundings."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, prod
from os.path import commonprefix
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fewbits.backend import keras
from fewbits.data.dataset import Dataset
from fewbits.deploy.in_page import round_for_page
from fewbits.explore import plots, readers
from fewbits.explore.explorer import Explorer, PageView, View
from fewbits.names import INTEGER_ROUNDINGS
from fewbits.quantization.calibration import formats_from_msbs
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.layer_summary import MSBs
from fewbits.statistics import Share

BITS = tuple(range(2, 17))
LISTED = (2, 3, 4, 5, 6, 8, 10)  # bits of all levels in the table
ROUNDINGS = ("floor", "nearest")


def accuracy_by_level(
    model: keras.Model,
    levels: Sequence[Sequence[str]],
    dataset: Dataset,
    tables: Mapping[str, dict[str, MSBs]],
    label: str,
    bits: Sequence[int] = BITS,
    shifts: Sequence[int] = tuple(range(-4, 5)),
) -> Explorer:
    """Return an explorer of the accuracy of a quantized network, level by level, each with formats of its own.

    Args:
        model: A float network that `deploy.page_program` supports; it is not changed.
        levels: As in `quantize_model`. A level is called what the names of its layers have in common.
        dataset: Its validation images are what the accuracy is measured on.
        tables: Name of a rule -> what `calibration.msb_table` returned by it.
        label: The number of the figure.
        bits: What the reader can choose for each level.
        shifts: What the reader can add to the MSBs of each level.
    """
    quantized = quantize_model(model, formats_from_msbs(next(iter(tables.values()))), levels=levels)
    round_for_page(quantized)
    layers = _layers_of_levels(quantized)
    weights = {layer.name: prod(layer.kernel.shape) for layer in quantized.quantized_layers}
    images, labels = dataset.arrays("validation")
    seen: dict[tuple, Share] = {}

    def correct(on: int, rule: str, rounding: str, own: list[tuple[int, int]]) -> Share:
        key = (rule, rounding, *own[:on]) if on else ()
        if key not in seen:
            for names, (nbits, shift) in zip(layers.values(), own):
                moved = {name: _moved(tables[rule][name], shift) for name in names}
                for name, formats in formats_from_msbs(moved, nbits).items():
                    quantized.get_layer(name).set_formats(*formats)
            quantized.set_rounding(rounding)
            quantized.set_level(on)
            seen[key] = Share.of(quantized.predict_on_batch(images).argmax(-1) == labels)
        return seen[key]

    def view(rule: str, rounding: str, **own: int) -> View:
        chosen = [(own[f"{level}_bits"], own[f"{level}_msb_shift"]) for level in layers]
        found = [correct(on, rule, rounding, chosen) for on in range(len(layers) + 1)]
        lost = [before.hits - after.hits for before, after in pairwise(found)]
        sizes = [sum(weights.get(name, 0) for name in names) for names in layers.values()]
        readings = {
            "accuracy": str(found[-1]),
            "under float": f"{100 * (found[0].value - found[-1].value):+.1f} points",
            "loses most": list(layers)[int(np.argmax(lost))],
            "weights": f"{ceil(sum(nbits * size for (nbits, _), size in zip(chosen, sizes)) / 8):,} bytes",
        }
        return View([{"y": [share.value for share in found]}], readings)

    def alike(nbits: int, rounding: str) -> dict[str, Any]:
        own = {f"{level}_{what}": value for level in layers for what, value in (("bits", nbits), ("msb_shift", 0))}
        return {"rule": next(iter(tables)), "rounding": rounding} | own

    start = alike(6, "floor")
    choices: dict[str, Sequence[Any]] = {"rule": tuple(tables), "rounding": INTEGER_ROUNDINGS}
    choices |= {name: bits if name.endswith("bits") else shifts for name in start if name not in choices}
    data = {
        "reader": readers.reader_data(quantized, dataset.validation, dataset.levels),
        "levels": layers,
        "tables": tables,
    }
    figure = plots.figure(
        go.Bar(x=["float", *layers], y=[], marker={"color": [plots.GREY] + [plots.BLUE] * len(layers)}),
        x="quantized from the input up to this level",
        y="top-1 accuracy",
        showlegend=False,
        yaxis={"range": [0, 1.02], "tickformat": ".0%"},
    )
    return Explorer(
        choices,
        start,
        view,
        figure,
        label,
        f"Kernel, input and output quantized, level after level, on {len(labels)} validation images (95 % interval in "
        "brackets). The rule gives each layer its MSBs; a shift moves those of a level.",
        "Bars of the accuracy after each further level is quantized.",
        PageView(
            "accuracy_by_level",
            (*readers.SCRIPTS, "shares", "quantizer", "accuracy_by_level"),
            data,
            [alike(nbits, rounding) for rounding in ROUNDINGS for nbits in LISTED],
        ),
    )


def error_by_rounding(
    model: keras.Model,
    levels: Sequence[Sequence[str]],
    dataset: Dataset,
    label: str,
    count: int = 300,
    bits: Sequence[int] = BITS,
    msbs: Sequence[int] = tuple(range(-3, 3)),
) -> Explorer:
    """Return an explorer of the errors that rounded kernels leave in each layer, with a rounding for each level.

    Args:
        model: A float network that ends in logits and that `deploy.page_program` supports; it is not changed.
        levels: As in `quantize_model`. A level is called what the names of its layers have in common.
        dataset: Its first test images are run.
        label: The number of the figure.
        count: How many of them.
        bits: What the reader can choose for all kernels.
        msbs: What the reader can choose for all kernels.
    """
    quantized = quantize_model(model, (FixedPoint(0, 8),) * 3, levels=levels)
    round_for_page(quantized)
    part = dataset.test.take(count)
    data = {"reader": readers.reader_data(quantized, part, dataset.levels)}
    names = _layers_of_levels(quantized)
    layers = [layer.name for layer in quantized.quantized_layers]
    tensors = [quantized.get_layer(name).output for name in layers]
    inside = keras.Model(quantized.inputs, [*tensors, quantized.outputs[0]])
    images = dataset.scaled(part)
    quantized.set_level(0)
    exact = [np.asarray(x, float) for x in inside.predict_on_batch(images)]
    quantized.set_level(quantized.levels)

    def view(bits: int, msb: int, **rounding: str) -> View:
        quantized.set_formats((FixedPoint(msb, bits), None, None))
        for level, own in names.items():
            for name in own:
                quantized.get_layer(name).rounding = rounding[level]
        found = inside.predict_on_batch(images)
        errors = [x - y for x, y in zip(found, exact)]
        sizes = [_rms(y) for y in exact]
        logits = errors[-1]
        readings = {
            "accuracy": str(Share.of(found[-1].argmax(-1) == part.labels)),
            "mean error of the logits": f"{logits.mean():+.2f}",
            "RMS error of the logits": f"{_rms(logits):.2f}",
            "of it the same in all classes": f"{(logits.mean(-1) ** 2).mean() / (logits**2).mean():.0%}",
        }
        of_layers = list(zip(errors[:-1], sizes))
        heights = [x.mean() / size for x, size in of_layers], [_rms(x) / size for x, size in of_layers]
        return View([{"y": y} for y in heights], readings)

    def alike(nbits: int, rounding: str) -> dict[str, Any]:
        return {"bits": nbits, "msb": 0} | dict.fromkeys(names, rounding)

    figure = plots.figure(
        go.Bar(x=layers, y=[], name="mean error", marker={"color": plots.ORANGE}),
        go.Bar(x=layers, y=[], name="RMS error", marker={"color": plots.BLUE}),
        x="layer",
        y="error over RMS of the outputs",
        barmode="group",
        height=440,
    )
    return Explorer(
        {"bits": bits, "msb": msbs} | dict.fromkeys(names, INTEGER_ROUNDINGS),
        alike(5, "floor"),
        view,
        figure,
        label,
        f"Kernels in one format, each level with its own rounding, and what it does to the outputs of the layers, on "
        f"{len(part)} test images (quick; 95 % interval in brackets). Inputs, outputs and biases stay float. An "
        "error that is the same in all classes changes no answer; the last reading is its share of the squared error.",
        "Bars of the mean error and the RMS error of each layer's outputs, relative to the RMS of these outputs.",
        PageView(
            "error_by_rounding",
            (*readers.SCRIPTS, "shares", "quantizer", "error_by_rounding"),
            data | {"levels": names},
            [alike(nbits, rounding) for rounding in ROUNDINGS for nbits in LISTED],
        ),
    )


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def _layers_of_levels(quantized: QuantizedModel) -> dict[str, list[str]]:
    """Return the names of levels, and of the layers in each."""
    grouped: dict[int, list[str]] = {}
    for layer in quantized.rounding_layers:
        grouped.setdefault(layer.level, []).append(layer.name)
    return {commonprefix(names).strip("_") or f"level {n}": names for n, names in sorted(grouped.items())}


def _moved(msbs: MSBs, shift: int) -> MSBs:
    kernel, x, y = msbs
    if kernel is not None:
        kernel = tuple(msb + shift for msb in kernel) if isinstance(kernel, tuple) else kernel + shift
    return kernel, x + shift, y + shift
