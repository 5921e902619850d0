"""Explorers of a network layer by layer: where its values lie, and what formats leave of them."""

from collections.abc import Iterator, Mapping, Sequence
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
from fewbits.explore.histograms import decibel
from fewbits.names import INTEGER_ROUNDINGS
from fewbits.quantization.calibration import formats_from_msbs
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.layer_summary import MSBs
from fewbits.quantization.observation import Values
from fewbits.quantization.range_rules import PERCENTILES, msb_from_limits, percentile_limits
from fewbits.quantization.sqnr import quantization_error
from fewbits.statistics import Share

BITS = (2, 3, 4, 5, 6, 8, 10)
WAYS = (*PERCENTILES, 100)
ROUNDINGS = ("floor", "nearest")


def sqnr_by_percentile(
    observed: dict[str, Values],
    label: str,
    bits: Sequence[int] = BITS,
    percentiles: Sequence[float] = WAYS,
    codes: Sequence[str] = ("signed",),
) -> Explorer:
    """Return an explorer of the SQNR that MSBs from percentiles leave in each layer.

    Args:
        observed: Layer name -> Values, from `dict(observation.observe(model, images))`.
        label: The number of the figure.
        bits: What the reader can choose.
        percentiles: What the reader can choose.
        codes: What the reader can choose, of CODES; one alone is no choice. Values below zero are signed anyway.
    """
    kinds = ("kernel", "input", "output")
    arrays = {kind: [getattr(v, kind) for v in observed.values()] for kind in kinds}
    limits = {(kind, p): [percentile_limits(x, p) for x in arrays[kind]] for kind in kinds for p in percentiles}
    below = {kind: [kind == "kernel" or bool(np.min(x) < 0) for x in arrays[kind]] for kind in kinds}
    names, seen = list(observed), {}

    def formats(kind: str, percentile: float, nbits: int, codes: str) -> list[FixedPoint]:
        signs = [codes == "signed" or negative for negative in below[kind]]
        pairs = zip(limits[kind, percentile], signs)
        return [FixedPoint(msb_from_limits(*ends, signed), nbits, signed) for ends, signed in pairs]

    def errors(kind: str, used: list[FixedPoint], rounding: str) -> Iterator[Any]:
        for name, x, fmt in zip(names, arrays[kind], used):
            key = kind, name, fmt, rounding
            if key not in seen:
                seen[key] = quantization_error(x, fmt, rounding)
            yield seen[key]

    def view(values: str, percentile: float, bits: int, rounding: str, codes: str = codes[0]) -> View:
        used = formats(values, percentile, bits, codes)
        error = list(errors(values, used, rounding))
        sqnr = [e.sqnr for e in error]
        worst = int(np.argmin(sqnr))
        msbs = [fmt.msb for fmt in used]
        readings = {
            "MSBs": f"{min(msbs)} to {max(msbs)}",
            "most clipped": f"{max(e.clipped for e in error):.2%}",
            "most underflowed": f"{max(e.underflowed for e in error):.1%}",
            "mean SQNR": decibel(float(np.mean(sqnr))),
            "worst layer": f"{names[worst]}, {decibel(sqnr[worst])}",
        }
        texts = [f"MSB {fmt.msb}{'' if fmt.signed else ', unsigned'}" for fmt in used]
        return View([{"y": [round(s, 2) for s in sqnr], "hovertext": texts}], readings)

    figure = plots.figure(
        go.Bar(x=names, marker={"color": plots.BLUE}),
        x="layer",
        y="SQNR in dB",
        showlegend=False,
        yaxis={"range": [0, 60]},
        height=420,
    )
    choice = {"codes": tuple(codes)} if len(codes) > 1 else {}
    return Explorer(
        {"values": kinds, "percentile": percentiles, "bits": bits, "rounding": ROUNDINGS} | choice,
        {"values": "kernel", "percentile": 99.9, "bits": 4, "rounding": "nearest"}
        | {name: values[0] for name, values in choice.items()},
        view,
        figure,
        label,
        "What rounding leaves of each layer's values; its MSB is the smallest that reaches the percentile's limits.",
        "Bars of the signal-to-quantization-noise ratio, one for each layer.",
    )


def accuracy_by_level(
    model: keras.Model,
    levels: Sequence[Sequence[str]],
    dataset: Dataset,
    tables: Mapping[str, dict[str, MSBs]],
    label: str,
    bits: Sequence[int] = tuple(range(2, 17)),
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
    choices = {"rule": tuple(tables), "rounding": INTEGER_ROUNDINGS}
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
            [alike(nbits, rounding) for rounding in ROUNDINGS for nbits in BITS],
        ),
    )


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
