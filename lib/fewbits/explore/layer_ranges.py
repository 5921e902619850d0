"""Explorers of a network layer by layer: where its values lie, and what formats leave of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fewbits.backend import keras
from fewbits.data.dataset import Dataset
from fewbits.deploy.in_page import round_for_page
from fewbits.explore import plots, readers
from fewbits.explore.explorer import Explorer, PageView, View
from fewbits.explore.histograms import decibel, short
from fewbits.quantization.conversion import quantize_model
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.observation import Values, observe
from fewbits.quantization.range_rules import PERCENTILES, msb_from_limits, percentile_limits
from fewbits.quantization.sqnr import quantization_error
from fewbits.statistics import Share

BITS = (2, 3, 4, 5, 6, 8, 10)
WAYS = (*PERCENTILES, 100)
ROUNDINGS = ("floor", "nearest")
FINE = (50, 70, 80, 85, 90, 93, 95, 97, 98, 99, 99.5, 99.9, 99.99, 100)
ALL_LAYERS = "all layers"
SEEN = 32  # training images whose values set a format
PARTS = 64  # bins between zero and the next power of two


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
        {"values": kinds, "bits": bits, "percentile": percentiles, "rounding": ROUNDINGS} | choice,
        {"values": "kernel", "percentile": 99.9, "bits": 4, "rounding": "nearest"}
        | {name: values[0] for name, values in choice.items()},
        view,
        figure,
        label,
        "What rounding leaves of each layer's values; its MSB is the smallest that reaches the percentile's limits.",
        "Bars of the signal-to-quantization-noise ratio, one for each layer.",
    )


def accuracy_by_percentile(
    model: keras.Model,
    dataset: Dataset,
    label: str,
    bits: Sequence[int] = tuple(range(2, 13)),
    percentiles: Sequence[float] = FINE,
) -> Explorer:
    """Return an explorer of the format that a percentile gives to a layer's inputs, and of what the network then reads.

    Args:
        model: A float network that `deploy.page_program` supports; it is not changed.
        dataset: Its first training images set the formats; its validation images are what the accuracy is measured on.
        label: The number of the figure.
        bits: What the reader can choose.
        percentiles: What the reader can choose.
    """
    twin = quantize_model(model, (FixedPoint(0, 8),) * 3)
    round_for_page(twin)
    seen = dataset.train.take(SEEN)
    data = {
        "reader": readers.reader_data(twin, dataset.validation, dataset.levels),
        "seen": readers.images_data(seen),
        "parts": PARTS,
        "all": ALL_LAYERS,
    }
    values = {name: found.input.ravel() for name, found in observe(twin, dataset.scaled(seen))}
    images, labels = dataset.arrays("validation")

    def format_of(layer: str, percentile: float, nbits: int) -> FixedPoint:
        return FixedPoint(msb_from_limits(*percentile_limits(values[layer], percentile)), nbits)

    def view(layer: str, quantized: str, percentile: float, bits: int, rounding: str) -> View:
        twin.set_rounding(rounding)
        for name in values:
            on = name == layer or quantized == ALL_LAYERS
            twin.get_layer(name).set_formats(input=format_of(name, percentile, bits) if on else None)
        share = Share.of(twin.predict_on_batch(images).argmax(-1) == labels)
        fmt, limits = format_of(layer, percentile, bits), percentile_limits(values[layer], percentile)
        error = quantization_error(values[layer], fmt, rounding)
        bars = _histogram(values[layer])
        top = max(bars["y"])
        readings = {
            "accuracy": str(share),
            "limits": " to ".join(f"{end:.3g}" for end in limits),
            "MSB": str(fmt.msb),
            "clipped": f"{error.clipped:.2%}",
            "SQNR": decibel(error.sqnr),
        }
        return View([bars, _upright(limits, top), _upright((-fmt.amplitude, fmt.amplitude), top)], readings)

    line = {"color": plots.ORANGE, "width": 2}
    figure = plots.figure(
        go.Bar(name="inputs", marker={"color": plots.BLUE, "line": {"width": 0}}),
        go.Scatter(name="limits of the percentile", mode="lines", line=line | {"dash": "dot"}),
        go.Scatter(name="range of the format", mode="lines", line=line | {"color": plots.GREY, "dash": "dash"}),
        x="input of the layer",
        y="number of inputs",
        bargap=0,
        yaxis={"type": "log", "dtick": 1},
    )
    return Explorer(
        {
            "layer": tuple(values),
            "quantized": ("this layer", ALL_LAYERS),
            "percentile": percentiles,
            "bits": bits,
            "rounding": ROUNDINGS,
        },
        {"layer": list(values)[-1], "quantized": ALL_LAYERS, "percentile": 95, "bits": 4, "rounding": "nearest"},
        view,
        figure,
        label,
        f"What a layer reads of {len(seen)} training images, with the limits that hold a percentile and the range of "
        f"the format that reaches them. Accuracy with the inputs quantized and the rest in float, on {len(labels)} "
        "validation images (quick; 95 % interval in brackets).",
        "Histogram of the inputs of a layer, with two pairs of lines: the percentile's limits, and the format's range.",
        PageView("accuracy_by_percentile", (*readers.SCRIPTS, "shares", "quantizer", "accuracy_by_percentile"), data),
    )


def _histogram(values: np.ndarray) -> dict[str, Any]:
    """Return the bars of a histogram, in bins whose width is a power of two."""
    width = 2.0 ** np.ceil(np.log2(np.abs(values).max())) / PARTS
    places = np.floor(values / width).astype(int)
    counts = np.bincount(places - places.min())
    centres = (np.arange(len(counts)) + places.min() + 0.5) * width
    return {"x": short(centres), "y": counts.tolist(), "width": width}


def _upright(ends: tuple[float, float], top: float) -> dict[str, Any]:
    """Return two vertical lines."""
    low, high = short(ends)
    return {"x": [low, low, None, high, high], "y": [0.5, top, None, 0.5, top]}
