"""Explorers of a network layer by layer: where its values lie, and what formats leave of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View
from fewbits.explore.histograms import decibel
from fewbits.quantization.calibration import formats_from_msbs
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.fixedpoint import FixedPoint
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
        return View([{"x": names, "y": [round(s, 2) for s in sqnr], "hovertext": texts}], readings)

    figure = plots.figure(
        go.Bar(marker={"color": plots.BLUE}),
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
    quantized: QuantizedModel,
    images: np.ndarray,
    labels: np.ndarray,
    tables: Mapping[str, dict],
    label: str,
    bits: Sequence[int] = BITS,
) -> Explorer:
    """Return an explorer of the accuracy of a quantized network, level by level.

    Args:
        quantized: The network; its formats and switches are changed.
        images: What the accuracy is measured on.
        labels: Their classes.
        tables: Name of a rule -> what `calibration.msb_table` returned by it.
        label: The number of the figure.
        bits: What the reader can choose.
    """
    seen: dict[tuple, list[Share]] = {}
    steps = range(quantized.levels + 1)

    def correct(level: int) -> Share:
        quantized.set_level(level)
        return Share.of(quantized.predict_on_batch(images).argmax(-1) == labels)

    def view(rule: str, bits: int, rounding: str, levels: int) -> View:
        if (rule, bits, rounding) not in seen:
            quantized.set_formats(formats_from_msbs(tables[rule], bits))
            quantized.set_rounding(rounding)
            seen[rule, bits, rounding] = [correct(level) for level in steps]
        shares = seen[rule, bits, rounding]
        colours = [plots.BLUE if level <= levels else plots.GREY for level in steps]
        readings = {
            "accuracy": str(shares[levels]),
            "under float": f"{100 * (shares[0].value - shares[levels].value):+.1f} points",
        }
        return View([{"y": [round(share.value, 4) for share in shares], "marker": {"color": colours}}], readings)

    figure = plots.figure(
        go.Bar(x=["float", *(f"{n} on" for n in steps[1:])]),
        x="levels quantized, from the input",
        y="top-1 accuracy",
        showlegend=False,
        yaxis={"range": [0, 1.02], "tickformat": ".0%"},
    )
    return Explorer(
        {"rule": tuple(tables), "bits": bits, "rounding": ROUNDINGS, "levels": tuple(steps)},
        {"rule": next(iter(tables)), "bits": 6, "rounding": "floor", "levels": quantized.levels},
        view,
        figure,
        label,
        f"Kernel, input and output quantized, level after level, on {len(labels)} validation images (95 % interval in "
        "brackets). Blue levels are on.",
        "Bars of the accuracy after each further level is quantized.",
    )
